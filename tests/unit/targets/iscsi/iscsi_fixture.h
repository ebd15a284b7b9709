#pragma once
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "targets/iscsi/iscsi_target.h"
#include "tests/unit/block_world.h"

namespace pollux::iscsi {

using Bytes = std::vector<uint8_t>;

// A disk that does what the test says: lends its pages or not, holds its I/O back.
class TestDisk final : public BlockDevice {
 public:
  TestDisk(const std::string& name, uint64_t blocks)
      : BlockDevice(name, "Test disk", {.block_bytes = 512, .blocks = blocks}, Uuid::Random()),
        data(blocks * 512) {
    for (const IoType type : {IoType::kRead, IoType::kWrite, IoType::kFlush}) {
      executes_.set(static_cast<size_t>(type));
    }
  }
  // Completes what was held, and holds no more. On the reactor.
  void Release();

  bool lends = false;
  bool holds = false;
  bool aborts = true;  // What it holds can be aborted.
  std::vector<std::byte> data;
  std::vector<std::pair<BlockChannel*, IoRequest*>> held;

 protected:
  Result<std::unique_ptr<BlockChannel>> MakeChannel(Reactor& reactor) override;

 private:
  class Channel;
};

// CRC32C bit by bit, as RFC 3720 §12.1 describes it.
uint32_t SlowCrc32c(const uint8_t* data, size_t bytes);

// A PDU in our own reading of RFC 7143 §11: 48 bytes of header, and the data segment.
struct Wire {
  std::array<uint8_t, 48> header{};
  Bytes ahs;
  Bytes data;

  Wire() = default;
  explicit Wire(uint8_t opcode, uint8_t flags = 0x80) { header[0] = opcode, header[1] = flags; }
  Wire& Put16(size_t at, uint16_t value);
  Wire& Put32(size_t at, uint32_t value);
  Wire& Text(const std::vector<std::string>& pairs);
  uint16_t Get16(size_t at) const;
  uint32_t Get32(size_t at) const;
  uint8_t opcode() const { return header[0] & 0x3f; }
  uint8_t flags() const { return header[1]; }
  // "key=value" of the data segment, one per line.
  std::string text() const;
  // With digests, where they are asked for.
  Bytes Encode(bool header_digest = false, bool data_digest = false) const;
};

// A read or write of blocks.
Bytes Read10(uint32_t lba, uint16_t blocks);
Bytes Write10(uint32_t lba, uint16_t blocks);
Bytes TestUnitReady();
Bytes Pattern(size_t bytes, uint8_t seed);

// An initiator with one connection. It checks nothing by itself, and sends whatever it is told.
class TestInitiator {
 public:
  // `pump` is called while it waits: a turn of the loops, or a short wait for their threads.
  TestInitiator(uint16_t port, std::function<void()> pump);
  ~TestInitiator();

  void SendRaw(const Bytes& bytes);
  void Send(const Wire& pdu) { SendRaw(pdu.Encode(header_digest, data_digest)); }
  // The next PDU; fails the test when none comes.
  Wire Receive();
  std::optional<Wire> TryReceive();
  // Whether the target closes the connection; what comes before is dropped.
  bool IsClosed();
  // The same without waiting.
  bool SeesEnd();
  // No byte comes for a while, and the connection stays.
  bool IsQuiet();
  void Disconnect();
  void StopReading(int buffer_bytes);

  struct LoginOptions {
    std::string initiator = "iqn.2001-04.com.example:host";
    std::string target = "iqn.2016-06.io.spdk:disk1";
    bool discovery = false;
    std::vector<std::string> keys = {"InitialR2T=Yes", "ImmediateData=Yes", "FirstBurstLength=8192",
                                     "MaxRecvDataSegmentLength=262144", "MaxConnections=4"};
    uint16_t isid = 1;
    uint16_t tsih = 0;
    uint16_t cid = 1;
    uint32_t cmd_sn = 100;
  };
  // The status of the login; 0 is success.
  int Login();
  int Login(const LoginOptions& options);

  // SCSI commands.
  struct Answer {
    int status = -1;
    Bytes data;
    uint8_t residual_flags = 0;
    uint32_t residual = 0;
    int key = -1, asc = -1;  // Of the sense data.
    int data_in_pdus = 0, r2ts = 0;
    bool collapsed = false;  // The status came with the last Data-In.
    uint32_t stat_sn = 0;
  };
  Wire Command(const Bytes& cdb, uint8_t flags, uint32_t expected_bytes);
  Answer Read(const Bytes& cdb, uint32_t bytes);
  // `immediate` bytes go with the command, the rest when it is asked for.
  Answer Write(const Bytes& cdb, const Bytes& data, size_t immediate = 0);
  Answer NoData(const Bytes& cdb);
  // Waits for the end of `itt`, answering R2Ts from `data`. PDUs of other tasks are kept.
  Answer Finish(uint32_t itt, const Bytes& data = {});
  Wire DataOut(uint32_t itt, uint32_t ttt, uint32_t data_sn, uint32_t offset, const Bytes& data,
               bool final);
  Wire TaskManagement(uint8_t function, uint32_t referenced = 0xffffffff);
  Wire NopOut(const Bytes& data = {});
  Wire TextRequest(const std::vector<std::string>& pairs);
  Wire Logout(uint8_t reason, uint16_t of_cid = 1);

  uint32_t cmd_sn = 100;
  uint32_t max_cmd_sn = 0, exp_cmd_sn = 0;
  uint32_t exp_stat_sn = 0;
  uint32_t itt = 1;
  uint16_t lun = 0;
  uint16_t tsih = 0, cid = 1;
  std::map<std::string, std::string> negotiated;
  std::vector<Wire> kept;
  // As login agreed. What comes without, or with a wrong one, fails the test.
  bool header_digest = false, data_digest = false;

 private:
  bool FillOnce();
  void Number(Wire& pdu);

  int fd_ = -1;
  bool closed_ = false;
  std::function<void()> pump_;
  Bytes received_;
};

// A target "iqn.2016-06.io.spdk:disk1" with a disk of 4096 blocks as LUN 0, for everybody who comes
// through portal group 1 on the loopback address. Reactors stand still: the test runs their turns.
class IscsiTest : public testing::Test {
 protected:
  static constexpr char kTargetName[] = "iqn.2016-06.io.spdk:disk1";

  explicit IscsiTest(size_t reactors = 1);
  ~IscsiTest() override;

  // With what Options the target starts; before the first use.
  Options options_;
  void Start();
  void Stop();

  template <typename T>
  T Run(Task<T> task) {
    return world_.Run(std::move(task));
  }
  void OnControl(const std::function<void()>& step) { world_.OnControl(step); }
  Status AddTarget(const std::string& name, const std::vector<GroupMap>& maps = {{1, 1}},
                   const std::string& disk = "disk");
  TestDisk& AddDisk(const std::string& name, uint64_t blocks = 4096);

  std::unique_ptr<TestInitiator> Connect(int32_t tag = 1);
  std::unique_ptr<TestInitiator> LogIn();
  std::unique_ptr<TestInitiator> LogIn(const TestInitiator::LoginOptions& options);
  std::vector<ConnectionInfo> Connections() { return Run(target_->Connections()); }
  // Another initiator can log in and read: nobody noticed anything.
  void ExpectServing();
  // All sessions and logins are gone.
  void ExpectNobody();
  void Turns(int count) { world_.Turns(count); }
  void Advance(uint64_t seconds);

  testing_world::BlockWorld world_;
  testing_world::PlainMemory memory_;
  std::unique_ptr<IscsiTarget> target_;
  TestDisk* disk_ = nullptr;
  uint16_t next_isid_ = 1000;

 private:
  bool stopped_ = false;
};

}  // namespace pollux::iscsi
