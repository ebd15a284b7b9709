// Listeners on the control loop, connections on reactors, over real TCP.
#include <netinet/in.h>
#include <sys/socket.h>

#include "targets/nvmf/tcp/tcp_transport.h"
#include "tests/unit/block_world.h"
#include "tests/unit/targets/nvmf/tcp/tcp_fixture.h"

namespace pollux::nvmf {
namespace {

using testing_world::BlockWorld;

class TcpTransportTest : public testing::Test, private Transport::Host, private ControlSide {
 protected:
  TcpTransportTest() {
    for (auto& reactor : *world_.reactors) {
      const Worker::Environment environment{.reactor = *reactor,
                                            .control = world_.control,
                                            .control_side = *this,
                                            .small_buffers = buffers_,
                                            .large_buffers = buffers_};
      workers_.push_back(std::make_unique<Worker>(environment));
    }
  }
  ~TcpTransportTest() override {
    if (transport_ != nullptr) End();
  }

  void Make(TransportOptions options = {}) {
    transport_ = MakeTcpTransport(*this, world_.control, *world_.reactors, StreamKind::kEpoll,
                                  std::move(options));
  }
  SocketAddress Listen(uint32_t id, const char* host = "127.0.0.1") {
    const SocketAddress any = *SocketAddress::Parse(host, 0);
    Result<SocketAddress> opened{any};
    world_.OnControl([&] { opened = transport_->Listen(id, any); });
    EXPECT_TRUE(opened.ok()) << opened.status();
    return *opened;
  }
  void End() {
    world_.OnControl([&] {
      for (uint32_t id = 1; id < 4; ++id) transport_->StopListening(id);
    });
    world_.Run(transport_->CloseConnections(0, "the test ends"));
    transport_ = nullptr;
  }

  UniqueFd Dial(const SocketAddress& address) {
    UniqueFd socket(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(socket.get(), address.address(), address.length()), 0) << strerror(errno);
    return socket;
  }
  // A host that has shaken hands; its Connect follows with `with_queue`.
  UniqueFd DialAndShake(const SocketAddress& address, bool with_queue) {
    UniqueFd socket = Dial(address);
    Bytes request(128);
    request[2] = request[4] = 128;
    EXPECT_EQ(send(socket.get(), request.data(), request.size(), 0), 128);
    Await(socket, 128);
    if (!with_queue) return socket;
    Bytes connect(72);
    connect[0] = 4;
    connect[2] = connect[4] = 72;
    connect[8] = 0x7f;
    connect[12] = 1;
    EXPECT_EQ(send(socket.get(), connect.data(), connect.size(), 0), 72);
    Await(socket, 24);
    return socket;
  }
  // Reads so much of an answer.
  void Await(const UniqueFd& socket, size_t bytes) {
    Bytes answer(bytes);
    size_t got = 0;
    world_.Until([&] {
      const ssize_t now = recv(socket.get(), answer.data() + got, bytes - got, MSG_DONTWAIT);
      if (now > 0) got += static_cast<size_t>(now);
      return got == bytes;
    });
  }
  bool IsClosed(const UniqueFd& socket) {
    uint8_t byte;
    return recv(socket.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
  }
  size_t QueuesOn(size_t reactor) { return workers_[reactor]->queues().size(); }

  Worker& LeastBusyWorker() override { return *workers_[next_++ % workers_.size()]; }

  BlockWorld world_{2};
  ScriptedTarget target_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Transport> transport_;

 private:
  Task<ConnectVerdict> Admit(ConnectQuery) override { co_return ConnectVerdict{}; }
  Task<void> Leave(std::shared_ptr<const ControllerIdentity>, uint16_t) override { co_return; }
  std::string DiscoveryLog(const ControllerIdentity&) override { return {}; }
  Task<Totals> CountOf(std::shared_ptr<const ControllerIdentity>) override { co_return Totals{}; }
  Task<bool> Abort(std::shared_ptr<const ControllerIdentity>, uint16_t, uint16_t) override {
    co_return false;
  }
  Task<uint16_t> ProtectNamespace(std::string, uint32_t, nvme::WriteProtection) override {
    co_return uint16_t{0};
  }
  Task<void> EndIoQueues(std::shared_ptr<const ControllerIdentity>) override { co_return; }
  size_t IoQueuesOf(const ControllerIdentity&) override { return 0; }
  std::vector<uint16_t> ControllersOf(const std::string&, uint32_t) override { return {}; }

  std::array<std::byte, 64> buffer_memory_;
  BufferPool buffers_{buffer_memory_.data(), 64, 1};
  size_t next_ = 0;
};

TEST_F(TcpTransportTest, PutsConnectionsWhereItsHostSays) {
  Make();
  const SocketAddress address = Listen(1);
  const UniqueFd first = DialAndShake(address, true), second = DialAndShake(address, true),
                 third = DialAndShake(address, false);
  EXPECT_EQ(QueuesOn(0), 2u);
  EXPECT_EQ(QueuesOn(1), 1u);
}

TEST_F(TcpTransportTest, ListensOnBothFamilies) {
  Make();
  const SocketAddress six = Listen(1, "::1"), four = Listen(2);
  const UniqueFd first = DialAndShake(six, true), second = DialAndShake(four, true);
  EXPECT_EQ(QueuesOn(0) + QueuesOn(1), 2u);
}

TEST_F(TcpTransportTest, TellsThatAnAddressIsTaken) {
  Make();
  const SocketAddress taken = Listen(1);
  world_.OnControl([&] {
    const Result<SocketAddress> again = transport_->Listen(2, taken);
    EXPECT_EQ(ErrnoOf(again.status()), EADDRINUSE);
  });
}

TEST_F(TcpTransportTest, RefusesConnectionsOnceItHasStoppedAndKeepsTheOldOnes) {
  Make();
  const SocketAddress address = Listen(1);
  const UniqueFd old = DialAndShake(address, true);
  world_.OnControl([&] { transport_->StopListening(1); });
  const UniqueFd late(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_NE(connect(late.get(), address.address(), address.length()), 0);
  world_.Turns(10);
  EXPECT_FALSE(IsClosed(old));
}

TEST_F(TcpTransportTest, ClosesTheConnectionsOfOneListener) {
  Make();
  const SocketAddress one = Listen(1), two = Listen(2);
  const UniqueFd first = DialAndShake(one, true), second = DialAndShake(two, true),
                 third = DialAndShake(one, false);
  world_.OnControl([&] { transport_->StopListening(1); });
  world_.Run(transport_->CloseConnections(1, "the listener goes"));
  EXPECT_TRUE(IsClosed(first));
  EXPECT_FALSE(IsClosed(second));
  EXPECT_TRUE(IsClosed(third));
  EXPECT_EQ(QueuesOn(0) + QueuesOn(1), 1u);
}

TEST_F(TcpTransportTest, GivesItsSocketsThePriorityAskedFor) {
  TransportOptions options;
  options.sock_priority = 5;
  Make(std::move(options));
  const UniqueFd host = DialAndShake(Listen(1), true);
  EXPECT_EQ(QueuesOn(0) + QueuesOn(1), 1u);
}

// At most 1024 that are not connected: the oldest goes, and those that are connected stay.
TEST_F(TcpTransportTest, LetsTheOldestGoWhenTooManyWantToConnect) {
  Make();
  const SocketAddress address = Listen(1);
  const UniqueFd connected = DialAndShake(address, true);
  std::vector<UniqueFd> idle;
  const auto accepted = [&] { return QueuesOn(0) + QueuesOn(1); };
  for (size_t i = 0; i < 1024; ++i) {
    idle.push_back(Dial(address));
    if (i % 64 == 63) world_.Until([&] { return accepted() == i + 2; });
  }
  EXPECT_EQ(accepted(), 1025u);
  for (size_t i = 0; i < 3; ++i) {
    idle.push_back(Dial(address));
    world_.Until([&] { return IsClosed(idle[i]); });
  }
  world_.Until([&] { return accepted() == 1025u; });
  EXPECT_FALSE(IsClosed(idle[3]));
  EXPECT_FALSE(IsClosed(connected));
}

TEST_F(TcpTransportTest, OutlivesConnectionsThatCloseAtOnce) {
  Make();
  const SocketAddress address = Listen(1);
  for (int i = 0; i < 200; ++i) {
    const UniqueFd host = Dial(address);
    if (i % 3 == 0) world_.Turn();
  }
  world_.Turns(20);
  world_.Until([&] { return QueuesOn(0) + QueuesOn(1) == 0; });
}

}  // namespace
}  // namespace pollux::nvmf
