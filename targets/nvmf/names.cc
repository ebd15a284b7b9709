#include "targets/nvmf/names.h"

#include <algorithm>
#include <cctype>

#include "core/block/uuid.h"
#include "core/log.h"
#include "core/spec/nvmf_spec.h"

namespace pollux::nvmf {
namespace {

constexpr std::string_view kUuidPrefix = "nqn.2014-08.org.nvmexpress:uuid:";

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsAlphanumeric(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// The bytes that follow the first one of a character, or -1 when none begins so; and the bounds of
// the second byte, which keep out overlong forms, surrogates and what lies beyond U+10FFFF. RFC
// 3629
int Continuations(unsigned char first, unsigned char& low, unsigned char& high) {
  low = 0x80;
  high = 0xbf;
  if (first < 0x80) return 0;
  if (first >= 0xc2 && first <= 0xdf) return 1;
  if (first >= 0xe0 && first <= 0xef) {
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
    return 2;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
    return 3;
  }
  return -1;
}

// UTF-8 without control characters, C1 among them.
bool IsPlainUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto first = static_cast<unsigned char>(text[i]);
    unsigned char low = 0, high = 0;
    const int more = Continuations(first, low, high);
    if (more < 0 || first < 0x20 || first == 0x7f) return false;
    if (i + static_cast<size_t>(more) >= text.size()) return false;
    for (int k = 1; k <= more; ++k) {
      const auto byte = static_cast<unsigned char>(text[i + static_cast<size_t>(k)]);
      if (byte < low || byte > high) return false;
      if (first == 0xc2 && byte < 0xa0) return false;
      low = 0x80;
      high = 0xbf;
    }
    i += static_cast<size_t>(more) + 1;
  }
  return true;
}

// "2014-08."
bool IsDate(std::string_view text) {
  if (text.size() != 8 || text[4] != '-' || text[7] != '.') return false;
  for (const size_t i : {size_t{0}, size_t{1}, size_t{2}, size_t{3}, size_t{5}, size_t{6}}) {
    if (!IsDigit(text[i])) return false;
  }
  const int month = (text[5] - '0') * 10 + (text[6] - '0');
  return month >= 1 && month <= 12;
}

// Labels of letters, digits and inner hyphens, at most 63 bytes each, with dots between.
bool IsReverseDomain(std::string_view domain) {
  size_t begin = 0;
  while (begin <= domain.size()) {
    const size_t end = std::min(domain.find('.', begin), domain.size());
    const std::string_view label = domain.substr(begin, end - begin);
    if (label.empty() || label.size() > 63 || label.front() == '-' || label.back() == '-') {
      return false;
    }
    if (!std::all_of(label.begin(), label.end(),
                     [](char c) { return IsAlphanumeric(c) || c == '-'; })) {
      return false;
    }
    begin = end + 1;
  }
  return true;
}

}  // namespace

Status ValidateNqn(std::string_view field, std::string_view nqn) {
  const std::string shown = Printable(nqn);
  if (nqn.size() > nvme::kNqnBytesMax) {
    return InvalidField(field, shown, "an NQN has at most %d bytes", nvme::kNqnBytesMax);
  }
  if (!IsPlainUtf8(nqn)) {
    return InvalidField(field, shown, "an NQN is UTF-8 without control characters");
  }
  if (nqn == nvme::kDiscoveryNqn) return OkStatus();
  if (nqn.starts_with(kUuidPrefix)) {
    if (Uuid::Parse(nqn.substr(kUuidPrefix.size())).ok()) return OkStatus();
    return InvalidField(field, shown, "must be %s and a UUID", std::string(kUuidPrefix));
  }
  const size_t colon = nqn.find(':');
  if (!nqn.starts_with("nqn.") || nqn.size() < 12 || !IsDate(nqn.substr(4, 8)) ||
      colon == std::string_view::npos || !IsReverseDomain(nqn.substr(12, colon - 12)) ||
      colon + 1 == nqn.size()) {
    return InvalidField(field, shown,
                        "an NQN looks like nqn.2014-08.com.example:disk1: a date, a domain in "
                        "reverse, and a name after the colon");
  }
  return OkStatus();
}

bool IsAcceptableHostNqn(std::string_view nqn) {
  return !nqn.empty() && nqn.size() <= nvme::kNqnBytesMax && IsPlainUtf8(nqn);
}

Status ValidateAscii(std::string_view field, std::string_view text, size_t bytes_max) {
  if (text.empty()) return InvalidField(field, "", "must not be empty");
  if (text.size() > bytes_max) {
    return InvalidField(field, Printable(text), "has at most %d characters", bytes_max);
  }
  if (!std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c <= 0x7e; })) {
    return InvalidField(field, Printable(text), "must be printable ASCII");
  }
  return OkStatus();
}

}  // namespace pollux::nvmf
