#include <algorithm>
#include <vector>

#include "pollux/v1/options.pb.h"
#include "rpc/json_codec.h"
#include "rpc/json_writer.h"

// Messages to JSON. See json_codec.h.

namespace pollux::rpc {

using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Reflection;

namespace {

constexpr int kSingular = -1;

void AppendMessage(std::string& out, const Message& message, Secrets secrets);

void AppendHex(std::string& out, std::string_view bytes) {
  constexpr char kHex[] = "0123456789ABCDEF";
  out.push_back('"');
  for (const char c : bytes) {
    out += kHex[static_cast<uint8_t>(c) >> 4];
    out += kHex[static_cast<uint8_t>(c) & 15];
  }
  out.push_back('"');
}

void AppendText(std::string& out, const FieldDescriptor& field, const std::string& text) {
  if (field.type() == FieldDescriptor::TYPE_BYTES) return AppendHex(out, text);
  if (!field.options().GetExtension(v1::raw_json)) return AppendJsonString(out, text);
  out += text.empty() ? "null" : text;
}

// Numbers that this build does not know are written as numbers.
void AppendEnum(std::string& out, const FieldDescriptor& field, int number) {
  const EnumValueDescriptor* value = field.enum_type()->FindValueByNumber(number);
  if (value == nullptr) return AppendJsonInteger(out, int64_t{number});
  AppendJsonString(out, JsonValueOf(*value));
}

// One value: the field's, or its `index`th.
void AppendValue(std::string& out, const Message& message, const FieldDescriptor& field, int index,
                 Secrets secrets) {
  const Reflection& r = *message.GetReflection();
  const bool one = index == kSingular;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL: {
      const bool value =
          one ? r.GetBool(message, &field) : r.GetRepeatedBool(message, &field, index);
      out += value ? "true" : "false";
      return;
    }
    case FieldDescriptor::CPPTYPE_INT32:
      return AppendJsonInteger(out, int64_t{one ? r.GetInt32(message, &field)
                                                : r.GetRepeatedInt32(message, &field, index)});
    case FieldDescriptor::CPPTYPE_INT64:
      return AppendJsonInteger(out, int64_t{one ? r.GetInt64(message, &field)
                                                : r.GetRepeatedInt64(message, &field, index)});
    case FieldDescriptor::CPPTYPE_UINT32:
      return AppendJsonInteger(out, uint64_t{one ? r.GetUInt32(message, &field)
                                                 : r.GetRepeatedUInt32(message, &field, index)});
    case FieldDescriptor::CPPTYPE_UINT64:
      return AppendJsonInteger(out, uint64_t{one ? r.GetUInt64(message, &field)
                                                 : r.GetRepeatedUInt64(message, &field, index)});
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return AppendJsonDouble(
          out, one ? r.GetDouble(message, &field) : r.GetRepeatedDouble(message, &field, index));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return AppendJsonFloat(
          out, one ? r.GetFloat(message, &field) : r.GetRepeatedFloat(message, &field, index));
    case FieldDescriptor::CPPTYPE_ENUM:
      return AppendEnum(
          out, field,
          one ? r.GetEnumValue(message, &field) : r.GetRepeatedEnumValue(message, &field, index));
    case FieldDescriptor::CPPTYPE_STRING: {
      std::string scratch;
      return AppendText(out, field,
                        one ? r.GetStringReference(message, &field, &scratch)
                            : r.GetRepeatedStringReference(message, &field, index, &scratch));
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return AppendMessage(
          out, one ? r.GetMessage(message, &field) : r.GetRepeatedMessage(message, &field, index),
          secrets);
  }
}

// In the order of the keys, so that equal maps are equal text.
void AppendMap(std::string& out, const Message& message, const FieldDescriptor& field,
               Secrets secrets) {
  const Reflection& r = *message.GetReflection();
  const FieldDescriptor* key = field.message_type()->map_key();
  const FieldDescriptor* value = field.message_type()->map_value();
  CHECK(key->type() == FieldDescriptor::TYPE_STRING, "JSON has maps with string keys only");
  std::vector<std::pair<std::string, const Message*>> entries;
  for (int i = 0; i < r.FieldSize(message, &field); ++i) {
    const Message& entry = r.GetRepeatedMessage(message, &field, i);
    entries.emplace_back(entry.GetReflection()->GetString(entry, key), &entry);
  }
  std::sort(entries.begin(), entries.end());
  out.push_back('{');
  for (const auto& [name, entry] : entries) {
    if (out.back() != '{') out.push_back(',');
    AppendJsonString(out, name);
    out.push_back(':');
    AppendValue(out, *entry, *value, kSingular, secrets);
  }
  out.push_back('}');
}

void AppendField(std::string& out, const Message& message, const FieldDescriptor& field,
                 Secrets secrets) {
  if (field.is_map()) return AppendMap(out, message, field, secrets);
  if (!field.is_repeated()) return AppendValue(out, message, field, kSingular, secrets);
  const int size = message.GetReflection()->FieldSize(message, &field);
  out.push_back('[');
  for (int i = 0; i < size; ++i) {
    if (i > 0) out.push_back(',');
    AppendValue(out, message, field, i, secrets);
  }
  out.push_back(']');
}

// There is nothing to write: an absent field, a secret, an enum's zero that stands for "absent", no
// text where JSON should be, a list that is to be left out while it is empty.
bool IsAbsent(const Message& message, const FieldDescriptor& field, Secrets secrets) {
  if (secrets == Secrets::kLeftOut && field.options().GetExtension(v1::secret)) return true;
  const Reflection& r = *message.GetReflection();
  if (field.is_repeated()) {
    return field.options().GetExtension(v1::omit_empty) && r.FieldSize(message, &field) == 0;
  }
  if (field.has_presence() && !r.HasField(message, &field)) return true;
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
    const EnumValueDescriptor* zero = field.enum_type()->FindValueByNumber(0);
    return r.GetEnumValue(message, &field) == 0 && JsonValueOf(*zero).empty();
  }
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING && !field.has_presence() &&
      field.options().GetExtension(v1::raw_json)) {
    std::string scratch;
    return r.GetStringReference(message, &field, &scratch).empty();
  }
  return false;
}

void AppendMessage(std::string& out, const Message& message, Secrets secrets) {
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  out.push_back('{');
  bool first = true;
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (IsAbsent(message, field, secrets)) continue;
    if (!first) out.push_back(',');
    first = false;
    AppendJsonString(out, JsonKey(field));
    out.push_back(':');
    AppendField(out, message, field, secrets);
  }
  out.push_back('}');
}

}  // namespace

const std::string& JsonKey(const FieldDescriptor& field) {
  if (!field.options().HasExtension(v1::json_key)) return field.name();
  return field.options().GetExtension(v1::json_key);
}

const std::string& JsonValueOf(const EnumValueDescriptor& value) {
  const std::string& text = value.options().GetExtension(v1::json_value);
  return text.empty() && value.number() != 0 ? value.name() : text;
}

void AppendResult(std::string& out, const Method& method, const Message& response) {
  if (method.bare == nullptr) return AppendMessage(out, response, Secrets::kLeftOut);
  if (IsAbsent(response, *method.bare, Secrets::kLeftOut)) {
    out += "null";
    return;
  }
  AppendField(out, response, *method.bare, Secrets::kLeftOut);
}

std::string EncodeResult(const Method& method, const Message& response) {
  std::string out;
  AppendResult(out, method, response);
  return out;
}

std::string EncodeMessage(const Message& message, Secrets secrets) {
  std::string out;
  AppendMessage(out, message, secrets);
  return out;
}

std::string QuoteJson(std::string_view text) {
  std::string out;
  AppendJsonString(out, text);
  return out;
}

}  // namespace pollux::rpc
