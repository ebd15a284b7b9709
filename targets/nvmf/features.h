#pragma once
#include <cstdint>

namespace pollux::nvmf {

// What a host has set, as Get and Set Features have it in dword 11; its initial values are the
// defaults. Base §5.27.1. Features that are more than values lie elsewhere: keep alive, host
// identifier, namespace write protection.
struct Features {
  explicit Features(uint16_t io_queues_granted) : io_queues(io_queues_granted) {}

  uint32_t arbitration = 0;
  uint32_t power_state = 0;
  uint16_t temperature_over = 0xffff;  // Kelvin. Nothing is measured, so nothing is ever over it.
  uint16_t temperature_under = 0;
  uint16_t error_recovery = 0;  // TLER
  bool atomicity_disabled = false;
  uint32_t async_events = 0;
  bool advanced_retry = false;  // ACRE of Host Behavior Support.
  uint16_t io_queues;           // Number of queues, of either kind.
};

}  // namespace pollux::nvmf
