// Log pages. Base §5.16.
#include <algorithm>
#include <cstring>

#include "tests/models/nvme_model.h"

namespace pollux::models {

using namespace nvme;  // NOLINT: nearly every word here is the specification's.

namespace {

template <typename Structure>
std::vector<std::byte> BytesOf(const Structure& structure) {
  const auto bytes = std::as_bytes(std::span(&structure, 1));
  return {bytes.begin(), bytes.end()};
}

void SetDword(std::vector<std::byte>& data, size_t offset, uint32_t value) {
  const Le32 dword = value;
  std::memcpy(data.data() + offset, &dword, sizeof dword);
}

// Which event types the reading of a page allows again. Base §5.2.
uint8_t EventTypesOf(uint8_t page) {
  switch (page) {
    case log_page::kError:
      return 1 << async_event::kErrorStatus;
    case log_page::kHealth:
      return 1 << async_event::kHealthStatus;
    case log_page::kFirmwareSlot:
    case log_page::kChangedNamespaces:
    case log_page::kAna:
    case log_page::kChangedZones:
      return 1 << async_event::kNotice;
    case log_page::kSanitizeStatus:
      return 1 << async_event::kIoCommandSet;
    default:
      return 0;
  }
}

}  // namespace

void NvmeModel::LogError(uint16_t sqid, uint16_t cid, uint16_t status) {
  ErrorLogEntry entry{};
  entry.error_count = ++error_count_;
  entry.sqid = sqid;
  entry.cmdid = cid;
  entry.status = static_cast<uint16_t>(status << 1);
  errors_.insert(errors_.begin(), entry);
  if (errors_.size() > kErrorLogEntries) errors_.pop_back();
}

void NvmeModel::SetCriticalWarning(uint8_t warning) {
  health_.critical_warning = warning;
  const uint32_t wanted = features_.Get(feature::kAsyncEventConfiguration);
  if ((wanted & warning) == 0) return;
  // Reliability, temperature, or spare. Base figure 147.
  const uint32_t information = (warning & 2) != 0 ? 1 : (warning & 1) != 0 ? 2 : 0;
  PostEvent(async_event::kHealthStatus, information, log_page::kHealth);
}

std::vector<std::byte> NvmeModel::LogPage(uint8_t id) {
  switch (id) {
    case log_page::kSupported: {
      std::vector<std::byte> page(1024);
      for (uint8_t each :
           {log_page::kSupported, log_page::kError, log_page::kHealth, log_page::kFirmwareSlot,
            log_page::kChangedNamespaces, log_page::kEffects, log_page::kSanitizeStatus}) {
        SetDword(page, size_t{each} * 4, 1);
      }
      return page;
    }
    case log_page::kError: {
      std::vector<std::byte> page(kErrorLogEntries * sizeof(ErrorLogEntry));
      if (errors_.empty()) return page;  // memcpy() wants no null.
      std::memcpy(page.data(), errors_.data(), errors_.size() * sizeof(ErrorLogEntry));
      return page;
    }
    case log_page::kHealth: {
      const Le64 errors = error_count_;
      std::memcpy(health_.num_err_log_entries, &errors, sizeof errors);
      return BytesOf(health_);
    }
    case log_page::kFirmwareSlot: {
      FirmwareSlotLog log{};
      log.afi = static_cast<uint8_t>(firmware_active_ | firmware_next_ << 4);
      for (size_t slot = 0; slot < std::size(firmware_slots_); ++slot) {
        const std::string& revision = firmware_slots_[slot];
        if (revision.empty()) continue;
        std::memset(log.frs[slot], ' ', sizeof log.frs[slot]);
        std::copy_n(revision.begin(), std::min<size_t>(8, revision.size()), log.frs[slot]);
      }
      return BytesOf(log);
    }
    case log_page::kChangedNamespaces: {
      std::vector<std::byte> page(4096);
      if (changed_namespaces_.size() > page.size() / 4) {
        SetDword(page, 0, kAllNamespaces);  // More than fit.
      } else {
        for (size_t i = 0; i < changed_namespaces_.size(); ++i) {
          SetDword(page, i * 4, changed_namespaces_[i]);
        }
      }
      return page;
    }
    case log_page::kEffects: {
      std::vector<std::byte> page(4096);
      for (uint8_t each : {admin::kDeleteSq, admin::kCreateSq, admin::kGetLogPage, admin::kDeleteCq,
                           admin::kCreateCq, admin::kIdentify, admin::kAbort, admin::kSetFeatures,
                           admin::kGetFeatures, admin::kAsyncEventRequest, admin::kKeepAlive}) {
        SetDword(page, size_t{each} * 4, 1);
      }
      SetDword(page, size_t{admin::kFormatNvm} * 4, 0x0000'0007);  // LBCC, NCC too.
      SetDword(page, size_t{admin::kNamespaceManagement} * 4, 0x0000'0009);
      SetDword(page, size_t{admin::kSanitize} * 4, 0x0000'0003);
      constexpr size_t kIoCommands = 1024;
      for (uint8_t each : {io::kFlush, io::kRead, io::kCompare, io::kVerify}) {
        SetDword(page, kIoCommands + size_t{each} * 4, 1);
      }
      for (uint8_t each : {io::kWrite, io::kWriteZeroes, io::kWriteUncorrectable,
                           io::kDatasetManagement, io::kCopy}) {
        SetDword(page, kIoCommands + size_t{each} * 4, 3);  // Logical block content change.
      }
      return page;
    }
    case log_page::kAna:
      return ana_log;
    case log_page::kSanitizeStatus: {
      std::vector<std::byte> page(512);
      if (sanitized_) {
        // SPROG is ffffh when none is running; SSTAT 1: the last one succeeded. Base figure 245.
        SetDword(page, 0, 0xffff | 0x0101u << 16);
        SetDword(page, 4, sanitize_cdw10_);
      } else {
        SetDword(page, 0, 0xffff);
      }
      return page;
    }
    default:
      return {};
  }
}

NvmeModel::Outcome NvmeModel::GetLogPage(const SubmissionEntry& sqe) {
  const auto id = static_cast<uint8_t>(sqe.cdw10);
  const bool retain = (sqe.cdw10 >> 15 & 1) != 0;
  const uint64_t dwords = (uint64_t{sqe.cdw10 >> 16} | uint64_t{sqe.cdw11 & 0xffff} << 16) + 1;
  const uint64_t offset = uint64_t{sqe.cdw12} | uint64_t{sqe.cdw13} << 32;
  if (options_.mdts != 0 && dwords * 4 > uint64_t{4096} << options_.mdts) {
    return Refuse(status::kInvalidField, "Get Log Page: more than MDTS");
  }
  const std::vector<std::byte> page = LogPage(id);
  if (page.empty()) return Refuse(status::kInvalidLogPage, absl::StrFormat("log page %02xh", id));
  if (offset % 4 != 0 || offset > page.size()) {
    return Refuse(status::kInvalidField, "Get Log Page: offset");
  }
  std::vector<std::byte> data(dwords * 4);  // What is beyond the page is not defined: zero.
  std::copy_n(page.begin() + static_cast<std::ptrdiff_t>(offset),
              std::min<uint64_t>(data.size(), page.size() - offset), data.begin());
  const Outcome outcome = Return(sqe, data);
  if (outcome.status != 0 || retain) return outcome;
  if (id == log_page::kChangedNamespaces) changed_namespaces_.clear();
  masked_event_types_ = static_cast<uint8_t>(masked_event_types_ & ~EventTypesOf(id));
  DeliverEvents();
  return outcome;
}

}  // namespace pollux::models
