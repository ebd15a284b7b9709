#pragma once
#include <google/protobuf/message.h>

#include <string>
#include <string_view>

#include "core/status.h"
#include "rpc/dispatcher.h"

// JSON to messages and back, by reflection over the descriptors and the options of options.proto.
// The JSON library shows in no header.

namespace pollux::rpc {

// Decodes a JSON object into `request`. Strict: unknown, duplicate and wrongly typed members fail
// with the path of the field, its value and the reason (unknown ones are skipped when `relaxed`).
// Whole numbers may be written with exponent or fraction. 64-bit integers are numbers. An empty
// text, or "null", is no parameters at all.
Status DecodeParams(std::string_view json, bool relaxed, google::protobuf::Message& request);

// The result of a method as JSON text, compact: the bare field, or the whole message. Fields
// without presence are always written, absent `optional` ones never.
std::string EncodeResult(const Method& method, const google::protobuf::Message& response);

// Any message as a JSON object, compact: what the store keeps of a request. Absent optional fields
// are left out; so are secrets, replaced by nothing.
std::string EncodeMessage(const google::protobuf::Message& message);

// `text` as a JSON string, with quotes.
std::string QuoteJson(std::string_view text);

}  // namespace pollux::rpc
