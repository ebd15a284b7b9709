#include "tests/unit/targets/iscsi/iscsi_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace pollux::iscsi {

// --- The disk.

class TestDisk::Channel final : public BlockChannel {
 public:
  Channel(TestDisk& disk, Reactor& reactor) : BlockChannel(disk, reactor), disk_(disk) {}

  void Execute(IoRequest& request) {
    std::byte* at = disk_.data.data() + request.lba * 512;
    for (const iovec& part : request.data) {
      if (request.type == IoType::kRead) std::memcpy(part.iov_base, at, part.iov_len);
      if (request.type == IoType::kWrite) std::memcpy(at, part.iov_base, part.iov_len);
      at += part.iov_len;
    }
    Complete(request, IoStatus::kSuccess);
  }

 private:
  void DoSubmit(IoRequest& request) override {
    if (!disk_.holds) return Execute(request);
    disk_.held.emplace_back(this, &request);
  }
  bool DoLend(Loan& loan) override {
    if (!disk_.lends || disk_.holds) return false;
    loan.parts[0] = {disk_.data.data() + loan.lba * 512, loan.blocks * 512};
    loan.part_count = 1;
    return true;
  }
  bool TryAbort(IoRequest& target) override {
    if (!disk_.aborts) return false;
    const auto found = std::find_if(disk_.held.begin(), disk_.held.end(),
                                    [&target](const auto& h) { return h.second == &target; });
    if (found == disk_.held.end()) return false;
    disk_.held.erase(found);
    Complete(target, IoStatus::kAborted);
    return true;
  }
  TestDisk& disk_;
};

void TestDisk::Release() {
  holds = false;
  for (const auto& [channel, request] : std::exchange(held, {})) {
    static_cast<Channel*>(channel)->Execute(*request);
  }
}

Result<std::unique_ptr<BlockChannel>> TestDisk::MakeChannel(Reactor& reactor) {
  return std::make_unique<Channel>(*this, reactor);
}

// --- PDUs.

Wire& Wire::Put16(size_t at, uint16_t value) {
  header[at] = static_cast<uint8_t>(value >> 8);
  header[at + 1] = static_cast<uint8_t>(value);
  return *this;
}
Wire& Wire::Put32(size_t at, uint32_t value) {
  Put16(at, static_cast<uint16_t>(value >> 16));
  return Put16(at + 2, static_cast<uint16_t>(value));
}
Wire& Wire::Text(const std::vector<std::string>& pairs) {
  data.clear();
  for (const std::string& pair : pairs) {
    data.insert(data.end(), pair.begin(), pair.end());
    data.push_back(0);
  }
  return *this;
}
uint16_t Wire::Get16(size_t at) const {
  return static_cast<uint16_t>(header[at] << 8 | header[at + 1]);
}
uint32_t Wire::Get32(size_t at) const { return uint32_t{Get16(at)} << 16 | Get16(at + 2); }
std::string Wire::text() const {
  std::string text(data.begin(), data.end());
  std::replace(text.begin(), text.end(), '\0', '\n');
  return text;
}
uint32_t SlowCrc32c(const uint8_t* data, size_t bytes) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < bytes; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
  }
  return ~crc;
}

namespace {
void AppendDigest(Bytes& bytes, size_t begin) {
  const uint32_t crc = SlowCrc32c(bytes.data() + begin, bytes.size() - begin);
  for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<uint8_t>(crc >> shift));
}
}  // namespace

Bytes Wire::Encode(bool header_digest, bool data_digest) const {
  Bytes bytes(header.begin(), header.end());
  bytes[4] = static_cast<uint8_t>(ahs.size() / 4);
  bytes[5] = static_cast<uint8_t>(data.size() >> 16);
  bytes[6] = static_cast<uint8_t>(data.size() >> 8);
  bytes[7] = static_cast<uint8_t>(data.size());
  bytes.insert(bytes.end(), ahs.begin(), ahs.end());
  if (header_digest) AppendDigest(bytes, 0);
  const size_t begin = bytes.size();
  bytes.insert(bytes.end(), data.begin(), data.end());
  bytes.resize((bytes.size() + 3) & ~size_t{3});
  if (data_digest && !data.empty()) AppendDigest(bytes, begin);
  return bytes;
}

namespace {
Bytes Cdb10(uint8_t opcode, uint32_t lba, uint16_t blocks) {
  return {opcode,       0, uint8_t(lba >> 24),   uint8_t(lba >> 16), uint8_t(lba >> 8),
          uint8_t(lba), 0, uint8_t(blocks >> 8), uint8_t(blocks),    0};
}
}  // namespace

Bytes Read10(uint32_t lba, uint16_t blocks) { return Cdb10(0x28, lba, blocks); }
Bytes Write10(uint32_t lba, uint16_t blocks) { return Cdb10(0x2a, lba, blocks); }
Bytes TestUnitReady() { return Bytes(6); }
Bytes Pattern(size_t bytes, uint8_t seed) {
  Bytes data(bytes);
  for (size_t i = 0; i < bytes; ++i) data[i] = static_cast<uint8_t>(seed + i * 7 + i / 256);
  return data;
}

// --- The initiator.

TestInitiator::TestInitiator(uint16_t port, std::function<void()> pump) : pump_(std::move(pump)) {
  fd_ = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  fcntl(fd_, F_SETFL, O_NONBLOCK);
  const int on = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

TestInitiator::~TestInitiator() { Disconnect(); }

void TestInitiator::Disconnect() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
  closed_ = true;
}

void TestInitiator::SendRaw(const Bytes& bytes) {
  for (size_t at = 0; at < bytes.size() && !closed_;) {
    const ssize_t sent = send(fd_, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
    if (sent > 0) at += static_cast<size_t>(sent);
    if (sent < 0 && errno != EAGAIN) return;
    if (sent < 0) pump_();
  }
}

// Takes what is there. False when there was nothing.
bool TestInitiator::FillOnce() {
  if (closed_) return false;
  uint8_t buffer[65536];
  const ssize_t got = recv(fd_, buffer, sizeof(buffer), MSG_DONTWAIT);
  if (got == 0 || (got < 0 && errno != EAGAIN)) closed_ = true;
  if (got <= 0) return false;
  received_.insert(received_.end(), buffer, buffer + got);
  return true;
}

std::optional<Wire> TestInitiator::TryReceive() {
  if (received_.size() < 48) return std::nullopt;
  const size_t ahs = size_t{received_[4]} * 4;
  const size_t bytes = size_t{received_[5]} << 16 | size_t{received_[6]} << 8 | received_[7];
  const size_t begin = 48 + ahs + (header_digest ? 4 : 0);
  const size_t padded = (bytes + 3) & ~size_t{3};
  const size_t whole = begin + padded + (data_digest && bytes > 0 ? 4 : 0);
  if (received_.size() < whole) return std::nullopt;
  Wire pdu;
  std::copy_n(received_.begin(), 48, pdu.header.begin());
  const auto data = received_.begin() + static_cast<ptrdiff_t>(begin);
  pdu.data.assign(data, data + static_cast<ptrdiff_t>(bytes));
  // What the target sends has no additional header segments.
  const Bytes right = pdu.Encode(header_digest, data_digest);
  EXPECT_TRUE(std::equal(right.begin(), right.end(), received_.begin())) << "a digest, or padding";
  received_.erase(received_.begin(), received_.begin() + static_cast<ptrdiff_t>(whole));
  exp_cmd_sn = pdu.Get32(28);
  if (static_cast<int32_t>(pdu.Get32(32) - max_cmd_sn) > 0) max_cmd_sn = pdu.Get32(32);
  return pdu;
}

Wire TestInitiator::Receive() {
  for (int i = 0; i < 20000; ++i) {
    if (std::optional<Wire> pdu = TryReceive()) return *std::move(pdu);
    if (closed_) {
      ADD_FAILURE() << "the target closed the connection";
      return {};
    }
    pump_();
    FillOnce();
  }
  ADD_FAILURE() << "no PDU came";
  return {};
}

bool TestInitiator::IsClosed() {
  for (int i = 0; i < 20000 && !closed_; ++i) {
    pump_();
    FillOnce();
  }
  return closed_;
}

bool TestInitiator::SeesEnd() {
  pump_();
  while (FillOnce()) {
  }
  return closed_;
}

bool TestInitiator::IsQuiet() {
  const size_t before = received_.size();
  for (int i = 0; i < 50; ++i) {
    pump_();
    FillOnce();
  }
  return !closed_ && received_.size() == before;
}

void TestInitiator::StopReading(int buffer_bytes) {
  setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof(buffer_bytes));
}

int TestInitiator::Login() { return Login(LoginOptions{}); }

int TestInitiator::Login(const LoginOptions& options) {
  cmd_sn = options.cmd_sn;
  cid = options.cid;
  std::vector<std::string> pairs = {"InitiatorName=" + options.initiator};
  pairs.push_back(options.discovery ? "SessionType=Discovery" : "SessionType=Normal");
  if (!options.target.empty() && !options.discovery) {
    pairs.push_back("TargetName=" + options.target);
  }
  Wire request(0x43, 0x81);  // Immediate; T, from the security to the operational stage.
  for (int stage = 0; stage < 2; ++stage) {
    request.header[8] = 0x80;
    request.Put16(12, options.isid).Put16(14, options.tsih).Put32(16, itt++).Put16(20, cid);
    request.Put32(24, cmd_sn).Put32(28, exp_stat_sn).Text(pairs);
    Send(request);
    const Wire response = Receive();
    if (response.opcode() != 0x23) return -1;
    if (response.Get16(36) != 0) return response.Get16(36);
    exp_stat_sn = response.Get32(24) + 1;
    tsih = response.Get16(14);
    std::string text = response.text();
    while (!text.empty()) {
      const std::string pair = text.substr(0, text.find('\n'));
      text.erase(0, pair.size() + 1);
      negotiated[pair.substr(0, pair.find('='))] = pair.substr(pair.find('=') + 1);
    }
    pairs = options.keys;
    request.header[1] = 0x87;
  }
  header_digest = negotiated["HeaderDigest"] == "CRC32C";
  data_digest = negotiated["DataDigest"] == "CRC32C";
  return 0;
}

void TestInitiator::Number(Wire& pdu) {
  pdu.Put32(24, cmd_sn).Put32(28, exp_stat_sn);
  if ((pdu.header[0] & 0x40) == 0) ++cmd_sn;
}

Wire TestInitiator::Command(const Bytes& cdb, uint8_t flags, uint32_t expected_bytes) {
  Wire pdu(0x01, flags);
  pdu.Put16(8, lun).Put32(16, itt++).Put32(20, expected_bytes);
  Number(pdu);
  std::copy(cdb.begin(), cdb.end(), pdu.header.begin() + 32);
  return pdu;
}

TestInitiator::Answer TestInitiator::Read(const Bytes& cdb, uint32_t bytes) {
  const Wire command = Command(cdb, 0xc1, bytes);
  Send(command);
  return Finish(command.Get32(16));
}

TestInitiator::Answer TestInitiator::NoData(const Bytes& cdb) {
  const Wire command = Command(cdb, 0x81, 0);
  Send(command);
  return Finish(command.Get32(16));
}

TestInitiator::Answer TestInitiator::Write(const Bytes& cdb, const Bytes& data, size_t immediate) {
  Wire command = Command(cdb, 0xa1, static_cast<uint32_t>(data.size()));
  command.data.assign(data.begin(), data.begin() + static_cast<ptrdiff_t>(immediate));
  Send(command);
  return Finish(command.Get32(16), data);
}

Wire TestInitiator::DataOut(uint32_t of_itt, uint32_t ttt, uint32_t data_sn, uint32_t offset,
                            const Bytes& data, bool final) {
  Wire pdu(0x05, final ? 0x80 : 0);
  pdu.Put16(8, lun).Put32(16, of_itt).Put32(20, ttt).Put32(28, exp_stat_sn);
  pdu.Put32(36, data_sn).Put32(40, offset);
  pdu.data = data;
  return pdu;
}

TestInitiator::Answer TestInitiator::Finish(uint32_t of_itt, const Bytes& data) {
  Answer answer;
  for (;;) {
    Wire pdu;
    const auto found = std::find_if(kept.begin(), kept.end(),
                                    [of_itt](const Wire& w) { return w.Get32(16) == of_itt; });
    if (found != kept.end()) {
      pdu = *found;
      kept.erase(found);
    } else {
      pdu = Receive();
      if (pdu.header[0] == 0) return answer;
      if (pdu.Get32(16) != of_itt) {
        kept.push_back(pdu);
        continue;
      }
    }
    switch (pdu.opcode()) {
      case 0x31: {  // R2T
        ++answer.r2ts;
        const uint32_t offset = pdu.Get32(40), bytes = pdu.Get32(44);
        const auto begin = data.begin() + static_cast<ptrdiff_t>(offset);
        constexpr uint32_t kPieceMax = 65536;
        uint32_t sn = 0;
        for (uint32_t at = 0; at < bytes; at += kPieceMax) {
          const uint32_t piece = std::min(kPieceMax, bytes - at);
          Send(DataOut(of_itt, pdu.Get32(20), sn++, offset + at,
                       Bytes(begin + at, begin + at + piece), at + piece == bytes));
        }
        continue;
      }
      case 0x25: {  // Data-In
        EXPECT_EQ(pdu.Get32(36), static_cast<uint32_t>(answer.data_in_pdus++)) << "DataSN";
        EXPECT_EQ(pdu.Get32(40), answer.data.size()) << "buffer offset";
        answer.data.insert(answer.data.end(), pdu.data.begin(), pdu.data.end());
        if ((pdu.flags() & 1) == 0) continue;
        EXPECT_NE(pdu.flags() & 0x80, 0);
        answer.collapsed = true;
        answer.status = pdu.header[3];
        break;
      }
      case 0x21:  // SCSI Response
        EXPECT_EQ(pdu.header[2], 0);
        answer.status = pdu.header[3];
        if (pdu.data.size() >= 16) {
          EXPECT_EQ(size_t{pdu.data[0]} << 8 | pdu.data[1], pdu.data.size() - 2);
          answer.key = pdu.data[4] & 0x0f;
          answer.asc = pdu.data[14];
        }
        break;
      default:
        ADD_FAILURE() << "opcode " << int{pdu.opcode()};
        return answer;
    }
    answer.residual_flags = pdu.flags() & 0x06;
    answer.residual = pdu.Get32(44);
    answer.stat_sn = pdu.Get32(24);
    EXPECT_EQ(answer.stat_sn, exp_stat_sn) << "StatSN";
    exp_stat_sn = answer.stat_sn + 1;
    return answer;
  }
}

Wire TestInitiator::TaskManagement(uint8_t function, uint32_t referenced) {
  Wire pdu(0x42, static_cast<uint8_t>(0x80 | function));
  pdu.Put16(8, lun).Put32(16, itt++).Put32(20, referenced);
  Number(pdu);
  return pdu;
}

Wire TestInitiator::NopOut(const Bytes& data) {
  Wire pdu(0x40);
  pdu.Put32(16, itt++).Put32(20, 0xffffffff);
  Number(pdu);
  pdu.data = data;
  return pdu;
}

Wire TestInitiator::TextRequest(const std::vector<std::string>& pairs) {
  Wire pdu(0x04);
  pdu.Put32(16, itt++).Put32(20, 0xffffffff).Text(pairs);
  Number(pdu);
  return pdu;
}

Wire TestInitiator::Logout(uint8_t reason, uint16_t of_cid) {
  Wire pdu(0x46, static_cast<uint8_t>(0x80 | reason));
  pdu.Put32(16, itt++).Put16(20, of_cid);
  Number(pdu);
  return pdu;
}

// --- The target.

IscsiTest::IscsiTest(size_t reactors) : world_(reactors) {
  options_.max_sessions = 8;
  options_.immediate_data_pool_size = 64;
  options_.data_out_pool_size = 32;
}

IscsiTest::~IscsiTest() {
  Stop();
  while (!world_.devices.devices().empty()) {
    const std::string name = world_.devices.devices().back()->name();
    EXPECT_TRUE(Run(world_.devices.Unregister(name)).ok());
  }
}

TestDisk& IscsiTest::AddDisk(const std::string& name, uint64_t blocks) {
  auto disk = std::make_unique<TestDisk>(name, blocks);
  TestDisk& added = *disk;
  EXPECT_TRUE(Run(world_.devices.Register(std::move(disk))).ok());
  return added;
}

void IscsiTest::Start() {
  target_ = std::make_unique<IscsiTarget>(IscsiTarget::Environment{.control = world_.control,
                                                                   .reactors = *world_.reactors,
                                                                   .devices = world_.devices,
                                                                   .memory = memory_});
  const Status started = Run(target_->Start(options_));
  ASSERT_TRUE(started.ok()) << started;
  disk_ = &AddDisk("disk");
  OnControl([this] {
    PortalGroup portals{.tag = 1, .portals = {{"127.0.0.1", "0"}}};
    EXPECT_TRUE(target_->CreatePortalGroup(portals, /*wait=*/false).ok());
    InitiatorGroup everybody{.tag = 1, .initiators = {"ANY"}, .netmasks = {"ANY"}};
    EXPECT_TRUE(target_->CreateInitiatorGroup(everybody).ok());
  });
  ASSERT_TRUE(AddTarget("disk1").ok());
}

Status IscsiTest::AddTarget(const std::string& name, const std::vector<GroupMap>& maps,
                            const std::string& disk) {
  TargetNode node{.name = name, .maps = maps, .luns = {{.bdev_name = disk, .lun_id = 0}}};
  return Run(target_->CreateTargetNode(std::move(node), false)).status();
}

void IscsiTest::Stop() {
  if (target_ == nullptr || stopped_) return;
  stopped_ = true;
  Run(target_->Stop(kNsPerSecond));
  target_.reset();
}

std::unique_ptr<TestInitiator> IscsiTest::Connect(int32_t tag) {
  uint16_t port = 0;
  for (const PortalGroup& group : target_->portal_groups_as_bound()) {
    if (group.tag == tag) port = static_cast<uint16_t>(std::stoi(group.portals[0].port));
  }
  return std::make_unique<TestInitiator>(port, [this] { world_.Turn(); });
}

std::unique_ptr<TestInitiator> IscsiTest::LogIn() { return LogIn({}); }

std::unique_ptr<TestInitiator> IscsiTest::LogIn(const TestInitiator::LoginOptions& options) {
  std::unique_ptr<TestInitiator> initiator = Connect();
  EXPECT_EQ(initiator->Login(options), 0);
  // The unit attention of a new nexus.
  if (!options.discovery) initiator->NoData(TestUnitReady());
  return initiator;
}

void IscsiTest::ExpectServing() {
  TestInitiator::LoginOptions options;
  options.initiator = "iqn.2001-04.com.example:other";
  options.isid = next_isid_++;
  const std::unique_ptr<TestInitiator> other = LogIn(options);
  const TestInitiator::Answer answer = other->Read(Read10(0, 1), 512);
  EXPECT_EQ(answer.status, 0);
  EXPECT_EQ(answer.data.size(), 512u);
}

void IscsiTest::ExpectNobody() {
  for (int i = 0; i < 200; ++i) Turns(1);
  EXPECT_TRUE(Connections().empty());
}

void IscsiTest::Advance(uint64_t seconds) {
  for (uint64_t i = 0; i < seconds; ++i) {
    world_.clock.Advance(kNsPerSecond);
    Turns(2);
  }
}

}  // namespace pollux::iscsi
