#pragma once

namespace pollux {

inline constexpr char kVersion[] = "0.1.0";

// The version of SPDK whose method names, parameters, results and codes are ours. Clients that look
// at the fields of spdk_get_version decide by these what they may call.
inline constexpr int kSpdkMajor = 26;
inline constexpr int kSpdkMinor = 9;
inline constexpr int kSpdkPatch = 0;
inline constexpr char kSpdkSuffix[] = "-pre";

}  // namespace pollux
