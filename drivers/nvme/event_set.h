#pragma once
#include "core/status.h"
#include "core/unique_fd.h"

namespace pollux::nvme {

// What the owner of a queue sleeps on: an epoll set of eventfds that the device and we ring.
//
// A device at a socket holds the eventfd of its interrupts as we do, and may do with it what it
// likes: take the count out before we see it, fill it, have whoever reads or writes it wait for
// ever. So nothing is read or written here: the set hears each ring.
Result<UniqueFd> MakeEventSet();

// The set is readable from a ring of `eventfd` on, until ClearRings().
Status HearRings(int set, int eventfd);
// The set is readable as long as `fd` is.
Status HearLevel(int set, int fd);

// Readable again with the next ring. Returns whether `eventfd` had rung; -1: does not matter.
bool ClearRings(int set, int eventfd);

}  // namespace pollux::nvme
