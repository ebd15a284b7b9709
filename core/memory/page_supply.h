#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "core/memory/memory.h"
#include "core/status.h"

namespace pollux {

// What the machine could give now.
struct PageSupply {
  struct Pages {
    int node = 0;
    size_t page_bytes = 0;
    size_t free_bytes = 0;
  };
  std::vector<Pages> huge;    // By node, then by size; only sizes that somebody reserved pages of.
  Pages ordinary;             // MemAvailable: what can be had without swapping.
  size_t ordinary_total = 0;  // MemTotal.
};

// From /sys and /proc below `root`.
PageSupply ReadPageSupply(const std::string& root = "");

// Whether `wanted` bytes are to come from hugepages. ENOMEM, in one line that names node, page
// size, wanted and free, when they cannot come from where they should.
Result<bool> ChooseHugepages(Hugepages wish, size_t wanted, const PageSupply& supply);

// "node 0, 2048 KiB pages: wanted 64 MiB, free 12 MiB".
std::string DescribeShortage(size_t wanted, const std::vector<PageSupply::Pages>& pages);

}  // namespace pollux
