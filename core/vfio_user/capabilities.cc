#include "core/vfio_user/capabilities.h"

#include <algorithm>
#include <string_view>

namespace pollux::vfio_user {
namespace {

constexpr int kNestingMax = 16;

// Walks over JSON (RFC 8259) from left to right. Each method returns false at the first byte that
// cannot be; nothing is read after that.
class JsonWalk {
 public:
  explicit JsonWalk(std::string_view text) : rest_(text) {}

  // Calls `member(key)` for each member of an object, placed before its value.
  template <typename Member>
  bool Object(Member member) {
    if (!Take('{')) return false;
    if (Take('}')) return true;
    do {
      std::string_view key;
      if (!String(key) || !Take(':') || !member(key)) return false;
    } while (Take(','));
    return Take('}');
  }

  // The text between the quotes. A key with an escape in it is none of ours.
  bool String(std::string_view& text) {
    if (!Take('"')) return false;
    for (size_t i = 0; i < rest_.size(); ++i) {
      const auto c = static_cast<unsigned char>(rest_[i]);
      if (c < 0x20) return false;
      if (c == '"') {
        text = rest_.substr(0, i);
        rest_.remove_prefix(i + 1);
        return true;
      }
      if (c == '\\') ++i;
    }
    return false;
  }

  // No sign, no fraction, no exponent.
  bool Unsigned(uint64_t& number) {
    SkipSpace();
    number = 0;
    size_t digits = 0;
    for (; digits < rest_.size() && IsDigit(rest_[digits]); ++digits) {
      const auto digit = static_cast<uint64_t>(rest_[digits] - '0');
      if (__builtin_mul_overflow(number, 10, &number) ||
          __builtin_add_overflow(number, digit, &number)) {
        return false;
      }
    }
    if (digits == 0 || (digits > 1 && rest_[0] == '0')) return false;
    rest_.remove_prefix(digits);
    return rest_.empty() || std::string_view(".eE").find(rest_[0]) == std::string_view::npos;
  }

  bool Boolean(bool& value) {
    value = Word("true");
    return value || Word("false");
  }

  // Any value at all.
  bool Skip(int nesting = 0) {
    if (nesting > kNestingMax) return false;
    std::string_view ignored;
    switch (Peek()) {
      case '{':
        return Object([&](std::string_view) { return Skip(nesting + 1); });
      case '[':
        return SkipArray(nesting);
      case '"':
        return String(ignored);
      default:
        return Word("true") || Word("false") || Word("null") || SkipNumber();
    }
  }

  bool AtEnd() {
    SkipSpace();
    return rest_.empty();
  }

 private:
  static bool IsDigit(char c) { return c >= '0' && c <= '9'; }

  void SkipSpace() {
    const size_t space = rest_.find_first_not_of(" \t\r\n");
    rest_.remove_prefix(space == std::string_view::npos ? rest_.size() : space);
  }
  char Peek() {
    SkipSpace();
    return rest_.empty() ? '\0' : rest_[0];
  }
  bool Take(char c) {
    if (Peek() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool Word(std::string_view word) {
    SkipSpace();
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  bool SkipArray(int nesting) {
    if (!Take('[')) return false;
    if (Take(']')) return true;
    do {
      if (!Skip(nesting + 1)) return false;
    } while (Take(','));
    return Take(']');
  }
  bool SkipNumber() {
    const size_t end = std::min(rest_.find_first_not_of("+-.0123456789eE"), rest_.size());
    rest_.remove_prefix(end);
    return end > 0;
  }

  std::string_view rest_;
};

bool ReadMember(JsonWalk& json, std::string_view key, Capabilities& capabilities) {
  if (key == "max_msg_fds") {
    uint64_t fds;
    if (!json.Unsigned(fds) || fds > kMaxMsgFdsMax) return false;
    capabilities.max_msg_fds = static_cast<uint32_t>(fds);
    return true;
  }
  if (key == "max_data_xfer_size") return json.Unsigned(capabilities.max_data_xfer_size);
  if (key == "max_dma_maps") return json.Unsigned(capabilities.max_dma_maps);
  if (key == "pgsizes") return json.Unsigned(capabilities.pgsizes);
  if (key == "write_multiple") return json.Boolean(capabilities.write_multiple);
  return json.Skip();
}

}  // namespace

Result<Capabilities> ParseCapabilities(std::span<const std::byte> data) {
  Capabilities capabilities;
  if (data.empty()) return capabilities;
  if (data.size() > kVersionJsonBytesMax || data.back() != std::byte{0}) {
    return InvalidArgument("the JSON of VERSION has more than %u bytes, or no NUL at its end",
                           kVersionJsonBytesMax);
  }
  const std::string_view text(reinterpret_cast<const char*>(data.data()), data.size() - 1);
  JsonWalk json(text);
  const auto top = [&](std::string_view key) {
    if (key != "capabilities") return json.Skip();
    return json.Object(
        [&](std::string_view member) { return ReadMember(json, member, capabilities); });
  };
  if (!text.empty() && (!json.Object(top) || !json.AtEnd())) {
    return InvalidArgument("the JSON of VERSION is malformed, or a capability has a wrong value");
  }
  return capabilities;
}

std::string FormatCapabilities(const Capabilities& capabilities) {
  std::string json = absl::StrFormat(
      R"({"capabilities":{"max_msg_fds":%u,"max_data_xfer_size":%u,"max_dma_maps":%u,"pgsizes":%u%s}})",
      capabilities.max_msg_fds, capabilities.max_data_xfer_size, capabilities.max_dma_maps,
      capabilities.pgsizes, capabilities.write_multiple ? R"(,"write_multiple":true)" : "");
  json.push_back('\0');
  return json;
}

}  // namespace pollux::vfio_user
