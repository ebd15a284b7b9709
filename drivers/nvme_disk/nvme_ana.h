#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>

namespace pollux {

// What a path is worth for a namespace, best first. Base §8.1: the states of asymmetric namespace
// access; the last is persistent loss, or a change that takes longer than ANATT.
enum class NvmeAccess : uint8_t { kOptimized, kNonOptimized, kInaccessible, kChange, kLost };

// Reads and writes are executed.
inline bool IsAccessible(NvmeAccess access) { return access <= NvmeAccess::kNonOptimized; }
// They are not, and will be before long.
inline bool MayBecomeAccessible(NvmeAccess access) {
  return access == NvmeAccess::kInaccessible || access == NvmeAccess::kChange;
}

// How much of an ANA log page of so many groups, without namespaces, is asked for. Base §5.16.1.13.
size_t AnaLogBytes(uint32_t groups);

// The states by group, of an ANA log page that anybody may have written. What is impossible is left
// out and told in `complaint`, which is empty otherwise.
std::map<uint32_t, NvmeAccess> ParseAnaLog(std::span<const std::byte> page, uint32_t group_max,
                                           std::string& complaint);

}  // namespace pollux
