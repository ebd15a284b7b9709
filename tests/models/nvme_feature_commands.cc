// Get Features and Set Features. Base §5.15, §5.27.
#include <algorithm>
#include <cstring>

#include "tests/models/nvme_model.h"

namespace pollux::models {

using namespace nvme;  // NOLINT: nearly every word here is the specification's.

namespace {

enum Select : uint32_t { kCurrent = 0, kDefault = 1, kSaved = 2, kCapabilities = 3 };

struct HostMemoryAttributes {  // Base figure 328.
  Le32 hsize, hmdlal, hmdlau, hmdlec;
  uint8_t reserved[4080];
};
static_assert(sizeof(HostMemoryAttributes) == 4096);

}  // namespace

NvmeModel::Outcome NvmeModel::GetFeatures(const SubmissionEntry& sqe) {
  const auto id = static_cast<uint8_t>(sqe.cdw10);
  const uint32_t select = sqe.cdw10 >> 8 & 7;
  Features::Value* value = features_.Find(id);
  if (value == nullptr) return Refuse(status::kInvalidField, absl::StrFormat("feature %02xh", id));
  if (select > kCapabilities || (select != kCurrent && (options_.oncs & oncs::kSaveSelect) == 0)) {
    return Refuse(status::kInvalidField, "Get Features: select");
  }
  if (select == kCapabilities) return {.dw0 = value->capabilities()};
  if (value->per_namespace && id != feature::kErrorRecovery && FindNamespace(sqe.nsid) == nullptr) {
    return Refuse(status::kInvalidNamespace, "Get Features");
  }
  Outcome outcome{.dw0 = select == kCurrent ? value->current
                         : select == kSaved ? value->saved
                                            : value->first};
  const auto with = [this, &sqe, &outcome](std::span<std::byte> data) {
    outcome.status = Return(sqe, data).status;
    return outcome;
  };
  switch (id) {
    case feature::kNumberOfQueues: {
      const uint32_t granted = io_queues_granted - 1u;
      outcome.dw0 = granted << 16 | granted;
      return outcome;
    }
    case feature::kHostIdentifier: {
      const bool extended = (sqe.cdw11 & 1) != 0;
      std::array<uint8_t, 16> data = features_.host_identifier;
      return with(std::as_writable_bytes(std::span(data)).first(extended ? 16 : 8));
    }
    case feature::kTimestamp: {
      std::array<uint8_t, 8> data = features_.timestamp;
      return with(std::as_writable_bytes(std::span(data)));
    }
    case feature::kHostBehaviorSupport: {
      std::array<uint8_t, 512> data = features_.host_behavior;
      return with(std::as_writable_bytes(std::span(data)));
    }
    case feature::kHostMemoryBuffer: {
      HostMemoryAttributes data{};
      data.hsize = features_.host_memory.pages;
      data.hmdlal = static_cast<uint32_t>(features_.host_memory.list);
      data.hmdlau = static_cast<uint32_t>(features_.host_memory.list >> 32);
      data.hmdlec = features_.host_memory.entries;
      return with(std::as_writable_bytes(std::span(&data, 1)));
    }
    case feature::kNamespaceWriteProtection:
      outcome.dw0 = FindNamespace(sqe.nsid)->write_protected ? 1 : 0;
      return outcome;
    default:
      return outcome;
  }
}

NvmeModel::Outcome NvmeModel::SetFeatures(const SubmissionEntry& sqe) {
  const auto id = static_cast<uint8_t>(sqe.cdw10);
  const bool save = sqe.cdw10 >> 31 != 0;
  Features::Value* value = features_.Find(id);
  if (value == nullptr) return Refuse(status::kInvalidField, absl::StrFormat("feature %02xh", id));
  if (!value->changeable) return Refuse(status::kFeatureNotChangeable, "Set Features");
  if (save && !value->saveable) return Refuse(status::kFeatureNotSaveable, "Set Features");
  if (value->per_namespace && sqe.nsid != kAllNamespaces && FindNamespace(sqe.nsid) == nullptr) {
    return Refuse(status::kInvalidNamespace, "Set Features");
  }
  Outcome outcome;
  switch (id) {
    case feature::kNumberOfQueues: {
      // Base §5.27.1.5: before any I/O queue, and not ffffh.
      const bool any = std::any_of(cqs_.begin() + 1, cqs_.end(),
                                   [](const CompletionRing& cq) { return cq.live; });
      if (any) return Refuse(status::kCommandSequenceError, "Number of Queues: queues exist");
      if ((sqe.cdw11 & 0xffff) == 0xffff || sqe.cdw11 >> 16 == 0xffff) {
        return Refuse(status::kInvalidField, "Number of Queues: ffffh");
      }
      const uint32_t granted = io_queues_granted - 1u;
      outcome.dw0 = granted << 16 | granted;
      io_queues_allocated_ = std::min(io_queues_granted, options_.io_queues_max);
      break;
    }
    case feature::kPowerManagement:
      if ((sqe.cdw11 & 0x1f) != 0) return Refuse(status::kInvalidField, "power state");
      break;
    case feature::kVolatileWriteCache:
      if ((options_.vwc & 1) == 0) return Refuse(status::kInvalidField, "there is no cache");
      break;
    case feature::kInterruptVectorConfiguration:
      if ((sqe.cdw11 & 0xffff) >= options_.interrupt_vectors) {
        return Refuse(status::kInvalidField, "interrupt vector");
      }
      break;
    case feature::kHostIdentifier: {
      const bool extended = (sqe.cdw11 & 1) != 0;
      features_.host_identifier = {};
      outcome = Receive(
          sqe,
          std::as_writable_bytes(std::span(features_.host_identifier)).first(extended ? 16 : 8));
      features_.host_identifier_bytes = extended ? 16 : 8;
      break;
    }
    case feature::kTimestamp:
      outcome = Receive(sqe, std::as_writable_bytes(std::span(features_.timestamp)));
      break;
    case feature::kHostBehaviorSupport:
      outcome = Receive(sqe, std::as_writable_bytes(std::span(features_.host_behavior)));
      break;
    case feature::kHostMemoryBuffer:
      outcome = SetHostMemory(sqe);
      break;
    case feature::kIoCommandSetProfile:
      if ((sqe.cdw11 & 0x1ff) != 0) return Refuse(status::kInvalidField, "command set profile");
      break;
    case feature::kNamespaceWriteProtection:
      if (sqe.nsid == kAllNamespaces || (sqe.cdw11 & 7) > 1) {
        return Refuse(status::kInvalidField, "write protection");
      }
      FindNamespace(sqe.nsid)->write_protected = (sqe.cdw11 & 7) == 1;
      break;
    default:
      break;
  }
  if (outcome.status != 0) return outcome;
  value->current = sqe.cdw11;
  if (save) value->saved = sqe.cdw11;
  return outcome;
}

// Base §5.27.1.10: descriptors of at least HMMINDS, in whole pages, all of them reachable.
NvmeModel::Outcome NvmeModel::SetHostMemory(const SubmissionEntry& sqe) {
  if (options_.host_memory_preferred_pages == 0) {
    return Refuse(status::kInvalidField, "there is no host memory buffer");
  }
  if ((sqe.cdw11 & 1) == 0) {
    features_.host_memory = {};
    return {};
  }
  if (features_.host_memory.pages != 0) {
    return Refuse(status::kCommandSequenceError, "the host memory buffer is enabled");
  }
  const uint64_t list = uint64_t{sqe.cdw14} << 32 | sqe.cdw13;
  const uint32_t entries = sqe.cdw15;
  if (list % 16 != 0 || entries == 0) return Refuse(status::kInvalidField, "host memory list");
  const std::byte* at = reach_.At(list, uint64_t{entries} * sizeof(HostMemoryDescriptor), false);
  if (at == nullptr) return Refuse(status::kInvalidField, "host memory list: no such memory");
  uint64_t pages = 0;
  for (uint32_t i = 0; i < entries; ++i) {
    HostMemoryDescriptor descriptor;
    std::memcpy(&descriptor, at + i * sizeof descriptor, sizeof descriptor);
    const uint64_t bytes = uint64_t{descriptor.bsize} * page_bytes();
    if (descriptor.badd % page_bytes() != 0 || bytes == 0 ||
        reach_.At(descriptor.badd, bytes, true) == nullptr) {
      return Refuse(status::kInvalidField, "a host memory descriptor");
    }
    pages += descriptor.bsize;
  }
  if (pages != sqe.cdw12) return Refuse(status::kInvalidField, "host memory size");
  if (pages * page_bytes() < uint64_t{options_.host_memory_min_pages} * 4096) {
    return Refuse(status::kInvalidField, "the host memory buffer is too small");
  }
  features_.host_memory = {.pages = sqe.cdw12, .list = list, .entries = entries};
  return {};
}

}  // namespace pollux::models
