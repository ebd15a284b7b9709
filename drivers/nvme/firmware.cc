#include <algorithm>
#include <cstring>

#include "drivers/nvme/controller.h"
#include "drivers/nvme/error_text.h"
#include "drivers/nvme/host.h"

namespace pollux::nvme {
namespace {

constexpr size_t kPieceBytesMax = 128 << 10;
constexpr uint8_t kSlotMax = 7, kActionMax = 7;

// Base §3.11: the pieces in order, then the commit. Waits.
Status Update(NvmeController& controller, const std::byte* image, size_t bytes, uint8_t slot,
              uint8_t action, Completion& completion) {
  if ((controller.facts().identify.oacs & oacs::kFirmware) == 0) {
    return NotSupported("the device takes no firmware");
  }
  if (image == nullptr || bytes == 0 || bytes % 4 != 0 || bytes > UINT32_MAX || slot > kSlotMax ||
      action > kActionMax) {
    return InvalidArgument("a firmware image is of whole dwords, a slot 0 to 7");
  }
  // A multiple of the device's unit, as large as one command and we may carry it.
  const size_t unit = controller.facts().firmware_unit_bytes;
  const size_t most =
      std::min<uint64_t>(kPieceBytesMax, controller.facts().info.transfer_bytes_max);
  const size_t piece_bytes = std::max(most / unit * unit, std::min(unit, most));
  const Piece data = controller.admin().Buffer(piece_bytes);
  if (!data.valid()) return OutOfMemory("no memory for a piece of the firmware image");

  for (size_t at = 0; at < bytes; at += piece_bytes) {
    const size_t now = std::min(piece_bytes, bytes - at);
    memcpy(data.get(), image + at, now);
    const SubmissionEntry entry = EntryOf(
        pollux_nvme_make_firmware_download(static_cast<uint32_t>(at), static_cast<uint32_t>(now)));
    ASSIGN_OR_RETURN(completion, controller.RunAdmin(entry, data.get(), now));
    if (!pollux_nvme_ok(completion)) return CommandFailed("Firmware Image Download", completion);
  }
  const SubmissionEntry commit = EntryOf(pollux_nvme_make_firmware_commit(slot, action));
  ASSIGN_OR_RETURN(completion, controller.RunAdmin(commit, nullptr, 0));
  return OkStatus();
}

}  // namespace
}  // namespace pollux::nvme

int pollux_nvme_firmware_update(pollux_nvme_controller* controller, const void* image, size_t bytes,
                                uint8_t slot, uint8_t action, pollux_nvme_completion* completion) {
  *completion = {};
  return pollux::nvme::Fail(pollux::nvme::Update(*controller, static_cast<const std::byte*>(image),
                                                 bytes, slot, action, *completion));
}
