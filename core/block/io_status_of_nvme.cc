#include <algorithm>
#include <iterator>

#include "core/block/io_status.h"

namespace pollux {
namespace {

struct Meaning {
  uint16_t code;  // SCT << 8 | SC.
  IoStatus status;
};

// Sorted by code. What is not here means what the last line of IoStatusOfNvme() says of its type.
constexpr Meaning kMeanings[] = {
    // Generic, Base figure 95.
    {0x000, IoStatus::kSuccess},
    {0x001, IoStatus::kNotSupported},    // Invalid Command Opcode
    {0x002, IoStatus::kInvalidRequest},  // Invalid Field in Command
    {0x005, IoStatus::kAborted},         // Aborted due to Power Loss Notification
    {0x007, IoStatus::kAborted},         // Command Abort Requested
    {0x008, IoStatus::kAborted},         // Aborted due to SQ Deletion
    {0x009, IoStatus::kAborted},         // Aborted due to Failed Fused Command
    {0x00a, IoStatus::kAborted},         // Aborted due to Missing Fused Command
    {0x00b, IoStatus::kGone},            // Invalid Namespace or Format
    {0x014, IoStatus::kInvalidRequest},  // Atomic Write Unit Exceeded
    {0x015, IoStatus::kWriteProtected},  // Operation Denied
    {0x019, IoStatus::kAborted},         // Keep Alive Timeout Expired
    {0x01b, IoStatus::kAborted},         // Aborted due to Preempt and Abort
    {0x01c, IoStatus::kMediumError},     // Sanitize Failed
    {0x01d, IoStatus::kNoResources},     // Sanitize In Progress
    {0x020, IoStatus::kWriteProtected},  // Namespace is Write Protected
    {0x021, IoStatus::kNoResources},     // Command Interrupted
    {0x022, IoStatus::kNoResources},     // Transient Transport Error
    {0x023, IoStatus::kNotSupported},    // Command Prohibited by Lockdown
    {0x024, IoStatus::kNoResources},     // Admin Command Media Not Ready
    {0x080, IoStatus::kOutOfRange},      // LBA Out of Range
    {0x081, IoStatus::kNoSpace},         // Capacity Exceeded
    {0x082, IoStatus::kNoResources},     // Namespace Not Ready
    {0x083, IoStatus::kWriteProtected},  // Reservation Conflict: another host has the right
    {0x084, IoStatus::kNoResources},     // Format In Progress
    // Command specific, Base figure 97, NVM figure 19, ZNS figure 10.
    {0x180, IoStatus::kInvalidRequest},  // Conflicting Attributes
    {0x181, IoStatus::kInvalidRequest},  // Invalid Protection Information
    {0x182, IoStatus::kWriteProtected},  // Attempted Write to Read Only Range
    {0x183, IoStatus::kInvalidRequest},  // Command Size Limit Exceeded
    {0x1b8, IoStatus::kInvalidRequest},  // Zone Boundary Error
    {0x1b9, IoStatus::kNoSpace},         // Zone Is Full
    {0x1ba, IoStatus::kWriteProtected},  // Zone Is Read Only
    {0x1bb, IoStatus::kMediumError},     // Zone Is Offline
    {0x1bc, IoStatus::kInvalidRequest},  // Zone Invalid Write
    {0x1bd, IoStatus::kNoResources},     // Too Many Active Zones
    {0x1be, IoStatus::kNoResources},     // Too Many Open Zones
    {0x1bf, IoStatus::kInvalidRequest},  // Invalid Zone State Transition
    // Media and data integrity, Base figure 98.
    {0x285, IoStatus::kMiscompare},      // Compare Failure
    {0x286, IoStatus::kWriteProtected},  // Access Denied
    // Path related, Base figure 99.
    {0x301, IoStatus::kGone},         // Asymmetric Access Persistent Loss
    {0x302, IoStatus::kNoResources},  // Asymmetric Access Inaccessible
    {0x303, IoStatus::kNoResources},  // Asymmetric Access Transition
    {0x370, IoStatus::kGone},         // Host Pathing Error: the driver, of what is gone
    {0x371, IoStatus::kAborted},      // Command Aborted By Host: the driver, of a reset
};

constexpr bool ByCode(const Meaning& a, const Meaning& b) { return a.code < b.code; }
static_assert(std::is_sorted(std::begin(kMeanings), std::end(kMeanings), ByCode));

constexpr uint16_t kMediaError = 2;

}  // namespace

IoStatus IoStatusOfNvme(uint16_t status) {
  const uint16_t code = status & 0x7ff;
  const Meaning wanted{code, IoStatus::kSuccess};
  const Meaning* found =
      std::lower_bound(std::begin(kMeanings), std::end(kMeanings), wanted, ByCode);
  if (found != std::end(kMeanings) && found->code == code) return found->status;
  return code >> 8 == kMediaError ? IoStatus::kMediumError : IoStatus::kInternalError;
}

}  // namespace pollux
