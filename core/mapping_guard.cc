#include "core/mapping_guard.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <mutex>
#include <utility>

#include "core/check.h"

namespace pollux {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kNoSlot = MappingGuard::kGuardsMax;

// A signal handler is given nothing but globals. They are written under `mutex`, and read by the
// handler without: a range counts from the moment that its end is set.
struct Slot {
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};  // 0: free.
  std::atomic<bool> tripped{false};
};
std::array<Slot, MappingGuard::kGuardsMax> slots;
std::mutex mutex;
int ones_fd = -1;  // A page of all ones. Set before the handler is installed.
struct sigaction previous;

Slot* FindSlot(uintptr_t address) {
  for (Slot& slot : slots) {
    if (address < slot.end.load(std::memory_order_acquire) &&
        address >= slot.begin.load(std::memory_order_relaxed)) {
      return &slot;
    }
  }
  return nullptr;
}

// Only system calls and atomics from here: async-signal-safe.
bool LayOnesOver(uintptr_t address) {
  void* const page = reinterpret_cast<void*>(address & ~(kPageBytes - 1));
  // A private mapping in one step: no other thread sees the page without its ones. Not by mmap(),
  // which a signal handler is not promised, and which sanitizers take for a write to the page.
  return syscall(SYS_mmap, page, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
                 ones_fd, 0) != -1;
}

void OnBusError(int number, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  // BUS_MCEERR_* would be broken memory.
  Slot* const slot = info->si_code == BUS_ADRERR ? FindSlot(address) : nullptr;
  if (slot != nullptr && LayOnesOver(address)) {
    slot->tripped.store(true, std::memory_order_relaxed);
    errno = saved_errno;
    return;
  }
  errno = saved_errno;
  if ((previous.sa_flags & SA_SIGINFO) != 0) return previous.sa_sigaction(number, info, context);
  if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    return previous.sa_handler(number);
  }
  // The access is repeated, and kills the process where it stands.
  struct sigaction fatal {};
  fatal.sa_handler = SIG_DFL;
  sigaction(number, &fatal, nullptr);
}

// With `mutex` held.
Status Install() {
  if (ones_fd >= 0) return OkStatus();
  std::array<unsigned char, kPageBytes> ones;
  ones.fill(0xff);
  const int fd = memfd_create("pollux-all-ones", MFD_CLOEXEC);
  if (fd < 0 || write(fd, ones.data(), ones.size()) != static_cast<ssize_t>(ones.size())) {
    const int error_number = errno;
    if (fd >= 0) close(fd);
    return ErrorOfErrno(error_number, absl::StrFormat("memfd_create: %s", strerror(error_number)));
  }
  ones_fd = fd;
  // Kept first, since the new handler may run at once.
  sigaction(SIGBUS, nullptr, &previous);
  struct sigaction action {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, nullptr);
  return OkStatus();
}

}  // namespace

Result<MappingGuard> MappingGuard::Protect(std::byte* begin, size_t bytes) {
  const auto address = reinterpret_cast<uintptr_t>(begin);
  CHECK(address % kPageBytes == 0 && bytes % kPageBytes == 0 && bytes > 0);
  const std::lock_guard lock(mutex);
  RETURN_IF_ERROR(Install());
  for (size_t i = 0; i < slots.size(); ++i) {
    Slot& slot = slots[i];
    if (slot.end.load(std::memory_order_relaxed) != 0) continue;
    slot.tripped.store(false, std::memory_order_relaxed);
    slot.begin.store(address, std::memory_order_relaxed);
    slot.end.store(address + bytes, std::memory_order_release);
    return MappingGuard(i);
  }
  return NoSpace("more than %d mapped pieces of BARs", kGuardsMax);
}

MappingGuard::MappingGuard(MappingGuard&& other) noexcept
    : slot_(std::exchange(other.slot_, kNoSlot)) {}

MappingGuard::~MappingGuard() {
  if (slot_ == kNoSlot) return;
  const std::lock_guard lock(mutex);
  slots[slot_].end.store(0, std::memory_order_release);
}

bool MappingGuard::tripped() const {
  return slot_ != kNoSlot && slots[slot_].tripped.load(std::memory_order_relaxed);
}

}  // namespace pollux
