#pragma once
#include "core/block/io_request.h"

namespace pollux {

// An I/O that whoever waits for it may want to stop. It has ended only when the abort has too,
// since that points to it.
//
//   struct Io final : StoppableIo {
//     void OnComplete() override {
//       if (Ended()) owner.OnIoEnded();
//     }
//     void OnStopped() override { owner.OnIoEnded(); }
//   };
class StoppableIo : public IoRequest {
 public:
  // While it is in flight on `channel`. It then ends with kAborted, or by itself when the device
  // cannot stop it: false. Once at a time: more does nothing. Allocates, since it is rare.
  bool Stop(BlockChannel& channel);

 protected:
  ~StoppableIo() = default;
  // In OnComplete(). False: the abort has not ended, and OnStopped() comes when it has.
  bool Ended();
  // Instead, when the abort ended last.
  virtual void OnStopped() = 0;

 private:
  // What stops it.
  class Abort final : public IoRequest {
   public:
    explicit Abort(StoppableIo& io);
    void OnComplete() override;
    bool io_ended = false;
    bool stops = false;

   private:
    StoppableIo& io_;
  };

  Abort* abort_ = nullptr;
};

inline bool StoppableIo::Ended() {
  if (abort_ == nullptr) [[likely]]
    return true;
  abort_->io_ended = true;
  return false;
}

}  // namespace pollux
