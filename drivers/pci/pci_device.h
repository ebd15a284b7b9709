#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/mmio.h"
#include "core/status.h"
#include "drivers/pci/dma_map.h"

namespace pollux::pci {

// One PCI function that this process drives: through VFIO, at a vfio-user socket, or a device
// model.
//
// The control thread calls all of it, except what MapBar() returned, and reading and writing the
// BARs: whoever owns a queue does that with its own registers. A device that is gone answers
// reads with all ones and takes writes without effect, as the PCI Express specification has it
// (§2.3.2); gone() then tells why.
class PciDevice {
 public:
  virtual ~PciDevice() = default;  // Gives the device back. Bus mastering is off afterwards.

  // "0000:01:00.0", or the path of the socket: for messages.
  virtual const std::string& name() const = 0;
  virtual int numa_node() const { return -1; }

  // --- Configuration space. `bytes` is 1, 2 or 4; all ones where nothing answers.
  virtual uint32_t ReadConfig(uint32_t offset, size_t bytes) = 0;
  virtual void WriteConfig(uint32_t offset, size_t bytes, uint32_t value) = 0;
  // Command register, bit 2. VFIO leaves it to the driver. PCI 3.0 §6.2.2.
  void SetBusMaster(bool on);

  // --- Base address registers, 0 to 5.

  // 0: there is none.
  virtual uint64_t bar_bytes(int bar) const = 0;
  // Access that works for every byte, whether mapped or not. Naturally aligned.
  virtual uint32_t Read32(int bar, uint64_t offset) = 0;
  virtual uint64_t Read64(int bar, uint64_t offset) = 0;
  virtual void Write32(int bar, uint64_t offset, uint32_t value) = 0;
  virtual void Write64(int bar, uint64_t offset, uint64_t value) = 0;
  // For devices with registers that are narrower. Others need not have them.
  virtual uint8_t Read8(int /*bar*/, uint64_t /*offset*/) { return 0xff; }
  virtual uint16_t Read16(int /*bar*/, uint64_t /*offset*/) { return 0xffff; }
  virtual void Write8(int /*bar*/, uint64_t /*offset*/, uint8_t /*value*/) {}
  virtual void Write16(int /*bar*/, uint64_t /*offset*/, uint16_t /*value*/) {}
  // Where [offset, offset + bytes) may be accessed directly for as long as the device lives, also
  // after it is gone (see MappingGuard). Null: by the calls above only.
  virtual std::byte* MapBar(int bar, uint64_t offset, size_t bytes) = 0;

  // --- DMA.
  virtual DmaMap& dma() = 0;

  // --- Interrupts, for idle waiting. MSI-X, else MSI, else INTx.

  virtual uint32_t interrupt_vectors() const = 0;  // 0: none.
  // From now on the vector adds 1 to the eventfd, which is borrowed. -1: it does nothing. INTx is
  // masked by the kernel when it fires; UnmaskInterrupt() arms it again.
  virtual Status SetInterrupt(uint32_t vector, int eventfd) = 0;
  virtual void UnmaskInterrupt(uint32_t /*vector*/) {}

  // --- Life.

  // Function-level reset, or the best there is.
  virtual Status Reset() = 0;
  // OK, or why nothing answers any more: unplugged, its peer died, its owner asked for it back.
  virtual Status gone() = 0;
  // Readable when the kernel, or the peer's end, wants the device back or has lost it; -1: nobody
  // ever tells. The owner then detaches; until it does, `device_del` waits.
  virtual int removal_fd() const = 0;
};

}  // namespace pollux::pci
