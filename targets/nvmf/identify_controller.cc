#include <cstring>

#include "targets/nvmf/controller.h"
#include "targets/nvmf/parameter_data.h"
#include "targets/nvmf/queue.h"

// What Identify says of the controller. Base figure 275

namespace pollux::nvmf {
namespace {

constexpr uint32_t kVersion = 0x00020000;
constexpr uint32_t kPageBytes = 4096;  // CAP.MPSMIN

// CMIC, ANACAP, LPA, FRMW, VWC, SGLS, OFCS and others by their bits.
constexpr uint8_t kSeveralPorts = 1 << 0, kSeveralControllers = 1 << 1, kAnaReporting = 1 << 3;
constexpr uint32_t kHostIdOf128Bits = 1 << 0;
constexpr uint8_t kOneReadOnlySlot = 1 << 1 | 1 << 0;
constexpr uint8_t kEffectsLog = 1 << 1, kLongLogPages = 1 << 2;
constexpr uint8_t kAnaOptimized = 1 << 0, kAnaNonOptimized = 1 << 1, kAnaInaccessible = 1 << 2;
constexpr uint8_t kAnaTransitionSeconds = 10;
constexpr uint8_t kVolatileCache = 1 << 0, kFlushesAllNamespaces = 3 << 1;
constexpr uint16_t kCompareAndWrite = 1 << 0;
constexpr uint8_t kWriteProtection = 1 << 0, kUntilPowerCycle = 1 << 1, kPermanent = 1 << 2;
constexpr uint16_t kCopyFormat0 = 1 << 0;
constexpr uint32_t kSgls = 1 << 0, kSglAddressIsOffset = 1 << 20, kSglTransportData = 1 << 21;
constexpr uint16_t kDisconnects = 1 << 0;

// Everything that a controller of either kind says.
void FillCommon(nvme::IdentifyController& data, const ControllerIdentity& identity,
                const SubsystemFacts& facts, const Queue::Limits& limits) {
  SetAscii(data.sn, facts.serial_number);
  SetAscii(data.mn, facts.model_number);
  SetAscii(data.fr, kFirmwareRevision);
  SetUtf8(data.subnqn, facts.nqn);
  data.mdts = Log2(limits.io_bytes_max / kPageBytes);
  data.cntlid = identity.cntlid;
  data.ver = kVersion;
  data.ctratt = kHostIdOf128Bits;
  data.crdt1 = facts.crdt[0];
  data.crdt2 = facts.crdt[1];
  data.crdt3 = facts.crdt[2];
  data.acl = Controller::kAbortsMax - 1;
  data.aerl = AsyncEvents::kRequestsMax - 1;
  data.lpa = kLongLogPages;
  data.kas = limits.kas;
  data.maxcmd = limits.io_depth_max;
  data.sgls = kSgls | kSglAddressIsOffset | kSglTransportData;
  // In units of 16 bytes; an entry of 64 bytes is among them.
  data.ioccsz = (uint32_t{sizeof(nvme::SubmissionEntry)} + limits.in_capsule_bytes) / 16;
  data.iorcsz = sizeof(nvme::CompletionEntry) / 16;
  data.msdbd = 1;
}

// An I/O controller's namespaces come and go while hosts look here once: so it says what namespaces
// may have. What one of them has not, it says itself or answers by its commands.
void FillForIo(nvme::IdentifyController& data, const SubsystemFacts& facts) {
  data.cntrltype = 1;
  if (facts.multipath) data.cmic = kSeveralPorts | kSeveralControllers;
  data.frmw = kOneReadOnlySlot;
  data.elpe = ErrorLog::kEntries - 1;
  data.lpa |= kEffectsLog;
  data.sqes = 6 << 4 | 6;
  data.cqes = 4 << 4 | 4;
  data.nn = facts.namespaces_max;
  data.mnan = facts.namespaces_max;
  data.oncs = nvme::oncs::kCompare | nvme::oncs::kDsm | nvme::oncs::kWriteZeroes |
              nvme::oncs::kSaveSelect | nvme::oncs::kVerify | nvme::oncs::kCopy;
  data.fuses = kCompareAndWrite;
  data.vwc = kVolatileCache | kFlushesAllNamespaces;
  data.nwpc = kWriteProtection | kUntilPowerCycle | kPermanent;
  data.ocfs = kCopyFormat0;
  data.ofcs = kDisconnects;
  if (!facts.ana_reporting) return;
  data.cmic |= kAnaReporting;
  data.anatt = kAnaTransitionSeconds;
  data.anacap = kAnaOptimized | kAnaNonOptimized | kAnaInaccessible;
  data.anagrpmax = facts.namespaces_max;
  data.nanagrpid = facts.namespaces_max;
}

}  // namespace

std::string Controller::IdentifyController() const {
  Page<nvme::IdentifyController> page;
  FillCommon(*page, *identity_, view_.facts(), queue_.limits());
  page->oaes = EventBitsSupported();
  if (discovery()) {
    page->cntrltype = 2;
  } else {
    FillForIo(*page, view_.facts());
  }
  return page.Take();
}

std::string Controller::IdentifyNvmController() const {
  Page<nvme::IdentifyNvmController> page;
  page->wzsl = view_.facts().wzsl;
  page->dmrsl = view_.facts().dmrsl;
  return page.Take();
}

}  // namespace pollux::nvmf
