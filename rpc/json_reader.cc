#include "rpc/json_reader.h"

#include "core/check.h"
#include "rpc/json_writer.h"

namespace pollux::rpc {
namespace {

constexpr std::string_view kAfterScalar = " \t\r\n,]}/";

}  // namespace

const char* JsonKindName(JsonKind kind) {
  switch (kind) {
    case JsonKind::kNull:
      return "null";
    case JsonKind::kBool:
      return "a boolean";
    case JsonKind::kNumber:
      return "a number";
    case JsonKind::kString:
      return "a string";
    case JsonKind::kArray:
      return "an array";
    case JsonKind::kObject:
      return "an object";
  }
  return "";
}

char JsonReader::At() const {
  CHECK(at_ < text_.size(), "JSON text that was not checked");
  return text_[at_];
}

void JsonReader::SkipSpace() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c == '/') {
      const bool line = text_.substr(at_, 2) == "//";
      const size_t end = line ? text_.find('\n', at_) : text_.find("*/", at_ + 2);
      at_ = end == std::string_view::npos ? text_.size() : end + (line ? 1 : 2);
    } else if (c == ' ' || c == '\n' || c == '\r' || c == '\t') {
      ++at_;
    } else {
      return;
    }
  }
}

JsonKind JsonReader::Peek() {
  SkipSpace();
  switch (At()) {
    case '{':
      return JsonKind::kObject;
    case '[':
      return JsonKind::kArray;
    case '"':
      return JsonKind::kString;
    case 't':
    case 'f':
      return JsonKind::kBool;
    case 'n':
      return JsonKind::kNull;
    default:
      return JsonKind::kNumber;
  }
}

void JsonReader::EnterObject() {
  CHECK(Peek() == JsonKind::kObject);
  ++at_;
}

void JsonReader::EnterArray() {
  CHECK(Peek() == JsonKind::kArray);
  ++at_;
}

// The text is good, so a comma can only be where one belongs.
bool JsonReader::NextItem(char end) {
  SkipSpace();
  if (At() == ',') {
    ++at_;
    SkipSpace();
  }
  if (At() != end) return true;
  ++at_;
  return false;
}

bool JsonReader::NextMember(std::string& name) {
  if (!NextItem('}')) return false;
  name = TakeString();
  SkipSpace();
  CHECK(At() == ':');
  ++at_;
  return true;
}

bool JsonReader::NextElement() { return NextItem(']'); }

void JsonReader::SkipString() {
  for (++at_; At() != '"'; ++at_) {
    if (At() == '\\') ++at_;
  }
  ++at_;
}

std::string_view JsonReader::TakeText() {
  const JsonKind kind = Peek();
  const size_t begin = at_;
  if (kind == JsonKind::kString) {
    SkipString();
  } else if (kind == JsonKind::kObject || kind == JsonKind::kArray) {
    int depth = 0;
    do {
      SkipSpace();
      const char c = At();
      if (c == '"') {
        SkipString();
        continue;
      }
      if (c == '{' || c == '[') ++depth;
      if (c == '}' || c == ']') --depth;
      ++at_;
    } while (depth > 0);
  } else {
    const size_t end = text_.find_first_of(kAfterScalar, at_);
    at_ = end == std::string_view::npos ? text_.size() : end;
  }
  return text_.substr(begin, at_ - begin);
}

bool JsonReader::TakeBool() {
  CHECK(Peek() == JsonKind::kBool);
  return TakeText() == "true";
}

std::string JsonReader::TakeString() {
  CHECK(Peek() == JsonKind::kString);
  std::string out;
  ++at_;
  for (;;) {
    const size_t end = text_.find_first_of("\"\\", at_);
    CHECK(end != std::string_view::npos, "JSON text that was not checked");
    out.append(text_, at_, end - at_);
    at_ = end + 1;
    if (text_[end] == '"') return out;
    AppendEscape(out);
  }
}

void JsonReader::AppendEscape(std::string& out) {
  const char c = At();
  ++at_;
  switch (c) {
    case 'b':
      return out.push_back('\b');
    case 'f':
      return out.push_back('\f');
    case 'n':
      return out.push_back('\n');
    case 'r':
      return out.push_back('\r');
    case 't':
      return out.push_back('\t');
    case 'u': {
      unsigned code = TakeHex();
      if (code >= 0xd800 && code <= 0xdbff) {
        at_ += 2;  // The second half's \u: the scanner saw to it.
        code = 0x10000 + ((code - 0xd800) << 10) + (TakeHex() - 0xdc00);
      }
      return AppendUtf8(out, code);
    }
    default:
      return out.push_back(c);
  }
}

unsigned JsonReader::TakeHex() {
  unsigned code = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    const char c = At();
    code = code << 4 | static_cast<unsigned>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  return code;
}

void JsonReader::AppendCompact(std::string& out) {
  for (SkipSpace(); at_ < text_.size(); SkipSpace()) {
    const size_t begin = at_;
    if (text_[at_] == '"') {
      SkipString();
    } else {
      ++at_;
    }
    out.append(text_, begin, at_ - begin);
  }
}

std::string UnquoteJson(std::string_view text) { return JsonReader(text).TakeString(); }

std::string CompactJson(std::string_view checked) {
  std::string out;
  JsonReader(checked).AppendCompact(out);
  return out;
}

}  // namespace pollux::rpc
