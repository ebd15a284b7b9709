#pragma once
#include <array>
#include <cstdint>
#include <span>

#include "cli/identify/report.h"
#include "core/spec/nvme_spec.h"
#include "drivers/nvme/nvme.h"

// Structures of the specification as reports. Base 2.0c, NVM 1.0c, ZNS 1.1c.

namespace pollux::cli {

void DescribeController(const nvme::IdentifyController& id, Section& into);
// CNS 00h.
void DescribeNamespace(const nvme::IdentifyNamespace& id, Section& into);
// CNS 05h, CSI 02h. `formats`: how many LBA formats CNS 00h has.
void DescribeZoned(const nvme::IdentifyZonedNamespace& id, unsigned formats, Section& into);
// CNS 03h: the list of 4096 bytes.
void DescribeIdentifiers(std::span<const uint8_t> list, Section& into);

void DescribeHealth(const nvme::HealthLog& log, Section& into);
// Only entries that were made.
void DescribeErrors(std::span<const nvme::ErrorLogEntry> log, Section& into);
void DescribeFirmware(const nvme::FirmwareSlotLog& log, Section& into);
// Commands Supported and Effects: 256 admin commands, 256 I/O commands. Base figure 211.
struct EffectsLog {
  Le32 acs[256], iocs[256];
  uint8_t reserved[2048];
};
static_assert(sizeof(EffectsLog) == 4096);
void DescribeEffects(const EffectsLog& log, Section& into);
// Device Self-test. Base figures 214 and 215.
struct SelfTestResult {
  uint8_t status, segment, valid, reserved3;
  Le64 poh;
  Le32 nsid;
  Le64 failing_lba;
  uint8_t sct, sc, vendor[2];
};
static_assert(sizeof(SelfTestResult) == 28);
struct SelfTestLog {
  uint8_t current_operation, current_completion, reserved[2];
  SelfTestResult results[20];
};
static_assert(sizeof(SelfTestLog) == 564);
void DescribeSelfTest(const SelfTestLog& log, Section& into);
// Sanitize Status. Base figure 290.
struct SanitizeLog {
  Le16 sprog, sstat;
  Le32 scdw10, eto, etbe, etce, etond, etbend, etcend;
  uint8_t reserved[480];
};
static_assert(sizeof(SanitizeLog) == 512);
void DescribeSanitize(const SanitizeLog& log, Section& into);
// Asymmetric Namespace Access: as much of it as was read. Base figures 224 and 225.
void DescribeAna(std::span<const uint8_t> log, Section& into);
// The discovery log page, as the driver read it. Base figure 264.
void DescribeDiscovery(const pollux_nvme_discovery_log& log, Section& into);

}  // namespace pollux::cli
