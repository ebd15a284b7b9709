#include "drivers/nvme_disk/nvme_error_names.h"

#include <algorithm>
#include <iterator>

namespace pollux {
namespace {

struct Name {
  uint16_t code;  // SCT << 8 | SC.
  const char* key;
};

// Sorted by code. What can end an I/O command.
constexpr Name kNames[] = {
    {0x001, "invalid_opcode"},
    {0x002, "invalid_field"},
    {0x003, "command_id_conflict"},
    {0x004, "data_transfer_error"},
    {0x005, "aborted_power_loss"},
    {0x006, "internal_device_error"},
    {0x007, "aborted_by_request"},
    {0x008, "aborted_sq_deletion"},
    {0x009, "aborted_failed_fused"},
    {0x00a, "aborted_missing_fused"},
    {0x00b, "invalid_namespace_or_format"},
    {0x00c, "command_sequence_error"},
    {0x00d, "invalid_sgl_segment_descriptor"},
    {0x00e, "invalid_number_of_sgl_descriptors"},
    {0x00f, "data_sgl_length_invalid"},
    {0x010, "metadata_sgl_length_invalid"},
    {0x011, "sgl_descriptor_type_invalid"},
    {0x012, "invalid_controller_memory_buffer"},
    {0x013, "invalid_prp_offset"},
    {0x014, "atomic_write_unit_exceeded"},
    {0x015, "operation_denied"},
    {0x016, "invalid_sgl_offset"},
    {0x018, "hostid_inconsistent_format"},
    {0x019, "keep_alive_expired"},
    {0x01a, "keep_alive_invalid"},
    {0x01b, "aborted_preempt_and_abort"},
    {0x01c, "sanitize_failed"},
    {0x01d, "sanitize_in_progress"},
    {0x01e, "data_block_granularity_invalid"},
    {0x01f, "command_not_supported_for_queue_in_cmb"},
    {0x020, "namespace_is_write_protected"},
    {0x021, "command_interrupted"},
    {0x022, "transient_transport_error"},
    {0x080, "lba_out_of_range"},
    {0x081, "capacity_exceeded"},
    {0x082, "namespace_not_ready"},
    {0x083, "reservation_conflict"},
    {0x084, "format_in_progress"},
    {0x180, "conflicting_attributes"},
    {0x181, "invalid_protection_info"},
    {0x182, "write_to_ro_range"},
    {0x183, "cmd_size_limit_size_exceeded"},
    {0x1b8, "zoned_boundary_error"},
    {0x1b9, "zone_is_full"},
    {0x1ba, "zone_is_read_only"},
    {0x1bb, "zone_is_offline"},
    {0x1bc, "zone_invalid_write"},
    {0x1bd, "too_many_active_zones"},
    {0x1be, "too_many_open_zones"},
    {0x1bf, "invalid_zone_state_transition"},
    {0x280, "write_faults"},
    {0x281, "unrecovered_read_error"},
    {0x282, "guard_check_error"},
    {0x283, "application_tag_check_error"},
    {0x284, "reference_tag_check_error"},
    {0x285, "compare_failure"},
    {0x286, "access_denied"},
    {0x287, "deallocated_or_unwritten_block"},
    {0x300, "internal_path_error"},
    {0x301, "asymmetric_access_persistent_loss"},
    {0x302, "asymmetric_access_inaccessible"},
    {0x303, "asymmetric_access_transition"},
    {0x360, "controller_path_error"},
    {0x370, "host_path_error"},
    {0x371, "aborted_by_host"},
};

constexpr bool ByCode(const Name& a, const Name& b) { return a.code < b.code; }
static_assert(std::is_sorted(std::begin(kNames), std::end(kNames), ByCode));

}  // namespace

std::string NvmeStatusTypeKey(uint8_t sct) {
  switch (sct) {
    case 0:
      return "generic";
    case 1:
      return "command_specific";
    case 2:
      return "media_error";
    case 3:
      return "path";
    case 7:
      return "vendor_specific";
    default:
      return "reserved";
  }
}

std::string NvmeStatusKey(uint8_t sct, uint8_t sc) {
  const Name wanted{static_cast<uint16_t>(sct << 8 | sc), ""};
  const Name* found = std::lower_bound(std::begin(kNames), std::end(kNames), wanted, ByCode);
  if (found != std::end(kNames) && found->code == wanted.code) return found->key;
  return sct == 3 ? "path_error" : NvmeStatusTypeKey(sct);
}

}  // namespace pollux
