#include <algorithm>
#include <array>
#include <cstring>

#include "targets/scsi/commands.h"
#include "targets/scsi/parameter_data.h"
#include "targets/scsi/shared_status.h"

// MODE SENSE and MODE SELECT of 6 and 10 bytes. SPC-4 §6.9 to §6.12, §7.5; SBC-3 §6.5.
//
// Two bits can be changed, both in the control page: D_SENSE and SWP, for all nexuses.

namespace pollux::scsi {
namespace {

constexpr uint8_t kDSense = 0x04;  // In byte 2 of the control page.
constexpr uint8_t kSwp = 0x08;     // In byte 4.
constexpr uint8_t kPageCodeMask = 0x3f;
constexpr uint8_t kSubpageFormat = 0x40;
constexpr uint8_t kAllPages = 0x3f;
constexpr uint8_t kAllSubpages = 0xff;

enum class PageControl : uint8_t { kCurrent, kChangeable, kDefault, kSaved };

template <typename Page>
std::array<uint8_t, 20> AsBytes(const Page& page) {
  static_assert(sizeof(Page) <= 20);
  std::array<uint8_t, 20> bytes{};
  std::memcpy(bytes.data(), &page, sizeof(page));
  return bytes;
}

// A page as it is, or which of its bits can be changed.
std::array<uint8_t, 20> Caching(Execution& e, PageControl control) {
  CachingPage page;
  if (control != PageControl::kChangeable && e.disk().volatile_cache) page.flags2 |= 0x04;  // WCE
  return AsBytes(page);
}

std::array<uint8_t, 20> Control(Execution& e, PageControl control) {
  ControlPage page;
  if (control == PageControl::kChangeable) {
    page.flags2 = kDSense;
    page.flags4 = kSwp;
    return AsBytes(page);
  }
  page.flags2 = 0x02;  // GLTSD: no log parameters are saved.
  if (control == PageControl::kCurrent) {
    const UnitStatus& status = e.unit()->status;
    if (status.descriptor_sense) page.flags2 |= kDSense;
    if (status.software_write_protect) page.flags4 |= kSwp;
  }
  page.flags3 = 0x10;  // Simple commands may be reordered.
  page.flags5 = 0x40;  // TAS: what another nexus aborts gets TASK ABORTED.
  page.busy_timeout_period = uint16_t{0xffff};
  return AsBytes(page);
}

std::array<uint8_t, 20> InformationalExceptions(Execution&, PageControl control) {
  InformationalExceptionsPage page;
  if (control != PageControl::kChangeable) page.flags2 = 0x08;  // DEXCPT: none are reported.
  return AsBytes(page);
}

struct ModePage {
  uint8_t code;
  uint8_t bytes;
  std::array<uint8_t, 20> (*get)(Execution& e, PageControl control);
};
constexpr ModePage kModePages[] = {
    {0x08, sizeof(CachingPage), Caching},
    {0x0a, sizeof(ControlPage), Control},
    {0x1c, sizeof(InformationalExceptionsPage), InformationalExceptions},
};

uint8_t DeviceSpecific(Execution& e) {
  return static_cast<uint8_t>(0x10 | (e.unit()->write_protected() ? 0x80 : 0));  // DPOFUA, WP
}

void AppendBlockDescriptor(Execution& e, ParameterData& data, bool long_lba) {
  if (long_lba) {
    auto& descriptor = data.Append<LongBlockDescriptor>();
    descriptor.number_of_blocks = e.blocks();
    descriptor.block_length = e.block_bytes();
  } else {
    auto& descriptor = data.Append<BlockDescriptor>();
    descriptor.number_of_blocks = static_cast<uint32_t>(std::min<uint64_t>(e.blocks(), UINT32_MAX));
    descriptor.block_length = e.block_bytes();
  }
}

// Byte 2: page control and page code; byte 3: subpage code.
void AppendPages(Execution& e, ParameterData& data) {
  const auto control = static_cast<PageControl>(e.cdb()[2] >> 6);
  const uint8_t wanted = e.cdb()[2] & kPageCodeMask;
  for (const ModePage& page : kModePages) {
    if (wanted != page.code && wanted != kAllPages) continue;
    const auto bytes = page.get(e, control);
    data.AppendBytes(std::span(bytes).first(page.bytes));
  }
}

void SendModeSense6(Execution& e) {
  ParameterData data(e.buffer());
  auto& header = data.Append<ModeHeader6>();
  header.device_specific = DeviceSpecific(e);
  if ((e.cdb()[1] & 0x08) == 0) {  // DBD
    AppendBlockDescriptor(e, data, /*long_lba=*/false);
    header.block_descriptor_length = sizeof(BlockDescriptor);
  }
  AppendPages(e, data);
  header.mode_data_length = static_cast<uint8_t>(data.size() - 1);
  e.SendParameterData(data, e.cdb()[4]);
}

void SendModeSense10(Execution& e) {
  const bool long_lba = e.cdb()[1] & 0x10;  // LLBAA
  ParameterData data(e.buffer());
  auto& header = data.Append<ModeHeader10>();
  header.device_specific = DeviceSpecific(e);
  if ((e.cdb()[1] & 0x08) == 0) {  // DBD
    const size_t before = data.size();
    AppendBlockDescriptor(e, data, long_lba);
    header.longlba = long_lba ? 1 : 0;
    header.block_descriptor_length = static_cast<uint16_t>(data.size() - before);
  }
  AppendPages(e, data);
  header.mode_data_length = static_cast<uint16_t>(data.size() - 2);
  e.SendParameterData(data, e.Field<Be16>(7));
}

void ModeSense(Execution& e, Execution::Step send) {
  if (static_cast<PageControl>(e.cdb()[2] >> 6) == PageControl::kSaved) {
    return e.EndWithSense(IllegalRequest(AdditionalSense::kSavingNotSupported));
  }
  const uint8_t wanted = e.cdb()[2] & kPageCodeMask;
  const bool known = wanted == kAllPages ||
                     std::any_of(std::begin(kModePages), std::end(kModePages),
                                 [wanted](const ModePage& page) { return page.code == wanted; });
  if (!known) return e.EndWithSense(InvalidFieldInCdb(2, 5));
  if (e.cdb()[3] != 0 && e.cdb()[3] != kAllSubpages) return e.EndWithSense(InvalidFieldInCdb(3));
  e.TakeBuffer(send);
}

// --- MODE SELECT

// What may stand in a block descriptor: the number of blocks and the block length as they are.
std::optional<Sense> CheckBlockDescriptor(Execution& e, size_t at, size_t bytes) {
  if (bytes == 0) return std::nullopt;
  uint64_t blocks = 0, all = 0;
  uint32_t block_bytes = 0;
  if (bytes == sizeof(BlockDescriptor)) {
    BlockDescriptor descriptor;
    std::memcpy(&descriptor, e.buffer() + at, sizeof(descriptor));
    blocks = descriptor.number_of_blocks, block_bytes = descriptor.block_length;
    all = UINT32_MAX;
  } else {
    LongBlockDescriptor descriptor;
    std::memcpy(&descriptor, e.buffer() + at, sizeof(descriptor));
    blocks = descriptor.number_of_blocks, block_bytes = descriptor.block_length;
    all = UINT64_MAX;
  }
  if (blocks != 0 && blocks != e.blocks() && blocks != all) {
    return InvalidFieldInParameterList(static_cast<uint16_t>(at));
  }
  if (block_bytes != e.block_bytes()) {
    const size_t field = bytes == sizeof(BlockDescriptor) ? 5 : 12;
    return InvalidFieldInParameterList(static_cast<uint16_t>(at + field));
  }
  return std::nullopt;
}

// The bits of the control page.
struct ModeChange final : StatusChange {
  explicit ModeChange(const ControlPage& page)
      : descriptor_sense(page.flags2 & kDSense), software_write_protect(page.flags4 & kSwp) {
    attention = UnitAttention::kModeParametersChanged;
  }
  void Apply(UnitStatus& status) override {
    status.descriptor_sense = descriptor_sense;
    status.software_write_protect = software_write_protect;
  }
  const bool descriptor_sense, software_write_protect;
};

// Checks one page of the list against what can be changed; nothing is changed yet. Sets
// `change` when it is the control page.
std::optional<Sense> CheckPage(Execution& e, const ModePage& page, size_t at,
                               std::shared_ptr<ModeChange>& change) {
  const auto current = page.get(e, PageControl::kCurrent);
  const auto changeable = page.get(e, PageControl::kChangeable);
  for (size_t i = 2; i < page.bytes; ++i) {
    const auto wanted = static_cast<uint8_t>(e.buffer()[at + i]);
    if ((wanted ^ current[i]) & ~changeable[i] & 0xff) {
      return InvalidFieldInParameterList(static_cast<uint16_t>(at + i));
    }
  }
  if (page.get == Control) {
    ControlPage wanted;
    std::memcpy(&wanted, e.buffer() + at, sizeof(wanted));
    change = std::make_shared<ModeChange>(wanted);
  }
  return std::nullopt;
}

// The list: header, block descriptor, pages. All is checked before anything is changed.
void ApplyModeList(Execution& e, size_t header_bytes, size_t descriptor_bytes, size_t list_bytes) {
  constexpr AdditionalSense kTooShort = AdditionalSense::kParameterListLengthError;
  size_t at = header_bytes;
  if (descriptor_bytes > list_bytes - at) return e.EndWithSense(IllegalRequest(kTooShort));
  if (const auto sense = CheckBlockDescriptor(e, at, descriptor_bytes)) {
    return e.EndWithSense(*sense);
  }
  at += descriptor_bytes;

  std::shared_ptr<ModeChange> change;
  while (at < list_bytes) {
    if (list_bytes - at < 2) return e.EndWithSense(IllegalRequest(kTooShort));
    const auto code = static_cast<uint8_t>(e.buffer()[at]);
    const auto length = static_cast<uint8_t>(e.buffer()[at + 1]);
    const auto page =
        std::find_if(std::begin(kModePages), std::end(kModePages),
                     [code](const ModePage& p) { return p.code == (code & kPageCodeMask); });
    if ((code & kSubpageFormat) || page == std::end(kModePages)) {
      return e.EndWithSense(InvalidFieldInParameterList(static_cast<uint16_t>(at), 5));
    }
    if (length != page->bytes - 2) {
      return e.EndWithSense(InvalidFieldInParameterList(static_cast<uint16_t>(at + 1)));
    }
    if (page->bytes > list_bytes - at) return e.EndWithSense(IllegalRequest(kTooShort));
    if (const auto sense = CheckPage(e, *page, at, change)) return e.EndWithSense(*sense);
    at += page->bytes;
  }
  if (change == nullptr) return e.EndGood();
  e.Await(std::move(change), [](Execution& changed) { changed.EndGood(); });
}

void ApplyModeSelect6(Execution& e) {
  ModeHeader6 header;
  std::memcpy(&header, e.buffer(), sizeof(header));
  if (header.medium_type != 0) return e.EndWithSense(InvalidFieldInParameterList(1));
  const size_t descriptor = header.block_descriptor_length;
  if (descriptor != 0 && descriptor != sizeof(BlockDescriptor)) {
    return e.EndWithSense(InvalidFieldInParameterList(3));
  }
  ApplyModeList(e, sizeof(header), descriptor, e.cdb()[4]);
}

void ApplyModeSelect10(Execution& e) {
  ModeHeader10 header;
  std::memcpy(&header, e.buffer(), sizeof(header));
  if (header.medium_type != 0) return e.EndWithSense(InvalidFieldInParameterList(2));
  const size_t expected =
      header.longlba & 1 ? sizeof(LongBlockDescriptor) : sizeof(BlockDescriptor);
  const size_t descriptor = header.block_descriptor_length;
  if (descriptor != 0 && descriptor != expected) {
    return e.EndWithSense(InvalidFieldInParameterList(6));
  }
  ApplyModeList(e, sizeof(header), descriptor, e.Field<Be16>(7));
}

void FetchModeSelect6(Execution& e) { e.FetchParameterList(e.cdb()[4], ApplyModeSelect6); }
void FetchModeSelect10(Execution& e) { e.FetchParameterList(e.Field<Be16>(7), ApplyModeSelect10); }

void ModeSelect(Execution& e, size_t list_bytes, size_t header_bytes, Execution::Step fetch) {
  const bool pf = e.cdb()[1] & 0x10, sp = e.cdb()[1] & 0x01;
  if (!pf) return e.EndWithSense(InvalidFieldInCdb(1, 4));
  if (sp) return e.EndWithSense(InvalidFieldInCdb(1, 0));  // Nothing can be saved.
  if (list_bytes == 0) return e.EndGood();
  if (list_bytes < header_bytes) {
    return e.EndWithSense(IllegalRequest(AdditionalSense::kParameterListLengthError));
  }
  e.TakeBuffer(fetch);
}

}  // namespace

void ModeSense6(Execution& e) { ModeSense(e, SendModeSense6); }
void ModeSense10(Execution& e) { ModeSense(e, SendModeSense10); }
void ModeSelect6(Execution& e) { ModeSelect(e, e.cdb()[4], sizeof(ModeHeader6), FetchModeSelect6); }
void ModeSelect10(Execution& e) {
  ModeSelect(e, e.Field<Be16>(7), sizeof(ModeHeader10), FetchModeSelect10);
}

}  // namespace pollux::scsi
