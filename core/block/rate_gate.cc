#include "core/block/rate_gate.h"

#include <algorithm>

#include "core/block/block_channel.h"
#include "core/check.h"

namespace pollux {
namespace {

enum Side : uint8_t { kReads, kWrites, kWritesWithoutData, kNeither };
// By IoType.
constexpr Side kSideOf[kIoTypeCount] = {
    kReads,              // kRead
    kWrites,             // kWrite
    kNeither,            // kFlush
    kWritesWithoutData,  // kUnmap
    kWritesWithoutData,  // kWriteZeroes
    kReads,              // kCompare
    kWrites,             // kCompareAndWrite
    kNeither,            // kReset
    kNeither,            // kAbort
};

Side SideOf(const IoRequest& request) { return kSideOf[static_cast<size_t>(request.type)]; }

}  // namespace

RateGate::RateGate(BlockChannel& channel, RateBuckets& buckets)
    : channel_(channel), block_bytes_(channel.block_bytes()) {
  Use(buckets);
}

RateGate::~RateGate() {
  CHECK(waiting() == 0);
  for (Direction& direction : directions_) channel_.reactor().CancelTimer(direction);
}

void RateGate::Use(RateBuckets& buckets) {
  const auto bucket = [](RateBucket& b) { return b.limits() ? &b : nullptr; };
  for (Direction& direction : directions_) {
    direction.ios.Use(bucket(buckets.ios));
    direction.bytes.Use(bucket(buckets.bytes));
  }
  directions_[kReads].own_bytes.Use(bucket(buckets.read_bytes));
  directions_[kWrites].own_bytes.Use(bucket(buckets.written_bytes));
  for (Direction& direction : directions_) Serve(direction);
}

RateGate::Direction& RateGate::DirectionOf(const IoRequest& request) {
  return directions_[SideOf(request) == kReads ? kReads : kWrites];
}

uint64_t RateGate::BytesOf(const IoRequest& request) const {
  return SideOf(request) == kWritesWithoutData ? 0 : request.blocks * block_bytes_;
}

bool RateGate::TrySpend(Direction& direction, uint64_t bytes) {
  if (!direction.ios.Has(1) || !direction.bytes.Has(bytes) || !direction.own_bytes.Has(bytes)) {
    return false;
  }
  direction.ios.Spend(1);
  direction.bytes.Spend(bytes);
  direction.own_bytes.Spend(bytes);
  return true;
}

uint64_t RateGate::ReadyAt(Direction& direction, uint64_t bytes, uint64_t now_ns) {
  return std::max({direction.ios.Reserve(1, now_ns), direction.bytes.Reserve(bytes, now_ns),
                   direction.own_bytes.Reserve(bytes, now_ns)});
}

bool RateGate::Pass(IoRequest& request) {
  const Side side = SideOf(request);
  if (side > kWrites) [[unlikely]]
    return side == kNeither || Enter(directions_[kWrites], request, 0);
  Direction& direction = directions_[side];
  const uint64_t bytes = request.blocks * block_bytes_;
  if (direction.line.size() == 0 && TrySpend(direction, bytes)) [[likely]]
    return true;
  return Enter(direction, request, bytes);
}

// Whether it need not wait after all.
bool RateGate::Enter(Direction& direction, IoRequest& request, uint64_t bytes) {
  const uint64_t now_ns = request.submitted_ns();
  if (direction.line.empty()) {
    const uint64_t ready_ns = ReadyAt(direction, bytes, now_ns);
    if (ready_ns <= now_ns) return TrySpend(direction, bytes);
    WaitUntil(direction, ready_ns);
  }
  direction.line.PushBack(request);
  request.place_ = IoRequest::Place::kPaced;
  return false;
}

bool RateGate::TryPass(bool write, uint64_t bytes, uint64_t now_ns) {
  Direction& direction = directions_[write ? kWrites : kReads];
  if (!direction.line.empty()) return false;
  return TrySpend(direction, bytes) ||
         (ReadyAt(direction, bytes, now_ns) <= now_ns && TrySpend(direction, bytes));
}

void RateGate::WaitUntil(Direction& direction, uint64_t ready_ns) {
  direction.due_ns = ready_ns;
  channel_.reactor().ArmTimer(direction, ready_ns);
}

// Somebody has waited all the while: a reactor that was kept from running loses nothing by it.
void RateGate::OnDue(Direction& direction) {
  const uint64_t now_ns = channel_.reactor().NowNs();
  if (now_ns > direction.due_ns + RateBucket::kCreditNs) {
    for (RateLease* lease : {&direction.ios, &direction.bytes, &direction.own_bytes}) {
      lease->CatchUp(direction.due_ns, now_ns);
    }
  }
  Serve(direction);
}

void RateGate::Serve(Direction& direction) {
  const uint64_t now_ns = channel_.reactor().NowNs();
  while (IoRequest* request = direction.line.Front()) {
    const uint64_t bytes = BytesOf(*request);
    const uint64_t ready_ns = ReadyAt(direction, bytes, now_ns);
    if (ready_ns > now_ns) return WaitUntil(direction, ready_ns);
    CHECK(TrySpend(direction, bytes));
    direction.line.Remove(*request);
    channel_.Continue(*request);
  }
}

void RateGate::Leave(IoRequest& request) {
  Direction& direction = DirectionOf(request);
  const bool first = direction.line.Front() == &request;
  direction.line.Remove(request);
  if (!first) return;
  // What was set aside for it may be much more than the next one needs.
  for (RateLease* lease : {&direction.ios, &direction.bytes, &direction.own_bytes}) {
    lease->GiveBack();
  }
  channel_.reactor().CancelTimer(direction);
  Serve(direction);
}

void RateGate::Open() {
  for (Direction& direction : directions_) {
    while (IoRequest* request = direction.line.PopFront()) channel_.Continue(*request);
    channel_.reactor().CancelTimer(direction);
  }
}

IoRequest* RateGate::Front() {
  for (Direction& direction : directions_) {
    if (IoRequest* request = direction.line.Front()) return request;
  }
  return nullptr;
}

}  // namespace pollux
