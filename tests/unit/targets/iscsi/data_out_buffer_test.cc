#include "targets/iscsi/data_out_buffer.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

namespace pollux::iscsi {
namespace {

// A transfer of 64 bytes, of which each says its offset, and a store for the first 16.
class DataOutBufferTest : public testing::Test {
 protected:
  DataOutBufferTest() {
    for (size_t i = 0; i < source_.size(); ++i) source_[i] = std::byte(i);
    buffer_.Reset(store_.data(), store_.size());
  }
  void Want(uint64_t offset, std::vector<size_t> part_sizes) {
    burst_.assign(64, std::byte{0xee});
    parts_.clear();
    size_t at = 0;
    for (const size_t bytes : part_sizes) {
      parts_.push_back({burst_.data() + at, bytes});
      at += bytes;
    }
    burst_bytes_ = at;
    buffer_.Want(offset, parts_);
  }
  std::span<const std::byte> Source(size_t from, size_t bytes) {
    return std::span(source_).subspan(from, bytes);
  }
  // The burst holds the bytes of the transfer from `offset` on.
  void ExpectBurst(uint64_t offset) {
    EXPECT_TRUE(buffer_.complete());
    for (size_t i = 0; i < burst_bytes_; ++i) EXPECT_EQ(burst_[i], std::byte(offset + i)) << i;
  }

  std::array<std::byte, 64> source_;
  std::array<std::byte, 16> store_{};
  std::vector<std::byte> burst_;
  std::vector<iovec> parts_;
  size_t burst_bytes_ = 0;
  DataOutBuffer buffer_;
};

TEST_F(DataOutBufferTest, LentDataIsTakenFromWhereItLies) {
  buffer_.Lend(Source(0, 12));
  Want(0, {12});
  ExpectBurst(0);
  EXPECT_FALSE(buffer_.lent());
  EXPECT_EQ(store_[0], std::byte{0}) << "nothing was copied to the store";
}

TEST_F(DataOutBufferTest, LentDataSetAsideOutlivesItsPlace) {
  buffer_.Lend(Source(0, 12));
  buffer_.SetAside();
  source_.fill(std::byte{0x77});
  Want(0, {5, 7});
  ExpectBurst(0);
}

TEST_F(DataOutBufferTest, ABurstTakesOnlyItsPartOfWhatCame) {
  buffer_.Lend(Source(0, 16));
  Want(0, {10});
  ExpectBurst(0);
  buffer_.Done();
  EXPECT_TRUE(buffer_.lent());
  buffer_.SetAside();
  Want(10, {6});
  ExpectBurst(10);
}

TEST_F(DataOutBufferTest, WhatComesAfterItIsWantedGoesStraightToTheBurst) {
  Want(0, {3, 30});
  std::array<iovec, 4> places;
  ASSERT_EQ(buffer_.PlaceFor(20, places), 2u);
  EXPECT_EQ(places[0].iov_base, burst_.data());
  EXPECT_EQ(places[0].iov_len, 3u);
  EXPECT_EQ(places[1].iov_len, 17u);
  buffer_.Copy(Source(0, 20));
  EXPECT_EQ(buffer_.filled_to(), 20u);
  EXPECT_FALSE(buffer_.complete());
  buffer_.Copy(Source(20, 13));
  ExpectBurst(0);
}

TEST_F(DataOutBufferTest, UnaskedDataThatOutrunsTheBurstWaitsForTheNext) {
  Want(0, {8});
  buffer_.Copy(Source(0, 14));
  ExpectBurst(0);
  buffer_.Done();
  Want(8, {8});
  EXPECT_EQ(buffer_.filled_to(), 14u);
  buffer_.Copy(Source(14, 2));
  ExpectBurst(8);
}

TEST_F(DataOutBufferTest, DataBeforeAndAfterTheWishMeet) {
  buffer_.Copy(Source(0, 6));
  Want(0, {20});
  EXPECT_EQ(buffer_.filled_to(), 6u);
  buffer_.Copy(Source(6, 14));
  ExpectBurst(0);
}

TEST_F(DataOutBufferTest, AWishBetweenPlaceAndArrivalLosesNothing) {
  std::array<iovec, 4> places;
  ASSERT_EQ(buffer_.PlaceFor(10, places), 1u);
  Want(0, {20});
  std::memcpy(places[0].iov_base, source_.data(), 10);
  buffer_.Landed(10);
  EXPECT_EQ(buffer_.filled_to(), 10u);
  buffer_.Copy(Source(10, 10));
  ExpectBurst(0);
}

TEST_F(DataOutBufferTest, AskedForDataNeedsNoStore) {
  buffer_.Reset(nullptr, 0);
  EXPECT_FALSE(buffer_.HasPlaceFor(1));
  Want(32, {32});
  buffer_.GoTo(buffer_.filled_to());
  EXPECT_TRUE(buffer_.HasPlaceFor(32));
  EXPECT_FALSE(buffer_.HasPlaceFor(33));
  buffer_.Copy(Source(32, 32));
  ExpectBurst(32);
}

TEST_F(DataOutBufferTest, MoreThanTheStoreHoldsHasNoPlace) {
  EXPECT_TRUE(buffer_.HasPlaceFor(16));
  EXPECT_FALSE(buffer_.HasPlaceFor(17));
}

TEST_F(DataOutBufferTest, EveryCutOfTheDataAndOfTheWishMakesNoDifference) {
  for (size_t early = 0; early <= 16; ++early) {
    for (size_t first = 1; first < 24; ++first) {
      buffer_.Reset(store_.data(), store_.size());
      if (early > 0) buffer_.Copy(Source(0, early));
      uint64_t offset = 0;
      for (const size_t bytes : {first, 24 - first}) {
        Want(offset, {bytes});
        if (!buffer_.complete()) {
          buffer_.GoTo(buffer_.filled_to());
          const size_t missing = buffer_.wanted_end() - buffer_.filled_to();
          buffer_.Copy(Source(buffer_.filled_to(), missing));
        }
        ExpectBurst(offset);
        buffer_.Done();
        offset += bytes;
      }
    }
  }
}

}  // namespace
}  // namespace pollux::iscsi
