#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "rpc/json_reader.h"

namespace pollux::cli {

// A JSON value as a person is shown it.
struct JsonValue {
  rpc::JsonKind kind = rpc::JsonKind::kNull;
  // Of a string its content, with control characters as \xNN; of other scalars their JSON text.
  std::string text;
  std::vector<std::string> names;  // Of an object's members.
  std::vector<JsonValue> values;   // Of them, or an array's elements.

  bool is_scalar() const { return kind != rpc::JsonKind::kArray && kind != rpc::JsonKind::kObject; }
  // Null when there is none.
  const JsonValue* Find(std::string_view name) const;
};

// `checked` is the text of one JSON value that a JsonScanner found good.
JsonValue ParseJson(std::string_view checked);

}  // namespace pollux::cli
