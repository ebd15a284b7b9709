// libFuzzer: the NVMe-oF target behind its transports: Connect, properties, admin and I/O commands,
// while disks hold I/O back, fail and change their size, and the configuration changes. The target
// is a whole one, on still reactors; the fuzzer is the transport. The input is a list of steps of
// hosts, disks and administrators. Built with -DPOLLUX_FUZZ=ON by clang.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "core/block/device_registry.h"
#include "core/check.h"
#include "core/log.h"
#include "core/memory/region_registry.h"
#include "core/run_on.h"
#include "drivers/memory/memory_disk.h"
#include "targets/nvmf/nvmf_target.h"
#include "targets/nvmf/worker.h"
#include "tests/fuzz/nvmf_commands_disk.h"
#include "tests/fuzz/nvmf_commands_host.h"

namespace pollux::nvmf {
namespace {

constexpr int kTurnsMax = 20'000;
constexpr size_t kConnectionsMax = 12;  // Connections of one input.
constexpr size_t kCommandsMax = 48;     // Of one connection, in flight.

constexpr char kNqn[] = "nqn.2026-01.test:disks";
constexpr const char* kSubnqns[] = {kNqn, kNqn, nvme::kDiscoveryNqn, "nqn.2026-01.test:none"};
constexpr const char* kHostnqns[] = {"nqn.2026-01.test:a", "nqn.2026-01.test:b"};
constexpr const char* kDisks[] = {"plain", "guarded", "odd", "sealed"};

// What the steps are. The high bit: no turn of the loops follows.
enum Kind : uint8_t {
  kOpen,
  kConnect,
  kProperty,
  kAdmin,
  kIo,
  kRaw,
  kArrive,
  kDrop,
  kSent,
  kAbort,
  kTurns,
  kClock,
  kConfigure,
  kDisk,
  kClose,
  kJoin,
  kKinds
};

// Takes the input apart; zeros where it has ended.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), left_(size) {}
  bool empty() const { return left_ == 0; }
  uint8_t Byte() { return left_ == 0 ? uint8_t{0} : (--left_, *data_++); }
  uint64_t Le(int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; ++i) value |= uint64_t{Byte()} << 8 * i;
    return value;
  }
  // One of those, or as many raw bytes.
  uint64_t Pick(std::initializer_list<uint64_t> usual, int bytes) {
    const uint8_t which = Byte();
    if (which % 8 == 7) return Le(bytes);
    return usual.begin()[which % usual.size()];
  }

 private:
  const uint8_t* data_;
  size_t left_;
};

template <typename T>
Task<void> Forget(Task<T> task) {
  (void)co_await std::move(task);
}

// One input, from the start of a target to its stop.
class World {
 public:
  explicit World(Input input) : input_(input) {}
  void Run() {
    SetUp();
    while (!input_.empty()) Step();
    // Or the hosts go while a disk has their I/O still, which can be aborted.
    if (!mood_.holds || !mood_.aborts || mood_.refused) Settle();
    TearDown();
  }

 private:
  void SetUp();
  void Step();
  void Settle();
  void TearDown();

  // --- Loops.
  template <typename F>
  void On(Loop& loop, F step) {
    struct Carrier final : Message {
      explicit Carrier(F& s) : carried(s) {}
      void Run() override {
        carried();
        ran = true;
      }
      F& carried;
      bool ran = false;
    } carrier(step);
    loop.Post(carrier);
    while (!carrier.ran) loop.RunTurn();
  }
  void Turn() {
    control_.RunTurn();
    for (auto& reactor : *reactors_) reactor->RunTurn();
    for (FuzzHost& host : hosts_) Pump(host);
    if (!changes_.empty() && changes_.front().done()) {
      changes_.pop_front();
      BeginChange();
    }
  }
  // Data that comes and goes by itself; of all commands in the end.
  void Pump(FuzzHost& host) {
    if (host.ended) return;
    if (settling_ && host.end_wanted) On(host.reactor(), [&host] { host.Close(); });
    for (FuzzCommand& command : host.commands) {
      const bool sends = command.sends() && (command.moves() || settling_);
      const bool wants = command.wants() && settling_;
      if (!sends && !wants) continue;
      On(host.reactor(), [&command] {
        if (command.sends()) return command.Sent();
        if (command.wants()) command.Arrive();
      });
    }
  }
  template <typename F>
  void Until(F so, const char* what) {
    for (int i = 0; !so(); ++i) {
      CHECK(i < kTurnsMax, what);
      if (i % 64 == 63) clock_.Advance(100 * kNsPerMs);
      Turn();
    }
  }
  template <typename T>
  T Do(Task<T> task) {
    On(control_, [&task] { task.Start(); });
    for (int i = 0; !task.done(); ++i) {
      CHECK(i < kTurnsMax, "the target does not come to an end");
      if (i % 64 == 63) clock_.Advance(100 * kNsPerMs);
      Turn();
    }
    return task.TakeResult();
  }
  // Changes of the configuration come one at a time, as from the dispatcher.
  template <typename T>
  void Change(Task<T> task) {
    if (changes_.size() >= 16) return;
    changes_.push_back(Forget(std::move(task)));
    if (changes_.size() == 1) BeginChange();
  }
  void BeginChange() {
    if (changes_.empty()) return;
    On(control_, [this] { changes_.front().Start(); });
  }

  // --- Steps.
  FuzzHost* Chosen();
  FuzzCommand* Chosen(FuzzHost& host, bool (FuzzCommand::*is)() const);
  FuzzHost* Open(uint32_t listener, bool lingers);
  FuzzCommand* Submit(FuzzHost& host, nvme::SubmissionEntry entry, std::string data, bool moves,
                      uint32_t bytes_max = UINT32_MAX);
  void Describe(nvme::SubmissionEntry& entry, uint32_t bytes, bool with_choice = true);
  FuzzCommand* Connect(FuzzHost& host, uint16_t qid, uint16_t cntlid, bool exact);
  void Property(FuzzHost& host, uint32_t offset, uint64_t value, bool set, uint8_t attrib);
  void Admin(FuzzHost& host);
  void Io(FuzzHost& host);
  void Raw(FuzzHost& host);
  void Configure();
  void Join();
  Task<Status> Add(std::string disk);
  Task<Status> Register(std::string disk);
  Task<Status> Resize(std::string disk, uint64_t blocks);
  std::unique_ptr<BlockDevice> Make(const std::string& disk);
  void LetGo(size_t most);
  void Learn();
  uint16_t KnownCntlid() { return cntlids_.empty() ? uint16_t{1} : cntlids_.back(); }

  Input input_;
  ManualClock clock_;
  std::unique_ptr<Reactors> reactors_ =
      *Reactors::MakeStill({.cores = std::vector<int>{0, 1}}, clock_);
  Loop control_{{.name = "control"}, clock_, *MakeEpollWaiter()};
  DeviceRegistry devices_{*reactors_};
  RegionRegistry regions_;
  Accel accel_{*reactors_};
  PlainMemory memory_;
  Mood mood_;
  std::unique_ptr<NvmfTarget> target_;
  std::list<FuzzHost> hosts_;
  bool settling_ = false;
  std::deque<Task<void>> changes_;  // The first is under way.
  std::vector<uint16_t> cntlids_;   // Of the controllers that were made.
  FuzzCommand* connect_ = nullptr;  // The last Connect of an admin queue.
};

ListenAddress Address(uint8_t which) {
  return {.trtype = "TCP",
          .adrfam = "",
          .traddr = "127.0.0.1",
          .trsvcid = which == 0 ? "4420" : "8009"};
}

std::unique_ptr<BlockDevice> World::Make(const std::string& disk) {
  if (disk == "odd") return std::make_unique<OddDisk>(mood_);
  return *MakeMemoryDisk({.name = disk, .block_size = 512, .num_blocks = kBlocks}, regions_,
                         accel_);
}

void World::SetUp() {
  NvmfTarget::Environment environment{.control = control_,
                                      .reactors = *reactors_,
                                      .devices = devices_,
                                      .memory = memory_,
                                      .stream = StreamKind::kEpoll};
  target_ = std::make_unique<NvmfTarget>(environment);
  TargetOptions options;
  options.small_buffers = 4;
  options.large_buffers = 2;
  CHECK(Do(target_->Start(options)).ok());
  CHECK(target_->AddTransport(std::make_unique<PaperTransport>(hosts_)).ok());
  SubsystemSpec spec;
  spec.nqn = kNqn;
  spec.max_namespaces = 8;
  spec.allow_any_host = true;
  spec.ana_reporting = true;
  CHECK(Do(target_->CreateSubsystem(spec)).ok());
  for (const char* disk : kDisks) {
    CHECK(Do(devices_.Register(Make(disk))).ok());
    CHECK(Do(Add(disk)).ok());
  }
  // Listener 1, and 2.
  for (const auto& [nqn, which] :
       {std::pair<const char*, uint8_t>{kNqn, 0}, {nvme::kDiscoveryNqn, 1}}) {
    CHECK(Do(target_->AddListener(nqn, Address(which), nvme::AnaState::kOptimized,
                                  /*secure_channel=*/false, /*retry=*/false))
              .ok());
  }
}

Task<Status> World::Add(std::string disk) {
  NamespaceSpec spec;
  spec.bdev_name = disk;
  if (disk == "guarded") spec.write_protection = nvme::WriteProtection::kOn;
  if (disk == "sealed") spec.write_protection = nvme::WriteProtection::kPermanent;
  Task<Result<uint32_t>> add = target_->AddNamespace(kNqn, spec, /*may_be_pending=*/false);
  const Result<uint32_t> nsid = co_await std::move(add);
  co_return nsid.status();
}

Task<Status> World::Register(std::string disk) {
  if (devices_.Find(disk).ok()) co_return OkStatus();
  const Result<BlockDevice*> device = co_await devices_.Register(Make(disk));
  co_return device.status();
}

Task<Status> World::Resize(std::string disk, uint64_t blocks) {
  const Result<BlockDevice*> device = devices_.Find(disk);
  if (!device.ok()) co_return device.status();
  co_return co_await devices_.Resize(**device, blocks);
}

// --- Hosts.

FuzzHost* World::Chosen() {
  std::vector<FuzzHost*> open;
  for (FuzzHost& host : hosts_) {
    if (!host.ended) open.push_back(&host);
  }
  const uint8_t which = input_.Byte();
  return open.empty() ? nullptr : open[which % open.size()];
}

FuzzCommand* World::Chosen(FuzzHost& host, bool (FuzzCommand::*is)() const) {
  std::vector<FuzzCommand*> all;
  for (FuzzCommand& command : host.commands) {
    if (!command.ended() && (command.*is)()) all.push_back(&command);
  }
  const uint8_t which = input_.Byte();
  return all.empty() ? nullptr : all[which % all.size()];
}

FuzzHost* World::Open(uint32_t listener, bool lingers) {
  if (hosts_.size() >= kConnectionsMax) return nullptr;
  Worker* worker = nullptr;
  On(control_, [&] { worker = &target_->transport_host().LeastBusyWorker(); });
  On(worker->reactor(), [&] { hosts_.emplace_back(*worker, listener, lingers); });
  return &hosts_.back();
}

FuzzCommand* World::Submit(FuzzHost& host, nvme::SubmissionEntry entry, std::string data,
                           bool moves, uint32_t bytes_max) {
  if (!host.takes_commands()) return nullptr;
  FuzzCommand* command = nullptr;
  for (FuzzCommand& candidate : host.commands) {
    if (candidate.ended()) command = &candidate;
  }
  if (command == nullptr) {
    if (host.commands.size() >= kCommandsMax) return nullptr;
    command = &host.commands.emplace_back();
  }
  const DataPlan plan = PlanOf(entry, data.size(), Queue::Limits{}.in_capsule_bytes);
  const bool fabrics = entry.opc == nvme::admin::kFabrics;
  command->Begin(entry, plan, std::move(data), moves);
  command->bytes_max = bytes_max;
  command->patient =
      (entry.flags & 3) != 0 || (!fabrics && entry.opc == nvme::admin::kAsyncEventRequest);
  On(host.reactor(), [&] {
    if (plan.fault != 0 && plan.way == DataPlan::Way::kToHost) {
      return host.queue->Refuse(*command, plan.fault);
    }
    host.queue->Start(*command);
  });
  return command;
}

// The first SGL descriptor.
void World::Describe(nvme::SubmissionEntry& entry, uint32_t bytes, bool with_choice) {
  const uint8_t how = with_choice ? input_.Byte() : uint8_t{0};
  uint8_t type = nvme::kSglTransportDataBlock;
  if (how % 8 == 1) type = nvme::kSglDataBlockOffset;
  if (how % 8 == 2) type = input_.Byte();
  if (how % 8 == 3) bytes = static_cast<uint32_t>(input_.Le(4));
  if (how % 8 == 4) entry.prp1 = input_.Le(8);
  if (how % 8 == 5) bytes += uint32_t{input_.Byte()} - 128;
  entry.flags = static_cast<uint8_t>(entry.flags | nvme::kPsdtSgl);
  if (how % 8 == 6) entry.flags = input_.Byte();
  entry.prp2 = uint64_t{type} << 56 | bytes;
}

FuzzCommand* World::Connect(FuzzHost& host, uint16_t qid, uint16_t cntlid, bool exact) {
  nvme::ConnectData data{};
  data.hostid[0] = 1;
  data.cntlid = cntlid;
  const uint8_t who = exact ? uint8_t{0} : input_.Byte();
  const char* const subnqn = kSubnqns[(host.listener == 2 ? who + 2u : who) % 4];
  const char* const hostnqn = kHostnqns[(who >> 2) % 2];
  std::memcpy(data.subnqn, subnqn, std::strlen(subnqn));
  std::memcpy(data.hostnqn, hostnqn, std::strlen(hostnqn));
  std::string bytes(reinterpret_cast<const char*>(&data), sizeof(data));

  nvme::ConnectCommand command{};
  command.opcode = nvme::admin::kFabrics;
  command.fctype = nvme::fctype::kConnect;
  command.cid = host.next_cid++;
  command.qid = qid;
  command.sqsize = uint16_t{31};
  nvme::SubmissionEntry entry;
  bool moves = true;
  if (!exact) {
    command.sqsize = static_cast<uint16_t>(input_.Pick({31, 127, 1, 15}, 2));
    command.kato = static_cast<uint32_t>(input_.Pick({0, 1, 5000, 120000}, 4));
    command.cattr = input_.Byte();
    const uint8_t damage = input_.Byte();
    for (int i = 0; i < damage % 4; ++i) {
      const uint64_t at = input_.Le(2) % bytes.size();
      bytes[at] = static_cast<char>(input_.Byte());
    }
    if (damage >= 0xf0) command.recfmt = uint16_t{1};
    moves = (damage & 4) == 0;
  }
  std::memcpy(static_cast<void*>(&entry), &command, sizeof(entry));
  Describe(entry, sizeof(data), /*with_choice=*/!exact);
  FuzzCommand* const started = Submit(host, entry, std::move(bytes), moves);
  if (qid == 0) connect_ = started;
  return started;
}

// What a Connect of an admin queue was answered with.
void World::Learn() {
  if (connect_ == nullptr || !connect_->ended()) return;
  if (connect_->result.status == 0) {
    cntlids_.push_back(static_cast<uint16_t>(connect_->result.dw0));
  }
  connect_ = nullptr;
}

void World::Property(FuzzHost& host, uint32_t offset, uint64_t value, bool set, uint8_t attrib) {
  nvme::PropertyCommand command{};
  command.opcode = nvme::admin::kFabrics;
  command.flags = nvme::kPsdtSgl;
  command.fctype = set ? nvme::fctype::kPropertySet : nvme::fctype::kPropertyGet;
  command.cid = host.next_cid++;
  command.attrib = attrib;
  command.ofst = offset;
  command.value = value;
  nvme::SubmissionEntry entry;
  std::memcpy(static_cast<void*>(&entry), &command, sizeof(entry));
  Submit(host, entry, {}, true, 0);
}

void World::Admin(FuzzHost& host) {
  nvme::SubmissionEntry entry;
  entry.opc = static_cast<uint8_t>(input_.Pick(
      {nvme::admin::kIdentify, nvme::admin::kGetLogPage, nvme::admin::kGetFeatures,
       nvme::admin::kSetFeatures, nvme::admin::kAsyncEventRequest, nvme::admin::kKeepAlive},
      1));
  entry.cid = host.next_cid++;
  entry.nsid = static_cast<uint32_t>(input_.Pick({0, 1, 2, 3, 4, 0xffffffff}, 4));
  const auto subject = static_cast<uint8_t>(input_.Byte());  // CNS, LID, FID
  const auto modifier = static_cast<uint8_t>(input_.Byte());
  entry.cdw11 = static_cast<uint32_t>(input_.Pick({0, 0x00030003, 1, 2, 0xffffffff}, 4));
  uint32_t bytes = 4096, bytes_max = 4096;
  switch (entry.opc) {
    case nvme::admin::kGetLogPage: {
      const auto dwords = static_cast<uint32_t>(input_.Pick({127, 1023, 0, 3, 4095}, 4));
      bytes = (dwords + 1) * 4;
      bytes_max = (dwords == UINT32_MAX || bytes < 4) ? UINT32_MAX : bytes;
      entry.cdw10 = dwords << 16 | uint32_t{modifier} << 8 | subject;
      entry.cdw11 = dwords >> 16;
      entry.cdw12 = static_cast<uint32_t>(input_.Pick({0, 4, 64, 512, 1024}, 4));
      entry.cdw13 = static_cast<uint32_t>(input_.Pick({0, 0, 0, 0, 1}, 4));
      entry.cdw14 = static_cast<uint32_t>(input_.Pick({0, 1u << 23}, 4));
      break;
    }
    case nvme::admin::kGetFeatures:
    case nvme::admin::kSetFeatures:
      entry.cdw10 = uint32_t{modifier} << 8 | subject;
      if ((modifier & 0x80) != 0) entry.cdw10 = uint32_t{subject} | 1u << 31;
      bytes = static_cast<uint32_t>(input_.Pick({0, 512, 8, 4096}, 2));
      break;
    default:
      entry.cdw10 = uint32_t{modifier} << 16 | subject;
      entry.cdw14 = input_.Byte();
      break;
  }
  const uint8_t how = input_.Byte();
  Describe(entry, bytes);
  std::string data(std::min<uint32_t>(bytes, 4096), static_cast<char>(how & 3));
  Submit(host, entry, std::move(data), (how & 0x80) == 0, bytes_max);
}

void World::Io(FuzzHost& host) {
  nvme::SubmissionEntry entry;
  entry.opc = static_cast<uint8_t>(input_.Pick(
      {nvme::io::kRead, nvme::io::kWrite, nvme::io::kCompare, nvme::io::kFlush,
       nvme::io::kWriteZeroes, nvme::io::kDatasetManagement, nvme::io::kVerify, nvme::io::kCopy},
      1));
  entry.cid = host.next_cid++;
  entry.nsid = static_cast<uint32_t>(input_.Pick({1, 3, 2, 4, 0xffffffff, 0}, 4));
  entry.flags = static_cast<uint8_t>(input_.Pick({0, 0, 0, 0, 1, 2}, 1) & 3);
  const uint64_t lba = input_.Pick({0, 1, 60, 63, 64}, 8);
  const auto blocks = static_cast<uint32_t>(input_.Pick({1, 8, 16, 17, 64, 300}, 2));
  const auto hints = static_cast<uint16_t>(input_.Pick({0, 0x4000, 0x3c00, 0x2000, 0x1c00}, 2));
  entry.cdw10 = static_cast<uint32_t>(lba);
  entry.cdw11 = static_cast<uint32_t>(lba >> 32);
  entry.cdw12 = uint32_t{hints} << 16 | ((blocks - 1) & 0xffff);
  uint32_t bytes = blocks * (entry.nsid == 3 ? 520 : 512);
  std::string data;
  if (entry.opc == nvme::io::kDatasetManagement || entry.opc == nvme::io::kCopy) {
    const bool copy = entry.opc == nvme::io::kCopy;
    const auto ranges = 1 + input_.Byte() % 4u;
    const size_t range_bytes = copy ? 32 : 16;
    data.resize(ranges * range_bytes);
    for (unsigned i = 0; i < ranges; ++i) {
      const Le64 start = input_.Pick({0, 8, 62, 64}, 8);
      const auto length = static_cast<uint32_t>(input_.Pick({1, 8, 0, 64}, 4));
      const Le32 dsm_length = length;
      const Le16 copy_length = static_cast<uint16_t>(length);
      std::memcpy(&data[i * range_bytes + 8], &start, 8);
      if (copy) std::memcpy(&data[i * range_bytes + 16], &copy_length, 2);
      if (!copy) std::memcpy(&data[i * range_bytes + 4], &dsm_length, 4);
    }
    const uint32_t format = static_cast<uint32_t>(input_.Byte()) & 0x1f;
    bytes = static_cast<uint32_t>(data.size());
    if (copy) entry.cdw12 = uint32_t{hints} << 16 | (format >> 4) << 8 | (ranges - 1);
    if (!copy) entry.cdw10 = ranges - 1;
    if (!copy) entry.cdw11 = uint32_t{4};  // AD
  } else if ((entry.opc & 1) != 0 && bytes <= kDataBytesMax) {
    data.assign(bytes, static_cast<char>(input_.Byte()));
  }
  const uint8_t how = input_.Byte();
  Describe(entry, bytes);
  Submit(host, entry, std::move(data), (how & 1) == 0);
}

// Any 64 bytes, but for what a transport would not pass on.
void World::Raw(FuzzHost& host) {
  nvme::SubmissionEntry entry;
  std::array<uint8_t, sizeof(entry)> bytes;
  for (uint8_t& byte : bytes) byte = input_.Byte();
  std::memcpy(static_cast<void*>(&entry), bytes.data(), sizeof(entry));
  const uint8_t how = input_.Byte();
  if ((how & 1) != 0) entry.cid = host.next_cid++;
  if ((how & 2) != 0) entry.nsid = static_cast<uint32_t>(entry.nsid % 6);
  if ((how & 4) != 0) Describe(entry, static_cast<uint32_t>(input_.Le(2)));
  Submit(host, entry, std::string(how & 0x30, '\1'), (how & 0x80) == 0);
}

// A controller that is enabled, and one of its I/O queues.
void World::Join() {
  const uint8_t how = input_.Byte();
  const auto turns = [this](const FuzzCommand* command) {
    for (int i = 0; i < 50 && command != nullptr && !command->ended(); ++i) Turn();
    Learn();
  };
  FuzzHost* const admin = Open(1 + (how & 1u), (how & 2) != 0);
  if (admin == nullptr) return;
  FuzzCommand* const connect = Connect(*admin, 0, nvme::kDynamicCntlid, /*exact=*/true);
  turns(connect);
  Property(*admin, 0x14, 0x00460001, true, 0);
  for (int i = 0; i < 4; ++i) Turn();
  if ((how & 1) != 0) return;
  nvme::SubmissionEntry entry;
  entry.opc = nvme::admin::kSetFeatures;
  entry.cid = admin->next_cid++;
  entry.cdw10 = uint32_t{7};
  entry.cdw11 = uint32_t{0x00030003};
  Submit(*admin, entry, {}, true);
  for (int i = 0; i < 8; ++i) Turn();
  FuzzHost* const io = Open(1, (how & 4) != 0);
  if (io == nullptr) return;
  turns(Connect(*io, 1, KnownCntlid(), /*exact=*/true));
}

// --- Administrators, and disks.

void World::Configure() {
  const uint8_t what = input_.Byte();
  const uint8_t of = input_.Byte();
  const std::string disk = kDisks[of % std::size(kDisks)];
  const uint32_t nsid = 1 + of % 5u;
  const std::string hostnqn = kHostnqns[(of >> 4) % 2];
  switch (what % 13) {
    case 0:
      return Change(target_->RemoveNamespace(kNqn, nsid));
    case 1:
    case 2:
      return Change(Add(disk));
    case 3: {
      const uint64_t blocks = input_.Pick({32, 64, 256, 1}, 2);
      return Change(Resize("odd", blocks));
    }
    case 4: {
      constexpr nvme::AnaState kStates[] = {
          nvme::AnaState::kOptimized, nvme::AnaState::kNonOptimized, nvme::AnaState::kInaccessible,
          nvme::AnaState::kPersistentLoss, nvme::AnaState::kChange};
      const nvme::AnaState state = kStates[input_.Byte() % std::size(kStates)];
      return Change(target_->SetAnaState(kNqn, Address(0), state, of % 10u));
    }
    case 5:
      return Change(target_->SetAnaGroup(kNqn, nsid, input_.Byte() % 10u));
    case 6:
      return Change(devices_.Unregister(disk));
    case 7:
      return Change(Register(disk));
    case 8:
      return Change(target_->AddNamespaceHost(kNqn, nsid, hostnqn));
    case 9:
      return Change(target_->RemoveHost(kNqn, hostnqn, input_.Byte()));
    case 10:
      return Change(target_->AllowAnyHost(kNqn, (of & 1) != 0));
    case 11:
      if ((of & 1) != 0) {
        return Change(target_->RemoveListener((of & 2) != 0 ? nvme::kDiscoveryNqn : kNqn,
                                              Address((of >> 1) & 1)));
      }
      return Change(target_->AddListener(kNqn, Address((of >> 1) & 1), nvme::AnaState::kOptimized,
                                         /*secure_channel=*/false, /*retry=*/false));
    case 12:
      if (of == 0x55) return Change(target_->DeleteSubsystem(kNqn));
      if ((of & 1) != 0) return Change(target_->Controllers(kNqn));
      return Change(target_->Queues(kNqn));
  }
}

// Some of what the disk holds back.
void World::LetGo(size_t most) {
  for (auto& reactor : *reactors_) {
    On(*reactor, [&] {
      std::vector<IoRequest*>& held = mood_.held[reactor->index()];
      for (size_t left = most; left > 0 && !held.empty(); --left) {
        IoRequest& request = *held.front();
        held.erase(held.begin());
        OddDisk::Release(request);
      }
    });
  }
}

// --- The steps.

void World::Step() {
  const uint8_t kind = input_.Byte();
  switch (static_cast<Kind>(kind % 0x80 % kKinds)) {
    case kOpen: {
      const uint8_t how = input_.Byte();
      Open(1 + how % 4u, (how & 0x10) != 0);
      break;
    }
    case kConnect:
      if (FuzzHost* const host = Chosen()) {
        const auto qid = static_cast<uint16_t>(input_.Pick({0, 1, 2, 128}, 2));
        const auto cntlid = static_cast<uint16_t>(
            input_.Pick({qid == 0 ? nvme::kDynamicCntlid : KnownCntlid(), KnownCntlid(), 1}, 2));
        Connect(*host, qid, cntlid, /*exact=*/false);
      }
      break;
    case kProperty:
      if (FuzzHost* const host = Chosen()) {
        const auto offset = static_cast<uint32_t>(input_.Pick({0x14, 0x1c, 0x00, 0x08, 0x20}, 4));
        const uint64_t value =
            input_.Pick({0x00460001, 0, 0x00464001, 0x00468001, 0x4e564d65, 0x00460011}, 8);
        const uint8_t how = input_.Byte();
        Property(*host, offset, value, (how & 1) != 0, how >> 1 & 7);
      }
      break;
    case kAdmin:
      if (FuzzHost* const host = Chosen()) Admin(*host);
      break;
    case kIo:
      if (FuzzHost* const host = Chosen()) Io(*host);
      break;
    case kRaw:
      if (FuzzHost* const host = Chosen()) Raw(*host);
      break;
    case kArrive:
    case kDrop:
      if (FuzzHost* const host = Chosen()) {
        FuzzCommand* const command = Chosen(*host, &FuzzCommand::wants);
        const bool whole = kind % 0x80 % kKinds == kArrive;
        if (command == nullptr) break;
        On(host->reactor(), [&] {
          // The host, or the network, may be quicker than we.
          if (!command->wants()) return;
          if (whole) command->Arrive();
          if (!whole) command->Drop(nvme::status::kTransientTransportError);
        });
      }
      break;
    case kSent:
      if (FuzzHost* const host = Chosen()) {
        FuzzCommand* const command = Chosen(*host, &FuzzCommand::sends);
        if (command == nullptr) break;
        On(host->reactor(), [&] {
          if (command->sends()) command->Sent();
        });
      }
      break;
    case kAbort:
      if (FuzzHost* const host = Chosen()) {
        nvme::SubmissionEntry entry;
        entry.opc = nvme::admin::kAbort;
        entry.cid = host->next_cid++;
        const uint8_t back = input_.Byte();
        const uint64_t sqid = input_.Pick({0, 1, 2}, 2);
        FuzzHost* const of = Chosen();
        const auto cid = static_cast<uint16_t>(of->next_cid - 1 - back % 16);
        entry.cdw10 = static_cast<uint32_t>(uint32_t{cid} << 16 | sqid);
        Submit(*host, entry, {}, true, 0);
      }
      break;
    case kTurns:
      for (int i = input_.Byte() % 32; i > 0; --i) Turn();
      break;
    case kClock:
      clock_.Advance(input_.Pick({1, 100, 1000, 6000, 130000}, 2) * kNsPerMs);
      break;
    case kConfigure:
      Configure();
      break;
    case kDisk: {
      const uint8_t mood = input_.Byte();
      mood_.holds = (mood & 1) != 0;
      mood_.aborts = (mood & 2) == 0;
      mood_.lends = (mood & 4) != 0;
      mood_.fails = (mood & 8) == 0 ? IoStatus::kSuccess
                                    : static_cast<IoStatus>((mood >> 4) % kIoStatusCount);
      LetGo(input_.Byte() % 8);
      break;
    }
    case kClose:
      if (FuzzHost* const host = Chosen()) {
        On(host->reactor(), [host] { host->Close(); });
      }
      break;
    case kJoin:
      Join();
      break;
    case kKinds:
      break;
  }
  if ((kind & 0x80) == 0) Turn();
  Learn();
}

// --- The end.

// Hosts and disks do what they should from here on: then every command ends, but for those that
// wait for an event or for their other half.
void World::Settle() {
  mood_.holds = false;
  mood_.fails = IoStatus::kSuccess;
  settling_ = true;
  LetGo(SIZE_MAX);
  const auto waits = [this] {
    for (const FuzzHost& host : hosts_) {
      for (const FuzzCommand& command : host.commands) {
        if (!command.ended() && !command.patient) return true;
      }
    }
    return false;
  };
  for (int i = 0; waits(); ++i) {
    CHECK(i < kTurnsMax, "a command does not end");
    Turn();
  }
}

void World::TearDown() {
  for (FuzzHost& host : hosts_) {
    if (!host.ended) On(host.reactor(), [&host] { host.Close(); });
  }
  const auto gone = [this] {
    return std::all_of(hosts_.begin(), hosts_.end(),
                       [](const FuzzHost& host) { return host.ended; });
  };
  Until(gone, "a queue does not end");
  CHECK(mood_.held[0].empty() && mood_.held[1].empty(), "I/O is left");
  mood_.holds = false;
  Until([this] { return changes_.empty(); }, "a change of the configuration does not end");
  Do(target_->Stop(0));
  target_.reset();
  for (BlockDevice* device : devices_.devices())
    CHECK(Do(devices_.Unregister(device->name())).ok());
  for (auto& reactor : *reactors_) CHECK(reactor->timer_count() == 0, "a timer is left");
}

// Sessions that join, and then do each kind of thing, so that the fuzzer need not find out how.
void WriteSeeds(const std::string& folder) {
  int number = 0;
  using Bytes = std::vector<uint8_t>;
  const auto write = [&](std::initializer_list<Bytes> steps) {
    std::ofstream file(folder + "/seed-" + std::to_string(number++), std::ios::binary);
    for (const Bytes& step : steps) {
      file.write(reinterpret_cast<const char*>(step.data()),
                 static_cast<std::streamsize>(step.size()));
    }
  };
  const Bytes join = {kJoin, 0}, discover = {kJoin, 1}, turns = {kTurns, 20};
  constexpr uint8_t kAdminHost = 0, kIoHost = 1, kStays = 1;
  // Step by step: open, Connect, enable, read CSTS.
  write({{kOpen, 0},
         {kConnect, 0, 0, 0, 0, 0, 2, 0, 0, 0},
         turns,
         {kProperty, 0, 0, 0, 1},
         {kProperty, 0, 1, 0, 0},
         {kProperty, 0, 2, 1, 3},
         turns,
         {kOpen, 0},
         {kConnect, 1, 1, 0, 0, 0, 0, 0, 0, 0},
         turns});
  // Connect whose data comes later, or is damaged, or for a controller that is not there.
  write({{kOpen, 0}, {kConnect, 0, 0, 0, 0, 0, 0, 0, 4, 0}, {kArrive, 0, 0}, turns});
  write({{kOpen, 0}, {kConnect, 0, 0, 0, 0, 0, 0, 0, 4, 0}, {kDrop, 0, 0}, turns});
  write({{kOpen, 0}, {kConnect, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 'x', 0}, turns});
  write({{kOpen, 0}, {kConnect, 0, 1, 2, 0, 0, 0, 0, 0, 0}, turns, {kClose, 0}});
  // Reset and shutdown with I/O in flight.
  for (const uint8_t value : std::initializer_list<uint8_t>{1, 2, 3, 4}) {
    write(
        {join, {kIo, kIoHost, 1, 0, 0, 0, 1, 0, 9, kStays, 0}, {kProperty, 0, 0, value, 1}, turns});
  }
  for (const uint8_t cns : std::initializer_list<uint8_t>{0x00, 0x01, 0x02, 0x03, 0x05, 0x06, 0x07,
                                                          0x08, 0x12, 0x13, 0x1c}) {
    write({join, {kAdmin, kAdminHost, 0, 1, cns, 0, 0, 0, 0, 0}, turns});
  }
  for (const uint8_t lid :
       std::initializer_list<uint8_t>{0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x0c, 0x12}) {
    write({join, {kAdmin, kAdminHost, 1, 5, lid, 0, 0, 1, 0, 0, 0, 0, 0}, turns});
  }
  // Less is expected than there is.
  for (const uint8_t lid : std::initializer_list<uint8_t>{0x01, 0x02, 0x05, 0x0c}) {
    write({join, {kAdmin, kAdminHost, 1, 5, lid, 0, 0, 1, 0, 0, 0, 0, 3, 100, 0, 0, 0}, turns});
  }
  write({join, {kAdmin, kAdminHost, 0, 1, 0x01, 0, 0, 0, 0, 3, 100, 0, 0, 0}, turns});
  // The host goes while the disk has its I/O.
  write({join, {kDisk, 1, 0}, {kIo, kIoHost, 0, 1, 0, 0, 1, 0, 0, 0}, turns});
  write({discover, {kAdmin, 0, 1, 0, 0x70, 0, 0, 1, 0, 0, 0, 0, 0}, turns, {kClock, 4}, turns});
  for (const uint8_t fid : std::initializer_list<uint8_t>{0x01, 0x04, 0x05, 0x07, 0x08, 0x0a, 0x0b,
                                                          0x0f, 0x16, 0x80, 0x84}) {
    write({join, {kAdmin, kAdminHost, 2, 1, fid, 0, 0, 1, 0, 0}, turns});
    write({join, {kAdmin, kAdminHost, 3, 1, fid, 0, 0, 1, 1, 0}, turns});
  }
  // Events.
  for (uint8_t change = 0; change < 13; ++change) {
    for (uint8_t of = 0; of < 3; ++of) {
      write({join,
             {kAdmin, kAdminHost, 4, 0, 0, 0, 0, 0, 0, 0},
             {kIo, kIoHost, 0, 1, 0, 0, 1, 0, 0, 0},
             {kConfigure, change, of, 2, 0},
             turns,
             {kConfigure, static_cast<uint8_t>(change + 1), of, 0},
             turns});
    }
  }
  // I/O of each kind to each namespace: data that comes and goes by itself, or by steps, or not.
  for (uint8_t nsid = 0; nsid < 4; ++nsid) {
    for (const uint8_t opcode : std::initializer_list<uint8_t>{0, 1, 2, 3, 4, 6}) {
      const bool has_data = opcode == 1;
      for (uint8_t stays = 0; stays < 2; ++stays) {
        Bytes io = {kIo, kIoHost, opcode, nsid, 0, 0, 1, 0};
        if (has_data || opcode == 2) io.push_back(5);
        io.insert(io.end(), {stays, 0});
        write({join, io, {kArrive, 1, 0}, turns, {kSent, 1, 0}, turns});
        write({join, io, {kDrop, 1, 0}, {kAbort, 0, 1, 1, 1}, turns});
        write({join, {kDisk, 1, 0}, io, {kAbort, 0, 1, 1, 1}, turns, {kDisk, 0, 7}, turns});
        write({join, {kDisk, 5, 0}, io, {kConfigure, 0, nsid}, {kClock, 4}, turns});
        write({join, io, {kClose, 1}, turns});
      }
    }
    write({join, {kIo, kIoHost, 5, nsid, 0, 0, 1, 0, 1, 0, 1, 1, 1, 0, 0, 0}, turns});
    write({join, {kIo, kIoHost, 7 | 8, 0x19, nsid, 0, 0, 1, 0, 1, 0, 1, 1, 1, 0, 0, 0}, turns});
    // A fused pair.
    write({join,
           {kIo, kIoHost, 2, nsid, 4, 0, 0, 0, 5, 0, 0},
           {kIo, kIoHost, 1, nsid, 5, 0, 0, 0, 6, 0, 0},
           turns});
  }
  Bytes raw = {kRaw, kIoHost};
  raw.insert(raw.end(), 64, uint8_t{2});
  raw.insert(raw.end(), {7, 0, 2, 0});
  write({join, raw, turns, {kClock, 4}, turns, {kClose, 0}});
}

}  // namespace
}  // namespace pollux::nvmf

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  pollux::SetLogLevel(pollux::LogLevel::kError);
  if (const char* folder = std::getenv("POLLUX_FUZZ_SEEDS")) {
    pollux::nvmf::WriteSeeds(folder);
    std::exit(0);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pollux::nvmf::World({data, size}).Run();
  return 0;
}
