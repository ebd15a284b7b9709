#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "rpc/dispatcher.h"

namespace pollux::rpc {

// An object of the configuration: {"bdev", "Malloc0"}, {"iscsi_portal_group", "1"}.
struct ObjectId {
  std::string kind;
  std::string name;
  auto operator<=>(const ObjectId&) const = default;
};

// An object and the calls that rebuild it, in order.
struct SavedObject {
  ObjectId id;
  uint64_t sequence = 0;  // Objects are rebuilt in this order: that of their making.
  std::vector<SavedCall> calls;
};

}  // namespace pollux::rpc
