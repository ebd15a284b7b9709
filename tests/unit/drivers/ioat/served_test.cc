// The driver against the model behind a vfio-user socket.
#include <cerrno>

#include "tests/unit/drivers/ioat/channel_world.h"
#include "tests/unit/drivers/ioat/served_world.h"

namespace pollux::ioat {
namespace {

class ServedIoatTest : public ServedWorld {
 protected:
  ServedIoatTest() {
    EXPECT_EQ(pollux_ioat_host_create(nullptr, &host_), 0);
    data_ = static_cast<unsigned char*>(pollux_ioat_alloc(host_, 8192));
  }
  ~ServedIoatTest() override {
    Detach();
    pollux_ioat_host_destroy(host_);
  }
  void Attach() {
    ASSERT_EQ(pollux_ioat_attach(host_, directory_.c_str(), nullptr, &device_), 0)
        << pollux_ioat_error_text();
    ASSERT_EQ(pollux_ioat_channel_take(device_, -1, &channel_), 0);
  }
  void Detach() {
    if (channel_ != nullptr) pollux_ioat_channel_return(std::exchange(channel_, nullptr));
    if (device_ == nullptr) return;
    EXPECT_EQ(pollux_ioat_detach(std::exchange(device_, nullptr)), 0);
  }
  // One copy, to its end; or the errno of its submission.
  int Copy(Waiting& copy, int seed) {
    std::memset(data_, seed, 4096);
    int error = -EAGAIN;
    while ((error = pollux_ioat_copy(channel_, copy.c(), data_ + 4096, data_, 4096)) == -EAGAIN) {
      pollux_ioat_channel_poll(channel_);
    }
    while (error == 0 && copy.calls == 0) {
      pollux_ioat_channel_poll(channel_);
      pollux_ioat_device_poll(device_);
    }
    return error;
  }

  pollux_ioat_host* host_ = nullptr;
  pollux_ioat_device* device_ = nullptr;
  pollux_ioat_channel* channel_ = nullptr;
  unsigned char* data_ = nullptr;
};

TEST_F(ServedIoatTest, CopiesAndRecoversOverVfioUser) {
  Serve({.fail_every = 50});
  Attach();
  int good = 0, failed = 0;
  for (int i = 0; i < 500; ++i) {
    Waiting copy;
    ASSERT_EQ(Copy(copy, i), 0);
    if (copy.completion.status == POLLUX_IOAT_OK) {
      ++good;
      ASSERT_EQ(std::memcmp(data_, data_ + 4096, 4096), 0);
    } else {
      ++failed;
      EXPECT_EQ(copy.completion.chanerr, chanerr::kReadData);
    }
  }
  EXPECT_GE(failed, 9);
  EXPECT_EQ(good + failed, 500);
}

TEST_F(ServedIoatTest, TheNthDescriptorFailsOnceForEachClient) {
  Serve({.fail_nth = 4, .chanerr = chanerr::kLength});
  for (int client = 0; client < 3; ++client) {
    Attach();
    for (int i = 0; i < 10; ++i) {
      Waiting copy;
      ASSERT_EQ(Copy(copy, i), 0);
      // The first was executed when it was attached.
      EXPECT_EQ(copy.completion.chanerr, i == 2 ? chanerr::kLength : 0) << client << " " << i;
    }
    Detach();
  }
}

TEST_F(ServedIoatTest, ALieTakesTheChannelOutOfServiceAndANewClientStartsAfresh) {
  Serve({.lie_after = 6});
  for (int client = 0; client < 2; ++client) {
    Attach();
    int good = 0, error = 0;
    while (good < 100) {
      Waiting copy;
      error = Copy(copy, good);
      if (error != 0 || copy.completion.status != POLLUX_IOAT_OK) break;
      ++good;
    }
    EXPECT_LT(good, 7);
    EXPECT_EQ(pollux_ioat_channel_state(channel_), POLLUX_IOAT_STATE_OUT_OF_SERVICE);
    EXPECT_NE(std::string(pollux_ioat_channel_reason(channel_)).find("not in the ring"),
              std::string::npos);
    Detach();
  }
}

TEST_F(ServedIoatTest, ItsEndIsTheEndOfWhatIsInFlight) {
  Serve({.stall_after = 5});
  Attach();
  int good = 0;
  for (; good < 4; ++good) {
    Waiting copy;
    ASSERT_EQ(Copy(copy, good), 0);
    ASSERT_TRUE(copy.ok());
  }
  Waiting last;
  ASSERT_EQ(pollux_ioat_copy(channel_, last.c(), data_ + 4096, data_, 4096), 0);
  pollux_ioat_channel_ring(channel_);
  EndServer();
  while (last.calls == 0) {
    pollux_ioat_device_poll(device_);
    pollux_ioat_channel_poll(channel_);
  }
  EXPECT_EQ(last.completion.status, POLLUX_IOAT_OUT_OF_SERVICE);
  EXPECT_EQ(pollux_ioat_device_state(device_), POLLUX_IOAT_DEVICE_GONE);
  Detach();
  Serve();
  Attach();
  Waiting copy;
  EXPECT_EQ(Copy(copy, 1), 0);
  EXPECT_TRUE(copy.ok());
}

}  // namespace
}  // namespace pollux::ioat
