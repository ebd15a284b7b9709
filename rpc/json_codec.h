#pragma once
#include <google/protobuf/message.h>

#include <string>
#include <string_view>

#include "core/status.h"
#include "rpc/dispatcher.h"

// JSON to messages and back, by reflection over the descriptors and the options of options.proto.
//
//   bool, string, numbers  as JSON's; 64-bit integers are numbers, too
//   enum                   a string, the value's (json_value); the zero value without one is absent
//   bytes                  upper-case hexadecimal
//   map<string, T>         an object
//   (raw_json) string      the JSON value that it holds
//   (secret)               read, and written where that is asked for

namespace pollux::rpc {

// Decodes a JSON object into `request`. Strict: unknown, duplicate and wrongly typed members fail
// with the path of the field, its value and the reason (unknown ones are skipped when `relaxed`).
// Whole numbers may be written with exponent or fraction. An empty text, or "null", is no
// parameters at all. Absent (required) fields that have no presence in the message (repeated ones)
// fail here; the others in Dispatcher::Complete.
Status DecodeParams(std::string_view json, bool relaxed, google::protobuf::Message& request);
// The same, of a text that CheckJson or a JsonScanner has found good.
Status DecodeCheckedParams(std::string_view json, bool relaxed, google::protobuf::Message& request);
// Decodes one JSON value into one field: what (default) says. A repeated field gets one more
// element for each of the array.
Status DecodeField(std::string_view json, const google::protobuf::FieldDescriptor& field,
                   google::protobuf::Message& message);

// The result of a method as JSON text, compact: the bare field, or the whole message. Fields
// without presence are always written, absent `optional` ones never.
std::string EncodeResult(const Method& method, const google::protobuf::Message& response);
// The same, appended.
void AppendResult(std::string& out, const Method& method,
                  const google::protobuf::Message& response);

// Whether (secret) fields are written. Only what the store keeps has them.
enum class Secrets { kLeftOut, kWritten };

// Any message as a JSON object, compact: what the store keeps of a request. Absent optional fields
// are left out.
std::string EncodeMessage(const google::protobuf::Message& message,
                          Secrets secrets = Secrets::kLeftOut);

// `text` as a JSON string, with quotes.
std::string QuoteJson(std::string_view text);

// The key that stands for `field` in JSON.
const std::string& JsonKey(const google::protobuf::FieldDescriptor& field);
// How JSON writes an enum's value; empty when that is "absent".
const std::string& JsonValueOf(const google::protobuf::EnumValueDescriptor& value);

}  // namespace pollux::rpc
