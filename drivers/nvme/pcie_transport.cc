#include "drivers/nvme/pcie_transport.h"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "core/clock.h"
#include "drivers/nvme/host.h"

namespace pollux::nvme {
namespace {

// How often a device that says nothing is looked at.
constexpr uint64_t kLookIntervalNs = 100 * kNsPerMs;
// How long a device may take to stop by itself before it is kept off the bus.
constexpr uint64_t kGraceNs = 500 * kNsPerMs;

// Queue identifiers are 16 bits, and 0 is the admin queue's.
constexpr uint32_t kQueuesMax = 65534;

constexpr uint32_t kCssNvm = 0, kCssIoSets = 6;
constexpr uint32_t kAmsWeighted = 1;
constexpr uint32_t kIosqes = 6, kIocqes = 4;  // Log2 of 64 and 16.
constexpr uint32_t kVersion12 = 0x010200;

// Create I/O Completion Queue, dwords 10 and 11. Base figures 155, 156.
constexpr Field<uint32_t> kQid{0, 16}, kQsize{16, 16};
constexpr Field<uint32_t> kPc{0, 1}, kIen{1, 1}, kIv{16, 16};
// Create I/O Submission Queue, dword 11. Figure 160.
constexpr Field<uint32_t> kQprio{1, 2}, kCqid{16, 16};

// With weighted round robin, queues take the classes in turn: high, medium, low.
uint32_t PriorityOf(uint16_t qid) { return 1u + (qid - 1u) % 3; }

uint32_t SizeAndId(const QueuePair& queue) {
  return kQsize.Set(kQid.Set(0, queue.id()), queue.depth() - 1u);
}

Quirks QuirksOfDevice(pci::PciDevice& device) {
  const uint32_t ids = device.ReadConfig(0, 4);
  return QuirksOf(static_cast<uint16_t>(ids), static_cast<uint16_t>(ids >> 16));
}

}  // namespace

PcieTransport::PcieTransport(const Surroundings& around, std::unique_ptr<pci::PciDevice> device)
    : Transport(around),
      device_(std::move(device)),
      quirks_(QuirksOfDevice(*device_)),
      registers_(*device_),
      bring_up_(registers_),
      interrupts_(*device_) {}

uint64_t PcieTransport::NowNs() const { return around_.host.clock().NowNs(); }

Status PcieTransport::Describe(ControllerFacts& facts) {
  if (facts.discovery) return NotSupported("a discovery controller has no namespaces to drive");
  pollux_nvme_controller_info& info = facts.info;
  info.numa_node = device_->numa_node();
  info.interrupt_vectors = interrupts_.vectors();
  info.sgl = !around_.options.no_sgl && (info.sgls & 3) != 0 && (info.sgls & 3) != 3;
  return OkStatus();
}

// --- Looking.

Transport::Findings PcieTransport::Look(uint64_t now_ns) {
  Findings found;
  if (now_ns < next_look_ns_) return found;
  next_look_ns_ = now_ns + kLookIntervalNs;
  if (Status gone = device_->gone(); !gone.ok()) {
    found.lost = std::move(gone);
  } else if (interrupts_.RemovalAnnounced()) {
    found.lost = NoDevice("the device is to be given back, or was lost");
  } else if (ready()) {
    const uint32_t status = registers_.Read(kCsts);
    if (!registers_.gone() && csts::kCfs.Get(status) != 0) {
      found.trouble = InternalError("the device went fatal (CSTS is 0x%x)", status);
    } else if (csts::kRdy.Get(status) == 0) {
      found.trouble = InternalError("the device is not ready any more (CSTS is 0x%x)", status);
    }
  }
  return found;
}

Status PcieTransport::Silence() {
  if (!registers_.gone()) return OkStatus();
  // The device's own reason says more, when it has one.
  Status why = device_->gone();
  return why.ok() ? NoDevice("the device does not answer: its registers read as all ones") : why;
}

// --- Starting: registers, and the admin queue.

Task<Status> PcieTransport::AwaitBringUp() {
  for (;;) {
    bring_up_.Step(NowNs());
    if (!bring_up_.waiting()) break;
    CO_RETURN_IF_ERROR(around_.user.Interruption());
    co_await around_.polls.Next();
  }
  co_return bring_up_.state() == BringUp::State::kFailed ? bring_up_.failure() : OkStatus();
}

uint32_t PcieTransport::Configuration() const {
  uint32_t configuration = cc::kIosqes.Set(0, kIosqes);
  configuration = cc::kIocqes.Set(configuration, kIocqes);
  configuration = cc::kCss.Set(configuration, capabilities_.io_command_sets ? kCssIoSets : kCssNvm);
  // Log2 of the page's bytes, less that of 4096.
  configuration = cc::kMps.Set(configuration,
                               static_cast<uint32_t>(__builtin_ctz(capabilities_.page_bytes) - 12));
  return cc::kAms.Set(configuration, weighted() ? kAmsWeighted : 0);
}

// What rings, lists and doorbells were made for stays; firmware may have changed meanwhile.
Status PcieTransport::CheckUnchanged(const Capabilities& before, uint16_t io_queues,
                                     uint16_t io_queue_depth) const {
  const uint16_t depth = io_queues == 0 ? uint16_t{2} : io_queue_depth;
  if (capabilities_.page_bytes == before.page_bytes &&
      capabilities_.doorbell_stride == before.doorbell_stride &&
      capabilities_.queue_entries_max >= depth && capabilities_.doorbell_queues_max > io_queues) {
    return OkStatus();
  }
  return InternalError("after the reset the device has other pages, doorbells or queue lengths");
}

Status PcieTransport::MakeAdminQueue() {
  const pollux_nvme_attach_options& options = around_.options;
  const uint16_t depth = AdminQueue::DepthOf(options);
  const uint32_t io_queues =
      std::min(options.io_queues == 0 ? static_cast<uint32_t>(sysconf(_SC_NPROCESSORS_ONLN))
                                      : options.io_queues,
               std::min(capabilities_.doorbell_queues_max - 1, kQueuesMax));
  RETURN_IF_ERROR(around_.user.Tolerate(interrupts_.Start(options.interrupts, io_queues)));
  const uint64_t bytes = 2 * uint64_t{capabilities_.doorbell_stride} * (io_queues + 1);
  doorbells_ = device_->MapBar(Registers::kBar, kDoorbells, bytes);

  QueuePair::Parts parts;
  parts.id = 0;
  parts.depth = depth;
  parts.page_bytes = capabilities_.page_bytes;
  parts.device = device_.get();
  parts.dma = &device_->dma();
  parts.event_fd = interrupts_.admin_fd();
  FillInDoorbells(parts);
  ASSIGN_OR_RETURN(QueueMemory memory,
                   QueueMemory::Make(around_.admin.arena(), device_->dma(), depth,
                                     capabilities_.page_bytes, /*sq_elsewhere=*/false));
  around_.admin.Make(std::move(memory), parts, options);
  return OkStatus();
}

Task<Status> PcieTransport::MakeReady(bool first, uint16_t io_queues, uint16_t io_queue_depth) {
  const Capabilities before = capabilities_;
  ASSIGN_OR_CO_RETURN(capabilities_, Capabilities::Read(registers_));
  AdminQueue& admin = around_.admin;
  if (admin.made()) CO_RETURN_IF_ERROR(CheckUnchanged(before, io_queues, io_queue_depth));
  bring_up_.SetTimes(capabilities_.ready_timeout_ns, quirks_.disable_delay_ns);
  // Stop() began it already, unless this is the first time.
  if (!bring_up_.waiting() && bring_up_.state() != BringUp::State::kDisabled) {
    bring_up_.Disable(NowNs());
  }
  CO_RETURN_IF_ERROR(co_await AwaitBringUp());

  if (!admin.made()) CO_RETURN_IF_ERROR(MakeAdminQueue());
  if (around_.options.submission_queues_in_cmb) {
    if (first) cmb_.Find(*device_, registers_, capabilities_);
    cmb_.Enable(registers_);
  }
  CO_RETURN_IF_ERROR(around_.user.Interruption());
  device_->SetBusMaster(true);
  admin.queue().Reopen();
  bring_up_.Enable(admin.rings(), Configuration(), NowNs());
  co_return co_await AwaitBringUp();
}

Task<Status> PcieTransport::LendMemory(ControllerFacts& facts) {
  const pollux_nvme_attach_options& options = around_.options;
  if (!options.no_host_memory_buffer && capabilities_.version >= kVersion12) {
    const Status offered =
        co_await hmb_.Offer(around_.admin, device_->dma(), around_.host.registry(), facts,
                            options.host_memory_buffer_bytes_max);
    CO_RETURN_IF_ERROR(around_.user.Tolerate(offered));
  }
  facts.info.host_memory_buffer = hmb_.used();
  co_return OkStatus();
}

// --- I/O queues.

Task<Status> PcieTransport::PrepareQueues(ControllerFacts& facts, bool made) {
  const bool wanted = !around_.options.no_shadow_doorbells &&
                      (facts.identify.oacs & oacs::kDoorbellBufferConfig) != 0;
  if (made ? shadows_.used() : wanted) {
    const Status configured =
        co_await shadows_.Configure(around_.admin, device_->dma(), capabilities_);
    // Queues that were made for them cannot do without.
    CO_RETURN_IF_ERROR(made ? configured : around_.user.Tolerate(configured));
  }
  facts.info.shadow_doorbells = shadows_.used();
  if (io_queues_max() == 0) co_return InternalError("BAR 0 holds no doorbells of I/O queues");
  co_return OkStatus();
}

void PcieTransport::FillInDoorbells(QueuePair::Parts& parts) const {
  parts.sq_doorbell_offset = capabilities_.DoorbellOffset(parts.id, /*completion=*/false);
  parts.cq_doorbell_offset = capabilities_.DoorbellOffset(parts.id, /*completion=*/true);
  if (doorbells_ == nullptr) return;
  parts.sq_doorbell = doorbells_ + (parts.sq_doorbell_offset - kDoorbells);
  parts.cq_doorbell = doorbells_ + (parts.cq_doorbell_offset - kDoorbells);
}

Result<QueueMemory> PcieTransport::MakeQueue(QueuePair::Parts& parts,
                                             const ControllerFacts& facts) {
  parts.vector = parts.id;
  parts.page_bytes = capabilities_.page_bytes;
  std::optional<ControllerMemoryBuffer::Room> room;
  if (around_.options.submission_queues_in_cmb) {
    room = cmb_.Take(parts.depth * sizeof(SubmissionEntry), parts.page_bytes);
  }
  ASSIGN_OR_RETURN(QueueMemory memory,
                   QueueMemory::Make(around_.admin.arena(), device_->dma(), parts.depth,
                                     parts.page_bytes, room.has_value()));
  memory.in_controller = room.has_value();
  if (room.has_value()) {
    parts.sq = reinterpret_cast<SubmissionEntry*>(room->memory);
    parts.sq_iova = room->address;
  }
  parts.sgl = facts.info.sgl;
  parts.sgl_dword_aligned = (facts.info.sgls & 3) == 2;
  parts.device = device_.get();
  parts.dma = &device_->dma();
  parts.event_fd = interrupts_.QueueFd(parts.id);
  FillInDoorbells(parts);
  shadows_.FillIn(parts);
  return memory;
}

Task<Completion> PcieTransport::CreateCq(const QueuePair& queue) {
  const bool interrupts = queue.parts().event_fd >= 0;
  SubmissionEntry entry;
  entry.opc = admin::kCreateCq;
  entry.prp1 = queue.parts().cq_iova;
  entry.cdw10 = SizeAndId(queue);
  entry.cdw11 =
      kIv.Set(kIen.Set(kPc.Set(0, 1), interrupts ? 1 : 0), interrupts ? queue.parts().vector : 0);
  AdminCommand command(around_.admin, entry);
  co_return co_await command;
}

Task<Completion> PcieTransport::CreateSq(const QueuePair& queue) {
  SubmissionEntry entry;
  entry.opc = admin::kCreateSq;
  entry.prp1 = queue.parts().sq_iova;
  entry.cdw10 = SizeAndId(queue);
  entry.cdw11 =
      kCqid.Set(kQprio.Set(kPc.Set(0, 1), weighted() ? PriorityOf(queue.id()) : 0), queue.id());
  AdminCommand command(around_.admin, entry);
  co_return co_await command;
}

Task<Completion> PcieTransport::DeleteSq(uint16_t qid) {
  SubmissionEntry entry;
  entry.opc = admin::kDeleteSq;
  entry.cdw10 = kQid.Set(0, qid);
  AdminCommand command(around_.admin, entry);
  co_return co_await command;
}

Task<Completion> PcieTransport::DeleteCq(uint16_t qid) {
  SubmissionEntry entry;
  entry.opc = admin::kDeleteCq;
  entry.cdw10 = kQid.Set(0, qid);
  AdminCommand command(around_.admin, entry);
  co_return co_await command;
}

// Base §5.4, §5.5.
Task<Status> PcieTransport::CreateQueue(QueuePair& queue) {
  const Completion cq = co_await CreateCq(queue);
  if (!pollux_nvme_ok(cq)) co_return CommandFailed("Create I/O Completion Queue", cq);
  const Completion sq = co_await CreateSq(queue);
  if (pollux_nvme_ok(sq)) co_return OkStatus();
  // What becomes of it makes no difference: nothing will ever be completed there.
  (void)co_await DeleteCq(queue.id());
  co_return CommandFailed("Create I/O Submission Queue", sq);
}

// Base §5.6, §5.7.
Task<void> PcieTransport::DeleteQueue(QueuePair& queue) {
  const uint16_t qid = queue.id();
  const Completion deleted = co_await DeleteSq(qid);
  // One that still has a submission queue must not be deleted.
  if (pollux_nvme_ok(deleted)) (void)co_await DeleteCq(qid);
}

// --- Stopping.

Task<void> PcieTransport::Stop() {
  if (around_.admin.made()) around_.admin.queue().Close();
  const uint64_t limit = NowNs() + kGraceNs;
  bring_up_.Disable(NowNs());
  while (bring_up_.waiting() && NowNs() < limit && around_.user.Alive()) {
    bring_up_.Step(NowNs());
    if (bring_up_.waiting()) co_await around_.polls.Next();
  }
  // What the device wrote before this is answered has arrived (PCI Express §2.4.1); after it, it
  // writes nothing.
  if (bring_up_.state() != BringUp::State::kDisabled) device_->SetBusMaster(false);
}

Task<Status> PcieTransport::ShutDown(uint64_t limit_ns) {
  bring_up_.ShutDown(limit_ns, NowNs());
  while (bring_up_.waiting() && around_.user.Alive()) {
    bring_up_.Step(NowNs());
    if (bring_up_.waiting()) co_await around_.polls.Next();
  }
  co_return bring_up_.state() == BringUp::State::kFailed ? bring_up_.failure() : OkStatus();
}

}  // namespace pollux::nvme
