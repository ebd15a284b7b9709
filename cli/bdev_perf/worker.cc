#include "cli/bdev_perf/worker.h"

#include <cstring>
#include <utility>

#include "cli/tool/ticks.h"
#include "core/check.h"

namespace pollux::cli {
namespace {

constexpr uint64_t kAlignment = 4096;

uint64_t Aligned(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Something that compresses badly, where nobody asks what it is.
void FillWithNoise(std::byte* memory, uint64_t bytes, uint64_t seed) {
  Random random(seed);
  for (uint64_t at = 0; at + sizeof(uint64_t) <= bytes; at += sizeof(uint64_t)) {
    const uint64_t word = random.Next();
    std::memcpy(memory + at, &word, sizeof(word));
  }
}

}  // namespace

// One I/O, again and again; or one loan.
class BdevWorker::Slot final : public IoRequest {
 public:
  Slot(BdevWorker& its_worker, iovec its_buffer) : worker(its_worker), buffer(its_buffer) {}
  void OnComplete() override { worker.OnComplete(*this); }

  BdevWorker& worker;
  const iovec buffer;
  Workload::Operation operation;
  Loan loan;
  uint64_t started_ticks = 0;
};

Result<std::unique_ptr<BdevWorker>> BdevWorker::Make(const Parts& parts, RegionRegistry& regions) {
  const uint64_t each = Aligned(parts.options->io_bytes);
  ASSIGN_OR_RETURN(
      std::unique_ptr<SharedPages> memory,
      SharedPages::Map("bdev-perf", each * parts.options->depth, /*huge=*/true, regions));
  return std::unique_ptr<BdevWorker>(new BdevWorker(parts, std::move(memory)));
}

BdevWorker::BdevWorker(const Parts& parts, std::unique_ptr<SharedPages> memory)
    : parts_(parts),
      channel_(*parts.disk->channel(parts.reactor->index())),
      memory_(std::move(memory)),
      workload_(parts.shape),
      random_(parts.shape.seed + 1) {
  const uint64_t bytes = uint64_t{parts.io_blocks} * channel_.data_block_bytes();
  const uint64_t each = Aligned(options().io_bytes);
  for (uint32_t i = 0; i < options().depth; ++i) {
    std::byte* const buffer = memory_->address() + i * each;
    if (!parts.shape.verify) FillWithNoise(buffer, bytes, parts.shape.seed + i);
    slots_.emplace_back(*this, iovec{buffer, bytes});
  }
  parked_.reserve(slots_.size());
}

BdevWorker::~BdevWorker() { CHECK(in_flight_ == 0); }

void BdevWorker::Start() {
  if (options().lend) return reactor().AddPoller(*this);
  const uint64_t now = Ticks();
  for (Slot& slot : slots_) Begin(slot, now);
  LookWhetherOver();
}

void BdevWorker::Finish() {
  finishing_ = true;
  LookWhetherOver();
}

void BdevWorker::Stop() {
  if (options().lend) reactor().RemovePoller(*this);
}

void BdevWorker::LookWhetherOver() {
  if (in_flight_ == 0 && !may_begin()) over_.store(true, std::memory_order_release);
}

BlockStamp BdevWorker::StampOf(const Slot& slot, uint64_t lba) const {
  return {lba, slot.operation.generation, options().seed};
}

bool BdevWorker::MayBegin() {
  ended_ = ended_ || (options().count_max != 0 && begun_ == options().count_max);
  return may_begin();
}

bool BdevWorker::Next(Slot& slot) {
  if (!workload_.Next(slot.operation)) {
    ended_ = workload_.done();
    return false;
  }
  slot.lba = parts_.first_block + slot.operation.unit * parts_.io_blocks;
  slot.blocks = parts_.io_blocks;
  slot.type = slot.operation.unmaps    ? IoType::kUnmap
              : slot.operation.is_read ? IoType::kRead
                                       : IoType::kWrite;
  ++begun_;
  ++in_flight_;
  return true;
}

void BdevWorker::Begin(Slot& slot, uint64_t now_ticks) {
  slot.started_ticks = now_ticks;
  if (!MayBegin()) [[unlikely]]
    return parked_.push_back(&slot);
  if (options().flush > 0 && random_.Below(100) < options().flush) {
    slot.type = IoType::kFlush;
    slot.lba = 0;
    slot.blocks = channel_.blocks();
    slot.data = {};
    ++begun_;
    ++in_flight_;
    return channel_.Submit(slot);
  }
  if (!Next(slot)) [[unlikely]]
    return parked_.push_back(&slot);
  slot.data = slot.operation.unmaps ? std::span<const iovec>() : std::span(&slot.buffer, 1);
  slot.fua = options().fua && !slot.operation.is_read;
  if (parts_.shape.verify && slot.type == IoType::kWrite) {
    FillBlocks(slot.buffer.iov_base, slot.blocks, channel_.data_block_bytes(),
               StampOf(slot, slot.lba));
    slot.started_ticks = Ticks();
  }
  channel_.Submit(slot);
}

void BdevWorker::BeginParked(uint64_t now_ticks) {
  for (size_t count = parked_.size(); count > 0 && may_begin(); --count) {
    Slot& slot = *parked_.back();
    parked_.pop_back();
    const uint64_t before = begun_;
    Begin(slot, now_ticks);
    if (begun_ == before) return;  // Parked again.
  }
}

void BdevWorker::OnComplete(Slot& slot) {
  const uint64_t now = Ticks();
  if (slot.type == IoType::kRead && slot.status == IoStatus::kSuccess &&
      slot.operation.generation != 0) {
    CheckData(slot, slot.buffer, slot.lba);
  }
  Account(slot, slot.status, now);
  Begin(slot, now);
  if (parked_.empty()) [[likely]]
    return;
  BeginParked(now);
  LookWhetherOver();
}

void BdevWorker::Account(Slot& slot, IoStatus status, uint64_t now_ticks) {
  --in_flight_;
  const bool good = status == IoStatus::kSuccess;
  if (slot.type != IoType::kFlush) workload_.Ended(slot.operation, good);
  if (finishing_) return;
  if (!good) [[unlikely]]
    return BdevMeters::CountOne(meters_.errors[static_cast<size_t>(status)]);
  const auto ns = static_cast<uint64_t>(static_cast<double>(now_ticks - slot.started_ticks) *
                                        parts_.ns_per_tick);
  switch (slot.type) {
    case IoType::kRead:
      return meters_.io.reads.Add(ns, slot.buffer.iov_len);
    case IoType::kFlush:
      return meters_.flushes.Add(ns, 0);
    case IoType::kUnmap:
      return meters_.unmaps.Add(ns, slot.buffer.iov_len);
    default:
      return meters_.io.writes.Add(ns, slot.buffer.iov_len);
  }
}

void BdevWorker::CheckData(const Slot& slot, const iovec& part, uint64_t lba) {
  const uint32_t block_bytes = channel_.data_block_bytes();
  const auto difference =
      CheckBlocks(part.iov_base, part.iov_len / block_bytes, block_bytes, StampOf(slot, lba));
  if (!difference) return meters_.io.CountVerified();
  if (first_difference_.empty()) first_difference_ = difference->text;
  BdevMeters::CountOne(meters_.differences);
}

// --- Loans.

int BdevWorker::Poll() {
  const uint64_t now = Ticks();
  int done = 0;
  for (Slot& slot : slots_) {
    if (slot.loan.part_count > 0) {
      GiveBack(slot, now);
      ++done;
    }
    done += Lend(slot);
  }
  LookWhetherOver();
  return done;
}

bool BdevWorker::Lend(Slot& slot) {
  if (!MayBegin() || !Next(slot)) return false;
  slot.loan.write = slot.type == IoType::kWrite;
  slot.loan.lba = slot.lba;
  slot.loan.blocks = slot.blocks;
  slot.started_ticks = Ticks();
  if (!channel_.TryLend(slot.loan)) {
    --in_flight_;
    workload_.Ended(slot.operation, false);
    failure_ = "the disk lends nothing";
    ended_ = true;
    return false;
  }
  return true;
}

void BdevWorker::GiveBack(Slot& slot, uint64_t now_ticks) {
  const uint32_t block_bytes = channel_.data_block_bytes();
  if (parts_.shape.verify && slot.operation.generation != 0) {
    uint64_t lba = slot.lba;
    for (const iovec& part : std::span(slot.loan.parts, slot.loan.part_count)) {
      const uint64_t blocks = part.iov_len / block_bytes;
      if (slot.loan.write) {
        FillBlocks(part.iov_base, blocks, block_bytes, StampOf(slot, lba));
      } else {
        CheckData(slot, part, lba);
      }
      lba += blocks;
    }
  }
  channel_.Return(slot.loan);
  Account(slot, IoStatus::kSuccess, now_ticks);
}

}  // namespace pollux::cli
