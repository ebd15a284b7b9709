#include "drivers/nvme/bring_up.h"

#include <algorithm>

#include "core/check.h"
#include "core/clock.h"

namespace pollux::nvme {
namespace {

constexpr uint64_t kTimeoutUnitNs = 500 * kNsPerMs;  // Of CAP.TO and CRTO.
constexpr uint32_t kVersion10 = 0x010000;
constexpr uint64_t kMpsMax = 4;  // Pages of 64 KiB; nobody's are larger.
constexpr uint64_t kPageBytesMin = 4096;

namespace crto {                          // Controller Ready Timeouts. Base §3.1.3.21.
constexpr Field<uint32_t> kCrwmt{0, 16};  // With media.
}
constexpr uint64_t kCssNvm = 1 << 0, kCssIoSets = 1 << 6;
constexpr uint64_t kAmsWeighted = 1 << 0;
constexpr uint64_t kCrmsWithMedia = 1 << 0;
constexpr uint32_t kShnNormal = 1;
constexpr uint32_t kShstNone = 0, kShstComplete = 2;

Status Gone() { return NoDevice("the device does not answer: its registers read as all ones"); }

uint64_t Later(uint64_t now_ns, uint64_t by_ns) { return now_ns + by_ns; }

}  // namespace

Result<Capabilities> Capabilities::Of(uint64_t cap, uint32_t vs) {
  Capabilities found;
  found.version = vs == 0 ? kVersion10 : vs;
  found.queue_entries_max = static_cast<uint32_t>(cap::kMqes.Get(cap)) + 1;
  if (found.queue_entries_max < 2) return InternalError("CAP.MQES is 0: queues of one entry");
  if (cap::kMpsmin.Get(cap) > kMpsMax) {
    return NotSupported("CAP.MPSMIN is %u: pages of that size are not supported",
                        cap::kMpsmin.Get(cap));
  }
  found.page_bytes = static_cast<uint32_t>(kPageBytesMin << cap::kMpsmin.Get(cap));
  found.ready_timeout_ns = std::max<uint64_t>(cap::kTo.Get(cap), 1) * kTimeoutUnitNs;

  const uint64_t css = cap::kCss.Get(cap);
  found.io_command_sets = (css & kCssIoSets) != 0;
  // Controllers of the first revisions sometimes announce no command set at all.
  found.nvm_command_set = (css & kCssNvm) != 0 || css == 0;
  if (!found.nvm_command_set && !found.io_command_sets) {
    return NotSupported("CAP.CSS is 0x%02x: no I/O command set that we know", css);
  }
  found.weighted_round_robin = (cap::kAms.Get(cap) & kAmsWeighted) != 0;
  return found;
}

Result<Capabilities> Capabilities::Read(Registers& registers) {
  const uint64_t cap = registers.Read(kCap);
  const uint32_t vs = registers.Read(kVs);
  if (registers.gone()) return Gone();
  ASSIGN_OR_RETURN(Capabilities found, Of(cap, vs));

  found.doorbell_stride = 4u << cap::kDstrd.Get(cap);
  const uint64_t bytes = registers.bytes();
  const uint64_t pair_bytes = 2 * uint64_t{found.doorbell_stride};
  if (bytes < kDoorbells + pair_bytes) {
    return InternalError("BAR 0 has %u bytes, which does not hold the admin queue's doorbells",
                         bytes);
  }
  found.doorbell_queues_max =
      static_cast<uint32_t>(std::min<uint64_t>((bytes - kDoorbells) / pair_bytes, 65536));
  if ((cap::kCrms.Get(cap) & kCrmsWithMedia) != 0) {
    const uint32_t ready = registers.ReadAnything(kCrto);
    // Some devices have the capability and leave the register zero: the longer one counts.
    found.ready_timeout_ns =
        std::max(found.ready_timeout_ns, crto::kCrwmt.Get(ready) * kTimeoutUnitNs);
  }
  found.controller_memory_buffer = cap::kCmbs.Get(cap) != 0;
  return found;
}

void BringUp::Disable(uint64_t now_ns) {
  failure_ = OkStatus();
  if (state_ == State::kUnknown) return Enter(State::kSettling, ready_timeout_ns_, now_ns);
  ClearEnable(now_ns);
}

void BringUp::ClearEnable(uint64_t now_ns) {
  const uint32_t configuration = registers_.Read(kCc);
  if (registers_.gone()) return Fail(Gone());
  if (cc::kEn.Get(configuration) != 0) {
    registers_.Write(kCc, cc::kShn.Set(cc::kEn.Set(configuration, 0), 0));
    quiet_until_ns_ = Later(now_ns, quirk_delay_ns_);
  }
  Enter(State::kDisabling, ready_timeout_ns_ + quirk_delay_ns_, now_ns);
}

void BringUp::Enable(const AdminRings& rings, uint32_t configuration, uint64_t now_ns) {
  CHECK(state_ == State::kDisabled);
  const uint32_t size = rings.depth - 1u;
  registers_.Write(kAqa, aqa::kAcqs.Set(aqa::kAsqs.Set(0, size), size));
  registers_.Write(kAsq, rings.sq_iova);
  registers_.Write(kAcq, rings.cq_iova);
  // CC.CRIME stays 0: ready then means that the media are ready too (§3.5.3), and no namespace has
  // to be waited for.
  registers_.Write(kCc, cc::kEn.Set(configuration, 1));
  Enter(State::kEnabling, ready_timeout_ns_, now_ns);
}

void BringUp::ShutDown(uint64_t limit_ns, uint64_t now_ns) {
  CHECK(state_ == State::kReady);
  const uint32_t configuration = registers_.Read(kCc);
  if (registers_.gone()) return Fail(Gone());
  registers_.Write(kCc, cc::kShn.Set(configuration, kShnNormal));
  Enter(State::kShuttingDown, limit_ns, now_ns);
}

BringUp::State BringUp::Step(uint64_t now_ns) {
  if (!waiting() || now_ns < quiet_until_ns_) return state_;
  const uint32_t status = registers_.Read(kCsts);
  if (registers_.gone()) {
    Fail(Gone());
    return state_;
  }
  switch (state_) {
    case State::kSettling:
      StepSettling(status, now_ns);
      break;
    case State::kDisabling:
      StepDisabling(status, now_ns);
      break;
    case State::kEnabling:
      StepEnabling(status, now_ns);
      break;
    case State::kShuttingDown:
      StepShuttingDown(status, now_ns);
      break;
    case State::kUnknown:
    case State::kDisabled:
    case State::kReady:
    case State::kShutDown:
    case State::kFailed:
      break;
  }
  return state_;
}

void BringUp::StepSettling(uint32_t status, uint64_t now_ns) {
  const uint32_t configuration = registers_.Read(kCc);
  if (registers_.gone()) return Fail(Gone());
  const bool starting = cc::kEn.Get(configuration) != 0 && csts::kRdy.Get(status) == 0;
  const uint32_t shutdown = csts::kShst.Get(status);
  const bool stopping = shutdown != kShstNone && shutdown != kShstComplete;
  // Fatal, or too late: disabling it is what is left to try.
  if ((starting || stopping) && csts::kCfs.Get(status) == 0 && now_ns < deadline_ns_) return;
  ClearEnable(now_ns);
}

void BringUp::StepDisabling(uint32_t status, uint64_t now_ns) {
  // A fatal status is what a reset is for: it stays until the device is enabled again.
  if (csts::kRdy.Get(status) == 0) return Enter(State::kDisabled, 0, now_ns);
  if (now_ns >= deadline_ns_) {
    Fail(TimedOut("CSTS.RDY is still 1 after CC.EN was cleared, %u ms later",
                  (ready_timeout_ns_ + quirk_delay_ns_) / kNsPerMs));
  }
}

void BringUp::StepEnabling(uint32_t status, uint64_t now_ns) {
  if (csts::kCfs.Get(status) != 0) {
    return Fail(InternalError("the device went fatal while it was enabled (CSTS is 0x%x)", status));
  }
  if (csts::kRdy.Get(status) != 0) return Enter(State::kReady, 0, now_ns);
  if (now_ns >= deadline_ns_) {
    Fail(TimedOut("CSTS.RDY is still 0 after CC.EN was set, %u ms later",
                  ready_timeout_ns_ / kNsPerMs));
  }
}

void BringUp::StepShuttingDown(uint32_t status, uint64_t now_ns) {
  if (csts::kShst.Get(status) == kShstComplete) return Enter(State::kShutDown, 0, now_ns);
  if (csts::kCfs.Get(status) != 0) {
    return Fail(InternalError("the device went fatal while it shut down (CSTS is 0x%x)", status));
  }
  if (now_ns >= deadline_ns_) {
    Fail(TimedOut("the device did not shut down in time (CSTS is 0x%x)", status));
  }
}

void BringUp::Enter(State next, uint64_t limit_ns, uint64_t now_ns) {
  state_ = next;
  deadline_ns_ = Later(now_ns, limit_ns);
}

void BringUp::Fail(Status failure) {
  state_ = State::kFailed;
  failure_ = std::move(failure);
}

}  // namespace pollux::nvme
