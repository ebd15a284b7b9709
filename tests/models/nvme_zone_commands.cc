// I/O commands of the Zoned Namespace command set. ZNS §3.4.
#include <cstring>

#include "tests/models/nvme_model.h"

namespace pollux::models {

using namespace nvme;  // NOLINT: nearly every word here is the specification's.

namespace {

enum Action : uint32_t {  // ZNS figure 42, ZSA.
  kClose = 1,
  kFinish = 2,
  kOpen = 3,
  kReset = 4,
  kTakeOffline = 5,
};
constexpr uint32_t kReportZones = 0;
constexpr uint32_t kPartialReport = 1 << 16;
constexpr uint8_t kSequentialWriteRequired = 2;

// What Zone Management Send does with Select All: ZNS §3.4.3.1.
bool SelectedByAll(uint32_t action, ZoneState state) {
  switch (action) {
    case kClose:
      return state == ZoneState::kImplicitlyOpen || state == ZoneState::kExplicitlyOpen;
    case kFinish:
      return state == ZoneState::kImplicitlyOpen || state == ZoneState::kExplicitlyOpen ||
             state == ZoneState::kClosed;
    case kOpen:
      return state == ZoneState::kClosed;
    case kReset:
      return state == ZoneState::kImplicitlyOpen || state == ZoneState::kExplicitlyOpen ||
             state == ZoneState::kClosed || state == ZoneState::kFull;
    default:
      return state == ZoneState::kReadOnly;
  }
}

// The filter of a report, by Zone Receive Action Specific Field: ZNS figure 34.
bool Listed(uint32_t filter, ZoneState state) {
  switch (filter) {
    case 0:
      return true;
    case 1:
      return state == ZoneState::kEmpty;
    case 2:
      return state == ZoneState::kImplicitlyOpen;
    case 3:
      return state == ZoneState::kExplicitlyOpen;
    case 4:
      return state == ZoneState::kClosed;
    case 5:
      return state == ZoneState::kFull;
    case 6:
      return state == ZoneState::kReadOnly;
    default:
      return state == ZoneState::kOffline;
  }
}

ZoneDescriptor Describe(const Zone& zone) {
  ZoneDescriptor descriptor{};
  descriptor.zt = kSequentialWriteRequired;
  descriptor.zs = static_cast<uint8_t>(static_cast<uint8_t>(zone.state) << 4);
  descriptor.zcap = zone.capacity;
  descriptor.zslba = zone.start;
  const bool valid = zone.state != ZoneState::kFull && zone.state != ZoneState::kReadOnly &&
                     zone.state != ZoneState::kOffline;
  descriptor.wp = valid ? zone.start + zone.written : ~uint64_t{0};
  return descriptor;
}

}  // namespace

NvmeModel::Outcome NvmeModel::ZoneAppend(ModelNamespace& ns, const SubmissionEntry& sqe) {
  const Protection protection = ns.protection();
  if (protection.type == 1) {
    // ZNS §3.4.1: the reference tag is moved on from the zone's start (PIREMAP) by the controller.
    if ((sqe.cdw12 >> 25 & 1) == 0) {
      return Refuse(status::kInvalidProtectionInformation, "Zone Append without PIREMAP, type 1");
    }
  }
  const uint64_t start = uint64_t{sqe.cdw10} | uint64_t{sqe.cdw11} << 32;
  if (start % ns.zones().options().zone_blocks != 0) {
    return Refuse(status::kInvalidField, "Zone Append: not the start of a zone");
  }
  uint64_t lba = 0;
  Outcome outcome = Put(ns, sqe, &lba);
  if (outcome.status != 0) return outcome;
  outcome.dw0 = static_cast<uint32_t>(lba);
  outcome.dw1 = static_cast<uint32_t>(lba >> 32);
  return outcome;
}

NvmeModel::Outcome NvmeModel::ZoneManagementSend(ModelNamespace& ns, const SubmissionEntry& sqe) {
  const uint64_t lba = uint64_t{sqe.cdw10} | uint64_t{sqe.cdw11} << 32;
  const uint32_t action = sqe.cdw13 & 0xff;
  const bool all = (sqe.cdw13 >> 8 & 1) != 0;
  if (action < kClose || action > kTakeOffline) {
    return Refuse(status::kInvalidField, "Zone Management Send: action");
  }
  ZoneSet& set = ns.zones();
  const auto apply = [&set, &ns, action](Zone& zone) -> uint16_t {
    switch (action) {
      case kClose:
        return set.Close(zone);
      case kFinish:
        return set.Finish(zone);
      case kOpen:
        return set.Open(zone);
      case kReset:
        if (uint16_t code = set.Reset(zone)) return code;
        ns.Deallocate(zone.start, set.options().zone_blocks);
        return 0;
      default:
        return set.TakeOffline(zone);
    }
  };
  if (!all) {
    if (Outcome outcome = CheckRange(ns, lba, 1); outcome.status != 0) return outcome;
    Zone& zone = set.Of(lba);
    if (zone.start != lba) return Refuse(status::kInvalidField, "not the start of a zone");
    return {.status = apply(zone)};
  }
  for (Zone& zone : set.zones()) {
    if (!SelectedByAll(action, zone.state)) continue;
    if (uint16_t code = apply(zone)) return {.status = code};
  }
  return {};
}

NvmeModel::Outcome NvmeModel::ZoneManagementReceive(ModelNamespace& ns,
                                                    const SubmissionEntry& sqe) {
  const uint64_t lba = uint64_t{sqe.cdw10} | uint64_t{sqe.cdw11} << 32;
  const uint64_t bytes = (uint64_t{sqe.cdw12} + 1) * 4;
  const uint32_t action = sqe.cdw13 & 0xff;
  const uint32_t filter = sqe.cdw13 >> 8 & 0xff;
  if (Outcome outcome = CheckRange(ns, lba, 1); outcome.status != 0) return outcome;
  if (action != kReportZones || filter > 7) {
    return Refuse(status::kInvalidField, "Zone Management Receive: action");
  }
  if (bytes < sizeof(ZoneReportHeader) ||
      (options_.mdts != 0 && bytes > uint64_t{4096} << options_.mdts)) {
    return Refuse(status::kInvalidField, "Zone Management Receive: length");
  }
  const bool partial = (sqe.cdw13 & kPartialReport) != 0;
  std::vector<std::byte> report(bytes);
  size_t at = sizeof(ZoneReportHeader);
  uint64_t listed = 0;
  for (const Zone& zone : ns.zones().zones()) {
    if (zone.start + ns.zones().options().zone_blocks <= lba || !Listed(filter, zone.state))
      continue;
    const bool fits = at + sizeof(ZoneDescriptor) <= report.size();
    if (fits) {
      const ZoneDescriptor descriptor = Describe(zone);
      std::memcpy(report.data() + at, &descriptor, sizeof descriptor);
      at += sizeof descriptor;
    }
    if (fits || !partial) ++listed;  // A partial report counts what it holds.
  }
  const ZoneReportHeader header{.number_of_zones = listed};
  std::memcpy(report.data(), &header, sizeof header);
  return Return(sqe, report);
}

}  // namespace pollux::models
