#include "drivers/nvme_disk/nvme_ana.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_format.h"
#include "core/wire_int.h"

namespace pollux {
namespace {

// Base figures 219 and 220.
struct LogHeader {
  Le64 chgcnt;
  Le16 ngrps;
  uint8_t reserved[6];
};
static_assert(sizeof(LogHeader) == 16);
struct GroupDescriptor {
  Le32 anagid, nnsids;
  Le64 chgcnt;
  uint8_t state;  // Bits 3:0.
  uint8_t reserved[15];
  // Then nnsids numbers of namespaces, of which we ask for none.
};
static_assert(sizeof(GroupDescriptor) == 32);

constexpr uint32_t kGroupsMax = 2000;  // More are not asked for.

std::optional<NvmeAccess> AccessOf(uint8_t state) {
  switch (state & 0xf) {
    case 0x1:
      return NvmeAccess::kOptimized;
    case 0x2:
      return NvmeAccess::kNonOptimized;
    case 0x3:
      return NvmeAccess::kInaccessible;
    case 0x4:
      return NvmeAccess::kLost;
    case 0xf:
      return NvmeAccess::kChange;
    default:
      return std::nullopt;
  }
}

template <typename T>
const T* At(std::span<const std::byte> page, uint64_t offset) {
  if (offset > page.size() || page.size() - offset < sizeof(T)) return nullptr;
  return reinterpret_cast<const T*>(page.data() + offset);
}

}  // namespace

size_t AnaLogBytes(uint32_t groups) {
  return sizeof(LogHeader) + std::min(groups, kGroupsMax) * sizeof(GroupDescriptor);
}

std::map<uint32_t, NvmeAccess> ParseAnaLog(std::span<const std::byte> page, uint32_t group_max,
                                           std::string& complaint) {
  complaint.clear();
  std::map<uint32_t, NvmeAccess> groups;
  const LogHeader* header = At<LogHeader>(page, 0);
  if (header == nullptr) {
    complaint = "it is cut off";
    return groups;
  }
  uint64_t offset = sizeof(LogHeader);
  for (uint32_t i = 0; i < header->ngrps; ++i) {
    const GroupDescriptor* group = At<GroupDescriptor>(page, offset);
    if (group == nullptr) {
      complaint = absl::StrFormat("descriptor %d of %d does not fit", i + 1,
                                  static_cast<uint32_t>(header->ngrps));
      return groups;
    }
    const uint32_t id = group->anagid;
    const std::optional<NvmeAccess> access = AccessOf(group->state);
    if (id == 0 || id > group_max) {
      complaint = absl::StrFormat("there is no group %d", id);
    } else if (!access.has_value()) {
      complaint = absl::StrFormat("group %d has the state %d", id, group->state & 0xf);
    } else if (!groups.emplace(id, *access).second) {
      complaint = absl::StrFormat("group %d is there twice", id);
    }
    offset += sizeof(GroupDescriptor) + uint64_t{group->nnsids} * sizeof(Le32);
  }
  return groups;
}

}  // namespace pollux
