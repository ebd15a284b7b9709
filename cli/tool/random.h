#pragma once
#include <cstdint>

namespace pollux::cli {

// Small and fast: xorshift64*.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e37'79b9'7f4a'7c15 | 1) {}
  uint64_t Next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545'f491'4f6c'dd1d;
  }
  // 0 to bound - 1.
  uint64_t Below(uint64_t bound) {
    using Wide [[gnu::mode(TI)]] = unsigned;
    return static_cast<uint64_t>(static_cast<Wide>(Next()) * bound >> 64);
  }

 private:
  uint64_t state_;
};

}  // namespace pollux::cli
