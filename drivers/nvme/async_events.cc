#include "drivers/nvme/async_events.h"

#include <algorithm>

#include "core/check.h"
#include "core/clock.h"
#include "core/spec/nvmf_spec.h"

namespace pollux::nvme {
namespace {

// Asynchronous Event Configuration, dword 11. Base figure 311.
constexpr uint32_t kCriticalWarnings = 0x1f;
constexpr uint32_t kNotices = 1u << 8 | 1u << 9 | 1u << 11 | 1u << 27;  // As in OAES.
// A notice whose log is the Changed Zone List.
constexpr uint32_t kSanitizeCompleted = 0x01, kSanitizeUnexpected = 0x02;  // Figure 149.

pollux_nvme_event Event(pollux_nvme_event_type type, uint32_t value, const char* text) {
  pollux_nvme_event event{};
  event.type = type;
  event.value = value;
  event.text = text;
  return event;
}

pollux_nvme_event DescribeNotice(uint32_t dw0) {
  switch (async_event::kInformation.Get(dw0)) {
    case async_event::kNoticeFirmwareActivation:
      return Event(POLLUX_NVME_EVENT_FIRMWARE_ACTIVATION, dw0,
                   "a firmware activation begins: the device pauses");
    case async_event::kNoticeAnaChanged:
      return Event(POLLUX_NVME_EVENT_NAMESPACE_ANA_CHANGED, dw0, "the access states changed");
    case async_event::kNoticeZoneChanged:
      return Event(POLLUX_NVME_EVENT_ZONES_CHANGED, dw0, "zones of a namespace changed");
    case async_event::kNoticeDiscoveryChanged:
      return Event(POLLUX_NVME_EVENT_DISCOVERY_CHANGED, dw0, "the discovery log page changed");
    default:
      return Event(POLLUX_NVME_EVENT_OTHER, dw0, "the device gave notice of something");
  }
}

}  // namespace

AsyncEvents::AsyncEvents(AdminQueue& admin) : admin_(admin) {
  for (Asking& request : requests_) {
    request.events = this;
    request.c()->reserved[0] = QueuePair::kNeverLate;  // It is answered when something happens.
  }
}

void AsyncEvents::Start(uint32_t limit) {
  limit_ = std::min<uint32_t>(limit, kRequests);
  for (Asking& request : requests_) request.refused = false;
}

int AsyncEvents::Step(uint64_t now_ns) {
  if (now_ns - second_began_ns_ >= kNsPerSecond) {
    second_began_ns_ = now_ns;
    this_second_ = 0;
  }
  int sent = 0;
  for (uint32_t i = 0; i < limit_; ++i) {
    Asking& request = requests_[i];
    if (request.out || request.refused) continue;
    if (pending_.size() >= kPendingMax || this_second_ >= kEventsPerSecond) break;
    SubmissionEntry entry;
    entry.opc = admin::kAsyncEventRequest;
    if (admin_.Submit(*request.c(), entry, nullptr, 0) != 0) break;
    request.out = true;
    ++this_second_;
    ++sent;
  }
  return sent;
}

void AsyncEvents::Asking::OnComplete(Completion completion) {
  out = false;
  if (pollux_nvme_ok(completion)) {
    events->pending_.push_back(completion.dw0);
  } else {
    refused = true;  // Too many for the device, or the end of the queue.
  }
}

uint32_t AsyncEvents::Take() {
  CHECK(!pending_.empty());
  const uint32_t dw0 = pending_.front();
  pending_.pop_front();
  return dw0;
}

uint32_t AsyncEvents::Configuration(uint32_t oaes, bool discovery) {
  if (discovery) return oaes & async_event::kEnableDiscoveryChange;
  return kCriticalWarnings | (oaes & kNotices);
}

pollux_nvme_event AsyncEvents::Describe(uint32_t dw0) {
  const uint32_t information = async_event::kInformation.Get(dw0);
  switch (async_event::kType.Get(dw0)) {
    case async_event::kErrorStatus:
      return Event(POLLUX_NVME_EVENT_ERROR, information, "the device reports an error of its own");
    case async_event::kHealthStatus:
      return Event(POLLUX_NVME_EVENT_HEALTH, 0, "the device's health changed");
    case async_event::kNotice:
      return DescribeNotice(dw0);
    case async_event::kIoCommandSet:
      if (information == kSanitizeCompleted || information == kSanitizeUnexpected) {
        return Event(POLLUX_NVME_EVENT_SANITIZE, information, "a sanitize operation ended");
      }
      return Event(POLLUX_NVME_EVENT_OTHER, dw0, "an event of the command set");
    default:
      return Event(POLLUX_NVME_EVENT_OTHER, dw0, "an event that is not known here");
  }
}

bool AsyncEvents::DriverReads(uint32_t dw0) {
  return async_event::kLogPage.Get(dw0) != log_page::kChangedZones;
}

}  // namespace pollux::nvme
