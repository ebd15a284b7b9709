#include "rpc/grpc/status.h"

#include <algorithm>
#include <string_view>

#include "pollux/v1/error.pb.h"

namespace pollux::rpc {
namespace {

// How many bytes the UTF-8 character at the beginning of `text` has; 0 when there is none.
// RFC 3629 §4, without its finer points on the second byte.
size_t CharacterBytes(std::string_view text) {
  const auto first = static_cast<uint8_t>(text[0]);
  const size_t length = first < 0x80   ? 1
                        : first < 0xc2 ? 0
                        : first < 0xe0 ? 2
                        : first < 0xf0 ? 3
                        : first < 0xf5 ? 4
                                       : 0;
  if (length == 0 || text.size() < length) return 0;
  const auto second = length > 1 ? static_cast<uint8_t>(text[1]) : uint8_t{0};
  // What would be longer than need be, a surrogate, or beyond the last character.
  if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
      (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) {
    return 0;
  }
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<uint8_t>(text[i]) & 0xc0) != 0x80) return 0;
  }
  return length;
}

// A client refuses a message whose strings are not UTF-8, and paths and names of files need not be.
std::string Shown(std::string_view text) {
  std::string shown;
  while (!text.empty()) {
    const size_t bytes = CharacterBytes(text);
    if (shown.size() + std::max<size_t>(bytes, 1) > kGrpcTextBytesMax) break;
    bytes == 0 ? shown.append("?") : shown.append(text.substr(0, bytes));
    text.remove_prefix(std::max<size_t>(bytes, 1));
  }
  return shown;
}

}  // namespace

GrpcStatus ToGrpcStatus(const Status& error, int json_rpc_code) {
  const ErrorDetail known = DetailOf(error);
  v1::ErrorDetail detail;
  detail.set_error_number(known.error_number);
  detail.set_json_rpc_code(json_rpc_code);
  detail.set_field(Shown(known.field));
  detail.set_value(Shown(known.value));
  detail.set_reason(Shown(known.reason));

  const GrpcCode code =
      IsWrongState(error) ? GrpcCode::kFailedPrecondition : static_cast<GrpcCode>(error.code());
  const absl::string_view message = error.message();
  v1::ErrorStatus status;
  status.set_code(static_cast<int>(code));
  status.set_message(Shown({message.data(), message.size()}));
  status.add_details()->PackFrom(detail);
  return {.code = code, .message = status.message(), .details = status.SerializeAsString()};
}

}  // namespace pollux::rpc
