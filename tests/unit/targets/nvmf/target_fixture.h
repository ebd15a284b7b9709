#pragma once
#include <gtest/gtest.h>

#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/memory/region_registry.h"
#include "drivers/memory/memory_disk.h"
#include "targets/nvmf/nvmf_target.h"
#include "targets/nvmf/worker.h"
#include "tests/unit/targets/nvmf/controller_fixture.h"

namespace pollux::nvmf::target_test {

using admin_test::AdminCommand;
using admin_test::Bytes;
using admin_test::Sqe;

inline constexpr char kNqn[] = "nqn.2026-01.test:disks";
inline constexpr char kHost[] = "nqn.2026-01.test:host";
inline constexpr char kOther[] = "nqn.2026-01.test:other";

// One connection of a host: a queue, and the transport's side of it, on a reactor.
class HostQueue final : public Queue::Carrier, private Deferred {
 public:
  HostQueue(Worker& worker, uint32_t listener_id, std::string local_address)
      : reactor_(worker.reactor()),
        local_address_(std::move(local_address)),
        listener(listener_id),
        queue(std::make_unique<Queue>(worker, *this, listener_id, Queue::Limits{})) {}

  void OnEndWanted(const char* why, bool) override {
    reason = why;
    if (!stays) Close();
  }
  void OnQueueEnded() override {
    ended = true;
    queue.reset();
  }
  std::string peer_address() const override { return "192.0.2.9"; }
  std::string peer_port() const override { return "50009"; }
  std::string local_address() const override { return local_address_; }
  // Ends, in a later stage of the loop.
  void Close() {
    if (!closing_ && !deferred()) reactor_.Defer(*this);
    closing_ = true;
  }
  Reactor& reactor() { return reactor_; }

 private:
  void RunDeferred() override { queue->Close(); }
  Reactor& reactor_;
  const std::string local_address_;
  bool closing_ = false;

 public:
  const uint32_t listener;
  std::unique_ptr<Queue> queue;
  std::string reason;  // Why the target wants its end.
  bool ended = false;
  bool stays = false;  // Does not do as it is told.
};

// Listens nowhere: the test makes the connections.
class PaperTransport final : public Transport {
 public:
  const TransportOptions& options() const override { return options_; }
  Result<SocketAddress> Listen(uint32_t id, const SocketAddress& address) override;
  void StopListening(uint32_t id) override { listening.erase(id); }
  Task<void> CloseConnections(uint32_t id, const char* reason) override;

  std::map<uint32_t, SocketAddress> listening;
  std::vector<uint32_t> closed;
  std::string taken;  // An address that cannot be opened: "127.0.0.1:4420".
  std::function<std::vector<HostQueue*>()> connections;

 private:
  const TransportOptions options_;
};

// A target over a transport made of paper, on two reactors that stand still, and its hosts.
class TargetTest : public testing::Test {
 protected:
  TargetTest();
  ~TargetTest() override;

  static ListenAddress At(const std::string& port, const std::string& host = "127.0.0.1") {
    return {.trtype = "TCP", .adrfam = "", .traddr = host, .trsvcid = port};
  }
  template <typename T>
  T Run(Task<T> task) {
    return world_.Run(std::move(task));
  }
  void Spin() { world_.Turns(50); }

  // --- The configuration.
  void Start(TargetOptions options = {});
  Status Create(const std::string& nqn = kNqn, bool any_host = true, bool ana = false);
  Status Listen(const std::string& nqn = kNqn, const std::string& port = "4420",
                const std::string& host = "127.0.0.1");
  void AddDisk(const std::string& name, uint64_t blocks = 64);
  Status RemoveDisk(const std::string& name) { return Run(world_.devices.Unregister(name)); }
  Result<uint32_t> AddNs(const std::string& disk, uint32_t nsid = 0, bool pending = false,
                         const std::string& nqn = kNqn);
  SubsystemInfo Info(const std::string& nqn = kNqn) { return *target_->FindSubsystem(nqn); }

  // --- Hosts.
  struct Who {
    std::string nqn = kHost;
    uint8_t hostid = 1;  // Its first byte.
    std::string subnqn = kNqn;
    uint32_t listener = 1;
    std::string local_address = "127.0.0.1";
    size_t reactor = SIZE_MAX;  // Otherwise the one with the least to do.
  };
  HostQueue& Connection(const Who& who);
  HostQueue& Connection() { return Connection(Who{}); }
  // Sends Connect, and waits for the answer.
  AdminCommand& Connect(HostQueue& host, const Who& who, uint16_t qid = 0,
                        uint16_t cntlid = 0xffff);
  AdminCommand& BeginConnect(HostQueue& host, const Who& who, uint16_t qid, uint16_t cntlid);
  // A controller that is enabled, with so many I/O queues granted; its cntlid.
  uint16_t Enable(HostQueue& admin, const AdminCommand& connected, uint16_t io_queues = 4);
  uint16_t MakeController(HostQueue*& admin, const Who& who);
  AdminCommand& Submit(HostQueue& host, const Sqe& sqe, uint32_t data_bytes = 0, Bytes out = {});
  void Close(HostQueue& host);
  // The answer to an asynchronous event request, or -1 while there is none.
  static int64_t EventOf(const AdminCommand& request) {
    return request.ended ? int64_t{request.completion.dw0} : -1;
  }

  testing_world::BlockWorld world_{2};
  RegionRegistry regions_;
  Accel accel_{*world_.reactors};
  testing_world::PlainMemory memory_;
  PaperTransport* transport_ = nullptr;
  std::unique_ptr<NvmfTarget> target_;
  std::list<HostQueue> hosts_;
  std::list<AdminCommand> commands_;
  uint16_t next_cid_ = 1;
};

#define EXPECT_FAILS(status, number) \
  EXPECT_EQ(::pollux::nvmf::target_test::ErrnoOfFailure(status), number)

// 0: it did not fail.
inline int ErrnoOfFailure(const Status& status) { return status.ok() ? 0 : ErrnoOf(status); }

}  // namespace pollux::nvmf::target_test
