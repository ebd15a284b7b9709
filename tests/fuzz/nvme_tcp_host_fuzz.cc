// libFuzzer: a queue of the driver over NVMe/TCP, with its PDU reader, against any target. The
// input is a list of steps of both: commands that the host is given, and what the target says,
// which is right unless the input wants something else. Built with -DPOLLUX_FUZZ=ON by clang.
//
// POLLUX_FUZZ_SEEDS=FOLDER nvme_tcp_host_fuzz: writes sessions to begin with, and ends.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "core/accel/crc32c.h"
#include "core/check.h"
#include "core/memory/region_registry.h"
#include "drivers/nvme/queue_pair.h"
#include "drivers/nvme/tcp_queue.h"
#include "drivers/pci/dma_map.h"

// Where the driver would connect to a target: the other end is here.
namespace {
pollux::UniqueFd* peer_end = nullptr;
}
extern "C" int __wrap_socket(int, int, int) {
  int ends[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
  peer_end->Reset(ends[1]);
  return ends[0];
}
extern "C" int __wrap_connect(int, const sockaddr*, socklen_t) { return 0; }

namespace pollux::nvme {
namespace {

using nvme_tcp::CapsuleCmd;
using nvme_tcp::CapsuleResp;
using nvme_tcp::CommonHeader;
using nvme_tcp::DataPdu;
using nvme_tcp::PduType;

constexpr uint16_t kDepth = 8;
constexpr uint32_t kListBytes = 256;  // 16 descriptors.
constexpr uint32_t kDataBytesMax = 40 * 1024;
constexpr uint32_t kGuardBytes = 64;
constexpr size_t kPlaceBytes = 64 * 1024;
constexpr size_t kPlaces = kDepth;
constexpr size_t kMemoryBytes = kPlaces * kPlaceBytes;
constexpr std::byte kGuard{0xee}, kUnread{0xff};
constexpr int kStepsMax = 400, kTurnsMax = 1000;
constexpr uint16_t kEndedByTest = 0x0707;

// Steps of the input.
enum Act : uint8_t {
  kRead,
  kWrite,
  kOther,
  kData,
  kDataAgain,  // So that data is as frequent as what asks for it.
  kRespond,
  kAskForData,
  kTerminate,
  kRaw,
  kTurn,
  kDeaf,
  kHangUp,
  kActs,
};

// Takes the input apart; zeros where it has ended.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), left_(size) {}
  bool empty() const { return left_ == 0; }
  uint8_t Byte() { return left_ == 0 ? uint8_t{0} : (--left_, *data_++); }
  uint16_t Two() {
    const uint8_t low = Byte();
    return static_cast<uint16_t>(low | Byte() << 8);
  }
  std::vector<std::byte> Take(size_t bytes) {
    bytes = std::min(bytes, left_);
    const auto* at = reinterpret_cast<const std::byte*>(data_);
    data_ += bytes;
    left_ -= bytes;
    return {at, at + bytes};
  }

 private:
  const uint8_t* data_;
  size_t left_;
};

// What a command's data is from an offset on: as many bytes as anyone wants, and never kUnread.
const std::byte* Pattern(uint64_t lba, uint32_t at) {
  constexpr size_t kPeriod = 128;
  static const auto kTable = [] {
    std::vector<std::byte> table(2 * kPlaceBytes);
    for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<std::byte>(i % kPeriod);
    return table;
  }();
  return &kTable[(lba * 7 + at) % kPeriod];
}

class Identity final : public pci::DmaMapper {
 public:
  Result<Mapping> Map(const Region& region) override {
    Mapping mapping;
    mapping.page_iova = {reinterpret_cast<uint64_t>(region.address)};
    return mapping;
  }
  void Unmap(const Region&, const Mapping&) override {}
};

// The memory of all runs.
struct Ground {
  Ground() : bytes(static_cast<std::byte*>(std::aligned_alloc(4096, kMemoryBytes))) {
    CHECK(registry.Add({.address = bytes, .bytes = kMemoryBytes, .name = "fuzz"}).ok());
    map = *pci::DmaMap::Start(registry, identity);
  }
  std::byte* const bytes;
  Identity identity;
  RegionRegistry registry;
  std::unique_ptr<pci::DmaMap> map;
};

class Session {
 public:
  Session(Ground& memory, Input input) : memory_(memory), input_(input) { peer_end = &peer_; }

  void Run() {
    const uint8_t agreement = input_.Byte();
    header_digest_ = (agreement & 1) != 0;
    data_digest_ = (agreement & 2) != 0;
    qid_ = (agreement & 4) != 0 ? 0 : 1;
    cpda_ = (agreement & 8) != 0 ? 15 : 0;
    Make((agreement & 16) != 0);
    Join((agreement & 32) != 0);
    if (wire_->Step() == TcpQueue::State::kReady) {
      pair_->Reopen();
      for (int i = 0; i < kStepsMax && !input_.empty(); ++i) Step();
    }
    End();
  }

 private:
  // A command of the host's.
  struct Asked final : Request {
    void OnComplete(Completion ended) override {
      ++calls;
      completion = ended;
      session->OnEnded(*this);
    }
    Session* session = nullptr;
    uint64_t lba = 0;
    uint8_t opc = 0;
    size_t place = 0;
    std::vector<iovec> pieces;
    int calls = 0;
    Completion completion{};
  };
  // What the target knows of one.
  struct Held {
    uint16_t cid;
    uint8_t opc;
    uint64_t lba;
    uint32_t bytes;
    uint32_t given = 0;  // Of a read's data; of a write's, what came.
    uint32_t asked_until = 0;
    uint16_t ttag = 0;
  };

  // --- The host.

  void Make(bool small_capsules) {
    TcpQueue::Parts wire;
    wire.id = qid_;
    wire.depth = kDepth;
    wire.sq = sq_.data();
    wire.cq = cq_.data();
    wire_ = std::make_unique<TcpQueue>(wire);
    wire_->SetInCapsuleBytes(small_capsules ? 0 : 4096);
    QueuePair::Parts parts;
    parts.id = qid_;
    parts.depth = kDepth;
    parts.sq = sq_.data();
    parts.cq = cq_.data();
    parts.lists = lists_.bytes;
    parts.lists_iova = reinterpret_cast<uint64_t>(lists_.bytes);
    parts.list_bytes = kListBytes;
    parts.sgl = true;
    parts.wire = wire_.get();
    parts.dma = memory_.map.get();
    pair_ = std::make_unique<QueuePair>(parts);
  }

  void Join(bool oddly) {
    TcpQueue::Joining joining;
    joining.address = *SocketAddress::Parse("127.0.0.1", 4420);
    joining.header_digest = header_digest_;
    joining.data_digest = data_digest_;
    joining.command = ConnectCommand{};
    joining.command.fctype = fctype::kConnect;
    joining.command.qid = qid_;
    joining.data = ConnectData{};
    CHECK(wire_->Open(joining).ok());
    wire_->Step();
    Listen();
    nvme_tcp::ICResp response{};
    response.ch.type = PduType::kICResp;
    response.cpda = cpda_;
    response.maxh2cdata = 4096;
    response.dgst = static_cast<uint8_t>((header_digest_ ? 1 : 0) | (data_digest_ ? 2 : 0));
    if (oddly) {
      switch (input_.Byte() % 8) {
        case 0:
          response.pfv = input_.Two();
          break;
        case 1:
          response.cpda = input_.Byte();
          break;
        case 2:
          response.maxh2cdata = uint32_t{input_.Two()} << 2;
          break;
        case 3:
          response.dgst = input_.Byte();
          break;
        case 4:
          wild_ = true;
          Say(input_.Take(input_.Byte()));
          break;
        case 5:
          peer_.Reset();
          break;
        default:
          break;
      }
    }
    cpda_ = response.cpda;
    maxh2cdata_ = response.maxh2cdata;
    const bool digests = std::exchange(header_digest_, false);
    SayPdu(&response, sizeof(response), 0, {});
    header_digest_ = digests;
    wire_->Step();
    Listen();
    if (held_.empty()) return;
    const uint8_t how = oddly ? input_.Byte() : uint8_t{0};
    Respond(held_.front(), how < 128 ? 0 : how, how);
    held_.clear();
  }

  void Submit(uint8_t opc, uint8_t shape, uint16_t size) {
    if (asked_.size() > kStepsMax || pair_->room() == 0) return;
    const auto place = std::find(places_.begin(), places_.end(), false);
    if (place == places_.end()) return;
    auto& asked = asked_.emplace_back();
    asked.session = this;
    asked.lba = asked_.size();
    asked.opc = opc;
    asked.place = static_cast<size_t>(place - places_.begin());
    std::byte* at = PlaceOf(asked);
    const bool has_data = (opc & 3) != 0;
    const uint32_t bytes = has_data ? 1 + size % kDataBytesMax : 0;
    const uint32_t count = 1 + (shape & 15);
    uint32_t pattern_at = 0;
    for (uint32_t left = bytes; left > 0;) {
      const uint32_t piece = asked.pieces.size() + 1 == count
                                 ? left
                                 : std::min(left, std::max<uint32_t>(1, bytes / count));
      std::memset(at, static_cast<int>(kGuard), kGuardBytes);
      at += kGuardBytes;
      asked.pieces.push_back({at, piece});
      if ((opc & 3) == 1) {
        std::memcpy(at, Pattern(asked.lba, pattern_at), piece);
      } else {
        std::memset(at, static_cast<int>(kUnread), piece);
      }
      pattern_at += piece;
      left -= piece;
      at += piece;
    }
    std::memset(at, static_cast<int>(kGuard), kGuardBytes);
    SubmissionEntry entry;
    entry.opc = opc;
    entry.nsid = 1;
    entry.cdw10 = static_cast<uint32_t>(asked.lba);
    const QueuePair::Data data{.pieces = asked.pieces.data(),
                               .count = static_cast<uint32_t>(asked.pieces.size())};
    if (pair_->Submit(*asked.c(), entry, data) != 0) {
      asked_.pop_back();
      return;
    }
    *place = true;
    ++in_flight_;
    if ((shape & 16) == 0) pair_->Ring();
  }
  std::byte* PlaceOf(const Asked& asked) const { return memory_.bytes + asked.place * kPlaceBytes; }
  void OnEnded(Asked& asked) {
    CHECK(asked.calls == 1, "a command ended twice");
    --in_flight_;
    places_[asked.place] = false;
    // Nothing but the pieces was written to.
    const std::byte* at = PlaceOf(asked);
    uint32_t offset = 0;
    const bool whole = (asked.opc & 3) == 2 && pollux_nvme_ok(asked.completion) && qid_ != 0;
    for (const iovec& piece : asked.pieces) {
      CHECK(IsGuard(at), "a byte in front of a piece was written to");
      at += kGuardBytes;
      CHECK(!whole || damaged_ || std::memcmp(at, Pattern(asked.lba, offset), piece.iov_len) == 0,
            "a read succeeded with other data");
      at += piece.iov_len;
      offset += static_cast<uint32_t>(piece.iov_len);
    }
    CHECK(IsGuard(at), "a byte behind the data was written to");
  }
  static bool IsGuard(const std::byte* at) {
    return std::all_of(at, at + kGuardBytes, [](std::byte byte) { return byte == kGuard; });
  }
  void Turn() {
    pair_->Poll(0);
    Listen();
  }

  void End() {
    peer_.Reset();
    for (int i = 0; i < kTurnsMax && !wire_->broken() && wire_->Step() != TcpQueue::State::kBroken;
         ++i) {
      Turn();
    }
    CHECK(wire_->broken(), "a connection did not end with its target");
    CHECK(!wire_->failure().ok());
    pair_->Kill(kEndedByTest);
    for (int i = 0; i < kTurnsMax && pair_->in_flight() > 0; ++i) pair_->Poll(0);
    CHECK(in_flight_ == 0 && pair_->in_flight() == 0, "a command did not end");
    pair_.reset();
    wire_.reset();
  }

  // --- The target.

  void Say(const std::vector<std::byte>& bytes) {
    for (size_t sent = 0; sent < bytes.size() && peer_.valid();) {
      const ssize_t now =
          send(peer_.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (now > 0) {
        sent += static_cast<size_t>(now);
        continue;
      }
      if (errno != EAGAIN || ++stalls_ > kTurnsMax) return;
      Turn();
    }
  }
  void SayPdu(void* header, size_t hlen, uint8_t flags, const std::vector<std::byte>& data,
              bool wrong_digest = false) {
    auto& ch = *static_cast<CommonHeader*>(header);
    const bool ddgst = data_digest_ && !data.empty();
    ch.flags = static_cast<uint8_t>(flags | (header_digest_ ? nvme_tcp::kHdgstf : 0) |
                                    (ddgst ? nvme_tcp::kDdgstf : 0));
    ch.hlen = static_cast<uint8_t>(hlen);
    const size_t begin = hlen + (header_digest_ ? 4 : 0);
    ch.pdo = data.empty() ? uint8_t{0} : static_cast<uint8_t>(begin);
    ch.plen = static_cast<uint32_t>(begin + data.size() + (ddgst ? 4 : 0));
    const auto* head = static_cast<const std::byte*>(header);
    std::vector<std::byte> pdu(head, head + hlen);
    const auto add = [&pdu](uint32_t crc) {
      const Le32 digest = crc;
      const auto* at = reinterpret_cast<const std::byte*>(&digest);
      pdu.insert(pdu.end(), at, at + 4);
    };
    if (header_digest_) add(Crc32c({pdu.data(), hlen}));
    pdu.insert(pdu.end(), data.begin(), data.end());
    if (ddgst) add(Crc32c(data) ^ (wrong_digest ? 1u : 0u));
    Damage(pdu);
    Say(pdu);
  }
  // Seldom.
  void Damage(std::vector<std::byte>& pdu) {
    if (!joined_) return;
    const uint8_t how = input_.Byte();
    if (how < 0xf0) return;
    damaged_ = true;
    if (how == 0xff) return pdu.resize(pdu.size() / 2);
    pdu[(how & 1) != 0 ? input_.Byte() % pdu.size() : input_.Two() % pdu.size()] ^=
        static_cast<std::byte>(input_.Byte());
  }
  void Respond(const Held& held, uint16_t status, uint32_t dw0) {
    CapsuleResp response{};
    response.ch.type = PduType::kCapsuleResp;
    response.cqe.cid = held.cid;
    response.cqe.dw0 = dw0;
    response.cqe.status = static_cast<uint16_t>(status << 1);
    SayPdu(&response, sizeof(response), 0, {});
    joined_ = true;
  }
  Held* Choose() { return held_.empty() ? nullptr : &held_[input_.Byte() % held_.size()]; }
  void Forget(const Held& held) { held_.erase(held_.begin() + (&held - held_.data())); }

  void SayData(Held& held) {
    const uint8_t how = input_.Byte();
    uint32_t bytes = held.bytes - std::min(held.bytes, held.given);
    if ((how & 1) != 0) bytes = std::min<uint32_t>(bytes, 1 + input_.Two());
    if ((how & 0x40) != 0) bytes = input_.Two();
    const bool last = held.given + bytes >= held.bytes;
    DataPdu header{};
    header.ch.type = PduType::kC2HData;
    header.cccid = held.cid;
    header.datao = (how & 0x20) != 0 ? uint32_t{input_.Two()} : held.given;
    header.datal = (how & 0x10) != 0 ? uint32_t{input_.Two()} : bytes;
    const std::byte* const pattern = Pattern(held.lba, held.given);
    const std::vector<std::byte> data(pattern, pattern + bytes);
    const bool success = last && (how & 2) != 0;
    auto flags =
        static_cast<uint8_t>((last ? nvme_tcp::kLastPdu : 0) | (success ? nvme_tcp::kSuccess : 0));
    if ((how & 8) != 0) flags ^= nvme_tcp::kLastPdu;
    if ((held.opc & 3) == 2) held.given += bytes;
    if (success) Forget(held);
    SayPdu(&header, sizeof(header), flags, data, (how & 4) != 0);
  }
  void AskForData(Held& held) {
    const uint8_t how = input_.Byte();
    nvme_tcp::R2T r2t{};
    r2t.ch.type = PduType::kR2T;
    r2t.cccid = held.cid;
    r2t.ttag = held.ttag = input_.Byte();
    uint32_t bytes = held.bytes - held.given;
    if ((how & 1) != 0) bytes = std::min<uint32_t>(bytes, 1 + input_.Two());
    r2t.r2to = (how & 2) != 0 ? uint32_t{input_.Two()} : held.given;
    r2t.r2tl = (how & 4) != 0 ? uint32_t{input_.Two()} : bytes;
    if ((how & 6) != 0 || (held.opc & 3) != 1 || held.given < held.asked_until) odd_r2t_ = true;
    held.asked_until = held.given + bytes;
    SayPdu(&r2t, sizeof(r2t), 0, {});
  }
  void Terminate() {
    nvme_tcp::TermReq request{};
    request.ch.type = PduType::kC2HTermReq;
    request.fes = input_.Byte();
    request.fei = input_.Two();
    const bool digests = std::exchange(header_digest_, false);
    const bool data_digests = std::exchange(data_digest_, false);
    SayPdu(&request, sizeof(request), 0, input_.Take(input_.Byte() % 160));
    header_digest_ = digests;
    data_digest_ = data_digests;
  }

  // What the host says is right, whatever it hears.
  void Listen() {
    static std::array<std::byte, 65536> buffer;
    while (peer_.valid() && !deaf_) {
      const ssize_t got = recv(peer_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (got <= 0) break;
      heard_.insert(heard_.end(), buffer.begin(), buffer.begin() + got);
    }
    if (wild_) heard_.clear();
    size_t at = 0;
    while (heard_.size() - at >= sizeof(CommonHeader)) {
      CommonHeader header;
      std::memcpy(&header, &heard_[at], sizeof(header));
      CHECK(header.plen >= header.hlen && header.plen < (1u << 20), "the host sent no PDU");
      if (heard_.size() - at < header.plen) break;
      Hear(std::span(heard_).subspan(at, header.plen));
      at += header.plen;
    }
    heard_.erase(heard_.begin(), heard_.begin() + static_cast<ptrdiff_t>(at));
  }
  void Hear(std::span<const std::byte> pdu) {
    CommonHeader header;
    std::memcpy(&header, pdu.data(), sizeof(header));
    CHECK(!terminated_, "the host spoke on behind its terminate request");
    std::span<const std::byte> data;
    const bool digests = header.type == PduType::kCapsuleCmd || header.type == PduType::kH2CData;
    if (digests && header_digest_) {
      Le32 digest;
      std::memcpy(&digest, &pdu[header.hlen], sizeof(digest));
      CHECK(digest == Crc32c(pdu.first(header.hlen)), "a header digest of the host's is wrong");
    }
    if (digests && header.pdo != 0) {
      const size_t trailer = data_digest_ ? 4 : 0;
      CHECK(header.pdo % ((cpda_ + 1u) * 4) == 0 && header.pdo + trailer < pdu.size());
      data = pdu.subspan(header.pdo, pdu.size() - header.pdo - trailer);
      if (data_digest_) {
        Le32 digest;
        std::memcpy(&digest, &pdu[pdu.size() - 4], sizeof(digest));
        CHECK(digest == Crc32c(data), "a data digest of the host's is wrong");
      }
    }
    switch (header.type) {
      case PduType::kICReq:
        return;
      case PduType::kCapsuleCmd: {
        CapsuleCmd capsule;
        std::memcpy(&capsule, pdu.data(), sizeof(capsule));
        const SubmissionEntry& sqe = capsule.sqe;
        Held held{sqe.cid, sqe.opc, uint32_t{sqe.cdw10}, static_cast<uint32_t>(sqe.prp2)};
        for (const Held& other : held_) CHECK(other.cid != held.cid || damaged_ || odd_r2t_);
        if (joined_) HearData(held, 0, data);
        held_.push_back(held);
        return;
      }
      case PduType::kH2CData: {
        DataPdu said;
        std::memcpy(&said, pdu.data(), sizeof(said));
        CHECK(said.datal == data.size() && said.datal <= maxh2cdata_);
        const auto found = std::find_if(held_.begin(), held_.end(), [&said](const Held& held) {
          return held.cid == said.cccid;
        });
        if (damaged_ || odd_r2t_ || found == held_.end()) return;
        CHECK(said.ttag == found->ttag, "the host took the tag of another R2T");
        CHECK(said.datao == found->given && said.datao + said.datal <= found->asked_until,
              "the host sent what it was not asked for");
        const bool last = said.datao + said.datal == found->asked_until;
        CHECK(last == ((header.flags & nvme_tcp::kLastPdu) != 0));
        return HearData(*found, said.datao, data);
      }
      case PduType::kH2CTermReq:
        terminated_ = true;
        return;
      default:
        CHECK(false, "a PDU that no host sends");
    }
  }
  void HearData(Held& held, uint32_t offset, std::span<const std::byte> data) {
    CHECK(data.empty() || std::memcmp(data.data(), Pattern(held.lba, offset), data.size()) == 0,
          "the host sent other data");
    held.given = offset + static_cast<uint32_t>(data.size());
  }

  void Step() {
    switch (static_cast<Act>(input_.Byte() % kActs)) {
      case kRead: {
        const uint8_t shape = input_.Byte();
        return Submit(io::kRead, shape, input_.Two());
      }
      case kWrite: {
        const uint8_t shape = input_.Byte();
        return Submit(io::kWrite, shape, input_.Two());
      }
      case kOther: {
        const uint8_t opc = input_.Byte();
        return Submit(opc == 0x7f ? uint8_t{0} : opc, 0, input_.Byte());
      }
      case kData:
      case kDataAgain:
        if (Held* const held = Choose()) SayData(*held);
        return;
      case kRespond:
        if (Held* const held = Choose()) {
          const uint8_t status = input_.Byte();
          const Held known = *held;
          if ((status & 0x80) == 0) Forget(*held);
          Respond(known, status & 0x7f, status);
        }
        return;
      case kAskForData:
        if (Held* const held = Choose()) AskForData(*held);
        return;
      case kTerminate:
        return Terminate();
      case kRaw:
        damaged_ = true;
        return Say(input_.Take(input_.Byte()));
      case kTurn:
        return Turn();
      case kDeaf:
        deaf_ = !deaf_;
        return;
      case kHangUp:
        if ((input_.Byte() & 7) == 0) shutdown(peer_.get(), SHUT_WR);
        return;
      case kActs:
        return;
    }
  }

  Ground& memory_;
  Input input_;
  UniqueFd peer_;
  bool header_digest_ = false, data_digest_ = false;
  uint8_t cpda_ = 0;
  uint32_t maxh2cdata_ = 4096;
  uint16_t qid_ = 1;
  bool wild_ = false;        // Nobody knows what was agreed.
  bool joined_ = false;      // The target has answered Connect.
  bool damaged_ = false;     // Bytes are not what they were meant to be.
  bool odd_r2t_ = false;     // The target has asked for what it should not.
  bool deaf_ = false;        // The target reads nothing.
  bool terminated_ = false;  // By the host.
  int stalls_ = 0;
  int in_flight_ = 0;
  std::array<bool, kPlaces> places_{};
  alignas(4096) std::array<SubmissionEntry, kDepth> sq_{};
  alignas(4096) std::array<CompletionEntry, kDepth> cq_{};
  struct alignas(4096) {
    std::byte bytes[size_t{kListBytes} * kDepth];
  } lists_;
  std::unique_ptr<TcpQueue> wire_;
  std::unique_ptr<QueuePair> pair_;
  std::list<Asked> asked_;
  std::vector<Held> held_;
  std::vector<std::byte> heard_;
};

// Sessions in which all is right: reads and writes of several sizes, told in one or more pieces,
// answered in each of the ways there are.
void WriteSeeds(const std::string& folder) {
  int number = 0;
  const auto write = [&](std::vector<uint8_t> steps) {
    std::ofstream file(folder + "/seed-" + std::to_string(number++), std::ios::binary);
    file.write(reinterpret_cast<const char*>(steps.data()),
               static_cast<std::streamsize>(steps.size()));
  };
  constexpr uint8_t kIntact = 0;
  const std::vector<std::pair<uint8_t, uint8_t>> sizes = {{0xff, 1}, {0xff, 15}, {0xff, 0x8f}};
  for (uint8_t agreement = 0; agreement < 32; ++agreement) {
    for (const auto& [low, high] : sizes) {
      for (const uint8_t shape : {uint8_t{0}, uint8_t{5}}) {
        write({agreement, kRead, shape, low, high, kTurn,             //
               kData, 0, 0, kIntact, kRespond, 0, 0, kIntact, kTurn,  // Data,
                                                                      // then a
                                                                      // response.
               kRead, shape, low, high, kTurn,                        //
               kData, 0, 1, 0, 8, kIntact, kTurn, kData, 0, 2,
               kIntact,  // In two, with SUCCESS.
               kTurn});
        write({agreement,   kWrite, shape, low,     high,    kTurn,  //
               kAskForData, 0,      1,     7,       0,       4,
               kIntact,     kTurn,  kTurn,  // In two requests.
               kAskForData, 0,      0,     8,       kIntact, kTurn,
               kTurn,       kTurn,  kTurn,  //
               kRespond,    0,      0,     kIntact, kTurn});
      }
      write({agreement, kRead, 16,   low,     high,     kRead, 16,       low,     high,  kWrite,
             16,        low,   high, kOther,  0,        0,     kTurn,    kData,   0,     4,
             kIntact,   kData, 1,    0,       kIntact,  kTurn, kRespond, 2,       2,     kIntact,
             kRespond,  1,     0,    kIntact, kRespond, 0,     0,        kIntact, kTurn, kTurn});
    }
    write({static_cast<uint8_t>(agreement | 32),
           2,
           0,
           4,
           0,
           kRead,
           0,
           9,
           0,
           kTurn,
           kTerminate,
           3,
           1,
           0,
           24,
           0,
           0,
           0,
           kIntact,
           kTurn});
    write({agreement, kWrite, 0, 0xff, 0x8f, kDeaf, kAskForData, 0, 0, 1, kIntact, kTurn, kTurn,
           kHangUp, 0, kTurn});
  }
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
  static auto* const memory = new pollux::nvme::Ground;
  std::make_unique<pollux::nvme::Session>(*memory, pollux::nvme::Input{data, size})->Run();
  return 0;
}
