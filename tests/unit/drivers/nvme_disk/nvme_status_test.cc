#include "drivers/nvme_disk/nvme_status.h"

#include <gtest/gtest.h>

#include "drivers/nvme_disk/nvme_error_names.h"

namespace pollux {
namespace {

struct Case {
  uint16_t status;
  IoStatus expected;
};

TEST(NvmeStatus, EachCodeHasOneMeaning) {
  const Case cases[] = {
      {0x000, IoStatus::kSuccess},        {0x001, IoStatus::kNotSupported},
      {0x002, IoStatus::kInvalidRequest}, {0x006, IoStatus::kInternalError},
      {0x007, IoStatus::kAborted},        {0x008, IoStatus::kAborted},
      {0x00b, IoStatus::kGone},           {0x020, IoStatus::kWriteProtected},
      {0x080, IoStatus::kOutOfRange},     {0x081, IoStatus::kNoSpace},
      {0x082, IoStatus::kNoResources},    {0x083, IoStatus::kWriteProtected},
      {0x182, IoStatus::kWriteProtected}, {0x1b9, IoStatus::kNoSpace},
      {0x280, IoStatus::kMediumError},    {0x281, IoStatus::kMediumError},
      {0x284, IoStatus::kMediumError},    {0x285, IoStatus::kMiscompare},
      {0x286, IoStatus::kWriteProtected}, {0x300, IoStatus::kInternalError},
      {0x370, IoStatus::kGone},           {0x371, IoStatus::kAborted},
  };
  for (const Case& c : cases)
    EXPECT_EQ(IoStatusOfNvme(c.status), c.expected) << std::hex << c.status;
}

TEST(NvmeStatus, EveryCodeThereIsEndsAsAnError) {
  for (uint16_t status = 1; status < 0x800; ++status) {
    EXPECT_NE(IoStatusOfNvme(status), IoStatus::kSuccess) << std::hex << status;
  }
}

TEST(NvmeStatus, OtherBitsOfTheFieldDoNotMatter) {
  EXPECT_EQ(IoStatusOfNvme(0x7800), IoStatus::kSuccess);
  EXPECT_EQ(IoStatusOfNvme(0x7800 | 0x285), IoStatus::kMiscompare);
}

TEST(NvmeStatus, ARetryIsWorthItUnlessTheControllerSaysNo) {
  EXPECT_TRUE(MayRetryNvme({0, 0, 0x281}));
  EXPECT_TRUE(MayRetryNvme({0, 0, POLLUX_NVME_ABORTED_BY_HOST}));
  EXPECT_FALSE(MayRetryNvme({0, 0, 0x4000 | 0x281}));
  EXPECT_FALSE(MayRetryNvme({0, 0, 0x007}));
  EXPECT_FALSE(MayRetryNvme({0, 0, 0x285}));
  EXPECT_FALSE(MayRetryNvme({0, 0, POLLUX_NVME_HOST_PATHING_ERROR}));
}

TEST(NvmeStatus, WhatNobodySawTheEndOfMayHaveBeenExecuted) {
  EXPECT_TRUE(MayHaveBeenExecuted(POLLUX_NVME_ABORTED_BY_HOST));
  EXPECT_FALSE(MayHaveBeenExecuted(0x082));
}

TEST(NvmeStatus, RefusedSubmissionsHaveAMeaningToo) {
  EXPECT_EQ(IoStatusOfSubmission(-ENXIO), IoStatus::kGone);
  EXPECT_EQ(IoStatusOfSubmission(-EAGAIN), IoStatus::kNoResources);
  EXPECT_EQ(IoStatusOfSubmission(-EINVAL), IoStatus::kInvalidRequest);
  EXPECT_EQ(IoStatusOfSubmission(-ENOTSUP), IoStatus::kNotSupported);
  EXPECT_EQ(IoStatusOfSubmission(-EFAULT), IoStatus::kInternalError);
}

TEST(NvmeErrorNames, AreThoseOfSpdk) {
  EXPECT_EQ(NvmeStatusTypeKey(2), "media_error");
  EXPECT_EQ(NvmeStatusKey(2, 0x81), "unrecovered_read_error");
  EXPECT_EQ(NvmeStatusKey(0, 0x07), "aborted_by_request");
  EXPECT_EQ(NvmeStatusKey(2, 0xff), "media_error");
  EXPECT_EQ(NvmeStatusKey(3, 0xff), "path_error");
}

}  // namespace
}  // namespace pollux
