#pragma once
#include <cstddef>
#include <string>

#include "cli/json_value.h"

namespace pollux::cli {

// A result for people: a scalar as a line, an array of objects as a table, an object as its names
// and values. Objects whose table would be wider than `width` stand one below the other. Ends with
// a newline.
std::string ForPeople(const JsonValue& value, size_t width);

}  // namespace pollux::cli
