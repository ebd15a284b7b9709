#include "tests/unit/targets/nvmf/target_fixture.h"

namespace pollux::nvmf::target_test {

Result<SocketAddress> PaperTransport::Listen(uint32_t id, const SocketAddress& address) {
  if (address.ToString() == taken) return ErrorOfErrno(EADDRINUSE, "the address is in use");
  const uint16_t port = address.port() == 0 ? static_cast<uint16_t>(40000 + id) : address.port();
  const SocketAddress bound = *SocketAddress::Parse(address.host(), port);
  listening.emplace(id, bound);
  return bound;
}

Task<void> PaperTransport::CloseConnections(uint32_t id, const char*) {
  closed.push_back(id);
  const std::vector<HostQueue*> hosts = connections();
  for (HostQueue* host : hosts) {
    if (host->ended || (id != 0 && host->listener != id)) continue;
    auto close = [host] { host->Close(); };
    co_await RunOn(host->reactor(), close);
    // A real one waits for it.
    while (!host->ended) {
      auto nothing = [] {};
      co_await RunOn(host->reactor(), nothing);
    }
  }
}

TargetTest::TargetTest() = default;

void TargetTest::Start(TargetOptions options) {
  options.small_buffers = 4;
  options.large_buffers = 2;
  NvmfTarget::Environment environment{.control = world_.control,
                                      .reactors = *world_.reactors,
                                      .devices = world_.devices,
                                      .memory = memory_,
                                      .stream = StreamKind::kEpoll};
  target_ = std::make_unique<NvmfTarget>(environment);
  ASSERT_TRUE(Run(target_->Start(options)).ok());
  auto transport = std::make_unique<PaperTransport>();
  transport_ = transport.get();
  transport_->connections = [this] {
    std::vector<HostQueue*> all;
    for (HostQueue& host : hosts_) all.push_back(&host);
    return all;
  };
  ASSERT_TRUE(target_->AddTransport(std::move(transport)).ok());
}

TargetTest::~TargetTest() {
  if (target_ != nullptr) {
    for (HostQueue& host : hosts_) host.stays = false;
    Run(target_->Stop(0));
    target_.reset();
  }
  for (BlockDevice* device : world_.devices.devices()) {
    EXPECT_TRUE(Run(world_.devices.Unregister(device->name())).ok());
  }
}

Status TargetTest::Create(const std::string& nqn, bool any_host, bool ana) {
  SubsystemSpec spec;
  spec.nqn = nqn;
  spec.allow_any_host = any_host;
  spec.ana_reporting = ana;
  return Run(target_->CreateSubsystem(spec));
}

Status TargetTest::Listen(const std::string& nqn, const std::string& port,
                          const std::string& host) {
  return Run(target_->AddListener(nqn, At(port, host), nvme::AnaState::kOptimized,
                                  /*secure_channel=*/false, /*retry=*/false))
      .status();
}

void TargetTest::AddDisk(const std::string& name, uint64_t blocks) {
  Result<std::unique_ptr<BlockDevice>> made =
      MakeMemoryDisk({.name = name, .block_size = 512, .num_blocks = blocks}, regions_, accel_);
  ASSERT_TRUE(made.ok()) << made.status().message();
  ASSERT_TRUE(Run(world_.devices.Register(*std::move(made))).ok());
}

Result<uint32_t> TargetTest::AddNs(const std::string& disk, uint32_t nsid, bool pending,
                                   const std::string& nqn) {
  NamespaceSpec spec;
  spec.nsid = nsid;
  spec.bdev_name = disk;
  return Run(target_->AddNamespace(nqn, spec, pending));
}

HostQueue& TargetTest::Connection(const Who& who) {
  Worker* worker = nullptr;
  world_.OnControl([&] { worker = &target_->transport_host().LeastBusyWorker(); });
  while (who.reactor != SIZE_MAX && worker->reactor().index() != who.reactor) {
    world_.OnControl([&] { worker = &target_->transport_host().LeastBusyWorker(); });
  }
  HostQueue* host = nullptr;
  world_.On(worker->reactor().index(),
            [&] { host = &hosts_.emplace_back(*worker, who.listener, who.local_address); });
  return *host;
}

AdminCommand& TargetTest::Submit(HostQueue& host, const Sqe& sqe, uint32_t data_bytes, Bytes out) {
  AdminCommand& command = commands_.emplace_back();
  memcpy(&command.entry, sqe.bytes.data(), sizeof(command.entry));
  command.entry.cid = next_cid_++;
  command.data_bytes = data_bytes;
  command.out = std::move(out);
  world_.On(host.reactor().index(), [&] { host.queue->Start(command); });
  for (int i = 0; i < 50; ++i) {
    world_.Turn();
    if (!command.to_tell_sent) continue;
    command.to_tell_sent = false;
    command.ended = true;
    world_.On(host.reactor().index(), [&] { command.DataSent(); });
  }
  return command;
}

AdminCommand& TargetTest::BeginConnect(HostQueue& host, const Who& who, uint16_t qid,
                                       uint16_t cntlid) {
  Bytes data(1024);
  data[0] = who.hostid;
  admin_test::Put(data, 16, cntlid, 2);
  std::copy(who.subnqn.begin(), who.subnqn.end(), data.begin() + 256);
  std::copy(who.nqn.begin(), who.nqn.end(), data.begin() + 512);
  Sqe sqe(0x7f);
  sqe.At(4, 0x01, 1).At(42, qid, 2).At(44, 31, 2);
  AdminCommand& command = commands_.emplace_back();
  memcpy(&command.entry, sqe.bytes.data(), sizeof(command.entry));
  command.entry.cid = next_cid_++;
  command.data_bytes = 1024;
  command.out = std::move(data);
  world_.On(host.reactor().index(), [&] { host.queue->Start(command); });
  return command;
}

AdminCommand& TargetTest::Connect(HostQueue& host, const Who& who, uint16_t qid, uint16_t cntlid) {
  AdminCommand& command = BeginConnect(host, who, qid, cntlid);
  world_.Until([&command] { return command.ended; });
  return command;
}

uint16_t TargetTest::Enable(HostQueue& admin, const AdminCommand& connected, uint16_t io_queues) {
  Sqe enable(0x7f);
  enable.At(4, 0x00, 1).At(44, 0x14, 4).At(48, 0x00460001, 8);
  EXPECT_EQ(Submit(admin, enable).status(), admin_test::kOk);
  if (io_queues > 0) {
    const uint32_t asked = uint32_t{io_queues} - 1;
    Sqe queues(0x09);
    queues.Dword(10, 0x07).Dword(11, asked << 16 | asked);
    EXPECT_EQ(Submit(admin, queues).status(), admin_test::kOk);
  }
  return static_cast<uint16_t>(connected.completion.dw0);
}

uint16_t TargetTest::MakeController(HostQueue*& admin, const Who& who) {
  admin = &Connection(who);
  const AdminCommand& connected = Connect(*admin, who);
  EXPECT_EQ(connected.status(), admin_test::kOk);
  return Enable(*admin, connected, who.subnqn == nvme::kDiscoveryNqn ? uint16_t{0} : uint16_t{4});
}

void TargetTest::Close(HostQueue& host) {
  world_.On(host.reactor().index(), [&] { host.Close(); });
  world_.Until([&host] { return host.ended; });
}

}  // namespace pollux::nvmf::target_test
