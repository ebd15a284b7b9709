#pragma once
#include <cerrno>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"

// Errors of the control plane. A Status has a code (gRPC's), a message that a person can act upon,
// and an ErrorDetail that a program can. The data plane returns a small value instead (IoStatus):
// no strings, no allocation.

namespace pollux {

using Status = absl::Status;
template <typename T>
using Result = absl::StatusOr<T>;

inline Status OkStatus() { return absl::OkStatus(); }

// What a program needs to know of an error.
struct ErrorDetail {
  int error_number = 0;  // A positive errno. Never 0 in a detail of an error.
  std::string field;     // The parameter at fault, as a path: "portals[0].port". May be empty.
  std::string value;     // Its value, as text. Never a secret. May be empty.
  std::string reason;    // Why, without field and value.
};

// An error of the given errno. The code follows from it; see CodeOfErrno in status.cc.
Status ErrorOfErrno(int error_number, std::string_view reason);
// The same, laid to a parameter; its message is "<field> '<value>': <reason>".
Status ErrorOfField(int error_number, std::string_view field, std::string_view value,
                    std::string_view reason);
// The same error with its field, if it has one, moved below `prefix`: "luns[2]" + "bdev_name".
Status Within(std::string_view prefix, const Status& status);

// The detail of any error, also of one that a library made without it.
ErrorDetail DetailOf(const Status& status);
// The positive errno of an error.
int ErrnoOf(const Status& status);

#define POLLUX_ERROR_FACTORY(name, error_number)                              \
  template <typename... Args>                                                 \
  Status name(const absl::FormatSpec<Args...>& format, const Args&... args) { \
    return ErrorOfErrno(error_number, absl::StrFormat(format, args...));      \
  }
POLLUX_ERROR_FACTORY(InvalidArgument, EINVAL)
POLLUX_ERROR_FACTORY(NotFound, ENOENT)
POLLUX_ERROR_FACTORY(NoDevice, ENODEV)
POLLUX_ERROR_FACTORY(AlreadyExists, EEXIST)
POLLUX_ERROR_FACTORY(Busy, EBUSY)
POLLUX_ERROR_FACTORY(PermissionDenied, EPERM)
POLLUX_ERROR_FACTORY(NotSupported, ENOTSUP)
POLLUX_ERROR_FACTORY(OutOfMemory, ENOMEM)
POLLUX_ERROR_FACTORY(NoSpace, ENOSPC)
POLLUX_ERROR_FACTORY(OutOfRange, ERANGE)
POLLUX_ERROR_FACTORY(Unavailable, EAGAIN)
POLLUX_ERROR_FACTORY(TimedOut, ETIMEDOUT)
POLLUX_ERROR_FACTORY(Cancelled, ECANCELED)
POLLUX_ERROR_FACTORY(DataLoss, EBADMSG)
POLLUX_ERROR_FACTORY(InternalError, EIO)
#undef POLLUX_ERROR_FACTORY

// A parameter that is not acceptable: InvalidField("block_size", 7, "must be a power of two").
template <typename Value, typename... Args>
Status InvalidField(std::string_view field, const Value& value,
                    const absl::FormatSpec<Args...>& format, const Args&... args) {
  if constexpr (std::is_arithmetic_v<Value>) {
    return ErrorOfField(EINVAL, field, std::to_string(value), absl::StrFormat(format, args...));
  } else {
    return ErrorOfField(EINVAL, field, value, absl::StrFormat(format, args...));
  }
}

}  // namespace pollux

#define POLLUX_CAT2(a, b) a##b
#define POLLUX_CAT(a, b) POLLUX_CAT2(a, b)
#define POLLUX_ASSIGN(ret, tmp, decl, ...)    \
  auto tmp = (__VA_ARGS__);                   \
  if (!tmp.ok()) ret std::move(tmp).status(); \
  decl = *std::move(tmp)

// ASSIGN_OR_RETURN(BlockDevice* device, devices.Find(name));   and the CO_ forms in coroutines.
#define ASSIGN_OR_RETURN(decl, ...) \
  POLLUX_ASSIGN(return, POLLUX_CAT(result_, __LINE__), decl, __VA_ARGS__)
#define ASSIGN_OR_CO_RETURN(decl, ...) \
  POLLUX_ASSIGN(co_return, POLLUX_CAT(result_, __LINE__), decl, __VA_ARGS__)
#define RETURN_IF_ERROR(...) \
  if (::pollux::Status s_ = (__VA_ARGS__); !s_.ok()) return s_
#define CO_RETURN_IF_ERROR(...) \
  if (::pollux::Status s_ = (__VA_ARGS__); !s_.ok()) co_return s_
