#include "cli/tool/json_writer.h"

#include <cmath>

#include "absl/strings/str_format.h"
#include "core/check.h"

namespace pollux::cli {
namespace {

constexpr size_t kIndent = 2;

// How many bytes of `text` from `at` on are one character in UTF-8, in its shortest form and no
// surrogate (RFC 3629); 0 when they are none.
size_t Utf8Length(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() - at < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const unsigned char second = byte(1);
  if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
      (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) {
    return 0;
  }
  return length;
}

void AppendQuoted(std::string& out, std::string_view text) {
  out.push_back('"');
  for (size_t at = 0; at < text.size();) {
    const size_t length = Utf8Length(text, at);
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte == '"' || byte == '\\') {
      out.append({'\\', text[at]});
    } else if (length == 0 || byte < 0x20 || byte == 0x7f) {
      out += absl::StrFormat("\\u%04x", byte);
    } else {
      out.append(text.substr(at, length));
    }
    at += length == 0 ? 1 : length;
  }
  out.push_back('"');
}

}  // namespace

void JsonWriter::BeforeValue() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (levels_.empty()) return;
  if (!levels_.back().empty) out_.push_back(',');
  levels_.back().empty = false;
  out_.push_back('\n');
  out_.append(levels_.size() * kIndent, ' ');
}

void JsonWriter::Begin(char sign) {
  BeforeValue();
  out_.push_back(sign);
  levels_.emplace_back();
}

void JsonWriter::End(char sign) {
  CHECK(!levels_.empty() && !after_key_);
  const bool empty = levels_.back().empty;
  levels_.pop_back();
  if (!empty) {
    out_.push_back('\n');
    out_.append(levels_.size() * kIndent, ' ');
  }
  out_.push_back(sign);
}

void JsonWriter::Key(std::string_view name) {
  CHECK(!after_key_);
  BeforeValue();
  AppendQuoted(out_, name);
  out_ += ": ";
  after_key_ = true;
}

void JsonWriter::Text(std::string_view text) {
  BeforeValue();
  AppendQuoted(out_, text);
}

void JsonWriter::Number(double number) {
  Raw(std::isfinite(number) ? absl::StrFormat("%.3f", number) : "null");
}

void JsonWriter::Raw(std::string_view digits) {
  BeforeValue();
  out_ += digits;
}

std::string JsonWriter::Take() {
  CHECK(levels_.empty() && !after_key_);
  out_.push_back('\n');
  return std::move(out_);
}

}  // namespace pollux::cli
