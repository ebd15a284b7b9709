#include "targets/iscsi/names.h"

#include <algorithm>

#include "core/log.h"
#include "targets/iscsi/iscsi_spec.h"

namespace pollux::iscsi {
namespace {

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsHex(char c) { return IsDigit(c) || (Lower(c) >= 'a' && Lower(c) <= 'f'); }

bool HasPrefix(std::string_view name, std::string_view prefix) {
  return name.size() >= prefix.size() && SameName(name.substr(0, prefix.size()), prefix);
}
bool HasTypePrefix(std::string_view name) {
  return HasPrefix(name, "iqn.") || HasPrefix(name, "eui.") || HasPrefix(name, "naa.");
}

// Letters, digits, '-', '.', ':'; bytes beyond ASCII are for stringprep (RFC 3722) to judge, which
// the administrator's tools have done.
bool IsNameCharacter(char c) {
  return (Lower(c) >= 'a' && Lower(c) <= 'z') || IsDigit(c) || c == '-' || c == '.' || c == ':' ||
         static_cast<unsigned char>(c) >= 0x80;
}

// "2016-06.": year and month of when the naming authority owned its domain.
bool HasDate(std::string_view rest) {
  if (rest.size() < 9 || rest[4] != '-' || rest[7] != '.') return false;
  for (size_t i = 0; i < 7; ++i) {
    if (i != 4 && !IsDigit(rest[i])) return false;
  }
  const int month = (rest[5] - '0') * 10 + (rest[6] - '0');
  return month >= 1 && month <= 12;
}

const char* Fault(std::string_view name) {
  if (name.empty()) return "a name cannot be empty";
  if (name.size() > kNameBytesMax) return "longer than 223 bytes";
  if (!HasTypePrefix(name)) return "must start with iqn., eui. or naa.";
  if (!std::all_of(name.begin(), name.end(), IsNameCharacter)) {
    return "only letters, digits, '-', '.' and ':' are allowed";
  }
  const std::string_view rest = name.substr(4);
  if (HasPrefix(name, "iqn.")) {
    return HasDate(rest) ? nullptr : "must be iqn.YYYY-MM.reversed-domain[:anything]";
  }
  if (!std::all_of(rest.begin(), rest.end(), IsHex)) return "must have hexadecimal digits only";
  if (HasPrefix(name, "eui.")) return rest.size() == 16 ? nullptr : "must have 16 digits";
  return rest.size() == 16 || rest.size() == 32 ? nullptr : "must have 16 or 32 digits";
}

}  // namespace

bool SameName(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return Lower(x) == Lower(y); });
}

Status ValidateName(std::string_view field, std::string_view name) {
  const char* const fault = Fault(name);
  if (fault == nullptr) return OkStatus();
  return ErrorOfField(EINVAL, field, Printable(name), fault);
}

std::string WithNodeBase(std::string_view node_base, std::string_view name) {
  if (HasTypePrefix(name)) return std::string(name);
  std::string whole(node_base);
  whole.push_back(':');
  whole.append(name);
  return whole;
}

std::string_view WithoutNodeBase(std::string_view node_base, std::string_view name) {
  if (name.size() > node_base.size() + 1 && name[node_base.size()] == ':' &&
      SameName(name.substr(0, node_base.size()), node_base)) {
    name.remove_prefix(node_base.size() + 1);
  }
  return name;
}

}  // namespace pollux::iscsi
