#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/status.h"

namespace pollux::rpc {

// Finds where one JSON value (RFC 8259) ends in a stream that arrives in pieces, and whether it is
// good. It keeps its place between pieces, so each byte is looked at once; it stores no text.
//
// It is strict where parsers tend not to be: 01, +1, 1., a lone -, control characters in strings,
// unknown escapes, halves of surrogate pairs and UTF-8 that is none are refused.
class JsonScanner {
 public:
  static constexpr int kNestingLimit = 64;  // One bit for each level.
  struct Limits {
    size_t bytes_max = SIZE_MAX;
    size_t values_max = SIZE_MAX;  // Scalars, arrays and objects; names are not counted.
    int nesting_max = kNestingLimit;
    bool comments = false;  // // and /* */ are white space: for configuration files.
  };
  enum class Outcome {
    kNeedMore,  // All bytes were taken.
    kComplete,  // The value ends with the last byte taken.
    kBroken,    // error() says why. Nothing more can be made of this stream.
  };

  explicit JsonScanner(const Limits& limits);

  // Goes on with `bytes`, and tells in `taken` how many belong to the value (or to the white space
  // before it). After kComplete the next call begins a new value.
  Outcome Scan(std::string_view bytes, size_t& taken);
  // No more bytes will come. Only a number at the top level is complete by that.
  Outcome Finish();

  // Nothing but white space has been seen, which need not be kept.
  bool blank() const {
    return depth_ == 0 && (state_ == State::kValue ||
                           (state_ == State::kLineComment && after_comment_ == State::kValue));
  }
  // What is wrong with a broken value, to be said after "the JSON text".
  const char* error() const { return error_; }

 private:
  enum class State : uint8_t {
    kValue,         // A value must follow,
    kFirstElement,  // or the end of the array that has just begun.
    kFirstName,     // A name, or the end of the object that has just begun.
    kName,
    kColon,
    kAfterValue,  // A comma, or the end of the array or object.
    kLiteral,
    kString,
    kEscape,
    kHex,
    kLowBackslash,  // The second half of a surrogate pair must follow: \uDC00..\uDFFF.
    kLowU,
    kContinuation,  // Of a UTF-8 sequence.
    kMinus,
    kZero,
    kDigits,
    kPoint,
    kFraction,
    kExponent,
    kExponentSign,
    kExponentDigits,
    kSlash,
    kLineComment,
    kBlockComment,
    kBlockCommentStar,
    kBroken,
  };

  void Reset();
  bool Step(uint8_t byte);  // False when the byte was not taken: the number before it ended.
  bool Take(State next);
  bool Fail(const char* why);
  bool BeginValue(uint8_t byte);
  bool BeginContainer(bool object);
  bool EndContainer(bool object);
  bool EndValue();
  bool BeginString();
  bool StringByte(uint8_t byte);
  bool EscapeByte(uint8_t byte);
  bool HexByte(uint8_t byte);
  bool BeginUtf8(uint8_t byte);
  bool NumberByte(uint8_t byte);
  bool CommentByte(uint8_t byte);
  bool InObject() const { return (objects_ >> (depth_ - 1)) & 1; }

  const Limits limits_;
  State state_ = State::kValue;
  State after_comment_ = State::kValue;
  const char* error_ = nullptr;
  size_t bytes_ = 0;  // Of the value so far.
  size_t values_ = 0;
  int depth_ = 0;
  uint64_t objects_ = 0;  // Bit n: level n is an object, not an array.
  bool complete_ = false;

  const char* literal_rest_ = nullptr;
  bool is_name_ = false;  // The string is a member's name.
  int hex_left_ = 0;
  uint32_t hex_ = 0;
  bool low_half_ = false;  // hex_ is the second half of a pair.
  int utf8_left_ = 0;
  uint8_t utf8_min_ = 0, utf8_max_ = 0;  // Of the next byte.
};

// OK when `text` is one JSON value and white space.
Status CheckJson(std::string_view text, const JsonScanner::Limits& limits);

}  // namespace pollux::rpc
