#pragma once
#include "core/method_call.h"
#include "core/net/byte_stream.h"
#include "core/net/send_queue.h"
#include "core/unique_fd.h"

namespace pollux {

// What the two forms of a stream have in common: the send queue, and how a stream ends.
//
//   kNew --Start--> kOpen --CloseWhenSent, end of input--> kDraining
//                     |                                        |
//                     | Close, an error      all sent, an error, a second passed
//                     v                                        |
//                 kClosing <-----------------------------------+
//                     | the kernel holds none of our memory: OnSent(false), OnClosed
//                     v
//                  kClosed
class StreamBase : public ByteStream {
 public:
  ~StreamBase() override;

  void Start(Owner& owner) final;
  void Send(SendItem& item) final;
  void Close() final;
  void CloseWhenSent() final;
  size_t queued_bytes() const final { return queue_.bytes(); }

 protected:
  enum class State { kNew, kOpen, kDraining, kClosing, kClosed };
  static constexpr uint64_t kDrainNs = kNsPerSecond;

  StreamBase(Loop& loop, UniqueFd socket) : loop_(loop), socket_(std::move(socket)) {}

  virtual void StartIo() = 0;
  // The end of a turn in which something was queued, or after FlushLater().
  virtual void Flush() = 0;
  // kOpen was left for kDraining.
  virtual void StopReceiving() = 0;
  // kClosing was entered. Nothing may be started any more.
  virtual void StopIo() = 0;
  // Whether the kernel has let go of all memory. One who answers false calls ReportLater() then.
  virtual bool IoStopped() const = 0;

  State state() const { return state_; }
  Loop& loop() { return loop_; }
  int fd() const { return socket_.get(); }
  Owner& owner() { return *owner_; }
  SendQueue& queue() { return queue_; }

  void FlushLater() { loop_.AtEndOfTurn(flush_); }
  void ReportLater();
  // The kernel took `bytes` of what the queue gathered.
  void Delivered(size_t bytes);
  // The peer sends no more.
  void OnEndOfInput();
  void Fail(int error_number, const char* what);
  // What broke the connection, as the socket tells it once.
  int SocketError() const;

 private:
  void RunFlush();
  void Drain(Status why);
  void BeginClose(Status why);
  void OnDrainTimeout();
  void Report();
  void DiscardInput();

  Loop& loop_;
  UniqueFd socket_;
  Owner* owner_ = nullptr;
  State state_ = State::kNew;
  Status why_;
  bool drained_ = false;
  SendQueue queue_;
  SendQueue::Items dropped_;  // Sent to a stream that is closing.
  DeferredCall<StreamBase, &StreamBase::RunFlush> flush_{*this};
  DeferredCall<StreamBase, &StreamBase::Report> report_{*this};
  TimerCall<StreamBase, &StreamBase::OnDrainTimeout> drain_timer_{*this};
};

}  // namespace pollux
