#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "core/spec/nvme_spec.h"

namespace pollux::models {

// The reservation of one namespace with one host behind this controller. NVM §3.2.5 and Base §8.19.
// Methods return a status code.
class Reservations {
 public:
  uint16_t Register(uint32_t cdw10, uint64_t current_key, uint64_t new_key);
  uint16_t Acquire(uint32_t cdw10, uint64_t current_key, uint64_t preempted_key);
  uint16_t Release(uint32_t cdw10, uint64_t current_key);
  // Reservation Status, without or with 128-bit host identifiers.
  std::vector<std::byte> Report(bool extended, std::span<const uint8_t, 16> host) const;

 private:
  bool registered_ = false;
  uint64_t key_ = 0;
  uint8_t type_ = 0;  // 0: none is held.
  uint32_t generation_ = 0;
};

}  // namespace pollux::models
