#pragma once
#include <cstdint>

namespace pollux::service {

// bdev_set_options, with SPDK's defaults. Pollux embeds its requests in their owners, so the pool
// and cache sizes are kept and reported, and bound nothing.
struct BdevOptions {
  uint32_t bdev_io_pool_size = 65535;
  uint32_t bdev_io_cache_size = 256;
  bool bdev_auto_examine = true;
  uint32_t iobuf_small_cache_size = 128;
  uint32_t iobuf_large_cache_size = 16;
};

}  // namespace pollux::service
