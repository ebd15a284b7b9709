#include "cli/identify/report.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "cli/tool/units.h"
#include "core/log.h"

namespace pollux::cli {
namespace {

constexpr size_t kNameWidth = 10;  // At least, as that of a value: sections then look alike.
constexpr size_t kValueWidth = 20;
constexpr size_t kValueWidthMax = 36;
constexpr size_t kIndent = 2;

uint64_t MaskOf(unsigned high, unsigned low) {
  const unsigned width = high - low + 1;
  return (width >= 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1) << low;
}

std::string WordOf(const char* words, uint64_t value) {
  const std::vector<std::string> all = absl::StrSplit(words, '|');
  return value < all.size() && !all[value].empty() ? all[value] : "reserved";
}

std::string Quoted(std::string_view text) {
  JsonWriter writer;
  writer.Text(text);
  std::string out = writer.Take();
  out.pop_back();
  return out;
}

std::string Padded(std::string text, size_t width) {
  if (text.size() < width) text.resize(width, ' ');
  return text;
}

void AppendLine(std::string& out, std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  out += line + "\n";
}

// Columns: names, values, meanings.
struct Columns {
  size_t name = kNameWidth, value = kValueWidth;

  explicit Columns(const Section& section) {
    for (const ReportField& field : section.fields()) {
      name = std::max(name, field.name.size());
      if (field.value.size() <= kValueWidthMax) value = std::max(value, field.value.size());
    }
  }
};

void AppendField(std::string& out, const ReportField& field, const Columns& columns,
                 size_t indent) {
  const std::string margin(indent, ' ');
  AppendLine(out, margin + Padded(field.name, columns.name) + "  " +
                      Padded(field.value, columns.value) + "  " + field.meaning);
  for (const ReportField::Bits& bits : field.bits) {
    const std::string range = bits.high == bits.low
                                  ? absl::StrFormat("[%d]", bits.low)
                                  : absl::StrFormat("[%d:%d]", bits.high, bits.low);
    const std::string value = absl::StrFormat("0x%x", bits.value);
    AppendLine(out, margin + std::string(columns.name, ' ') +
                        absl::StrFormat("  %-7s %5s  %s", range, value, bits.text));
  }
}

void AppendSection(std::string& out, const Section& section, size_t indent) {
  const std::string margin(indent, ' ');
  if (!section.line().empty()) {
    AppendLine(out, margin + Padded(section.title(), kNameWidth) + "  " + section.line());
    return;
  }
  AppendLine(out, margin + section.title());
  if (section.is_list() && section.sections().empty()) AppendLine(out, margin + "  (none)");
  const Columns columns(section);
  for (const ReportField& field : section.fields()) {
    AppendField(out, field, columns, indent + kIndent);
  }
  for (const Section& below : section.sections()) {
    if (below.line().empty() && (!section.is_list() || &below != &section.sections().front())) {
      out.push_back('\n');
    }
    AppendSection(out, below, indent + kIndent);
  }
}

}  // namespace

void Section::Number(const char* name, uint64_t value, std::string meaning, std::string text) {
  const std::string digits = std::to_string(value);
  if (text.empty()) text = digits;
  fields_.push_back({name, std::move(text), digits, std::move(meaning), {}});
}

void Section::Hex(const char* name, uint64_t value, unsigned digits, std::string meaning) {
  fields_.push_back({name,
                     absl::StrFormat("0x%0*x", static_cast<int>(digits), value),
                     std::to_string(value),
                     std::move(meaning),
                     {}});
}

void Section::Bits(const char* name, uint64_t value, unsigned digits, std::string meaning,
                   std::span<const BitRange> ranges) {
  Hex(name, value, digits, std::move(meaning));
  std::vector<ReportField::Bits>& bits = fields_.back().bits;
  uint64_t named = 0;
  for (const BitRange& range : ranges) {
    const uint64_t mask = MaskOf(range.high, range.low);
    named |= mask;
    const uint64_t part = (value & mask) >> range.low;
    std::string text = range.name;
    if (range.words != nullptr) text += ": " + WordOf(range.words, part);
    bits.push_back({range.high, range.low, part, std::move(text)});
  }
  for (uint8_t bit = 0; bit < 4 * digits; ++bit) {
    if ((value & ~named) >> bit & 1) bits.push_back({bit, bit, 1, "reserved, and set"});
  }
  std::sort(bits.begin(), bits.end(), [](const auto& a, const auto& b) { return a.low < b.low; });
}

void Section::Ascii(const char* name, const char* text, size_t bytes, std::string meaning) {
  std::string_view view(text, bytes);
  view = view.substr(0, view.find('\0'));
  view = view.substr(0, view.find_last_not_of(' ') + 1);
  Text(name, view, std::move(meaning));
}

void Section::Bytes(const char* name, const uint8_t* bytes, size_t count, std::string meaning) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += absl::StrFormat("%02x", bytes[i]);
  Text(name, text, std::move(meaning));
}

void Section::Number128(const char* name, const uint8_t (&bytes)[16], std::string meaning,
                        std::string text) {
  const std::string digits = Decimal128(bytes);
  if (text.empty()) text = digits;
  fields_.push_back({name, std::move(text), digits, std::move(meaning), {}});
}

void Section::Text(const char* name, std::string_view text, std::string meaning) {
  fields_.push_back({name, Printable(text), Quoted(text), std::move(meaning), {}});
}

Section& Section::Add(std::string key, std::string title) {
  return sections_.emplace_back(std::move(key), std::move(title));
}

Section& Section::AddList(std::string key, std::string title) {
  Section& list = Add(std::move(key), std::move(title));
  list.is_list_ = true;
  return list;
}

const ReportField* Section::Find(std::string_view name) const {
  const auto found = std::find_if(fields_.begin(), fields_.end(),
                                  [&](const ReportField& field) { return field.name == name; });
  return found == fields_.end() ? nullptr : &*found;
}

const Section* Section::FindSection(std::string_view key) const {
  const auto found = std::find_if(sections_.begin(), sections_.end(),
                                  [&](const Section& section) { return section.key_ == key; });
  return found == sections_.end() ? nullptr : &*found;
}

std::string ForPeople(const Section& report) {
  std::string out;
  AppendSection(out, report, 0);
  return out;
}

void WriteJson(const Section& section, JsonWriter& out) {
  if (section.is_list()) {
    out.BeginArray();
    for (const Section& element : section.sections()) WriteJson(element, out);
    out.EndArray();
    return;
  }
  out.BeginObject();
  for (const ReportField& field : section.fields()) {
    out.Key(field.name);
    out.Raw(field.json);
  }
  for (const Section& below : section.sections()) {
    out.Key(below.key());
    WriteJson(below, out);
  }
  out.EndObject();
}

}  // namespace pollux::cli
