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

// An ANA log page: the state of each group, and which group each namespace that it names is in.
struct AnaLog {
  std::map<uint32_t, NvmeAccess> groups;
  std::map<uint32_t, uint32_t> group_of;  // By nsid.
};

// How much of an ANA log page is asked for, that has so many groups and so many namespaces in them.
// Base §5.16.1.13.
size_t AnaLogBytes(uint32_t groups, uint32_t namespaces);

// Of a page that anybody may have written. What is impossible is left out and told in `complaint`,
// which is empty otherwise.
AnaLog ParseAnaLog(std::span<const std::byte> page, uint32_t group_max, std::string& complaint);

}  // namespace pollux
