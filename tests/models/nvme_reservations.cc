#include "tests/models/nvme_reservations.h"

#include <algorithm>
#include <cstring>

namespace pollux::models {
namespace {

namespace status = nvme::status;

constexpr uint32_t kIgnoreExistingKey = 1 << 3;  // IEKEY, dword 10.
constexpr uint8_t kTypeMax = 6;

struct ReportHeader {  // Base figure 402.
  Le32 gen;
  uint8_t rtype;
  Le16 regctl;
  uint8_t reserved7[2], ptpls, reserved10[14];
};
static_assert(sizeof(ReportHeader) == 24);

struct RegisteredController {  // Base figure 404.
  Le16 cntlid;
  uint8_t rcsts, reserved3[5];
  Le64 hostid, rkey;
};
static_assert(sizeof(RegisteredController) == 24);

struct RegisteredControllerExtended {  // Base figure 406.
  Le16 cntlid;
  uint8_t rcsts, reserved3[5];
  Le64 rkey;
  uint8_t hostid[16], reserved32[32];
};
static_assert(sizeof(RegisteredControllerExtended) == 64);

}  // namespace

uint16_t Reservations::Register(uint32_t cdw10, uint64_t current_key, uint64_t new_key) {
  const uint32_t action = cdw10 & 7;
  const bool ignore = (cdw10 & kIgnoreExistingKey) != 0;
  switch (action) {
    case 0:  // Register
      if (registered_ && key_ != new_key) return status::kReservationConflict;
      registered_ = true;
      key_ = new_key;
      break;
    case 1:  // Unregister
      if (!registered_ || (!ignore && key_ != current_key)) return status::kReservationConflict;
      registered_ = false;
      type_ = 0;
      break;
    case 2:  // Replace
      if ((!registered_ && !ignore) || (!ignore && key_ != current_key)) {
        return status::kReservationConflict;
      }
      registered_ = true;
      key_ = new_key;
      break;
    default:
      return status::kInvalidField;
  }
  ++generation_;
  return status::kSuccess;
}

uint16_t Reservations::Acquire(uint32_t cdw10, uint64_t current_key, uint64_t preempted_key) {
  const uint32_t action = cdw10 & 7;
  const auto type = static_cast<uint8_t>(cdw10 >> 8);
  if ((cdw10 & kIgnoreExistingKey) != 0 || action > 2 || type == 0 || type > kTypeMax) {
    return status::kInvalidField;
  }
  if (!registered_ || key_ != current_key) return status::kReservationConflict;
  if (action == 0) {
    if (type_ != 0 && type_ != type) return status::kReservationConflict;
  } else {
    if (preempted_key != key_) return status::kReservationConflict;
    ++generation_;
  }
  type_ = type;
  return status::kSuccess;
}

uint16_t Reservations::Release(uint32_t cdw10, uint64_t current_key) {
  const uint32_t action = cdw10 & 7;
  if ((cdw10 & kIgnoreExistingKey) != 0 || action > 1) return status::kInvalidField;
  if (!registered_ || key_ != current_key) return status::kReservationConflict;
  if (action == 0) {
    if (type_ != 0 && type_ != static_cast<uint8_t>(cdw10 >> 8)) return status::kInvalidField;
  } else {  // Clear
    registered_ = false;
    ++generation_;
  }
  type_ = 0;
  return status::kSuccess;
}

std::vector<std::byte> Reservations::Report(bool extended,
                                            std::span<const uint8_t, 16> host) const {
  const size_t header_bytes = extended ? 64 : sizeof(ReportHeader);
  const size_t each =
      extended ? sizeof(RegisteredControllerExtended) : sizeof(RegisteredController);
  std::vector<std::byte> report(header_bytes + (registered_ ? each : 0));
  const ReportHeader header{
      .gen = generation_, .rtype = type_, .regctl = static_cast<uint16_t>(registered_ ? 1 : 0)};
  std::memcpy(report.data(), &header, sizeof header);
  if (!registered_) return report;
  const auto holds = static_cast<uint8_t>(type_ != 0 ? 1 : 0);
  if (extended) {
    RegisteredControllerExtended controller{.cntlid = 1, .rcsts = holds, .rkey = key_};
    std::copy(host.begin(), host.end(), controller.hostid);
    std::memcpy(report.data() + header_bytes, &controller, sizeof controller);
  } else {
    RegisteredController controller{.cntlid = 1, .rcsts = holds, .rkey = key_};
    std::memcpy(&controller.hostid, host.data(), sizeof controller.hostid);
    std::memcpy(report.data() + header_bytes, &controller, sizeof controller);
  }
  return report;
}

}  // namespace pollux::models
