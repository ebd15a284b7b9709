#include "rpc/json_scanner.h"

#include <algorithm>

#include "core/check.h"

namespace pollux::rpc {
namespace {

bool IsSpace(uint8_t byte) { return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t'; }
bool IsDigit(uint8_t byte) { return byte >= '0' && byte <= '9'; }

// What a string holds as it is: ASCII but for control characters, '"' and '\'.
bool IsPlain(uint8_t byte) { return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\'; }

int HexDigit(uint8_t byte) {
  if (IsDigit(byte)) return byte - '0';
  if (byte >= 'a' && byte <= 'f') return byte - 'a' + 10;
  if (byte >= 'A' && byte <= 'F') return byte - 'A' + 10;
  return -1;
}

}  // namespace

JsonScanner::JsonScanner(const Limits& limits) : limits_(limits) {
  CHECK(limits.nesting_max <= kNestingLimit);
}

void JsonScanner::Reset() {
  state_ = State::kValue;
  bytes_ = values_ = 0;
  depth_ = 0;
  complete_ = false;
}

JsonScanner::Outcome JsonScanner::Scan(std::string_view bytes, size_t& taken) {
  taken = 0;
  if (complete_) Reset();
  while (taken < bytes.size()) {
    const auto byte = static_cast<uint8_t>(bytes[taken]);
    if (state_ == State::kString && IsPlain(byte)) {
      // The common case, in a loop of its own.
      const size_t room = std::min(bytes.size() - taken, limits_.bytes_max - bytes_);
      size_t plain = 0;
      while (plain < room && IsPlain(static_cast<uint8_t>(bytes[taken + plain]))) ++plain;
      taken += plain;
      bytes_ += plain;
      if (plain > 0) continue;
    }
    const bool outside = depth_ == 0 && state_ == State::kValue;
    if (outside && IsSpace(byte)) {
      ++taken;
      continue;
    }
    if (bytes_ >= limits_.bytes_max) Fail("is too long");
    const bool took = state_ != State::kBroken && Step(byte);
    if (state_ == State::kBroken) return Outcome::kBroken;
    if (took) {
      ++taken;
      // A comment before the value is white space, too.
      const bool still_outside = depth_ == 0 && state_ == State::kValue;
      bytes_ = still_outside ? 0 : bytes_ + 1;
    }
    if (complete_) return Outcome::kComplete;
  }
  return Outcome::kNeedMore;
}

JsonScanner::Outcome JsonScanner::Finish() {
  if (complete_) Reset();
  if (state_ == State::kBroken) return Outcome::kBroken;
  if (depth_ == 0 && (state_ == State::kZero || state_ == State::kDigits ||
                      state_ == State::kFraction || state_ == State::kExponentDigits)) {
    complete_ = true;
    return Outcome::kComplete;
  }
  return Outcome::kNeedMore;
}

bool JsonScanner::Take(State next) {
  state_ = next;
  return true;
}

bool JsonScanner::Fail(const char* why) {
  state_ = State::kBroken;
  error_ = why;
  return false;
}

bool JsonScanner::Step(uint8_t byte) {
  switch (state_) {
    case State::kValue:
    case State::kFirstElement:
    case State::kFirstName:
    case State::kName:
    case State::kColon:
    case State::kAfterValue:
      if (IsSpace(byte)) return true;
      if (byte == '/' && limits_.comments) {
        after_comment_ = state_;
        return Take(State::kSlash);
      }
      break;
    default:
      break;
  }
  switch (state_) {
    case State::kFirstElement:
      if (byte == ']') return EndContainer(/*object=*/false);
      return BeginValue(byte);
    case State::kValue:
      return BeginValue(byte);
    case State::kFirstName:
      if (byte == '}') return EndContainer(/*object=*/true);
      [[fallthrough]];
    case State::kName:
      if (byte != '"') return Fail("has no name in quotes where a member must begin");
      is_name_ = true;
      return BeginString();
    case State::kColon:
      if (byte != ':') return Fail("has no colon after a member's name");
      return Take(State::kValue);
    case State::kAfterValue:
      if (byte == ',') return Take(InObject() ? State::kName : State::kValue);
      if (byte == '}' || byte == ']') return EndContainer(byte == '}');
      return Fail("has no comma or end after a value");

    case State::kLiteral:
      if (byte != static_cast<uint8_t>(*literal_rest_)) return Fail("has an unknown word");
      if (*++literal_rest_ == '\0') return EndValue();
      return true;
    case State::kString:
    case State::kLowBackslash:
    case State::kLowU:
    case State::kContinuation:
      return StringByte(byte);
    case State::kEscape:
      return EscapeByte(byte);
    case State::kHex:
      return HexByte(byte);

    case State::kMinus:
    case State::kZero:
    case State::kDigits:
    case State::kPoint:
    case State::kFraction:
    case State::kExponent:
    case State::kExponentSign:
    case State::kExponentDigits:
      return NumberByte(byte);

    case State::kSlash:
    case State::kLineComment:
    case State::kBlockComment:
    case State::kBlockCommentStar:
      return CommentByte(byte);

    case State::kBroken:
      return false;
  }
  return false;
}

bool JsonScanner::BeginValue(uint8_t byte) {
  if (++values_ > limits_.values_max) return Fail("has too many values");
  const auto literal = [this](const char* rest) {
    literal_rest_ = rest;
    return Take(State::kLiteral);
  };
  switch (byte) {
    case '{':
      return BeginContainer(/*object=*/true);
    case '[':
      return BeginContainer(/*object=*/false);
    case '"':
      is_name_ = false;
      return BeginString();
    case 't':
      return literal("rue");
    case 'f':
      return literal("alse");
    case 'n':
      return literal("ull");
    case '-':
      return Take(State::kMinus);
    case '0':
      return Take(State::kZero);
    default:
      if (IsDigit(byte)) return Take(State::kDigits);
      return Fail("has no value where one must begin");
  }
}

bool JsonScanner::BeginContainer(bool object) {
  if (depth_ == limits_.nesting_max) return Fail("is nested too deeply");
  const uint64_t bit = uint64_t{1} << depth_;
  objects_ = object ? objects_ | bit : objects_ & ~bit;
  ++depth_;
  return Take(object ? State::kFirstName : State::kFirstElement);
}

bool JsonScanner::EndContainer(bool object) {
  if (object != InObject()) return Fail("closes an array as an object, or the reverse");
  --depth_;
  return EndValue();
}

bool JsonScanner::EndValue() {
  complete_ = depth_ == 0;
  return Take(State::kAfterValue);
}

bool JsonScanner::BeginString() {
  low_half_ = false;
  return Take(State::kString);
}

bool JsonScanner::StringByte(uint8_t byte) {
  if (state_ == State::kLowBackslash) {
    if (byte != '\\') return Fail("has half a surrogate pair");
    return Take(State::kLowU);
  }
  if (state_ == State::kLowU) {
    if (byte != 'u') return Fail("has half a surrogate pair");
    hex_ = 0;
    hex_left_ = 4;
    low_half_ = true;
    return Take(State::kHex);
  }
  if (state_ == State::kContinuation) {
    if (byte < utf8_min_ || byte > utf8_max_) return Fail("has text that is not UTF-8");
    utf8_min_ = 0x80;
    utf8_max_ = 0xbf;
    return Take(--utf8_left_ == 0 ? State::kString : State::kContinuation);
  }
  if (byte == '"') return is_name_ ? Take(State::kColon) : EndValue();
  if (byte == '\\') return Take(State::kEscape);
  if (byte < 0x20) return Fail("has a control character in a string");
  if (byte >= 0x80) return BeginUtf8(byte);
  return true;
}

bool JsonScanner::EscapeByte(uint8_t byte) {
  switch (byte) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
      return Take(State::kString);
    case 'u':
      hex_ = 0;
      hex_left_ = 4;
      low_half_ = false;
      return Take(State::kHex);
    default:
      return Fail("has an unknown escape in a string");
  }
}

bool JsonScanner::HexByte(uint8_t byte) {
  const int digit = HexDigit(byte);
  if (digit < 0) return Fail("has \\u without four hexadecimal digits");
  hex_ = hex_ << 4 | static_cast<uint32_t>(digit);
  if (--hex_left_ > 0) return true;
  const bool is_low = hex_ >= 0xdc00 && hex_ <= 0xdfff;
  if (is_low != low_half_) return Fail("has half a surrogate pair");
  if (hex_ >= 0xd800 && hex_ <= 0xdbff) return Take(State::kLowBackslash);
  return Take(State::kString);
}

// The well-formed sequences of Unicode's table 3-7: no overlong forms, no surrogates, nothing above
// U+10FFFF.
bool JsonScanner::BeginUtf8(uint8_t byte) {
  utf8_min_ = 0x80;
  utf8_max_ = 0xbf;
  if (byte >= 0xc2 && byte <= 0xdf) {
    utf8_left_ = 1;
  } else if (byte >= 0xe0 && byte <= 0xef) {
    utf8_left_ = 2;
    if (byte == 0xe0) utf8_min_ = 0xa0;
    if (byte == 0xed) utf8_max_ = 0x9f;
  } else if (byte >= 0xf0 && byte <= 0xf4) {
    utf8_left_ = 3;
    if (byte == 0xf0) utf8_min_ = 0x90;
    if (byte == 0xf4) utf8_max_ = 0x8f;
  } else {
    return Fail("has text that is not UTF-8");
  }
  return Take(State::kContinuation);
}

bool JsonScanner::NumberByte(uint8_t byte) {
  const bool digit = IsDigit(byte);
  switch (state_) {
    case State::kMinus:
      if (!digit) return Fail("has a minus without a number");
      return Take(byte == '0' ? State::kZero : State::kDigits);
    case State::kPoint:
      if (!digit) return Fail("has a decimal point without digits after it");
      return Take(State::kFraction);
    case State::kExponent:
      if (byte == '+' || byte == '-') return Take(State::kExponentSign);
      [[fallthrough]];
    case State::kExponentSign:
      if (!digit) return Fail("has an exponent without digits");
      return Take(State::kExponentDigits);
    case State::kZero:
      if (digit) return Fail("has a number with a leading zero");
      break;
    default:
      if (digit) return true;
      break;
  }
  if (byte == '.' && (state_ == State::kZero || state_ == State::kDigits)) {
    return Take(State::kPoint);
  }
  if ((byte == 'e' || byte == 'E') && state_ != State::kExponentDigits) {
    return Take(State::kExponent);
  }
  EndValue();
  return false;
}

bool JsonScanner::CommentByte(uint8_t byte) {
  switch (state_) {
    case State::kSlash:
      if (byte == '/') return Take(State::kLineComment);
      if (byte == '*') return Take(State::kBlockComment);
      return Fail("has a slash that begins no comment");
    case State::kLineComment:
      return byte == '\n' ? Take(after_comment_) : true;
    case State::kBlockCommentStar:
      if (byte == '/') return Take(after_comment_);
      return Take(byte == '*' ? State::kBlockCommentStar : State::kBlockComment);
    default:
      return byte == '*' ? Take(State::kBlockCommentStar) : true;
  }
}

Status CheckJson(std::string_view text, const JsonScanner::Limits& limits) {
  JsonScanner scanner(limits);
  size_t taken = 0;
  JsonScanner::Outcome outcome = scanner.Scan(text, taken);
  if (outcome == JsonScanner::Outcome::kNeedMore) outcome = scanner.Finish();
  if (outcome == JsonScanner::Outcome::kBroken) {
    return InvalidArgument("the JSON text %s (at byte %u)", scanner.error(), taken);
  }
  if (outcome == JsonScanner::Outcome::kNeedMore) {
    return scanner.blank() ? InvalidArgument("there is no JSON text")
                           : InvalidArgument("the JSON text ends too early");
  }
  size_t after = 0;
  const std::string_view rest = text.substr(taken);
  outcome = scanner.Scan(rest, after);
  if (outcome != JsonScanner::Outcome::kNeedMore || !scanner.blank()) {
    return InvalidArgument("something follows the JSON value (at byte %u)", taken);
  }
  return OkStatus();
}

}  // namespace pollux::rpc
