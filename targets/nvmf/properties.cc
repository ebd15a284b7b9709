#include "targets/nvmf/properties.h"

namespace pollux::nvmf {
namespace {

using namespace nvme;  // NOLINT: the registers and their fields.

constexpr uint32_t kVersion = 0x00020000;
constexpr uint32_t kCssNvm = 0, kCssIoSets = 6, kCssAdminOnly = 7;  // CC.CSS

uint64_t Capabilities(uint16_t queue_entries_max) {
  uint64_t value = 0;
  value = cap::kMqes.Set(value, queue_entries_max - 1u);
  value = cap::kCqr.Set(value, 1);
  value = cap::kTo.Set(value, Properties::kTimeoutHalfSeconds);
  value = cap::kCss.Set(value, 1u << 0 | 1u << 6);
  value = cap::kCrms.Set(value, 1);
  return value;
}

}  // namespace

Properties::Properties(uint16_t queue_entries_max, bool discovery)
    : cap_(Capabilities(queue_entries_max)), discovery_(discovery) {}

std::optional<uint64_t> Properties::Get(uint64_t offset, size_t bytes) const {
  if (offset == kCap.offset && bytes == 8) return cap_;
  if (bytes != 4) return std::nullopt;
  switch (offset) {
    case kVs.offset:
      return kVersion;
    case kCc.offset:
      return cc_;
    case kCsts.offset:
      return csts_;
    case kCrto.offset:
      return kTimeoutHalfSeconds;
  }
  return std::nullopt;
}

std::optional<Properties::Work> Properties::Set(uint64_t offset, size_t bytes, uint64_t value) {
  if (offset != kCc.offset || bytes != 4) return std::nullopt;
  auto wanted = static_cast<uint32_t>(value);
  if (cc::kEn.Get(wanted) != 0 && csts::kRdy.Get(csts_) != 0) {
    // What an enabled controller was enabled with does not change.
    for (const Field<uint32_t>& fixed : {cc::kCss, cc::kMps, cc::kAms}) {
      wanted = fixed.Set(wanted, fixed.Get(cc_));
    }
  }
  cc_ = wanted;
  return work_ == Work::kNone ? Next() : Work::kNone;
}

Properties::Work Properties::Done() {
  // A reset takes everything back, the state of a shutdown and a fatal status too. §3.7.2
  if (work_ == Work::kReset) csts_ = 0;
  if (work_ == Work::kShutdown) csts_ = csts::kShst.Set(csts_, 2);
  work_ = Work::kNone;
  return Next();
}

// What CC asks for that CSTS does not say yet.
Properties::Work Properties::Next() {
  const bool enabled = cc::kEn.Get(cc_) != 0;
  const bool ready = csts::kRdy.Get(csts_) != 0, fatal = csts::kCfs.Get(csts_) != 0;
  if (!enabled && (ready || fatal)) return work_ = Work::kReset;
  if (enabled && !ready && !fatal) {
    if (CcIsValid()) {
      csts_ = csts::kRdy.Set(0, 1);
    } else {
      csts_ = csts::kCfs.Set(csts_, 1);
    }
  }
  if (cc::kShn.Get(cc_) != 0 && csts::kShst.Get(csts_) == 0) {
    csts_ = csts::kShst.Set(csts_, 1);
    return work_ = Work::kShutdown;
  }
  return Work::kNone;
}

// A discovery controller has no I/O queues, and hosts write anything for the size of their entries.
bool Properties::CcIsValid() const {
  const uint32_t css = cc::kCss.Get(cc_);
  const bool css_is_valid =
      css == kCssNvm || css == kCssIoSets || (discovery_ && css == kCssAdminOnly);
  const bool entries_are_valid =
      discovery_ || (cc::kIosqes.Get(cc_) == 6 && cc::kIocqes.Get(cc_) == 4);
  return css_is_valid && entries_are_valid && cc::kMps.Get(cc_) == 0 && cc::kAms.Get(cc_) == 0;
}

}  // namespace pollux::nvmf
