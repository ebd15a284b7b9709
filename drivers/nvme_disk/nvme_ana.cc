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
  // Then nnsids numbers of namespaces, unless only groups were asked for.
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

size_t AnaLogBytes(uint32_t groups, uint32_t namespaces) {
  return sizeof(LogHeader) + std::min(groups, kGroupsMax) * sizeof(GroupDescriptor) +
         namespaces * sizeof(Le32);
}

AnaLog ParseAnaLog(std::span<const std::byte> page, uint32_t group_max, std::string& complaint) {
  complaint.clear();
  AnaLog log;
  const LogHeader* header = At<LogHeader>(page, 0);
  if (header == nullptr) {
    complaint = "it is cut off";
    return log;
  }
  uint64_t offset = sizeof(LogHeader);
  for (uint32_t i = 0; i < header->ngrps; ++i) {
    const GroupDescriptor* group = At<GroupDescriptor>(page, offset);
    if (group == nullptr) {
      complaint = absl::StrFormat("descriptor %d of %d does not fit", i + 1,
                                  static_cast<uint32_t>(header->ngrps));
      return log;
    }
    const uint32_t id = group->anagid;
    const std::optional<NvmeAccess> access = AccessOf(group->state);
    bool known = false;
    if (id == 0 || id > group_max) {
      complaint = absl::StrFormat("there is no group %d", id);
    } else if (!access.has_value()) {
      complaint = absl::StrFormat("group %d has the state %d", id, group->state & 0xf);
    } else if (!log.groups.emplace(id, *access).second) {
      complaint = absl::StrFormat("group %d is there twice", id);
    } else {
      known = true;
    }
    offset += sizeof(GroupDescriptor);
    for (uint32_t n = 0; n < group->nnsids; ++n, offset += sizeof(Le32)) {
      const Le32* nsid = At<Le32>(page, offset);
      if (nsid == nullptr) {
        complaint = absl::StrFormat("the namespaces of group %d do not fit", id);
        return log;
      }
      if (!known || log.group_of.emplace(*nsid, id).second) continue;
      complaint = absl::StrFormat("namespace %d is in two groups", static_cast<uint32_t>(*nsid));
    }
  }
  return log;
}

}  // namespace pollux
