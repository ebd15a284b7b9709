#pragma once
#include <array>
#include <cstdint>
#include <set>
#include <string>

#include "core/spec/nvme_spec.h"
#include "targets/nvmf/parameter_data.h"

namespace pollux::nvmf {

// The Changed Namespace List log page: which namespaces have changed since the host last read it,
// at most 1,024 of them. Base §5.16.1.5
class ChangedNamespaces {
 public:
  static constexpr size_t kCountMax = 1024;

  void Add(uint32_t nsid) {
    if (too_many_) return;
    nsids_.insert(nsid);
    if (nsids_.size() <= kCountMax) return;
    too_many_ = true;
    nsids_.clear();
  }
  void Clear() {
    nsids_.clear();
    too_many_ = false;
  }
  // In increasing order; FFFFFFFFh alone stands for more than the page holds.
  std::string LogPage() const {
    Page<std::array<Le32, kCountMax>> page;
    size_t count = 0;
    for (const uint32_t nsid : nsids_) (*page)[count++] = nsid;
    if (too_many_) (*page)[0] = nvme::kAllNamespaces;
    return page.Take();
  }

 private:
  std::set<uint32_t> nsids_;
  bool too_many_ = false;
};

}  // namespace pollux::nvmf
