#pragma once
#include "core/loop.h"

namespace pollux {

// For an object that has more than one thing to defer, or more than one timer: each is a member
// that calls one of its methods.
//
//   DeferredCall<Stream, &Stream::Flush> flush_{*this};
//   loop_.AtEndOfTurn(flush_);
template <typename T, void (T::*kMethod)()>
class DeferredCall final : public Deferred {
 public:
  explicit DeferredCall(T& object) : object_(object) {}
  void RunDeferred() override { (object_.*kMethod)(); }

 private:
  T& object_;
};

template <typename T, void (T::*kMethod)()>
class TimerCall final : public Timer {
 public:
  explicit TimerCall(T& object) : object_(object) {}
  void OnTimer() override { (object_.*kMethod)(); }

 private:
  T& object_;
};

// Whatever the descriptor is ready for.
template <typename T, void (T::*kMethod)()>
class ReadyCall final : public FdHandler {
 public:
  explicit ReadyCall(T& object) : object_(object) {}
  void OnReady(uint32_t) override { (object_.*kMethod)(); }

 private:
  T& object_;
};

}  // namespace pollux
