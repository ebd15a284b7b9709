#include "drivers/nvme/quirks.h"

#include "core/clock.h"

namespace pollux::nvme {
namespace {

// Linux's drivers/nvme/host (nvme.h, NVME_QUIRK_DELAY_AMOUNT) found 2.3 s to be enough.
constexpr uint64_t kDisableDelayNs = 2300 * kNsPerMs;
// VirtualBox's device misses doorbells that are rung at once; SPDK's nvme_quirks.c.
constexpr uint64_t kQueueDelayNs = 100 * kNsPerMs;

struct Known {
  uint16_t vendor, device;
  Quirks quirks;
};

// Where a line's knowledge comes from: [L] Linux, drivers/nvme/host/pci.c, nvme_id_table; [S] SPDK,
// lib/nvme/nvme_quirks.c.
constexpr Known kKnown[] = {
    // Intel DC P3500, P3600, P3700 and their 750 kin: short queues. [S]
    {0x8086, 0x0953, {.queue_depth_min = 256}},
    {0x8086, 0x0a53, {.queue_depth_min = 256}},
    {0x8086, 0x0a54, {.queue_depth_min = 256}},
    {0x8086, 0x0a55, {.queue_depth_min = 256}},
    // QEMU's controller under the identifier that it had until 2015, without the later CNS. [L, S]
    {0x8086, 0x5845, {.only_first_cns = true}},
    {0x1bb1, 0x0100, {.disable_delay_ns = kDisableDelayNs}},  // Seagate Nytro. [L]
    {0x1c58, 0x0003, {.disable_delay_ns = kDisableDelayNs}},  // HGST SN100. [L]
    {0x1c58, 0x0023, {.disable_delay_ns = kDisableDelayNs}},  // WDC SN200. [L]
    {0x1c5f, 0x0540, {.disable_delay_ns = kDisableDelayNs}},  // Memblaze PBlaze4. [L, S]
    {0x144d, 0xa821, {.disable_delay_ns = kDisableDelayNs}},  // Samsung PM1725. [L, S]
    {0x144d, 0xa822, {.disable_delay_ns = kDisableDelayNs}},  // Samsung PM1725a. [L, S]
    {0x80ee, 0x4e56, {.queue_delay_ns = kQueueDelayNs}},      // VirtualBox. [S]
    {0x10ec, 0x5763, {.shared_ids = true}},                   // ADATA SX6000PNP. [L]
    {0x1e4b, 0x1001, {.shared_ids = true}},                   // MAXIO MAP1001. [L]
    {0x1e4b, 0x1002, {.shared_ids = true}},                   // MAXIO MAP1002. [L]
    {0x1e4b, 0x1202, {.shared_ids = true}},                   // MAXIO MAP1202. [L]
};

}  // namespace

Quirks QuirksOf(uint16_t vendor, uint16_t device) {
  for (const Known& known : kKnown) {
    if (known.vendor == vendor && known.device == device) return known.quirks;
  }
  return Quirks{};
}

}  // namespace pollux::nvme
