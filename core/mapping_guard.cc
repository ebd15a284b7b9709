#include "core/mapping_guard.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <utility>

#include "core/check.h"

namespace pollux {
namespace {

constexpr size_t kPageBytes = 4096;

}  // namespace

// One guard's, and afterwards another's: a place is never freed, since a handler may be looking at
// it. Written under the mutex; handlers read it without, and leave alone what changes meanwhile:
// that is not the guard of a page that is being accessed.
struct MappingGuard::Place {
  struct Range {
    uintptr_t begin, end;
    Cover cover;
    int bell;
  };
  void Write(const Range& range) {
    version.fetch_add(1, std::memory_order_acq_rel);  // Odd: it changes.
    begin.store(range.begin, std::memory_order_release);
    end.store(range.end, std::memory_order_release);
    cover.store(range.cover, std::memory_order_release);
    bell.store(range.bell, std::memory_order_release);
    version.fetch_add(1, std::memory_order_release);
  }
  bool Read(Range& range) const {
    const uint32_t before = version.load(std::memory_order_acquire);
    range = {begin.load(std::memory_order_acquire), end.load(std::memory_order_acquire),
             cover.load(std::memory_order_acquire), bell.load(std::memory_order_acquire)};
    return before % 2 == 0 && version.load(std::memory_order_relaxed) == before;
  }

  std::atomic<uint32_t> version{0};
  std::atomic<uintptr_t> begin{0}, end{0};
  std::atomic<Cover> cover{Cover::kOnesPage};
  std::atomic<int> bell{-1};
  std::atomic<bool> tripped{false};
  Place* next = nullptr;       // Of all of them. Set once.
  Place* next_free = nullptr;  // Under the mutex.
};

// A signal handler is given nothing but globals.
class BusErrors {
 public:
  using Cover = MappingGuard::Cover;
  using Place = MappingGuard::Place;

  static Result<Place*> Take(const Place::Range& range) {
    const std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(Install());
    Place* place = std::exchange(free_, free_ == nullptr ? nullptr : free_->next_free);
    if (place == nullptr) {
      place = new Place;
      place->next = all_.load(std::memory_order_relaxed);
      all_.store(place, std::memory_order_release);
    }
    place->tripped.store(false, std::memory_order_relaxed);
    place->Write(range);
    return place;
  }

  static void GiveBack(Place* place) {
    const std::lock_guard lock(mutex_);
    place->Write({});
    place->next_free = std::exchange(free_, place);
  }

 private:
  static Status Install();

  // Only system calls and atomics in these: async-signal-safe.
  static void OnBusError(int number, siginfo_t* info, void* context);
  static Place* Find(uintptr_t address, Place::Range& range);
  static bool LayOver(const Place::Range& range, uintptr_t address);
  static bool Map(uintptr_t begin, size_t bytes, int flags, int fd);

  static std::mutex mutex_;
  static std::atomic<Place*> all_;
  static Place* free_;
  static int ones_fd_;  // A page of all ones. Set before the handler is installed.
  static struct sigaction previous_;
};

std::mutex BusErrors::mutex_;
std::atomic<MappingGuard::Place*> BusErrors::all_{nullptr};
MappingGuard::Place* BusErrors::free_ = nullptr;
int BusErrors::ones_fd_ = -1;
struct sigaction BusErrors::previous_;

MappingGuard::Place* BusErrors::Find(uintptr_t address, Place::Range& range) {
  for (Place* p = all_.load(std::memory_order_acquire); p != nullptr; p = p->next) {
    if (p->Read(range) && address >= range.begin && address < range.end) return p;
  }
  return nullptr;
}

// A private mapping in one step: no other thread sees the page without what covers it. Not by
// mmap(), which a signal handler is not promised, and which sanitizers take for a write.
bool BusErrors::Map(uintptr_t begin, size_t bytes, int flags, int fd) {
  return syscall(SYS_mmap, begin, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | flags,
                 fd, 0) != -1;
}

bool BusErrors::LayOver(const Place::Range& range, uintptr_t address) {
  const uintptr_t page = address & ~(kPageBytes - 1);
  if (range.cover == Cover::kOnesPage) return Map(page, kPageBytes, 0, ones_fd_);
  // A peer's file may be longer than all memory. Where even so much that is never touched is
  // refused (vm.overcommit_memory = 2), a page has to do; but that cannot be laid over a huge one.
  constexpr int kZeros = MAP_ANONYMOUS | MAP_NORESERVE;
  return Map(range.begin, range.end - range.begin, kZeros, -1) || Map(page, kPageBytes, kZeros, -1);
}

void BusErrors::OnBusError(int number, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  // BUS_MCEERR_* would be broken memory.
  Place::Range range;
  Place* const place = info->si_code == BUS_ADRERR ? Find(address, range) : nullptr;
  if (place != nullptr && LayOver(range, address)) {
    place->tripped.store(true, std::memory_order_release);
    if (range.bell >= 0) {
      const uint64_t one = 1;
      [[maybe_unused]] const ssize_t n = write(range.bell, &one, sizeof(one));
    }
    errno = saved_errno;
    return;
  }
  errno = saved_errno;
  if ((previous_.sa_flags & SA_SIGINFO) != 0) return previous_.sa_sigaction(number, info, context);
  if (previous_.sa_handler != SIG_DFL && previous_.sa_handler != SIG_IGN) {
    return previous_.sa_handler(number);
  }
  // The access is repeated, and kills the process where it stands.
  struct sigaction fatal {};
  fatal.sa_handler = SIG_DFL;
  sigaction(number, &fatal, nullptr);
}

// With the mutex held.
Status BusErrors::Install() {
  if (ones_fd_ >= 0) return OkStatus();
  std::array<unsigned char, kPageBytes> ones;
  ones.fill(0xff);
  const int fd = memfd_create("pollux-all-ones", MFD_CLOEXEC);
  if (fd < 0 || write(fd, ones.data(), ones.size()) != static_cast<ssize_t>(ones.size())) {
    const int error_number = errno;
    if (fd >= 0) close(fd);
    return ErrorOfErrno(error_number, absl::StrFormat("memfd_create: %s", strerror(error_number)));
  }
  ones_fd_ = fd;
  // Kept first, since the new handler may run at once.
  sigaction(SIGBUS, nullptr, &previous_);
  struct sigaction action {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, nullptr);
  return OkStatus();
}

Result<MappingGuard> MappingGuard::Protect(std::byte* begin, size_t bytes, Cover cover, int bell) {
  const auto address = reinterpret_cast<uintptr_t>(begin);
  CHECK(address % kPageBytes == 0 && bytes % kPageBytes == 0 && bytes > 0);
  const Place::Range range{address, address + bytes, cover, bell};
  ASSIGN_OR_RETURN(Place* const place, BusErrors::Take(range));
  return MappingGuard(place);
}

MappingGuard::MappingGuard(MappingGuard&& other) noexcept
    : place_(std::exchange(other.place_, nullptr)) {}

MappingGuard& MappingGuard::operator=(MappingGuard&& other) noexcept {
  std::swap(place_, other.place_);
  return *this;
}

MappingGuard::~MappingGuard() {
  if (place_ != nullptr) BusErrors::GiveBack(place_);
}

bool MappingGuard::tripped() const {
  return place_ != nullptr && place_->tripped.load(std::memory_order_acquire);
}

}  // namespace pollux
