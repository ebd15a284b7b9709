#pragma once
#include <cstdint>
#include <random>
#include <vector>

namespace pollux::models {

// What is to go wrong by itself, and when. A seed gives the same faults again.
class Faults {
 public:
  struct Options {
    uint64_t seed = 1;
    // How long an I/O command takes, in the model's ticks: at least and at most.
    uint64_t latency_min = 0, latency_max = 0;
    double error_rate = 0;        // Of I/O commands, that end with a media error.
    double lost_rate = 0;         // That are never answered.
    double admin_error_rate = 0;  // Of admin commands, that end with Internal Error.
  };
  explicit Faults(const Options& options) : options_(options), random_(options.seed) {}

  // The n-th admin command with this opcode from now on, counted from 1, ends with `status`; kLost:
  // it is never answered. 0xff stands for every opcode.
  static constexpr uint16_t kLost = 0xffff;
  static constexpr uint8_t kAnyOpcode = 0xff;
  void OnAdmin(uint8_t opcode, uint32_t nth, uint16_t status) {
    planned_.push_back({true, opcode, nth, status});
  }
  // The same for I/O commands.
  void OnIo(uint8_t opcode, uint32_t nth, uint16_t status) {
    planned_.push_back({false, opcode, nth, status});
  }

  // The fate of a command: 0 (it is executed), a status, or kLost.
  uint16_t Judge(bool admin, uint8_t opcode);
  uint64_t Latency();

 private:
  struct Planned {
    bool admin;
    uint8_t opcode;
    uint32_t left;
    uint16_t status;
  };
  bool Happens(double rate) {
    return rate > 0 && std::uniform_real_distribution<double>()(random_) < rate;
  }

  const Options options_;
  std::mt19937_64 random_;
  std::vector<Planned> planned_;
};

}  // namespace pollux::models
