#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "targets/iscsi/iscsi_target.h"

namespace pollux::iscsi {

// The file of authentication groups that iscsi_set_options names, in SPDK's form:
//
//   # Remarks take a line of their own, or end one.
//   [AuthGroup1]
//     Comment "what is for the reader alone"
//     Auth "user" "secret"
//     Auth "user" "secret" "muser" "msecret"
//
// Words may stand without quotes where they have neither blanks nor quotes nor '#'; nothing is
// escaped.
inline constexpr size_t kAuthFileBytesMax = 1024 * 1024;

// What AuthGroups would refuse is refused here too. Errors name the line, and show no secret.
Result<std::vector<AuthGroup>> ParseAuthFile(std::string_view text);
// Errors name auth_file. Control loop: the file is small and local.
Result<std::vector<AuthGroup>> ReadAuthFile(const std::string& path);

}  // namespace pollux::iscsi
