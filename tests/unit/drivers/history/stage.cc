#include "tests/unit/drivers/history/stage.h"

#include <atomic>

namespace pollux::history {
namespace {

constexpr std::chrono::seconds kPatience{120};
// What a turn of those that stand still takes.
constexpr uint64_t kTurnNs = 20 * kNsPerUs;
// How often it is looked at reactors that have threads.
constexpr uint64_t kLookNs = 20 * kNsPerUs;

std::unique_ptr<Reactors> MakeReactors(Stage::Reactors kind, const Clock& clock) {
  const Reactors::Options options{.cores = {0, 1}};
  return kind == Stage::Reactors::kStill ? *Reactors::MakeStill(options, clock)
                                         : *Reactors::Start(options, clock);
}

}  // namespace

Result<std::byte*> StageMemory::Allocate(const std::string& consumer, size_t bytes) {
  ASSIGN_OR_RETURN(std::unique_ptr<SharedPages> pages,
                   SharedPages::Map(consumer, bytes, /*huge=*/false, registry_));
  pages_.push_back(std::move(pages));
  return pages_.back()->address();
}

Stage::Stage(Reactors kind)
    : kind_(kind),
      clock(kind == Reactors::kStill ? static_cast<const Clock&>(manual_clock) : real_clock),
      reactors(MakeReactors(kind, clock)),
      control({.name = "control"}, clock, *MakeEpollWaiter()),
      devices(*reactors),
      memory(regions),
      accel(*reactors) {}

Stage::~Stage() {
  for (size_t i = 0; i < kReactors; ++i) {
    On(i, [this, i] { rings_[i].reset(); });
  }
  if (!still()) reactors->Stop();
}

void Stage::Turn() {
  if (!still()) {
    // The reactors need the cores; and what they have come to, they do not announce.
    struct Alarm final : Timer {
      void OnTimer() override {}
    } alarm;
    control.ArmTimerIn(alarm, kLookNs);
    control.RunTurn(/*may_block=*/true);
    return control.CancelTimer(alarm);
  }
  control.RunTurn();
  for (auto& reactor : *reactors) reactor->RunTurn();
  if (in_turn) in_turn();
  manual_clock.Advance(kTurnNs);
}

bool Stage::Until(const std::function<bool()>& so) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (uint64_t turn = 0; !so(); ++turn) {
    if (turn % 1024 == 0 && std::chrono::steady_clock::now() > deadline) return false;
    Turn();
  }
  return true;
}

void Stage::On(size_t reactor, const std::function<void()>& step) {
  struct Carrier final : Message {
    explicit Carrier(const std::function<void()>& s) : carried(s) {}
    void Run() override {
      carried();
      ran.store(true, std::memory_order_release);
    }
    const std::function<void()>& carried;
    std::atomic<bool> ran{false};
  } carrier(step);
  (*reactors)[reactor].Post(carrier);
  CHECK(Until([&carrier] { return carrier.ran.load(std::memory_order_acquire); }));
}

void Stage::Pin(std::span<std::byte> bytes) {
  for (size_t i = 0; i < kReactors; ++i) {
    On(i, [this, i, bytes] {
      if (rings_[i] == nullptr) return;
      // Where it may not be pinned, all is as before.
      static_cast<void>(rings_[i]->AddBuffers(bytes.data(), bytes.size()));
    });
  }
}

bool Stage::MakeRings() {
  bool made = true;
  for (size_t i = 0; i < kReactors; ++i) {
    On(i, [this, i, &made] {
      auto ring = ReactorRing::Make((*reactors)[i], {});
      if (ring.ok()) rings_[i] = *std::move(ring);
      made = made && ring.ok();
    });
  }
  if (made) file_buffers = *MakeFileDiskBuffers(memory, kReactors);
  return made;
}

}  // namespace pollux::history
