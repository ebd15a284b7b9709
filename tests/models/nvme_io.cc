// I/O commands of the NVM command set. NVM §3.2.
#include <algorithm>
#include <cstring>

#include "tests/models/nvme_model.h"

namespace pollux::models {

using namespace nvme;  // NOLINT: nearly every word here is the specification's.

namespace {

constexpr uint16_t kDoNotRetry = 0x4000;

uint64_t FirstBlock(const SubmissionEntry& sqe) {
  return uint64_t{sqe.cdw10} | uint64_t{sqe.cdw11} << 32;
}
uint64_t BlockCount(const SubmissionEntry& sqe) { return (sqe.cdw12 & 0xffff) + 1; }
bool Pract(const SubmissionEntry& sqe) { return cdw12::kPract.Get(sqe.cdw12) != 0; }

}  // namespace

NvmeModel::Outcome NvmeModel::ExecuteIo(const SubmissionEntry& sqe) {
  if ((sqe.flags & 0x3c) != 0) return Refuse(status::kInvalidField, "reserved bits in byte 1");
  if (sqe.opc == io::kFlush) return Flush(sqe);
  ModelNamespace* ns = FindNamespace(sqe.nsid);
  if (ns == nullptr || !ns->attached()) {
    // A namespace may go while its commands are on their way: no complaint.
    return {.status = status::kInvalidNamespace | kDoNotRetry};
  }
  const auto supported = [this](uint16_t bit) { return (options_.oncs & bit) != 0; };
  switch (sqe.opc) {
    case io::kWrite:
      return Write(*ns, sqe);
    case io::kRead:
      return Read(*ns, sqe);
    case io::kWriteUncorrectable:
      if (supported(oncs::kWriteUncorrectable)) return WriteUncorrectable(*ns, sqe);
      break;
    case io::kCompare:
      if (supported(oncs::kCompare)) return Compare(*ns, sqe);
      break;
    case io::kWriteZeroes:
      if (supported(oncs::kWriteZeroes)) return WriteZeroes(*ns, sqe);
      break;
    case io::kDatasetManagement:
      if (supported(oncs::kDsm)) return DatasetManagement(*ns, sqe);
      break;
    case io::kVerify:
      if (supported(oncs::kVerify)) return Verify(*ns, sqe);
      break;
    case io::kCopy:
      if (supported(oncs::kCopy)) return Copy(*ns, sqe);
      break;
    case io::kReservationRegister:
    case io::kReservationReport:
    case io::kReservationAcquire:
    case io::kReservationRelease:
      if (supported(oncs::kReservations)) return Reservation(*ns, sqe);
      break;
    case io::kZoneManagementSend:
      if (ns->zoned()) return ZoneManagementSend(*ns, sqe);
      break;
    case io::kZoneManagementReceive:
      if (ns->zoned()) return ZoneManagementReceive(*ns, sqe);
      break;
    case io::kZoneAppend:
      if (ns->zoned()) return ZoneAppend(*ns, sqe);
      break;
    default:
      break;
  }
  return {.status = status::kInvalidOpcode | kDoNotRetry};
}

NvmeModel::Outcome NvmeModel::Flush(const SubmissionEntry& sqe) {
  ++flushes_;
  if (sqe.nsid == kAllNamespaces) {
    // VWC 2:1 is 3 where that is supported. Base figure 275.
    if ((options_.vwc >> 1 & 3) == 3) return {};
    return Refuse(status::kInvalidNamespace, "Flush: all namespaces");
  }
  const ModelNamespace* ns = FindNamespace(sqe.nsid);
  if (ns == nullptr || !ns->attached()) return {.status = status::kInvalidNamespace | kDoNotRetry};
  return {};
}

NvmeModel::Outcome NvmeModel::CheckRange(ModelNamespace& ns, uint64_t lba, uint64_t count) {
  if (lba < ns.blocks() && count <= ns.blocks() - lba) return {};
  // It may have shrunk a moment ago: no complaint.
  return {.status = status::kLbaOutOfRange | kDoNotRetry};
}

NvmeModel::Outcome NvmeModel::CheckWrite(ModelNamespace& ns, uint64_t lba, uint64_t count) {
  if (Outcome outcome = CheckRange(ns, lba, count); outcome.status != 0) return outcome;
  if (ns.write_protected) return {.status = status::kNamespaceWriteProtected | kDoNotRetry};
  return {};
}

// NVM §5.2.1.
NvmeModel::Outcome NvmeModel::CheckProtectionFields(ModelNamespace& ns, const SubmissionEntry& sqe,
                                                    uint64_t lba) {
  const Protection protection = ns.protection();
  if (protection.type == 0) return {};
  const ProtectionCheck check = ProtectionCheck::Of(sqe);
  if (protection.type == 3 && check.reference_tag) {
    return Refuse(status::kInvalidProtectionInformation, "PRCHK: reference tag of type 3");
  }
  if (protection.type == 1 && (check.reference_tag || Pract(sqe)) &&
      check.first_reference_tag != static_cast<uint32_t>(lba)) {
    return Refuse(status::kInvalidProtectionInformation, "ILBRT differs from the LBA with type 1");
  }
  return {};
}

// Where the host has its blocks: data, with metadata in between or apart. With PRACT and nothing
// but protection information in the metadata, the host has no metadata. NVM §5.2.2.1.
NvmeModel::Outcome NvmeModel::MapBlocks(ModelNamespace& ns, const SubmissionEntry& sqe,
                                        uint64_t count, bool device_writes) {
  const bool stripped = ns.protection().type != 0 && Pract(sqe) &&
                        ns.metadata_bytes() == sizeof(ProtectionInformation);
  host_metadata_ = stripped ? 0 : ns.metadata_bytes();
  host_stride_ = ns.block_bytes() + (ns.extended() ? host_metadata_ : 0);
  const uint64_t bytes = count * host_stride_;
  if (options_.mdts != 0 && bytes > uint64_t{4096} << (options_.mdts + options_.page_size_min)) {
    return Refuse(status::kInvalidField, "a transfer of more than MDTS");
  }
  std::string why;
  if (uint16_t code = data_.Map(transfer_rules(), reach_, sqe, bytes, device_writes, why)) {
    return Refuse(code, why);
  }
  const uint64_t metadata_bytes = ns.extended() ? 0 : count * host_metadata_;
  if (uint16_t code = metadata_.MapMetadata(transfer_rules(), reach_, sqe, metadata_bytes,
                                            device_writes, why)) {
    return Refuse(code, why);
  }
  return {};
}

// The host's blocks as they are to lie on the medium, into staging_ and metadata_staging_; checked.
NvmeModel::Outcome NvmeModel::TakeBlocks(ModelNamespace& ns, const SubmissionEntry& sqe,
                                         uint64_t count) {
  const size_t block = ns.block_bytes();
  const size_t each = ns.metadata_bytes();
  const Protection protection = ns.protection();
  const ProtectionCheck check = ProtectionCheck::Of(sqe);
  staging_.resize(count * block);
  metadata_staging_.resize(count * each);
  for (uint64_t i = 0; i < count; ++i) {
    const auto data = std::span(staging_).subspan(i * block, block);
    const auto metadata = std::span(metadata_staging_).subspan(i * each, each);
    data_.FromHost(i * host_stride_, data);
    if (host_metadata_ != 0) {
      if (ns.extended()) {
        data_.FromHost(i * host_stride_ + block, metadata);
      } else {
        metadata_.FromHost(i * each, metadata);
      }
    }
    if (protection.type == 0) continue;
    if (Pract(sqe) && sqe.opc != io::kCompare) {
      const ProtectionInformation made = MakeProtection(protection, check, i, data, metadata);
      std::memcpy(metadata.data() + protection.offset(), &made, sizeof made);
    } else if (uint16_t code = CheckProtection(protection, check, i, data, metadata)) {
      return {.status = code};
    }
  }
  return {};
}

NvmeModel::Outcome NvmeModel::CheckMedium(ModelNamespace& ns, const ProtectionCheck& check,
                                          uint64_t lba, uint64_t count) {
  if (!ns.Readable(lba, count)) return {.status = status::kUnrecoveredReadError};
  if (ns.zoned()) {
    if (uint16_t code = ns.zones().CheckRead(lba, count)) return {.status = code};
  }
  if (ns.protection().type == 0) return {};
  for (uint64_t i = 0; i < count; ++i) {
    if (uint16_t code = CheckProtection(ns.protection(), check, i, ns.Data(lba + i, 1),
                                        ns.Metadata(lba + i, 1))) {
      return {.status = code};
    }
  }
  return {};
}

NvmeModel::Outcome NvmeModel::Read(ModelNamespace& ns, const SubmissionEntry& sqe) {
  const uint64_t lba = FirstBlock(sqe);
  const uint64_t count = BlockCount(sqe);
  if (Outcome outcome = CheckRange(ns, lba, count); outcome.status != 0) return outcome;
  if (Outcome outcome = CheckProtectionFields(ns, sqe, lba); outcome.status != 0) return outcome;
  if (Outcome outcome = MapBlocks(ns, sqe, count, true); outcome.status != 0) return outcome;
  const Outcome outcome = CheckMedium(ns, ProtectionCheck::Of(sqe), lba, count);
  if (outcome.status != 0) return outcome;
  if (ns.metadata_bytes() == 0) {
    data_.ToHost(0, ns.Data(lba, count));
    return {};
  }
  for (uint64_t i = 0; i < count; ++i) {
    data_.ToHost(i * host_stride_, ns.Data(lba + i, 1));
    if (host_metadata_ == 0) continue;
    const std::span<std::byte> metadata = ns.Metadata(lba + i, 1);
    if (ns.extended()) {
      data_.ToHost(i * host_stride_ + ns.block_bytes(), metadata);
    } else {
      metadata_.ToHost(i * metadata.size(), metadata);
    }
  }
  return {};
}

// To the medium, through the zones where there are any. `append` is told where it went.
NvmeModel::Outcome NvmeModel::Put(ModelNamespace& ns, const SubmissionEntry& sqe,
                                  uint64_t* append) {
  uint64_t lba = FirstBlock(sqe);
  const uint64_t count = BlockCount(sqe);
  if (Outcome outcome = CheckWrite(ns, lba, count); outcome.status != 0) return outcome;
  if (Outcome outcome = MapBlocks(ns, sqe, count, false); outcome.status != 0) return outcome;
  const bool plain = ns.metadata_bytes() == 0;
  if (!plain) {
    if (Outcome outcome = TakeBlocks(ns, sqe, count); outcome.status != 0) return outcome;
  }
  if (ns.zoned()) {
    const uint16_t code =
        append != nullptr ? ns.zones().Append(lba, count, &lba) : ns.zones().Write(lba, count);
    if (code != 0) return {.status = code};
    if (append != nullptr) *append = lba;
  }
  if (plain) {
    data_.FromHost(0, ns.Data(lba, count));
  } else {
    std::copy(staging_.begin(), staging_.end(), ns.Data(lba, count).begin());
    std::copy(metadata_staging_.begin(), metadata_staging_.end(), ns.Metadata(lba, count).begin());
  }
  ns.SetUncorrectable(lba, count, false);
  return {};
}

NvmeModel::Outcome NvmeModel::Write(ModelNamespace& ns, const SubmissionEntry& sqe) {
  const Outcome outcome = CheckProtectionFields(ns, sqe, FirstBlock(sqe));
  return outcome.status != 0 ? outcome : Put(ns, sqe, nullptr);
}

NvmeModel::Outcome NvmeModel::Compare(ModelNamespace& ns, const SubmissionEntry& sqe) {
  const uint64_t lba = FirstBlock(sqe);
  const uint64_t count = BlockCount(sqe);
  if (Outcome outcome = CheckRange(ns, lba, count); outcome.status != 0) return outcome;
  if (Outcome outcome = CheckProtectionFields(ns, sqe, lba); outcome.status != 0) return outcome;
  if (ns.protection().type != 0 && Pract(sqe)) {
    return Refuse(status::kInvalidProtectionInformation, "Compare with PRACT");
  }
  if (Outcome outcome = MapBlocks(ns, sqe, count, false); outcome.status != 0) return outcome;
  if (Outcome outcome = TakeBlocks(ns, sqe, count); outcome.status != 0) return outcome;
  const Outcome outcome = CheckMedium(ns, ProtectionCheck::Of(sqe), lba, count);
  if (outcome.status != 0) return outcome;
  const bool same = std::ranges::equal(staging_, ns.Data(lba, count)) &&
                    std::ranges::equal(metadata_staging_, ns.Metadata(lba, count));
  return {.status = same ? status::kSuccess : status::kCompareFailure};
}

NvmeModel::Outcome NvmeModel::WriteZeroes(ModelNamespace& ns, const SubmissionEntry& sqe) {
  const uint64_t lba = FirstBlock(sqe);
  const uint64_t count = BlockCount(sqe);
  if (Outcome outcome = CheckWrite(ns, lba, count); outcome.status != 0) return outcome;
  if (Outcome outcome = CheckProtectionFields(ns, sqe, lba); outcome.status != 0) return outcome;
  if (ns.zoned()) {
    if (uint16_t code = ns.zones().Write(lba, count)) return {.status = code};
  }
  ns.Deallocate(lba, count);
  if (cdw12::kDeac.Get(sqe.cdw12) != 0 || ns.metadata_bytes() == 0) return {};
  const std::span<std::byte> all = ns.Metadata(lba, count);
  std::fill(all.begin(), all.end(), std::byte{0});
  if (ns.protection().type == 0 || !Pract(sqe)) return {};
  for (uint64_t i = 0; i < count; ++i) {
    const std::span<std::byte> metadata = ns.Metadata(lba + i, 1);
    const ProtectionInformation made =
        MakeProtection(ns.protection(), ProtectionCheck::Of(sqe), i, ns.Data(lba + i, 1), metadata);
    std::memcpy(metadata.data() + ns.protection().offset(), &made, sizeof made);
  }
  return {};
}

NvmeModel::Outcome NvmeModel::WriteUncorrectable(ModelNamespace& ns, const SubmissionEntry& sqe) {
  const uint64_t lba = FirstBlock(sqe);
  const uint64_t count = BlockCount(sqe);
  if (Outcome outcome = CheckWrite(ns, lba, count); outcome.status != 0) return outcome;
  ns.SetUncorrectable(lba, count, true);
  return {};
}

NvmeModel::Outcome NvmeModel::Verify(ModelNamespace& ns, const SubmissionEntry& sqe) {
  const uint64_t lba = FirstBlock(sqe);
  const uint64_t count = BlockCount(sqe);
  if (Outcome outcome = CheckRange(ns, lba, count); outcome.status != 0) return outcome;
  if (Outcome outcome = CheckProtectionFields(ns, sqe, lba); outcome.status != 0) return outcome;
  return CheckMedium(ns, ProtectionCheck::Of(sqe), lba, count);
}

// NVM §3.2.3. Ranges are checked before the first is deallocated.
NvmeModel::Outcome NvmeModel::DatasetManagement(ModelNamespace& ns, const SubmissionEntry& sqe) {
  std::vector<DsmRange> ranges((sqe.cdw10 & 0xff) + 1);
  if (Outcome outcome = Receive(sqe, std::as_writable_bytes(std::span(ranges)));
      outcome.status != 0) {
    return outcome;
  }
  for (const DsmRange& range : ranges) {
    if (Outcome outcome = CheckWrite(ns, range.slba, range.nlb); outcome.status != 0) {
      return outcome;
    }
  }
  if ((sqe.cdw11 & 4) == 0) return {};  // Only hints.
  for (const DsmRange& range : ranges) ns.Deallocate(range.slba, range.nlb);
  return {};
}

// NVM §3.2.2, descriptor format 0h. PRINFOR checks what is read, PRINFOW what is written.
NvmeModel::Outcome NvmeModel::Copy(ModelNamespace& ns, const SubmissionEntry& sqe) {
  const IdentifyNamespace limits = ns.Identify();
  std::vector<CopyRange> ranges((sqe.cdw12 & 0xff) + 1);
  if ((sqe.cdw12 >> 8 & 0xf) != 0) return Refuse(status::kInvalidField, "Copy: format");
  if (ranges.size() > limits.msrc + 1u) {
    return Refuse(status::kCommandSizeLimitExceeded, "Copy: more than MSRC");
  }
  if (Outcome outcome = Receive(sqe, std::as_writable_bytes(std::span(ranges)));
      outcome.status != 0) {
    return outcome;
  }
  staging_.clear();
  metadata_staging_.clear();
  const uint32_t prinfor = sqe.cdw12 >> 12 & 0xf;  // Bit 3: PRACT, 2:0 PRCHK.
  for (const CopyRange& range : ranges) {
    const uint64_t lba = range.slba;
    const uint64_t count = range.nlb + 1u;
    if (count > limits.mssrl) return Refuse(status::kCommandSizeLimitExceeded, "Copy: MSSRL");
    if (Outcome outcome = CheckRange(ns, lba, count); outcome.status != 0) return outcome;
    const ProtectionCheck check{.guard = (prinfor & 4) != 0,
                                .application_tag = (prinfor & 2) != 0,
                                .reference_tag = (prinfor & 1) != 0,
                                .first_reference_tag = range.eilbrt,
                                .tag = range.elbat,
                                .tag_mask = range.elbatm};
    if (Outcome outcome = CheckMedium(ns, check, lba, count); outcome.status != 0) return outcome;
    const std::span<std::byte> data = ns.Data(lba, count);
    staging_.insert(staging_.end(), data.begin(), data.end());
    const std::span<std::byte> metadata = ns.Metadata(lba, count);
    metadata_staging_.insert(metadata_staging_.end(), metadata.begin(), metadata.end());
  }

  uint64_t lba = FirstBlock(sqe);
  const uint64_t count = staging_.size() / ns.block_bytes();
  if (count > limits.mcl) return Refuse(status::kCommandSizeLimitExceeded, "Copy: MCL");
  if (Outcome outcome = CheckWrite(ns, lba, count); outcome.status != 0) return outcome;
  if (ns.zoned()) {
    if (uint16_t code = ns.zones().Write(lba, count)) return {.status = code};
  }
  std::copy(staging_.begin(), staging_.end(), ns.Data(lba, count).begin());
  std::copy(metadata_staging_.begin(), metadata_staging_.end(), ns.Metadata(lba, count).begin());
  ns.SetUncorrectable(lba, count, false);
  if (ns.protection().type == 0 || !Pract(sqe)) return {};  // PRACT of PRINFOW has the same place.
  for (uint64_t i = 0; i < count; ++i) {
    const std::span<std::byte> metadata = ns.Metadata(lba + i, 1);
    const ProtectionInformation made =
        MakeProtection(ns.protection(), ProtectionCheck::Of(sqe), i, ns.Data(lba + i, 1), metadata);
    std::memcpy(metadata.data() + ns.protection().offset(), &made, sizeof made);
  }
  return {};
}

// Base §7.2 to §7.5.
NvmeModel::Outcome NvmeModel::Reservation(ModelNamespace& ns, const SubmissionEntry& sqe) {
  Reservations& reservations = reservations_[ns.nsid()];
  if (sqe.opc == io::kReservationReport) {
    const bool extended = (sqe.cdw11 & 1) != 0;
    if (extended != (features_.host_identifier_bytes == 16)) {
      // Host Identifier Inconsistent Format.
      return Refuse(0x018, "Reservation Report: the other host identifier format");
    }
    std::vector<std::byte> report = reservations.Report(extended, features_.host_identifier);
    report.resize((uint64_t{sqe.cdw10} + 1) * 4);
    return Return(sqe, report);
  }
  Le64 keys[2];
  const size_t bytes = sqe.opc == io::kReservationRelease ? 8 : 16;
  if (Outcome outcome = Receive(sqe, std::as_writable_bytes(std::span(keys)).first(bytes));
      outcome.status != 0) {
    return outcome;
  }
  uint16_t code = 0;
  if (sqe.opc == io::kReservationRegister) {
    code = reservations.Register(sqe.cdw10, keys[0], keys[1]);
  } else if (sqe.opc == io::kReservationAcquire) {
    code = reservations.Acquire(sqe.cdw10, keys[0], keys[1]);
  } else {
    code = reservations.Release(sqe.cdw10, keys[0]);
  }
  return {.status = code};
}

}  // namespace pollux::models
