#pragma once
#include <string_view>

#include "core/status.h"

namespace pollux::nvmf {

// NVMe Qualified Names, Base §4.5: "nqn.2014-08.com.example:disk1", or the UUID form. At most 223
// bytes of UTF-8, compared byte by byte. The errors name `field`.
Status ValidateNqn(std::string_view field, std::string_view nqn);

// What a host may call itself: its name need not follow the form, only be text that can be shown
// and compared. Hosts in the field have made up names since before there was one.
bool IsAcceptableHostNqn(std::string_view nqn);

// Serial number, model number: printable ASCII, at most `bytes_max`. `field` may be empty text only
// when it is allowed to.
Status ValidateAscii(std::string_view field, std::string_view text, size_t bytes_max);

}  // namespace pollux::nvmf
