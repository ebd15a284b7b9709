#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/status.h"
#include "core/unique_fd.h"
#include "rpc/store/database.h"
#include "rpc/store/saved_object.h"

namespace pollux::rpc {

// The lock that a running polluxd has on its state directory. EBUSY: another has it.
Result<UniqueFd> LockState(const std::string& directory);

// The configuration on disk: one SQLite database in the state directory, one row per object and
// call. Each row carries a checksum, since SQLite notices damage to its own structure only. Beside
// it lies a verified copy of the last good start, which takes over, with a warning, when the
// database is damaged.
//
// Blocking; used on one thread at a time.
class Store {
 public:
  // Locks the directory against a second daemon (EBUSY), makes it when it is missing, opens the
  // database or makes an empty one. EBADMSG: the database and its copy are damaged, or of a newer
  // version; nothing was changed.
  static Result<std::unique_ptr<Store>> Open(const std::string& directory);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // All objects, in order.
  Result<std::vector<SavedObject>> Load();

  // Replaces what is kept of these objects, in one transaction, durable when it returns. An object
  // without calls is removed.
  Status Write(const std::vector<SavedObject>& objects);

  // Makes the copy of the last good start: written beside, read back and compared, then renamed.
  Status KeepGoodCopy();

  // Set when Open had to fall back on the copy: what happened, for the operator.
  const std::string& warning() const { return warning_; }
  const std::string& directory() const { return directory_; }

 private:
  Store(std::string directory, UniqueFd lock);

  const std::string directory_;
  UniqueFd lock_;
  std::unique_ptr<Database> database_;
  std::string warning_;
};

}  // namespace pollux::rpc
