#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace pollux::nvmf {

// What a command counts as when it succeeds,
enum class CommandKind : uint8_t { kOther, kRead, kWrite };
inline constexpr size_t kCommandKinds = 3;

// and when it fails.
enum class Failure : uint8_t {
  kCommand,     // The host asked for what cannot be.
  kMedia,       // The disk could not read or write.
  kProtection,  // Protection information is not as it should be.
  kMiscompare,  // What Compare found.
  kAborted,     // By the host, the end of its queue, or a disk that may be asked again.
  kPath,        // The namespace is not accessible through this listener.
  kInternal,    // Ours.
};
inline constexpr size_t kFailures = 7;
// Of a status other than success: SCT << 8 | SC, with DNR or without.
Failure FailureOf(uint16_t status);

// What a queue, or a namespace on one reactor, has counted: one writer, its reactor; readers load
// relaxed.
struct alignas(64) CommandCounters {
  std::array<std::atomic<uint64_t>, kCommandKinds> commands{};
  std::array<std::atomic<uint64_t>, kCommandKinds> bytes{};  // Of the host's data.
  std::array<std::atomic<uint64_t>, kFailures> failures{};

  void CountSuccess(CommandKind kind, uint64_t moved) {
    Add(commands[static_cast<size_t>(kind)], 1);
    Add(bytes[static_cast<size_t>(kind)], moved);
  }
  void CountFailure(Failure failure) { Add(failures[static_cast<size_t>(failure)], 1); }

 private:
  static void Add(std::atomic<uint64_t>& counter, uint64_t value) {
    counter.store(counter.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
  }
};

// Sums of these.
struct CommandTotals {
  uint64_t reads = 0, writes = 0, bytes_read = 0, bytes_written = 0;
  uint64_t others = 0;
  std::array<uint64_t, kFailures> failures{};

  CommandTotals& operator+=(const CommandCounters& counters);
  CommandTotals& operator+=(const CommandTotals& totals);
  uint64_t failed() const;
  uint64_t ended() const { return reads + writes + others + failed(); }
};

}  // namespace pollux::nvmf
