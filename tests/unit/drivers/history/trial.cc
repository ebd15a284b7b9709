#include "tests/unit/drivers/history/trial.h"

#include "core/status.h"

namespace pollux::history {
namespace {

// Of one player, between two looks at what happened.
constexpr uint64_t kWhile = 1000;
constexpr uint64_t kBlocksAtMost = 1 << 14;
// Per second, where the disk's speed is limited.
constexpr uint64_t kIosAtLeast = 50'000, kBytesAtLeast = 50'000'000;

Promises PromisesOf(const DiskUnderTest* disk) {
  return disk == nullptr ? Promises{} : disk->promises();
}

}  // namespace

Trial::Trial(const DiskKind& kind, Stage::Reactors reactors, uint64_t seed)
    : kind_(kind),
      seed_(seed),
      random_(seed),
      stage_(reactors),
      board_(stage_.still()),
      disk_(kind.make(stage_)),
      history_(PromisesOf(disk_.get())) {
  for (size_t i = 0; i < Stage::kReactors; ++i) {
    players_.push_back(
        std::make_unique<Player>((*stage_.reactors)[i], board_, stage_.memory, random_()));
    stage_.Pin(players_.back()->memory());
  }
}

Trial::~Trial() {
  if (device_ != nullptr) CHECK(Unplug().empty());
}

void Trial::Plug() {
  device_ = disk_->Plug();
  const Status status = device_->Open(*this, /*write=*/true);
  CHECK(status.ok());
  const uint64_t blocks = device_->geometry().blocks;
  history_.Renew(blocks, disk_->survives() ? blocks : 0);
}

std::string Trial::Run(uint64_t operations) {
  while (counts_.operations < operations) {
    if (device_ == nullptr) Plug();
    std::string fault = PlayAWhile();
    if (fault.empty()) fault = Check();
    if (!fault.empty()) {
      return absl::StrFormat("%s, %s, POLLUX_HISTORY_SEED=%u, after %u I/Os: %s", kind_.name,
                             stage_.still() ? "reactors that stand still" : "with threads", seed_,
                             counts_.operations, fault);
    }
  }
  return {};
}

// What happens to the disk happens under load, at any moment.
std::string Trial::PlayAWhile() {
  const uint64_t before = Begun(), ticket = Below(random_, 6);
  const bool unplugs = ticket == 0, grows = ticket == 1 && disk_->can_grow(), limits = ticket == 2;
  const bool changes = unplugs || grows || limits || ticket == 3;
  for (size_t i = 0; i < players_.size(); ++i) {
    const uint64_t count = changes ? UINT64_MAX : kWhile;
    stage_.On(i, [this, i, count] { players_[i]->Play(*device_, count, disk_->crowded_from()); });
  }
  bool ended = true;
  std::string fault;
  if (changes) {
    const uint64_t moment = before + Below(random_, 2 * kWhile);
    ended = stage_.Until([&] { return Begun() >= moment; });
    if (ended) fault = unplugs ? Unplug() : grows ? Grow() : limits ? Limit() : Trouble();
    StopPlayers();
  }
  ended = stage_.Until([this] { return Quiet(); }) && ended;
  counts_.operations += Begun() - before;
  return fault.empty() && !ended ? "an I/O never ended\n" : fault;
}

void Trial::StopPlayers() {
  for (size_t i = 0; i < players_.size(); ++i) {
    stage_.On(i, [this, i] { players_[i]->Stop(); });
  }
}

std::string Trial::Grow() {
  const uint64_t blocks = device_->geometry().blocks;
  if (blocks >= kBlocksAtMost) return {};
  Growth growth{.began = board_.moments.Next(), .blocks = kBlocksAtMost};
  const Status status = stage_.Run(disk_->Grow(blocks + 1 + Below(random_, blocks)));
  if (!status.ok()) return "it cannot grow: " + std::string(status.message());
  growth.blocks = device_->geometry().blocks;
  growth.ended = board_.moments.Next();
  growths_.push_back(growth);
  ++counts_.growths;
  return {};
}

// Of its speed: some, or none again.
std::string Trial::Limit() {
  RateLimits limits;
  if (Below(random_, 2) == 0) limits.rw_ios = kIosAtLeast + Below(random_, 9 * kIosAtLeast);
  if (Below(random_, 4) == 0) limits.w_bytes = kBytesAtLeast + Below(random_, 9 * kBytesAtLeast);
  const Status status = stage_.Run(stage_.devices.SetRateLimits(*device_, limits));
  if (!status.ok()) return "it cannot be limited: " + std::string(status.message());
  ++counts_.limits;
  return {};
}

std::string Trial::Trouble() {
  const Status status = stage_.Run(disk_->Trouble(random_));
  return status.ok() ? "" : "trouble cannot be made: " + std::string(status.message());
}

std::string Trial::Unplug() {
  removal_.since = board_.moments.Next();
  const uint64_t began = stage_.clock.NowNs();
  const Status status = stage_.Run(disk_->Unplug());
  removal_.slow = stage_.clock.NowNs() - began >= BlockChannel::kRemovalPatienceNs;
  if (!status.ok()) return "it cannot be removed: " + std::string(status.message());
  device_ = nullptr;
  ++counts_.removals;
  return {};
}

// The players go on for a moment: they are told that it is gone.
Task<void> Trial::OnDeviceRemoving(BlockDevice&) {
  for (size_t i = 0; i < players_.size(); ++i) {
    auto stop = [player = players_[i].get()] { player->Stop(); };
    co_await RunOn((*stage_.reactors)[i], stop);
  }
  while (!Quiet()) {
    Sleep a_moment(10 * kNsPerUs);
    co_await a_moment;
  }
}

bool Trial::Quiet() const {
  for (const auto& player : players_) {
    if (!player->quiet()) return false;
  }
  return true;
}

uint64_t Trial::Begun() const {
  uint64_t begun = 0;
  for (const auto& player : players_) begun += player->begun();
  return begun;
}

std::string Trial::Check() {
  std::vector<const Journal*> journals;
  for (const auto& player : players_) {
    if (!player->fault().empty()) return player->fault();
    journals.push_back(&player->journal());
  }
  std::string fault = history_.Add(journals, growths_, removal_);
  for (const auto& player : players_) player->journal().Clear();
  growths_.clear();
  removal_ = {};
  if (!fault.empty() || device_ == nullptr) return fault;
  // Nothing is left behind either.
  for (size_t i = 0; i < players_.size(); ++i) {
    const BlockChannel* const channel = device_->channel(i);
    if (channel->in_flight() + channel->loans() > 0) return "a channel is not empty\n";
  }
  return {};
}

}  // namespace pollux::history
