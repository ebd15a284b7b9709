#pragma once
#include <cstdint>
#include <optional>

#include "core/spec/nvme_spec.h"

namespace pollux::nvmf {

// The registers of a controller, which hosts reach as properties: CAP, VS, CC, CSTS, CRTO. Base
// §3.1.3. It says what a write of CC asks for; the controller does it, and then calls Done().
//
//   disabled --CC.EN 1, valid--> ready --CC.EN 0--> (kReset) --Done--> disabled
//      |                           |
//      +--CC.EN 1, invalid--> fatal +--CC.SHN--> (kShutdown) --Done--> shut down, until it is reset
class Properties {
 public:
  enum class Work : uint8_t { kNone, kReset, kShutdown };
  // How long a reset or shutdown may take: I/O queues end when the disks have let go of them.
  static constexpr uint8_t kTimeoutHalfSeconds = 60;

  Properties(uint16_t queue_entries_max, bool discovery);

  // Null: there is no property of this size at this offset.
  std::optional<uint64_t> Get(uint64_t offset, size_t bytes) const;
  // Null: there is none that may be written. While work is under way none is asked for: Done() sees
  // what CC says by then.
  std::optional<Work> Set(uint64_t offset, size_t bytes, uint64_t value);
  // The work is done; what is to be done next.
  Work Done();
  // The controller cannot go on.
  void SetFatal() { csts_ = nvme::csts::kCfs.Set(csts_, 1); }

  // Enabled: commands are executed.
  bool ready() const { return nvme::csts::kRdy.Get(csts_) != 0 && nvme::cc::kEn.Get(cc_) != 0; }

 private:
  bool CcIsValid() const;
  Work Next();

  const uint64_t cap_;
  const bool discovery_;
  uint32_t cc_ = 0;
  uint32_t csts_ = 0;
  Work work_ = Work::kNone;
};

}  // namespace pollux::nvmf
