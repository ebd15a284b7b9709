// libFuzzer: the driver reads the discovery log page of a service that says whatever it likes. The
// input has the entries of the page, and then, for each Get Log Page command, how it is answered:
// right unless the input wants something else. The service is the peer of the unit tests; one
// controller reads for all inputs. Built with -DPOLLUX_FUZZ=ON by clang.
//
// POLLUX_FUZZ_SEEDS=FOLDER nvme_discovery_log_fuzz: writes pages to begin with, and ends.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/clock.h"
#include "core/memory/memory.h"
#include "core/net/address.h"
#include "drivers/nvme/controller.h"
#include "drivers/nvme/discovery_log.h"
#include "drivers/nvme/discovery_reading.h"
#include "drivers/nvme/host.h"
#include "tests/unit/drivers/nvme/tcp_peer.h"

namespace pollux::nvme {
namespace {

constexpr size_t kMemoryBytes = 8 << 20;
constexpr int kTurnsMax = 200'000;
constexpr size_t kToldMax = 64;  // Entries that the page has, whatever its header says.
// The header twice, and the entries, of each attempt.
constexpr int kCommandsMax =
    DiscoveryReading::kAttemptsMax *
    (2 + static_cast<int>(DiscoveryReading::kEntriesMax / DiscoveryReading::kPieceEntriesMax));

// How a command is answered.
enum Answer : uint8_t {
  kRight,
  kOtherGeneration,  // From now on.
  kOtherCount,       // From now on: two bytes, or eight.
  kOtherFormat,
  kChangedByte,  // Of what is told this time.
  kRawBytes,
  kRefused,
  kShorterPage,  // From now on: entries are taken away.
  kAnswers,
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
  std::string Take(size_t bytes) {
    bytes = std::min(bytes, left_);
    std::string taken(reinterpret_cast<const char*>(data_), bytes);
    data_ += bytes;
    left_ -= bytes;
    return taken;
  }

 private:
  const uint8_t* data_;
  size_t left_;
};

// Texts that are nearly right are hard to guess.
constexpr const char* kTexts[] = {"",
                                  "4420",
                                  "65535",
                                  "65536",
                                  "0",
                                  "192.0.2.1",
                                  "0.0.0.0",
                                  "::",
                                  "2001:db8::1",
                                  "fe80::1%lo",
                                  "192.0.2.256",
                                  "nqn.2024-01.io.example:disk",
                                  "nqn.2014-08.org.nvmexpress.discovery",
                                  "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-0000-0000-000000",
                                  "nqn.2024-1.io"};

// One of those, or any; with the padding that is right, or another, or none.
template <size_t N>
void SetText(char (&field)[N], Input& input, char padding) {
  const uint8_t how = input.Byte();
  std::string text = how < std::size(kTexts) ? kTexts[how] : input.Take(how);
  if ((how & 0x40) != 0) text.resize(N, text.empty() ? 'x' : text.back());
  memset(field, (how & 0x80) != 0 ? input.Byte() : padding, N);
  memcpy(field, text.data(), std::min(text.size(), N));
}

DiscoveryLogEntry MakeEntry(Input& input) {
  DiscoveryLogEntry entry{};
  const uint8_t how = input.Byte();
  entry.trtype = (how & 1) != 0 ? input.Byte() : kTrtypeTcp;
  entry.adrfam = (how & 2) != 0 ? input.Byte() : kAdrfamIpv4;
  entry.subtype = (how & 4) != 0 ? input.Byte() : kSubtypeNvm;
  entry.treq = input.Byte();
  if ((how & 8) != 0) {
    entry.portid = static_cast<uint16_t>(input.Le(2));
    entry.cntlid = static_cast<uint16_t>(input.Le(2));
    entry.asqsz = static_cast<uint16_t>(input.Le(2));
    entry.eflags = static_cast<uint16_t>(input.Le(2));
    entry.tsas[0] = input.Byte();
  }
  SetText(entry.trsvcid, input, ' ');
  SetText(entry.traddr, input, ' ');
  SetText(entry.subnqn, input, '\0');
  return entry;
}

template <size_t N>
bool Ends(const char (&text)[N]) {
  return memchr(text, 0, N) != nullptr;
}

class World final : private DiscoveryReader {
 public:
  World() {
    auto mapped = SharedPages::Map("discovery-fuzz", kMemoryBytes, false, registry_);
    CHECK(mapped.ok());
    pages_ = *std::move(mapped);
    NvmeHost::Parts parts;
    parts.registry = &registry_;
    parts.memory = pages_->address();
    parts.memory_bytes = pages_->bytes();
    parts.clock = &clock_;
    parts.log = [](int /*priority*/, const std::string& /*text*/) {};
    host_ = std::make_unique<pollux_nvme_host>(std::move(parts));
    peer_.options().controller_type = 2;
    peer_.on_command = [this](TcpPeer::Connection& connection, const SubmissionEntry& sqe) {
      if (sqe.opc != admin::kGetLogPage) return false;
      OnGetLogPage(connection, sqe);
      return true;
    };
    pollux_nvme_transport_id id{};
    const std::string place =
        absl::StrFormat("trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:%u subnqn:%s",
                        peer_.port(), kDiscoveryNqn);
    CHECK(pollux_nvme_transport_id_parse(place.c_str(), &id) == 0);
    const pollux_nvme_attach_options options{};
    CHECK(pollux_nvme_attach_begin(host_.get(), &id, &options, &controller_) == 0);
    for (int i = 0; i < kTurnsMax && !ready(); ++i) Turn();
    CHECK(ready());
  }

  void Run(Input input) {
    input_ = &input;
    header_ = DiscoveryLogHeader{};
    entries_.clear();
    const size_t count = input.Byte() % kToldMax;
    for (size_t i = 0; i < count && !input.empty(); ++i) entries_.push_back(MakeEntry(input));
    header_.genctr = 1;
    header_.numrec = entries_.size();
    honest_ = true;
    commands_ = calls_ = 0;
    CHECK(DiscoveryReader::Read(controller_) == 0);
    for (int i = 0; i < kTurnsMax && calls_ == 0; ++i) Turn();
    CHECK(calls_ == 1, "a reading did not end");
    CHECK(ready(), "what a log page says is no reason to lose its controller");
    input_ = nullptr;
  }

 private:
  bool ready() const { return pollux_nvme_state(controller_) == POLLUX_NVME_STATE_READY; }
  void Turn() {
    pollux_nvme_controller_poll(controller_);
    peer_.Step();
  }

  void OnGetLogPage(TcpPeer::Connection& connection, const SubmissionEntry& sqe) {
    CHECK(++commands_ <= kCommandsMax, "a reading takes more commands than it may");
    const size_t bytes = ((sqe.cdw10 >> 16 | (sqe.cdw11 & 0xffff) << 16) + 1) * size_t{4};
    const uint64_t offset = sqe.cdw12 | uint64_t{sqe.cdw13} << 32;
    const uint8_t answer = input_->Byte() % kAnswers;
    if (answer != kRight) honest_ = false;
    switch (answer) {
      case kOtherGeneration:
        header_.genctr = input_->Le(1);
        break;
      case kOtherCount:
        header_.numrec = input_->Le((input_->Byte() & 1) != 0 ? 8 : 2);
        break;
      case kOtherFormat:
        header_.recfmt = static_cast<uint16_t>(input_->Le(2));
        break;
      case kShorterPage:
        entries_.resize(entries_.size() / 2);
        header_.numrec = entries_.size();
        break;
      case kRefused:
        return connection.Respond(sqe.cid, static_cast<uint16_t>(input_->Le(2) & 0x7fff));
      default:
        break;
    }
    std::vector<std::byte> told(bytes);
    const auto tell = [&](size_t at, const void* part, size_t part_bytes) {
      if (at >= offset + bytes || at + part_bytes <= offset) return;
      const size_t skip = at < offset ? offset - at : 0;
      const size_t into = at + skip - offset;
      memcpy(&told[into], static_cast<const std::byte*>(part) + skip,
             std::min(part_bytes - skip, bytes - into));
    };
    tell(0, &header_, sizeof(header_));
    for (size_t i = 0; i < entries_.size(); ++i) {
      tell((i + 1) * sizeof(DiscoveryLogEntry), &entries_[i], sizeof(DiscoveryLogEntry));
    }
    if (answer == kChangedByte) {
      told[input_->Le(2) % bytes] ^= static_cast<std::byte>(input_->Byte());
    } else if (answer == kRawBytes) {
      const std::string raw = input_->Take(input_->Byte());
      memcpy(told.data(), raw.data(), std::min(raw.size(), bytes));
    }
    connection.Deliver(sqe.cid, told.data(), static_cast<uint32_t>(bytes));
  }

  void OnDiscoveryLog(int error, const pollux_nvme_discovery_log* log) override {
    ++calls_;
    CHECK((error == 0) == (log != nullptr));
    CHECK(!honest_ || error == 0, "a page that is as it should be was refused");
    if (error != 0) return;
    CHECK(log->count <= DiscoveryReading::kEntriesMax);
    CHECK(!honest_ || log->count == entries_.size());
    for (uint32_t i = 0; i < log->count; ++i) Judge(log->entries[i]);
    for (uint32_t i = 0; honest_ && i < log->count; ++i) {
      const pollux_nvme_discovery_entry expected = DecodeDiscoveryEntry(entries_[i]);
      CHECK(memcmp(&expected, &log->entries[i], sizeof(expected)) == 0);
    }
  }

  // Whoever attaches to an entry need not look at it again.
  void Judge(const pollux_nvme_discovery_entry& entry) {
    CHECK(Ends(entry.trsvcid) && Ends(entry.traddr) && Ends(entry.subnqn));
    CHECK((entry.id.trtype == 0) == (entry.unusable != nullptr));
    if (entry.unusable != nullptr) return;
    CHECK(Ends(entry.id.traddr) && Ends(entry.id.trsvcid) && Ends(entry.id.subnqn));
    const Result<SocketAddress> address = SocketAddress::Parse(
        entry.id.traddr, static_cast<uint16_t>(strtoul(entry.id.trsvcid, nullptr, 10)));
    CHECK(address.ok() && !address->IsAny());
  }

  RegionRegistry registry_;
  std::unique_ptr<SharedPages> pages_;
  ManualClock clock_;  // It stands still.
  TcpPeer peer_;
  std::unique_ptr<pollux_nvme_host> host_;
  pollux_nvme_controller* controller_ = nullptr;

  Input* input_ = nullptr;
  DiscoveryLogHeader header_{};
  std::vector<DiscoveryLogEntry> entries_;
  bool honest_ = true;  // Every answer so far was right.
  int commands_ = 0, calls_ = 0;
};

// Pages of several lengths, one for each text in each place, and one for each answer at each step.
void WriteSeeds(const std::string& folder) {
  int number = 0;
  const auto write = [&](const std::vector<uint8_t>& bytes) {
    std::ofstream file(folder + "/seed-" + std::to_string(number++), std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  };
  const std::vector<uint8_t> entry = {0, 0, 1, 5, 11};
  for (const int count : {0, 1, 2, 16, 17, 40}) {
    std::vector<uint8_t> page = {static_cast<uint8_t>(count)};
    for (int i = 0; i < count; ++i) page.insert(page.end(), entry.begin(), entry.end());
    write(page);
    for (uint8_t answer = kRight + 1; answer < kAnswers; ++answer) {
      for (size_t step = 0; step < 3; ++step) {
        std::vector<uint8_t> answered = page;
        answered.insert(answered.end(), step, kRight);
        answered.insert(answered.end(), {answer, 2, 0, 0});
        write(answered);
      }
    }
  }
  for (size_t place = 2; place < entry.size(); ++place) {
    for (uint8_t text = 0; text < std::size(kTexts); ++text) {
      std::vector<uint8_t> page = {1};
      page.insert(page.end(), entry.begin(), entry.end());
      page[1 + place] = text;
      write(page);
    }
  }
  write({1, 6, kAdrfamIpv6, kSubtypeReferral, 0, 1, 8, 12});
  write({1, 15, 3, 1, 2, 0, 1, 0, 2, 0, 3, 0, 4, 0, 1, 1, 5, 11});
}

}  // namespace
}  // namespace pollux::nvme

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  if (const char* folder = std::getenv("POLLUX_FUZZ_SEEDS")) {
    pollux::nvme::WriteSeeds(folder);
    std::exit(0);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static auto* const world = new pollux::nvme::World;
  world->Run({data, size});
  return 0;
}
