#include "cli/config_diff.h"

#include "absl/strings/str_format.h"
#include "cli/json_value.h"
#include "rpc/json_codec.h"
#include "rpc/json_reader.h"

namespace pollux::cli {
namespace {

using rpc::JsonKind;

// A call, parsed, and whether it has found its like.
struct Side {
  explicit Side(const rpc::SavedCall& saved) : call(&saved), params(ParseJson(saved.params)) {}
  const rpc::SavedCall* call;
  JsonValue params;
  bool matched = false;
};

std::vector<Side> Parse(const std::vector<rpc::ConfiguredCall>& calls) {
  std::vector<Side> sides;
  for (const rpc::ConfiguredCall& one : calls) sides.emplace_back(one.call);
  return sides;
}

std::string TextOf(const JsonValue& value) {
  if (value.is_scalar())
    return value.kind == JsonKind::kString ? "'" + value.text + "'" : value.text;
  const bool is_object = value.kind == JsonKind::kObject;
  std::string out(1, is_object ? '{' : '[');
  for (size_t i = 0; i < value.values.size(); ++i) {
    if (i > 0) out += ", ";
    if (is_object) out += value.names[i] + ": ";
    out += TextOf(value.values[i]);
  }
  return out + (is_object ? '}' : ']');
}

// What a field is when it is not said, unless its (default) is another.
bool IsNothing(const JsonValue& value) {
  switch (value.kind) {
    case JsonKind::kNull:
      return true;
    case JsonKind::kBool:
      return value.text == "false";
    case JsonKind::kNumber:
      return value.text == "0";
    case JsonKind::kString:
      return value.text.empty();
    default:
      return value.values.empty();
  }
}

bool SameValue(const JsonValue& wanted, const JsonValue& running);

// Whether `running` has all that `wanted` has.
bool HasMembers(const JsonValue& wanted, const JsonValue& running) {
  for (size_t i = 0; i < wanted.names.size(); ++i) {
    const JsonValue* there = running.Find(wanted.names[i]);
    const JsonValue& value = wanted.values[i];
    if (there == nullptr ? !IsNothing(value) : !SameValue(value, *there)) return false;
  }
  return true;
}

bool SameValue(const JsonValue& wanted, const JsonValue& running) {
  if (wanted.kind != running.kind) return false;
  if (wanted.kind == JsonKind::kObject) return HasMembers(wanted, running);
  if (wanted.kind != JsonKind::kArray) return wanted.text == running.text;
  if (wanted.values.size() != running.values.size()) return false;
  for (size_t i = 0; i < wanted.values.size(); ++i) {
    if (!SameValue(wanted.values[i], running.values[i])) return false;
  }
  return true;
}

JsonValue DefaultOf(const Command& command, const std::string& name) {
  const FieldDescriptor* field = command.FindField(name);
  if (field == nullptr || !field->options().HasExtension(v1::default_)) return {};
  return ParseJson(field->options().GetExtension(v1::default_));
}

std::vector<std::string> ParametersThatDiffer(const Command& command, const JsonValue& wanted,
                                              const JsonValue& running) {
  std::vector<std::string> lines;
  for (size_t i = 0; i < wanted.names.size(); ++i) {
    const std::string& name = wanted.names[i];
    const JsonValue& value = wanted.values[i];
    const JsonValue* said = running.Find(name);
    const JsonValue there = said != nullptr ? *said : DefaultOf(command, name);
    const bool same = SameValue(value, there) || (IsNothing(value) && IsNothing(there));
    if (same) continue;
    lines.push_back(absl::StrFormat("%s is %s, wanted %s", name, TextOf(there), TextOf(value)));
  }
  return lines;
}

// The parameters that say what the call is about.
std::vector<std::string> KeyFields(const Command& command) {
  const std::string& makes = command.method->options().GetExtension(v1::rpc).makes();
  std::vector<std::string> fields;
  for (int i = 0; i < command.request().field_count(); ++i) {
    const FieldDescriptor& field = *command.request().field(i);
    const bool is_key =
        makes.empty() ? IsRequired(field) : field.options().GetExtension(v1::object) == makes;
    if (is_key) fields.push_back(rpc::JsonKey(field));
  }
  return fields;
}

bool IsOfTheSame(const std::vector<std::string>& keys, const JsonValue& a, const JsonValue& b) {
  for (const std::string& key : keys) {
    const JsonValue* left = a.Find(key);
    const JsonValue* right = b.Find(key);
    if (left == nullptr || right == nullptr || !SameValue(*left, *right)) return false;
  }
  return true;
}

}  // namespace

std::vector<ConfigDifference> CompareConfigs(const Catalog& catalog,
                                             const std::vector<rpc::ConfiguredCall>& wanted,
                                             const std::vector<rpc::ConfiguredCall>& running) {
  using Kind = ConfigDifference::Kind;
  std::vector<Side> there = Parse(running);
  std::vector<ConfigDifference> differences;
  for (const Side& one : Parse(wanted)) {
    const Command* command = catalog.Find(one.call->method);
    const std::vector<std::string> keys =
        command == nullptr ? std::vector<std::string>() : KeyFields(*command);
    Side* like = nullptr;
    std::vector<std::string> parameters;
    for (Side& other : there) {
      if (command == nullptr || other.matched || other.call->method != one.call->method ||
          !IsOfTheSame(keys, one.params, other.params)) {
        continue;
      }
      std::vector<std::string> lines = ParametersThatDiffer(*command, one.params, other.params);
      if (like != nullptr && !lines.empty()) continue;
      like = &other;
      parameters = std::move(lines);
      if (parameters.empty()) break;  // The very same: nothing is more alike.
    }
    if (like == nullptr) {
      differences.push_back({.kind = Kind::kMissing, .call = *one.call});
      continue;
    }
    like->matched = true;
    if (parameters.empty()) continue;
    differences.push_back(
        {.kind = Kind::kOther, .call = *one.call, .parameters = std::move(parameters)});
  }
  for (const Side& other : there) {
    if (!other.matched) differences.push_back({.kind = Kind::kExtra, .call = *other.call});
  }
  return differences;
}

}  // namespace pollux::cli
