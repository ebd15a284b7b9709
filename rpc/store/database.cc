#include "rpc/store/database.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/unique_fd.h"

namespace pollux::rpc {
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
  const SavedCall& call = object.calls[ordinal];
  const std::string text =
      absl::StrFormat("%d/%d/%s/%s/%s/%s", object.sequence, ordinal, object.id.kind, object.id.name,
                      call.method, call.params);
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return static_cast<int64_t>(hash);
}

// https://sqlite.org/uri.html
std::string ImmutableUri(const std::string& path) {
  std::string uri = "file:";
  for (const char c : path) {
    if (c == '?' || c == '#' || c == '%') {
      absl::StrAppendFormat(&uri, "%%%02X", c);
    } else {
      uri.push_back(c);
    }
  }
  return uri + "?immutable=1";
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

Result<std::unique_ptr<Database>> Database::OpenFile(const std::string& path, int flags) {
  sqlite3* db = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &db, flags, nullptr);
  auto database = std::unique_ptr<Database>(new Database(db));
  if (code != SQLITE_OK) return database->Error("cannot open " + path);
  sqlite3_extended_result_codes(db, 1);
  // Before anything that writes: a file that is not ours stays as it is.
  RETURN_IF_ERROR(database->CheckVersion(path));
  return database;
}

Result<std::unique_ptr<Database>> Database::Open(const std::string& path) {
  ASSIGN_OR_RETURN(std::unique_ptr<Database> database, OpenFile(path, SQLITE_OPEN_READWRITE));
  // WAL with a sync at every commit: an answered change survives power failure.
  for (const char* pragma : {"PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL",
                             "PRAGMA cell_size_check = ON", "PRAGMA foreign_keys = ON"}) {
    RETURN_IF_ERROR(database->Execute(pragma));
  }
  RETURN_IF_ERROR(database->CheckContents(path));
  return database;
}

Result<std::unique_ptr<Database>> Database::OpenToRead(const std::string& path) {
  // Without a journal nobody has it open, and SQLite need not make one to read.
  const bool alone = !std::filesystem::exists(path + "-wal");
  ASSIGN_OR_RETURN(std::unique_ptr<Database> database,
                   alone ? OpenFile(ImmutableUri(path), SQLITE_OPEN_READONLY | SQLITE_OPEN_URI)
                         : OpenFile(path, SQLITE_OPEN_READONLY));
  RETURN_IF_ERROR(database->Execute("PRAGMA cell_size_check = ON"));
  RETURN_IF_ERROR(database->CheckContents(path));
  return database;
}

Status Database::Make(const std::string& directory, const std::string& path) {
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

Database::~Database() { sqlite3_close(db_); }

Result<std::vector<SavedObject>> Database::Load() {
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

Status Database::Write(const std::vector<SavedObject>& objects) {
  RETURN_IF_ERROR(Execute("BEGIN IMMEDIATE"));
  Status status = WriteRows(objects);
  if (status.ok()) status = Execute("COMMIT");
  if (!status.ok()) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
  return status;
}

Status Database::CopyTo(const std::string& path) {
  Statement copy(db_, "VACUUM INTO ?");
  copy.Bind(1, path);
  if (copy.Step() != SQLITE_DONE) return Error("cannot copy the configuration");
  return OkStatus();
}

Status Database::Execute(const char* sql) {
  if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) == SQLITE_OK) return OkStatus();
  return Error("the configuration database refused a statement");
}

Status Database::CheckVersion(const std::string& path) {
  Statement statement(db_, "PRAGMA user_version");
  if (statement.Step() != SQLITE_ROW) return Error(path + " cannot be read");
  if (const int64_t version = statement.Number(0); version != kSchemaVersion) {
    return DataLoss("%s has schema version %d, and this program knows version %d", path, version,
                    kSchemaVersion);
  }
  return OkStatus();
}

Status Database::CheckContents(const std::string& path) {
  Statement check(db_, "PRAGMA integrity_check");
  if (check.Step() != SQLITE_ROW || check.Text(0) != "ok") {
    return DataLoss("%s is damaged: %s", path,
                    check.prepared() ? check.Text(0) : std::string(sqlite3_errmsg(db_)));
  }
  return Load().status();
}

Status Database::WriteRows(const std::vector<SavedObject>& objects) {
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
Status Database::Error(const std::string& what) const {
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

Status SyncDirectory(const std::string& directory) {
  UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || fsync(fd.get()) != 0) {
    return ErrorOfErrno(errno, absl::StrFormat("cannot sync %s: %s", directory, strerror(errno)));
  }
  return OkStatus();
}

Status CopyDatabase(Database& from, const std::string& to) {
  const std::string draft = to + ".new";
  std::error_code ignored;
  const auto remove_draft = [&] {
    for (const char* suffix : {"", "-wal", "-shm"}) {
      std::filesystem::remove(draft + suffix, ignored);
    }
  };
  remove_draft();
  Status status = from.CopyTo(draft);
  if (status.ok()) status = Database::Open(draft).status();
  // Opening left journals, empty by now.
  for (const char* suffix : {"-wal", "-shm"}) std::filesystem::remove(draft + suffix, ignored);
  if (status.ok()) {
    // Secrets may be in it.
    const UniqueFd file(open(draft.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid() || fchmod(file.get(), 0600) != 0 || fsync(file.get()) != 0 ||
        rename(draft.c_str(), to.c_str()) != 0) {
      status = ErrorOfErrno(errno, absl::StrFormat("cannot write %s: %s", to, strerror(errno)));
    }
  }
  if (!status.ok()) {
    remove_draft();
    return status;
  }
  const std::string directory = std::filesystem::path(to).parent_path();
  return SyncDirectory(directory.empty() ? "." : directory);
}

}  // namespace pollux::rpc
