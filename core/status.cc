#include "core/status.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/cord.h"
#include "absl/strings/str_split.h"
#include "core/check.h"

namespace pollux {
namespace {

// The payload is four strings with a NUL after each of the first three: errno, field, value,
// reason.
constexpr char kPayload[] = "pollux.v1.ErrorDetail";

absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }

absl::StatusCode CodeOfErrno(int error_number) {
  using enum absl::StatusCode;
  switch (error_number) {
    case EINVAL:
    case EDOM:
      return kInvalidArgument;
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return kNotFound;
    case EEXIST:
    case EALREADY:
      return kAlreadyExists;
    case EPERM:
    case EACCES:
      return kPermissionDenied;
    case ENOTSUP:
    case ENOSYS:
      return kUnimplemented;
    case ENOMEM:
    case ENOSPC:
    case EMFILE:
    case ENFILE:
      return kResourceExhausted;
    case ERANGE:
      return kOutOfRange;
    case EAGAIN:
    case EADDRNOTAVAIL:
    case ECONNREFUSED:
    case EHOSTUNREACH:
      return kUnavailable;
    case EBUSY:
    case EADDRINUSE:
      return kFailedPrecondition;
    case ETIMEDOUT:
      return kDeadlineExceeded;
    case ECANCELED:
      return kCancelled;
    case EBADMSG:
      return kDataLoss;
    default:
      return kInternal;
  }
}

int ErrnoOfCode(absl::StatusCode code) {
  using enum absl::StatusCode;
  switch (code) {
    case kInvalidArgument:
      return EINVAL;
    case kNotFound:
      return ENOENT;
    case kAlreadyExists:
      return EEXIST;
    case kPermissionDenied:
    case kUnauthenticated:
      return EPERM;
    case kUnimplemented:
      return ENOTSUP;
    case kResourceExhausted:
      return ENOMEM;
    case kOutOfRange:
      return ERANGE;
    case kUnavailable:
    case kAborted:
      return EAGAIN;
    case kFailedPrecondition:
      return EBUSY;
    case kDeadlineExceeded:
      return ETIMEDOUT;
    case kCancelled:
      return ECANCELED;
    case kDataLoss:
      return EBADMSG;
    default:
      return EIO;
  }
}

std::string WithoutSeparator(std::string_view text) {
  std::string result(text);
  std::replace(result.begin(), result.end(), '\0', '?');
  return result;
}

Status Make(absl::StatusCode code, std::string_view message, const ErrorDetail& detail) {
  Status status(code, ToAbsl(message));
  std::string text = std::to_string(detail.error_number);
  for (const std::string* part : {&detail.field, &detail.value, &detail.reason}) {
    text.push_back('\0');
    text += *part;
  }
  status.SetPayload(kPayload, absl::Cord(text));
  return status;
}

}  // namespace

Status ErrorOfErrno(int error_number, std::string_view reason) {
  CHECK(error_number > 0);
  return Make(
      CodeOfErrno(error_number), reason,
      {.error_number = error_number, .field = {}, .value = {}, .reason = std::string(reason)});
}

Status ErrorOfField(int error_number, std::string_view field, std::string_view value,
                    std::string_view reason) {
  CHECK(error_number > 0);
  // Both may come from a peer: a value stays short.
  const std::string name = WithoutSeparator(field);
  const std::string shown = WithoutSeparator(value.substr(0, 256));
  const std::string message = absl::StrFormat("%s '%s': %s", name, shown, reason);
  return Make(
      CodeOfErrno(error_number), message,
      {.error_number = error_number, .field = name, .value = shown, .reason = std::string(reason)});
}

Status Within(std::string_view prefix, const Status& status) {
  if (status.ok()) return status;
  const ErrorDetail detail = DetailOf(status);
  if (detail.field.empty()) return status;
  const std::string field = absl::StrFormat("%s.%s", prefix, detail.field);
  return ErrorOfField(detail.error_number, field, detail.value, detail.reason);
}

ErrorDetail DetailOf(const Status& status) {
  const auto payload = status.GetPayload(kPayload);
  if (!payload.has_value()) {
    return {.error_number = ErrnoOfCode(status.code()),
            .field = {},
            .value = {},
            .reason = std::string(status.message())};
  }
  const std::string text(*payload);
  const std::vector<std::string> parts = absl::StrSplit(text, absl::MaxSplits('\0', 3));
  CHECK(parts.size() == 4);
  return {.error_number = std::atoi(parts[0].c_str()),
          .field = parts[1],
          .value = parts[2],
          .reason = parts[3]};
}

int ErrnoOf(const Status& status) { return DetailOf(status).error_number; }

}  // namespace pollux
