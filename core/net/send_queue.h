#pragma once
#include <sys/uio.h>

#include <cstddef>
#include <span>

#include "core/net/byte_stream.h"

namespace pollux {

// The output of a stream, in order. Of the first item a part may have left already.
class SendQueue {
 public:
  using Items = IntrusiveList<SendItem, &SendItem::node_>;

  bool empty() const { return items_.empty(); }
  size_t bytes() const { return bytes_; }

  void Push(SendItem& item);
  // Fills `parts` with what comes next, none of them empty, and returns how many.
  size_t Gather(std::span<iovec> parts);
  // The first `bytes` of it have left.
  void Advance(size_t bytes);
  // Takes out the first item, if nothing is left of it; else null.
  SendItem* PopSent();
  // Moves everything to `dropped`.
  void TakeAll(Items& dropped);

 private:
  Items items_;
  size_t bytes_ = 0;
  size_t first_sent_ = 0;  // How much of the first item has left.
};

}  // namespace pollux
