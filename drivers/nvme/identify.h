#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/spec/nvme_spec.h"
#include "core/spec/nvmf_spec.h"
#include "core/status.h"
#include "drivers/nvme/bring_up.h"
#include "drivers/nvme/namespace.h"
#include "drivers/nvme/nvme.h"

namespace pollux::nvme {

// What Identify returns, read with suspicion: here every field is checked that anything of the
// driver relies upon. Nothing here talks to a device.

inline constexpr size_t kIdentifyBytes = 4096;
// Active namespaces that we follow; a device that tells of more has the rest ignored.
inline constexpr size_t kNamespacesMax = 8192;
inline constexpr uint8_t kControllerTypeIo = 1, kControllerTypeDiscovery = 2,
                         kControllerTypeAdministrative = 3;

// Of the whole controller.
struct ControllerFacts {
  pollux_nvme_controller_info info{};
  IdentifyController identify{};
  uint32_t aborts_max = 1;              // At a time. ACL.
  uint32_t async_events_max = 1;        // AERL.
  uint32_t keep_alive_unit_ms = 0;      // 0: there is none.
  uint64_t shutdown_limit_ns = 0;       // RTD3E.
  IdentifyNvmController limits{};       // CNS 06h, CSI 00h; no limits where there is none.
  uint64_t zone_append_bytes_max = 0;   // Of CNS 06h, CSI 02h; until then as transfer_bytes_max.
  uint32_t firmware_unit_bytes = 4096;  // FWUG.
  uint32_t page_bytes = 4096;
  bool administrative = false;  // No I/O queues.
  bool discovery = false;       // It only tells of others; administrative too.
};

// CNS 01h. `lists_bytes_max`: what one command can transfer by the driver's own lists.
Result<ControllerFacts> DescribeController(const IdentifyController& identify,
                                           const Capabilities& capabilities,
                                           uint64_t lists_bytes_max);

// CNS 02h: adds the numbers to `found`. False: the list ends here. An error when it is not
// ascending from `after`.
Result<bool> ReadNamespaceList(std::span<const std::byte, kIdentifyBytes> list, uint32_t after,
                               std::vector<uint32_t>& found);

// CNS 03h.
struct NamespaceIds {
  std::array<uint8_t, 16> nguid{}, uuid{};
  std::array<uint8_t, 8> eui64{};
  std::optional<uint8_t> csi;
};
Result<NamespaceIds> ReadNamespaceDescriptors(std::span<const std::byte, kIdentifyBytes> data);

// CNS 00h, and what else is known. `zoned`: CNS 05h of the zoned command set, or null. An empty
// optional: the namespace is not active after all.
Result<std::optional<Namespace::Facts>> DescribeNamespace(uint32_t nsid,
                                                          const IdentifyNamespace& identify,
                                                          const NamespaceIds& ids,
                                                          const IdentifyZonedNamespace* zoned,
                                                          const ControllerFacts& controller);

// CNS 05h of the NVM command set: whether the namespace's format has the 16-bit guard, the only one
// that we know.
bool HasShortGuard(std::span<const std::byte, kIdentifyBytes> nvm_specific,
                   const IdentifyNamespace& identify);
// The index into LBAF. FLBAS, bits 6:5 and 3:0.
uint32_t FormatIndex(const IdentifyNamespace& identify);

// Whether a namespace with these facts is still what it was, apart from its size.
bool SameFormat(const pollux_nvme_namespace_info& was, const pollux_nvme_namespace_info& now);

// Text from a device: printable ASCII without trailing blanks; other bytes become '?'.
std::string CleanText(std::span<const char> field);

}  // namespace pollux::nvme
