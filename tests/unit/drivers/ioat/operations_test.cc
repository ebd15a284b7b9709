// What the driver asks of a device that does it.
#include <cerrno>
#include <tuple>

#include "tests/unit/drivers/ioat/channel_world.h"

namespace pollux::ioat {
namespace {

class OperationsTest : public ChannelWorld {};

TEST_F(OperationsTest, TellsWhatTheDeviceIs) {
  Attach();
  const pollux_ioat_device_info& info = *pollux_ioat_get_device_info(attached_);
  EXPECT_STREQ(info.model, "Ice Lake");
  EXPECT_EQ(info.version, 0x34);
  EXPECT_EQ(info.transfer_bytes_max, 1u << 20);
  EXPECT_TRUE(info.fill && info.xor_ && info.pq);
  EXPECT_EQ(state(), POLLUX_IOAT_STATE_RUNNING);
}

TEST_F(OperationsTest, KnowsEveryFamilyAndItsErrata) {
  for (const auto& [id, version, raid] : {std::tuple<uint16_t, uint8_t, bool>{0x3430, 0x30, true},
                                          {0x3710, 0x32, false},
                                          {0x0e20, 0x32, false},
                                          {0x2f2f, 0x32, false},
                                          {0x6f23, 0x32, false},
                                          {0x2021, 0x33, false},
                                          {0x0c50, 0x33, true},
                                          {0x0c53, 0x33, false},
                                          {0x6f50, 0x33, false},
                                          {0x0b00, 0x34, true}}) {
    model_.device.device = id;
    model_.device.version = version;
    ASSERT_EQ(TryAttach(), 0) << said_;
    const pollux_ioat_device_info& info = *pollux_ioat_get_device_info(attached_);
    EXPECT_EQ(info.xor_, raid) << id;
    EXPECT_EQ(info.version, id == 0x2021 ? 0x32 : version);
    EXPECT_EQ(pollux_ioat_detach(attached_), 0);
    attached_ = nullptr;
    device_ = nullptr;
  }
}

TEST_F(OperationsTest, CopiesOnlyAfterTheDoorbell) {
  Attach();
  Pattern(1, 3);
  Waiting& copy = New();
  ASSERT_EQ(CopyPage(copy, 2, 1), 0);
  EXPECT_EQ(model().Run(), 0u);
  EXPECT_EQ(Go(), 1);
  EXPECT_TRUE(copy.ok());
  EXPECT_EQ(std::memcmp(Page(2), Page(1), kPage), 0);
}

TEST_F(OperationsTest, ABatchTakesOneDoorbell) {
  Attach();
  const uint64_t before = statistics().doorbells;
  for (int i = 0; i < 10; ++i) ASSERT_EQ(CopyPage(New(), 2, 1), 0);
  EXPECT_EQ(Go(), 10);
  EXPECT_EQ(statistics().doorbells, before + 1);
}

TEST_F(OperationsTest, WrapsTheRingAndTheCountOf16Bits) {
  Attach();
  for (int round = 0; round < 7000; ++round) {
    Waiting batch[10];
    Page(1)[0] = static_cast<std::byte>(round);
    for (Waiting& each : batch) ASSERT_EQ(CopyPage(each, 2, 1, 8), 0);
    ASSERT_EQ(Go(), 10) << round;
    ASSERT_EQ(Page(2)[0], Page(1)[0]);
  }
  EXPECT_EQ(statistics().completed, 70000u);
}

TEST_F(OperationsTest, RefusesWhenTheRingIsFullAndGoesOnAfterwards) {
  Attach();
  uint32_t taken = 0;
  for (; pollux_ioat_channel_room(channel_) > 0; ++taken) {
    ASSERT_EQ(CopyPage(New(), 2, 1), 0);
  }
  EXPECT_EQ(taken, 14u);
  Waiting& refused = New();
  EXPECT_EQ(CopyPage(refused, 2, 1), -EAGAIN);
  EXPECT_EQ(Go(), 14);
  EXPECT_EQ(refused.calls, 0);
  EXPECT_EQ(CopyPage(refused, 2, 1), 0);
  EXPECT_EQ(Go(), 1);
}

TEST_F(OperationsTest, ACallbackMaySubmitAgain) {
  Attach();
  Waiting& second = New();
  Waiting& first = New();
  first.then = [&] { EXPECT_EQ(CopyPage(second, 3, 1), 0); };
  ASSERT_EQ(CopyPage(first, 2, 1), 0);
  EXPECT_EQ(Go(), 1);
  model().Run();
  EXPECT_EQ(Poll(), 1);
  EXPECT_TRUE(second.ok());
}

TEST_F(OperationsTest, SplitsWhatIsLongerThanADescriptor) {
  model_.device.xfercap = 12;
  Attach();
  for (size_t page = 1; page < 4; ++page) Pattern(page, static_cast<unsigned>(page));
  Waiting& copy = New();
  ASSERT_EQ(pollux_ioat_copy(channel_, copy.c(), Page(10) + 5, Page(1) + 7, 3 * kPage - 7), 0);
  EXPECT_EQ(Go(), 1);
  EXPECT_EQ(std::memcmp(Page(10) + 5, Page(1) + 7, 3 * kPage - 7), 0);
  EXPECT_EQ(pollux_ioat_copy(channel_, New().c(), Page(30), Page(1), 20 * kPage), -E2BIG);
}

TEST_F(OperationsTest, CopiesBetweenListsOfDifferentPieces) {
  Attach();
  Pattern(1, 9);
  const iovec from[] = {{Page(1), 100}, {Page(1) + 100, 0}, {Page(1) + 100, 900}};
  const iovec to[] = {{Page(2), 300}, {Page(3), 600}, {Page(4), 100}};
  Waiting& copy = New();
  ASSERT_EQ(pollux_ioat_copyv(channel_, copy.c(), to, 3, from, 3), 0);
  EXPECT_EQ(Go(), 1);
  EXPECT_EQ(std::memcmp(Page(2), Page(1), 300), 0);
  EXPECT_EQ(std::memcmp(Page(3), Page(1) + 300, 600), 0);
  EXPECT_EQ(std::memcmp(Page(4), Page(1) + 900, 100), 0);
}

TEST_F(OperationsTest, APatternGoesOnAcrossPieces) {
  model_.device.xfercap = 12;
  Attach();
  Waiting& fill = New();
  ASSERT_EQ(pollux_ioat_fill(channel_, fill.c(), Page(1) + 3, 0x0807060504030201, 2 * kPage + 5),
            0);
  EXPECT_EQ(Go(), 1);
  EXPECT_TRUE(fill.ok());
  for (size_t i = 0; i < 2 * kPage + 5; ++i) {
    ASSERT_EQ(Page(1)[3 + i], static_cast<std::byte>(i % 8 + 1)) << i;
  }
}

TEST_F(OperationsTest, AFenceCompletesLast) {
  Attach();
  Waiting& copy = New();
  Waiting& fence = New();
  ASSERT_EQ(CopyPage(copy, 2, 1), 0);
  ASSERT_EQ(pollux_ioat_fence(channel_, fence.c()), 0);
  fence.then = [&] { EXPECT_EQ(copy.calls, 1); };
  EXPECT_EQ(Go(), 2);
  EXPECT_NE(model().executed().back() & control::kFence, 0u);
}

TEST_F(OperationsTest, XorsTwoToEightSources) {
  Attach();
  const void* sources[8];
  for (size_t i = 0; i < 8; ++i) {
    Pattern(10 + i, static_cast<unsigned>(i * 41));
    sources[i] = Page(10 + i);
  }
  for (uint32_t count = 2; count <= 8; ++count) {
    Waiting& made = New();
    ASSERT_EQ(pollux_ioat_xor(channel_, made.c(), Page(1), sources, count, 1000), 0);
    EXPECT_EQ(Go(), 1);
    for (size_t i = 0; i < 1000; ++i) {
      std::byte sum{};
      for (uint32_t s = 0; s < count; ++s) sum ^= Page(10 + s)[i];
      ASSERT_EQ(Page(1)[i], sum) << count;
    }
    Waiting& same = New();
    ASSERT_EQ(pollux_ioat_xor_validate(channel_, same.c(), Page(1), sources, count, 1000), 0);
    EXPECT_EQ(Go(), 1);
    EXPECT_TRUE(same.ok());
  }
}

TEST_F(OperationsTest, MakesPAndQ) {
  Attach();
  const void* sources[8];
  uint8_t coefficients[8];
  for (size_t i = 0; i < 8; ++i) {
    Page(10 + i)[0] = std::byte{1};
    sources[i] = Page(10 + i);
    coefficients[i] = static_cast<uint8_t>(1 << i);
  }
  for (uint32_t count = 2; count <= 8; ++count) {
    Waiting& made = New();
    ASSERT_EQ(
        pollux_ioat_pq(channel_, made.c(), Page(1), Page(2), sources, coefficients, count, 64), 0);
    EXPECT_EQ(Go(), 1);
    EXPECT_EQ(Page(1)[0], static_cast<std::byte>(count % 2));
    EXPECT_EQ(Page(2)[0], static_cast<std::byte>((1 << count) - 1));
    Waiting& only_q = New();
    ASSERT_EQ(pollux_ioat_pq_validate(channel_, only_q.c(), nullptr, Page(2), sources, coefficients,
                                      count, 64),
              0);
    EXPECT_EQ(Go(), 1);
    EXPECT_TRUE(only_q.ok());
  }
}

TEST_F(OperationsTest, AMismatchIsOneRequestsEnd) {
  Attach();
  const void* sources[] = {Page(10), Page(11)};
  Page(1)[3] = std::byte{1};
  Waiting& wrong = New();
  Waiting& copy = New();
  ASSERT_EQ(pollux_ioat_xor_validate(channel_, wrong.c(), Page(1), sources, 2, 64), 0);
  ASSERT_EQ(CopyPage(copy, 2, 1), 0);
  Turns();
  EXPECT_EQ(wrong.completion.status, POLLUX_IOAT_MISMATCH);
  EXPECT_TRUE(copy.ok());
}

TEST_F(OperationsTest, AFullRingOfDoubleDescriptorsIsCountedRight) {
  Attach();
  const void* sources[8];
  for (size_t i = 0; i < 8; ++i) sources[i] = Page(10 + i);
  for (int round = 0; round < 50; ++round) {
    int submitted = 0;
    while (pollux_ioat_xor(channel_, New().c(), Page(1), sources, 8, 16) == 0) ++submitted;
    EXPECT_EQ(submitted, 7);
    EXPECT_EQ(Go(), 7);
    ASSERT_EQ(CopyPage(New(), 2, 1), 0);
    EXPECT_EQ(Go(), 1);
  }
}

TEST_F(OperationsTest, RefusesWhatCannotBeBeforeADescriptorIsWritten) {
  model_.device.capability = 0;
  Attach();
  Waiting& never = New();
  std::byte stranger[64];
  const void* sources[] = {Page(10), Page(11)};
  EXPECT_EQ(CopyPage(never, 2, 1, 0), -EINVAL);
  EXPECT_EQ(pollux_ioat_copy(channel_, never.c(), Page(1) + 10, Page(1), 64), -EINVAL);
  EXPECT_EQ(pollux_ioat_copy(channel_, never.c(), Page(1), Page(1) + 63, 64), -EINVAL);
  EXPECT_EQ(pollux_ioat_copy(channel_, never.c(), stranger, Page(1), 64), -EFAULT);
  EXPECT_EQ(pollux_ioat_copy(channel_, never.c(), Page(1), stranger, 64), -EFAULT);
  EXPECT_EQ(pollux_ioat_copy(channel_, never.c(), Page(0), Page(kPages - 1), 2 * kPage), -EFAULT);
  EXPECT_LT(pollux_ioat_copy(channel_, never.c(), Page(0), Page(1), SIZE_MAX), 0);
  EXPECT_EQ(pollux_ioat_copy(channel_, never.c(), nullptr, Page(1), 8), -EFAULT);
  const iovec a = {Page(1), 10}, b = {Page(2), 11};
  EXPECT_EQ(pollux_ioat_copyv(channel_, never.c(), &a, 1, &b, 1), -EINVAL);
  EXPECT_EQ(pollux_ioat_copyv(channel_, never.c(), &a, 0, &b, 0), -EINVAL);
  EXPECT_EQ(pollux_ioat_copyv(channel_, never.c(), &a, 65, &b, 1), -E2BIG);
  EXPECT_EQ(pollux_ioat_fill(channel_, never.c(), Page(1), 0, 8), -ENOTSUP);
  EXPECT_EQ(pollux_ioat_xor(channel_, never.c(), Page(1), sources, 2, 8), -ENOTSUP);
  EXPECT_EQ(never.calls, 0);
  EXPECT_TRUE(pollux_ioat_channel_idle(channel_));
}

TEST_F(OperationsTest, RefusesParityThatOverwritesItsSources) {
  Attach();
  Waiting& never = New();
  const void* sources[] = {Page(10), Page(11)};
  const uint8_t coefficients[] = {1, 2};
  EXPECT_EQ(pollux_ioat_xor(channel_, never.c(), Page(10) + 1, sources, 2, 8), -EINVAL);
  EXPECT_EQ(pollux_ioat_xor(channel_, never.c(), Page(1), sources, 1, 8), -EINVAL);
  EXPECT_EQ(pollux_ioat_xor(channel_, never.c(), Page(1), sources, 9, 8), -EINVAL);
  EXPECT_EQ(pollux_ioat_xor(channel_, never.c(), nullptr, sources, 2, 8), -EINVAL);
  EXPECT_EQ(pollux_ioat_pq(channel_, never.c(), Page(1), Page(1) + 4, sources, coefficients, 2, 8),
            -EINVAL);
  EXPECT_EQ(pollux_ioat_pq(channel_, never.c(), nullptr, nullptr, sources, coefficients, 2, 8),
            -EINVAL);
  EXPECT_EQ(pollux_ioat_pq(channel_, never.c(), Page(1), Page(2), sources, nullptr, 2, 8), -EINVAL);
}

TEST_F(OperationsTest, ChannelsHaveOneOwnerEach) {
  model_.device.channels = 2;
  Attach();
  pollux_ioat_channel* other = nullptr;
  EXPECT_EQ(pollux_ioat_channel_take(attached_, 0, &other), -EBUSY);
  EXPECT_EQ(pollux_ioat_channel_take(attached_, 2, &other), -ENOSPC);
  ASSERT_EQ(pollux_ioat_channel_take(attached_, -1, &other), 0);
  EXPECT_NE(other, channel_);
  EXPECT_EQ(pollux_ioat_detach(attached_), -EBUSY);
  pollux_ioat_channel_return(other);
}

}  // namespace
}  // namespace pollux::ioat
