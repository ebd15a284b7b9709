#pragma once
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "core/block/device_registry.h"
#include "core/clock.h"
#include "core/memory/buffer_pool.h"
#include "core/reactors.h"
#include "core/waiter.h"
#include "targets/scsi/command.h"
#include "targets/scsi/nexus.h"
#include "targets/scsi/target_device.h"

namespace pollux::scsi {

using Bytes = std::vector<uint8_t>;

// A disk in memory that does what the test says: lends its pages or not, holds I/O back, fails.
class TestDisk final : public BlockDevice {
 public:
  struct Options {
    uint64_t blocks = 1024;
    uint32_t block_bytes = 512;
    bool lends = false;
    bool read_only = false;
    bool volatile_cache = false;
    bool unmaps = true;
    bool other_medium = false;  // Its UUID is not the one that "disk" has otherwise.
  };
  TestDisk(const std::string& name, Options options)
      : BlockDevice(name, "Test disk",
                    {.block_bytes = options.block_bytes,
                     .blocks = options.blocks,
                     .physical_block_bytes = std::max(options.block_bytes, 4096u)},
                    name == "disk" && !options.other_medium
                        ? Uuid::Parse("00112233-4455-4677-8899-aabbccddeeff").value()
                        : Uuid::Random()),
        lends(options.lends),
        data(options.blocks * options.block_bytes) {
    read_only_ = options.read_only;
    volatile_cache_ = options.volatile_cache;
    limits_.unmapped_reads_zero = true;
    for (const IoType type : {IoType::kRead, IoType::kWrite, IoType::kFlush, IoType::kWriteZeroes,
                              IoType::kCompareAndWrite}) {
      executes_.set(static_cast<size_t>(type));
    }
    executes_.set(static_cast<size_t>(IoType::kUnmap), options.unmaps);
  }

  bool lends;
  bool holds = false;  // I/O waits for ReleaseHeld.
  IoStatus fails = IoStatus::kSuccess;
  uint16_t nvme_status = 0;       // With which it fails.
  uint64_t bad_lba = UINT64_MAX;  // Reading or writing it is a medium error.
  std::vector<std::byte> data;
  std::vector<IoRequest*> held;
  int flushes = 0, unmaps = 0, zeroes = 0, writes = 0, reads = 0, loans = 0, fua_writes = 0;

  void ReleaseHeld();

 protected:
  Result<std::unique_ptr<BlockChannel>> MakeChannel(Reactor& reactor) override;
  Status CheckResize(uint64_t blocks) const override {
    const_cast<TestDisk*>(this)->data.resize(blocks * geometry().block_bytes);
    return OkStatus();
  }

 private:
  class Channel;
};

// The transport's side of a command: it records the upcalls, and answers them at once, from within
// the upcall, unless told to wait.
class TestCommand final : public Command {
 public:
  void OnDataOutWanted(uint64_t offset, std::span<const iovec> parts) override;
  void OnDataIn(uint64_t offset, std::span<const iovec> parts, bool last) override;
  void OnStatus() override;
  void OnEndWanted() override { ++end_wanted; }

  bool waits = false;  // Does not answer by itself.
  void SendWanted();   // Copies the data wanted, and answers.
  void AnswerDataIn() { DataInSent(); }

  Bytes out;  // What the initiator has to send.
  Bytes in;   // What it got.
  int wanted = 0, bursts_in = 0, statuses = 0, end_wanted = 0;
  bool ended = false;
  bool in_upcall = false;
  bool in_call = false;  // Set by the fixture around downcalls: no upcall may come then.
  std::vector<iovec> parts;
  uint64_t parts_offset = 0;
};

// A target device "iqn.2024-01.test:disk" on still reactors, with one nexus on reactor 0 whose
// unit attentions were read, and block device "disk" as LUN 0.
class ScsiTest : public testing::Test {
 protected:
  static constexpr const char* kTargetName = "iqn.2024-01.test:disk";
  explicit ScsiTest(size_t reactors = 1, size_t buffers = 4, size_t buffer_bytes = 8192);
  ~ScsiTest() override;

  // Runs all loops until nothing happens any more.
  void Spin();
  // Runs a task on the control loop until it ends.
  template <typename T>
  T Await(Task<T> task) {
    StartOnControl(task);
    Spin();
    EXPECT_TRUE(task.done());
    return task.TakeResult();
  }
  // Starts it, and leaves it to Spin().
  template <typename T>
  void StartOnControl(Task<T>& task) {
    RunIn(*control_, [&task] { task.Start(); });
  }
  void RunIn(Loop& loop, std::function<void()> action);

  TestDisk& AddDisk(const std::string& name = "disk", TestDisk::Options options = {});
  void RemoveDisk(const std::string& name = "disk");
  void AddLun(int number, const std::string& device = "disk", bool may_be_pending = false);
  // The usual: a disk, LUN 0, a nexus without unit attentions.
  TestDisk& SetUp0(TestDisk::Options options = {});

  std::unique_ptr<Nexus> MakeNexus(size_t reactor = 0);
  void Destroy(std::unique_ptr<Nexus>& nexus);
  void ReadUnitAttentions(Nexus& nexus, int lun = 0);

  // Starts a command; Spin() brings it on.
  TestCommand& Start(Nexus& nexus, const Bytes& cdb, uint32_t in_max, Bytes out = {}, int lun = 0,
                     bool waits = false, uint32_t out_max = UINT32_MAX);
  // Runs one to its end.
  TestCommand& Run(const Bytes& cdb, uint32_t in_max = 1 << 20, Bytes out = {}, int lun = 0);
  void Abort(TestCommand& command);

  ManualClock clock_;
  std::unique_ptr<Loop> control_;
  std::unique_ptr<Reactors> reactors_;
  std::vector<std::vector<std::byte>> memory_;
  std::vector<std::unique_ptr<BufferPool>> pools_;
  std::unique_ptr<DeviceRegistry> registry_;
  std::unique_ptr<TargetDevice> target_;
  std::unique_ptr<Nexus> nexus_;
  std::list<TestCommand> commands_;
};

// What the sense data of a command says: key, ASC, ASCQ, of either format.
struct SenseCode {
  int key = -1, asc = -1, ascq = -1;
  bool operator==(const SenseCode&) const = default;
};
std::ostream& operator<<(std::ostream& out, const SenseCode& code);
SenseCode SenseOf(const TestCommand& command);
// Of fixed format: byte and bit of the field pointer; -1 where there is none.
struct Pointer {
  int byte = -1, bit = -1;
  bool in_cdb = true;
  bool operator==(const Pointer&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Pointer& pointer);
Pointer PointerOf(const TestCommand& command);

inline constexpr SenseCode kInvalidField{0x5, 0x24, 0x00};
inline constexpr SenseCode kInvalidParameter{0x5, 0x26, 0x00};
inline constexpr SenseCode kListLength{0x5, 0x1a, 0x00};
inline constexpr SenseCode kBadOpcode{0x5, 0x20, 0x00};
inline constexpr SenseCode kOutOfRange{0x5, 0x21, 0x00};
inline constexpr SenseCode kNoUnit{0x5, 0x25, 0x00};

#define EXPECT_GOOD(command) EXPECT_EQ((command).status, ScsiStatus::kGood) << SenseOf(command)

// CDBs.
Bytes Cdb10(uint8_t opcode, uint32_t lba, uint16_t blocks, uint8_t flags = 0);
Bytes Cdb16(uint8_t opcode, uint64_t lba, uint32_t blocks, uint8_t flags = 0);
Bytes Pattern(size_t bytes, uint8_t seed);
uint64_t BigEndian(const Bytes& bytes, size_t at, size_t count);

}  // namespace pollux::scsi
