#include "rpc/json_rpc_request.h"

#include <array>

#include "rpc/json_reader.h"

namespace pollux::rpc {
namespace {

constexpr size_t kNameShownMax = 64;  // Of a caller's names, in errors.

class RequestParser {
 public:
  explicit RequestParser(std::string_view text) : reader_(text) {}

  JsonRpcRequest Parse() {
    request_.status = Object();
    return std::move(request_);
  }

 private:
  enum Key : size_t { kVersion, kId, kMethod, kParams, kKeys };
  static constexpr std::array<std::string_view, kKeys> kNames = {"jsonrpc", "id", "method",
                                                                 "params"};

  Status Object() {
    if (const JsonKind kind = reader_.Peek(); kind != JsonKind::kObject) {
      return InvalidField("request", reader_.TakeText(), "must be an object, not %s",
                          JsonKindName(kind));
    }
    reader_.EnterObject();
    for (std::string name; reader_.NextMember(name);) RETURN_IF_ERROR(Member(name));
    if (!seen_[kMethod]) return InvalidField("method", "", "is required");
    return OkStatus();
  }

  Status Member(const std::string& name) {
    size_t key = 0;
    while (key < kKeys && kNames[key] != name) ++key;
    if (key == kKeys) {
      return InvalidField(name.substr(0, kNameShownMax), reader_.TakeText(),
                          "is unknown; known are jsonrpc, id, method, params");
    }
    if (seen_[key]) {
      if (key == kId) request_.id = {};  // Neither is the right one.
      return InvalidField(name, reader_.TakeText(), "is given twice");
    }
    seen_[key] = true;
    const JsonKind kind = reader_.Peek();
    switch (static_cast<Key>(key)) {
      case kVersion:
        return Version(kind);
      case kId:
        if (kind != JsonKind::kString && kind != JsonKind::kNumber && kind != JsonKind::kNull) {
          return InvalidField(name, reader_.TakeText(),
                              "must be a string, a number or null, not %s", JsonKindName(kind));
        }
        request_.id = reader_.TakeText();
        if (kind == JsonKind::kNull) request_.id = {};
        return OkStatus();
      case kMethod:
        if (kind != JsonKind::kString) {
          return InvalidField(name, reader_.TakeText(), "must be a string, not %s",
                              JsonKindName(kind));
        }
        request_.method = reader_.TakeString();
        return OkStatus();
      case kParams:
        if (kind != JsonKind::kObject && kind != JsonKind::kArray && kind != JsonKind::kNull) {
          return InvalidField(name, reader_.TakeText(), "must be an object, not %s",
                              JsonKindName(kind));
        }
        request_.params = reader_.TakeText();
        if (kind == JsonKind::kNull) request_.params = {};
        return OkStatus();
      case kKeys:
        break;
    }
    return OkStatus();
  }

  Status Version(JsonKind kind) {
    const std::string_view text = reader_.TakeText();
    if (kind == JsonKind::kString && UnquoteJson(text) == "2.0") return OkStatus();
    return InvalidField("jsonrpc", text, "must be \"2.0\"");
  }

  JsonReader reader_;
  JsonRpcRequest request_;
  std::array<bool, kKeys> seen_{};
};

}  // namespace

JsonRpcRequest ParseJsonRpcRequest(std::string_view text) { return RequestParser(text).Parse(); }

}  // namespace pollux::rpc
