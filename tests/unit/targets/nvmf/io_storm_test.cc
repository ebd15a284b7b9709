#include <cstring>
#include <random>

#include "io_fixture.h"

namespace pollux::nvmf::io_test {
namespace {

// A host that sends what it likes, to disks that hold, fail and lend, while commands are aborted,
// namespaces go and come, and the queue closes in the midst of it. Nothing may be lost: every
// command ends once, and every buffer and loan comes back.
class IoStormTest : public IoTest, public testing::WithParamInterface<uint32_t> {
 protected:
  IoStormTest() : IoTest(Buffers{.small = 2, .large = 1}, {.io_bytes_max = 1 << 18}) {}

  uint32_t Below(uint32_t bound) { return static_cast<uint32_t>(random_() % bound); }
  bool OneIn(uint32_t n) { return Below(n) == 0; }

  void StartAny() {
    static constexpr uint8_t kOpcodes[] = {nvme::io::kFlush,       nvme::io::kWrite,
                                           nvme::io::kRead,        nvme::io::kCompare,
                                           nvme::io::kCopy,        nvme::io::kDatasetManagement,
                                           nvme::io::kWriteZeroes, nvme::io::kRead,
                                           nvme::io::kVerify,      nvme::io::kWrite};
    const uint8_t opcode = OneIn(30) ? static_cast<uint8_t>(Below(128)) : kOpcodes[Below(10)];
    if (opcode == nvme::admin::kFabrics) return;
    const uint32_t blocks = OneIn(4) ? 1 + Below(300) : 1 + Below(20);
    nvme::SubmissionEntry entry = Entry(opcode, 1 + Below(3), Below(4200), blocks);
    if (OneIn(10)) entry.flags = static_cast<uint8_t>(Below(4));
    if (OneIn(10)) entry.nsid = static_cast<uint32_t>(random_());
    if (OneIn(20)) entry.cdw12 = static_cast<uint32_t>(random_());
    if (opcode == nvme::io::kCopy && !OneIn(5)) entry.cdw12 = Below(4);
    if (opcode == nvme::io::kDatasetManagement) entry.cdw11 = 4;
    const uint32_t bytes = OneIn(10) ? Below(1 << 17) : blocks * 512;
    Bytes out(bytes);
    // Of range lists, most are small numbers.
    for (size_t i = 0; i < out.size(); i += 8) out[i] = static_cast<uint8_t>(Below(256));
    HostCommand& command = Make(entry, bytes, std::move(out));
    command.waits = OneIn(2);
    command.keeps = OneIn(4);
    if (OneIn(20)) command.entry.cid = commands_.front().entry.cid;
    world_.On(0, [&] { queue_->Start(command); });
  }

  void BringOn(HostCommand& command) {
    if (!command.in_flight()) return;
    world_.On(0, [&] {
      if (command.ready) return command.TellSent();
      if (!command.wanted) return;
      if (!OneIn(5)) return command.SendWanted();
      command.wanted = false;
      command.DataDropped(kDataTransferError);
    });
  }

  void Happen() {
    switch (Below(8)) {
      case 0:
      case 1:
      case 2:
        return StartAny();
      case 3:
        for (HostCommand& command : commands_) {
          if (OneIn(3)) BringOn(command);
        }
        return;
      case 4:
        if (OneIn(3)) {
          const auto cid = static_cast<uint16_t>(next_cid_ - 1 - Below(20));
          world_.On(0, [&] { queue_->Abort(cid); });
        }
        return;
      case 5:
        for (OddDisk* disk : odd_) {
          disk->holds = OneIn(3);
          disk->lends = OneIn(2);
          disk->aborts = OneIn(2);
          disk->fails = OneIn(6) ? IoStatus::kMediumError : IoStatus::kSuccess;
          if (!disk->holds) world_.On(0, [&] { disk->ReleaseHeld(); });
        }
        return;
      case 6:
        world_.Turn();
        return;
      case 7:
        if (OneIn(10)) DetachAndAttach();
        if (OneIn(30)) Reconnect();
        return;
    }
  }

  void LetAllGo() {
    for (OddDisk* disk : odd_) {
      disk->holds = false;
      world_.On(0, [&] { disk->ReleaseHeld(); });
    }
  }

  void DetachAndAttach() {
    const std::shared_ptr<const NamespaceFacts> facts = view_->Find(1)->facts;
    BeginDetach(1);
    for (int i = 0; i < 10 && !detached(); ++i) {
      LetAllGo();
      for (HostCommand& command : commands_) BringOn(command);
      Spin();
    }
    if (!detached()) {  // Somebody waits for a buffer that another one's host holds.
      CloseQueue(queue_);
      queue_ = MakeQueue();
      Connect(*queue_, 1);
    }
    ASSERT_TRUE(detached());
    world_.On(0, [&] { view_->Attach(odd_[0]->channel(0), facts, counters_[1]); });
  }

  void Reconnect() {
    LetAllGo();
    CloseQueue(queue_);
    for (const HostCommand& command : commands_) {
      EXPECT_TRUE(command.ended) << StatusText(command);
    }
    EXPECT_EQ(BuffersOut(), 0u);
    for (BlockDevice* disk : disks_) EXPECT_EQ(disk->channel(0)->loans(), 0u);
    commands_.clear();
    queue_ = MakeQueue();
    Connect(*queue_, 1);
  }

  std::mt19937 random_{GetParam()};
  std::vector<OddDisk*> odd_;
};

TEST_P(IoStormTest, NothingIsLost) {
  odd_ = {&AddOddDisk(1), &AddOddDisk(2)};
  AddMemoryDisk(3);
  for (int i = 0; i < 3000; ++i) {
    Happen();
    if (carrier_.ends_wanted > 0) Reconnect();  // It sent more than fits.
    carrier_.ends_wanted = 0;
  }
  Reconnect();
}

INSTANTIATE_TEST_SUITE_P(Seeds, IoStormTest, testing::Range(1u, 9u));

}  // namespace
}  // namespace pollux::nvmf::io_test
