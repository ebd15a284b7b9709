// Admin commands that have no file of their own. Base §5.
#include <algorithm>
#include <cstring>

#include "tests/models/nvme_model.h"

namespace pollux::models {

using namespace nvme;  // NOLINT: nearly every word here is the specification's.

namespace {

constexpr uint16_t kDoNotRetry = 0x4000;
constexpr uint32_t kBroadcast = kAllNamespaces;
constexpr size_t kFirmwareBytesMax = size_t{16} << 20;

}  // namespace

NvmeModel::Outcome NvmeModel::Refuse(uint16_t code, std::string_view why) {
  Complain(absl::StrFormat("%03xh: %s", code, why));
  return {.status = static_cast<uint16_t>(code | kDoNotRetry)};
}

// Data of an admin command to the host.
NvmeModel::Outcome NvmeModel::Return(const SubmissionEntry& sqe, std::span<std::byte> data) {
  if (edit_data) edit_data(sqe, data);
  std::string why;
  if (uint16_t code = data_.Map(transfer_rules(), reach_, sqe, data.size(), true, why)) {
    return Refuse(code, why);
  }
  data_.ToHost(0, data);
  return {};
}

NvmeModel::Outcome NvmeModel::Receive(const SubmissionEntry& sqe, std::span<std::byte> data) {
  std::string why;
  if (uint16_t code = data_.Map(transfer_rules(), reach_, sqe, data.size(), false, why)) {
    return Refuse(code, why);
  }
  data_.FromHost(0, data);
  return {};
}

NvmeModel::Outcome NvmeModel::ExecuteAdmin(const SubmissionEntry& sqe) {
  if ((sqe.flags & 0xc0) != kPsdtPrp) {
    // Base figure 87, PSDT: over PCIe, PRPs are used for all admin commands.
    return Refuse(status::kInvalidField, "an SGL in an admin command");
  }
  if ((sqe.flags & 0x3c) != 0) return Refuse(status::kInvalidField, "reserved bits in byte 1");
  const auto supported = [this](uint16_t bit) { return (options_.oacs & bit) != 0; };
  switch (sqe.opc) {
    case admin::kDeleteSq:
      return DeleteQueue(sqe, false);
    case admin::kCreateSq:
      return CreateSq(sqe);
    case admin::kGetLogPage:
      return GetLogPage(sqe);
    case admin::kDeleteCq:
      return DeleteQueue(sqe, true);
    case admin::kCreateCq:
      return CreateCq(sqe);
    case admin::kIdentify:
      return Identify(sqe);
    case admin::kAbort:
      return Abort(sqe);
    case admin::kSetFeatures:
      return SetFeatures(sqe);
    case admin::kGetFeatures:
      return GetFeatures(sqe);
    case admin::kAsyncEventRequest:
      return AsyncEventRequest(sqe);
    case admin::kKeepAlive:
      return {};
    case admin::kNamespaceManagement:
      if (supported(oacs::kNamespaceManagement)) return NamespaceManagement(sqe);
      break;
    case admin::kNamespaceAttachment:
      if (supported(oacs::kNamespaceManagement)) return NamespaceAttachment(sqe);
      break;
    case admin::kFirmwareCommit:
      if (supported(oacs::kFirmware)) return FirmwareCommit(sqe);
      break;
    case admin::kFirmwareImageDownload:
      if (supported(oacs::kFirmware)) return FirmwareDownload(sqe);
      break;
    case admin::kDoorbellBufferConfig:
      if (supported(oacs::kDoorbellBufferConfig)) return DoorbellBufferConfig(sqe);
      break;
    case admin::kFormatNvm:
      if (supported(oacs::kFormat)) return FormatNvm(sqe);
      break;
    case admin::kSecuritySend:
      if (supported(oacs::kSecurity)) return SecuritySend(sqe);
      break;
    case admin::kSecurityReceive:
      if (supported(oacs::kSecurity)) return SecurityReceive(sqe);
      break;
    case admin::kSanitize:
      return Sanitize(sqe);
    default:
      break;
  }
  return {.status = status::kInvalidOpcode | kDoNotRetry};
}

// --- Queues.

// Base §5.4. Over PCIe: a ring in one piece, since CAP.CQR is set.
NvmeModel::Outcome NvmeModel::CreateCq(const SubmissionEntry& sqe) {
  const auto qid = static_cast<uint16_t>(sqe.cdw10);
  const uint32_t entries = (sqe.cdw10 >> 16) + 1;
  const auto vector = static_cast<uint16_t>(sqe.cdw11 >> 16);
  const bool interrupts = (sqe.cdw11 & 2) != 0;
  if (qid == 0 || qid > io_queues_allocated_ || cqs_[qid].live) {
    return Refuse(status::kInvalidQueueIdentifier, "Create CQ: identifier");
  }
  if (entries < 2 || entries > options_.queue_entries_max) {
    return Refuse(status::kInvalidQueueSize, "Create CQ: size");
  }
  if (cc::kIocqes.Get(cc_) != 4) return Refuse(status::kInvalidQueueSize, "CC.IOCQES is not 4");
  if ((sqe.cdw11 & 1) == 0) return Refuse(status::kInvalidField, "Create CQ: not contiguous");
  if (interrupts && vector >= options_.interrupt_vectors) {
    return Refuse(status::kInvalidInterruptVector, "Create CQ: vector");
  }
  if (sqe.prp1 % page_bytes() != 0) return Refuse(status::kInvalidPrpOffset, "Create CQ: PRP1");
  std::byte* memory = reach_.At(sqe.prp1, uint64_t{entries} * sizeof(CompletionEntry), true);
  if (memory == nullptr) return Refuse(status::kDataTransferError, "Create CQ: no such memory");
  for (uint32_t i = 0; i < entries; ++i) {
    // A phase that is there already would be taken for a completion. Base §3.3.1.
    if ((std::to_integer<unsigned>(memory[i * sizeof(CompletionEntry) + 14]) & 1) != 0) {
      Complain("completion queue %u is not cleared", qid);
      break;
    }
  }
  cqs_[qid] = {.live = true,
               .entries = entries,
               .base = sqe.prp1,
               .interrupts = interrupts,
               .vector = vector,
               .memory = memory};
  FindQueuesEnd();
  ResetDoorbell(qid, true);
  return {};
}

NvmeModel::Outcome NvmeModel::CreateSq(const SubmissionEntry& sqe) {
  const auto qid = static_cast<uint16_t>(sqe.cdw10);
  const uint32_t entries = (sqe.cdw10 >> 16) + 1;
  const auto cqid = static_cast<uint16_t>(sqe.cdw11 >> 16);
  if (qid == 0 || qid > io_queues_allocated_ || sqs_[qid].live) {
    return Refuse(status::kInvalidQueueIdentifier, "Create SQ: identifier");
  }
  if (entries < 2 || entries > options_.queue_entries_max) {
    return Refuse(status::kInvalidQueueSize, "Create SQ: size");
  }
  if (cc::kIosqes.Get(cc_) != 6) return Refuse(status::kInvalidQueueSize, "CC.IOSQES is not 6");
  if (cqid == 0 || cqid > io_queues_allocated_) {
    return Refuse(status::kInvalidQueueIdentifier, "Create SQ: completion queue's identifier");
  }
  if (!cqs_[cqid].live) return Refuse(status::kCompletionQueueInvalid, "Create SQ: no such CQ");
  if ((sqe.cdw11 & 1) == 0) return Refuse(status::kInvalidField, "Create SQ: not contiguous");
  if (sqe.prp1 % page_bytes() != 0) return Refuse(status::kInvalidPrpOffset, "Create SQ: PRP1");
  const std::byte* memory = reach_.At(sqe.prp1, uint64_t{entries} * sizeof(SubmissionEntry), false);
  if (memory == nullptr) return Refuse(status::kDataTransferError, "Create SQ: no such memory");
  sqs_[qid] = {.live = true,
               .cqid = cqid,
               .entries = entries,
               .base = sqe.prp1,
               .priority = static_cast<uint8_t>(sqe.cdw11 >> 1 & 3),
               .memory = memory};
  FindQueuesEnd();
  ResetDoorbell(qid, false);
  return {};
}

NvmeModel::Outcome NvmeModel::DeleteQueue(const SubmissionEntry& sqe, bool completion_queue) {
  const auto qid = static_cast<uint16_t>(sqe.cdw10);
  if (qid == 0 || qid >= sqs_.size() || !(completion_queue ? cqs_[qid].live : sqs_[qid].live)) {
    return Refuse(status::kInvalidQueueIdentifier, "Delete: identifier");
  }
  if (!completion_queue) {
    DropCommands(qid);
    sqs_[qid] = {};
    FindQueuesEnd();
    return {};
  }
  for (const SubmissionRing& sq : sqs_) {
    if (sq.live && sq.cqid == qid && &sq != &sqs_[0]) {
      return Refuse(status::kInvalidQueueDeletion, "Delete CQ: a submission queue uses it");
    }
  }
  cqs_[qid] = {};
  FindQueuesEnd();
  return {};
}

// Base §5.8.
NvmeModel::Outcome NvmeModel::DoorbellBufferConfig(const SubmissionEntry& sqe) {
  const uint64_t shadow = sqe.prp1;
  const uint64_t event_index = sqe.prp2;
  if (shadow % page_bytes() != 0 || event_index % page_bytes() != 0) {
    return Refuse(status::kInvalidField, "Doorbell Buffer Config: not a page");
  }
  shadow_ = reach_.At(shadow, page_bytes(), false);
  event_index_ = reach_.At(event_index, page_bytes(), true);
  if (shadow_ == nullptr || event_index_ == nullptr) {
    shadow_ = event_index_ = nullptr;
    return Refuse(status::kInvalidField, "Doorbell Buffer Config: no such memory");
  }
  shadow_iova_ = shadow;
  event_index_iova_ = event_index;
  // Queues that there are go on from the registers' values.
  for (uint16_t qid = 1; qid < sqs_.size(); ++qid) {
    for (const bool completion_queue : {false, true}) {
      const size_t offset = DoorbellOffset(qid, completion_queue);
      if (!(completion_queue ? cqs_[qid].live : sqs_[qid].live)) continue;
      std::memcpy(shadow_ + offset, doorbells() + offset, 4);
    }
  }
  return {};
}

// --- Abort and events.

// Base §5.1. Dword 0, bit 0: it was not aborted.
NvmeModel::Outcome NvmeModel::Abort(const SubmissionEntry& sqe) {
  const auto sqid = static_cast<uint16_t>(sqe.cdw10);
  const auto cid = static_cast<uint16_t>(sqe.cdw10 >> 16);
  if (sqid >= sqs_.size() || !sqs_[sqid].live) return {.dw0 = 1};
  if (const auto event = std::find(event_requests_.begin(), event_requests_.end(), cid);
      sqid == 0 && event != event_requests_.end() && !refuse_aborts) {
    event_requests_.erase(event);
    PostAnswer(0, cid, {.status = status::kAbortRequested});
    return {.dw0 = 0};
  }
  const auto found = std::find_if(held_.begin(), held_.end(), [sqid, cid](const Command& command) {
    return command.sqid == sqid && command.sqe.cid == cid;
  });
  if (found == held_.end() || refuse_aborts) return {.dw0 = 1};
  const Command command = *found;
  held_.erase(found);
  Answer(command, {.status = status::kAbortRequested});
  return {.dw0 = 0};
}

NvmeModel::Outcome NvmeModel::AsyncEventRequest(const SubmissionEntry& sqe) {
  if (event_requests_.size() >= options_.async_events_max) {
    return Refuse(status::kAsyncEventLimitExceeded, "Asynchronous Event Request");
  }
  event_requests_.push_back(sqe.cid);
  DeliverEvents();
  return {.pending = true};
}

void NvmeModel::DeliverEvents() {
  for (auto event = events_.begin(); event != events_.end() && !event_requests_.empty();) {
    const uint32_t type = async_event::kType.Get(*event);
    if ((masked_event_types_ >> type & 1) != 0) {
      ++event;
      continue;
    }
    masked_event_types_ = static_cast<uint8_t>(masked_event_types_ | 1u << type);
    PostAnswer(0, event_requests_.front(), {.dw0 = *event});
    event_requests_.pop_front();
    event = events_.erase(event);
  }
}

void NvmeModel::PostEvent(uint32_t type, uint32_t information, uint8_t log_page) {
  if (!ready()) return;
  // Base figure 326: notices, and health events, are sent when the host asked for them.
  const uint32_t configuration = features_.Get(feature::kAsyncEventConfiguration);
  if (type == async_event::kNotice) {
    const bool zones = information == async_event::kNoticeZoneChanged;
    const uint32_t bit = zones ? 27 : 8 + information;
    if ((configuration >> bit & 1) == 0) return;
  }
  uint32_t event = 0;
  event = async_event::kType.Set(event, type);
  event = async_event::kInformation.Set(event, information);
  event = async_event::kLogPage.Set(event, log_page);
  events_.push_back(event);
  DeliverEvents();
  RaiseInterrupts();
}

// --- Namespaces.

ModelNamespace* NvmeModel::FindNamespace(uint32_t nsid) {
  const auto found = namespaces_.find(nsid);
  return found == namespaces_.end() ? nullptr : found->second.get();
}

void NvmeModel::NoteChangedNamespace(uint32_t nsid) {
  if (std::find(changed_namespaces_.begin(), changed_namespaces_.end(), nsid) ==
      changed_namespaces_.end()) {
    changed_namespaces_.push_back(nsid);
    std::sort(changed_namespaces_.begin(), changed_namespaces_.end());
  }
  PostEvent(async_event::kNotice, async_event::kNoticeNamespaceChanged,
            log_page::kChangedNamespaces);
}

uint32_t NvmeModel::AddNamespace(const ModelNamespace::Options& options) {
  uint32_t nsid = 1;
  while (namespaces_.contains(nsid)) ++nsid;
  namespaces_.emplace(nsid, std::make_unique<ModelNamespace>(nsid, options));
  if (options.attached) NoteChangedNamespace(nsid);
  return nsid;
}

void NvmeModel::RemoveNamespace(uint32_t nsid) {
  namespaces_.erase(nsid);
  reservations_.erase(nsid);
  NoteChangedNamespace(nsid);
}

void NvmeModel::ResizeNamespace(uint32_t nsid, uint64_t blocks) {
  FindNamespace(nsid)->Resize(blocks);
  NoteChangedNamespace(nsid);
}

// Base §5.23.
NvmeModel::Outcome NvmeModel::NamespaceManagement(const SubmissionEntry& sqe) {
  const uint32_t action = sqe.cdw10 & 0xf;
  if (action == 1) {
    if (sqe.nsid == kBroadcast) {
      namespaces_.clear();
      reservations_.clear();
      return {};
    }
    if (FindNamespace(sqe.nsid) == nullptr) {
      return Refuse(status::kInvalidNamespace, "Namespace Management: delete");
    }
    namespaces_.erase(sqe.nsid);
    reservations_.erase(sqe.nsid);
    return {};
  }
  if (action != 0) return Refuse(status::kInvalidField, "Namespace Management: action");
  IdentifyNamespace wanted;
  if (Outcome outcome = Receive(sqe, std::as_writable_bytes(std::span(&wanted, 1)));
      outcome.status != 0) {
    return outcome;
  }
  const std::vector<LbaFormat> formats = ModelNamespace::CommonFormats();
  const unsigned format = wanted.flbas & 0xfu;
  if (format >= formats.size()) return Refuse(status::kInvalidFormat, "Namespace Management");
  const auto csi = static_cast<uint8_t>(sqe.cdw11 >> 24);
  if (csi != kCsiNvm) return Refuse(status::kInvalidField, "Namespace Management: command set");
  if (wanted.nsze == 0 || wanted.nsze != wanted.ncap) {
    return Refuse(status::kInvalidField, "Namespace Management: size");
  }
  if (namespaces_.size() >= options_.namespaces_max) {
    return Refuse(0x116, "Namespace Management: no identifier is left");  // Base figure 97.
  }
  ModelNamespace::Options options;
  options.blocks = wanted.nsze;
  options.block_bytes = 1u << formats[format].lbads;
  options.metadata_bytes = formats[format].ms;
  options.extended = (wanted.flbas & 0x10) != 0;
  options.protection = wanted.dps & 7;
  options.protection_first = (wanted.dps & 8) != 0;
  options.attached = false;
  if (options.blocks > kNamespaceBytesMax / options.block_bytes) {
    return Refuse(0x115, "Namespace Management: capacity");
  }
  if (options.protection > 3 || (options.protection != 0 && options.metadata_bytes < 8)) {
    return Refuse(status::kInvalidField, "Namespace Management: protection");
  }
  return {.dw0 = AddNamespace(options)};
}

// Base §5.22. The data is a controller list: ours is the one controller.
NvmeModel::Outcome NvmeModel::NamespaceAttachment(const SubmissionEntry& sqe) {
  const uint32_t action = sqe.cdw10 & 0xf;
  if (action > 1) return Refuse(status::kInvalidField, "Namespace Attachment: action");
  Le16 list[2048];
  if (Outcome outcome = Receive(sqe, std::as_writable_bytes(std::span(list)));
      outcome.status != 0) {
    return outcome;
  }
  if (list[0] != 1 || list[1] != kControllerId) {
    return Refuse(0x11c, "Namespace Attachment: controller list");
  }
  ModelNamespace* ns = FindNamespace(sqe.nsid);
  if (ns == nullptr) return Refuse(status::kInvalidNamespace, "Namespace Attachment");
  if (action == 0) {
    if (ns->attached()) return Refuse(status::kNamespaceAlreadyAttached, "Namespace Attachment");
    ns->set_attached(true);
  } else {
    if (!ns->attached()) return Refuse(status::kNamespaceNotAttached, "Namespace Attachment");
    ns->set_attached(false);
  }
  NoteChangedNamespace(sqe.nsid);
  return {};
}

// Base §5.14.
NvmeModel::Outcome NvmeModel::FormatNvm(const SubmissionEntry& sqe) {
  const uint32_t cdw10 = sqe.cdw10;
  const auto format = static_cast<uint8_t>((cdw10 & 0xf) | (cdw10 >> 12 & 3) << 4);
  const bool extended = (cdw10 & 0x10) != 0;
  const auto protection = static_cast<uint8_t>(cdw10 >> 5 & 7);
  const bool protection_first = (cdw10 & 0x100) != 0;
  if ((cdw10 >> 9 & 7) > 2) return Refuse(status::kInvalidField, "Format: secure erase setting");
  if (sqe.nsid != kBroadcast && FindNamespace(sqe.nsid) == nullptr) {
    return Refuse(status::kInvalidNamespace, "Format");
  }
  for (auto& [nsid, ns] : namespaces_) {
    if (sqe.nsid != kBroadcast && sqe.nsid != nsid) continue;
    if (uint16_t code = ns->Format(format, extended, protection, protection_first)) {
      return Refuse(code, "Format");
    }
    NoteChangedNamespace(nsid);
  }
  return {};
}

// --- Firmware, sanitize, security.

// Base §5.13.
NvmeModel::Outcome NvmeModel::FirmwareDownload(const SubmissionEntry& sqe) {
  const size_t bytes = (size_t{sqe.cdw10} + 1) * 4;
  const size_t offset = size_t{sqe.cdw11} * 4;
  if (options_.mdts != 0 && bytes > size_t{4096} << options_.mdts) {
    return Refuse(status::kInvalidField, "Firmware Download: more than MDTS");
  }
  if (offset + bytes > kFirmwareBytesMax) {
    return Refuse(status::kInvalidField, "Firmware Download: too long");
  }
  firmware_.resize(std::max(firmware_.size(), offset + bytes));
  return Receive(sqe, std::span(firmware_).subspan(offset, bytes));
}

// Base §5.12. An image begins with its revision, eight printable characters.
NvmeModel::Outcome NvmeModel::FirmwareCommit(const SubmissionEntry& sqe) {
  auto slot = static_cast<uint8_t>(sqe.cdw10 & 7);
  const uint32_t action = sqe.cdw10 >> 3 & 7;
  if (action > 3) return Refuse(status::kInvalidField, "Firmware Commit: action");
  if (slot == 0) slot = 2;
  if (slot == 1 && action != 2) return Refuse(status::kInvalidFirmwareSlot, "slot 1: read only");
  if (action != 2) {
    if (firmware_.size() < 8) return Refuse(status::kInvalidFirmwareImage, "Firmware Commit");
    std::string revision(reinterpret_cast<const char*>(firmware_.data()), 8);
    if (!std::all_of(revision.begin(), revision.end(),
                     [](char c) { return c >= ' ' && c <= '~'; })) {
      return Refuse(status::kInvalidFirmwareImage, "Firmware Commit: revision");
    }
    firmware_slots_[slot - 1] = revision;
    firmware_.clear();
  }
  if (firmware_slots_[slot - 1].empty()) {
    return Refuse(status::kInvalidFirmwareSlot, "Firmware Commit: an empty slot");
  }
  if (action == 0) return {};
  if (action == 3) {
    firmware_active_ = slot;
    return {};
  }
  firmware_next_ = slot;
  return {.status = status::kFirmwareNeedsControllerReset};
}

// Base §5.26: done at once.
NvmeModel::Outcome NvmeModel::Sanitize(const SubmissionEntry& sqe) {
  const uint32_t action = sqe.cdw10 & 7;
  if (action == 0 || action > 4) return Refuse(status::kInvalidField, "Sanitize: action");
  if (action == 1) return {};
  for (auto& [nsid, ns] : namespaces_) ns->Deallocate(0, ns->blocks());
  sanitized_ = true;
  sanitize_cdw10_ = sqe.cdw10;
  // I/O command set specific status 6: a sanitize operation completed. Base figure 150.
  PostEvent(async_event::kIoCommandSet, 0x01, log_page::kSanitizeStatus);
  return {};
}

// Base §5.25. What was sent to a protocol is received from it; protocol 0 tells which there are.
NvmeModel::Outcome NvmeModel::SecuritySend(const SubmissionEntry& sqe) {
  const uint32_t bytes = sqe.cdw11;
  if (bytes > size_t{4096} << 8) return Refuse(status::kInvalidField, "Security Send: length");
  security_.assign(bytes, std::byte{0});
  return Receive(sqe, security_);
}

NvmeModel::Outcome NvmeModel::SecurityReceive(const SubmissionEntry& sqe) {
  const uint32_t bytes = sqe.cdw11;
  if (bytes > size_t{4096} << 8) return Refuse(status::kInvalidField, "Security Receive: length");
  std::vector<std::byte> data(bytes);
  if (sqe.cdw10 >> 24 == 0) {
    // Six bytes reserved, the list's length, protocols 00h and EAh (NVMe). SPC-5 §7.7.1.
    static constexpr uint8_t kProtocols[] = {0, 0, 0, 0, 0, 0, 0, 2, 0x00, 0xea};
    std::memcpy(data.data(), kProtocols, std::min(data.size(), sizeof kProtocols));
  } else {
    std::copy_n(security_.begin(), std::min(data.size(), security_.size()), data.begin());
  }
  return Return(sqe, data);
}

}  // namespace pollux::models
