// The driver against the model behind a vfio-user socket, whose loop runs in a thread of its own.
#include <stdlib.h>

#include <filesystem>
#include <future>
#include <memory>
#include <string>

#include "core/task_group.h"
#include "tests/models/ioat_model_served.h"
#include "tests/unit/drivers/ioat/channel_world.h"

namespace pollux::ioat {
namespace {

TEST(ServedIoatTest, CopiesAndRecoversOverVfioUser) {
  char name[] = "/tmp/ioat-XXXXXX";
  const std::string directory = mkdtemp(name);
  const RealClock clock;
  auto waiter = MakeEpollWaiter();
  ASSERT_TRUE(waiter.ok());
  Loop loop(Loop::Options{.name = "served", .idle_after_ns = kNsPerMs}, clock, *std::move(waiter));
  models::IoatModelServed served({}, loop);
  vfio_user::Server::Options options;
  options.path = directory + "/cntrl";
  auto server = vfio_user::Server::Listen(std::move(options), served, loop);
  ASSERT_TRUE(server.ok()) << server.status();
  served.set_server(server->get());
  served.FailEvery(50, chanerr::kReadData);
  loop.StartThread();

  pollux_ioat_host* created = nullptr;
  ASSERT_EQ(pollux_ioat_host_create(nullptr, &created), 0);
  {
    const Host host(created);
    pollux_ioat_device* device = nullptr;
    ASSERT_EQ(pollux_ioat_attach(created, directory.c_str(), nullptr, &device), 0)
        << pollux_ioat_error_text();
    pollux_ioat_channel* channel = nullptr;
    ASSERT_EQ(pollux_ioat_channel_take(device, -1, &channel), 0);
    auto* data = static_cast<unsigned char*>(pollux_ioat_alloc(created, 8192));
    ASSERT_NE(data, nullptr);
    int good = 0, failed = 0;
    for (int i = 0; i < 500; ++i) {
      Waiting copy;
      std::memset(data, i, 4096);
      int error = -EAGAIN;
      while ((error = pollux_ioat_copy(channel, copy.c(), data + 4096, data, 4096)) == -EAGAIN) {
        pollux_ioat_channel_poll(channel);
      }
      ASSERT_EQ(error, 0);
      while (copy.calls == 0) pollux_ioat_channel_poll(channel);
      if (copy.completion.status == POLLUX_IOAT_OK) {
        ++good;
        ASSERT_EQ(std::memcmp(data, data + 4096, 4096), 0);
      } else {
        ++failed;
        EXPECT_EQ(copy.completion.chanerr, chanerr::kReadData);
      }
    }
    EXPECT_GE(failed, 9);
    EXPECT_EQ(good + failed, 500);
    pollux_ioat_channel_return(channel);
    EXPECT_EQ(pollux_ioat_detach(device), 0);
  }

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
  end.server = server->get();
  loop.Post(end);
  end.ended.get_future().wait();
  loop.StopThread();
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace pollux::ioat
