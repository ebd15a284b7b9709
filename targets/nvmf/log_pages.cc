#include <array>
#include <map>
#include <utility>

#include "core/run_on.h"
#include "targets/nvmf/await_task.h"
#include "targets/nvmf/controller.h"
#include "targets/nvmf/parameter_data.h"
#include "targets/nvmf/queue.h"
#include "targets/nvmf/worker.h"

// Get Log Page. Base §5.16. A page is made whole for each read, from what is there at that moment,
// and the bytes that were asked for are cut out of it.

namespace pollux::nvmf {

using namespace nvme::status;

namespace {

constexpr uint8_t kGroupsOnly = 1 << 0;  // LSP of the ANA page: RGO

// Where fields of the command begin.
constexpr uint8_t kNsidByte = 4, kNumdByte = 42, kLpoByte = 48, kOtByte = 58, kOtBit = 7,
                  kCsiByte = 59;

// What a host asks for. Figure 197 and after.
struct LogRequest {
  uint8_t lid = 0, lsp = 0, csi = 0;
  bool retain = false;    // RAE
  bool by_index = false;  // OT: the offset counts entries.
  uint64_t bytes = 0;     // NUMD, in bytes.
  uint64_t offset = 0;

  explicit LogRequest(const nvme::SubmissionEntry& entry) {
    const uint32_t cdw10 = entry.cdw10, cdw11 = entry.cdw11;
    lid = static_cast<uint8_t>(cdw10);
    lsp = cdw10 >> 8 & 0x7f;
    retain = (cdw10 >> 15 & 1) != 0;
    bytes = ((uint64_t{cdw11 & 0xffff} << 16 | cdw10 >> 16) + 1) * 4;
    offset = uint64_t{entry.cdw13} << 32 | entry.cdw12;
    by_index = (entry.cdw14 >> 23 & 1) != 0;
    csi = static_cast<uint8_t>(entry.cdw14 >> 24);
  }
};

// --- Pages that are always the same.

std::string FirmwareSlots() {
  Page<nvme::FirmwareSlotLog> page;
  page->afi = 1;
  SetAscii(page->frs[0], kFirmwareRevision);
  return page.Take();
}

// CSUPP, LBCC, NCC, and the scope: of namespaces, of the controller. Figure 211
constexpr uint32_t kThere = 1 << 0, kChangesBlocks = 1 << 1, kChangesNamespace = 1 << 2,
                   kOfNamespace = 1 << 20, kOfController = 1 << 21;

std::string CommandEffects() {
  struct Effects {
    Le32 admin[256], io[256];
    uint8_t reserved[2048];
  };
  Page<Effects> page;
  for (const uint8_t opcode :
       {nvme::admin::kGetLogPage, nvme::admin::kIdentify, nvme::admin::kAbort,
        nvme::admin::kGetFeatures, nvme::admin::kAsyncEventRequest, nvme::admin::kKeepAlive}) {
    page->admin[opcode] = kThere | kOfController;
  }
  // Write protection changes, and is of, a namespace.
  page->admin[nvme::admin::kSetFeatures] =
      kThere | kChangesNamespace | kOfController | kOfNamespace;
  for (const uint8_t opcode :
       {nvme::io::kFlush, nvme::io::kRead, nvme::io::kCompare, nvme::io::kVerify}) {
    page->io[opcode] = kThere | kOfNamespace;
  }
  for (const uint8_t opcode :
       {nvme::io::kWrite, nvme::io::kWriteZeroes, nvme::io::kDatasetManagement, nvme::io::kCopy}) {
    page->io[opcode] = kThere | kChangesBlocks | kOfNamespace;
  }
  return page.Take();
}

}  // namespace

void Controller::GetLogPage(Execution& execution) {
  const LogRequest request(execution.entry());
  const uint32_t nsid = execution.entry().nsid;
  // Offsets are of bytes here, and multiples of a dword.
  if (request.by_index) return execution.EndInvalidField(kOtByte, kOtBit);
  if (request.offset % 4 != 0) return execution.EndInvalidField(kLpoByte);
  // No page is of one namespace.
  if (nsid != 0 && nsid != nvme::kAllNamespaces) return execution.EndInvalidField(kNsidByte);
  if (request.bytes > queue_.limits().io_bytes_max) return execution.EndInvalidField(kNumdByte);
  if (request.bytes > execution.command().data_bytes) {
    return execution.End(kSglDataLengthInvalid | kDnrBit);
  }
  if (!HasLogPage(request.lid)) return execution.End(kInvalidLogPage | kDnrBit);
  switch (request.lid) {
    case nvme::log_page::kSupported:
      return EndWithLog(execution, SupportedLogPages());
    case nvme::log_page::kError:
      return EndWithLog(execution, identity_->errors->LogPage());
    case nvme::log_page::kFirmwareSlot:
      return EndWithLog(execution, FirmwareSlots());
    case nvme::log_page::kChangedNamespaces:
      return EndWithLog(execution, changed_namespaces_.LogPage());
    case nvme::log_page::kEffects:
      // That of a command set: the NVM command set is the only one.
      if (request.csi != nvme::kCsiNvm) return execution.EndInvalidField(kCsiByte);
      return EndWithLog(execution, CommandEffects());
    case nvme::log_page::kFeatureEffects:
      return EndWithLog(execution, FeatureEffects());
    case nvme::log_page::kAna:
      return EndWithLog(execution, AnaPage((request.lsp & kGroupsOnly) != 0));
    case nvme::log_page::kHealth:
      return AwaitTask(execution, EndWithHealth(&execution));
    case nvme::log_page::kDiscovery:
      return AwaitTask(execution, EndWithDiscovery(&execution));
  }
}

bool Controller::HasLogPage(uint8_t lid) const {
  switch (lid) {
    case nvme::log_page::kSupported:
      return true;
    case nvme::log_page::kError:
    case nvme::log_page::kHealth:
    case nvme::log_page::kFirmwareSlot:
    case nvme::log_page::kChangedNamespaces:
    case nvme::log_page::kEffects:
    case nvme::log_page::kFeatureEffects:
      return !discovery();
    case nvme::log_page::kAna:
      return !discovery() && view_.facts().ana_reporting;
    case nvme::log_page::kDiscovery:
      return discovery();
  }
  return false;
}

// What lies beyond the page's end is zero; an offset beyond it is an error.
void Controller::EndWithLog(Execution& execution, const std::string& page) {
  const LogRequest request(execution.entry());
  if (request.offset > page.size()) return execution.EndInvalidField(kLpoByte);
  std::string answer = page.substr(request.offset, request.bytes);
  answer.resize(request.bytes);
  if (!request.retain) {
    events_.OnLogRead(request.lid);
    if (request.lid == nvme::log_page::kChangedNamespaces) changed_namespaces_.Clear();
  }
  execution.EndWithData(std::move(answer));
}

std::string Controller::SupportedLogPages() const {
  Page<std::array<Le32, 256>> page;
  for (unsigned lid = 0; lid < 256; ++lid) {
    (*page)[lid] = HasLogPage(static_cast<uint8_t>(lid)) ? 1 : 0;
  }
  return page.Take();
}

// --- SMART / Health: what the controller's queues have counted on all reactors.

Task<void> Controller::EndWithHealth(Execution* execution) {
  Worker& worker = queue_.worker();
  co_await SwitchTo(worker.control());
  const ControlSide::Totals totals = co_await worker.control_side().CountOf(identity_);
  co_await SwitchTo(worker.reactor());
  Page<nvme::HealthLog> page;
  page->avail_spare = 100;
  // Thousands of 512 bytes, rounded up.
  SetNumber(page->data_units_read, (totals.bytes_read + 511'999) / 512'000);
  SetNumber(page->data_units_written, (totals.bytes_written + 511'999) / 512'000);
  SetNumber(page->host_reads, totals.reads);
  SetNumber(page->host_writes, totals.writes);
  SetNumber(page->media_errors, totals.failures[static_cast<size_t>(Failure::kMedia)] +
                                    totals.failures[static_cast<size_t>(Failure::kProtection)]);
  SetNumber(page->num_err_log_entries, identity_->errors->count());
  EndWithLog(*execution, page.Take());
}

Task<void> Controller::EndWithDiscovery(Execution* execution) {
  Worker& worker = queue_.worker();
  co_await SwitchTo(worker.control());
  const std::string page = worker.control_side().DiscoveryLog(*identity_);
  co_await SwitchTo(worker.reactor());
  EndWithLog(*execution, page);
}

// --- Asymmetric Namespace Access. §5.16.1.13: the groups that have namespaces which this host
// sees.

std::string Controller::AnaPage(bool groups_only) const {
  std::map<uint32_t, std::vector<uint32_t>> groups;
  for (uint32_t nsid = 0; (nsid = view_.NextVisible(nsid, identity_->hostnqn)) != 0;) {
    groups[view_.Find(nsid)->facts->anagrpid].push_back(nsid);
  }
  const ListenerView* const listener = queue_.listener_;
  nvme::AnaLogHeader header{};
  header.change_count = listener != nullptr ? listener->change_count : 0;
  header.descriptors = static_cast<uint16_t>(groups.size());
  std::string page;
  AppendBytes(page, header);
  for (const auto& [group, nsids] : groups) {
    nvme::AnaGroupDescriptor descriptor{};
    descriptor.agid = group;
    descriptor.nnsids = groups_only ? 0 : static_cast<uint32_t>(nsids.size());
    descriptor.state = static_cast<uint8_t>(nvme::AnaState::kInaccessible);
    if (listener != nullptr) {
      const auto& counts = listener->change_counts;
      descriptor.change_count = group < counts.size() ? counts[group] : 0;
      descriptor.state = static_cast<uint8_t>(listener->StateOf(group));
    }
    AppendBytes(page, descriptor);
    if (groups_only) continue;
    for (const uint32_t nsid : nsids) AppendBytes(page, Le32(nsid));
  }
  return page;
}

}  // namespace pollux::nvmf
