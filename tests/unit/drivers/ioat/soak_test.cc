// All operations in all mixtures, while the device fails, hangs and lies, and its owner resets and
// suspends it. A request ends once; one that ended well did what it should.
#include <cstdlib>
#include <random>

#include "tests/unit/drivers/ioat/channel_world.h"

namespace pollux::ioat {
namespace {

// How many operations are verified: POLLUX_IOAT_SOAK of them, where that is set.
constexpr uint64_t kVerifiedDefault = 50'000;
constexpr size_t kSlots = 12;
constexpr size_t kBytesMax = 1024;
constexpr int kTurnsPerEvent = 40;

std::byte Times(uint8_t a, std::byte b) {
  unsigned product = 0, shifted = std::to_integer<unsigned>(b);
  for (unsigned bits = a; bits != 0; bits >>= 1) {
    if ((bits & 1) != 0) product ^= shifted;
    shifted = shifted << 1 ^ ((shifted & 0x80) != 0 ? 0x11du : 0u);
  }
  return static_cast<std::byte>(product);
}

class SoakTest : public ChannelWorld {
 protected:
  // Two pages of sources, two of destinations; one operation at a time.
  struct Slot final : Request {
    void OnComplete(Completion how) override {
      ASSERT_TRUE(in_flight) << "it ended twice";
      in_flight = false;
      test->Ended(*this, how);
    }
    SoakTest* test = nullptr;
    size_t page = 0;
    bool in_flight = false;
    std::vector<std::byte> expected, expected_q;
    std::byte *to = nullptr, *q = nullptr;
  };

  size_t Below(size_t bound) { return random_() % bound; }

  void Ended(const Slot& slot, Completion how) {
    if (how.status == POLLUX_IOAT_FAILED || how.status == POLLUX_IOAT_MISMATCH) {
      EXPECT_NE(how.chanerr, 0u);
    }
    if (how.status != POLLUX_IOAT_OK) {
      ++ended_badly_;
      return;
    }
    ASSERT_TRUE(std::equal(slot.expected.begin(), slot.expected.end(), slot.to));
    ASSERT_TRUE(std::equal(slot.expected_q.begin(), slot.expected_q.end(), slot.q));
    ++verified_;
  }

  void Submit(Slot& slot) {
    const size_t bytes = 1 + Below(Below(8) == 0 ? kBytesMax : 64);
    slot.to = Page(slot.page + 2) + Below(kPage - kBytesMax);
    slot.q = Page(slot.page + 3) + Below(kPage - kBytesMax);
    slot.expected.assign(bytes, std::byte{0});
    slot.expected_q.clear();
    const void* sources[8];
    uint8_t coefficients[8];
    for (size_t s = 0; s < 8; ++s) {
      std::byte* const source = Page(slot.page + Below(2)) + Below(kPage - kBytesMax);
      sources[s] = source;
      coefficients[s] = static_cast<uint8_t>(random_());
    }
    for (size_t s = 0; s < 8; ++s) {  // Once all places are known: they may overlap.
      auto* const source = static_cast<std::byte*>(const_cast<void*>(sources[s]));
      source[Below(bytes)] = static_cast<std::byte>(random_());
    }
    const auto at = [&sources](size_t s, size_t i) {
      return static_cast<const std::byte*>(sources[s])[i];
    };
    const auto count = static_cast<uint32_t>(2 + Below(7));
    int error = 0;
    switch (Below(7)) {
      case 0:
      case 1:
        for (size_t i = 0; i < bytes; ++i) slot.expected[i] = at(0, i);
        error = pollux_ioat_copy(channel_, slot.c(), slot.to, sources[0], bytes);
        break;
      case 2: {
        const uint64_t pattern = random_();
        for (size_t i = 0; i < bytes; ++i) {
          slot.expected[i] = static_cast<std::byte>(pattern >> (8 * (i % 8)));
        }
        error = pollux_ioat_fill(channel_, slot.c(), slot.to, pattern, bytes);
        break;
      }
      case 3:
        for (size_t i = 0; i < bytes; ++i) {
          for (uint32_t s = 0; s < count; ++s) slot.expected[i] ^= at(s, i);
        }
        error = pollux_ioat_xor(channel_, slot.c(), slot.to, sources, count, bytes);
        break;
      case 4:
        slot.expected_q.assign(bytes, std::byte{0});
        for (size_t i = 0; i < bytes; ++i) {
          for (uint32_t s = 0; s < count; ++s) {
            slot.expected[i] ^= at(s, i);
            slot.expected_q[i] ^= Times(coefficients[s], at(s, i));
          }
        }
        error = pollux_ioat_pq(channel_, slot.c(), slot.to, slot.q, sources, coefficients, count,
                               bytes);
        break;
      case 5: {
        for (size_t i = 0; i < bytes; ++i) slot.expected[i] = at(0, i);
        auto* const from = const_cast<void*>(sources[0]);
        const size_t cut = Below(bytes + 1), other = Below(bytes + 1);
        const iovec in[] = {{from, cut}, {static_cast<std::byte*>(from) + cut, bytes - cut}};
        const iovec out[] = {{slot.to, other}, {slot.to + other, bytes - other}};
        error = pollux_ioat_copyv(channel_, slot.c(), out, 2, in, 2);
        break;
      }
      case 6:
        slot.expected.clear();
        error = pollux_ioat_fence(channel_, slot.c());
        break;
    }
    slot.in_flight = error == 0;
    if (error == 0) return;
    ASSERT_TRUE(error == -EAGAIN || error == -ENXIO) << error;
  }

  // Something that a device or an owner may do at any time.
  void Event() {
    ++events_;
    switch (Below(9)) {
      case 0:
      case 1:
      case 2:
        return model().FailDescriptor(0, static_cast<uint32_t>(1 + Below(8)),
                                      1u << Below(chanerr::kBits) | 1u << Below(chanerr::kBits));
      case 3:
        pollux_ioat_channel_reset(channel_);
        return;
      case 4:
        pollux_ioat_channel_suspend(channel_);
        return;
      case 5:
        model().stalled = !model().stalled;
        return;
      case 6:
        model().mute = !model().mute;
        return;
      case 7:
        if (Below(20) == 0) model().PostStatus(0, random_());
        return;
      case 8:
        if (Below(20) == 0) model().Remove();
        return;
    }
  }

  void AttachAnew() {
    if (channel_ != nullptr) {
      for (int i = 0; i < 5000 && !pollux_ioat_channel_idle(channel_); ++i) Turn();
      ASSERT_TRUE(pollux_ioat_channel_idle(channel_));
      pollux_ioat_channel_return(std::exchange(channel_, nullptr));
      ASSERT_EQ(pollux_ioat_detach(std::exchange(attached_, nullptr)), 0);
      device_ = nullptr;
      ++attached_anew_;
    }
    Attach();
  }

  void Soak(uint64_t wanted) {
    std::deque<Slot> slots(kSlots);
    for (size_t i = 0; i < kSlots; ++i) {
      slots[i].test = this;
      slots[i].page = 4 * i;
    }
    AttachAnew();
    for (uint64_t turn = 0; verified_ < wanted && !HasFailure(); ++turn) {
      for (Slot& slot : slots) {
        if (!slot.in_flight && Below(2) == 0) Submit(slot);
      }
      if (Below(3) == 0) Ring();
      for (size_t steps = Below(2 * kSlots); steps > 0; --steps) model().Step();
      Poll();
      clock_.Advance(pollux_ioat_channel_idle(channel_) ? kNsPerUs : kNsPerMs);
      if (turn % kTurnsPerEvent == 0) Event();
      if (turn % (10 * kTurnsPerEvent) == 0) {
        model().stalled = model().mute = false;
        pollux_ioat_channel_resume(channel_);
      }
      if (state() == POLLUX_IOAT_STATE_OUT_OF_SERVICE) AttachAnew();
    }
    model().stalled = model().mute = false;
    for (int i = 0; i < 5000 && !pollux_ioat_channel_idle(channel_); ++i) {
      pollux_ioat_channel_resume(channel_);
      Turn();
    }
    for (const Slot& slot : slots) EXPECT_FALSE(slot.in_flight);
  }

  std::mt19937_64 random_{20250311};
  uint64_t verified_ = 0, ended_badly_ = 0, events_ = 0, attached_anew_ = 0;
};

TEST_F(SoakTest, WhatEndsWellIsRightAndEachEndsOnce) {
  const char* const asked = std::getenv("POLLUX_IOAT_SOAK");
  const uint64_t wanted = asked != nullptr ? std::strtoull(asked, nullptr, 10) : kVerifiedDefault;
  options_.descriptors = 32;
  Soak(wanted);
  EXPECT_GE(verified_, wanted);
  EXPECT_GT(ended_badly_, 0u);
  EXPECT_GT(attached_anew_, 0u);
  std::printf(
      "%llu verified, %llu ended badly, %llu events, attached anew %llu times\n",
      static_cast<unsigned long long>(verified_), static_cast<unsigned long long>(ended_badly_),
      static_cast<unsigned long long>(events_), static_cast<unsigned long long>(attached_anew_));
}

}  // namespace
}  // namespace pollux::ioat
