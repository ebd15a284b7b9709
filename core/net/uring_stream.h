#pragma once
#include <vector>

#include "core/net/stream_base.h"
#include "core/uring/reactor_ring.h"

namespace pollux {

// A stream on the loop's io_uring: one receive and one send in flight at a time. What all streams
// of a loop queue in a turn goes to the kernel in one system call.
class UringStream final : public StreamBase {
 public:
  // How many parts one send gathers.
  static constexpr size_t kSendPartsMax = 256;

  UringStream(Loop& loop, ReactorRing& ring, UniqueFd socket)
      : StreamBase(loop, std::move(socket)), ring_(ring), send_parts_(kSendPartsMax) {}

  void ResumeReceive() override;

 private:
  // One operation of this stream, and what to do when it is done.
  template <void (UringStream::*kDone)(int32_t)>
  struct Operation final : RingOperation {
    explicit Operation(UringStream& s) : stream(s) {}
    void OnRingDone(int32_t result, uint32_t) override {
      in_flight = false;
      (stream.*kDone)(result);
      // The stream waited for it with its end.
      if (stream.state() == State::kClosing) stream.ReportLater();
    }
    UringStream& stream;
    bool in_flight = false;
  };

  void StartIo() override { loop().AtEndOfTurn(receive_); }
  void Flush() override;
  void StopReceiving() override;
  void StopIo() override;
  bool IoStopped() const override;

  void Receive();
  void AwaitHangup();
  void OnReceiveDone(int32_t result);
  void OnSendDone(int32_t result);
  void OnHangup(int32_t result);
  template <typename Op>
  void Cancel(Op& op);

  ReactorRing& ring_;
  bool paused_ = false;
  msghdr receive_message_{}, send_message_{};
  std::array<iovec, kReceivePartsMax> receive_parts_{};
  std::vector<iovec> send_parts_;
  Operation<&UringStream::OnReceiveDone> receive_op_{*this};
  Operation<&UringStream::OnSendDone> send_op_{*this};
  // Stays armed once it was needed: pausing again costs nothing then.
  Operation<&UringStream::OnHangup> hangup_op_{*this};
  bool end_known_ = false;
  DeferredCall<UringStream, &UringStream::Receive> receive_{*this};
};

}  // namespace pollux
