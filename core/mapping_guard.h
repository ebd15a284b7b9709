#pragma once
#include <atomic>
#include <cstddef>

#include "core/status.h"

namespace pollux {

// Makes access to a mapped BAR safe after its device was taken away.
//
// The kernel answers such an access with SIGBUS. A handler then lays a page of all ones over the
// one that was hit, and the access is repeated there: reads give ones, as PCI Express has it
// (§2.3.2), and doorbells end nowhere. What is written can be read back, which hurts nobody: a
// register that tells of the device's life is not written after bring-up.
//
// The handler is the process's, from the first guard on. A SIGBUS that hits no guarded page goes to
// the handler that was there before, or kills the process as it would have.
class MappingGuard {
 public:
  // Of [begin, begin + bytes), whole pages. ENOSPC with kGuardsMax of them in the process.
  static Result<MappingGuard> Protect(std::byte* begin, size_t bytes);
  MappingGuard(MappingGuard&& other) noexcept;
  MappingGuard& operator=(MappingGuard&&) = delete;
  ~MappingGuard();  // Before the memory is unmapped.

  // An access came too late. Any thread.
  bool tripped() const;

  static constexpr size_t kGuardsMax = 1024;

 private:
  explicit MappingGuard(size_t slot) : slot_(slot) {}
  size_t slot_;
};

}  // namespace pollux
