// Channels on threads of their own, with a control thread beside them: what TSan looks at.
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "tests/unit/drivers/ioat/channel_world.h"
#include "tests/unit/drivers/ioat/served_world.h"

namespace pollux::ioat {
namespace {

class ThreadsTest : public ServedWorld {
 protected:
  static constexpr size_t kBytes = 512, kDepth = 8;

  ThreadsTest() { EXPECT_EQ(pollux_ioat_host_create(nullptr, &host_), 0); }
  ~ThreadsTest() override { pollux_ioat_host_destroy(host_); }

  // Keeps a channel busy on its thread until it is told to stop, or the channel leaves service.
  struct Owner {
    struct Copy final : Request {
      void OnComplete(Completion how) override {
        --owner->in_flight;
        if (how.status != POLLUX_IOAT_OK) {
          ++owner->bad;
        } else if (std::memcmp(from, to, kBytes) == 0) {
          ++owner->good;
        } else {
          ++owner->wrong;
        }
        busy = false;
      }
      Owner* owner = nullptr;
      std::byte *from = nullptr, *to = nullptr;
      bool busy = false;
    };
    void Run() {
      Copy copies[kDepth];
      for (size_t i = 0; i < kDepth; ++i) {
        copies[i].owner = this;
        copies[i].from = data + 2 * i * kBytes;
        copies[i].to = copies[i].from + kBytes;
      }
      for (unsigned round = 0; !stop.load() || in_flight > 0; ++round) {
        for (Copy& copy : copies) {
          if (copy.busy || stop.load()) continue;
          std::memset(copy.from, static_cast<int>(round), kBytes);
          const int error = pollux_ioat_copy(channel, copy.c(), copy.to, copy.from, kBytes);
          if (error == -ENXIO) stop = true;
          if (error != 0) continue;
          copy.busy = true;
          ++in_flight;
        }
        pollux_ioat_channel_poll(channel);
        done.store(good + bad);
      }
    }
    pollux_ioat_channel* channel = nullptr;
    std::byte* data = nullptr;
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> done{0};
    uint64_t in_flight = 0, good = 0, bad = 0, wrong = 0;
    std::thread thread;
  };

  void Attach(unsigned channels) {
    ASSERT_EQ(pollux_ioat_attach(host_, directory_.c_str(), nullptr, &device_), 0)
        << pollux_ioat_error_text();
    for (unsigned i = 0; i < channels; ++i) {
      Owner& owner = owners_.emplace_back();
      ASSERT_EQ(pollux_ioat_channel_take(device_, -1, &owner.channel), 0);
      owner.data = static_cast<std::byte*>(pollux_ioat_alloc(host_, 2 * kDepth * kBytes));
      ASSERT_NE(owner.data, nullptr);
    }
    for (Owner& owner : owners_) owner.thread = std::thread([&owner] { owner.Run(); });
  }
  // Until each of them has ended so many.
  void Until(uint64_t count) {
    for (Owner& owner : owners_) {
      while (owner.done.load() < count) {
        pollux_ioat_device_poll(device_);
        pollux_ioat_statistics statistics;
        pollux_ioat_get_statistics(owner.channel, &statistics);
        EXPECT_LE(statistics.completed, statistics.submitted + kDepth);
        std::this_thread::yield();
      }
    }
  }
  void Join() {
    for (Owner& owner : owners_) {
      owner.thread.join();
      pollux_ioat_channel_return(owner.channel);
      EXPECT_EQ(owner.wrong, 0u);
      EXPECT_EQ(owner.in_flight, 0u);
    }
    EXPECT_EQ(pollux_ioat_detach(device_), 0);
  }

  pollux_ioat_host* host_ = nullptr;
  pollux_ioat_device* device_ = nullptr;
  std::deque<Owner> owners_;
};

TEST_F(ThreadsTest, TwoChannelsWorkOnTwoThreads) {
  Serve({}, {.channels = 2});
  Attach(2);
  Until(500);
  for (Owner& owner : owners_) owner.stop = true;
  Join();
  for (const Owner& owner : owners_) EXPECT_EQ(owner.bad, 0u);
}

TEST_F(ThreadsTest, ErrorsOfOneAreNotTheOthers) {
  Serve({.fail_every = 40}, {.channels = 2});
  Attach(2);
  Until(400);
  for (Owner& owner : owners_) owner.stop = true;
  Join();
  for (const Owner& owner : owners_) {
    EXPECT_GT(owner.bad, 0u);
    EXPECT_GT(owner.good, 8 * owner.bad);
  }
}

TEST_F(ThreadsTest, MemoryComesAndGoesWhileTheyWork) {
  Serve({}, {.channels = 2});
  Attach(2);
  for (int i = 0; i < 30; ++i) {
    void* const more = pollux_ioat_alloc(host_, 65536);
    ASSERT_NE(more, nullptr);
    Until(static_cast<uint64_t>(10 * i));
    pollux_ioat_free(host_, more);
  }
  for (Owner& owner : owners_) owner.stop = true;
  Join();
  for (const Owner& owner : owners_) EXPECT_EQ(owner.bad, 0u);
}

TEST_F(ThreadsTest, TheDeviceGoesWhileBothWork) {
  Serve({}, {.channels = 2});
  Attach(2);
  Until(100);
  EndServer();
  while (pollux_ioat_device_poll(device_) == 0) std::this_thread::yield();
  Join();
}

}  // namespace
}  // namespace pollux::ioat
