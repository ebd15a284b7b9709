#include "drivers/nvme/event_set.h"

#include <sys/epoll.h>

#include <array>
#include <cerrno>

namespace pollux::nvme {
namespace {

// An interrupt, a ring of ours, and the removal.
constexpr size_t kMembersMax = 3;

Status Add(int set, int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0) return OkStatus();
  return ErrorOfErrno(errno, "an event descriptor cannot be waited for");
}

}  // namespace

Result<UniqueFd> MakeEventSet() {
  UniqueFd set(epoll_create1(EPOLL_CLOEXEC));
  if (!set.valid()) return ErrorOfErrno(errno, "no epoll descriptor");
  return set;
}

Status HearRings(int set, int eventfd) { return Add(set, eventfd, EPOLLIN | EPOLLET); }

Status HearLevel(int set, int fd) { return Add(set, fd, EPOLLIN); }

bool ClearRings(int set, int eventfd) {
  std::array<epoll_event, kMembersMax> heard;
  const int count = epoll_wait(set, heard.data(), static_cast<int>(heard.size()), 0);
  for (int i = 0; i < count; ++i) {
    if (heard[static_cast<size_t>(i)].data.fd == eventfd) return true;
  }
  return false;
}

}  // namespace pollux::nvme
