#pragma once
#include <cstddef>
#include <string_view>

namespace pollux::cli {

// How many characters must be inserted, removed or replaced to make one of the other.
size_t EditDistance(std::string_view a, std::string_view b);
// Whether `wrong`, which there is not, may stand for `right`, which there is.
bool IsLike(std::string_view wrong, std::string_view right);

}  // namespace pollux::cli
