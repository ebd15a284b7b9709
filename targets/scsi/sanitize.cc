#include <cstring>

#include "targets/scsi/commands.h"
#include "targets/scsi/sanitizer.h"
#include "targets/scsi/shared_status.h"

// SANITIZE: OVERWRITE and EXIT FAILURE MODE. SBC-3 §4.11, §5.29. Block devices do not say whether
// what they deallocate is gone for good, so there is no BLOCK ERASE.

namespace pollux::scsi {
namespace {

constexpr uint8_t kImmed = 0x80, kZnr = 0x40, kAuse = 0x20;  // In byte 1.

// A command that spoils so much takes nothing that it does not know.
std::optional<Sense> CheckReserved(const Execution& e) {
  if (e.cdb()[1] & kZnr) return InvalidFieldInCdb(1, 6);
  for (uint16_t byte = 2; byte <= 6; ++byte) {
    if (e.cdb()[byte] != 0) return InvalidFieldInCdb(byte);
  }
  return std::nullopt;
}

bool AllowsUnrestrictedExit(const Execution& e) { return e.cdb()[1] & kAuse; }

// The unit is sanitizing from now on: the commands of all nexuses that it does not run while it is
// have ended when this has.
struct Begun final : StatusChange {
  Begun() { exclusive = true; }
  void Apply(UnitStatus& status) override {
    refused = status.readiness == Readiness::kSanitizing;
    // What must not be left but by success stays so.
    invalid = status.readiness == Readiness::kSanitizeFailed && !status.may_exit_failure && ause;
    if (refused || invalid) return;
    status.readiness = Readiness::kSanitizing;
    status.sanitizing = progress;
  }
  bool ause = false;
  bool refused = false, invalid = false;
  std::shared_ptr<SanitizeProgress> progress = std::make_shared<SanitizeProgress>();
  Sanitizer::Order order;
};

void OnEnded(Execution& e) {
  if (e.unit()->status.readiness == Readiness::kSanitizeFailed) {
    return e.EndWithSense({SenseKey::kMediumError, AdditionalSense::kSanitizeFailed});
  }
  e.EndGood();
}

void OnBegun(Execution& e) {
  auto& begun = static_cast<Begun&>(*e.change);
  if (begun.refused) {
    return e.EndWithSense({SenseKey::kNotReady, AdditionalSense::kSanitizeInProgress});
  }
  if (begun.invalid) return e.EndWithSense(InvalidFieldInCdb(1, 5));
  const auto sanitizer = std::make_shared<Sanitizer>(e.view(), *e.unit(), e.buffers(),
                                                     std::move(begun.order), begun.progress);
  e.unit()->sanitizer = sanitizer;
  sanitizer->Start();
  if (e.cdb()[1] & kImmed) return e.EndGood();
  e.Await(std::make_shared<SanitizeEnd>(sanitizer), OnEnded);
}

// One block's worth of the pattern, again and again. SBC-3 §5.29.2.
void OnList(Execution& e) {
  SanitizeOverwriteList list;
  std::memcpy(&list, e.buffer(), sizeof(list));
  const size_t pattern_bytes = e.Field<Be16>(7) - sizeof(list);
  if (list.flags0 & 0x60) return e.EndWithSense(InvalidFieldInParameterList(0, 6));  // TEST
  const uint8_t passes = list.flags0 & 0x1f;
  if (passes == 0) return e.EndWithSense(InvalidFieldInParameterList(0, 4));
  const uint16_t length = list.initialization_pattern_length;
  if (length == 0 || length > pattern_bytes) {
    return e.EndWithSense(InvalidFieldInParameterList(2));
  }
  auto begun = std::make_shared<Begun>();
  begun->ause = AllowsUnrestrictedExit(e);
  Sanitizer::Order& order = begun->order;
  order.passes = passes;
  order.invert = list.flags0 & 0x80;
  order.may_exit_failure = begun->ause;
  order.block.resize(e.block_bytes());
  for (size_t i = 0; i < order.block.size(); ++i) {
    order.block[i] = e.buffer()[sizeof(list) + i % length];
  }
  e.Await(std::move(begun), OnBegun);
}

void FetchList(Execution& e) { e.FetchParameterList(e.Field<Be16>(7), OnList); }

struct FailureLeft final : StatusChange {
  void Apply(UnitStatus& status) override {
    if (status.readiness != Readiness::kSanitizeFailed) return;
    refused = !status.may_exit_failure;
    if (!refused) status.readiness = Readiness::kReady;
  }
  bool refused = false;
};

void OnFailureLeft(Execution& e) {
  if (static_cast<FailureLeft&>(*e.change).refused) return e.EndWithSense(InvalidFieldInCdb(1, 4));
  e.EndGood();
}

}  // namespace

void SanitizeOverwrite(Execution& e) {
  if (const auto sense = CheckReserved(e)) return e.EndWithSense(*sense);
  if (const auto sense = CheckWritable(e)) return e.EndWithSense(*sense);
  const uint32_t bytes = e.Field<Be16>(7);
  if (bytes <= sizeof(SanitizeOverwriteList) ||
      bytes > sizeof(SanitizeOverwriteList) + e.block_bytes()) {
    return e.EndWithSense(InvalidFieldInCdb(7));
  }
  if (e.block_bytes() > e.buffer_bytes()) return e.EndWithIo(IoStatus::kInternalError, true);
  e.TakeBuffer(FetchList);
}

void SanitizeExitFailureMode(Execution& e) {
  if (const auto sense = CheckReserved(e)) return e.EndWithSense(*sense);
  if (e.Field<Be16>(7) != 0) return e.EndWithSense(InvalidFieldInCdb(7));
  e.Await(std::make_shared<FailureLeft>(), OnFailureLeft);
}

}  // namespace pollux::scsi
