// The functions of nvme.h that take a queue.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "drivers/nvme/namespace.h"
#include "drivers/nvme/queue_pair.h"

namespace pollux::nvme {
namespace {

constexpr uint32_t kBlocksMax = 65536;  // NLB has 16 bits.

constexpr uint32_t kProtectionFlags = POLLUX_NVME_PRACT | POLLUX_NVME_CHECK_GUARD |
                                      POLLUX_NVME_CHECK_APPTAG | POLLUX_NVME_CHECK_REFTAG;
constexpr uint32_t kRetryFlags = POLLUX_NVME_FUA | POLLUX_NVME_LIMITED_RETRY;

// What distinguishes commands that are alike.
struct Kind {
  uint8_t opc;
  uint32_t flags;  // Those that it knows.
};
constexpr Kind kRead = {io::kRead, kRetryFlags | kProtectionFlags};
constexpr Kind kWrite = {io::kWrite, kRetryFlags | kProtectionFlags | POLLUX_NVME_FUSED_SECOND};
constexpr Kind kCompare = {io::kCompare, kRetryFlags | kProtectionFlags | POLLUX_NVME_FUSED_FIRST};
constexpr Kind kZoneAppend = {io::kZoneAppend, kRetryFlags | kProtectionFlags};
constexpr Kind kWriteZeroes = {io::kWriteZeroes,
                               kRetryFlags | kProtectionFlags | POLLUX_NVME_DEALLOCATE};
constexpr Kind kVerify = {io::kVerify, kRetryFlags | kProtectionFlags};

uint32_t Cdw12(uint32_t blocks, uint32_t flags) {
  uint32_t value = blocks - 1;
  const auto set = [&](uint32_t flag, Field<uint32_t> field) {
    if ((flags & flag) != 0) value |= field.mask();
  };
  set(POLLUX_NVME_FUA, cdw12::kFua);
  set(POLLUX_NVME_LIMITED_RETRY, cdw12::kLr);
  set(POLLUX_NVME_DEALLOCATE, cdw12::kDeac);
  set(POLLUX_NVME_PRACT, cdw12::kPract);
  set(POLLUX_NVME_CHECK_GUARD, cdw12::kPrchkGuard);
  set(POLLUX_NVME_CHECK_APPTAG, cdw12::kPrchkApp);
  set(POLLUX_NVME_CHECK_REFTAG, cdw12::kPrchkRef);
  return value;
}

uint8_t FuseOf(uint32_t flags) {
  if ((flags & POLLUX_NVME_FUSED_FIRST) != 0) return kFuseFirst;
  return (flags & POLLUX_NVME_FUSED_SECOND) != 0 ? kFuseSecond : 0;
}

bool Reaches(const Namespace& ns, uint64_t lba, uint64_t blocks) {
  const uint64_t size = ns.blocks();
  return blocks > 0 && blocks <= size && lba <= size - blocks;
}

// All of an entry but identifier and data pointer, in as few stores as can be.
inline void Write(SubmissionEntry& entry, uint8_t opc, uint8_t fuse, uint32_t nsid, uint64_t lba,
                  uint32_t cdw12, uint64_t cdw14) {
  auto* const bytes = reinterpret_cast<std::byte*>(&entry);
  const auto store = [bytes](size_t offset, Le64 value) {
    std::memcpy(bytes + offset, &value, sizeof(value));
  };
  entry.opc = opc;
  entry.flags = fuse;
  entry.nsid = nsid;
  std::memset(bytes + offsetof(SubmissionEntry, cdw2), 0, 2 * sizeof(Le32) + sizeof(Le64));
  store(offsetof(SubmissionEntry, cdw10), lba);
  store(offsetof(SubmissionEntry, cdw12), cdw12);
  store(offsetof(SubmissionEntry, cdw14), cdw14);
}

inline void Write(SubmissionEntry& entry, const Kind& kind, const Namespace& ns,
                  const pollux_nvme_io& io, uint32_t cdw12) {
  Write(entry, kind.opc, FuseOf(io.flags), ns.nsid(), io.lba, cdw12,
        io.reference_tag | uint64_t{io.application_tag} << 32 |
            uint64_t{io.application_tag_mask} << 48);
}

// Whether the pieces are `bytes` in all.
bool AddUpTo(uint64_t bytes, const iovec* pieces, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) {
    if (pieces[i].iov_len > bytes) return false;
    bytes -= pieces[i].iov_len;
  }
  return bytes == 0;
}

// With protection information that the controller inserts and strips, and no other metadata, none
// is transferred. NVM §5.2.2.1 and §5.2.2.2.
bool KeepsMetadata(const Namespace& ns, uint32_t flags) {
  const bool all_protection =
      ns.info().protection_type != 0 && ns.info().metadata_bytes == sizeof(ProtectionInformation);
  return all_protection && (flags & POLLUX_NVME_PRACT) != 0;
}

// A transfer of any kind, and what is wrong with it.
[[gnu::noinline, gnu::cold]] int TransferAny(QueuePair& queue, const Namespace& ns,
                                             pollux_nvme_request& request, const pollux_nvme_io& io,
                                             const Kind& kind) {
  if (!ns.active()) return -ENXIO;
  if ((io.flags & ~kind.flags) != 0) return -EINVAL;
  if (!Reaches(ns, io.lba, io.blocks)) return -EINVAL;
  if (io.blocks > ns.transfer_blocks_max()) return -E2BIG;
  uint64_t block_bytes = ns.data_block_bytes();
  uint64_t metadata_bytes = uint64_t{io.blocks} * ns.separate_metadata_bytes();
  if (KeepsMetadata(ns, io.flags)) {
    block_bytes = ns.info().block_bytes;
    metadata_bytes = 0;
  }
  if (!AddUpTo(io.blocks * block_bytes, io.data, io.data_count)) return -EINVAL;
  if ((metadata_bytes > 0) != (io.metadata != nullptr)) return -EINVAL;

  if (const int error = queue.Admit(FuseOf(io.flags)); error != 0) return error;
  SubmissionEntry& entry = queue.next_entry();
  Write(entry, kind, ns, io, Cdw12(io.blocks, io.flags));
  if (const int error = queue.PointTo(entry, io.data, io.data_count); error != 0) return error;
  if (metadata_bytes > 0) {
    const int error = queue.PointToMetadata(entry, io.metadata, metadata_bytes);
    if (error != 0) return error;
  }
  queue.Commit(request, entry);
  return 0;
}

// One piece of memory that holds just the blocks, no metadata, no flags.
inline bool IsPlain(const Namespace& ns, size_t bytes, uint64_t lba, uint32_t blocks) {
  uint64_t behind = 0;
  return blocks - 1 < ns.plain_blocks_max() && bytes == uint64_t{blocks} * ns.data_block_bytes() &&
         !__builtin_sub_overflow(ns.blocks(), lba, &behind) && blocks <= behind;
}

template <const Kind& kKind>
[[gnu::noinline]] int TransferOnePiece(QueuePair& queue, const Namespace& ns,
                                       pollux_nvme_request& request, void* data, size_t bytes,
                                       uint64_t lba, uint32_t blocks) {
  SubmissionEntry& entry = queue.next_entry();
  if (queue.AdmitPlainOverWire() && IsPlain(ns, bytes, lba, blocks) &&
      queue.PointToPieceOverWire(entry, data, bytes)) {
    Write(entry, kKind.opc, 0, ns.nsid(), lba, blocks - 1, 0);
    queue.CommitPlain(request, entry);
    return 0;
  }
  const iovec piece = {data, bytes};
  pollux_nvme_io io{};
  io.lba = lba;
  io.blocks = blocks;
  io.data = &piece;
  io.data_count = 1;
  return TransferAny(queue, ns, request, io, kKind);
}

// What nearly all transfers are: one piece of memory, no metadata, no flags. It calls nothing but
// what does it all over again when it is another case, so that it need not save a register.
template <const Kind& kKind>
inline int Transfer(QueuePair& queue, const Namespace& ns, pollux_nvme_request& request, void* data,
                    size_t bytes, uint64_t lba, uint32_t blocks) {
  const bool plain = queue.AdmitPlain() && IsPlain(ns, bytes, lba, blocks);
  SubmissionEntry& entry = queue.next_entry();
  if (!plain || !queue.PointToPlain(entry, data, bytes)) [[unlikely]] {
    return TransferOnePiece<kKind>(queue, ns, request, data, bytes, lba, blocks);
  }
  Write(entry, kKind.opc, 0, ns.nsid(), lba, blocks - 1, 0);
  queue.CommitPlain(request, entry);
  return 0;
}

template <const Kind& kKind>
inline int Transfer(QueuePair& queue, const Namespace& ns, pollux_nvme_request& request,
                    const pollux_nvme_io& io) {
  // Tags mean nothing without flags.
  if (io.flags != 0 || io.data_count != 1 || io.metadata != nullptr) [[unlikely]] {
    return TransferAny(queue, ns, request, io, kKind);
  }
  return Transfer<kKind>(queue, ns, request, io.data->iov_base, io.data->iov_len, io.lba,
                         io.blocks);
}

// Commands about blocks that move none.
int Mention(QueuePair& queue, const Namespace& ns, pollux_nvme_request& request,
            const pollux_nvme_io& io, const Kind& kind, uint32_t blocks_max) {
  if (!ns.active()) return -ENXIO;
  if ((io.flags & ~kind.flags) != 0 || io.data_count > 0 || io.metadata != nullptr) return -EINVAL;
  if (!Reaches(ns, io.lba, io.blocks)) return -EINVAL;
  if (io.blocks > (blocks_max == 0 ? kBlocksMax : blocks_max)) return -E2BIG;
  if (const int error = queue.Admit(0); error != 0) return error;
  SubmissionEntry& entry = queue.next_entry();
  Write(entry, kind, ns, io, Cdw12(io.blocks, io.flags));
  entry.prp1 = entry.prp2 = 0;
  queue.Commit(request, entry);
  return 0;
}

SubmissionEntry Entry(uint8_t opc, const Namespace& ns) {
  SubmissionEntry entry;
  entry.opc = opc;
  entry.nsid = ns.nsid();
  return entry;
}

// A command whose data is one piece of the caller's memory; its length is told in dwords.
int SubmitWithReport(QueuePair& queue, const Namespace& ns, pollux_nvme_request& request,
                     const SubmissionEntry& entry, void* report, size_t bytes) {
  if (!ns.active()) return -ENXIO;
  if (bytes == 0 || bytes % 4 != 0) return -EINVAL;
  if (bytes > uint64_t{ns.transfer_blocks_max()} * ns.data_block_bytes()) return -E2BIG;
  const iovec piece = {report, bytes};
  return queue.Submit(request, entry, {.pieces = &piece, .count = 1});
}

int SubmitReservation(QueuePair& queue, const Namespace& ns, pollux_nvme_request& request,
                      SubmissionEntry entry, const pollux_nvme_reservation_keys& keys,
                      size_t key_count) {
  if (!ns.active()) return -ENXIO;
  if (!ns.info().reservations) return -ENOTSUP;
  const Le64 wire[] = {keys.current_key, keys.new_key};
  return queue.SubmitInline(request, entry, wire, key_count * sizeof(Le64));
}

// Dword 10 of Reservation Acquire and Release. Base figures 382, 387.
uint32_t ReservationDword(uint8_t action, bool ignore_existing_key,
                          pollux_nvme_reservation_type type) {
  return action | (ignore_existing_key ? 1u << 3 : 0) | static_cast<uint32_t>(type) << 8;
}

bool IsReservationType(pollux_nvme_reservation_type type) {
  return type >= POLLUX_NVME_WRITE_EXCLUSIVE &&
         type <= POLLUX_NVME_EXCLUSIVE_ACCESS_ALL_REGISTRANTS;
}

}  // namespace
}  // namespace pollux::nvme

namespace nvme = pollux::nvme;
using pollux::nvme::SubmissionEntry;

extern "C" {

// --- Queues.

uint32_t pollux_nvme_queue_room(const pollux_nvme_queue* queue) { return queue->room(); }

uint32_t pollux_nvme_queue_in_flight(const pollux_nvme_queue* queue) { return queue->in_flight(); }

uint16_t pollux_nvme_queue_id(const pollux_nvme_queue* queue) { return queue->id(); }

void pollux_nvme_queue_ring(pollux_nvme_queue* queue) { queue->Ring(); }

int pollux_nvme_queue_poll(pollux_nvme_queue* queue, int completions_max) {
  return queue->Poll(completions_max);
}

int pollux_nvme_queue_event_fd(pollux_nvme_queue* queue) { return queue->parts().event_fd; }

bool pollux_nvme_queue_prepare_sleep(pollux_nvme_queue* queue) { return queue->PrepareSleep(); }

void pollux_nvme_queue_check_timeouts(pollux_nvme_queue* queue, uint64_t now_ns) {
  queue->CheckTimeouts(now_ns);
}

void pollux_nvme_get_queue_statistics(const pollux_nvme_queue* queue,
                                      pollux_nvme_queue_statistics* into) {
  queue->ReadStatistics(*into);
}

int pollux_nvme_abort(pollux_nvme_queue* queue, pollux_nvme_request* request) {
  return queue->Abort(*request);
}

// --- Commands that move blocks.

int pollux_nvme_read(pollux_nvme_queue* queue, const pollux_nvme_namespace* ns,
                     pollux_nvme_request* request, void* data, size_t bytes, uint64_t lba,
                     uint32_t blocks) {
  return nvme::Transfer<nvme::kRead>(*queue, *ns, *request, data, bytes, lba, blocks);
}

int pollux_nvme_write(pollux_nvme_queue* queue, const pollux_nvme_namespace* ns,
                      pollux_nvme_request* request, const void* data, size_t bytes, uint64_t lba,
                      uint32_t blocks) {
  // The device only reads it.
  return nvme::Transfer<nvme::kWrite>(*queue, *ns, *request, const_cast<void*>(data), bytes, lba,
                                      blocks);
}

int pollux_nvme_readv(pollux_nvme_queue* queue, const pollux_nvme_namespace* ns,
                      pollux_nvme_request* request, const pollux_nvme_io* io) {
  return nvme::Transfer<nvme::kRead>(*queue, *ns, *request, *io);
}

int pollux_nvme_writev(pollux_nvme_queue* queue, const pollux_nvme_namespace* ns,
                       pollux_nvme_request* request, const pollux_nvme_io* io) {
  return nvme::Transfer<nvme::kWrite>(*queue, *ns, *request, *io);
}

int pollux_nvme_comparev(pollux_nvme_queue* queue, const pollux_nvme_namespace* ns,
                         pollux_nvme_request* request, const pollux_nvme_io* io) {
  if (!ns->info().compare) return -ENOTSUP;
  return nvme::Transfer<nvme::kCompare>(*queue, *ns, *request, *io);
}

int pollux_nvme_zone_append(pollux_nvme_queue* queue, const pollux_nvme_namespace* ns,
                            pollux_nvme_request* request, const pollux_nvme_io* io) {
  const pollux_nvme_namespace_info& info = ns->info();
  if (info.zone_blocks == 0) return -ENOTSUP;
  const uint64_t bytes = uint64_t{io->blocks} * ns->data_block_bytes();
  if (info.zone_append_bytes_max != 0 && bytes > info.zone_append_bytes_max) return -E2BIG;
  return nvme::Transfer<nvme::kZoneAppend>(*queue, *ns, *request, *io);
}

// --- Commands about blocks.

int pollux_nvme_write_zeroes(pollux_nvme_queue* queue, const pollux_nvme_namespace* ns,
                             pollux_nvme_request* request, const pollux_nvme_io* io) {
  if (!ns->info().write_zeroes) return -ENOTSUP;
  return nvme::Mention(*queue, *ns, *request, *io, nvme::kWriteZeroes,
                       ns->info().write_zeroes_blocks_max);
}

int pollux_nvme_verify(pollux_nvme_queue* queue, const pollux_nvme_namespace* ns,
                       pollux_nvme_request* request, const pollux_nvme_io* io) {
  if (!ns->info().verify) return -ENOTSUP;
  return nvme::Mention(*queue, *ns, *request, *io, nvme::kVerify, ns->info().verify_blocks_max);
}

int pollux_nvme_write_uncorrectable(pollux_nvme_queue* queue, const pollux_nvme_namespace* ns,
                                    pollux_nvme_request* request, uint64_t lba, uint32_t blocks) {
  if (!ns->info().write_uncorrectable) return -ENOTSUP;
  pollux_nvme_io io{};
  io.lba = lba;
  io.blocks = blocks;
  return nvme::Mention(*queue, *ns, *request, io, {nvme::io::kWriteUncorrectable, 0},
                       ns->info().write_uncorrectable_blocks_max);
}

int pollux_nvme_flush(pollux_nvme_queue* queue, const pollux_nvme_namespace* ns,
                      pollux_nvme_request* request) {
  if (!ns->active()) return -ENXIO;
  return queue->Submit(*request, nvme::Entry(nvme::io::kFlush, *ns), {});
}

int pollux_nvme_deallocate(pollux_nvme_queue* queue, const pollux_nvme_namespace* ns,
                           pollux_nvme_request* request, const pollux_nvme_range* ranges,
                           uint32_t count) {
  if (!ns->active()) return -ENXIO;
  if (!ns->info().dsm) return -ENOTSUP;
  if (count == 0) return -EINVAL;
  const pollux_nvme_namespace_info& info = ns->info();
  if (count > POLLUX_NVME_RANGES_MAX) return -E2BIG;
  if (info.deallocate_ranges_max != 0 && count > info.deallocate_ranges_max) return -E2BIG;
  uint64_t blocks = 0;
  nvme::DsmRange wire[POLLUX_NVME_RANGES_MAX];
  for (uint32_t i = 0; i < count; ++i) {
    if (!nvme::Reaches(*ns, ranges[i].lba, ranges[i].blocks)) return -EINVAL;
    const uint32_t range_max = info.deallocate_range_blocks_max;
    if (range_max != 0 && ranges[i].blocks > range_max) return -E2BIG;
    blocks += ranges[i].blocks;
    wire[i].cattr = 0;
    wire[i].nlb = ranges[i].blocks;
    wire[i].slba = ranges[i].lba;
  }
  if (info.deallocate_blocks_max != 0 && blocks > info.deallocate_blocks_max) return -E2BIG;
  SubmissionEntry entry = nvme::Entry(nvme::io::kDatasetManagement, *ns);
  entry.cdw10 = count - 1;
  entry.cdw11 = 1u << 2;  // AD: deallocate. NVM figure 40.
  return queue->SubmitInline(*request, entry, wire, count * sizeof(nvme::DsmRange));
}

int pollux_nvme_copy(pollux_nvme_queue* queue, const pollux_nvme_namespace* ns,
                     pollux_nvme_request* request, uint64_t to_lba, const pollux_nvme_range* ranges,
                     uint32_t count, uint32_t flags) {
  if (!ns->active()) return -ENXIO;
  const pollux_nvme_namespace_info& info = ns->info();
  if (!info.copy) return -ENOTSUP;
  if ((flags & ~nvme::kRetryFlags) != 0 || count == 0) return -EINVAL;
  nvme::CopyRange wire[4096 / sizeof(nvme::CopyRange)]{};
  if (count > info.copy_ranges_max || count > std::size(wire)) return -E2BIG;
  uint64_t blocks = 0;
  for (uint32_t i = 0; i < count; ++i) {
    if (!nvme::Reaches(*ns, ranges[i].lba, ranges[i].blocks)) return -EINVAL;
    if (ranges[i].blocks > std::min(info.copy_range_blocks_max, nvme::kBlocksMax)) return -E2BIG;
    wire[i].slba = ranges[i].lba;
    wire[i].nlb = static_cast<uint16_t>(ranges[i].blocks - 1);
    blocks += ranges[i].blocks;
  }
  if (blocks > info.copy_blocks_max) return -E2BIG;
  if (!nvme::Reaches(*ns, to_lba, blocks)) return -EINVAL;
  SubmissionEntry entry = nvme::Entry(nvme::io::kCopy, *ns);
  entry.cdw10 = static_cast<uint32_t>(to_lba);
  entry.cdw11 = static_cast<uint32_t>(to_lba >> 32);
  entry.cdw12 = nvme::Cdw12(count, flags);  // NR where others have NLB; descriptor format 0.
  return queue->SubmitInline(*request, entry, wire, count * sizeof(nvme::CopyRange));
}

// --- Reservations. Base §7.4 and figures 379 to 388.

int pollux_nvme_reservation_register(pollux_nvme_queue* queue, const pollux_nvme_namespace* ns,
                                     pollux_nvme_request* request,
                                     const pollux_nvme_reservation_keys* keys, uint8_t action,
                                     bool ignore_existing_key, uint8_t cptpl) {
  if (action > 2 || (cptpl != 0 && cptpl != 2 && cptpl != 3)) return -EINVAL;
  SubmissionEntry entry = nvme::Entry(nvme::io::kReservationRegister, *ns);
  entry.cdw10 = action | (ignore_existing_key ? 1u << 3 : 0) | uint32_t{cptpl} << 30;
  return nvme::SubmitReservation(*queue, *ns, *request, entry, *keys, 2);
}

int pollux_nvme_reservation_acquire(pollux_nvme_queue* queue, const pollux_nvme_namespace* ns,
                                    pollux_nvme_request* request,
                                    const pollux_nvme_reservation_keys* keys, uint8_t action,
                                    pollux_nvme_reservation_type type, bool ignore_existing_key) {
  if (action > 2 || !nvme::IsReservationType(type)) return -EINVAL;
  SubmissionEntry entry = nvme::Entry(nvme::io::kReservationAcquire, *ns);
  entry.cdw10 = nvme::ReservationDword(action, ignore_existing_key, type);
  return nvme::SubmitReservation(*queue, *ns, *request, entry, *keys, 2);
}

int pollux_nvme_reservation_release(pollux_nvme_queue* queue, const pollux_nvme_namespace* ns,
                                    pollux_nvme_request* request,
                                    const pollux_nvme_reservation_keys* key, uint8_t action,
                                    pollux_nvme_reservation_type type, bool ignore_existing_key) {
  // Clear has no type.
  if (action > 1 || (action == 0 && !nvme::IsReservationType(type))) return -EINVAL;
  SubmissionEntry entry = nvme::Entry(nvme::io::kReservationRelease, *ns);
  entry.cdw10 = nvme::ReservationDword(action, ignore_existing_key, type);
  return nvme::SubmitReservation(*queue, *ns, *request, entry, *key, 1);
}

int pollux_nvme_reservation_report(pollux_nvme_queue* queue, const pollux_nvme_namespace* ns,
                                   pollux_nvme_request* request, void* report, size_t bytes,
                                   bool extended) {
  if (!ns->info().reservations) return -ENOTSUP;
  SubmissionEntry entry = nvme::Entry(nvme::io::kReservationReport, *ns);
  entry.cdw10 = static_cast<uint32_t>(bytes / 4 - 1);
  entry.cdw11 = extended ? 1 : 0;
  return nvme::SubmitWithReport(*queue, *ns, *request, entry, report, bytes);
}

// --- Zones. ZNS §3.4.

int pollux_nvme_zone_send(pollux_nvme_queue* queue, const pollux_nvme_namespace* ns,
                          pollux_nvme_request* request, uint64_t zone_lba,
                          pollux_nvme_zone_action action, bool all_zones) {
  if (!ns->active()) return -ENXIO;
  if (ns->info().zone_blocks == 0) return -ENOTSUP;
  if (action < POLLUX_NVME_ZONE_CLOSE || action > POLLUX_NVME_ZONE_OFFLINE) return -EINVAL;
  if (!all_zones && zone_lba >= ns->blocks()) return -EINVAL;
  SubmissionEntry entry = nvme::Entry(nvme::io::kZoneManagementSend, *ns);
  entry.cdw10 = static_cast<uint32_t>(zone_lba);
  entry.cdw11 = static_cast<uint32_t>(zone_lba >> 32);
  entry.cdw13 = static_cast<uint32_t>(action) | (all_zones ? 1u << 8 : 0);
  return queue->Submit(*request, entry, {});
}

int pollux_nvme_zone_report(pollux_nvme_queue* queue, const pollux_nvme_namespace* ns,
                            pollux_nvme_request* request, uint64_t zone_lba, uint8_t state,
                            bool partial, void* report, size_t bytes) {
  if (ns->info().zone_blocks == 0) return -ENOTSUP;
  if (zone_lba >= ns->blocks()) return -EINVAL;
  SubmissionEntry entry = nvme::Entry(nvme::io::kZoneManagementReceive, *ns);
  entry.cdw10 = static_cast<uint32_t>(zone_lba);
  entry.cdw11 = static_cast<uint32_t>(zone_lba >> 32);
  entry.cdw12 = static_cast<uint32_t>(bytes / 4 - 1);
  entry.cdw13 = uint32_t{state} << 8 | (partial ? 1u << 16 : 0);
  return nvme::SubmitWithReport(*queue, *ns, *request, entry, report, bytes);
}

// --- Anything.

int pollux_nvme_io_command(pollux_nvme_queue* queue, pollux_nvme_request* request,
                           const pollux_nvme_command* command, const iovec* data,
                           uint32_t data_count, void* metadata, size_t metadata_bytes) {
  SubmissionEntry entry;
  entry.opc = command->opc;
  entry.flags = command->fuse & (nvme::kFuseFirst | nvme::kFuseSecond);
  if (entry.flags == (nvme::kFuseFirst | nvme::kFuseSecond)) return -EINVAL;
  if ((metadata == nullptr) != (metadata_bytes == 0)) return -EINVAL;
  entry.nsid = command->nsid;
  entry.cdw2 = command->cdw2;
  entry.cdw3 = command->cdw3;
  entry.cdw10 = command->cdw10;
  entry.cdw11 = command->cdw11;
  entry.cdw12 = command->cdw12;
  entry.cdw13 = command->cdw13;
  entry.cdw14 = command->cdw14;
  entry.cdw15 = command->cdw15;
  return queue->Submit(*request, entry,
                       {.pieces = data,
                        .count = data == nullptr ? 0 : data_count,
                        .metadata = metadata,
                        .metadata_bytes = metadata_bytes});
}

}  // extern "C"
