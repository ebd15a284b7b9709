#include "targets/vfio_user/eventfd_ringer.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

namespace pollux::vfio_user {
namespace {

// How many results may wait: they are taken together.
constexpr int kResultsMax = 32;

}  // namespace

Result<std::unique_ptr<EventfdRinger>> EventfdRinger::Make() {
  UniqueFd empty(memfd_create("pollux-empty", MFD_CLOEXEC));
  aio_context_t context = 0;
  if (!empty.valid() || syscall(SYS_io_setup, kResultsMax, &context) != 0) {
    return ErrorOfErrno(errno,
                        absl::StrFormat("no way to ring a client's eventfds: %s", strerror(errno)));
  }
  return std::unique_ptr<EventfdRinger>(new EventfdRinger(context, std::move(empty)));
}

EventfdRinger::~EventfdRinger() { syscall(SYS_io_destroy, context_); }

void EventfdRinger::Ring(const UniqueFd& eventfd) {
  if (!eventfd.valid()) return;
  std::byte nothing;
  iocb read{};
  read.aio_lio_opcode = IOCB_CMD_PREAD;
  read.aio_fildes = static_cast<uint32_t>(empty_.get());
  read.aio_buf = reinterpret_cast<uintptr_t>(&nothing);
  read.aio_nbytes = sizeof(nothing);
  read.aio_flags = IOCB_FLAG_RESFD;
  read.aio_resfd = static_cast<uint32_t>(eventfd.get());
  iocb* const one = &read;
  if (results_ == kResultsMax) TakeResults();
  if (syscall(SYS_io_submit, context_, 1, &one) == 1) ++results_;
}

void EventfdRinger::TakeResults() {
  std::array<io_event, kResultsMax> results;
  timespec now{};
  syscall(SYS_io_getevents, context_, 0L, long{kResultsMax}, results.data(), &now);
  results_ = 0;
}

}  // namespace pollux::vfio_user
