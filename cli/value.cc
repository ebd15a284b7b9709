#include "cli/value.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>

#include "rpc/json_codec.h"
#include "rpc/json_scanner.h"
#include "rpc/json_writer.h"

namespace pollux::cli {
namespace {

using google::protobuf::EnumDescriptor;

std::string ToLower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string ToUpper(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return out;
}

std::optional<bool> ParseBool(std::string_view word) {
  const std::string lower = ToLower(word);
  for (const char* yes : {"true", "yes", "on", "1"}) {
    if (lower == yes) return true;
  }
  for (const char* no : {"false", "no", "off", "0"}) {
    if (lower == no) return false;
  }
  return std::nullopt;
}

Status Wrong(const FieldDescriptor& field, std::string_view word, std::string_view reason) {
  return ErrorOfField(EINVAL, rpc::JsonKey(field), word, reason);
}

struct Integer {
  bool negative;
  uint64_t magnitude;
};

std::optional<Integer> ParseInteger(std::string_view word) {
  constexpr std::string_view kSuffixes = "kmgt";
  const bool negative = word.starts_with('-');
  if (negative) word.remove_prefix(1);
  const bool hex = word.starts_with("0x") || word.starts_with("0X");
  if (hex) word.remove_prefix(2);
  uint64_t magnitude = 0;
  const char* end = word.data() + word.size();
  const auto [rest, error] = std::from_chars(word.data(), end, magnitude, hex ? 16 : 10);
  if (error != std::errc()) return std::nullopt;
  if (end - rest == 1) {
    const size_t power = kSuffixes.find(ToLower({rest, 1}));
    if (power == std::string_view::npos) return std::nullopt;
    if (__builtin_mul_overflow(magnitude, uint64_t{1} << (10 * (power + 1)), &magnitude)) {
      return std::nullopt;
    }
  } else if (rest != end) {
    return std::nullopt;
  }
  return Integer{negative, magnitude};
}

Status AppendInteger(std::string& out, const FieldDescriptor& field, std::string_view word) {
  uint64_t max = 0, min = 0;  // The magnitude of the smallest number.
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      max = INT32_MAX, min = uint64_t{INT32_MAX} + 1;
      break;
    case FieldDescriptor::CPPTYPE_INT64:
      max = INT64_MAX, min = uint64_t{INT64_MAX} + 1;
      break;
    case FieldDescriptor::CPPTYPE_UINT32:
      max = UINT32_MAX;
      break;
    default:
      max = UINT64_MAX;
      break;
  }
  const std::optional<Integer> value = ParseInteger(word);
  if (!value.has_value()) {
    return Wrong(field, word, "is no whole number; 12, 0x1f and 64K are");
  }
  if (value->magnitude > (value->negative ? min : max)) {
    const std::string from = min == 0 ? "0" : absl::StrFormat("-%d", min);
    return Wrong(field, word, absl::StrFormat("must be from %s to %d", from, max));
  }
  if (value->negative && value->magnitude > 0) out.push_back('-');
  rpc::AppendJsonInteger(out, value->magnitude);
  return OkStatus();
}

std::string ValuesOf(const EnumDescriptor& type) {
  std::string values;
  for (int i = 0; i < type.value_count(); ++i) {
    const std::string& value = rpc::JsonValueOf(*type.value(i));
    if (value.empty()) continue;
    if (!values.empty()) values.push_back('|');
    values += value;
  }
  return values;
}

Status AppendEnum(std::string& out, const FieldDescriptor& field, std::string_view word) {
  const EnumDescriptor& type = *field.enum_type();
  for (int i = 0; i < type.value_count(); ++i) {
    const std::string& value = rpc::JsonValueOf(*type.value(i));
    if (value.empty() || ToLower(value) != ToLower(word)) continue;
    rpc::AppendJsonString(out, value);
    return OkStatus();
  }
  return Wrong(field, word, absl::StrFormat("must be %s", ValuesOf(type)));
}

Status AppendJson(std::string& out, const FieldDescriptor& field, std::string_view word) {
  if (const Status good = rpc::CheckJson(word, {}); !good.ok()) {
    return Wrong(field, word, absl::StrFormat("must be JSON: %s", DetailOf(good).reason));
  }
  out += word;
  return OkStatus();
}

Status AppendOne(std::string& out, const FieldDescriptor& field, std::string_view word);

bool IsFlag(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_BOOL && IsScalar(field) && !IsRequired(field);
}

// Whether the first two fields of a message may be written as "a:b".
bool IsPair(const Descriptor& type) {
  if (type.field_count() < 2 || !IsScalar(*type.field(0)) || !IsScalar(*type.field(1)))
    return false;
  for (int i = 2; i < type.field_count(); ++i) {
    if (!IsFlag(*type.field(i))) return false;
  }
  return true;
}

Status AppendMessage(std::string& out, const FieldDescriptor& field, std::string_view word) {
  const Descriptor& type = *field.message_type();
  if (word.starts_with('{') || field.is_map() || !IsPair(type)) return AppendJson(out, field, word);

  const FieldDescriptor& first = *type.field(0);
  const FieldDescriptor& second = *type.field(1);
  const size_t colon = word.rfind(':');
  if (colon == std::string_view::npos && IsRequired(second)) {
    return Wrong(field, word,
                 absl::StrFormat("must be %s:%s", rpc::JsonKey(first), rpc::JsonKey(second)));
  }
  out.push_back('{');
  rpc::AppendJsonString(out, rpc::JsonKey(first));
  out.push_back(':');
  RETURN_IF_ERROR(Within(rpc::JsonKey(field), AppendOne(out, first, word.substr(0, colon))));
  if (colon != std::string_view::npos) {
    out.push_back(',');
    rpc::AppendJsonString(out, rpc::JsonKey(second));
    out.push_back(':');
    RETURN_IF_ERROR(Within(rpc::JsonKey(field), AppendOne(out, second, word.substr(colon + 1))));
  }
  out.push_back('}');
  return OkStatus();
}

// One value: the field's, or an element of its list.
Status AppendOne(std::string& out, const FieldDescriptor& field, std::string_view word) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL: {
      const std::optional<bool> value = ParseBool(word);
      if (!value.has_value()) return Wrong(field, word, "must be true or false");
      out += *value ? "true" : "false";
      return OkStatus();
    }
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64:
      return AppendInteger(out, field, word);
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      return AppendJson(out, field, word);
    case FieldDescriptor::CPPTYPE_ENUM:
      return AppendEnum(out, field, word);
    case FieldDescriptor::CPPTYPE_STRING:
      if (field.options().GetExtension(v1::raw_json)) return AppendJson(out, field, word);
      rpc::AppendJsonString(out, word);
      return OkStatus();
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return AppendMessage(out, field, word);
  }
  return OkStatus();
}

// Where an element of a list ends. JSON is not cut.
std::vector<std::string_view> SplitList(std::string_view word) {
  constexpr std::string_view kSeparators = ", \t\n";
  if (word.starts_with('{')) return {word};
  std::vector<std::string_view> parts;
  while (!word.empty()) {
    const size_t end = std::min(word.find_first_of(kSeparators), word.size());
    if (end > 0) parts.push_back(word.substr(0, end));
    word.remove_prefix(std::min(end + 1, word.size()));
  }
  return parts;
}

Status AppendList(std::string& out, const FieldDescriptor& field,
                  const std::vector<std::string>& words) {
  if (words.size() == 1 && words[0].starts_with('[') && rpc::CheckJson(words[0], {}).ok()) {
    out += words[0];
    return OkStatus();
  }
  out.push_back('[');
  bool first = true;
  for (const std::string& word : words) {
    for (const std::string_view part : SplitList(word)) {
      if (!first) out.push_back(',');
      first = false;
      RETURN_IF_ERROR(AppendOne(out, field, part));
    }
  }
  out.push_back(']');
  return OkStatus();
}

}  // namespace

Status AppendValue(std::string& out, const FieldDescriptor& field,
                   const std::vector<std::string>& words) {
  if (field.is_repeated() && !field.is_map()) return AppendList(out, field, words);
  if (words.size() > 1) return Wrong(field, words[1], "is given twice");
  return AppendOne(out, field, words[0]);
}

std::string FormOf(const FieldDescriptor& field) {
  std::string one;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      one = "true|false";
      break;
    case FieldDescriptor::CPPTYPE_ENUM:
      one = ValuesOf(*field.enum_type());
      break;
    case FieldDescriptor::CPPTYPE_STRING:
      one = field.options().GetExtension(v1::raw_json) ? "JSON" : "TEXT";
      break;
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      const Descriptor& type = *field.message_type();
      if (field.is_map() || !IsPair(type)) return "JSON";
      const std::string second = ToUpper(rpc::JsonKey(*type.field(1)));
      one = absl::StrFormat(IsRequired(*type.field(1)) ? "%s:%s" : "%s[:%s]",
                            ToUpper(rpc::JsonKey(*type.field(0))), second);
      break;
    }
    default:
      one = "NUMBER";
      break;
  }
  return field.is_repeated() ? one + ",..." : one;
}

}  // namespace pollux::cli
