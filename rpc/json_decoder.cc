#include <bitset>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>
#include <string>

#include "core/check.h"
#include "pollux/v1/options.pb.h"
#include "rpc/json_codec.h"
#include "rpc/json_number.h"
#include "rpc/json_reader.h"
#include "rpc/json_scanner.h"

// JSON to messages. See json_codec.h.

namespace pollux::rpc {

using google::protobuf::Descriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Reflection;

namespace {

constexpr int kFieldsMax = 256;       // Of one message: ours are far smaller.
constexpr size_t kNameShownMax = 64;  // Of a caller's names, in errors.

const FieldDescriptor* FindField(const Descriptor& type, const std::string& key) {
  const FieldDescriptor* field = type.FindFieldByName(key);
  if (field != nullptr && JsonKey(*field) == key) return field;
  for (int i = 0; i < type.field_count(); ++i) {
    if (JsonKey(*type.field(i)) == key) return type.field(i);
  }
  return nullptr;
}

// What a caller who misspelt a name wants to read.
std::string UnknownReason(const Descriptor& type) {
  if (type.field_count() == 0) return "is unknown: the method takes no parameters";
  std::string reason = "is unknown; known are";
  for (int i = 0; i < type.field_count(); ++i) {
    absl::StrAppendFormat(&reason, "%s %s", i > 0 ? "," : "", JsonKey(*type.field(i)));
  }
  return reason;
}

std::string EnumReason(const google::protobuf::EnumDescriptor& type) {
  std::string reason = "must be one of";
  bool first = true;
  for (int i = 0; i < type.value_count(); ++i) {
    const std::string& value = JsonValueOf(*type.value(i));
    if (value.empty()) continue;
    absl::StrAppendFormat(&reason, "%s %s", first ? "" : ",", value);
    first = false;
  }
  return reason;
}

const EnumValueDescriptor* FindEnumValue(const google::protobuf::EnumDescriptor& type,
                                         std::string_view text) {
  if (text.empty()) return nullptr;
  for (int i = 0; i < type.value_count(); ++i) {
    if (JsonValueOf(*type.value(i)) == text) return type.value(i);
  }
  return nullptr;
}

// Reads one checked text into one message; knows where it is, for errors.
class Decoder {
 public:
  explicit Decoder(std::string_view json) : reader_(json) {}

  Status Params(Message& message, bool relaxed) {
    if (const JsonKind kind = reader_.Peek(); kind != JsonKind::kObject) {
      return InvalidField("params", reader_.TakeText(), "must be an object, not %s",
                          JsonKindName(kind));
    }
    return Object(message, relaxed);
  }
  // The value of a field, of whatever shape.
  Status Field(Message& message, const FieldDescriptor& field) {
    if (field.is_map()) return Map(message, field);
    if (field.is_repeated()) return Array(message, field);
    return Value(message, field);
  }
  void BeginPath(const std::string& name) { path_ = name; }

 private:
  Status Object(Message& message, bool relaxed);
  Status Array(Message& message, const FieldDescriptor& field);
  Status Map(Message& message, const FieldDescriptor& field);
  // One value; it is added when the field is repeated.
  Status Value(Message& message, const FieldDescriptor& field);
  template <typename T>
  Result<T> Integer(const FieldDescriptor& field);
  Result<double> Double(const FieldDescriptor& field);
  Result<std::string> String(const FieldDescriptor& field);
  Result<std::string> Bytes(const FieldDescriptor& field);
  Result<int> Enum(const FieldDescriptor& field);

  Status Expect(JsonKind wanted, const FieldDescriptor* field);
  // The next value is wrong.
  Status Wrong(const FieldDescriptor* field, std::string_view reason);
  static Status WrongValue(const std::string& path, const FieldDescriptor* field,
                           std::string_view value, std::string_view reason);

  JsonReader reader_;
  std::string path_;
};

Status Decoder::WrongValue(const std::string& path, const FieldDescriptor* field,
                           std::string_view value, std::string_view reason) {
  const bool secret = field != nullptr && field->options().GetExtension(v1::secret);
  return ErrorOfField(EINVAL, path, secret ? "(secret)" : value, reason);
}

Status Decoder::Wrong(const FieldDescriptor* field, std::string_view reason) {
  const bool string = reader_.Peek() == JsonKind::kString;
  const std::string value = string ? reader_.TakeString() : std::string(reader_.TakeText());
  return WrongValue(path_, field, value, reason);
}

Status Decoder::Expect(JsonKind wanted, const FieldDescriptor* field) {
  const JsonKind kind = reader_.Peek();
  if (kind == wanted) return OkStatus();
  return Wrong(field,
               absl::StrFormat("must be %s, not %s", JsonKindName(wanted), JsonKindName(kind)));
}

Status Decoder::Object(Message& message, bool relaxed) {
  const Descriptor& type = *message.GetDescriptor();
  const Reflection& reflection = *message.GetReflection();
  CHECK(type.field_count() <= kFieldsMax);
  std::bitset<kFieldsMax> seen;
  const size_t outer = path_.size();
  reader_.EnterObject();
  for (std::string name; reader_.NextMember(name);) {
    if (outer > 0) path_ += '.';
    path_.append(name, 0, kNameShownMax);
    const FieldDescriptor* field = FindField(type, name);
    if (field == nullptr) {
      if (!relaxed) return Wrong(nullptr, UnknownReason(type));
      reader_.TakeText();
    } else {
      const auto index = static_cast<size_t>(field->index());
      if (seen.test(index)) return Wrong(field, "is given twice");
      seen.set(index);
      if (const auto* choice = field->real_containing_oneof()) {
        if (const auto* other = reflection.GetOneofFieldDescriptor(message, choice)) {
          return Wrong(field, absl::StrFormat("excludes %s, which is also given", JsonKey(*other)));
        }
      }
      RETURN_IF_ERROR(Field(message, *field));
    }
    path_.resize(outer);
  }
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.has_presence() || seen.test(static_cast<size_t>(i))) continue;
    if (!field.options().GetExtension(v1::required)) continue;
    if (outer > 0) path_ += '.';
    return WrongValue(path_ + JsonKey(field), nullptr, "", "is required");
  }
  return OkStatus();
}

Status Decoder::Array(Message& message, const FieldDescriptor& field) {
  RETURN_IF_ERROR(Expect(JsonKind::kArray, &field));
  const size_t outer = path_.size();
  reader_.EnterArray();
  for (size_t i = 0; reader_.NextElement(); ++i) {
    absl::StrAppendFormat(&path_, "[%u]", i);
    RETURN_IF_ERROR(Value(message, field));
    path_.resize(outer);
  }
  return OkStatus();
}

Status Decoder::Map(Message& message, const FieldDescriptor& field) {
  RETURN_IF_ERROR(Expect(JsonKind::kObject, &field));
  const FieldDescriptor* key = field.message_type()->map_key();
  const FieldDescriptor* value = field.message_type()->map_value();
  CHECK(key->type() == FieldDescriptor::TYPE_STRING, "JSON has maps with string keys only");
  std::set<std::string> seen;
  const size_t outer = path_.size();
  reader_.EnterObject();
  for (std::string name; reader_.NextMember(name);) {
    path_ += '.';
    path_.append(name, 0, kNameShownMax);
    if (name.find('\0') != std::string::npos) return Wrong(&field, "has a NUL in its name");
    if (!seen.insert(name).second) return Wrong(&field, "is given twice");
    Message& entry = *message.GetReflection()->AddMessage(&message, &field);
    entry.GetReflection()->SetString(&entry, key, name);
    RETURN_IF_ERROR(Value(entry, *value));
    path_.resize(outer);
  }
  return OkStatus();
}

Status Decoder::Value(Message& message, const FieldDescriptor& field) {
  const Reflection& r = *message.GetReflection();
  const bool add = field.is_repeated();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL: {
      RETURN_IF_ERROR(Expect(JsonKind::kBool, &field));
      const bool value = reader_.TakeBool();
      add ? r.AddBool(&message, &field, value) : r.SetBool(&message, &field, value);
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_INT32: {
      ASSIGN_OR_RETURN(const int32_t value, Integer<int32_t>(field));
      add ? r.AddInt32(&message, &field, value) : r.SetInt32(&message, &field, value);
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_INT64: {
      ASSIGN_OR_RETURN(const int64_t value, Integer<int64_t>(field));
      add ? r.AddInt64(&message, &field, value) : r.SetInt64(&message, &field, value);
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_UINT32: {
      ASSIGN_OR_RETURN(const uint32_t value, Integer<uint32_t>(field));
      add ? r.AddUInt32(&message, &field, value) : r.SetUInt32(&message, &field, value);
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_UINT64: {
      ASSIGN_OR_RETURN(const uint64_t value, Integer<uint64_t>(field));
      add ? r.AddUInt64(&message, &field, value) : r.SetUInt64(&message, &field, value);
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      ASSIGN_OR_RETURN(const double value, Double(field));
      add ? r.AddDouble(&message, &field, value) : r.SetDouble(&message, &field, value);
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_FLOAT: {
      ASSIGN_OR_RETURN(const double wide, Double(field));
      const auto value = static_cast<float>(wide);
      add ? r.AddFloat(&message, &field, value) : r.SetFloat(&message, &field, value);
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_ENUM: {
      ASSIGN_OR_RETURN(const int value, Enum(field));
      add ? r.AddEnumValue(&message, &field, value) : r.SetEnumValue(&message, &field, value);
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_STRING: {
      ASSIGN_OR_RETURN(std::string value,
                       field.type() == FieldDescriptor::TYPE_BYTES ? Bytes(field) : String(field));
      add ? r.AddString(&message, &field, std::move(value))
          : r.SetString(&message, &field, std::move(value));
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      RETURN_IF_ERROR(Expect(JsonKind::kObject, &field));
      return Object(add ? *r.AddMessage(&message, &field) : *r.MutableMessage(&message, &field),
                    /*relaxed=*/false);
    }
  }
  return OkStatus();
}

template <typename T>
Result<T> Decoder::Integer(const FieldDescriptor& field) {
  RETURN_IF_ERROR(Expect(JsonKind::kNumber, &field));
  const std::string_view text = reader_.TakeText();
  const WholeNumber number = ParseWholeNumber(text);
  if (number.kind == WholeNumber::Kind::kFraction) {
    return WrongValue(path_, &field, text, "must be a whole number");
  }
  using Limits = std::numeric_limits<T>;
  constexpr auto kMax = static_cast<uint64_t>(Limits::max());
  // How far below zero T reaches; for signed types one further than above.
  constexpr uint64_t kMagnitudeMin = Limits::is_signed ? kMax + 1 : 0;
  if (number.kind == WholeNumber::Kind::kTooLarge ||
      number.magnitude > (number.negative ? kMagnitudeMin : kMax)) {
    return WrongValue(path_, &field, text,
                      absl::StrFormat("must be from %d to %d", Limits::min(), Limits::max()));
  }
  return static_cast<T>(number.negative ? 0 - number.magnitude : number.magnitude);
}

Result<double> Decoder::Double(const FieldDescriptor& field) {
  RETURN_IF_ERROR(Expect(JsonKind::kNumber, &field));
  const std::string_view text = reader_.TakeText();
  double value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  const double max = field.cpp_type() == FieldDescriptor::CPPTYPE_FLOAT
                         ? double{std::numeric_limits<float>::max()}
                         : std::numeric_limits<double>::max();
  if (parsed.ec != std::errc() || std::abs(value) > max) {
    return WrongValue(path_, &field, text, "is beyond what a floating-point number can hold");
  }
  return value;
}

Result<std::string> Decoder::String(const FieldDescriptor& field) {
  if (field.options().GetExtension(v1::raw_json)) return std::string(reader_.TakeText());
  RETURN_IF_ERROR(Expect(JsonKind::kString, &field));
  std::string text = reader_.TakeString();
  if (text.find('\0') != std::string::npos) {
    return WrongValue(path_, &field, text, "must not contain NUL");
  }
  return text;
}

Result<std::string> Decoder::Bytes(const FieldDescriptor& field) {
  RETURN_IF_ERROR(Expect(JsonKind::kString, &field));
  const std::string text = reader_.TakeString();
  const bool good =
      text.size() % 2 == 0 && text.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
  if (!good) return WrongValue(path_, &field, text, "must be pairs of hexadecimal digits");
  std::string bytes;
  for (size_t i = 0; i < text.size(); i += 2) {
    unsigned byte = 0;
    std::from_chars(&text[i], &text[i] + 2, byte, 16);
    bytes.push_back(static_cast<char>(byte));
  }
  return bytes;
}

Result<int> Decoder::Enum(const FieldDescriptor& field) {
  RETURN_IF_ERROR(Expect(JsonKind::kString, &field));
  const std::string text = reader_.TakeString();
  const EnumValueDescriptor* value = FindEnumValue(*field.enum_type(), text);
  if (value == nullptr) return WrongValue(path_, &field, text, EnumReason(*field.enum_type()));
  return value->number();
}

}  // namespace

Status DecodeCheckedParams(std::string_view json, bool relaxed, Message& request) {
  const bool none = json.empty() || JsonReader(json).Peek() == JsonKind::kNull;
  return Decoder(none ? "{}" : json).Params(request, relaxed);
}

Status DecodeParams(std::string_view json, bool relaxed, Message& request) {
  if (!json.empty()) RETURN_IF_ERROR(CheckJson(json, {}));
  return DecodeCheckedParams(json, relaxed, request);
}

Status DecodeField(std::string_view json, const FieldDescriptor& field, Message& message) {
  RETURN_IF_ERROR(CheckJson(json, {}));
  Decoder decoder(json);
  decoder.BeginPath(JsonKey(field));
  return decoder.Field(message, field);
}

}  // namespace pollux::rpc
