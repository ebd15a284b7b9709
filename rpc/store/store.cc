#include "rpc/store/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace pollux::rpc {

Result<UniqueFd> LockState(const std::string& directory) {
  const std::string lock_path = directory + "/lock";
  UniqueFd lock(open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.valid()) {
    return ErrorOfErrno(errno, absl::StrFormat("cannot open %s: %s", lock_path, strerror(errno)));
  }
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return Busy("the state directory %s is in use by another polluxd", directory);
  }
  return lock;
}

Store::Store(std::string directory, UniqueFd lock)
    : directory_(std::move(directory)), lock_(std::move(lock)) {}
Store::~Store() = default;

Result<std::unique_ptr<Store>> Store::Open(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    return ErrorOfErrno(error.value(), absl::StrFormat("cannot make the state directory %s: %s",
                                                       directory, error.message()));
  }
  chmod(directory.c_str(), 0700);
  ASSIGN_OR_RETURN(UniqueFd lock, LockState(directory));
  auto store = std::unique_ptr<Store>(new Store(directory, std::move(lock)));

  const std::string path = directory + "/pollux.db";
  const std::string good = directory + "/pollux.db.good";
  const bool have = std::filesystem::exists(path);
  const bool have_good = std::filesystem::exists(good);
  if (!have && !have_good) RETURN_IF_ERROR(Database::Make(directory, path));

  Result<std::unique_ptr<Database>> database =
      have || !have_good ? Database::Open(path)
                         : Result<std::unique_ptr<Database>>(DataLoss("%s is missing", path));
  if (!database.ok() && ErrnoOf(database.status()) == EBADMSG && have_good) {
    const std::string damage(database.status().message());
    if (const Status copy = Database::Open(good).status(); !copy.ok()) {
      return DataLoss("%s: %s; and its copy %s: %s; both are left as they are", path, damage, good,
                      copy.message());
    }
    // The damaged files are kept for whoever wants to look. The journals go along: a journal of one
    // database must never be applied to another.
    for (const char* suffix : {"", "-wal", "-shm"}) {
      std::filesystem::rename(path + suffix, path + ".damaged" + suffix, error);
    }
    std::filesystem::copy_file(good, path, error);
    if (error) {
      return ErrorOfErrno(error.value(), absl::StrFormat("cannot restore %s from %s: %s", path,
                                                         good, error.message()));
    }
    RETURN_IF_ERROR(SyncDirectory(directory));
    database = Database::Open(path);
    store->warning_ = absl::StrFormat(
        "the configuration database was damaged (%s); the configuration of the last good start is "
        "in use, and the damaged file is kept as %s.damaged",
        damage, path);
  }
  if (!database.ok()) return database.status();
  store->database_ = *std::move(database);
  return store;
}

Result<std::vector<SavedObject>> Store::Load() { return database_->Load(); }

Status Store::Write(const std::vector<SavedObject>& objects) { return database_->Write(objects); }

Status Store::KeepGoodCopy() { return CopyDatabase(*database_, directory_ + "/pollux.db.good"); }

}  // namespace pollux::rpc
