#pragma once
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>

#include "core/status.h"

// What authentication is made of. Control plane: the functions allocate, and hashing may load
// parts of OpenSSL. Byte strings are std::string.

namespace pollux {

enum class HashAlgorithm { kMd5, kSha1, kSha256, kSha3_256 };

// The length of its values in bytes.
size_t HashBytes(HashAlgorithm algorithm);

// The hash of the parts, one behind the other. Fails where the system's OpenSSL is set up without
// the algorithm, such as for MD5 under FIPS rules.
Result<std::string> HashOf(HashAlgorithm algorithm, std::initializer_list<std::string_view> parts);

// Whether they are equal, in a time that depends on their lengths alone.
bool EqualInConstantTime(std::string_view a, std::string_view b);

// Bytes that nobody can predict, from getrandom(2).
std::string RandomBytes(size_t count);

}  // namespace pollux
