#include "core/block/uuid.h"

#include <sys/random.h>

#include "core/check.h"

namespace pollux {
namespace {

// Where the text has a dash: "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx".
bool IsDashPlace(size_t place) { return place == 8 || place == 13 || place == 18 || place == 23; }
constexpr size_t kTextLength = 36;

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Uuid Uuid::Random() {
  Uuid uuid;
  CHECK(getrandom(uuid.bytes.data(), uuid.bytes.size(), 0) ==
        static_cast<ssize_t>(uuid.bytes.size()));
  uuid.bytes[6] = static_cast<uint8_t>((uuid.bytes[6] & 0x0f) | 0x40);  // Version 4.
  uuid.bytes[8] = static_cast<uint8_t>((uuid.bytes[8] & 0x3f) | 0x80);  // RFC 4122's variant.
  return uuid;
}

Result<Uuid> Uuid::Parse(std::string_view text) {
  Uuid uuid;
  size_t digits = 0;
  for (size_t i = 0; i < text.size() && text.size() == kTextLength; ++i) {
    if (IsDashPlace(i)) {
      if (text[i] != '-') break;
      continue;
    }
    const int digit = HexDigit(text[i]);
    if (digit < 0) break;
    uuid.bytes[digits / 2] = static_cast<uint8_t>(uuid.bytes[digits / 2] << 4 | digit);
    ++digits;
  }
  if (digits != 2 * uuid.bytes.size()) {
    return InvalidArgument("not a UUID such as 2b1a5f2e-8f43-4c5b-9d5e-0123456789ab");
  }
  return uuid;
}

Result<Uuid> Uuid::ParseOrRandom(std::string_view field, std::string_view text) {
  if (text.empty()) return Random();
  Result<Uuid> uuid = Parse(text);
  if (!uuid.ok()) return ErrorOfField(EINVAL, field, text, DetailOf(uuid.status()).reason);
  return uuid;
}

std::string Uuid::ToString() const {
  std::string text;
  for (const uint8_t byte : bytes) {
    if (IsDashPlace(text.size())) text += '-';
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

}  // namespace pollux
