#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <string>

namespace pollux::cli {

// How often commands ended with which error. The kinds are bounded; what is beyond them is counted
// together. One thread writes; others read when it has ended.
class ErrorCounts {
 public:
  static constexpr size_t kKindsMax = 16;
  struct Kind {
    uint16_t code = 0;  // SCT << 8 | SC.
    uint64_t count = 0;
  };

  ErrorCounts() = default;
  ErrorCounts(const ErrorCounts& other) { Add(other); }
  ErrorCounts& operator=(const ErrorCounts&) = delete;

  void Add(uint16_t code, uint64_t count = 1);
  void Add(const ErrorCounts& other);
  uint64_t total() const { return total_.load(std::memory_order_relaxed); }
  size_t kinds() const { return kinds_; }
  const Kind& kind(size_t index) const { return counts_[index]; }
  // "3 x Unrecovered Read Error (281h), 1 x ...".
  std::string Text() const;

 private:
  std::array<Kind, kKindsMax> counts_{};
  size_t kinds_ = 0;
  std::atomic<uint64_t> total_{0};
};

}  // namespace pollux::cli
