#pragma once
#include "core/block/uuid.h"
#include "targets/scsi/execution.h"
#include "targets/scsi/parameter_data.h"

namespace pollux::scsi {

inline constexpr std::string_view kVendor = "POLLUX";
inline constexpr std::string_view kRevision = "0001";

// The NAA designator of a unit's VPD page 83h. vpd.cc.
uint64_t NaaOf(const Uuid& uuid);

// Appends the vital product data page; false when there is no such page. vpd.cc.
bool AppendVpdPage(Execution& e, uint8_t page_code, ParameterData& data);

}  // namespace pollux::scsi
