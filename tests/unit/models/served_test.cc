// The model behind a vfio-user socket, driven through the driver's own client.
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <future>

#include "core/task_group.h"
#include "drivers/pci/vfio_user_device.h"
#include "tests/models/nvme_model_served.h"

namespace pollux::models {
namespace {

using namespace nvme;  // NOLINT: nearly every word here is the specification's.

constexpr size_t kPage = 4096;
constexpr int kLooksMax = 10'000'000;

// The server's loop in a thread of its own, as the program has it.
class ServedTest : public testing::Test {
 protected:
  ServedTest() : memory_(64 * kPage) {
    char name[] = "/tmp/model-XXXXXX";
    directory_ = mkdtemp(name);
    EXPECT_TRUE(registry_
                    .Add({.address = memory_.address(),
                          .bytes = memory_.bytes(),
                          .fd = memory_.fd(),
                          .name = "arena"})
                    .ok());
  }
  ~ServedTest() override {
    client_.reset();
    Stop();
    std::filesystem::remove_all(directory_);
  }

  void Serve() {
    Result<std::unique_ptr<Waiter>> waiter = MakeEpollWaiter();
    ASSERT_TRUE(waiter.ok());
    loop_ = std::make_unique<Loop>(Loop::Options{.name = "served", .idle_after_ns = kNsPerMs},
                                   clock_, *std::move(waiter));
    device_ = std::make_unique<NvmeModelServed>(options_, *loop_);
    vfio_user::Server::Options options;
    options.path = directory_ + "/cntrl";
    auto server = vfio_user::Server::Listen(std::move(options), *device_, *loop_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    device_->set_server(server_.get());
    loop_->StartThread();
  }
  void Connect() {
    auto client = pci::VfioUserDevice::Open(directory_, registry_);
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    client_->SetBusMaster(true);
  }
  // Ends the thread, so that the model may be looked at.
  void Stop() {
    if (server_ == nullptr) return;
    struct End final : Message {
      vfio_user::Server* server = nullptr;
      TaskGroup tasks;
      std::promise<void> ended;
      void Run() override { tasks.Spawn(Close()); }
      Task<void> Close() {
        co_await server->Close();
        ended.set_value();
      }
    } end;
    end.server = server_.get();
    loop_->Post(end);
    end.ended.get_future().wait();
    loop_->StopThread();
    server_.reset();
    device_.reset();
    loop_.reset();
  }

  uint64_t Iova(const void* address) {
    pci::DmaView view(client_->dma());
    return view.Translate(address).iova;
  }
  std::byte* Page(size_t n) { return memory_.address() + n * kPage; }
  // Sends the only admin command there is, and waits. Returns the status field.
  uint16_t Admin(SubmissionEntry sqe) {
    sqe.cid = static_cast<uint16_t>(tail_ + 1);
    std::memcpy(Page(0) + tail_ * sizeof sqe, &sqe, sizeof sqe);
    MmioWrite<uint32_t>(doorbells_, ++tail_);
    const auto* entry = reinterpret_cast<const CompletionEntry*>(Page(1)) + (tail_ - 1);
    for (int i = 0; i < kLooksMax; ++i) {
      if ((LoadAcquire(entry->status) & 1) != 0) return entry->status >> 1 & 0x7ff;
      if (i % 1000 == 999) sched_yield();
    }
    ADD_FAILURE() << "no answer";
    return 0xffff;
  }
  void Enable() {
    client_->Write32(0, kAqa.offset, 31u << 16 | 31);
    client_->Write64(0, kAsq.offset, Iova(Page(0)));
    client_->Write64(0, kAcq.offset, Iova(Page(1)));
    client_->Write32(0, kCc.offset, 0x00460001);
    EXPECT_EQ(client_->Read32(0, kCsts.offset), 1u);
    doorbells_ = client_->MapBar(0, kDoorbells, kPage);
  }

  NvmeModelServed::Options options_;
  const RealClock clock_;
  std::string directory_;
  SharedMemory memory_;
  RegionRegistry registry_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<NvmeModelServed> device_;
  std::unique_ptr<vfio_user::Server> server_;
  std::unique_ptr<pci::PciDevice> client_;
  std::byte* doorbells_ = nullptr;
  uint32_t tail_ = 0;
};

TEST_F(ServedTest, LooksLikeAnNvmeController) {
  Serve();
  Connect();
  EXPECT_EQ(client_->ReadConfig(0x08, 4) >> 8, 0x010802u);
  EXPECT_EQ(client_->bar_bytes(0), 0x2000u);
  EXPECT_EQ(client_->Read32(0, kVs.offset), 0x020000u);
  EXPECT_EQ(client_->interrupt_vectors(), 65u);
  EXPECT_NE(client_->MapBar(0, kDoorbells, kPage), nullptr);
  EXPECT_EQ(client_->MapBar(0, 0, kPage), nullptr);
}

TEST_F(ServedTest, AnswersThroughMappedDoorbells) {
  Serve();
  Connect();
  Enable();
  SubmissionEntry identify{.opc = admin::kIdentify};
  identify.prp1 = Iova(Page(2));
  identify.cdw10 = cns::kController;
  EXPECT_EQ(Admin(identify), 0);
  EXPECT_EQ(std::memcmp(Page(2) + 4, "POLLUX-MODEL-0", 14), 0);
}

TEST_F(ServedTest, RaisesItsInterrupt) {
  Serve();
  Connect();
  const UniqueFd event(eventfd(0, EFD_CLOEXEC));
  ASSERT_TRUE(client_->SetInterrupt(0, event.get()).ok());
  Enable();
  SubmissionEntry keep_alive{.opc = admin::kKeepAlive};
  EXPECT_EQ(Admin(keep_alive), 0);
  eventfd_t count = 0;
  EXPECT_EQ(eventfd_read(event.get(), &count), 0);
}

TEST_F(ServedTest, StartsAnewForTheNextClient) {
  Serve();
  for (int i = 0; i < 3; ++i) {
    Connect();
    EXPECT_EQ(client_->Read32(0, kCc.offset), 0u);
    std::memset(memory_.address(), 0, memory_.bytes());
    tail_ = 0;
    Enable();
    SubmissionEntry keep_alive{.opc = admin::kKeepAlive};
    EXPECT_EQ(Admin(keep_alive), 0);
    client_.reset();
  }
}

TEST_F(ServedTest, TakesDoorbellsByMessages) {
  options_.map_doorbells = false;
  Serve();
  Connect();
  Enable();
  EXPECT_EQ(doorbells_, nullptr);
  SubmissionEntry sqe{.opc = admin::kKeepAlive};
  std::memcpy(Page(0), &sqe, sizeof sqe);
  client_->Write32(0, kDoorbells, 1);
  const auto* entry = reinterpret_cast<const CompletionEntry*>(Page(1));
  for (int i = 0; i < kLooksMax && (LoadAcquire(entry->status) & 1) == 0; ++i) sched_yield();
  EXPECT_EQ(entry->status & 1, 1);
}

}  // namespace
}  // namespace pollux::models
