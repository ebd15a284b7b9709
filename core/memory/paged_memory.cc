#include "core/memory/paged_memory.h"

#include <unistd.h>

#include <utility>

namespace pollux {

Result<std::byte*> PagedMemory::Allocate(const std::string& consumer, size_t bytes) {
  ASSIGN_OR_RETURN(std::unique_ptr<SharedPages> pages,
                   SharedPages::Map(consumer, bytes, /*huge=*/false, registry_));
  pages_.push_back(std::move(pages));
  allocated_.push_back({consumer, bytes});
  return pages_.back()->address();
}

Memory::Usage PagedMemory::usage() const {
  Usage usage{.hugepages = false,
              .page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE)),
              .total_bytes = 0,
              .free_bytes = 0,
              .allocated = allocated_};
  for (const auto& pages : pages_) usage.total_bytes += pages->bytes();
  return usage;
}

}  // namespace pollux
