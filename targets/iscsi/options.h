#pragma once
#include <cstddef>

#include "core/memory/reactor_buffers.h"
#include "targets/iscsi/iscsi_target.h"
#include "targets/iscsi/negotiation.h"

namespace pollux::iscsi {

inline constexpr char kDataBuffersConsumer[] = "iscsi: data buffers";

// Of one reactor.
struct PoolSizes {
  size_t data_buffers = 0;  // Worker::kDataBufferBytes each.
  size_t unsolicited_bytes = 0;
  size_t unsolicited_buffers = 0;
};
PoolSizes PoolSizesOf(const Options& options, size_t reactors);

// What we would like login to settle.
Parameters WishesOf(const Options& options);

}  // namespace pollux::iscsi
