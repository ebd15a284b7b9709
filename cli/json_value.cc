#include "cli/json_value.h"

#include "absl/strings/str_format.h"

namespace pollux::cli {
namespace {

using rpc::JsonKind;

// What a terminal would obey is shown instead.
std::string Visible(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += absl::StrFormat("\\x%02x", byte);
    } else {
      out.push_back(c);
    }
  }
  return out;
}

// The scanner bounds the nesting.
JsonValue Take(rpc::JsonReader& reader) {
  JsonValue value{.kind = reader.Peek(), .text = {}, .names = {}, .values = {}};
  switch (value.kind) {
    case JsonKind::kObject: {
      reader.EnterObject();
      std::string name;
      while (reader.NextMember(name)) {
        value.names.push_back(Visible(name));
        value.values.push_back(Take(reader));
      }
      return value;
    }
    case JsonKind::kArray:
      reader.EnterArray();
      while (reader.NextElement()) value.values.push_back(Take(reader));
      return value;
    case JsonKind::kString:
      value.text = Visible(reader.TakeString());
      return value;
    case JsonKind::kNull:
    case JsonKind::kBool:
    case JsonKind::kNumber:
      value.text = reader.TakeText();
      return value;
  }
  return value;
}

}  // namespace

const JsonValue* JsonValue::Find(std::string_view name) const {
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return &values[i];
  }
  return nullptr;
}

JsonValue ParseJson(std::string_view checked) {
  rpc::JsonReader reader(checked);
  return Take(reader);
}

}  // namespace pollux::cli
