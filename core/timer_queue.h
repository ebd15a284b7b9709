#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace pollux {

// Something that runs at a time. Embed it; cancel it before it dies.
class Timer {
 public:
  Timer() = default;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Runs on the loop that armed it, disarmed: it may arm itself again.
  virtual void OnTimer() = 0;
  bool armed() const { return slot_ != kNone; }
  uint64_t deadline_ns() const { return deadline_ns_; }

 protected:
  ~Timer();

 private:
  friend class TimerQueue;
  static constexpr size_t kNone = SIZE_MAX;
  uint64_t deadline_ns_ = 0;
  uint64_t order_ = 0;  // Among equal deadlines, first armed is first.
  size_t slot_ = kNone;
};

// Timers by deadline: a binary heap whose entries know their place, so that one can leave.
class TimerQueue {
 public:
  ~TimerQueue();
  void Arm(Timer& timer, uint64_t deadline_ns);  // Arming an armed timer moves it.
  void Cancel(Timer& timer);                     // A timer that is not armed is left alone.
  std::optional<uint64_t> NextDeadlineNs() const;
  // Runs the timers that are due, at most `budget`, and returns how many.
  int RunDue(uint64_t now_ns, int budget);
  size_t size() const { return heap_.size(); }

 private:
  bool Before(const Timer& a, const Timer& b) const;
  void Place(size_t slot, Timer* timer);
  void Rise(size_t slot);
  void Sink(size_t slot);

  std::vector<Timer*> heap_;
  uint64_t next_order_ = 0;
};

}  // namespace pollux
