// The target with running reactors: what the thread sanitizer is for.
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/unit/targets/iscsi/iscsi_fixture.h"

namespace pollux::iscsi {
namespace {

// A control loop and two reactors on threads of their own.
class ThreadsTest : public testing::Test {
 protected:
  ThreadsTest()
      : control_({.name = "control"}, clock_, *MakeEpollWaiter()),
        reactors_(*Reactors::Start({.cores = {0, 1}}, clock_)),
        devices_(*reactors_),
        target_(IscsiTarget::Environment{
            .control = control_, .reactors = *reactors_, .devices = devices_, .memory = memory_}) {
    control_.StartThread();
    EXPECT_TRUE(Run(SetUpTarget()).ok());
  }
  ~ThreadsTest() override {
    Run(TearDownTarget());
    reactors_->Stop();
    control_.StopThread();
  }

  // Runs `task` on the control loop, and waits for its end.
  template <typename T>
  T Run(Task<T> task) {
    struct Job final : Message {
      explicit Job(Task<T> t) : task(std::move(t)) {}
      void Run() override { task.Start(); }
      Task<T> task;
    };
    std::atomic<bool> done{false};
    std::optional<T> result;
    Job job(Then(std::move(task), &result, &done));
    control_.Post(job);
    while (!done.load(std::memory_order_acquire)) usleep(100);
    // The task's last step may still be leaving its frame.
    struct Fence final : Message {
      void Run() override { passed.store(true, std::memory_order_release); }
      std::atomic<bool> passed{false};
    } fence;
    control_.Post(fence);
    while (!fence.passed.load(std::memory_order_acquire)) usleep(100);
    return *std::move(result);
  }

  std::unique_ptr<TestInitiator> Connect() {
    return std::make_unique<TestInitiator>(port_, [] { usleep(20); });
  }

  uint16_t port_ = 0;
  RealClock clock_;
  Loop control_;
  std::unique_ptr<Reactors> reactors_;
  DeviceRegistry devices_;
  testing_world::PlainMemory memory_;
  IscsiTarget target_;

 private:
  template <typename T>
  static Task<T> Then(Task<T> task, std::optional<T>* result, std::atomic<bool>* done) {
    result->emplace(co_await std::move(task));
    done->store(true, std::memory_order_release);
    co_return T(**result);
  }
  Task<Status> SetUpTarget() {
    Options options;
    options.immediate_data_pool_size = options.data_out_pool_size = 64;
    CO_RETURN_IF_ERROR(co_await target_.Start(options));
    auto disk = std::make_unique<TestDisk>("disk", 4096);
    const Result<BlockDevice*> added = co_await devices_.Register(std::move(disk));
    CO_RETURN_IF_ERROR(added.status());
    PortalGroup portals{.tag = 1, .portals = {{"127.0.0.1", "0"}}};
    CO_RETURN_IF_ERROR(target_.CreatePortalGroup(portals, false));
    InitiatorGroup everybody{.tag = 1, .initiators = {"ANY"}, .netmasks = {"ANY"}};
    CO_RETURN_IF_ERROR(target_.CreateInitiatorGroup(everybody));
    port_ = static_cast<uint16_t>(std::stoi(target_.portal_groups_as_bound()[0].portals[0].port));
    TargetNode node{
        .name = "disk1", .maps = {{1, 1}}, .luns = {{.bdev_name = "disk", .lun_id = 0}}};
    const Result<std::string> made = co_await target_.CreateTargetNode(std::move(node), false);
    co_return made.status();
  }
  Task<bool> TearDownTarget() {
    co_await target_.Stop(kNsPerSecond);
    const Status gone = co_await devices_.Unregister("disk");
    co_return gone.ok();
  }
};

void ReadAndWrite(TestInitiator& initiator, uint8_t seed, int rounds) {
  initiator.NoData(TestUnitReady());
  for (int i = 0; i < rounds; ++i) {
    const uint32_t lba = seed * 128u;
    const Bytes data = Pattern(64 * 512, static_cast<uint8_t>(seed + i));
    EXPECT_EQ(initiator.Write(Write10(lba, 64), data, i % 2 == 0 ? 4096 : 0).status, 0);
    EXPECT_EQ(initiator.Read(Read10(lba, 64), 64 * 512).data, data);
  }
}

TEST_F(ThreadsTest, SessionsOnBothReactorsWorkAtTheSameTime) {
  std::vector<std::thread> threads;
  for (uint16_t i = 1; i <= 4; ++i) {
    threads.emplace_back([this, i] {
      const auto initiator = Connect();
      TestInitiator::LoginOptions options;
      options.isid = i;
      EXPECT_EQ(initiator->Login(options), 0);
      ReadAndWrite(*initiator, static_cast<uint8_t>(i), 10);
    });
  }
  for (int i = 0; i < 10; ++i) Run(target_.Connections());
  for (std::thread& thread : threads) thread.join();
}

TEST_F(ThreadsTest, SessionsComeAndGoWhileOthersWork) {
  std::atomic<bool> stop{false};
  std::thread worker([this] {
    const auto initiator = Connect();
    EXPECT_EQ(initiator->Login(), 0);
    ReadAndWrite(*initiator, 1, 20);
  });
  std::thread visitor([this, &stop] {
    TestInitiator::LoginOptions options;
    for (options.isid = 100; !stop && options.isid < 130; ++options.isid) {
      const auto initiator = Connect();
      EXPECT_EQ(initiator->Login(options), 0);
      if (options.isid % 3 == 0) initiator->Send(initiator->Logout(0));
      if (options.isid % 3 == 1) initiator->Send(initiator->Command(Read10(0, 8), 0xc1, 4096));
    }
  });
  worker.join();
  stop = true;
  visitor.join();
}

TEST_F(ThreadsTest, AResetReachesTheSessionsOfAllReactors) {
  const auto first = Connect();
  ASSERT_EQ(first->Login(), 0);
  TestInitiator::LoginOptions options;
  options.isid = 2;
  const auto second = Connect();
  ASSERT_EQ(second->Login(options), 0);
  first->NoData(TestUnitReady());
  second->NoData(TestUnitReady());
  for (int i = 0; i < 10; ++i) {
    first->Send(first->TaskManagement(5));
    const Wire response = first->Receive();
    EXPECT_EQ(response.opcode(), 0x22);
    first->exp_stat_sn = response.Get32(24) + 1;
    EXPECT_EQ(second->NoData(TestUnitReady()).asc, 0x29);
  }
}

TEST_F(ThreadsTest, ATargetIsDeletedWhileItsSessionsWork) {
  std::vector<std::thread> threads;
  std::atomic<int> logged_in{0};
  for (uint16_t i = 1; i <= 2; ++i) {
    threads.emplace_back([this, i, &logged_in] {
      const auto initiator = Connect();
      TestInitiator::LoginOptions options;
      options.isid = i;
      EXPECT_EQ(initiator->Login(options), 0);
      ++logged_in;
      for (int n = 0; n < 1000000; ++n) {
        initiator->Send(initiator->Command(Read10(0, 64), 0xc1, 64 * 512));
        if (initiator->SeesEnd()) return;
      }
      ADD_FAILURE() << "it was never closed";
    });
  }
  while (logged_in < 2) usleep(1000);
  EXPECT_TRUE(Run(target_.DeleteTargetNode("disk1")).ok());
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace pollux::iscsi
