#include "core/block/block_channel.h"

#include <algorithm>

#include "core/block/block_device.h"
#include "core/block/compare_and_writer.h"
#include "core/block/io_splitter.h"
#include "core/block/io_traces.h"
#include "core/block/range_lock.h"
#include "core/block/rate_gate.h"
#include "core/check.h"
#include "core/log.h"

namespace pollux {
namespace {

constexpr uint32_t Bit(IoType type) { return 1u << static_cast<unsigned>(type); }
constexpr uint32_t kWithData = Bit(IoType::kRead) | Bit(IoType::kWrite) | Bit(IoType::kCompare) |
                               Bit(IoType::kCompareAndWrite);
constexpr uint32_t kWithRange = kWithData | Bit(IoType::kUnmap) | Bit(IoType::kWriteZeroes);
constexpr uint32_t kWriting = Bit(IoType::kWrite) | Bit(IoType::kUnmap) |
                              Bit(IoType::kWriteZeroes) | Bit(IoType::kCompareAndWrite);

bool IsOneOf(IoType type, uint32_t set) { return (set >> static_cast<unsigned>(type) & 1) != 0; }
size_t Index(IoType type) { return static_cast<size_t>(type); }
uint64_t NoLimitIfZero(uint64_t limit) { return limit == 0 ? UINT64_MAX : limit; }

bool Overlap(uint64_t lba_a, uint64_t blocks_a, uint64_t lba_b, uint64_t blocks_b) {
  return lba_a < lba_b + blocks_b && lba_b < lba_a + blocks_a;
}

// Whether the segments are usable and hold exactly `bytes`. They come from our caller, who may have
// them from a peer: nothing here may overflow.
bool Hold(std::span<const iovec> segments, uint64_t bytes) {
  for (const iovec& segment : segments) {
    if (segment.iov_len > bytes || (segment.iov_base == nullptr && segment.iov_len > 0)) {
      return false;
    }
    bytes -= segment.iov_len;
  }
  return bytes == 0;
}

// One writer: no read-modify-write is needed.
void AddRelaxed(std::atomic<uint64_t>& counter, uint64_t value) {
  counter.store(counter.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
}

[[gnu::always_inline]] inline void CountOne(IoCounters::PerType& counters, uint64_t bytes,
                                            uint64_t latency_ns) {
  AddRelaxed(counters.operations, 1);
  AddRelaxed(counters.bytes, bytes);
  AddRelaxed(counters.latency_ns, latency_ns);
  if (latency_ns > counters.latency_max_ns.load(std::memory_order_relaxed)) {
    counters.latency_max_ns.store(latency_ns, std::memory_order_relaxed);
  }
  const uint64_t shortest = counters.latency_min_ns.load(std::memory_order_relaxed);
  if (latency_ns < shortest || shortest == 0) {
    counters.latency_min_ns.store(std::max<uint64_t>(latency_ns, 1), std::memory_order_relaxed);
  }
}

}  // namespace

BlockChannel::BlockChannel(BlockDevice& device, Reactor& reactor)
    : device_(device), reactor_(reactor), watch_(device.number()) {
  const Geometry& geometry = device.geometry();
  const Limits& limits = device.limits();
  block_bytes_ = geometry.block_bytes;
  data_block_bytes_ = geometry.data_block_bytes();
  blocks_ = geometry.blocks;
  boundary_blocks_ = geometry.optimal_boundary_blocks;
  separate_metadata_ = geometry.metadata_bytes > 0 && !geometry.metadata_interleaved;
  read_only_ = device.read_only();
  for (int i = 0; i < kIoTypeCount; ++i) {
    if (device.Supports(static_cast<IoType>(i))) supported_ |= 1u << i;
  }

  const auto native = [&device](IoType type) { return device.Executes(type); };
  native_flush_ = native(IoType::kFlush);
  native_reset_ = native(IoType::kReset);
  native_compare_and_write_ = native(IoType::kCompareAndWrite);
  const uint64_t io_blocks_max =
      std::max<uint64_t>(1, NoLimitIfZero(limits.io_bytes_max) / data_block_bytes_);
  const auto whole = [&](IoType type, uint64_t blocks_max) {
    whole_blocks_max_[Index(type)] = native(type) ? blocks_max : 0;
  };
  whole(IoType::kRead, io_blocks_max);
  whole(IoType::kWrite, io_blocks_max);
  whole(IoType::kCompare, io_blocks_max);
  whole(IoType::kUnmap, NoLimitIfZero(limits.unmap_blocks_max));
  whole(IoType::kWriteZeroes, NoLimitIfZero(limits.write_zeroes_blocks_max));
  whole(IoType::kCompareAndWrite, UINT64_MAX);
  compare_and_write_blocks_max_ = NoLimitIfZero(limits.compare_and_write_blocks_max);
  if (limits.segments_max > 0) segments_max_ = limits.segments_max;

  const bool emulates_compare = device.Supports(IoType::kCompare) && !native(IoType::kCompare);
  const bool emulates_zeroes =
      device.Supports(IoType::kWriteZeroes) && !native(IoType::kWriteZeroes);
  if (emulates_compare || emulates_zeroes || limits.io_bytes_max > 0 || limits.segments_max > 0 ||
      limits.unmap_blocks_max > 0 || limits.write_zeroes_blocks_max > 0 || boundary_blocks_ > 0) {
    const IoSplitter::Options options{
        .emulate_write_zeroes = emulates_zeroes,
        .compare_buffers = emulates_compare ? &device.buffers_->of(reactor.index()) : nullptr};
    splitter_ = std::make_unique<IoSplitter>(*this, geometry, limits, options);
  }
  if (device.range_lock_ != nullptr) {
    device.range_lock_->Join(reactor.index(), *this);
    compare_and_writer_ = std::make_unique<CompareAndWriter>(*this, *device.range_lock_);
  }
  if (device.traces_ != nullptr) device.traces_->Join(reactor, watch_);
  UpdatePlain();
}

BlockChannel::~BlockChannel() {
  CHECK(IsDrained(), "a channel was destroyed while it is used");
  if (device_.traces_ != nullptr) device_.traces_->Leave(reactor_, watch_);
  reactor_.CancelTimer(removal_timer_);
}

void BlockChannel::Submit(IoRequest& request) {
  CHECK(request.channel_ == nullptr, "a request was submitted while it is in flight");
  request.channel_ = this;
  request.submitted_ns_ = now_ns_ != 0 ? now_ns_ : reactor_.NowNs();
  if (!IsPlain(request)) [[unlikely]]
    return SubmitOther(request);
  if (rate_gate_ != nullptr && !rate_gate_->Pass(request)) return;
  in_flight_.PushBack(request);
  request.place_ = IoRequest::Place::kDevice;
  DoSubmit(request);
}

bool BlockChannel::IsPlain(const IoRequest& request) const {
  if (Index(request.type) >= kIoTypeCount || request.data.size() != 1) return false;
  const iovec& segment = request.data[0];
  // No blocks at all count as too many.
  return request.blocks - 1 < plain_blocks_max_[Index(request.type)] &&
         request.lba <= blocks_ - request.blocks && request.metadata == nullptr &&
         segment.iov_base != nullptr && segment.iov_len == request.blocks * data_block_bytes_;
}

void BlockChannel::UpdatePlain() {
  plain_blocks_max_.fill(0);
  if (removing_ || resetting_ || range_locked_ || boundary_blocks_ > 0) return;
  for (const IoType type : {IoType::kRead, IoType::kWrite, IoType::kCompare}) {
    if (read_only_ && type == IoType::kWrite) continue;
    plain_blocks_max_[Index(type)] = std::min(whole_blocks_max_[Index(type)], blocks_);
  }
}

// Everything is checked here, and told apart.
void BlockChannel::SubmitOther(IoRequest& request) {
  if (const IoStatus status = Check(request); status != IoStatus::kSuccess) {
    return Complete(request, status);
  }
  if (rate_gate_ != nullptr && !rate_gate_->Pass(request)) return;
  Proceed(request);
}

void BlockChannel::Proceed(IoRequest& request) {
  if ((resetting_ || range_locked_) && MustHold(request)) {
    request.place_ = IoRequest::Place::kHeld;
    return held_.PushBack(request);
  }
  Start(request);
}

void BlockChannel::Continue(IoRequest& request) {
  // The device may have changed meanwhile.
  const IoStatus status = Check(request);
  status == IoStatus::kSuccess ? Proceed(request) : Complete(request, status);
}

IoStatus BlockChannel::Check(const IoRequest& request) const {
  if (removing_ && request.type != IoType::kAbort) return IoStatus::kGone;
  if (Index(request.type) >= kIoTypeCount || !IsOneOf(request.type, supported_)) {
    return IoStatus::kNotSupported;
  }
  if (IsOneOf(request.type, kWithRange) &&
      (request.blocks > blocks_ || request.lba > blocks_ - request.blocks)) {
    return IoStatus::kOutOfRange;
  }
  if (read_only_ && IsOneOf(request.type, kWriting)) return IoStatus::kWriteProtected;
  return CheckData(request);
}

IoStatus BlockChannel::CheckData(const IoRequest& request) const {
  // The registry sees to it that the bytes of a whole device can be counted.
  const uint64_t bytes = IsOneOf(request.type, kWithData) ? request.blocks * data_block_bytes_ : 0;
  if (!Hold(request.data, bytes)) return IoStatus::kInvalidRequest;
  if (request.metadata != nullptr && !separate_metadata_) return IoStatus::kInvalidRequest;
  if (request.type == IoType::kCompareAndWrite) {
    if (!Hold(request.compare_data, bytes)) return IoStatus::kInvalidRequest;
    if (request.blocks > compare_and_write_blocks_max_) return IoStatus::kInvalidRequest;
  }
  if (request.type == IoType::kAbort &&
      (request.abort_target == nullptr || request.abort_target == &request)) {
    return IoStatus::kInvalidRequest;
  }
  return IoStatus::kSuccess;
}

bool BlockChannel::MustHold(const IoRequest& request) const {
  if (request.type == IoType::kReset || request.type == IoType::kAbort) return false;
  if (resetting_) return true;
  // A compare-and-write of ours waits in the line of the lock instead.
  return IsOneOf(request.type, kWithRange) && request.type != IoType::kCompareAndWrite &&
         Overlap(request.lba, request.blocks, locked_lba_, locked_blocks_);
}

bool BlockChannel::FitsWhole(const IoRequest& request) const {
  // No blocks at all count as too many.
  if (request.blocks - 1 >= whole_blocks_max_[Index(request.type)]) return false;
  if (request.data.size() > segments_max_) return false;
  if (boundary_blocks_ == 0 || request.type == IoType::kUnmap ||
      request.type == IoType::kCompareAndWrite) {
    return true;
  }
  return request.lba % boundary_blocks_ + request.blocks <= boundary_blocks_;
}

void BlockChannel::Start(IoRequest& request) {
  if (request.internal_) request.submitted_ns_ = reactor_.StageNs();
  if (!request.internal_) in_flight_.PushBack(request);
  if (!FitsWhole(request)) [[unlikely]]
    return StartSpecial(request);
  request.place_ = IoRequest::Place::kDevice;
  DoSubmit(request);
}

void BlockChannel::StartSpecial(IoRequest& request) {
  switch (request.type) {
    case IoType::kRead:
    case IoType::kWrite:
    case IoType::kUnmap:
    case IoType::kWriteZeroes:
    case IoType::kCompare:
      if (request.blocks == 0) return Complete(request, IoStatus::kSuccess);
      request.place_ = IoRequest::Place::kParts;
      return splitter_->Start(request);
    case IoType::kCompareAndWrite:
      if (request.blocks == 0) return Complete(request, IoStatus::kSuccess);
      request.place_ = IoRequest::Place::kInTurn;
      return compare_and_writer_->Start(request);
    case IoType::kFlush:
      // A device without a cache has flushed already.
      if (!native_flush_) return Complete(request, IoStatus::kSuccess);
      request.place_ = IoRequest::Place::kDevice;
      return DoSubmit(request);
    case IoType::kReset:
      return StartReset(request);
    case IoType::kAbort:
      return StartAbort(request);
  }
}

void BlockChannel::Complete(IoRequest& request, IoStatus status) {
  CHECK(request.channel_ == this && request.place_ != IoRequest::Place::kDeferred,
        "a request ended twice, or on another channel");
  request.status = status;
  request.place_ = IoRequest::Place::kDeferred;
  if (!request.internal_) {
    if (request.node_.linked()) in_flight_.Remove(request);
    ++ended_count_;
  }
  ended_.PushBack(request);
  if (!finisher_.deferred()) reactor_.Defer(finisher_);
}

template <bool kWatched>
[[gnu::always_inline]] inline void BlockChannel::Count(const IoRequest& request) {
  if constexpr (kWatched) watch_.Trace(request, now_ns_);
  if (request.status != IoStatus::kSuccess) [[unlikely]] {
    return AddRelaxed(counters_.errors[static_cast<size_t>(request.status)], 1);
  }
  const uint64_t latency_ns = now_ns_ - request.submitted_ns_;
  if constexpr (kWatched) watch_.AddLatency(request.type, latency_ns);
  IoCounters::PerType* const counters = counters_of_[Index(request.type)];
  if (counters == nullptr) return;
  CountOne(*counters, request.blocks * block_bytes_, latency_ns);
}

template <bool kWatched>
void BlockChannel::FinishAll() {
  // What ends while these are told is finished in the next turn, or the turn would not end.
  for (size_t left = ended_.size(); left > 0; --left) {
    IoRequest& request = *ended_.PopFront();
    request.channel_ = nullptr;
    request.place_ = IoRequest::Place::kNowhere;
    if (!request.internal_) {
      --ended_count_;
      Count<kWatched>(request);
    }
    request.OnComplete();
  }
}

void BlockChannel::FinishEnded() {
  now_ns_ = reactor_.NowNs();
  watch_.on() ? FinishAll<true>() : FinishAll<false>();
  now_ns_ = 0;
  if (attention_) Attend();
}

bool BlockChannel::TryLend(Loan& loan) {
  loan.part_count = 0;
  // While a lock waits for loans to come back there are no new ones, or it might wait forever.
  if ((removing_ | resetting_ | lock_wanted_) != 0 || (loan.write && read_only_)) return false;
  if (loan.blocks == 0 || loan.blocks > blocks_ || loan.lba > blocks_ - loan.blocks) return false;
  if (range_locked_ && Overlap(loan.lba, loan.blocks, locked_lba_, locked_blocks_)) return false;
  if (rate_gate_ != nullptr &&
      !rate_gate_->TryPass(loan.write, loan.blocks * block_bytes_, reactor_.StageNs())) {
    return false;
  }
  if (!DoLend(loan)) return false;
  loan.lent_ns = reactor_.StageNs();
  ++loans_;
  return true;
}

void BlockChannel::Return(Loan& loan) {
  CHECK(loan.part_count > 0 && loans_ > 0, "a loan was returned that was not lent");
  DoReturn(loan);
  loan.part_count = 0;
  --loans_;
  const uint64_t now_ns = reactor_.StageNs();
  CountOne(loan.write ? counters_.write : counters_.read, loan.blocks * block_bytes_,
           now_ns - loan.lent_ns);
  if ((attention_ | watch_.on()) != 0) [[unlikely]]
    AfterReturn(loan, now_ns);
}

void BlockChannel::AfterReturn(const Loan& loan, uint64_t now_ns) {
  if (watch_.on()) {
    watch_.Trace(loan, now_ns);
    watch_.AddLatency(loan.write ? IoType::kWrite : IoType::kRead, now_ns - loan.lent_ns);
  }
  if (attention_) Attend();
}

void BlockChannel::CountTimedOut(uint64_t count) { AddRelaxed(counters_.timed_out, count); }

void BlockChannel::SetTimeout(IoTimeout timeout, DeviceRegistry& devices, Loop& home) {
  timeout_watch_.reset();
  if (timeout.after_ns == 0) return;
  timeout_watch_ = std::make_unique<IoTimeoutWatch>(*this, timeout, devices, home);
}

bool BlockChannel::Stop(IoRequest& request) {
  switch (request.place_) {
    case IoRequest::Place::kPaced:
      rate_gate_->Leave(request);
      Complete(request, IoStatus::kAborted);
      return true;
    case IoRequest::Place::kHeld:
      held_.Remove(request);
      Complete(request, IoStatus::kAborted);
      return true;
    case IoRequest::Place::kDevice:
      return TryAbort(request);
    case IoRequest::Place::kParts:
      splitter_->Abort(request);
      return true;
    case IoRequest::Place::kInTurn:
      return compare_and_writer_->Abort(request);
    case IoRequest::Place::kNowhere:
    case IoRequest::Place::kDeferred:
      return false;
  }
  return false;
}

void BlockChannel::StartAbort(IoRequest& abort) {
  IoRequest& target = *abort.abort_target;
  const bool stopped = target.channel_ == this && Stop(target);
  Complete(abort, stopped ? IoStatus::kSuccess : IoStatus::kNotSupported);
}

void BlockChannel::AbortAll() {
  while (paced() > 0) Stop(*rate_gate_->Front());
  while (IoRequest* request = held_.Front()) Stop(*request);
  IoRequest* next = nullptr;
  for (IoRequest* request = in_flight_.Front(); request != nullptr; request = next) {
    next = in_flight_.Next(*request);
    if (request->type != IoType::kReset) Stop(*request);
  }
}

// Aborts what can be stopped, waits for what cannot, then resets the device if it has such a
// command. New I/O is held back until then.
void BlockChannel::StartReset(IoRequest& reset) {
  reset.place_ = IoRequest::Place::kNowhere;  // Not with the device yet.
  resetting_ = attention_ = true;
  UpdatePlain();
  AbortAll();
  Attend();
}

void BlockChannel::Attend() {
  if (resetting_) {
    size_t resets = 0;
    for (IoRequest* r = in_flight_.Front(); r != nullptr; r = in_flight_.Next(*r)) {
      if (r->type == IoType::kReset) ++resets;
    }
    if (resets == in_flight_.size()) {
      IoRequest* next = nullptr;
      for (IoRequest* r = in_flight_.Front(); r != nullptr; r = next) {
        next = in_flight_.Next(*r);
        if (r->place_ != IoRequest::Place::kNowhere) continue;  // With the device.
        r->place_ = IoRequest::Place::kDevice;
        native_reset_ ? DoSubmit(*r) : Complete(*r, IoStatus::kSuccess);
      }
      if (in_flight_.empty()) {
        resetting_ = false;
        UpdatePlain();
        ReleaseHeld();
      }
    }
  }
  if (lock_wanted_ && loans_ == 0 && !HasOverlapInFlight()) {
    lock_wanted_ = false;
    device_.range_lock_->Acknowledge(reactor_.index());
  }
  if (drain_waiter_ && IsDrained()) std::exchange(drain_waiter_, {}).resume();
  attention_ = resetting_ || lock_wanted_ || drain_waiter_ != nullptr;
}

void BlockChannel::ReleaseHeld() {
  RequestList released;
  released.TakeAll(held_);
  while (IoRequest* request = released.PopFront()) Continue(*request);
}

void BlockChannel::LockRange(uint64_t lba, uint64_t blocks) {
  CHECK(!range_locked_);
  range_locked_ = lock_wanted_ = attention_ = true;
  locked_lba_ = lba;
  locked_blocks_ = blocks;
  UpdatePlain();
  Attend();
}

void BlockChannel::UnlockRange() {
  CHECK(range_locked_ && !lock_wanted_);
  range_locked_ = false;
  UpdatePlain();
  ReleaseHeld();
}

bool BlockChannel::HasOverlapInFlight() const {
  auto& list = const_cast<RequestList&>(in_flight_);  // It has no const iteration.
  for (IoRequest* r = list.Front(); r != nullptr; r = list.Next(*r)) {
    if (r->place_ == IoRequest::Place::kInTurn || !IsOneOf(r->type, kWithRange)) continue;
    if (Overlap(r->lba, r->blocks, locked_lba_, locked_blocks_)) return true;
  }
  return false;
}

void BlockChannel::Limit(RateBuckets* buckets) {
  if (buckets != nullptr && rate_gate_ != nullptr) return rate_gate_->Use(*buckets);
  if (buckets != nullptr) {
    rate_gate_ = std::make_unique<RateGate>(*this, *buckets);
    return;
  }
  const std::unique_ptr<RateGate> gate = std::move(rate_gate_);
  if (gate != nullptr) gate->Open();
}

size_t BlockChannel::paced() const { return rate_gate_ == nullptr ? 0 : rate_gate_->waiting(); }

void BlockChannel::Resize(uint64_t blocks) {
  blocks_ = blocks;
  UpdatePlain();
}

void BlockChannel::StartRemoving() {
  removing_ = true;
  UpdatePlain();
  if (rate_gate_ != nullptr) rate_gate_->Open();  // They are told that the device is gone.
  while (IoRequest* request = held_.PopFront()) Complete(*request, IoStatus::kGone);
  OnRemoving();
  if (!in_flight_.empty()) reactor_.ArmTimerIn(removal_timer_, kRemovalPatienceNs);
}

bool BlockChannel::IsDrained() const {
  return in_flight_.empty() && held_.empty() && paced() == 0 && ended_.empty() && loans_ == 0;
}

void BlockChannel::AwaitDrain(std::coroutine_handle<> waiter) {
  CHECK(!drain_waiter_, "two wait for one channel");
  drain_waiter_ = waiter;
  attention_ = true;
}

}  // namespace pollux
