#include "targets/nvmf/features.h"

#include <algorithm>
#include <array>
#include <optional>

#include "core/run_on.h"
#include "targets/nvmf/await_task.h"
#include "targets/nvmf/controller.h"
#include "targets/nvmf/parameter_data.h"
#include "targets/nvmf/queue.h"
#include "targets/nvmf/worker.h"

// Get Features and Set Features. Base §5.15, §5.27

namespace pollux::nvmf {

using namespace nvme::status;

namespace {

// SEL of Get Features.
enum Select : uint8_t { kCurrent = 0, kDefault = 1, kSaved = 2, kCapabilities = 3 };
// Its capabilities; bit 0, saveable, no feature has. Figure 193
constexpr uint32_t kNamespaceSpecific = 1 << 1, kChangeable = 1 << 2;

constexpr uint16_t kFeatureNotNamespaceSpecific = 0x10f;
constexpr uint16_t kCommandSetCombinationRejected = 0x12b;
constexpr uint32_t kSmartEvents = 0xff;  // Of the Asynchronous Event Configuration.
constexpr size_t kHostBehaviorBytes = 512;

// Where fields of these commands begin.
constexpr uint8_t kFidByte = 40, kSelByte = 41, kValueByte = 44;

uint8_t FidOf(Execution& e) { return static_cast<uint8_t>(uint32_t{e.entry().cdw10}); }

uint32_t TwiceZeroBased(uint16_t count) {
  const uint32_t value = count - 1u;
  return value << 16 | value;
}

// What this kind of controller has, and how it may be used; null: nothing of it.
std::optional<uint32_t> CapabilitiesOf(uint8_t fid, bool discovery) {
  switch (fid) {
    case nvme::feature::kAsyncEventConfiguration:
    case nvme::feature::kKeepAliveTimer:
      return kChangeable;
  }
  if (discovery) return std::nullopt;
  switch (fid) {
    case nvme::feature::kArbitration:
    case nvme::feature::kPowerManagement:
    case nvme::feature::kTemperatureThreshold:
    case nvme::feature::kErrorRecovery:
    case nvme::feature::kNumberOfQueues:
    case nvme::feature::kWriteAtomicity:
    case nvme::feature::kHostBehaviorSupport:
    case nvme::feature::kIoCommandSetProfile:
      return kChangeable;
    case nvme::feature::kVolatileWriteCache:
    case nvme::feature::kHostIdentifier:
      return 0;
    case nvme::feature::kNamespaceWriteProtection:
      return kNamespaceSpecific | kChangeable;
  }
  return std::nullopt;
}

// The value of a feature that is one. TMPSEL and THSEL tell which threshold. Figure 322
uint32_t ValueOf(const Features& features, uint8_t fid, uint32_t cdw11) {
  switch (fid) {
    case nvme::feature::kArbitration:
      return features.arbitration;
    case nvme::feature::kPowerManagement:
      return features.power_state;
    case nvme::feature::kTemperatureThreshold: {
      const uint32_t sensor = cdw11 >> 16 & 0xf, under = cdw11 >> 20 & 0x3;
      if (sensor != 0) return under != 0 ? 0 : 0xffff;
      return under != 0 ? features.temperature_under : features.temperature_over;
    }
    case nvme::feature::kErrorRecovery:
      return features.error_recovery;
    case nvme::feature::kVolatileWriteCache:
      return 1;
    case nvme::feature::kNumberOfQueues:
      return TwiceZeroBased(features.io_queues);
    case nvme::feature::kWriteAtomicity:
      return features.atomicity_disabled;
    case nvme::feature::kAsyncEventConfiguration:
      return features.async_events;
  }
  return 0;  // The I/O Command Set Profile: the first combination, there is no other.
}

}  // namespace

uint32_t Controller::EventBitsSupported() const {
  if (discovery()) return nvme::async_event::kEnableDiscoveryChange;
  uint32_t bits = nvme::async_event::kEnableNamespaceAttribute;
  if (view_.facts().ana_reporting) bits |= nvme::async_event::kEnableAnaChange;
  return bits;
}

// The Feature Identifiers Supported and Effects log page. Figure 257: FSUPP, NCC, and the scope.
std::string Controller::FeatureEffects() const {
  constexpr uint32_t kThere = 1 << 0, kChangesNamespace = 1 << 2, kOfNamespace = 1 << 20,
                     kOfController = 1 << 21;
  Page<std::array<Le32, 256>> page;
  for (unsigned fid = 0; fid < page->size(); ++fid) {
    const auto capabilities = CapabilitiesOf(static_cast<uint8_t>(fid), discovery());
    if (!capabilities) continue;
    const bool of_namespace = (*capabilities & kNamespaceSpecific) != 0;
    (*page)[fid] = kThere | (of_namespace ? kOfNamespace | kChangesNamespace : kOfController);
  }
  return page.Take();
}

// --- Get Features

void Controller::GetFeatures(Execution& execution) {
  const uint32_t cdw10 = execution.entry().cdw10, cdw11 = execution.entry().cdw11;
  const uint8_t fid = FidOf(execution);
  const uint32_t select = cdw10 >> 8 & 0x7;
  const std::optional<uint32_t> capabilities = CapabilitiesOf(fid, discovery());
  if (!capabilities) return execution.EndInvalidField(kFidByte);
  if (select > kCapabilities) return execution.EndInvalidField(kSelByte);
  if (select == kCapabilities) return execution.EndSuccess(*capabilities);
  const bool current = select == kCurrent;  // Nothing was saved, so the saved value is the default.
  switch (fid) {
    case nvme::feature::kKeepAliveTimer:
      return execution.EndSuccess(current ? keep_alive_.timeout_ms() : 0);
    case nvme::feature::kHostIdentifier: {
      // Over fabrics it has 128 bits, and EXHID must say so. §5.27.1.25
      if ((cdw11 & 1) == 0) return execution.EndInvalidField(kValueByte);
      const auto& id = identity_->hostid;
      return EndWithWhole(execution,
                          std::string(reinterpret_cast<const char*>(id.data()), id.size()));
    }
    case nvme::feature::kHostBehaviorSupport: {
      std::string data(kHostBehaviorBytes, '\0');
      data[0] = current && features_.advanced_retry;
      return EndWithWhole(execution, std::move(data));
    }
    case nvme::feature::kNamespaceWriteProtection: {
      const NamespaceView* const ns = FindVisible(execution.entry().nsid);
      if (ns == nullptr) return execution.End(kInvalidNamespace | kDnrBit);
      const auto now = static_cast<uint32_t>(ns->facts->write_protection);
      return execution.EndSuccess(current ? now : 0);
    }
  }
  const Features defaults(queue_.limits().io_queues_max);
  execution.EndSuccess(ValueOf(current ? features_ : defaults, fid, cdw11));
}

// --- Set Features

void Controller::SetFeatures(Execution& execution) {
  const uint32_t cdw10 = execution.entry().cdw10, cdw11 = execution.entry().cdw11;
  const uint32_t nsid = execution.entry().nsid;
  const uint8_t fid = FidOf(execution);
  const auto capabilities = CapabilitiesOf(fid, discovery());
  if (!capabilities) return execution.EndInvalidField(kFidByte);
  if ((cdw10 >> 31) != 0) return execution.End(kFeatureNotSaveable | kDnrBit);
  if (fid == nvme::feature::kNamespaceWriteProtection) return StartWriteProtection(execution);
  if (nsid != 0 && nsid != nvme::kAllNamespaces) {
    const bool valid = IsValidNsid(nsid);
    return execution.End((valid ? kFeatureNotNamespaceSpecific : kInvalidNamespace) | kDnrBit);
  }
  switch (fid) {
    case nvme::feature::kHostIdentifier:  // Connect has said it. §5.27.1.25
      return execution.End(kCommandSequenceError | kDnrBit);
    case nvme::feature::kHostBehaviorSupport:
      return execution.FetchData(kHostBehaviorBytes,
                                 [](Execution& e) { Of(e).SetHostBehavior(e); });
    case nvme::feature::kNumberOfQueues:
      return StartNumberOfQueues(execution);
    case nvme::feature::kKeepAliveTimer:
      SetKeepAlive(cdw11);
      return execution.EndSuccess();
  }
  const uint16_t status = SetValue(fid, cdw11);
  if (status == (kInvalidField | kDnrBit)) return execution.EndInvalidField(kValueByte);
  execution.End(status);
}

// Sets a feature that is a value. A status of NVMe.
uint16_t Controller::SetValue(uint8_t fid, uint32_t value) {
  switch (fid) {
    case nvme::feature::kArbitration:
      features_.arbitration = value;
      return kSuccess;
    case nvme::feature::kPowerManagement:  // There is one state; the workload hint is welcome.
      if ((value & 0x1f) != 0) return kInvalidField | kDnrBit;
      features_.power_state = value & 0xff;
      return kSuccess;
    case nvme::feature::kTemperatureThreshold: {
      const uint32_t sensor = value >> 16 & 0xf, kind = value >> 20 & 0x3;
      if ((sensor != 0 && sensor != 0xf) || kind > 1) return kInvalidField | kDnrBit;
      (kind == 0 ? features_.temperature_over : features_.temperature_under) =
          static_cast<uint16_t>(value);
      return kSuccess;
    }
    case nvme::feature::kErrorRecovery:  // No namespace reports unwritten blocks (DULBE).
      if ((value >> 16 & 1) != 0) return kInvalidField | kDnrBit;
      features_.error_recovery = static_cast<uint16_t>(value);
      return kSuccess;
    case nvme::feature::kVolatileWriteCache:
      return (value & 1) != 0 ? kSuccess : kFeatureNotChangeable | kDnrBit;
    case nvme::feature::kWriteAtomicity:
      features_.atomicity_disabled = (value & 1) != 0;
      return kSuccess;
    case nvme::feature::kAsyncEventConfiguration:
      if ((value & ~(EventBitsSupported() | kSmartEvents)) != 0) return kInvalidField | kDnrBit;
      features_.async_events = value;
      events_.Enable(value);
      return kSuccess;
    case nvme::feature::kIoCommandSetProfile:
      return (value & 0x1ff) == 0 ? kSuccess : kCommandSetCombinationRejected | kDnrBit;
  }
  return kInvalidField | kDnrBit;
}

// Byte 0 is ACRE; the others stand for what the controller does not offer. §5.27.1.18
void Controller::SetHostBehavior(Execution& execution) {
  const std::span<const std::byte> data = execution.data();
  const bool others = std::any_of(data.begin() + 1, data.begin() + 4,
                                  [](std::byte byte) { return byte != std::byte{0}; });
  if (data[0] > std::byte{1} || others) return execution.End(kInvalidField | kDnrBit);
  features_.advanced_retry = data[0] == std::byte{1};
  execution.EndSuccess();
}

// --- Number of Queues. §5.27.1.5. The I/O queues may be on any reactor.

void Controller::StartNumberOfQueues(Execution& execution) {
  const uint32_t cdw11 = execution.entry().cdw11;
  const auto submission = static_cast<uint16_t>(cdw11),
             completion = static_cast<uint16_t>(cdw11 >> 16);
  if (submission == 0xffff || completion == 0xffff) return execution.EndInvalidField(kValueByte);
  // A queue pair has one of each.
  const uint32_t asked = std::min(submission, completion) + 1u;
  AwaitTask(execution, SetNumberOfQueues(&execution, static_cast<uint16_t>(std::min<uint32_t>(
                                                         asked, queue_.limits().io_queues_max))));
}

Task<void> Controller::SetNumberOfQueues(Execution* execution, uint16_t count) {
  Worker& worker = queue_.worker();
  co_await SwitchTo(worker.control());
  const size_t there = worker.control_side().IoQueuesOf(*identity_);
  co_await SwitchTo(worker.reactor());
  if (there > 0) {
    execution->End(kCommandSequenceError | kDnrBit);
    co_return;
  }
  features_.io_queues = count;
  execution->EndSuccess(TwiceZeroBased(count));
}

// --- Namespace Write Protection. §8.12, §5.27.1.30. It belongs to the namespace, for all hosts. A
// power cycle of the subsystem is a restart of the daemon, or that it is made anew.

void Controller::StartWriteProtection(Execution& execution) {
  const uint32_t nsid = execution.entry().nsid, state = execution.entry().cdw11 & 0x7;
  if (FindVisible(nsid) == nullptr) return execution.End(kInvalidNamespace | kDnrBit);
  if (state > static_cast<uint32_t>(nvme::WriteProtection::kPermanent)) {
    return execution.EndInvalidField(kValueByte);
  }
  AwaitTask(execution,
            SetWriteProtection(&execution, nsid, static_cast<nvme::WriteProtection>(state)));
}

Task<void> Controller::SetWriteProtection(Execution* execution, uint32_t nsid,
                                          nvme::WriteProtection state) {
  Worker& worker = queue_.worker();
  co_await SwitchTo(worker.control());
  const uint16_t status =
      co_await worker.control_side().ProtectNamespace(identity_->subnqn, nsid, state);
  co_await SwitchTo(worker.reactor());
  execution->End(status);
}

}  // namespace pollux::nvmf
