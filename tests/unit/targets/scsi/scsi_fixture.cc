#include "scsi_fixture.h"

#include <algorithm>

namespace pollux::scsi {

class TestDisk::Channel final : public BlockChannel {
 public:
  Channel(TestDisk& disk, Reactor& reactor) : BlockChannel(disk, reactor), disk_(disk) {}

  void Execute(IoRequest& request) { Complete(request, Try(request)); }

 protected:
  void DoSubmit(IoRequest& request) override {
    if (disk_.holds) {
      disk_.held.push_back(&request);
      *reinterpret_cast<Channel**>(request.device_area) = this;
    } else {
      Execute(request);
    }
  }
  bool TryAbort(IoRequest& target) override {
    const auto found = std::find(disk_.held.begin(), disk_.held.end(), &target);
    if (found == disk_.held.end()) return false;
    disk_.held.erase(found);
    Complete(target, IoStatus::kAborted);
    return true;
  }
  bool DoLend(Loan& loan) override {
    if (!disk_.lends) return false;
    ++disk_.loans;
    // Two parts, to see that they are put together rightly.
    const size_t bytes = loan.blocks * block_bytes();
    std::byte* start = &disk_.data[loan.lba * block_bytes()];
    loan.parts[0] = {start, 100};
    loan.parts[1] = {start + 100, bytes - 100};
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
    std::byte* place = disk_.data.data() + request.lba * block_bytes();
    switch (request.type) {
      case IoType::kRead:
        ++disk_.reads;
        for (const iovec& part : request.data) {
          std::memcpy(part.iov_base, place, part.iov_len);
          place += part.iov_len;
        }
        break;
      case IoType::kWrite:
        ++disk_.writes;
        if (request.fua) ++disk_.fua_writes;
        Store(request.data, place);
        break;
      case IoType::kUnmap:
        ++disk_.unmaps;
        std::memset(place, 0, request.blocks * block_bytes());
        break;
      case IoType::kWriteZeroes:
        ++disk_.zeroes;
        std::memset(place, 0, request.blocks * block_bytes());
        break;
      case IoType::kCompareAndWrite: {
        const auto* wanted = static_cast<const std::byte*>(request.compare_data[0].iov_base);
        const size_t bytes = request.compare_data[0].iov_len;
        if (const auto at = std::mismatch(wanted, wanted + bytes, place).first - wanted;
            static_cast<size_t>(at) < bytes) {
          request.miscompare_offset = static_cast<uint64_t>(at);
          return IoStatus::kMiscompare;
        }
        Store(request.data, place);
        break;
      }
      case IoType::kFlush:
        ++disk_.flushes;
        break;
      default:
        return IoStatus::kNotSupported;
    }
    return IoStatus::kSuccess;
  }
  static void Store(std::span<const iovec> parts, std::byte* place) {
    for (const iovec& part : parts) {
      std::memcpy(place, part.iov_base, part.iov_len);
      place += part.iov_len;
    }
  }

  TestDisk& disk_;
};

Result<std::unique_ptr<BlockChannel>> TestDisk::MakeChannel(Reactor& reactor) {
  return std::unique_ptr<BlockChannel>(std::make_unique<Channel>(*this, reactor));
}

void TestDisk::ReleaseHeld() {
  for (IoRequest* request : std::exchange(held, {})) {
    (*reinterpret_cast<Channel**>(request->device_area))->Execute(*request);
  }
}

void TestCommand::OnDataOutWanted(uint64_t offset, std::span<const iovec> wanted_parts) {
  EXPECT_FALSE(in_call) << "an upcall from within a downcall";
  EXPECT_FALSE(ended);
  ++wanted;
  parts_offset = offset;
  parts.assign(wanted_parts.begin(), wanted_parts.end());
  if (!waits) SendWanted();
}

void TestCommand::SendWanted() {
  uint64_t at = parts_offset;
  for (const iovec& part : parts) {
    EXPECT_LE(at + part.iov_len, out.size()) << "more is wanted than the initiator has";
    if (at + part.iov_len > out.size()) break;
    std::memcpy(part.iov_base, &out[at], part.iov_len);
    at += part.iov_len;
  }
  in_call = true;
  DataOutArrived();
  in_call = false;
}

void TestCommand::OnDataIn(uint64_t offset, std::span<const iovec> sent, bool last) {
  EXPECT_FALSE(in_call) << "an upcall from within a downcall";
  EXPECT_FALSE(ended);
  EXPECT_EQ(offset, in.size());
  ++bursts_in;
  for (const iovec& part : sent) {
    const auto* bytes = static_cast<const uint8_t*>(part.iov_base);
    in.insert(in.end(), bytes, bytes + part.iov_len);
  }
  EXPECT_LE(in.size(), data_in_max);
  EXPECT_GT(in.size(), offset) << "an empty burst";
  if (last) {
    EXPECT_EQ(status, ScsiStatus::kGood);
    if (!waits) ended = true;
  }
  if (waits) return;
  in_call = true;
  DataInSent();
  in_call = false;
}

void TestCommand::OnStatus() {
  EXPECT_FALSE(in_call) << "an upcall from within a downcall";
  EXPECT_FALSE(ended) << "it ended twice";
  ++statuses;
  ended = true;
  if (status == ScsiStatus::kCheckCondition) {
    EXPECT_GE(sense_bytes, 8u);
  } else {
    EXPECT_EQ(sense_bytes, 0u);
  }
}

ScsiTest::ScsiTest(size_t reactors, size_t buffers, size_t buffer_bytes) {
  control_ =
      std::make_unique<Loop>(Loop::Options{.name = "control"}, clock_, MakeEpollWaiter().value());
  Reactors::Options options;
  for (size_t i = 1; i < reactors; ++i) options.cores.push_back(static_cast<int>(i));
  reactors_ = Reactors::MakeStill(options, clock_).value();
  for (size_t i = 0; i < reactors; ++i) {
    // Buffers are full of what others left in them.
    memory_.emplace_back(buffers * buffer_bytes, std::byte{0xa5});
    pools_.push_back(std::make_unique<BufferPool>(memory_.back().data(), buffer_bytes, buffers));
  }
  registry_ = std::make_unique<DeviceRegistry>(*reactors_);
  target_ = std::make_unique<TargetDevice>(kTargetName, *registry_);
}

ScsiTest::~ScsiTest() {
  Spin();
  if (nexus_ != nullptr) Destroy(nexus_);
  for (const auto& pool : pools_) EXPECT_EQ(pool->available(), pool->count()) << "a buffer leaked";
  Await(target_->Shutdown());
  target_.reset();
  for (BlockDevice* device : registry_->devices()) RemoveDisk(device->name());
}

void ScsiTest::Spin() {
  for (int idle = 0, turns = 0; idle < 8 && turns < 100000; ++turns) {
    int work = control_->RunTurn();
    for (auto& reactor : *reactors_) work += reactor->RunTurn();
    idle = work == 0 ? idle + 1 : 0;
  }
}

void ScsiTest::RunIn(Loop& loop, std::function<void()> action) {
  struct Call final : Message {
    explicit Call(std::function<void()> f) : function(std::move(f)) {}
    void Run() override { function(), done = true; }
    std::function<void()> function;
    bool done = false;
  } call(std::move(action));
  loop.Post(call);
  while (!call.done) loop.RunTurn();
}

TestDisk& ScsiTest::AddDisk(const std::string& name, TestDisk::Options options) {
  auto disk = std::make_unique<TestDisk>(name, options);
  TestDisk& result = *disk;
  const auto registered = Await(registry_->Register(std::move(disk)));
  EXPECT_TRUE(registered.ok()) << registered.status();
  return result;
}

void ScsiTest::RemoveDisk(const std::string& name) {
  const Status status = Await(registry_->Unregister(name));
  EXPECT_TRUE(status.ok()) << status;
}

void ScsiTest::AddLun(int number, const std::string& device, bool may_be_pending) {
  const auto added = Await(target_->AddLun(number, device, may_be_pending));
  ASSERT_TRUE(added.ok()) << added.status();
  EXPECT_EQ(*added, number);
}

TestDisk& ScsiTest::SetUp0(TestDisk::Options options) {
  TestDisk& disk = AddDisk("disk", options);
  AddLun(0);
  nexus_ = MakeNexus();
  ReadUnitAttentions(*nexus_);
  return disk;
}

std::unique_ptr<Nexus> ScsiTest::MakeNexus(size_t reactor) {
  std::unique_ptr<Nexus> nexus;
  RunIn((*reactors_)[reactor], [&] {
    nexus = std::make_unique<Nexus>(
        target_->view(reactor), *pools_[reactor],
        Nexus::Identity{.initiator_port = "iqn.2024-01.test:host,i,0x00023d000001",
                        .target_port = "iqn.2024-01.test:disk,t,0x0001"});
  });
  return nexus;
}

void ScsiTest::Destroy(std::unique_ptr<Nexus>& nexus) {
  RunIn((*reactors_)[0], [&] { nexus.reset(); });
}

void ScsiTest::ReadUnitAttentions(Nexus& nexus, int lun) {
  for (int i = 0; i < 10; ++i) {
    TestCommand& command = Start(nexus, {0x00}, 0, {}, lun);
    Spin();
    if (command.status == ScsiStatus::kGood) return;
    EXPECT_EQ(SenseOf(command).key, 0x6);
  }
  FAIL() << "unit attentions without end";
}

TestCommand& ScsiTest::Start(Nexus& nexus, const Bytes& cdb, uint32_t in_max, Bytes out, int lun,
                             bool waits, uint32_t out_max) {
  TestCommand& command = commands_.emplace_back();
  command.lun = static_cast<uint64_t>(lun) << 48;
  std::copy_n(cdb.begin(), std::min(cdb.size(), command.cdb.size()), command.cdb.begin());
  command.data_in_max = in_max;
  command.data_out_max = std::min(out_max, static_cast<uint32_t>(out.size()));
  command.out = std::move(out);
  command.waits = waits;
  RunIn((*reactors_)[0], [&] {
    command.in_call = true;
    nexus.Start(command);
    command.in_call = false;
  });
  return command;
}

TestCommand& ScsiTest::Run(const Bytes& cdb, uint32_t in_max, Bytes out, int lun) {
  TestCommand& command = Start(*nexus_, cdb, in_max, std::move(out), lun);
  Spin();
  EXPECT_TRUE(command.ended) << "the command did not end";
  EXPECT_EQ(nexus_->in_flight(), 0u);
  return command;
}

void ScsiTest::Abort(TestCommand& command) {
  RunIn((*reactors_)[0], [&] {
    command.in_call = true;
    nexus_->Abort(command);
    command.in_call = false;
  });
}

std::ostream& operator<<(std::ostream& out, const SenseCode& code) {
  return out << std::hex << code.key << "/" << code.asc << "/" << code.ascq << std::dec;
}

SenseCode SenseOf(const TestCommand& command) {
  if (command.status != ScsiStatus::kCheckCondition) return {};
  const auto& s = command.sense;
  if ((s[0] & 0x7f) == 0x70) return {s[2] & 0xf, s[12], s[13]};
  return {s[1] & 0xf, s[2], s[3]};
}

std::ostream& operator<<(std::ostream& out, const Pointer& pointer) {
  return out << "byte " << pointer.byte << " bit " << pointer.bit << " in CDB " << pointer.in_cdb;
}

Pointer PointerOf(const TestCommand& command) {
  const auto& s = command.sense;
  if ((s[15] & 0x80) == 0) return {};
  return {s[16] << 8 | s[17], s[15] & 0x08 ? s[15] & 0x07 : -1, (s[15] & 0x40) != 0};
}

Bytes Cdb10(uint8_t opcode, uint32_t lba, uint16_t blocks, uint8_t flags) {
  Bytes cdb{opcode, flags, 0, 0, 0, 0, 0, 0, 0, 0};
  for (size_t i = 0; i < 4; ++i) cdb[2 + i] = static_cast<uint8_t>(lba >> (24 - 8 * i));
  cdb[7] = static_cast<uint8_t>(blocks >> 8);
  cdb[8] = static_cast<uint8_t>(blocks);
  return cdb;
}

Bytes Cdb16(uint8_t opcode, uint64_t lba, uint32_t blocks, uint8_t flags) {
  Bytes cdb(16);
  cdb[0] = opcode;
  cdb[1] = flags;
  for (size_t i = 0; i < 8; ++i) cdb[2 + i] = static_cast<uint8_t>(lba >> (56 - 8 * i));
  for (size_t i = 0; i < 4; ++i) cdb[10 + i] = static_cast<uint8_t>(blocks >> (24 - 8 * i));
  return cdb;
}

Bytes Pattern(size_t bytes, uint8_t seed) {
  Bytes pattern(bytes);
  for (size_t i = 0; i < bytes; ++i) pattern[i] = static_cast<uint8_t>(i * 7 + i / 251 + seed);
  return pattern;
}

uint64_t BigEndian(const Bytes& bytes, size_t at, size_t count) {
  uint64_t value = 0;
  for (size_t i = 0; i < count; ++i) value = value << 8 | bytes.at(at + i);
  return value;
}

}  // namespace pollux::scsi
