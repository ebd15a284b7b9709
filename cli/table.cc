#include "cli/table.h"

#include <algorithm>
#include <map>

namespace pollux::cli {
namespace {

using rpc::JsonKind;

constexpr size_t kIndent = 2;
constexpr size_t kGap = 2;  // Between columns.
constexpr size_t kListWidthMax = 100;

// Columns on a terminal: UTF-8 code points, near enough.
size_t WidthOf(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

bool AllScalar(const JsonValue& value) {
  return std::all_of(value.values.begin(), value.values.end(),
                     [](const JsonValue& one) { return one.is_scalar(); });
}

bool IsArrayOfObjects(const JsonValue& value) {
  return value.kind == JsonKind::kArray && !value.values.empty() &&
         std::all_of(value.values.begin(), value.values.end(),
                     [](const JsonValue& one) { return one.kind == JsonKind::kObject; });
}

// An object that says of each of its names whether it holds: the names that do are enough.
bool IsSet(const JsonValue& value) {
  return value.kind == JsonKind::kObject && !value.values.empty() &&
         std::all_of(value.values.begin(), value.values.end(),
                     [](const JsonValue& one) { return one.kind == JsonKind::kBool; });
}

// A value on one line. An object of two scalars is "a:b", as on the command line.
std::string Inline(const JsonValue& value) {
  if (value.is_scalar()) return value.text;
  const bool is_array = value.kind == JsonKind::kArray;
  const bool is_set = IsSet(value);
  const bool is_pair = !is_array && value.values.size() == 2 && AllScalar(value);
  if (is_pair && !is_set) return value.values[0].text + ":" + value.values[1].text;
  std::string out;
  for (size_t i = 0; i < value.values.size(); ++i) {
    if (is_set && value.values[i].text != "true") continue;
    if (!out.empty()) out += is_array || is_set ? ", " : " ";
    if (is_set) {
      out += value.names[i];
    } else if (is_array) {
      out += Inline(value.values[i]);
    } else {
      out += value.names[i] + "=" + Inline(value.values[i]);
    }
  }
  return out.empty() ? "-" : out;
}

// Whether a line says all of it well.
bool FitsALine(const JsonValue& value) {
  if (value.is_scalar() || IsSet(value) || value.values.empty()) return true;
  if (value.kind == JsonKind::kObject && !(value.values.size() == 2 && AllScalar(value))) {
    return false;
  }
  return std::all_of(value.values.begin(), value.values.end(), FitsALine);
}

void AppendPadded(std::string& out, const std::string& text, size_t width, bool right) {
  const size_t blanks = width - std::min(width, WidthOf(text));
  if (right) out.append(blanks, ' ');
  out += text;
  if (!right) out.append(blanks, ' ');
}

void TrimRight(std::string& out) {
  while (!out.empty() && out.back() == ' ') out.pop_back();
}

// The rows and columns of an array of objects. Columns are in the order in which they first appear.
class Table {
 public:
  explicit Table(const JsonValue& array) {
    for (const JsonValue& object : array.values) {
      for (size_t i = 0; i < object.names.size(); ++i) AddColumn(object.names[i]);
    }
    for (const JsonValue& object : array.values) {
      std::vector<std::string>& row = rows_.emplace_back(columns_.size());
      for (size_t i = 0; i < object.names.size(); ++i) {
        Column& column = columns_[index_.at(object.names[i])];
        const JsonValue& value = object.values[i];
        plain_ = plain_ && FitsALine(value);
        column.right = column.right && value.kind == JsonKind::kNumber;
        std::string& cell = row[index_.at(object.names[i])];
        cell = Inline(value);
        column.width = std::max(column.width, WidthOf(cell));
      }
    }
  }

  // Every cell says all of its value, and the lines are no longer than `width`.
  bool Fits(size_t width) const {
    size_t sum = 0;
    for (const Column& column : columns_) sum += column.width + kGap;
    return plain_ && sum <= width + kGap;
  }

  void AppendTo(std::string& out, size_t indent) const {
    out.append(indent, ' ');
    for (const Column& column : columns_) AppendCell(out, column, column.name);
    EndLine(out);
    for (const std::vector<std::string>& row : rows_) {
      out.append(indent, ' ');
      for (size_t i = 0; i < columns_.size(); ++i) AppendCell(out, columns_[i], row[i]);
      EndLine(out);
    }
  }

 private:
  struct Column {
    std::string name;
    size_t width;
    bool right = true;  // All of its values are numbers.
  };

  void AddColumn(const std::string& name) {
    if (!index_.try_emplace(name, columns_.size()).second) return;
    columns_.push_back({.name = name, .width = WidthOf(name)});
  }
  static void AppendCell(std::string& out, const Column& column, const std::string& text) {
    AppendPadded(out, text, column.width, column.right);
    out.append(kGap, ' ');
  }
  static void EndLine(std::string& out) {
    TrimRight(out);
    out.push_back('\n');
  }

  std::vector<Column> columns_;
  std::map<std::string, size_t> index_;
  std::vector<std::vector<std::string>> rows_;
  bool plain_ = true;
};

void AppendBlock(std::string& out, const JsonValue& value, size_t indent, size_t width);

// Names and values, the values in one column; what does not fit into a line stands below its name.
void AppendObject(std::string& out, const JsonValue& object, size_t indent, size_t width) {
  size_t names = 0;
  for (const std::string& name : object.names) names = std::max(names, WidthOf(name));
  for (size_t i = 0; i < object.names.size(); ++i) {
    const JsonValue& value = object.values[i];
    out.append(indent, ' ');
    const std::string line = FitsALine(value) ? Inline(value) : "";
    const bool below =
        !FitsALine(value) || (IsArrayOfObjects(value) && WidthOf(line) > kListWidthMax);
    if (below) {
      out += object.names[i] + "\n";
      AppendBlock(out, value, indent + kIndent, width);
    } else {
      AppendPadded(out, object.names[i], names + kGap, false);
      out += line;
      TrimRight(out);
      out.push_back('\n');
    }
  }
}

void AppendBlock(std::string& out, const JsonValue& value, size_t indent, size_t width) {
  if (value.kind == JsonKind::kObject) return AppendObject(out, value, indent, width);
  if (IsArrayOfObjects(value)) {
    const Table table(value);
    if (table.Fits(width - std::min(width, indent))) return table.AppendTo(out, indent);
  }
  if (value.kind != JsonKind::kArray) {
    out.append(indent, ' ').append(value.text).push_back('\n');
    return;
  }
  for (size_t i = 0; i < value.values.size(); ++i) {
    const JsonValue& one = value.values[i];
    if (i > 0 && !one.is_scalar()) out.push_back('\n');
    AppendBlock(out, one, indent, width);
  }
}

}  // namespace

std::string ForPeople(const JsonValue& value, size_t width) {
  if (!value.is_scalar() && value.values.empty()) return "(none)\n";
  std::string out;
  AppendBlock(out, value, 0, width);
  return out;
}

}  // namespace pollux::cli
