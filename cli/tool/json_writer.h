#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace pollux::cli {

// Writes one JSON value, indented. In an object every value follows a Key(). Text that is no UTF-8,
// as devices may have it, is taken byte by byte, as Latin-1.
class JsonWriter {
 public:
  void BeginObject() { Begin('{'); }
  void EndObject() { End('}'); }
  void BeginArray() { Begin('['); }
  void EndArray() { End(']'); }
  void Key(std::string_view name);

  void Text(std::string_view text);
  void Number(uint64_t number) { Raw(std::to_string(number)); }
  void Number(double number);  // With three decimals; null when it is no number.
  void Bool(bool value) { Raw(value ? "true" : "false"); }
  // A number whose digits the caller has.
  void Raw(std::string_view digits);

  // A key with its value.
  template <typename T>
  void Field(std::string_view name, const T& value) {
    Key(name);
    if constexpr (std::is_same_v<T, bool>) {
      Bool(value);
    } else if constexpr (std::is_floating_point_v<T>) {
      Number(double{value});
    } else if constexpr (std::is_integral_v<T>) {
      Raw(std::to_string(value));
    } else {
      Text(value);
    }
  }

  // The value is complete. Ends with a newline.
  std::string Take();

 private:
  void Begin(char sign);
  void End(char sign);
  void BeforeValue();

  struct Level {
    bool empty = true;
  };
  std::string out_;
  std::vector<Level> levels_;
  bool after_key_ = false;
};

}  // namespace pollux::cli
