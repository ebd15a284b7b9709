#pragma once
#include <string>
#include <string_view>

#include "core/status.h"

namespace pollux::iscsi {

// iSCSI names, RFC 7143 §4.2.7: iqn., eui. and naa., at most 223 bytes, compared without regard to
// case.

// OK, or what is wrong with the name, for a person.
Status ValidateName(std::string_view field, std::string_view name);

// `name`, or, when it has none of the three prefixes, `node_base` and a colon in front of it.
std::string WithNodeBase(std::string_view node_base, std::string_view name);
// The reverse: what a person calls the target.
std::string_view WithoutNodeBase(std::string_view node_base, std::string_view name);

bool SameName(std::string_view a, std::string_view b);

}  // namespace pollux::iscsi
