#include <array>
#include <utility>

#include "core/run_on.h"
#include "targets/nvmf/await_task.h"
#include "targets/nvmf/controller.h"
#include "targets/nvmf/parameter_data.h"
#include "targets/nvmf/queue.h"
#include "targets/nvmf/worker.h"

// The Identify command: which data structure is asked for, and whether there is one. Base §5.17

namespace pollux::nvmf {

using namespace nvme::status;

namespace {

constexpr size_t kIdentifyBytes = 4096;
constexpr uint32_t kNsidListEnd = 0xfffffffe;  // Lists begin behind a lower NSID than this.

// Where fields of the command begin.
constexpr uint8_t kCnsByte = 40, kCntidByte = 42, kCsiByte = 47;

uint8_t CnsOf(Execution& e) { return static_cast<uint8_t>(uint32_t{e.entry().cdw10}); }
uint16_t CntidOf(Execution& e) { return static_cast<uint16_t>(e.entry().cdw10 >> 16); }
uint8_t CsiOf(Execution& e) { return static_cast<uint8_t>(e.entry().cdw11 >> 24); }

bool IsOfCommandSet(uint8_t cns) {
  return cns == nvme::cns::kCsNamespace || cns == nvme::cns::kCsController ||
         cns == nvme::cns::kCsActiveNamespaces;
}

std::string Zeroes() { return std::string(kIdentifyBytes, '\0'); }

// The combinations of I/O command sets that may be enabled: one, of the NVM command set.
std::string IoCommandSets() {
  std::string data = Zeroes();
  data[0] = 1 << nvme::kCsiNvm;
  return data;
}

std::string ControllerList(const std::vector<uint16_t>& ids, uint16_t first) {
  Page<std::array<Le16, kIdentifyBytes / sizeof(Le16)>> page;
  uint16_t count = 0;
  for (const uint16_t id : ids) {
    if (id < first || count + 1u == page->size()) continue;
    (*page)[++count] = id;
  }
  (*page)[0] = count;
  return page.Take();
}

}  // namespace

void Controller::Identify(Execution& execution) {
  const uint8_t cns = CnsOf(execution);
  if (cns == nvme::cns::kController) return EndWithWhole(execution, IdentifyController());
  if (discovery()) return execution.EndInvalidField(kCnsByte);
  if (IsOfCommandSet(cns) && CsiOf(execution) != nvme::kCsiNvm) {
    return execution.EndInvalidField(kCsiByte);
  }
  switch (cns) {
    case nvme::cns::kNamespace:
    case nvme::cns::kCsNamespace:
    case nvme::cns::kIndependentNamespace:
    case nvme::cns::kAllocatedNamespace:
    case nvme::cns::kNamespaceDescriptors:
      return IdentifyNamespaceOf(execution);
    case nvme::cns::kActiveNamespaces:
    case nvme::cns::kCsActiveNamespaces:
    case nvme::cns::kAllocatedNamespaces:
      if (execution.entry().nsid >= kNsidListEnd) {
        return execution.End(kInvalidNamespace | kDnrBit);
      }
      return EndWithWhole(execution, ActiveNamespaces(execution.entry().nsid));
    case nvme::cns::kCsController:
      return EndWithWhole(execution, IdentifyNvmController());
    case nvme::cns::kIoCommandSets:
      if (CntidOf(execution) != identity_->cntlid && CntidOf(execution) != 0xffff) {
        return execution.EndInvalidField(kCntidByte);
      }
      return EndWithWhole(execution, IoCommandSets());
    case nvme::cns::kAttachedControllers:
    case nvme::cns::kControllers:
      return IdentifyControllers(execution);
  }
  execution.EndInvalidField(kCnsByte);
}

// Of a namespace that is not there, or that this host may not see, everything is zero; what is
// there or not is all one for a number that no namespace can have.
void Controller::IdentifyNamespaceOf(Execution& execution) {
  const uint32_t nsid = execution.entry().nsid;
  const uint8_t cns = CnsOf(execution);
  if (!IsValidNsid(nsid)) return execution.End(kInvalidNamespace | kDnrBit);
  const NamespaceView* const ns = FindVisible(nsid);
  if (cns == nvme::cns::kNamespaceDescriptors) {
    if (ns == nullptr) return execution.End(kInvalidNamespace | kDnrBit);
    return EndWithWhole(execution, NamespaceDescriptors(*ns));
  }
  if (ns == nullptr) return EndWithWhole(execution, Zeroes());
  // What the NVM command set adds are protection information and storage tags that are longer than
  // 16 bits: there are none, and zero says so. NVM figure 100
  if (cns == nvme::cns::kCsNamespace) return EndWithWhole(execution, Zeroes());
  if (cns == nvme::cns::kIndependentNamespace) {
    return EndWithWhole(execution, IdentifyIndependent(*ns));
  }
  EndWithWhole(execution, IdentifyNamespace(*ns));
}

std::string Controller::ActiveNamespaces(uint32_t after) const {
  Page<std::array<Le32, kIdentifyBytes / sizeof(Le32)>> page;
  uint32_t nsid = after;
  for (Le32& place : *page) {
    nsid = view_.NextVisible(nsid, identity_->hostnqn);
    if (nsid == 0) break;
    place = nsid;
  }
  return page.Take();
}

// --- Controller lists

void Controller::IdentifyControllers(Execution& execution) {
  uint32_t nsid = 0;
  if (CnsOf(execution) == nvme::cns::kAttachedControllers) {
    nsid = execution.entry().nsid;
    if (!IsValidNsid(nsid)) return execution.End(kInvalidNamespace | kDnrBit);
    if (FindVisible(nsid) == nullptr) return EndWithWhole(execution, Zeroes());
  }
  AwaitTask(execution, EndWithControllers(&execution, nsid));
}

Task<void> Controller::EndWithControllers(Execution* execution, uint32_t nsid) {
  Worker& worker = queue_.worker();
  co_await SwitchTo(worker.control());
  const std::vector<uint16_t> ids = worker.control_side().ControllersOf(identity_->subnqn, nsid);
  co_await SwitchTo(worker.reactor());
  EndWithWhole(*execution, ControllerList(ids, CntidOf(*execution)));
}

}  // namespace pollux::nvmf
