#pragma once
#include <cstddef>

#include "core/status.h"

namespace pollux {

// Makes access to mapped memory safe that somebody else may take away: a device its registers, a
// peer the file that we share.
//
// The kernel answers such an access with SIGBUS. A handler then lays other memory over it, and the
// access is repeated there. The handler is the process's, from the first guard on. A SIGBUS that
// hits no guarded page goes to the handler that was there before, or kills the process as it would
// have.
class MappingGuard {
 public:
  enum class Cover {
    // Of a device that is gone: a page of all ones over the one that was hit. Reads give ones, as
    // PCI Express has it (§2.3.2), and doorbells end nowhere. What is written can be read back,
    // which hurts nobody: a register that tells of the device's life is not written after bring-up.
    kOnesPage,
    // Of memory: zeros over the whole mapping, which may thus consist of huge pages.
    kZeros,
  };
  // Of [begin, begin + bytes), whole pages. `bell` is an eventfd of ours, rung when an access came
  // too late, whatever thread made it; borrowed for as long as somebody may access the mapping.
  static Result<MappingGuard> Protect(std::byte* begin, size_t bytes, Cover cover, int bell = -1);
  MappingGuard(MappingGuard&& other) noexcept;
  MappingGuard& operator=(MappingGuard&& other) noexcept;
  ~MappingGuard();  // Before the memory is unmapped.

  // An access came too late. Any thread.
  bool tripped() const;

 private:
  struct Place;
  explicit MappingGuard(Place* place) : place_(place) {}
  Place* place_;

  friend class BusErrors;
};

}  // namespace pollux
