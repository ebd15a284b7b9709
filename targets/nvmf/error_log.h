#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "core/spec/nvme_spec.h"

namespace pollux::nvmf {

// The Error Information log of a controller. Base §5.16.1.2
//
// Commands fail on the reactors of all its queues, and the log is read on that of its admin queue;
// none of them waits for another. Each failure takes the next number, and with it a place in a
// ring. Whoever finds his place in use (64 others have failed meanwhile) leaves it: that number has
// no entry, and the count is right all the same.
class ErrorLog {
 public:
  static constexpr size_t kEntries = 64;  // ELPE is one less.

  struct Error {
    uint16_t sqid = 0, cid = 0;
    uint16_t status_field = 0;  // Of the completion.
    uint16_t location = 0;      // Bit << 8 | byte of the command; FFFFh: of no field.
    uint64_t lba = 0;
    uint32_t nsid = 0;
    uint8_t trtype = 0;
  };

  // On any reactor.
  void Add(const Error& error);
  // Since the controller was made.
  uint64_t count() const { return count_.load(std::memory_order_relaxed); }

  // --- The admin queue's reactor.
  // The newest first; what is lost, or was never there, is zero.
  std::string LogPage() const;
  // A reset removes the entries; the count goes on.
  void Clear() { cleared_ = count(); }

 private:
  struct Place {
    // Twice the number of the entry that is here; one less while it is being written.
    std::atomic<uint64_t> version{0};
    std::array<std::atomic<uint64_t>, 3> words{};
  };
  bool Read(uint64_t number, nvme::ErrorLogEntry& entry) const;

  std::atomic<uint64_t> count_{0};
  uint64_t cleared_ = 0;
  std::array<Place, kEntries> places_;
};

// Where in the command the fault lies, as far as a status alone says it; FFFFh: it does not.
inline constexpr uint16_t kNoLocation = 0xffff;
constexpr uint16_t LocationAt(uint8_t byte, uint8_t bit = 0) {
  return static_cast<uint16_t>(bit << 8 | byte);
}
uint16_t LocationOf(uint16_t status);

}  // namespace pollux::nvmf
