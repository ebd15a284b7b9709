#pragma once
#include <sys/uio.h>

#include <algorithm>
#include <cstring>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "core/check.h"
#include "core/run_on.h"
#include "targets/nvmf/queue.h"
#include "targets/nvmf/tcp/sgl.h"
#include "targets/nvmf/transport.h"
#include "targets/nvmf/worker.h"

// The hosts of nvmf_commands_fuzz.cc: commands that judge what the target does with them, and the
// connections that carry them.

namespace pollux::nvmf {

inline constexpr uint32_t kDataBytesMax = 256 * 1024;  // A host does not send data beyond.

inline size_t BytesOf(std::span<const iovec> parts) {
  size_t bytes = 0;
  for (const iovec& part : parts) bytes += part.iov_len;
  return bytes;
}

// A command of a host, and the transport's side of it: it judges what the target does.
class FuzzCommand final : public Command {
 public:
  void Begin(const nvme::SubmissionEntry& sqe, const DataPlan& data_plan, std::string data,
             bool moves) {
    CHECK(ended_ && !in_flight());
    entry = sqe;
    plan_ = data_plan;
    data_bytes = plan_.bytes;
    out_ = std::move(data);
    moves_ = moves;
    ended_ = answered_ = abandoned_ = false;
    given_ = 0;
  }

  void OnDataWanted(uint32_t offset, std::span<const iovec> parts) override {
    CHECK(!ended_ && !answered_ && !Busy(), "data is wanted while something else is under way");
    CHECK(plan_.way == DataPlan::Way::kFromHost || plan_.way == DataPlan::Way::kInCapsule,
          "data is wanted of a host that sends none");
    const size_t bytes = BytesOf(parts);
    CHECK(bytes > 0 && bytes <= data_bytes && offset <= data_bytes - bytes,
          "more is wanted than the host offers");
    wanted_ = parts;
    offset_ = offset;
    if (plan_.fault != 0) return Drop(plan_.fault);
    if (moves_ || plan_.way == DataPlan::Way::kInCapsule) Arrive();
  }
  void OnDataReady(uint32_t offset, std::span<const iovec> parts,
                   const nvme::CompletionEntry* last) override {
    CHECK(!ended_ && !answered_ && !Busy(), "data is sent while something else is under way");
    CHECK(plan_.way == DataPlan::Way::kToHost, "data is sent to a host that takes none");
    const size_t bytes = BytesOf(parts);
    CHECK(bytes > 0 && offset == given_, "data is not sent in order");
    CHECK(bytes <= data_bytes - offset, "more data than the host expects");
    given_ += static_cast<uint32_t>(bytes);
    sending_ = parts;
    Look();
    if (last == nullptr) return;
    CHECK(last->status == 0 && last->cid == entry.cid);
    answered_ = true;
    JudgeLength();
  }
  void OnDataUnwanted() override {
    CHECK(!wanted_.empty() && !ended_);
    if (moves_) Drop(nvme::status::kAbortRequested);
  }
  void OnCompletion(const nvme::CompletionEntry& completion) override {
    CHECK(!ended_, "a command ended twice");
    CHECK(!within_abandon, "a command ended from within Abandon");
    CHECK(!answered_ || abandoned_, "a command was answered twice");
    CHECK(!Busy(), "a command ended while its data was on its way");
    CHECK(completion.cid == entry.cid && (completion.status & 1) == 0);
    result = completion;
    ended_ = true;
    answered_ = true;
    if (completion.status == 0) JudgeLength();
  }

  bool ended() const { return ended_; }
  bool wants() const { return !wanted_.empty(); }
  bool sends() const { return !sending_.empty(); }
  bool moves() const { return moves_; }
  // It may wait for as long as it likes: for an event, or for the other half of a pair.
  bool patient = false;

  void Arrive() {
    if (offset_ + BytesOf(wanted_) > kDataBytesMax) return Drop(nvme::status::kDataTransferError);
    size_t at = offset_;
    for (const iovec& part : wanted_) {
      const size_t told = at < out_.size() ? std::min(part.iov_len, out_.size() - at) : 0;
      auto* const place = static_cast<char*>(part.iov_base);
      if (told > 0) std::memcpy(place, out_.data() + at, told);
      std::memset(place + told, static_cast<int>(0xa0 | at % 16), part.iov_len - told);
      at += part.iov_len;
    }
    wanted_ = {};
    DataArrived();
  }
  void Drop(uint16_t status) {
    wanted_ = {};
    DataDropped(status);
  }
  void Sent() {
    Look();  // It has stayed.
    sending_ = {};
    if (answered_) ended_ = true;
    DataSent();
  }
  void LetGo() {
    abandoned_ = true;
    wanted_ = sending_ = {};
  }

  nvme::CompletionEntry result;
  uint32_t bytes_max = UINT32_MAX;  // What the fields of the command ask for.
  inline static bool within_abandon = false;

 private:
  bool Busy() const { return wants() || sends(); }
  void Look() const {
    static volatile uint8_t seen;
    for (const iovec& part : sending_) {
      const auto* const bytes = static_cast<const uint8_t*>(part.iov_base);
      for (size_t i = 0; i < part.iov_len; ++i) seen = seen ^ bytes[i];
    }
  }
  void JudgeLength() const { CHECK(given_ <= bytes_max, "more data than was asked for"); }

  DataPlan plan_;
  std::string out_;
  bool moves_ = true;  // Data comes and goes by itself.
  bool ended_ = true, answered_ = false, abandoned_ = false;
  std::span<const iovec> wanted_, sending_;
  uint32_t offset_ = 0, given_ = 0;
};

// A connection: a queue, and what its host has sent.
class FuzzHost final : public Queue::Carrier, private Deferred {
 public:
  FuzzHost(Worker& worker, uint32_t of_listener, bool stays)
      : listener(of_listener),
        lingers(stays),
        queue(std::make_unique<Queue>(worker, *this, of_listener, Queue::Limits{})),
        reactor_(worker.reactor()) {}

  void OnEndWanted(const char*, bool) override {
    end_wanted = true;
    if (!lingers) Close();
  }
  void OnQueueEnded() override {
    for (const FuzzCommand& command : commands) CHECK(command.ended() && !command.in_flight());
    ended = true;
    queue.reset();
  }
  std::string peer_address() const override { return "192.0.2.9"; }
  std::string peer_port() const override { return "50009"; }
  std::string local_address() const override { return "127.0.0.1"; }

  Reactor& reactor() { return reactor_; }
  // Ends, in a later stage of the loop.
  void Close() {
    if (!closing && !deferred()) reactor_.Defer(*this);
    closing = true;
  }
  bool takes_commands() const { return !closing && !end_wanted; }

  const uint32_t listener;
  bool lingers;
  bool closing = false, end_wanted = false, ended = false;
  uint16_t next_cid = 1;
  std::unique_ptr<Queue> queue;
  std::list<FuzzCommand> commands;

 private:
  void RunDeferred() override {
    for (FuzzCommand& command : commands) {
      if (!command.ended()) command.LetGo();
    }
    FuzzCommand::within_abandon = true;
    queue->Close();
    FuzzCommand::within_abandon = false;
  }
  Reactor& reactor_;
};

// Listens nowhere: the fuzzer makes the connections.
class PaperTransport final : public Transport {
 public:
  explicit PaperTransport(std::list<FuzzHost>& hosts) : hosts_(hosts) {}
  const TransportOptions& options() const override { return options_; }
  Result<SocketAddress> Listen(uint32_t, const SocketAddress& address) override { return address; }
  void StopListening(uint32_t) override {}
  Task<void> CloseConnections(uint32_t id, const char*) override {
    for (FuzzHost& host : hosts_) {
      if (host.ended || (id != 0 && host.listener != id)) continue;
      auto close = [&host] { host.Close(); };
      co_await RunOn(host.reactor(), close);
      while (!host.ended) {
        auto nothing = [] {};
        co_await RunOn(host.reactor(), nothing);
      }
    }
  }

 private:
  std::list<FuzzHost>& hosts_;
  const TransportOptions options_;
};

}  // namespace pollux::nvmf
