#include "tests/unit/drivers/history/player.h"

#include "core/status.h"

namespace pollux::history {
namespace {

// Where most I/O goes, so that it meets.
constexpr uint64_t kCrowdedBlocks = 96;
constexpr uint64_t kBlockBytesMax = 512 + kProtectionBytes;
// Most are short, some not, and a few longer than what a driver does in one piece.
constexpr uint64_t kShort = 6, kLong = 48;
constexpr uint64_t kTurnsLentMax = 6;
// What is begun after the disk said that it is gone.
constexpr uint64_t kTriesWhenGone = 20;

// Of a thousand I/Os.
struct Share {
  IoType type;
  uint64_t of_thousand;
};
constexpr Share kShares[] = {
    {IoType::kRead, 330},       {IoType::kWrite, 330},  {IoType::kUnmap, 50},
    {IoType::kWriteZeroes, 60}, {IoType::kCompare, 70}, {IoType::kCompareAndWrite, 120},
    {IoType::kFlush, 37},       {IoType::kReset, 3},
};

bool CarriesData(IoType type) {
  return type == IoType::kRead || type == IoType::kWrite || type == IoType::kCompare ||
         type == IoType::kCompareAndWrite;
}

bool Compares(IoType type) { return type == IoType::kCompare || type == IoType::kCompareAndWrite; }

bool Writes(IoType type) {
  return type == IoType::kWrite || type == IoType::kUnmap || type == IoType::kWriteZeroes ||
         type == IoType::kCompareAndWrite;
}

}  // namespace

struct Player::Abort final : IoRequest {
  void OnComplete() override { player->OnAborted(*this); }
  Player* player = nullptr;
  Slot* slot = nullptr;
};

// One I/O or loan at a time. It is free again when the abort that points to it has ended too.
struct Player::Slot final : IoRequest {
  void OnComplete() override { player->OnEnded(*this); }

  Player* player = nullptr;
  Entry entry;
  bool busy = false, ended = false, taken = false;
  Abort abort;
  Loan loan;
  uint64_t turns_lent = 0;
  Scattered scattered, compared;
  std::vector<std::byte> plain;  // The blocks in one piece.
  std::vector<std::byte> metadata_buffer;
};

Player::Player(Reactor& reactor, Board& board, Memory& memory, uint64_t seed)
    : reactor_(reactor), board_(board), random_(seed), next_write_(1 + reactor.index()) {
  constexpr size_t kBytes = kBlocksMax * kBlockBytesMax + Scattered::kSlackBytes;
  std::byte* at = *memory.Allocate("a player's data", 2 * kDepth * kBytes);
  memory_ = {at, 2 * kDepth * kBytes};
  for (auto& slot : slots_) {
    slot = std::make_unique<Slot>();
    slot->player = slot->abort.player = this;
    slot->abort.slot = slot.get();
    slot->scattered.Use(at);
    slot->compared.Use(at + kBytes);
    at += 2 * kBytes;
    slot->plain.resize(kBlocksMax * kBlockBytesMax);
    slot->metadata_buffer.resize(kBlocksMax * 64);
  }
}

Player::~Player() { CHECK(quiet(), "a player went while it plays"); }

void Player::Play(BlockDevice& device, uint64_t count, uint64_t crowded_from) {
  CHECK(quiet());
  channel_ = device.channel(reactor_.index());
  geometry_ = device.geometry();
  supported_ = 0;
  for (int i = 0; i < kIoTypeCount; ++i) {
    if (device.Supports(static_cast<IoType>(i))) supported_ |= 1u << i;
  }
  const uint64_t limit = device.limits().compare_and_write_blocks_max;
  compare_and_write_max_ = limit == 0 ? kBlocksMax : limit;
  left_ = count;
  crowded_from_ = crowded_from;
  quiet_.store(false, std::memory_order_relaxed);
  reactor_.AddPoller(*this);
}

int Player::Poll() {
  int done = 0;
  for (auto& slot : slots_) {
    if (!slot->busy || !slot->entry.lent || slot->turns_lent-- > 0) continue;
    EndLoan(*slot);
    ++done;
  }
  for (uint64_t burst = Below(5); burst > 0 && left_ > 0 && free_count_ > 0; --burst) {
    if (Below(40) == 0) BeginAbort();
    if (!BeginOne()) continue;
    --left_;
    begun_.store(begun_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    ++done;
  }
  if (left_ == 0 && free_count_ == kDepth) {
    reactor_.RemovePoller(*this);
    channel_ = nullptr;
    quiet_.store(true, std::memory_order_release);
  }
  return done;
}

IoType Player::Choose() {
  for (;;) {
    uint64_t ticket = Below(1000);
    for (const Share& share : kShares) {
      if (ticket < share.of_thousand) {
        if (Supports(share.type)) return share.type;
        break;
      }
      ticket -= share.of_thousand;
    }
  }
}

void Player::ChooseRange(Entry& entry, bool with_data) {
  const uint64_t all = channel_->blocks();
  uint64_t longest = Below(8) == 0 ? kLong : kShort;
  if (Below(with_data ? 400 : 16) == 0) longest = kBlocksMax;
  if (Compares(entry.type)) longest = 4;
  if (entry.type == IoType::kCompareAndWrite) longest = std::min(longest, compare_and_write_max_);
  entry.blocks = std::min(all, 1 + Below(longest));
  const bool anywhere = Below(5) == 0;
  entry.lba = anywhere ? Below(all) : crowded_from_ + Below(kCrowdedBlocks);
  entry.lba = std::min(entry.lba, all - entry.blocks);
  // Now and then over the end.
  if (Below(300) == 0) entry.lba = all - entry.blocks + Below(3);
}

bool Player::BeginOne() {
  for (auto& slot : slots_) {
    if (slot->busy) continue;
    Entry& entry = slot->entry;
    entry = {};
    entry.reactor = reactor_.index();
    entry.type = Choose();
    const bool lends = entry.type == IoType::kRead || entry.type == IoType::kWrite;
    entry.lent = lends && Below(4) == 0;
    return entry.lent ? BeginLoan(*slot) : BeginIo(*slot);
  }
  return false;
}

bool Player::BeginIo(Slot& slot) {
  Entry& entry = slot.entry;
  if (entry.type != IoType::kFlush && entry.type != IoType::kReset) {
    ChooseRange(entry, CarriesData(entry.type));
    slot.taken = entry.type != IoType::kCompareAndWrite;
    if (slot.taken && !board_.TryTake(entry.lba, entry.blocks, Writes(entry.type))) return false;
    entry.fua = Writes(entry.type) && Below(8) == 0;
    if (Writes(entry.type)) {
      entry.write = next_write_;
      next_write_ += Reactors::kReactorsMax;
    }
  }
  Prepare(slot);
  slot.busy = true;
  slot.ended = false;
  --free_count_;
  if (entry.type == IoType::kReset) {
    for (auto& other : slots_) {
      if (other->busy && !other->entry.lent) other->entry.abort_asked = true;
    }
    entry.abort_asked = false;
  }
  entry.began = board_.moments.Next();
  channel_->Submit(slot);
  return true;
}

void Player::Prepare(Slot& slot) {
  const Entry& entry = slot.entry;
  slot.type = entry.type;
  slot.fua = entry.fua;
  slot.lba = entry.lba;
  slot.blocks = entry.blocks;
  slot.data = slot.compare_data = {};
  slot.metadata = nullptr;
  if (!CarriesData(entry.type)) return;

  const size_t bytes = entry.blocks * geometry_.data_block_bytes();
  slot.scattered.Cut(random_, bytes);
  slot.data = slot.scattered.segments();
  if (entry.type == IoType::kRead) slot.scattered.Smear();
  if (Compares(entry.type)) Expect(slot);
  if (entry.type == IoType::kCompare) {
    PutExpected(slot.plain.data(), entry);
    slot.scattered.CopyIn(slot.plain.data());
  }
  if (entry.type == IoType::kCompareAndWrite) {
    slot.compared.Cut(random_, bytes);
    slot.compare_data = slot.compared.segments();
    PutExpected(slot.plain.data(), entry);
    slot.compared.CopyIn(slot.plain.data());
  }
  if (entry.type == IoType::kWrite || entry.type == IoType::kCompareAndWrite) {
    PutBlocks(slot.plain.data(), entry);
    slot.scattered.CopyIn(slot.plain.data());
  }
  if (geometry_.protection_type != 0 && !geometry_.metadata_interleaved) AddMetadata(slot);
}

// What it compares with: what was seen last, or something else.
void Player::Expect(Slot& slot) {
  Entry& entry = slot.entry;
  entry.values = journal_.values.size();
  for (uint64_t block = 0; block < entry.blocks; ++block) {
    const uint64_t lba = std::min(entry.lba + block, kLbasMax - 1);
    const Value value = board_.guess(lba);
    journal_.values.push_back(Below(64) == 0 ? ValueOf(next_write_, lba) : value);
  }
}

void Player::PutBlocks(std::byte* to, const Entry& entry) {
  for (uint64_t block = 0; block < entry.blocks; ++block) {
    FillBlock(to + block * geometry_.data_block_bytes(), geometry_.block_bytes,
              ValueOf(entry.write, entry.lba + block));
  }
  if (geometry_.metadata_interleaved) Protect(to, entry);
}

void Player::PutExpected(std::byte* to, const Entry& entry) {
  for (uint64_t block = 0; block < entry.blocks; ++block) {
    FillBlock(to + block * geometry_.data_block_bytes(), geometry_.block_bytes,
              journal_.values[entry.values + block]);
  }
  if (!geometry_.metadata_interleaved) return;
  Protect(to, entry);
  // Where nothing was written it says that it is not to be checked.
  for (uint64_t block = 0; block < entry.blocks; ++block) {
    if (journal_.values[entry.values + block] != kZeroes) continue;
    memset(to + block * geometry_.data_block_bytes() + geometry_.block_bytes, 0xff,
           geometry_.metadata_bytes);
  }
}

Protection Player::ProtectionOf(const Entry& entry) const {
  return {.format = {.block_bytes = geometry_.block_bytes,
                     .metadata_bytes = geometry_.metadata_bytes,
                     .type = geometry_.protection_type,
                     .first = geometry_.protection_first},
          .tags = {.reference = static_cast<uint32_t>(entry.lba)},
          .checks = {}};
}

void Player::Protect(std::byte* blocks, const Entry& entry) {
  if (geometry_.protection_type == 0) return;
  const iovec all{blocks, entry.blocks * geometry_.data_block_bytes()};
  GenerateProtection(ProtectionOf(entry), entry.blocks, {&all, 1});
}

// Where metadata is separate a user may leave it out; the disk verifies what it is given, and
// gives.
void Player::AddMetadata(Slot& slot) {
  const Entry& entry = slot.entry;
  if (Below(2) == 0 || Compares(entry.type)) return;
  slot.metadata = slot.metadata_buffer.data();
  if (entry.type != IoType::kWrite) return;
  const size_t bytes = entry.blocks * geometry_.metadata_bytes;
  GenerateProtection(ProtectionOf(entry), entry.blocks, slot.data, {slot.metadata, bytes});
}

bool Player::BeginLoan(Slot& slot) {
  Entry& entry = slot.entry;
  ChooseRange(entry, true);
  const bool write = entry.type == IoType::kWrite;
  if (entry.lba + entry.blocks > channel_->blocks()) return false;
  if (!board_.TryTake(entry.lba, entry.blocks, write)) return false;
  slot.loan = {.write = write, .lba = entry.lba, .blocks = entry.blocks};
  entry.began = board_.moments.Next();
  if (!channel_->TryLend(slot.loan)) {
    board_.Give(entry.lba, entry.blocks, write);
    return false;
  }
  if (write) {
    entry.write = next_write_;
    next_write_ += Reactors::kReactorsMax;
  }
  slot.taken = slot.busy = true;
  slot.ended = false;
  slot.turns_lent = Below(kTurnsLentMax);
  --free_count_;
  return true;
}

void Player::EndLoan(Slot& slot) {
  Entry& entry = slot.entry;
  const std::span<const iovec> parts(slot.loan.parts, slot.loan.part_count);
  std::byte* plain = slot.plain.data();
  if (entry.type == IoType::kWrite) {
    PutBlocks(plain, entry);
    // A peer may have gone before all of it came.
    if (Below(16) == 0) entry.blocks = Below(entry.blocks + 1);
    size_t left = entry.blocks * geometry_.data_block_bytes();
    for (const iovec& part : parts) {
      const size_t length = std::min(left, part.iov_len);
      memcpy(part.iov_base, plain, length);
      plain += length;
      left -= length;
    }
  } else {
    for (const iovec& part : parts) {
      memcpy(plain, part.iov_base, part.iov_len);
      plain += part.iov_len;
    }
    TakeBlocks(slot, slot.plain.data());
  }
  const uint64_t taken = slot.loan.blocks;
  channel_->Return(slot.loan);
  entry.ended = board_.moments.Next();
  entry.status = IoStatus::kSuccess;
  slot.taken = false;
  board_.Give(entry.lba, taken, entry.type == IoType::kWrite);
  slot.ended = true;
  Finish(slot);
}

void Player::BeginAbort() {
  Slot& slot = *slots_[Below(kDepth)];
  if (!slot.busy || slot.entry.lent || slot.ended || slot.abort.in_flight()) return;
  if (slot.type == IoType::kReset) return;
  slot.entry.abort_asked = true;
  slot.abort.type = IoType::kAbort;
  slot.abort.abort_target = &slot;
  channel_->Submit(slot.abort);
}

void Player::OnAborted(Abort& abort) {
  if (abort.status == IoStatus::kSuccess) {
    abort.slot->entry.abort_granted = true;
  } else if (abort.status != IoStatus::kNotSupported) {
    Fault(absl::StrFormat("an abort ended with: %s", IoStatusName(abort.status)));
  }
  if (abort.slot->ended) Finish(*abort.slot);
}

void Player::OnEnded(Slot& slot) {
  Entry& entry = slot.entry;
  if (!slot.busy || slot.ended) return Fault("an I/O ended twice");
  entry.ended = board_.moments.Next();
  entry.status = slot.status;
  if (entry.status == IoStatus::kSuccess && entry.type == IoType::kRead) {
    if (!slot.scattered.CopyOut(slot.plain.data())) Fault("a read wrote beside its segments");
    TakeBlocks(slot, slot.plain.data());
  }
  if (entry.status == IoStatus::kGone) left_ = std::min(left_, kTriesWhenGone);
  if (entry.status == IoStatus::kMiscompare) {
    entry.miscompare_block = slot.miscompare_offset / geometry_.data_block_bytes();
    if (entry.miscompare_block >= entry.blocks) Fault("a miscompare behind its data");
  }
  if (entry.type == IoType::kReset && entry.status == IoStatus::kSuccess) {
    for (auto& other : slots_) {
      if (!other->busy || other->ended || other->entry.lent || other->type == IoType::kReset) {
        continue;
      }
      if (other->entry.began < entry.began) {
        Fault(absl::StrFormat("a %s outlived a reset", IoTypeName(other->type)));
      }
    }
  }
  if (slot.taken) board_.Give(entry.lba, entry.blocks, Writes(entry.type));
  slot.taken = false;
  slot.ended = true;
  if (!slot.abort.in_flight()) Finish(slot);
}

void Player::TakeBlocks(Slot& slot, const std::byte* from) {
  Entry& entry = slot.entry;
  entry.values = journal_.values.size();
  for (uint64_t block = 0; block < entry.blocks; ++block) {
    const Value value =
        ReadBlock(from + block * geometry_.data_block_bytes(), geometry_.block_bytes);
    journal_.values.push_back(value);
    board_.Guess(entry.lba + block, value);
  }
}

// The slot is free, and its entry written down.
void Player::Finish(Slot& slot) {
  Entry& entry = slot.entry;
  if (entry.status == IoStatus::kSuccess && Writes(entry.type)) {
    const bool zeroes = entry.type == IoType::kUnmap || entry.type == IoType::kWriteZeroes;
    for (uint64_t block = 0; block < entry.blocks; ++block) {
      const uint64_t lba = entry.lba + block;
      board_.Guess(lba, zeroes ? kZeroes : ValueOf(entry.write, lba));
    }
  }
  journal_.entries.push_back(entry);
  slot.busy = false;
  ++free_count_;
}

void Player::Fault(const std::string& text) {
  if (fault_.empty()) fault_ = absl::StrFormat("reactor %u: %s", reactor_.index(), text);
}

}  // namespace pollux::history
