#include "core/net/byte_stream.h"

#include <fcntl.h>

#include <cstring>

#include "core/net/epoll_stream.h"
#include "core/net/uring_stream.h"
#include "core/uring/reactor_ring.h"

namespace pollux {

Result<std::unique_ptr<ByteStream>> MakeByteStream(StreamKind kind, Loop& loop, UniqueFd socket) {
  const int flags = fcntl(socket.get(), F_GETFL);
  if (flags < 0 || fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return ErrorOfErrno(errno, absl::StrFormat("not a socket: %s", strerror(errno)));
  }
  switch (kind) {
    case StreamKind::kEpoll:
      return std::make_unique<EpollStream>(loop, std::move(socket));
    case StreamKind::kUring:
      ReactorRing* ring = ReactorRing::Of(loop);
      if (ring == nullptr) return NotSupported("the loop %s has no io_uring", loop.name());
      return std::make_unique<UringStream>(loop, *ring, std::move(socket));
  }
  return NotSupported("no such kind of stream");
}

}  // namespace pollux
