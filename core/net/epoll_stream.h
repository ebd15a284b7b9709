#pragma once
#include "core/net/stream_base.h"

namespace pollux {

// A stream on the loop's descriptor set. Input is read when it is announced, at most
// kReadsPerTurnMax times in a turn so that no connection starves the others; output leaves at the
// end of the turn, and when the socket took less than all of it, goes on when it has room again.
class EpollStream final : public StreamBase, private FdHandler {
 public:
  static constexpr int kReadsPerTurnMax = 4;
  static constexpr int kSendsPerTurnMax = 4;

  EpollStream(Loop& loop, UniqueFd socket) : StreamBase(loop, std::move(socket)) {}

  void ResumeReceive() override;

 private:
  void StartIo() override;
  void Flush() override;
  void StopReceiving() override { UpdateWatch(); }
  void StopIo() override { Unwatch(); }
  bool IoStopped() const override { return true; }
  void OnReady(uint32_t events) override;

  bool receiving() const { return state() == State::kOpen && !paused_; }
  void Receive(uint32_t events);
  // Reads once. False when there is nothing more to read now.
  bool ReceiveOnce(uint32_t events);
  void LookWhilePaused(uint32_t events);

  void Watch();
  void Unwatch();
  uint32_t WantedEvents() const;
  void UpdateWatch();

  bool watched_ = false;
  uint32_t watched_events_ = 0;
  bool send_blocked_ = false;  // The socket has no room; EPOLLOUT tells when it has.
  bool paused_ = false;
  // While paused: there is input, or there is its end, and we know; more news of it would spin.
  bool input_known_ = false;
  bool end_known_ = false;
};

}  // namespace pollux
