#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/tool/json_writer.h"

// What is told of a structure that a device sent: its fields under the names of the specification,
// each with what it means. A report is text for people, and JSON. Nothing in it trusts the device:
// every value of every bit has a text.

namespace pollux::cli {

// Bits of a field. `words` has what each value means, separated by '|'; a value beyond them is
// "reserved". Null: the number says it.
struct BitRange {
  uint8_t high, low;
  const char* name;
  const char* words = "not supported|supported";
};

struct ReportField {
  struct Bits {
    uint8_t high, low;
    uint64_t value;
    std::string text;  // "Format NVM: supported"
  };

  std::string name;   // "oacs"
  std::string value;  // As people are shown it: "0x012a"
  std::string json;   // As JSON.
  std::string meaning;
  std::vector<Bits> bits;
};

// Fields, and sections below them. An element of a list may have a line that tells all of it to
// people; JSON has its fields.
class Section {
 public:
  Section(std::string key, std::string title) : key_(std::move(key)), title_(std::move(title)) {}

  // --- Fields. `meaning` is the title that the specification gives.

  // `text`: what the number comes to; else its digits.
  void Number(const char* name, uint64_t value, std::string meaning, std::string text = "");
  void Hex(const char* name, uint64_t value, unsigned digits, std::string meaning);
  // A hexadecimal field with its bits. Bits that no range names and that are set are shown as well.
  void Bits(const char* name, uint64_t value, unsigned digits, std::string meaning,
            std::span<const BitRange> ranges);
  // What a device sent as ASCII, without the blanks behind it; at most `bytes`.
  void Ascii(const char* name, const char* text, size_t bytes, std::string meaning);
  void Bytes(const char* name, const uint8_t* bytes, size_t count, std::string meaning);
  // A number of 16 bytes.
  void Number128(const char* name, const uint8_t (&bytes)[16], std::string meaning,
                 std::string text = "");
  void Text(const char* name, std::string_view text, std::string meaning);

  // --- Sections. The reference is good until the next one is added.
  Section& Add(std::string key, std::string title);
  // An array: its elements are sections of it.
  Section& AddList(std::string key, std::string title);
  Section& AddElement(std::string title) { return Add("", std::move(title)); }
  void SetLine(std::string line) { line_ = std::move(line); }

  const std::string& key() const { return key_; }
  const std::string& title() const { return title_; }
  const std::string& line() const { return line_; }
  bool is_list() const { return is_list_; }
  const std::vector<ReportField>& fields() const { return fields_; }
  const std::vector<Section>& sections() const { return sections_; }
  // Null when there is none.
  const ReportField* Find(std::string_view name) const;
  const Section* FindSection(std::string_view key) const;

 private:
  std::string key_, title_, line_;
  bool is_list_ = false;
  std::vector<ReportField> fields_;
  std::vector<Section> sections_;
};

std::string ForPeople(const Section& report);
void WriteJson(const Section& section, JsonWriter& out);

}  // namespace pollux::cli
