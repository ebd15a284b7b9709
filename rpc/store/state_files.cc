#include "rpc/store/state_files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/unique_fd.h"
#include "rpc/store/database.h"
#include "rpc/store/store.h"

namespace pollux::rpc {
namespace {

namespace fs = std::filesystem;

constexpr const char* kJournals[] = {"-wal", "-shm"};

Status CheckDirectory(const std::string& directory) {
  if (fs::is_directory(directory)) return OkStatus();
  return NotFound("there is no state directory %s", directory);
}

StateFile CheckFile(const std::string& path) {
  StateFile file{.path = path, .exists = fs::exists(path), .status = OkStatus()};
  if (!file.exists) return file;
  Result<std::unique_ptr<Database>> database = Database::OpenToRead(path);
  file.status = database.status();
  if (!file.status.ok()) return file;
  const Result<std::vector<SavedObject>> objects = (*database)->Load();
  file.status = objects.status();
  if (!file.status.ok()) return file;
  file.objects = objects->size();
  for (const SavedObject& object : *objects) file.calls += object.calls.size();
  return file;
}

bool InUse(const std::string& directory) {
  const UniqueFd lock(open((directory + "/lock").c_str(), O_RDWR | O_CLOEXEC));
  return lock.valid() && flock(lock.get(), LOCK_EX | LOCK_NB) != 0;
}

// What is there goes aside: whole when it can be read, else as it is.
Status KeepAside(const std::string& path, const std::string& aside) {
  {
    Result<std::unique_ptr<Database>> old = Database::Open(path);
    if (old.ok()) RETURN_IF_ERROR(CopyDatabase(**old, aside));
    if (!old.ok()) {
      std::error_code error;
      for (const char* suffix : {"", "-wal", "-shm"}) {
        if (fs::exists(path + suffix)) fs::rename(path + suffix, aside + suffix, error);
        if (error) {
          return ErrorOfErrno(
              error.value(), absl::StrFormat("cannot keep %s: %s", path + suffix, error.message()));
        }
      }
    }
  }
  // Closing has brought the journal home. One that is left would be applied to what takes the
  // database's place.
  for (const char* suffix : kJournals) {
    if (!fs::exists(path + suffix)) continue;
    return Busy("%s is there still: somebody has the database open", path + suffix);
  }
  return OkStatus();
}

}  // namespace

Result<StateCheck> CheckState(const std::string& directory) {
  RETURN_IF_ERROR(CheckDirectory(directory));
  StateCheck check;
  check.in_use = InUse(directory);
  check.current = CheckFile(directory + "/pollux.db");
  check.good = CheckFile(directory + "/pollux.db.good");
  return check;
}

Status BackUpState(const std::string& directory, const std::string& file) {
  RETURN_IF_ERROR(CheckDirectory(directory));
  const std::string path = directory + "/pollux.db";
  if (!fs::exists(path)) return NotFound("%s is missing: nothing was saved there yet", path);
  ASSIGN_OR_RETURN(const std::unique_ptr<Database> database, Database::OpenToRead(path));
  return CopyDatabase(*database, file);
}

Result<std::string> RestoreState(const std::string& directory, const std::string& file) {
  std::error_code error;
  if (!fs::exists(file)) return NotFound("there is no file %s", file);
  fs::create_directories(directory, error);
  if (error) {
    return ErrorOfErrno(error.value(),
                        absl::StrFormat("cannot make %s: %s", directory, error.message()));
  }
  chmod(directory.c_str(), 0700);
  ASSIGN_OR_RETURN(const UniqueFd lock, LockState(directory));

  // Looked at where it can be written beside, since SQLite wants to: the backup may lie elsewhere.
  const std::string path = directory + "/pollux.db";
  const std::string draft = path + ".restore";
  const auto remove_draft = [&] {
    std::error_code ignored;
    for (const char* suffix : {"", "-wal", "-shm"}) fs::remove(draft + suffix, ignored);
  };
  remove_draft();
  fs::copy_file(file, draft, error);
  if (error) {
    return ErrorOfErrno(error.value(),
                        absl::StrFormat("cannot copy %s: %s", file, error.message()));
  }
  if (const Status verified = Database::Open(draft).status(); !verified.ok()) {
    remove_draft();
    return ErrorOfErrno(ErrnoOf(verified),
                        absl::StrFormat("%s is no good backup: %s", file, verified.message()));
  }
  const std::string aside = fs::exists(path) ? path + ".before-restore" : "";
  Status status = aside.empty() ? OkStatus() : KeepAside(path, aside);
  if (status.ok()) {
    const UniqueFd made(open(draft.c_str(), O_RDONLY | O_CLOEXEC));
    if (!made.valid() || fchmod(made.get(), 0600) != 0 || fsync(made.get()) != 0 ||
        rename(draft.c_str(), path.c_str()) != 0) {
      status = ErrorOfErrno(errno, absl::StrFormat("cannot write %s: %s", path, strerror(errno)));
    }
  }
  remove_draft();
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(SyncDirectory(directory));
  return aside;
}

}  // namespace pollux::rpc
