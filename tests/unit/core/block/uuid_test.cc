#include "core/block/uuid.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "core/block/io_status.h"

namespace pollux {
namespace {

TEST(UuidTest, ReadsWhatItWrites) {
  for (int i = 0; i < 100; ++i) {
    const Uuid uuid = Uuid::Random();
    EXPECT_EQ(*Uuid::Parse(uuid.ToString()), uuid);
  }
}

TEST(UuidTest, TakesUpperCaseAndWritesLower) {
  EXPECT_EQ(Uuid::Parse("2B1A5F2E-8F43-4C5B-9D5E-0123456789AB")->ToString(),
            "2b1a5f2e-8f43-4c5b-9d5e-0123456789ab");
}

TEST(UuidTest, ARandomOneSaysThatItIs) {
  const Uuid a = Uuid::Random(), b = Uuid::Random();
  EXPECT_FALSE(a == b);
  EXPECT_EQ(a.bytes[6] >> 4, 4);
  EXPECT_EQ(a.bytes[8] >> 6, 2);
}

TEST(UuidTest, RefusesWhatIsNone) {
  const std::string good = "2b1a5f2e-8f43-4c5b-9d5e-0123456789ab";
  EXPECT_FALSE(Uuid::Parse("").ok());
  EXPECT_FALSE(Uuid::Parse(good + "0").ok());
  EXPECT_FALSE(Uuid::Parse(std::string(100000, 'a')).ok());
  for (size_t i = 0; i < good.size(); ++i) {
    std::string damaged = good;
    damaged[i] = 'g';
    EXPECT_FALSE(Uuid::Parse(damaged).ok()) << damaged;
    damaged[i] = '-';
    EXPECT_EQ(Uuid::Parse(damaged).ok(), good[i] == '-') << damaged;
    EXPECT_FALSE(Uuid::Parse(good.substr(0, i)).ok());
  }
}

TEST(UuidTest, NamesTheFieldAtFault) {
  EXPECT_TRUE(Uuid::ParseOrRandom("uuid", "").ok());
  const ErrorDetail detail = DetailOf(Uuid::ParseOrRandom("uuid", "what").status());
  EXPECT_EQ(detail.error_number, EINVAL);
  EXPECT_EQ(detail.field, "uuid");
  EXPECT_EQ(detail.value, "what");
}

TEST(IoStatusTest, EveryStatusHasAName) {
  for (int i = 0; i < kIoStatusCount; ++i) {
    EXPECT_STRNE(IoStatusName(static_cast<IoStatus>(i)), "unknown") << i;
  }
  EXPECT_STREQ(IoStatusName(static_cast<IoStatus>(kIoStatusCount)), "unknown");
}

TEST(IoStatusTest, KernelErrorsKeepTheirMeaning) {
  EXPECT_EQ(IoStatusOfErrno(EIO), IoStatus::kMediumError);
  EXPECT_EQ(IoStatusOfErrno(ENOSPC), IoStatus::kNoSpace);
  EXPECT_EQ(IoStatusOfErrno(EDQUOT), IoStatus::kNoSpace);
  EXPECT_EQ(IoStatusOfErrno(EROFS), IoStatus::kWriteProtected);
  EXPECT_EQ(IoStatusOfErrno(ECANCELED), IoStatus::kAborted);
  EXPECT_EQ(IoStatusOfErrno(EBADF), IoStatus::kInternalError);
}

}  // namespace
}  // namespace pollux
