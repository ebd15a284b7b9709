#pragma once
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/intrusive_list.h"
#include "core/loop.h"
#include "core/status.h"
#include "core/unique_fd.h"

namespace pollux {

// A piece of output. Embed it; it and the memory it points to stay where they are from Send until
// OnSent.
class SendItem {
 public:
  static constexpr size_t kPartsMax = 6;
  std::array<iovec, kPartsMax> parts{};
  size_t part_count = 0;

  // Runs once per Send, on the stream's loop, never from within Send or Close: the stream no longer
  // needs the memory. `ok` is false when the stream closed before all of it was handed to the
  // kernel.
  virtual void OnSent(bool ok) = 0;
  bool queued() const { return node_.linked(); }

 protected:
  ~SendItem() = default;

 private:
  friend class SendQueue;
  ListNode node_;
  size_t bytes_ = 0;  // Of the parts, while it is queued.
};

// What passed a stream, and in how many system calls.
struct StreamCounters {
  uint64_t bytes_received = 0, bytes_sent = 0;
  uint64_t receive_calls = 0, send_calls = 0;
};

// One TCP or Unix connection, owned by one loop. Two forms behind one interface: epoll and
// io_uring. Output that gathers in a turn leaves in one system call at its end; input is read
// straight to where its owner wants it.
class ByteStream {
 public:
  class Owner {
   public:
    // Where the next bytes shall go, in order: at most kReceivePartsMax parts, none empty.
    // Returning 0 parts pauses receiving until ResumeReceive(). The memory stays until OnReceived
    // or OnClosed. May be asked again when nothing arrived meanwhile; the last answer counts.
    virtual size_t ReceiveInto(std::span<iovec> parts) = 0;
    // `bytes` arrived there. The owner may close the stream from here.
    virtual void OnReceived(size_t bytes) = 0;
    // The peer closed, or the connection failed, or Close() has finished: the last call. All queued
    // items have had their OnSent(false). The owner may destroy the stream from here, and not
    // before, once it was started. `why` is OK after Close() and CloseWhenSent(), has errno
    // ESHUTDOWN when the peer closed in order, and the connection's errno otherwise.
    virtual void OnClosed(const Status& why) = 0;

   protected:
    ~Owner() = default;
  };
  static constexpr size_t kReceivePartsMax = 4;

  virtual ~ByteStream() = default;

  virtual void Start(Owner& owner) = 0;
  // Queues `item`; it leaves at the end of this turn, together with what else was queued. On a
  // stream that is closing it gets its OnSent(false).
  virtual void Send(SendItem& item) = 0;
  virtual void ResumeReceive() = 0;
  // Stops receiving and drops what is queued. OnClosed follows, from a later stage of the loop.
  virtual void Close() = 0;
  // The same, once everything queued so far has been handed to the kernel, or after a second
  // (ETIMEDOUT).
  virtual void CloseWhenSent() = 0;

  virtual size_t queued_bytes() const = 0;
  const StreamCounters& counters() const { return counters_; }

 protected:
  StreamCounters counters_;
};

enum class StreamKind { kEpoll, kUring };

// `socket` is connected; it is made non-blocking. The stream is used on `loop` only; called there.
// kUring needs the loop to have a ring (core/uring) and fails with ENOTSUP when it has none.
Result<std::unique_ptr<ByteStream>> MakeByteStream(StreamKind kind, Loop& loop, UniqueFd socket);

}  // namespace pollux
