#include "tests/unit/targets/nvmf/controller_fixture.h"

#include <algorithm>
#include <cstring>

namespace pollux::nvmf::admin_test {

uint64_t Number(const Bytes& bytes, size_t at, size_t count) {
  uint64_t value = 0;
  for (size_t i = count; i > 0; --i) value = value << 8 | bytes.at(at + i - 1);
  return value;
}

std::string Text(const Bytes& bytes, size_t at, size_t count) {
  return std::string(reinterpret_cast<const char*>(&bytes.at(at)), count);
}

void Put(Bytes& bytes, size_t at, uint64_t value, size_t count) {
  for (size_t i = 0; i < count; ++i) bytes.at(at + i) = static_cast<uint8_t>(value >> 8 * i);
}

bool IsAllZero(const Bytes& bytes, size_t from, size_t to) {
  for (size_t i = from; i < std::min(to, bytes.size()); ++i) {
    if (bytes[i] != 0) return false;
  }
  return true;
}

namespace {

class PaperChannel final : public BlockChannel {
 public:
  using BlockChannel::BlockChannel;

 protected:
  void DoSubmit(IoRequest& request) override { Complete(request, IoStatus::kNotSupported); }
};

}  // namespace

Result<std::unique_ptr<BlockChannel>> PaperDisk::MakeChannel(Reactor& reactor) {
  return std::unique_ptr<BlockChannel>(std::make_unique<PaperChannel>(*this, reactor));
}

void AdminCommand::OnDataWanted(uint32_t offset, std::span<const iovec> parts) {
  if (holds_data) return;
  size_t at = offset;
  for (const iovec& part : parts) {
    ASSERT_LE(at + part.iov_len, out.size()) << "more is wanted than the host has";
    std::memcpy(part.iov_base, &out[at], part.iov_len);
    at += part.iov_len;
  }
  DataArrived();
}

void AdminCommand::OnDataReady(uint32_t offset, std::span<const iovec> parts,
                               const nvme::CompletionEntry* last) {
  EXPECT_EQ(offset, in.size());
  for (const iovec& part : parts) {
    const auto* const bytes = static_cast<const uint8_t*>(part.iov_base);
    in.insert(in.end(), bytes, bytes + part.iov_len);
  }
  EXPECT_LE(in.size(), data_bytes) << "more than the host expects";
  ASSERT_NE(last, nullptr);
  completion = *last;
  to_tell_sent = true;
}

void AdminCommand::OnCompletion(const nvme::CompletionEntry& with) {
  EXPECT_FALSE(ended) << "it ended twice";
  completion = with;
  ended = true;
}

Task<ConnectVerdict> TestControlSide::Admit(ConnectQuery query) {
  if (gate != nullptr) co_await *gate;
  admitted.push_back(query);
  ConnectVerdict verdict;
  verdict.status = refusal;
  verdict.dw0 = refusal_dw0;
  if (refusal != 0) co_return verdict;
  auto identity = std::make_shared<ControllerIdentity>();
  identity->cntlid = query.qid == 0 ? uint16_t{5} : query.cntlid;
  identity->discovery = discovery;
  identity->subnqn = query.subnqn;
  identity->hostnqn = query.hostnqn;
  identity->hostid = query.hostid;
  identity->listener_id = query.listener_id;
  verdict.identity = std::move(identity);
  co_return verdict;
}

Task<void> TestControlSide::Leave(std::shared_ptr<const ControllerIdentity>, uint16_t qid) {
  left.push_back(qid);
  co_return;
}

Task<bool> TestControlSide::Abort(std::shared_ptr<const ControllerIdentity>, uint16_t sqid,
                                  uint16_t cid) {
  aborted.emplace_back(sqid, cid);
  if (gate != nullptr) co_await *gate;
  co_return abort_finds;
}

Task<uint16_t> TestControlSide::ProtectNamespace(std::string, uint32_t nsid,
                                                 nvme::WriteProtection state) {
  protected_namespaces.emplace_back(nsid, state);
  co_return protection_status;
}

Task<void> TestControlSide::EndIoQueues(std::shared_ptr<const ControllerIdentity>) {
  if (gate != nullptr) co_await *gate;
  ++io_queues_ended;
}

std::vector<uint16_t> TestControlSide::ControllersOf(const std::string&, uint32_t nsid) {
  return controllers[nsid];
}

ControllerTest::ControllerTest() {
  facts_.nqn = kNqn;
  facts_.serial_number = "SN0123";
  facts_.model_number = "A model";
}

void ControllerTest::SetUpSubsystem() {
  constexpr size_t kBuffers = 4;
  small_memory_.assign(kBuffers * Worker::kSmallBufferBytes, std::byte{0xa5});
  large_memory_.assign(kBuffers * Worker::kLargeBufferBytes, std::byte{0xa5});
  small_ = std::make_unique<BufferPool>(small_memory_.data(), Worker::kSmallBufferBytes, kBuffers);
  large_ = std::make_unique<BufferPool>(large_memory_.data(), Worker::kLargeBufferBytes, kBuffers);
  worker_ = std::make_unique<Worker>(Worker::Environment{.reactor = (*world_.reactors)[0],
                                                         .control = world_.control,
                                                         .control_side = control_side_,
                                                         .small_buffers = *small_,
                                                         .large_buffers = *large_});
  control_side_.discovery = facts_.discovery;
  OnReactor([this] {
    worker_->AddView(std::make_shared<SubsystemFacts>(facts_));
    view_ = worker_->FindView(facts_.nqn);
  });
  SetListener({});
  MakeQueue();
}

void ControllerTest::SetUpController(uint32_t kato_ms) {
  SetUpSubsystem();
  ASSERT_EQ(Connect(ConnectSqe(0, 31, kato_ms), ConnectData()).status(), kOk);
  ASSERT_EQ(PropertySet(0x14, kEnable).status(), kOk);
  ASSERT_EQ(Csts(), 1u);
}

ControllerTest::~ControllerTest() {
  if (worker_ == nullptr) return;
  Spin();
  CloseQueue();
  for (const AdminCommand& command : commands_) EXPECT_FALSE(command.in_flight());
  while (!disks_.empty()) RemoveNamespace(disks_.begin()->first);
  EXPECT_EQ(small_->available(), small_->count()) << "a buffer leaked";
  EXPECT_EQ((*world_.reactors)[0].timer_count(), 0u);
  OnReactor([this] { worker_->RemoveView(facts_.nqn); });
  EXPECT_EQ(worker_->tasks().running(), 0u);
}

void ControllerTest::Spin() {
  for (int idle = 0, turns = 0; idle < 4 && turns < 100000; ++turns) {
    int work = world_.control.RunTurn() + (*world_.reactors)[0].RunTurn();
    OnReactor([&] {
      for (AdminCommand& command : commands_) {
        if (!std::exchange(command.to_tell_sent, false)) continue;
        command.ended = true;
        command.DataSent();
        ++work;
      }
    });
    idle = work == 0 ? idle + 1 : 0;
  }
}

void ControllerTest::Advance(uint64_t ms) {
  world_.clock.Advance(ms * kNsPerMs);
  Spin();
}

PaperDisk& ControllerTest::AddNamespace(uint32_t nsid, const Geometry& geometry,
                                        const Change& change) {
  auto made = std::make_unique<PaperDisk>("disk" + std::to_string(nsid), geometry);
  PaperDisk* const disk = made.get();
  EXPECT_TRUE(world_.Run(world_.devices.Register(std::move(made))).ok());
  auto facts = std::make_shared<NamespaceFacts>();
  facts->nsid = nsid;
  facts->device_name = disk->name();
  facts->geometry = disk->geometry();
  facts->anagrpid = nsid;
  if (change) change(*facts);
  OnReactor([&] { view_->Attach(disk->channel(0), facts, counters_[nsid]); });
  disks_[nsid] = disk;
  return *disk;
}

void ControllerTest::ChangeNamespace(uint32_t nsid, const Change& change) {
  OnReactor([&] {
    auto facts = std::make_shared<NamespaceFacts>(*view_->Find(nsid)->facts);
    change(*facts);
    view_->Update(std::move(facts));
  });
}

void ControllerTest::RemoveNamespace(uint32_t nsid) {
  Task<void> detach = view_->Detach(nsid);
  OnReactor([&] { detach.Start(); });
  Spin();
  ASSERT_TRUE(detach.done());
  ASSERT_TRUE(world_.Run(world_.devices.Unregister(disks_[nsid]->name())).ok());
  disks_.erase(nsid);
}

void ControllerTest::SetListener(std::vector<nvme::AnaState> states, std::vector<uint64_t> counts,
                                 uint64_t count) {
  OnReactor([&] {
    ListenerView listener;
    listener.id = kListener;
    listener.states = std::move(states);
    listener.change_counts = std::move(counts);
    listener.change_count = count;
    view_->SetListener(std::move(listener));
  });
}

void ControllerTest::Tell(SubsystemEvent event, uint32_t nsid) {
  OnReactor([&] { view_->Tell(event, nsid); });
  Spin();
}

void ControllerTest::MakeQueue() {
  carrier_ = TestCarrier();
  OnReactor([this] { queue_ = std::make_unique<Queue>(*worker_, carrier_, kListener, limits_); });
}

void ControllerTest::CloseQueue() {
  if (queue_ == nullptr) return;
  OnReactor([this] { queue_->Close(); });
  Spin();
  ASSERT_TRUE(carrier_.ended) << "the queue did not end";
  queue_ = nullptr;
}

Sqe ControllerTest::ConnectSqe(uint16_t qid, uint16_t sqsize, uint32_t kato_ms) {
  return Sqe(0x7f).At(4, 0x01, 1).At(42, qid, 2).At(44, sqsize, 2).At(48, kato_ms, 4);
}

Bytes ControllerTest::ConnectData(uint16_t cntlid) const {
  Bytes data(1024);
  for (uint8_t i = 0; i < 16; ++i) data[i] = static_cast<uint8_t>(0xd0 + i);
  Put(data, 16, cntlid, 2);
  std::copy(facts_.nqn.begin(), facts_.nqn.end(), data.begin() + 256);
  const std::string host = kHost;
  std::copy(host.begin(), host.end(), data.begin() + 512);
  return data;
}

AdminCommand& ControllerTest::Connect(const Sqe& sqe, const Bytes& data) {
  return Run(sqe, static_cast<uint32_t>(data.size()), data);
}

AdminCommand& ControllerTest::Make(const Sqe& sqe, uint32_t data_bytes, Bytes out) {
  AdminCommand& command = commands_.emplace_back();
  static_assert(sizeof(command.entry) == 64);
  std::memcpy(reinterpret_cast<std::byte*>(&command.entry), sqe.bytes.data(), 64);
  command.entry.cid = next_cid_++;
  command.data_bytes = data_bytes;
  command.out = std::move(out);
  return command;
}

AdminCommand& ControllerTest::Start(const Sqe& sqe, uint32_t data_bytes, Bytes out) {
  AdminCommand& command = Make(sqe, data_bytes, std::move(out));
  OnReactor([&] { queue_->Start(command); });
  return command;
}

AdminCommand& ControllerTest::Run(const Sqe& sqe, uint32_t data_bytes, Bytes out) {
  AdminCommand& command = Start(sqe, data_bytes, std::move(out));
  Spin();
  EXPECT_TRUE(command.ended);
  return command;
}

AdminCommand& ControllerTest::PropertyGet(uint32_t offset, int attrib) {
  return Run(Sqe(0x7f).At(4, 0x04, 1).At(40, static_cast<uint64_t>(attrib), 1).At(44, offset, 4));
}

AdminCommand& ControllerTest::PropertySet(uint32_t offset, uint64_t value, int attrib) {
  return Run(Sqe(0x7f)
                 .At(4, 0x00, 1)
                 .At(40, static_cast<uint64_t>(attrib), 1)
                 .At(44, offset, 4)
                 .At(48, value, 8));
}

AdminCommand& ControllerTest::Identify(uint8_t cns, uint32_t nsid, uint16_t cntid, uint8_t csi,
                                       uint32_t data_bytes) {
  return Run(Sqe(0x06, nsid).Dword(10, uint32_t{cntid} << 16 | cns).Dword(11, uint32_t{csi} << 24),
             data_bytes);
}

AdminCommand& ControllerTest::GetLog(const Log& log) {
  const uint32_t numd = log.bytes / 4 - 1;
  const uint32_t rae = log.retain ? 1u << 15 : 0;
  return Run(Sqe(0x02, log.nsid)
                 .Dword(10, numd << 16 | rae | uint32_t{log.lsp} << 8 | log.lid)
                 .Dword(11, numd >> 16)
                 .Dword(12, static_cast<uint32_t>(log.offset))
                 .Dword(13, static_cast<uint32_t>(log.offset >> 32)),
             log.data_bytes == UINT32_MAX ? log.bytes : log.data_bytes);
}

AdminCommand& ControllerTest::GetFeature(uint8_t fid, uint8_t select, uint32_t cdw11, uint32_t nsid,
                                         uint32_t data_bytes) {
  return Run(Sqe(0x0a, nsid).Dword(10, uint32_t{select} << 8 | fid).Dword(11, cdw11), data_bytes);
}

AdminCommand& ControllerTest::SetFeature(uint8_t fid, uint32_t cdw11, uint32_t nsid, bool save,
                                         Bytes out) {
  const uint32_t sv = save ? 1u << 31 : 0;
  const auto bytes = static_cast<uint32_t>(out.size());
  return Run(Sqe(0x09, nsid).Dword(10, sv | fid).Dword(11, cdw11), bytes, std::move(out));
}

}  // namespace pollux::nvmf::admin_test
