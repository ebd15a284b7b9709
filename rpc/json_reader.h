#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace pollux::rpc {

enum class JsonKind { kNull, kBool, kNumber, kString, kArray, kObject };

// "a string", "an object", "null": for messages.
const char* JsonKindName(JsonKind kind);

// Walks through one JSON value whose text a JsonScanner found good (CheckJson). Nothing is copied
// but strings, and numbers stay text, so that none loses a digit.
//
//   reader.EnterObject();
//   while (reader.NextMember(name)) Use(name, reader.TakeText());
//
// What is asked for must be there: ask Peek() before. Comments are skipped.
class JsonReader {
 public:
  explicit JsonReader(std::string_view checked) : text_(checked) {}

  // The kind of the next value.
  JsonKind Peek();

  void EnterObject();
  // False at the end of the object, which is left by that.
  bool NextMember(std::string& name);
  void EnterArray();
  bool NextElement();

  // The next value as it is written, whatever it is.
  std::string_view TakeText();
  bool TakeBool();
  // Decoded; it may hold NUL.
  std::string TakeString();
  // All that is left, without white space and comments.
  void AppendCompact(std::string& out);

 private:
  char At() const;
  void SkipSpace();
  void SkipString();
  bool NextItem(char end);
  void AppendEscape(std::string& out);
  unsigned TakeHex();

  std::string_view text_;
  size_t at_ = 0;
};

// The string that the JSON string `text` stands for: with its quotes, checked.
std::string UnquoteJson(std::string_view text);

// `checked` without white space and comments.
std::string CompactJson(std::string_view checked);

}  // namespace pollux::rpc
