#include "rpc/error_map.h"

#include "rpc/json_writer.h"

namespace pollux::rpc {

int JsonRpcCode(const Method& method, CallPhase phase, const Status& error) {
  if (IsWrongState(error)) return kWrongState;
  if (IsAccessDenied(error)) return kAccessDenied;
  if (phase == CallPhase::kParams) {
    const int declared = method.options.decode_error();
    return declared != 0 ? declared : kInvalidParams;
  }
  const int of_field = method.options.field_error();
  if (of_field != 0 && !DetailOf(error).field.empty()) return of_field;
  const int declared = method.options.failure();
  return declared != 0 ? declared : -ErrnoOf(error);
}

void AppendJsonRpcError(std::string& out, int code, const Status& error) {
  const absl::string_view message = error.message();
  out += "{\"code\":";
  AppendJsonInteger(out, int64_t{code});
  out += ",\"message\":";
  AppendJsonString(out, {message.data(), message.size()});

  const ErrorDetail detail = DetailOf(error);
  if (!detail.field.empty() || code != -detail.error_number) {
    out += ",\"data\":{";
    if (!detail.field.empty()) {
      out += "\"field\":";
      AppendJsonString(out, detail.field);
      out += ",\"value\":";
      AppendJsonString(out, detail.value);
      out.push_back(',');
    }
    out += "\"reason\":";
    AppendJsonString(out, detail.reason);
    out += ",\"errno\":";
    AppendJsonInteger(out, int64_t{detail.error_number});
    out.push_back('}');
  }
  out.push_back('}');
}

}  // namespace pollux::rpc
