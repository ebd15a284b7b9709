#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/spec/pci_spec.h"

namespace pollux::models {

// The configuration space of a device: type 0 header, power management, MSI-X, PCI Express.
// Register offsets and sizes of what the BARs hold are the caller's.
class PciConfig {
 public:
  static constexpr size_t kBytes = 4096;
  static constexpr int kMsixBar = 4;
  static constexpr uint32_t kMsixTableOffset = 0, kMsixPbaOffset = 0x8000;
  static constexpr uint64_t kMsixBarBytes = 0x10000;

  struct Options {
    uint16_t vendor = 0, device = 0;
    uint64_t bar0_bytes = 0, bar2_bytes = 0;  // Powers of two; bar2_bytes 0: there is none.
    uint16_t vectors = 1;
    uint32_t class_code = pci_spec::class_code::kNvme;
    // Where the MSI-X table and its pending bits lie. kMsixBar exists only when they are in it.
    int msix_bar = kMsixBar;
    uint32_t msix_table = kMsixTableOffset, msix_pba = kMsixPbaOffset;
  };
  explicit PciConfig(const Options& options);

  // Naturally aligned, within the space; beyond what there is, zero.
  void Read(uint32_t offset, std::span<std::byte> data) const;
  // Returns whether a function-level reset was asked for.
  bool Write(uint32_t offset, std::span<const std::byte> data);
  void Reset();

  bool bus_master() const;

  // A register beyond the capabilities, zero at power-on: of bits that the device sets and the host
  // clears by writing 1, or plain.
  void AddErrorRegister(uint32_t offset);
  void AddPlainRegister(uint32_t offset);
  void SetBits(uint32_t offset, uint32_t bits);

 private:
  template <typename T>
  void Set(uint32_t offset, T value, T writable = 0);

  std::array<std::byte, kBytes> first_{};  // At power-on.
  std::array<std::byte, kBytes> space_{};
  std::array<std::byte, kBytes> writable_{};
  std::array<std::byte, kBytes> clearable_{};  // By writing 1.
};

}  // namespace pollux::models
