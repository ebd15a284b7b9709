#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "cli/catalog.h"
#include "core/status.h"

// Words of a command line to JSON, by the type of the field that they are for.
//
//   bool      true, yes, on, 1; false, no, off, 0
//   integers  12, -1, 0x1f; K, M, G, T multiply by powers of 1024
//   enum      one of its JSON values, in any case
//   string    as it is
//   message   a JSON object; one of two scalars, and flags after them that may be absent, also as
//             "a:b", split at the last colon, or "a" when the second may be absent
//   list      words separated by commas or blanks; or a JSON array; each word as above
//   map, any JSON   JSON

namespace pollux::cli {

// Appends the JSON value of `field` that `words` give, one for each time that it was given. Only a
// list may be given more than once. Fails naming the field and the word.
Status AppendValue(std::string& out, const FieldDescriptor& field,
                   const std::vector<std::string>& words);

// How a word for the field is written, for help: "TEXT", "NUMBER", "HOST:PORT,...".
std::string FormOf(const FieldDescriptor& field);

}  // namespace pollux::cli
