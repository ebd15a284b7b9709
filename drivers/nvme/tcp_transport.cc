#include "drivers/nvme/tcp_transport.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/clock.h"
#include "drivers/nvme/host.h"

namespace pollux::nvme {
namespace {

constexpr uint32_t kConnectTimeoutDefaultMs = 5000;
constexpr uint32_t kReconnectDelayDefaultMs = 1000;
constexpr uint32_t kKeepAliveDefaultMs = 10000;
constexpr uint32_t kForever = UINT32_MAX;
// How long a controller may take to end what it has before its connections are cut.
constexpr uint64_t kGraceNs = 500 * kNsPerMs;

constexpr uint32_t kAdminInCapsuleBytes = 8192;  // NVMe/TCP §3.5.
constexpr uint32_t kIoccszUnit = 16;
constexpr uint32_t kCssNvm = 0, kCssIoSets = 6;
constexpr uint32_t kAmsWeighted = 1;
constexpr uint32_t kIosqes = 6, kIocqes = 4;  // Log2 of 64 and 16.
constexpr uint32_t kShnNormal = 1, kShstComplete = 2;
constexpr uint32_t kCtrattTbkas = 1 << 6;
constexpr uint32_t kEightBytes = 1;

uint32_t KeepAliveMs(const pollux_nvme_attach_options& options) {
  if (options.keep_alive_ms == kForever) return 0;
  return options.keep_alive_ms == 0 ? kKeepAliveDefaultMs : options.keep_alive_ms;
}

}  // namespace

TcpTransport::TcpTransport(const Surroundings& around, TcpTarget target)
    : Transport(around), target_(std::move(target)), keep_alive_ms_(KeepAliveMs(around.options)) {}

TcpTransport::~TcpTransport() = default;

uint64_t TcpTransport::NowNs() const { return around_.host.clock().NowNs(); }

// --- Looking.

Transport::Findings TcpTransport::Look(uint64_t /*now_ns*/) {
  Findings found;
  if (!watching_) return found;
  if (admin_.wire->broken()) found.trouble = admin_.wire->failure();
  for (const Line& line : lines_) {
    if (leaving_) break;
    if (found.trouble.ok() && line.wire->broken()) found.trouble = line.wire->failure();
  }
  return found;
}

void TcpTransport::ClearEvents() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(notice_.get(), &count, sizeof(count));
}

Status TcpTransport::Describe(ControllerFacts& facts) {
  pollux_nvme_controller_info& info = facts.info;
  const IdentifyController& identify = facts.identify;
  info.numa_node = -1;
  info.sgl = true;
  traffic_based_ = (identify.ctratt & kCtrattTbkas) != 0;
  if (facts.administrative) return OkStatus();
  if (identify.icdoff != 0) {
    return NotSupported("in-capsule data at an offset (ICDOFF is %u)", uint16_t{identify.icdoff});
  }
  const uint64_t capsule = uint64_t{identify.ioccsz} * kIoccszUnit;
  if (capsule < sizeof(SubmissionEntry)) {
    return DataLoss("IOCCSZ is %u: a capsule without room for a command",
                    uint32_t{identify.ioccsz});
  }
  in_capsule_bytes_ = static_cast<uint32_t>(
      std::min<uint64_t>(capsule - sizeof(SubmissionEntry), info.transfer_bytes_max));
  if (identify.maxcmd != 0) {
    capabilities_.queue_entries_max =
        std::min(capabilities_.queue_entries_max, std::max<uint32_t>(identify.maxcmd, 2));
  }
  return OkStatus();
}

// --- Starting.

Result<QueueMemory> TcpTransport::MakeLine(Line& line, QueuePair::Parts& parts) {
  line.set = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
  if (!line.set.valid()) return ErrorOfErrno(errno, "no epoll descriptor");
  ASSIGN_OR_RETURN(QueueMemory memory,
                   QueueMemory::Make(around_.admin.arena(), *dma_, parts.depth,
                                     capabilities_.page_bytes, /*sq_elsewhere=*/false));
  memory.FillIn(parts);
  TcpQueue::Parts wire;
  wire.id = parts.id;
  wire.depth = parts.depth;
  wire.sq = parts.sq;
  wire.cq = parts.cq;
  wire.event_set = line.set.get();
  wire.notice = notice_.get();
  line.wire = std::make_unique<TcpQueue>(wire);
  parts.page_bytes = capabilities_.page_bytes;
  parts.sgl = true;
  parts.wire = line.wire.get();
  parts.dma = dma_.get();
  parts.event_fd = line.set.get();
  return memory;
}

Status TcpTransport::Prepare() {
  if (around_.admin.made()) return OkStatus();
  ASSIGN_OR_RETURN(dma_, pci::DmaMap::Start(around_.host.registry(), identity_));
  notice_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!notice_.valid()) return ErrorOfErrno(errno, "no event descriptor");
  QueuePair::Parts parts;
  parts.id = 0;
  parts.depth = AdminQueue::DepthOf(around_.options);
  ASSIGN_OR_RETURN(QueueMemory memory, MakeLine(admin_, parts));
  epoll_event event{};
  event.events = EPOLLIN;
  if (epoll_ctl(admin_.set.get(), EPOLL_CTL_ADD, notice_.get(), &event) != 0) {
    return ErrorOfErrno(errno, "an event descriptor cannot be waited for");
  }
  around_.admin.Make(std::move(memory), parts, around_.options);
  admin_.wire->SetInCapsuleBytes(kAdminInCapsuleBytes);
  return OkStatus();
}

Task<Status> TcpTransport::Join(TcpQueue& wire, uint16_t qid, uint16_t depth) {
  const pollux_nvme_attach_options& options = around_.options;
  TcpQueue::Joining joining;
  joining.address = target_.address;
  joining.source = target_.source;
  joining.header_digest = options.header_digest;
  joining.data_digest = options.data_digest;
  joining.user_timeout_ms = keep_alive_ms_;
  joining.command = ConnectCommand{};
  joining.command.fctype = fctype::kConnect;
  joining.command.qid = qid;
  joining.command.sqsize = static_cast<uint16_t>(depth - 1);
  joining.command.cattr = options.no_sq_flow_control ? cattr::kDisableSqFlowControl : uint8_t{0};
  joining.command.kato = qid == 0 ? keep_alive_ms_ : 0;
  joining.data = target_.names;
  joining.data.cntlid = qid == 0 ? kDynamicCntlid : cntlid_;

  const uint32_t limit_ms =
      options.connect_timeout_ms == 0 ? kConnectTimeoutDefaultMs : options.connect_timeout_ms;
  const uint64_t deadline = NowNs() + limit_ms * kNsPerMs;
  CO_RETURN_IF_ERROR(wire.Open(joining));
  for (;;) {
    const TcpQueue::State state = wire.Step();
    if (state == TcpQueue::State::kReady) co_return OkStatus();
    if (state == TcpQueue::State::kBroken) co_return wire.failure();
    CO_RETURN_IF_ERROR(around_.user.Interruption());
    if (NowNs() >= deadline) {
      wire.Close();
      co_return TimedOut("queue %u was not connected to %s within %u ms", qid,
                         target_.address.ToString(), limit_ms);
    }
    co_await around_.polls.Next();
  }
}

Task<Result<uint64_t>> TcpTransport::GetProperty(uint32_t offset, bool eight_bytes) {
  SubmissionEntry entry;
  entry.opc = admin::kFabrics;
  entry.nsid = fctype::kPropertyGet;  // Byte 4.
  entry.cdw10 = eight_bytes ? kEightBytes : 0;
  entry.cdw11 = offset;
  AdminCommand command(around_.admin, entry);
  const Completion completion = co_await command;
  if (!pollux_nvme_ok(completion)) co_return CommandFailed("Property Get", completion);
  co_return completion.dw0 | (eight_bytes ? uint64_t{completion.dw1} << 32 : 0);
}

Task<Status> TcpTransport::SetProperty(uint32_t offset, uint32_t value) {
  SubmissionEntry entry;
  entry.opc = admin::kFabrics;
  entry.nsid = fctype::kPropertySet;
  entry.cdw11 = offset;
  entry.cdw12 = value;
  AdminCommand command(around_.admin, entry);
  const Completion completion = co_await command;
  if (!pollux_nvme_ok(completion)) co_return CommandFailed("Property Set", completion);
  co_return OkStatus();
}

uint32_t TcpTransport::Configuration() const {
  uint32_t configuration = cc::kEn.Set(0, 1);
  configuration = cc::kIosqes.Set(configuration, kIosqes);
  configuration = cc::kIocqes.Set(configuration, kIocqes);
  configuration = cc::kCss.Set(configuration, capabilities_.io_command_sets ? kCssIoSets : kCssNvm);
  return cc::kAms.Set(configuration, weighted() ? kAmsWeighted : 0);
}

Task<Status> TcpTransport::AwaitReady() {
  const uint64_t deadline = NowNs() + capabilities_.ready_timeout_ns;
  for (;;) {
    ASSIGN_OR_CO_RETURN(const uint64_t value, co_await GetProperty(kCsts.offset, false));
    const auto status = static_cast<uint32_t>(value);
    if (csts::kCfs.Get(status) != 0) {
      co_return InternalError("the controller went fatal while it was enabled (CSTS is 0x%x)",
                              status);
    }
    if (csts::kRdy.Get(status) != 0) co_return OkStatus();
    if (NowNs() >= deadline) co_return TimedOut("CSTS.RDY is still 0 after CC.EN was set");
    co_await around_.polls.Next();
  }
}

Task<Status> TcpTransport::MakeReady(bool /*first*/, uint16_t io_queues, uint16_t io_queue_depth) {
  CO_RETURN_IF_ERROR(Prepare());
  // Drained queues are ours. Without a write among what they lost there is nothing to wait for.
  const bool lost_writes = std::any_of(lines_.begin(), lines_.end(),
                                       [](const Line& line) { return line.wire->holds_changes(); });
  if (!lost_writes) settled_at_ns_ = 0;
  for (const Line& line : lines_) line.wire->Close();
  while (!settled()) {
    CO_RETURN_IF_ERROR(around_.user.Interruption());
    co_await around_.polls.Next();
  }
  CO_RETURN_IF_ERROR(co_await Join(*admin_.wire, 0, around_.admin.queue().depth()));
  associated_ = watching_ = true;
  leaving_ = false;
  cntlid_ = static_cast<uint16_t>(admin_.wire->joined().dw0);
  around_.admin.queue().Reopen();
  if (admin_.wire->joined().dw0 >> 16 != 0) {
    co_return NotSupported("the target wants this host to authenticate, which is not supported");
  }

  ASSIGN_OR_CO_RETURN(const uint64_t cap, co_await GetProperty(kCap.offset, true));
  ASSIGN_OR_CO_RETURN(const uint64_t version, co_await GetProperty(kVs.offset, false));
  ASSIGN_OR_CO_RETURN(capabilities_, Capabilities::Of(cap, static_cast<uint32_t>(version)));
  if (io_queues > 0 && capabilities_.queue_entries_max < io_queue_depth) {
    co_return InternalError("after the reset the controller takes shorter queues");
  }
  capabilities_.page_bytes = 4096;  // There are no pages; the unit of MDTS is the smallest.
  configuration_ = Configuration();
  CO_RETURN_IF_ERROR(co_await SetProperty(kCc.offset, configuration_));
  CO_RETURN_IF_ERROR(co_await AwaitReady());
  ready_ = true;
  co_return OkStatus();
}

// --- I/O queues.

Result<QueueMemory> TcpTransport::MakeQueue(QueuePair::Parts& parts,
                                            const ControllerFacts& /*facts*/) {
  Line line;
  ASSIGN_OR_RETURN(QueueMemory memory, MakeLine(line, parts));
  lines_.push_back(std::move(line));
  return memory;
}

Task<Status> TcpTransport::CreateQueue(QueuePair& queue) {
  TcpQueue& wire = *lines_[queue.id() - 1u].wire;
  wire.SetInCapsuleBytes(in_capsule_bytes_);
  co_return co_await Join(wire, queue.id(), queue.depth());
}

// --- Stopping.

Transport::RetryPolicy TcpTransport::retry_policy() const {
  const pollux_nvme_attach_options& options = around_.options;
  RetryPolicy policy = Transport::retry_policy();
  policy.delay_ns =
      (options.reconnect_delay_ms == 0 ? kReconnectDelayDefaultMs : options.reconnect_delay_ms) *
      kNsPerMs;
  if (options.loss_timeout_ms != 0) {
    policy.attempts_max = 0;
    policy.loss_ns = options.loss_timeout_ms == kForever ? 0 : options.loss_timeout_ms * kNsPerMs;
  }
  return policy;
}

void TcpTransport::Cut() {
  ready_ = watching_ = false;
  if (admin_.wire != nullptr) admin_.wire->Cut();
  for (const Line& line : lines_) line.wire->Cut();
  if (!std::exchange(associated_, false)) return;
  // The last that the target may have heard of us is what is under way now.
  const uint64_t silence_ms = uint64_t{keep_alive_ms_} * (traffic_based_ ? 2 : 1);
  settled_at_ns_ = std::max(settled_at_ns_, NowNs() + silence_ms * kNsPerMs);
}

bool TcpTransport::settled() const { return NowNs() >= settled_at_ns_; }

// Returns whether the command was answered, with success.
Task<bool> TcpTransport::Ask(SubmissionEntry entry, uint64_t until_ns) {
  if (answer_.out || around_.admin.Submit(*answer_.c(), entry, nullptr, 0) != 0) co_return false;
  answer_.out = true;
  while (answer_.out && NowNs() < until_ns && !admin_.wire->broken() && around_.user.Alive()) {
    co_await around_.polls.Next();
  }
  co_return !answer_.out && pollux_nvme_ok(answer_.completion);
}

// Once it is disabled it executes nothing any more. Base §3.7.2.
Task<bool> TcpTransport::Disable(uint64_t limit_ns) {
  SubmissionEntry entry;
  entry.opc = admin::kFabrics;
  entry.nsid = fctype::kPropertySet;
  entry.cdw11 = kCc.offset;
  entry.cdw12 = cc::kEn.Set(configuration_, 0);
  const bool cleared = co_await Ask(entry, limit_ns);
  if (!cleared) co_return false;
  SubmissionEntry get;
  get.opc = admin::kFabrics;
  get.nsid = fctype::kPropertyGet;
  get.cdw11 = kCsts.offset;
  for (;;) {
    const bool answered = co_await Ask(get, limit_ns);
    if (!answered) co_return false;
    if (csts::kRdy.Get(answer_.completion.dw0) == 0) co_return true;
    co_await around_.polls.Next();
  }
}

Task<void> TcpTransport::Stop() {
  if (ready_ && !admin_.wire->broken()) {
    watching_ = false;
    const bool disabled = co_await Disable(NowNs() + kGraceNs);
    if (disabled) associated_ = false;
  }
  if (around_.admin.made()) around_.admin.queue().Close();
  Cut();
}

Task<Status> TcpTransport::ShutDown(uint64_t limit_ns) {
  const uint64_t deadline = NowNs() + limit_ns;
  leaving_ = true;
  CO_RETURN_IF_ERROR(co_await SetProperty(kCc.offset, cc::kShn.Set(configuration_, kShnNormal)));
  for (;;) {
    ASSIGN_OR_CO_RETURN(const uint64_t value, co_await GetProperty(kCsts.offset, false));
    if (csts::kShst.Get(static_cast<uint32_t>(value)) == kShstComplete) co_return OkStatus();
    if (NowNs() >= deadline) co_return TimedOut("the controller did not shut down in time");
    co_await around_.polls.Next();
  }
}

}  // namespace pollux::nvme
