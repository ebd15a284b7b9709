#include "drivers/nvme/host_memory_buffer.h"

#include <algorithm>
#include <vector>

#include "core/spec/nvme_spec.h"

namespace pollux::nvme {
namespace {

constexpr uint64_t kUnit = 4096;  // Of HMPRE, HMMIN and HMMINDS.
constexpr uint64_t kBytesMaxDefault = 64 << 20;
constexpr uint32_t kEnable = 1;  // EHM, dword 11. Figure 325.
constexpr size_t kListBytesMax = 4096;
constexpr size_t kEntriesMax = kListBytesMax / sizeof(HostMemoryDescriptor);
constexpr size_t kHugepageBytes = 2 << 20;

}  // namespace

uint64_t HostMemoryBuffer::Choose(const ControllerFacts& facts, uint64_t bytes_max) {
  const uint64_t limit = bytes_max == 0 ? kBytesMaxDefault : bytes_max;
  const uint64_t preferred = uint64_t{facts.identify.hmpre} * kUnit;
  const uint64_t needed = uint64_t{facts.identify.hmmin} * kUnit;
  if (preferred == 0 || needed > preferred) return 0;
  if (preferred <= limit) return preferred;
  // Anything between the two is of use.
  return needed <= limit ? limit / facts.page_bytes * facts.page_bytes : 0;
}

Status HostMemoryBuffer::Prepare(AdminQueue& admin, pci::DmaMap& dma, RegionRegistry& registry,
                                 const ControllerFacts& facts, uint64_t bytes) {
  ASSIGN_OR_RETURN(pages_, SharedPages::Map("nvme-hmb", bytes, bytes >= kHugepageBytes, registry));
  list_ = admin.Buffer(kListBytesMax);
  if (!list_.valid()) return OutOfMemory("no memory for the host memory buffer's list");

  pci::DmaView view(dma);
  const size_t described_max = facts.identify.hmmaxd == 0
                                   ? kEntriesMax
                                   : std::min<size_t>(facts.identify.hmmaxd, kEntriesMax);
  const uint64_t piece_min = std::max<uint64_t>(uint64_t{facts.identify.hmminds} * kUnit, 1);
  auto* entries = list_.as<HostMemoryDescriptor>();
  described_bytes_ = 0;
  entries_ = 0;
  for (uint64_t at = 0; at < bytes && entries_ < described_max;) {
    const pci::DmaView::Piece piece = view.Translate(pages_->address() + at);
    const uint64_t whole = std::min<uint64_t>(piece.bytes, bytes - at);
    if (whole == 0) return InternalError("the host memory buffer is unknown to the device");
    const uint64_t page_count = whole / facts.page_bytes;
    if (whole >= piece_min && piece.iova % facts.page_bytes == 0 && page_count > 0) {
      entries[entries_].badd = piece.iova;
      entries[entries_].bsize = static_cast<uint32_t>(page_count);
      described_bytes_ += page_count * facts.page_bytes;
      ++entries_;
    }
    at += whole;
  }
  if (described_bytes_ == 0 || described_bytes_ < uint64_t{facts.identify.hmmin} * kUnit) {
    return OutOfMemory("the host memory buffer lies in too many pieces for the device");
  }
  list_iova_ = view.Translate(list_.get()).iova;
  return OkStatus();
}

Task<Status> HostMemoryBuffer::Offer(AdminQueue& admin, pci::DmaMap& dma, RegionRegistry& registry,
                                     const ControllerFacts& facts, uint64_t bytes_max) {
  used_ = false;
  const uint64_t bytes = Choose(facts, bytes_max);
  if (bytes == 0) co_return OkStatus();
  if (entries_ == 0) {
    const Status prepared = Prepare(admin, dma, registry, facts, bytes);
    if (!prepared.ok()) entries_ = 0;
    CO_RETURN_IF_ERROR(prepared);
  }
  SubmissionEntry entry;
  entry.opc = admin::kSetFeatures;
  entry.cdw10 = feature::kHostMemoryBuffer;
  entry.cdw11 = kEnable;
  entry.cdw12 = static_cast<uint32_t>(described_bytes_ / facts.page_bytes);
  entry.cdw13 = static_cast<uint32_t>(list_iova_);
  entry.cdw14 = static_cast<uint32_t>(list_iova_ >> 32);
  entry.cdw15 = entries_;
  AdminCommand command(admin, entry);
  const Completion completion = co_await command;
  if (!pollux_nvme_ok(completion)) co_return CommandFailed("Host Memory Buffer", completion);
  used_ = true;
  co_return OkStatus();
}

Task<Status> HostMemoryBuffer::TakeBack(AdminQueue& admin) {
  if (!used_) co_return OkStatus();
  SubmissionEntry entry;
  entry.opc = admin::kSetFeatures;
  entry.cdw10 = feature::kHostMemoryBuffer;
  AdminCommand command(admin, entry);
  const Completion completion = co_await command;
  used_ = false;
  if (!pollux_nvme_ok(completion)) co_return CommandFailed("Host Memory Buffer", completion);
  co_return OkStatus();
}

}  // namespace pollux::nvme
