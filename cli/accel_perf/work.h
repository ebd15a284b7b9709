#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/accel/accel_operation.h"

namespace pollux::cli {

// Whether the operation is one on protection information.
bool IsOfProtection(AccelOpcode opcode);
// Whether it reads what others write.
bool ReadsResults(AccelOpcode opcode);

// The data of one chain: where each operation reads and writes, and what must come of it. All start
// from the same sources, so that they follow each other in any order.
class AccelWork {
 public:
  static constexpr uint32_t kBlockBytes = 512, kMetadataBytes = 8;
  // What one takes.
  static uint64_t MemoryBytes(uint32_t bytes);

  // `memory` has MemoryBytes() and outlives it.
  AccelWork(uint32_t bytes, std::byte* memory, uint64_t seed);
  AccelWork(const AccelWork&) = delete;
  AccelWork& operator=(const AccelWork&) = delete;

  // Lets the operation work with this data.
  void Prepare(AccelOperation& operation);
  // What it writes is not what it shall be, until it has.
  void Spoil(AccelOperation& operation);
  // Empty, or what is wrong with the result.
  std::string Check(const AccelOperation& operation);

 private:
  static constexpr uint64_t kPattern = 0x8badf00ddefec8ed;

  iovec source_, second_, third_;     // What is read.
  iovec copy_, other_copy_, filled_;  // What is written: like source_, twice; by fills,
  iovec sum_, blocks_, metadata_;     // by XORs, and with protection information.
  std::array<iovec, 3> sources_;
  std::vector<std::byte> true_sum_, true_blocks_, true_metadata_;
  uint32_t true_crc_ = 0;
  AccelProtection protection_;
};

}  // namespace pollux::cli
