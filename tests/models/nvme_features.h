#pragma once
#include <array>
#include <cstdint>
#include <map>

#include "core/spec/nvme_spec.h"

namespace pollux::models {

// Feature values that are one dword each. Base §5.27. What has data of its own, or a meaning beyond
// being remembered, is the model's.
class Features {
 public:
  struct Value {
    uint32_t current = 0, saved = 0, first = 0;
    bool changeable = true, saveable = false, per_namespace = false;

    uint32_t capabilities() const {  // Base figure 197.
      return (saveable ? 1u : 0) | (per_namespace ? 2u : 0) | (changeable ? 4u : 0);
    }
  };
  Features();

  // Null: there is no such feature.
  Value* Find(uint8_t id) {
    const auto found = values_.find(id);
    return found == values_.end() ? nullptr : &found->second;
  }
  uint32_t Get(uint8_t id) const { return values_.at(id).current; }
  void Add(uint8_t id, const Value& value) { values_[id] = value; }
  // After a controller reset: what was not saved is gone. Base §3.7.2.
  void Reset();

  std::array<uint8_t, 16> host_identifier{};
  uint8_t host_identifier_bytes = 0;
  std::array<uint8_t, 8> timestamp{};
  std::array<uint8_t, 512> host_behavior{};
  // The host memory buffer, while enabled.
  struct HostMemory {
    uint32_t pages = 0;
    uint64_t list = 0;
    uint32_t entries = 0;
  } host_memory;

 private:
  std::map<uint8_t, Value> values_;
};

}  // namespace pollux::models
