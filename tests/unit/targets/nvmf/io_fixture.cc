#include "io_fixture.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace pollux::nvmf::io_test {

class OddDisk::Channel final : public BlockChannel {
 public:
  Channel(OddDisk& disk, Reactor& reactor) : BlockChannel(disk, reactor), disk_(disk) {}

  void Execute(IoRequest& request) { Complete(request, Try(request)); }

 protected:
  void DoSubmit(IoRequest& request) override {
    if (!disk_.holds) return Execute(request);
    disk_.held.push_back(&request);
    *reinterpret_cast<Channel**>(request.device_area) = this;
  }
  bool TryAbort(IoRequest& target) override {
    const auto found = std::find(disk_.held.begin(), disk_.held.end(), &target);
    if (found == disk_.held.end() || !disk_.aborts) return false;
    disk_.held.erase(found);
    Complete(target, IoStatus::kAborted);
    return true;
  }
  bool DoLend(Loan& loan) override {
    if (!disk_.lends) return false;
    ++disk_.loans;
    // Two parts, to see that they are put together rightly.
    const size_t bytes = loan.blocks * data_block_bytes();
    std::byte* const begin = &disk_.data[loan.lba * data_block_bytes()];
    loan.parts[0] = {begin, 100};
    loan.parts[1] = {begin + 100, bytes - 100};
    loan.part_count = 2;
    return true;
  }

 private:
  IoStatus Try(IoRequest& request) {
    request.nvme_status = disk_.nvme_status;
    if (disk_.fails != IoStatus::kSuccess) return disk_.fails;
    const bool moves = request.type == IoType::kRead || request.type == IoType::kWrite;
    if (moves && disk_.bad_lba >= request.lba && disk_.bad_lba < request.lba + request.blocks) {
      return IoStatus::kMediumError;
    }
    std::byte* place = disk_.data.data() + request.lba * data_block_bytes();
    const size_t bytes = request.blocks * data_block_bytes();
    switch (request.type) {
      case IoType::kRead:
        ++disk_.reads;
        for (const iovec& part : request.data) {
          std::memcpy(part.iov_base, place, part.iov_len);
          place += part.iov_len;
        }
        return IoStatus::kSuccess;
      case IoType::kWrite:
        ++disk_.writes;
        if (request.fua) ++disk_.fua_writes;
        Store(request.data, place);
        return IoStatus::kSuccess;
      case IoType::kUnmap:
        ++disk_.unmaps;
        std::memset(place, 0, bytes);
        return IoStatus::kSuccess;
      case IoType::kWriteZeroes:
        ++disk_.zeroes;
        std::memset(place, 0, bytes);
        return IoStatus::kSuccess;
      case IoType::kCompare:
        return Equal(request.data, place) ? IoStatus::kSuccess : IoStatus::kMiscompare;
      case IoType::kCompareAndWrite:
        if (!Equal(request.compare_data, place)) return IoStatus::kMiscompare;
        if (request.fua) ++disk_.fua_writes;
        Store(request.data, place);
        return IoStatus::kSuccess;
      case IoType::kFlush:
        ++disk_.flushes;
        return IoStatus::kSuccess;
      default:
        return IoStatus::kNotSupported;
    }
  }
  static bool Equal(std::span<const iovec> parts, const std::byte* place) {
    for (const iovec& part : parts) {
      if (std::memcmp(place, part.iov_base, part.iov_len) != 0) return false;
      place += part.iov_len;
    }
    return true;
  }
  static void Store(std::span<const iovec> parts, std::byte* place) {
    for (const iovec& part : parts) {
      std::memcpy(place, part.iov_base, part.iov_len);
      place += part.iov_len;
    }
  }

  OddDisk& disk_;
};

OddDisk::OddDisk(const std::string& name, Options options)
    : BlockDevice(name, "Odd disk",
                  {.block_bytes = options.block_bytes,
                   .blocks = options.blocks,
                   .physical_block_bytes = options.block_bytes,
                   .metadata_bytes = options.metadata_bytes,
                   .metadata_interleaved = options.metadata_bytes > 0,
                   .protection_type = options.protection_type},
                  Uuid::Random()),
      data(options.blocks * (options.block_bytes + options.metadata_bytes)) {
  read_only_ = options.read_only;
  volatile_cache_ = options.volatile_cache;
  limits_.unmapped_reads_zero = true;
  for (const IoType type :
       {IoType::kRead, IoType::kWrite, IoType::kFlush, IoType::kWriteZeroes, IoType::kCompare}) {
    executes_.set(static_cast<size_t>(type));
  }
  executes_.set(static_cast<size_t>(IoType::kUnmap), options.unmaps);
  executes_.set(static_cast<size_t>(IoType::kCompareAndWrite), options.compares_and_writes);
}

Result<std::unique_ptr<BlockChannel>> OddDisk::MakeChannel(Reactor& reactor) {
  return std::unique_ptr<BlockChannel>(std::make_unique<Channel>(*this, reactor));
}

Status OddDisk::CheckResize(uint64_t blocks) const {
  const_cast<OddDisk*>(this)->data.resize(blocks * geometry().data_block_bytes());
  return OkStatus();
}

void OddDisk::ReleaseHeld() {
  for (IoRequest* request : std::exchange(held, {})) {
    (*reinterpret_cast<Channel**>(request->device_area))->Execute(*request);
  }
}

void HostCommand::OnDataWanted(uint32_t from, std::span<const iovec> wanted_parts) {
  EXPECT_FALSE(ended);
  ++bursts_out;
  wanted = true;
  offset = from;
  parts = wanted_parts;
  if (!waits) SendWanted();
}

void HostCommand::SendWanted() {
  ASSERT_TRUE(wanted);
  uint64_t at = offset;
  for (const iovec& part : parts) {
    ASSERT_LE(at + part.iov_len, data_bytes) << "more is wanted than the host offers";
    ASSERT_LE(at + part.iov_len, out.size()) << "more is wanted than the host has";
    std::memcpy(part.iov_base, &out[at], part.iov_len);
    at += part.iov_len;
  }
  wanted = false;
  DataArrived();
}

void HostCommand::OnDataReady(uint32_t from, std::span<const iovec> ready_parts,
                              const nvme::CompletionEntry* entry_behind) {
  EXPECT_FALSE(ended);
  EXPECT_EQ(from, in.size());
  ++bursts_in;
  parts = ready_parts;
  for (const iovec& part : parts) {
    const auto* bytes = static_cast<const uint8_t*>(part.iov_base);
    in.insert(in.end(), bytes, bytes + part.iov_len);
  }
  EXPECT_LE(in.size(), data_bytes) << "more than the host expects";
  EXPECT_GT(in.size(), from) << "an empty burst";
  ready = true;
  last = entry_behind != nullptr;
  if (last) {
    completion = *entry_behind;
    EXPECT_EQ(status(), kSuccess);
    EXPECT_EQ(completion.cid, entry.cid);
  }
}

void HostCommand::TellSent() {
  ready = false;
  if (last) ended = true;
  DataSent();
  if (last && then) then();
}

void HostCommand::OnCompletion(const nvme::CompletionEntry& with) {
  EXPECT_FALSE(ended) << "it ended twice";
  EXPECT_FALSE(in_abandon) << "it ended from within Abandon";
  EXPECT_EQ(with.cid, entry.cid);
  completion = with;
  wanted = ready = false;
  ++completions;
  ended = true;
  if (then) then();
}

Task<ConnectVerdict> FakeControlSide::Admit(ConnectQuery query) {
  if (holds != nullptr) co_await *holds;
  ConnectVerdict verdict;
  verdict.status = refuses;
  if (refuses != kSuccess) co_return verdict;
  ++admitted;
  auto identity = std::make_shared<ControllerIdentity>();
  identity->cntlid = 3;
  identity->subnqn = query.subnqn;
  identity->hostnqn = query.hostnqn;
  identity->listener_id = query.listener_id;
  verdict.identity = std::move(identity);
  co_return verdict;
}

Task<void> FakeControlSide::Leave(std::shared_ptr<const ControllerIdentity>, uint16_t) {
  ++left;
  co_return;
}

IoTest::IoTest(Buffers buffers, Queue::Limits limits) : limits_(limits) {
  // Buffers are full of what others left in them.
  small_memory_.assign(buffers.small * Worker::kSmallBufferBytes, std::byte{0xa5});
  large_memory_.assign(buffers.large * Worker::kLargeBufferBytes, std::byte{0xa5});
  small_ =
      std::make_unique<BufferPool>(small_memory_.data(), Worker::kSmallBufferBytes, buffers.small);
  large_ =
      std::make_unique<BufferPool>(large_memory_.data(), Worker::kLargeBufferBytes, buffers.large);
  worker_ = std::make_unique<Worker>(Worker::Environment{.reactor = (*world_.reactors)[0],
                                                         .control = world_.control,
                                                         .control_side = control_side_,
                                                         .small_buffers = *small_,
                                                         .large_buffers = *large_});
  world_.On(0, [this] {
    auto facts = std::make_shared<SubsystemFacts>();
    facts->nqn = kNqn;
    facts->dmrsl = 2048;
    facts->wzsl = 8;  // 1 MiB
    worker_->AddView(std::move(facts));
    view_ = worker_->FindView(kNqn);
    ListenerView listener;
    listener.id = kListener;
    view_->SetListener(listener);
  });
  queue_ = MakeQueue();
  Connect(*queue_, 1);
}

IoTest::~IoTest() {
  Spin();
  CloseQueue(queue_);
  for (const HostCommand& command : commands_) EXPECT_FALSE(command.in_flight());
  for (const uint32_t nsid : nsids_) {
    BeginDetach(nsid);
    Spin();
    EXPECT_TRUE(detached());
  }
  EXPECT_EQ(BuffersOut(), 0u) << "a buffer leaked";
  world_.On(0, [this] { worker_->RemoveView(kNqn); });
  for (BlockDevice* disk : disks_)
    EXPECT_TRUE(world_.Run(world_.devices.Unregister(disk->name())).ok());
  EXPECT_EQ(worker_->tasks().running(), 0u);
}

void IoTest::Spin() {
  for (int idle = 0, turns = 0; idle < 4 && turns < 100000; ++turns) {
    int work = world_.control.RunTurn() + (*world_.reactors)[0].RunTurn();
    world_.On(0, [&] {
      for (HostCommand& command : commands_) {
        if (!command.ready || command.waits) continue;
        command.TellSent();
        ++work;
      }
    });
    idle = work == 0 ? idle + 1 : 0;
  }
}

BlockDevice& IoTest::AddMemoryDisk(uint32_t nsid, uint64_t blocks, uint32_t block_bytes) {
  MemoryDiskOptions options;
  options.name = absl::StrFormat("disk%d", nsid);
  options.block_size = block_bytes;
  options.num_blocks = blocks;
  return Add(nsid, *MakeMemoryDisk(options, regions_, accel_));
}

OddDisk& IoTest::AddOddDisk(uint32_t nsid, OddDisk::Options options) {
  return static_cast<OddDisk&>(
      Add(nsid, std::make_unique<OddDisk>(absl::StrFormat("disk%d", nsid), options)));
}

BlockDevice& IoTest::Add(uint32_t nsid, std::unique_ptr<BlockDevice> made) {
  BlockDevice* const disk = *world_.Run(world_.devices.Register(std::move(made)));
  auto facts = std::make_shared<NamespaceFacts>();
  facts->nsid = nsid;
  facts->device_name = disk->name();
  facts->geometry = disk->geometry();
  facts->limits = disk->limits();
  facts->read_only = disk->read_only();
  facts->volatile_cache = disk->volatile_cache();
  facts->flush = disk->Supports(IoType::kFlush);
  facts->unmap = disk->Supports(IoType::kUnmap);
  facts->write_zeroes = disk->Supports(IoType::kWriteZeroes);
  facts->compare = disk->Supports(IoType::kCompare);
  facts->compare_and_write = disk->Supports(IoType::kCompareAndWrite);
  world_.On(0, [&] { view_->Attach(disk->channel(0), facts, counters_[nsid]); });
  disks_.push_back(disk);
  nsids_.push_back(nsid);
  return *disk;
}

void IoTest::Change(uint32_t nsid, const std::function<void(NamespaceFacts&)>& change) {
  world_.On(0, [&] {
    auto facts = std::make_shared<NamespaceFacts>(*view_->Find(nsid)->facts);
    change(*facts);
    view_->Update(std::move(facts));
  });
}

void IoTest::BeginDetach(uint32_t nsid) {
  detach_ = std::make_unique<Task<void>>(view_->Detach(nsid));
  world_.On(0, [&] { detach_->Start(); });
  Spin();
}

void IoTest::SetAna(nvme::AnaState state, uint32_t group) {
  world_.On(0, [&] {
    ListenerView listener;
    listener.id = kListener;
    listener.states.assign(group + 1, nvme::AnaState::kOptimized);
    listener.states[group] = state;
    view_->SetListener(listener);
  });
}

std::unique_ptr<Queue> IoTest::MakeQueue() {
  std::unique_ptr<Queue> queue;
  world_.On(0, [&] { queue = std::make_unique<Queue>(*worker_, carrier_, kListener, limits_); });
  return queue;
}

void IoTest::Connect(Queue& queue, uint16_t qid, uint32_t depth) {
  nvme::SubmissionEntry entry;
  auto& connect = reinterpret_cast<nvme::ConnectCommand&>(entry);
  connect.opcode = nvme::admin::kFabrics;
  connect.fctype = nvme::fctype::kConnect;
  connect.qid = qid;
  connect.sqsize = static_cast<uint16_t>(depth - 1);
  nvme::ConnectData data{};
  data.hostid[0] = 1;
  data.cntlid = qid == 0 ? nvme::kDynamicCntlid : uint16_t{3};
  std::strncpy(data.subnqn, kNqn, sizeof(data.subnqn));
  std::strncpy(data.hostnqn, kHost, sizeof(data.hostnqn));
  Bytes out(sizeof(data));
  std::memcpy(out.data(), &data, sizeof(data));
  HostCommand& command = Make(entry, sizeof(data), std::move(out));
  world_.On(0, [&] { queue.Start(command); });
  Spin();
}

void IoTest::CloseQueue(std::unique_ptr<Queue>& queue) {
  if (queue == nullptr) return;
  carrier_.ended = false;
  world_.On(0, [&] {
    for (HostCommand& command : commands_) command.in_abandon = true;
    queue->Close();
    for (HostCommand& command : commands_) command.in_abandon = false;
  });
  Spin();
  ASSERT_TRUE(carrier_.ended) << "the queue did not end";
  queue.reset();
}

nvme::SubmissionEntry IoTest::Entry(uint8_t opcode, uint32_t nsid, uint64_t lba, uint32_t blocks) {
  nvme::SubmissionEntry entry;
  entry.opc = opcode;
  entry.nsid = nsid;
  entry.cdw10 = static_cast<uint32_t>(lba);
  entry.cdw11 = static_cast<uint32_t>(lba >> 32);
  entry.cdw12 = blocks - 1;
  return entry;
}

HostCommand& IoTest::Make(const nvme::SubmissionEntry& entry, uint32_t data_bytes, Bytes out) {
  HostCommand& command = commands_.emplace_back();
  command.entry = entry;
  command.entry.cid = next_cid_++;
  command.data_bytes = data_bytes;
  command.out = std::move(out);
  return command;
}

HostCommand& IoTest::Start(const nvme::SubmissionEntry& entry, uint32_t data_bytes, Bytes out,
                           bool waits) {
  HostCommand& command = Make(entry, data_bytes, std::move(out));
  command.waits = waits;
  world_.On(0, [&] { queue_->Start(command); });
  return command;
}

HostCommand& IoTest::Run(const nvme::SubmissionEntry& entry, uint32_t data_bytes, Bytes out) {
  HostCommand& command = Start(entry, data_bytes, std::move(out));
  Spin();
  EXPECT_TRUE(command.ended);
  return command;
}

HostCommand& IoTest::Read(uint64_t lba, uint32_t blocks) {
  const uint32_t block_bytes = disks_.front()->geometry().data_block_bytes();
  return Run(Entry(nvme::io::kRead, 1, lba, blocks), blocks * block_bytes);
}

HostCommand& IoTest::Write(uint64_t lba, uint32_t blocks, uint8_t seed) {
  const uint32_t bytes = blocks * disks_.front()->geometry().data_block_bytes();
  return Run(Entry(nvme::io::kWrite, 1, lba, blocks), bytes, Pattern(bytes, seed));
}

Bytes IoTest::OnDisk(uint64_t lba, uint32_t blocks) {
  HostCommand& command = Read(lba, blocks);
  EXPECT_ENDED_WITH(command, kSuccess);
  return command.in;
}

Bytes Pattern(size_t bytes, uint8_t seed) {
  Bytes pattern(bytes);
  for (size_t i = 0; i < bytes; ++i) pattern[i] = static_cast<uint8_t>(seed + i * 7 + i / 512);
  return pattern;
}

std::string StatusText(const HostCommand& command) {
  return absl::StrFormat("status %03xh of opcode %02xh, DNR %d", command.status() & 0x7ff,
                         command.entry.opc, command.status() >> 14 & 1);
}

}  // namespace pollux::nvmf::io_test
