#include "rpc/json_writer.h"

#include <charconv>
#include <cmath>

namespace pollux::rpc {
namespace {

template <typename T>
void AppendNumber(std::string& out, T value) {
  char digits[32];
  const auto [end, error] = std::to_chars(digits, digits + sizeof(digits), value);
  out.append(digits, end);
}

// How many bytes of `text` are one well-formed UTF-8 sequence: 0 when it begins with none.
// Unicode, table 3-7.
size_t Utf8Length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  size_t length = 0;
  uint8_t min = 0x80, max = 0xbf;  // Of the second byte.
  if (byte(0) >= 0xc2 && byte(0) <= 0xdf) {
    length = 2;
  } else if (byte(0) >= 0xe0 && byte(0) <= 0xef) {
    length = 3;
    if (byte(0) == 0xe0) min = 0xa0;
    if (byte(0) == 0xed) max = 0x9f;
  } else if (byte(0) >= 0xf0 && byte(0) <= 0xf4) {
    length = 4;
    if (byte(0) == 0xf0) min = 0x90;
    if (byte(0) == 0xf4) max = 0x8f;
  }
  if (length == 0 || text.size() < length || byte(1) < min || byte(1) > max) return 0;
  for (size_t i = 2; i < length; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xbf) return 0;
  }
  return length;
}

void AppendEscaped(std::string& out, char c) {
  constexpr char kHex[] = "0123456789abcdef";
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      out += "\\u00";
      out += kHex[static_cast<uint8_t>(c) >> 4];
      out += kHex[static_cast<uint8_t>(c) & 15];
      return;
  }
}

}  // namespace

void AppendJsonString(std::string& out, std::string_view text) {
  out.push_back('"');
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    while (at < text.size()) {
      const auto byte = static_cast<uint8_t>(text[at]);
      if (byte < 0x20 || byte >= 0x7f || byte == '"' || byte == '\\') break;
      ++at;
    }
    out.append(text, begin, at - begin);
    if (at == text.size()) break;
    if (static_cast<uint8_t>(text[at]) < 0x80) {
      AppendEscaped(out, text[at++]);
    } else if (const size_t length = Utf8Length(text.substr(at)); length > 0) {
      out.append(text, at, length);
      at += length;
    } else {
      out += "\xef\xbf\xbd";
      ++at;
    }
  }
  out.push_back('"');
}

void AppendJsonInteger(std::string& out, int64_t value) { AppendNumber(out, value); }
void AppendJsonInteger(std::string& out, uint64_t value) { AppendNumber(out, value); }

void AppendJsonDouble(std::string& out, double value) {
  std::isfinite(value) ? AppendNumber(out, value) : void(out += "null");
}
void AppendJsonFloat(std::string& out, float value) {
  std::isfinite(value) ? AppendNumber(out, value) : void(out += "null");
}

void AppendUtf8(std::string& out, unsigned code) {
  const auto put = [&out](unsigned byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | code >> 6);
    put(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  } else {
    put(0xf0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3f));
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  }
}

}  // namespace pollux::rpc
