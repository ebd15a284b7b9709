#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/status.h"
#include "rpc/store/saved_object.h"

struct sqlite3;

namespace pollux::rpc {

// One open file of calls, whose contents were verified. Blocking; one thread at a time.
class Database {
 public:
  // EBADMSG when it is damaged or of another version.
  static Result<std::unique_ptr<Database>> Open(const std::string& path);
  // The same, and nothing is written: somebody else may have it open.
  static Result<std::unique_ptr<Database>> OpenToRead(const std::string& path);
  // A new, empty database appears whole or not at all.
  static Status Make(const std::string& directory, const std::string& path);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // All objects, in order.
  Result<std::vector<SavedObject>> Load();
  // In one transaction. An object without calls is removed.
  Status Write(const std::vector<SavedObject>& objects);
  // `path` must not be there. What it gets is one moment's, whoever writes meanwhile.
  Status CopyTo(const std::string& path);

 private:
  explicit Database(sqlite3* db) : db_(db) {}
  static Result<std::unique_ptr<Database>> OpenFile(const std::string& path, int flags);
  Status Execute(const char* sql);
  Status CheckVersion(const std::string& path);
  Status CheckContents(const std::string& path);
  Status WriteRows(const std::vector<SavedObject>& objects);
  Status Error(const std::string& what) const;

  sqlite3* const db_;
};

// Makes the names in a directory durable.
Status SyncDirectory(const std::string& directory);
// A copy of the database at `from` appears at `to`, verified and durable, or nothing changes there.
Status CopyDatabase(Database& from, const std::string& to);

}  // namespace pollux::rpc
