#pragma once
#include <string>

#include "core/status.h"

// What an operator does with a state directory. Blocking.

namespace pollux::rpc {

// One file of calls, as CheckState found it.
struct StateFile {
  std::string path;
  bool exists = false;
  Status status;  // Of a file that exists: OK when all of it can be read and is as it was written.
  size_t objects = 0;
  size_t calls = 0;
};

struct StateCheck {
  StateFile current;    // The configuration.
  StateFile good;       // Its copy of the last good start, which takes over when it is damaged.
  bool in_use = false;  // By a running polluxd.
};

// Reads the files of the directory to their ends and changes nothing; a polluxd may be running.
// ENOENT: there is no such directory.
Result<StateCheck> CheckState(const std::string& directory);

// Writes the configuration of one moment to `file`, mode 0600: secrets are in it. A polluxd may be
// running. A file that is there already is replaced, at once or not at all.
Status BackUpState(const std::string& directory, const std::string& file);

// Puts the configuration of `file` in place of the directory's. What was there is kept beside it
// (the path is returned; empty: there was nothing). EBUSY: a polluxd runs. EBADMSG: the file is
// damaged, no backup, or of another version; nothing was changed.
Result<std::string> RestoreState(const std::string& directory, const std::string& file);

}  // namespace pollux::rpc
