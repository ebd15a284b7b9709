#include "service/store.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>

#include "core/check.h"
#include "core/log.h"

namespace pollux::service {
namespace {

constexpr int kSchemaVersion = 1;
constexpr char kSchema[] =
    "CREATE TABLE calls ("
    "  sequence INTEGER NOT NULL,"
    "  ordinal  INTEGER NOT NULL,"
    "  kind     TEXT NOT NULL,"
    "  name     TEXT NOT NULL,"
    "  method   TEXT NOT NULL,"
    "  params   TEXT NOT NULL,"
    "  checksum INTEGER NOT NULL,"
    "  PRIMARY KEY (kind, name, ordinal)) WITHOUT ROWID;"
    "PRAGMA user_version = 1;";

// FNV-1a over the row, with separators. It detects damage, not malice.
int64_t Checksum(const SavedObject& object, size_t ordinal) {
  const rpc::SavedCall& call = object.calls[ordinal];
  const std::string text =
      absl::StrFormat("%d/%d/%s/%s/%s/%s", object.sequence, ordinal, object.id.kind, object.id.name,
                      call.method, call.params);
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return static_cast<int64_t>(hash);
}

Status SyncDirectory(const std::string& directory) {
  UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || fsync(fd.get()) != 0) {
    return ErrorOfErrno(errno, absl::StrFormat("cannot sync %s: %s", directory, strerror(errno)));
  }
  return OkStatus();
}

// A prepared statement, from preparation to finalisation.
class Statement {
 public:
  Statement(sqlite3* db, const char* sql) {
    prepared_ = sqlite3_prepare_v2(db, sql, -1, &statement_, nullptr) == SQLITE_OK;
  }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  ~Statement() { sqlite3_finalize(statement_); }

  bool prepared() const { return prepared_; }
  void Bind(int index, const std::string& text) {
    sqlite3_bind_text(statement_, index, text.data(), static_cast<int>(text.size()),
                      SQLITE_TRANSIENT);
  }
  void Bind(int index, int64_t number) { sqlite3_bind_int64(statement_, index, number); }
  int Step() { return prepared_ ? sqlite3_step(statement_) : SQLITE_ERROR; }
  void Reset() { sqlite3_reset(statement_); }
  std::string Text(int column) const {
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    const int bytes = sqlite3_column_bytes(statement_, column);
    return text == nullptr ? std::string() : std::string(text, static_cast<size_t>(bytes));
  }
  int64_t Number(int column) const { return sqlite3_column_int64(statement_, column); }

 private:
  sqlite3_stmt* statement_ = nullptr;
  bool prepared_ = false;
};

}  // namespace

// One open database file, whose contents were verified.
class Store::Database {
 public:
  // EBADMSG when it is damaged or of another version.
  static Result<std::unique_ptr<Database>> Open(const std::string& path) {
    sqlite3* db = nullptr;
    const int code = sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READWRITE, nullptr);
    auto database = std::unique_ptr<Database>(new Database(db));
    if (code != SQLITE_OK) return database->Error("cannot open " + path);
    sqlite3_extended_result_codes(db, 1);
    // Before anything that writes: a file that is not ours stays as it is.
    RETURN_IF_ERROR(database->CheckVersion(path));
    // WAL with a sync at every commit: an answered change survives power failure.
    for (const char* pragma : {"PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL",
                               "PRAGMA cell_size_check = ON", "PRAGMA foreign_keys = ON"}) {
      RETURN_IF_ERROR(database->Execute(pragma));
    }
    Statement check(db, "PRAGMA integrity_check");
    if (check.Step() != SQLITE_ROW || check.Text(0) != "ok") {
      return DataLoss("%s is damaged: %s", path,
                      check.prepared() ? check.Text(0) : std::string(sqlite3_errmsg(db)));
    }
    RETURN_IF_ERROR(database->Load().status());
    return database;
  }

  // A new, empty database appears whole or not at all.
  static Status Make(const std::string& directory, const std::string& path) {
    const std::string draft = path + ".new";
    std::error_code ignored;
    std::filesystem::remove(draft, ignored);
    {
      sqlite3* db = nullptr;
      const int code =
          sqlite3_open_v2(draft.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
      Database database(db);
      if (code != SQLITE_OK) return database.Error("cannot make " + draft);
      RETURN_IF_ERROR(database.Execute("PRAGMA synchronous = FULL"));
      RETURN_IF_ERROR(database.Execute(kSchema));
    }
    if (rename(draft.c_str(), path.c_str()) != 0) {
      return ErrorOfErrno(errno, absl::StrFormat("cannot make %s: %s", path, strerror(errno)));
    }
    return SyncDirectory(directory);
  }

  ~Database() { sqlite3_close(db_); }
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  Status Execute(const char* sql) {
    if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) == SQLITE_OK) return OkStatus();
    return Error("the configuration database refused a statement");
  }

  Result<std::vector<SavedObject>> Load() {
    Statement rows(db_,
                   "SELECT sequence, ordinal, kind, name, method, params, checksum FROM calls "
                   "ORDER BY sequence, kind, name, ordinal");
    std::vector<SavedObject> objects;
    int code;
    while ((code = rows.Step()) == SQLITE_ROW) {
      const ObjectId id{rows.Text(2), rows.Text(3)};
      const auto sequence = static_cast<uint64_t>(rows.Number(0));
      if (objects.empty() || objects.back().id != id || objects.back().sequence != sequence) {
        objects.push_back({.id = id, .sequence = sequence, .calls = {}});
      }
      SavedObject& object = objects.back();
      object.calls.push_back({rows.Text(4), rows.Text(5)});
      const size_t ordinal = object.calls.size() - 1;
      if (rows.Number(1) != static_cast<int64_t>(ordinal) ||
          rows.Number(6) != Checksum(object, ordinal)) {
        return DataLoss("the saved call %d of %s '%s' is damaged", ordinal, id.kind, id.name);
      }
    }
    if (code != SQLITE_DONE) return Error("the configuration database cannot be read");
    return objects;
  }

  Status Write(const std::vector<SavedObject>& objects) {
    RETURN_IF_ERROR(Execute("BEGIN IMMEDIATE"));
    Status status = WriteRows(objects);
    if (status.ok()) status = Execute("COMMIT");
    if (!status.ok()) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
    return status;
  }

  Status CopyTo(const std::string& path) {
    Statement copy(db_, "VACUUM INTO ?");
    copy.Bind(1, path);
    if (copy.Step() != SQLITE_DONE) return Error("cannot copy the configuration");
    return OkStatus();
  }

 private:
  explicit Database(sqlite3* db) : db_(db) {}

  Status CheckVersion(const std::string& path) {
    Statement statement(db_, "PRAGMA user_version");
    if (statement.Step() != SQLITE_ROW) return Error(path + " cannot be read");
    if (const int64_t version = statement.Number(0); version != kSchemaVersion) {
      return DataLoss("%s has schema version %d, and this program knows version %d", path, version,
                      kSchemaVersion);
    }
    return OkStatus();
  }

  Status WriteRows(const std::vector<SavedObject>& objects) {
    Statement remove(db_, "DELETE FROM calls WHERE kind = ? AND name = ?");
    Statement insert(db_, "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?)");
    for (const SavedObject& object : objects) {
      remove.Reset();
      remove.Bind(1, object.id.kind);
      remove.Bind(2, object.id.name);
      if (remove.Step() != SQLITE_DONE) return Error("cannot save the configuration");
      for (size_t ordinal = 0; ordinal < object.calls.size(); ++ordinal) {
        insert.Reset();
        insert.Bind(1, static_cast<int64_t>(object.sequence));
        insert.Bind(2, static_cast<int64_t>(ordinal));
        insert.Bind(3, object.id.kind);
        insert.Bind(4, object.id.name);
        insert.Bind(5, object.calls[ordinal].method);
        insert.Bind(6, object.calls[ordinal].params);
        insert.Bind(7, Checksum(object, ordinal));
        if (insert.Step() != SQLITE_DONE) return Error("cannot save the configuration");
      }
    }
    return OkStatus();
  }

  // What SQLite says went wrong, with an errno that tells damage from want.
  Status Error(const std::string& what) const {
    const std::string text = absl::StrFormat("%s: %s", what, sqlite3_errmsg(db_));
    switch (sqlite3_errcode(db_) & 0xff) {
      case SQLITE_FULL:
        return NoSpace("%s", text);
      case SQLITE_CORRUPT:
      case SQLITE_NOTADB:
        return DataLoss("%s", text);
      case SQLITE_READONLY:
      case SQLITE_PERM:
        return PermissionDenied("%s", text);
      default:
        return InternalError("%s", text);
    }
  }

  sqlite3* const db_;
};

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
  const std::string lock_path = directory + "/lock";
  UniqueFd lock(open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.valid()) {
    return ErrorOfErrno(errno, absl::StrFormat("cannot open %s: %s", lock_path, strerror(errno)));
  }
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return Busy("the state directory %s is in use by another polluxd", directory);
  }
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

Status Store::KeepGoodCopy() {
  const std::string draft = directory_ + "/pollux.db.good.new";
  const std::string good = directory_ + "/pollux.db.good";
  std::error_code ignored;
  for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(draft + suffix, ignored);
  RETURN_IF_ERROR(database_->CopyTo(draft));
  RETURN_IF_ERROR(Database::Open(draft).status());
  // Opening left journals, empty by now.
  for (const char* suffix : {"-wal", "-shm"}) std::filesystem::remove(draft + suffix, ignored);
  UniqueFd fd(open(draft.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid() || fsync(fd.get()) != 0 || rename(draft.c_str(), good.c_str()) != 0) {
    return ErrorOfErrno(errno, absl::StrFormat("cannot keep %s: %s", good, strerror(errno)));
  }
  return SyncDirectory(directory_);
}

}  // namespace pollux::service
