#include "core/status.h"

#include <gtest/gtest.h>

namespace pollux {
namespace {

Result<int> Half(int value) {
  if (value % 2 != 0) return InvalidField("value", value, "must be even, not %s", "odd");
  return value / 2;
}

Result<int> Quarter(int value) {
  ASSIGN_OR_RETURN(const int half, Half(value));
  ASSIGN_OR_RETURN(const int quarter, Half(half));
  return quarter;
}

TEST(StatusTest, AnErrorOfAFieldSaysAllOfIt) {
  const Status status = InvalidField("portals[0].port", 70'000, "must be below %d", 65'536);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "portals[0].port '70000': must be below 65536");
  const ErrorDetail detail = DetailOf(status);
  EXPECT_EQ(detail.error_number, EINVAL);
  EXPECT_EQ(detail.field, "portals[0].port");
  EXPECT_EQ(detail.value, "70000");
  EXPECT_EQ(detail.reason, "must be below 65536");
}

TEST(StatusTest, AnErrorWithoutAFieldHasAReason) {
  const Status status = NotFound("no block device named '%s'", "Malloc0");
  EXPECT_EQ(status.message(), "no block device named 'Malloc0'");
  EXPECT_EQ(ErrnoOf(status), ENOENT);
  EXPECT_EQ(DetailOf(status).field, "");
  EXPECT_EQ(DetailOf(status).reason, status.message());
}

TEST(StatusTest, EachFactoryKeepsItsErrno) {
  EXPECT_EQ(ErrnoOf(InvalidArgument("x")), EINVAL);
  EXPECT_EQ(ErrnoOf(NotFound("x")), ENOENT);
  EXPECT_EQ(ErrnoOf(NoDevice("x")), ENODEV);
  EXPECT_EQ(ErrnoOf(AlreadyExists("x")), EEXIST);
  EXPECT_EQ(ErrnoOf(Busy("x")), EBUSY);
  EXPECT_EQ(ErrnoOf(PermissionDenied("x")), EPERM);
  EXPECT_EQ(ErrnoOf(NotSupported("x")), ENOTSUP);
  EXPECT_EQ(ErrnoOf(OutOfMemory("x")), ENOMEM);
  EXPECT_EQ(ErrnoOf(NoSpace("x")), ENOSPC);
  EXPECT_EQ(ErrnoOf(OutOfRange("x")), ERANGE);
  EXPECT_EQ(ErrnoOf(Unavailable("x")), EAGAIN);
  EXPECT_EQ(ErrnoOf(TimedOut("x")), ETIMEDOUT);
  EXPECT_EQ(ErrnoOf(Cancelled("x")), ECANCELED);
  EXPECT_EQ(ErrnoOf(DataLoss("x")), EBADMSG);
  EXPECT_EQ(ErrnoOf(InternalError("x")), EIO);
}

TEST(StatusTest, AnErrorOfALibraryHasAnErrnoToo) {
  const Status status = absl::NotFoundError("from elsewhere");
  EXPECT_EQ(ErrnoOf(status), ENOENT);
  EXPECT_EQ(DetailOf(status).reason, "from elsewhere");
  EXPECT_EQ(ErrnoOf(absl::UnknownError("?")), EIO);
  EXPECT_EQ(ErrnoOf(absl::AbortedError("?")), EAGAIN);
}

TEST(StatusTest, AnErrnoOutlivesACodeThatSeveralShare) {
  for (const int number : {EADDRINUSE, EADDRNOTAVAIL, EACCES, EMFILE, ECONNRESET, ESHUTDOWN}) {
    EXPECT_EQ(ErrnoOf(ErrorOfErrno(number, "why")), number);
  }
}

TEST(StatusTest, WithinMovesTheFieldBelowAPrefix) {
  const Status inner = InvalidField("bdev_name", "Nvme9", "no such device");
  const Status outer = Within("luns[2]", inner);
  EXPECT_EQ(DetailOf(outer).field, "luns[2].bdev_name");
  EXPECT_EQ(DetailOf(outer).value, "Nvme9");
  EXPECT_EQ(outer.message(), "luns[2].bdev_name 'Nvme9': no such device");
  EXPECT_EQ(ErrnoOf(outer), EINVAL);
  EXPECT_EQ(DetailOf(Within("a", outer)).field, "a.luns[2].bdev_name");
}

TEST(StatusTest, WithinLeavesAloneWhatHasNoField) {
  EXPECT_TRUE(Within("luns[2]", OkStatus()).ok());
  const Status status = Busy("it is in use");
  EXPECT_EQ(Within("luns[2]", status), status);
}

TEST(StatusTest, TextFromAPeerCannotForgeADetail) {
  const std::string value("a\0b\0c", 5);
  const Status status = InvalidField(std::string("fi\0eld", 6), value, "re%cason", '\0');
  const ErrorDetail detail = DetailOf(status);
  EXPECT_EQ(detail.error_number, EINVAL);
  EXPECT_EQ(detail.field, "fi?eld");
  EXPECT_EQ(detail.value, "a?b?c");
  EXPECT_EQ(detail.reason, std::string("re\0ason", 7));
}

TEST(StatusTest, AHugeValueIsShownInPart) {
  const Status status = InvalidField("name", std::string(100'000, 'x'), "too long");
  EXPECT_LT(status.message().size(), 400u);
}

TEST(StatusTest, TheMacrosPassErrorsOn) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(DetailOf(Quarter(7).status()).value, "7");
  EXPECT_EQ(DetailOf(Quarter(6).status()).value, "3");
}

}  // namespace
}  // namespace pollux
