#pragma once
#include <cstdint>

namespace pollux::nvme {

// What a device does otherwise than the specification has it.
struct Quirks {
  // It must be left alone for so long after CC.EN was cleared, before CSTS is read.
  uint64_t disable_delay_ns = 0;
  // And so long after its I/O queues were created, before they are used.
  uint64_t queue_delay_ns = 0;
  bool only_first_cns = false;   // It knows CNS 00h and 01h, and answers others with one of these.
  bool shared_ids = false;       // EUI-64 and NGUID are the same on many devices: not identifiers.
  uint16_t queue_depth_min = 2;  // It stalls with shorter I/O queues.
};

// By the PCI identifiers.
Quirks QuirksOf(uint16_t vendor, uint16_t device);

}  // namespace pollux::nvme
