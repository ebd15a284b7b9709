#pragma once
#include <linux/aio_abi.h>

#include <memory>

#include "core/status.h"
#include "core/unique_fd.h"

namespace pollux::vfio_user {

// Rings eventfds that came from a client, and never waits for it.
//
// A write waits where the counter is full, and the client may fill it at any moment; O_NONBLOCK
// does not help, since it belongs to the open file, which is the client's too, and RWF_NOWAIT is
// not for writes of eventfds. So the kernel rings: it does when an asynchronous read ends that
// names the eventfd (io_submit(2), IOCB_FLAG_RESFD), and where there is no room, it leaves it at
// that. The read is of an empty file of ours and ends within io_submit.
class EventfdRinger {
 public:
  static Result<std::unique_ptr<EventfdRinger>> Make();
  ~EventfdRinger();
  EventfdRinger(const EventfdRinger&) = delete;
  EventfdRinger& operator=(const EventfdRinger&) = delete;

  // One thread.
  void Ring(const UniqueFd& eventfd);

 private:
  EventfdRinger(aio_context_t context, UniqueFd empty)
      : context_(context), empty_(std::move(empty)) {}
  void TakeResults();

  const aio_context_t context_;
  const UniqueFd empty_;
  int results_ = 0;  // That wait in the context's ring.
};

}  // namespace pollux::vfio_user
