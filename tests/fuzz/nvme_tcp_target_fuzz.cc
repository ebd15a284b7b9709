// libFuzzer: an NVMe/TCP connection of the target, with its PDU reader, against any host, and
// against a controller that asks for, sends and ends whatever it likes, whenever. The input is a
// list of steps of both. Built with -DPOLLUX_FUZZ=ON by clang.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "core/accel/crc32c.h"
#include "core/check.h"
#include "core/log.h"
#include "core/memory/buffer_pool.h"
#include "targets/nvmf/tcp/connection_group.h"
#include "tests/unit/targets/nvmf/tcp/scripted_target.h"

namespace pollux::nvmf {
namespace {

constexpr int kTurnsMax = 10'000;
constexpr uint32_t kDataBytesMax = 64 * 1024;

// Takes the input apart; zeros where it has ended.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), left_(size) {}
  bool empty() const { return left_ == 0; }
  uint8_t Byte() { return left_ == 0 ? uint8_t{0} : (--left_, *data_++); }
  uint32_t Le(int bytes) {
    uint32_t value = 0;
    for (int i = 0; i < bytes; ++i) value |= uint32_t{Byte()} << 8 * i;
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

void PutLe(std::string& pdu, size_t at, uint32_t value, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) pdu[at + i] = static_cast<char>(value >> 8 * i);
}
uint32_t GetLe(const std::string& pdu, size_t at, size_t bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < bytes; ++i) value |= uint32_t{static_cast<uint8_t>(pdu[at + i])} << 8 * i;
  return value;
}

class World final : private Arrival::Home, private ControlSide {
 public:
  World() : reactors_(*Reactors::MakeStill({}, clock_)) {
    SetLogLevel(LogLevel::kError);
    const Worker::Environment environment{.reactor = (*reactors_)[0],
                                          .control = (*reactors_)[0],
                                          .control_side = *this,
                                          .small_buffers = buffers_,
                                          .large_buffers = buffers_};
    worker_ = std::make_unique<Worker>(environment);
    group_ = std::make_unique<ConnectionGroup>(*worker_, StreamKind::kEpoll, options_);
    target_.on_start = [this](Command& command) {
      asked_[&command] = 0;
      moved_[&command] = 0;
    };
  }

  void Run(Input input) {
    const uint8_t agreement = input.Byte();
    header_digest_ = (agreement & 1) != 0;
    data_digest_ = (agreement & 2) != 0;
    gone_ = false;
    received_.clear();
    Open();
    if ((agreement & 4) == 0) Shake(agreement >> 3, input);
    while (!input.empty() && !gone_) Step(input);
    host_.Reset();
    for (int i = 0; i < kTurnsMax && !gone_; ++i) Turn();
    CHECK(gone_, "a connection did not end with its host");
    CHECK(target_.started.empty());
    memory_.clear();
    r2ts_.clear();
    asked_.clear();
    moved_.clear();
    target_.heard.clear();
    target_.ends_with_data.clear();
    target_.refused.clear();
  }

 private:
  void OnConnected() override {}
  void OnGone() override { gone_ = true; }
  Task<ConnectVerdict> Admit(ConnectQuery) override { co_return ConnectVerdict{}; }
  Task<void> Leave(std::shared_ptr<const ControllerIdentity>, uint16_t) override { co_return; }
  std::string DiscoveryLog(const ControllerIdentity&) override { return {}; }
  Task<Totals> CountOf(std::shared_ptr<const ControllerIdentity>) override { co_return Totals{}; }
  Task<bool> Abort(std::shared_ptr<const ControllerIdentity>, uint16_t, uint16_t) override {
    co_return false;
  }
  Task<uint16_t> ProtectNamespace(std::string, uint32_t, nvme::WriteProtection) override {
    co_return uint16_t{0};
  }
  Task<void> EndIoQueues(std::shared_ptr<const ControllerIdentity>) override { co_return; }
  size_t IoQueuesOf(const ControllerIdentity&) override { return 0; }
  std::vector<uint16_t> ControllersOf(const std::string&, uint32_t) override { return {}; }

  struct Adopt final : Message {
    Adopt(ConnectionGroup& g, Arrival a) : group(g), arrival(std::move(a)) {}
    void Run() override { group.Adopt(std::move(arrival)); }
    ConnectionGroup& group;
    Arrival arrival;
  };

  void Open() {
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    host_.Reset(ends[0]);
    Adopt adopt(
        *group_,
        {.home = this, .id = ++id_, .listener_id = 1, .socket = UniqueFd(ends[1]), .peer = peer_});
    (*reactors_)[0].Post(adopt);
    Turn();
  }

  void Turn() {
    (*reactors_)[0].RunTurn();
    char buffer[16384];
    while (host_.valid()) {
      const ssize_t bytes = recv(host_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
      if (bytes <= 0) break;
      received_.append(buffer, static_cast<size_t>(bytes));
    }
    Listen();
  }
  // Learns the tags of R2Ts.
  void Listen() {
    while (received_.size() >= 8) {
      const uint32_t plen = GetLe(received_, 4, 4);
      CHECK(plen >= 8 && plen < (1u << 24), "the target sent no PDU");
      if (received_.size() < plen) return;
      if (received_[0] == 0x09) {
        r2ts_.push_back({GetLe(received_, 8, 2), GetLe(received_, 10, 2), GetLe(received_, 12, 4),
                         GetLe(received_, 16, 4)});
        if (r2ts_.size() > 8) r2ts_.pop_front();
      }
      received_.erase(0, plen);
    }
  }
  void Send(const std::string& bytes) {
    for (size_t sent = 0; sent < bytes.size() && !gone_;) {
      const ssize_t now =
          send(host_.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (now < 0 && errno != EAGAIN) return;
      if (now > 0) sent += static_cast<size_t>(now);
      Turn();
    }
    Turn();
  }

  void Shake(uint8_t hpda, Input& input) {
    std::string request(128, 0);
    request[2] = request[4] = static_cast<char>(128);
    request[10] = static_cast<char>(hpda);
    request[11] = static_cast<char>((header_digest_ ? 1 : 0) | (data_digest_ ? 2 : 0));
    Send(request);
    std::string connect(72, 0);
    connect[0] = 4;
    connect[2] = 72;
    connect[8] = 0x7f;
    connect[12] = 1;
    PutLe(connect, 8 + 42, input.Byte() & 1u, 2);
    Send(Sealed(connect, {}));
  }

  // The header, with digests as agreed, lengths and offsets that fit.
  std::string Sealed(std::string pdu, const std::string& data) const {
    const size_t hlen = pdu.size();
    const bool ddgst = data_digest_ && !data.empty();
    const size_t head = hlen + (header_digest_ ? 4 : 0);
    PutLe(pdu, 4, static_cast<uint32_t>(head + data.size() + (ddgst ? 4 : 0)), 4);
    pdu[1] = static_cast<char>(pdu[1] | (header_digest_ ? 1 : 0) | (ddgst ? 2 : 0));
    pdu[3] = static_cast<char>(data.empty() ? 0 : head);
    if (header_digest_) AppendDigest(pdu, std::string(pdu));
    pdu += data;
    if (ddgst) AppendDigest(pdu, data);
    return pdu;
  }
  static void AppendDigest(std::string& pdu, const std::string& of) {
    pdu.resize(pdu.size() + 4);
    PutLe(pdu, pdu.size() - 4, Crc32c(std::as_bytes(std::span(of))), 4);
  }
  // Data as long as asked, of little input.
  static std::string DataOf(Input& input, size_t bytes) {
    return std::string(std::min<size_t>(bytes, kDataBytesMax), static_cast<char>(input.Byte()));
  }

  void Step(Input& input) {
    switch (input.Byte() % 12) {
      case 0:
        return Send(input.Take(input.Byte()));
      case 1:
      case 2: {  // A capsule.
        std::string pdu(72, 0);
        pdu[0] = 4;
        pdu[2] = 72;
        pdu[8] = static_cast<char>(input.Byte());
        pdu[9] = 0x40;
        pdu[10] = static_cast<char>(input.Byte());
        const uint8_t kind = input.Byte();
        const uint32_t bytes = input.Le(kind & 3);
        pdu[47] = (kind & 4) != 0 ? 0x01 : 0x5a;
        if ((kind & 8) != 0) pdu[9] = static_cast<char>(input.Byte());
        if ((kind & 16) != 0) PutLe(pdu, 32, input.Le(4), 4);
        PutLe(pdu, 40, bytes, 4);
        const bool in_capsule = (kind & 4) != 0;
        return SendDamaged(Sealed(pdu, in_capsule ? DataOf(input, bytes % 8500) : ""), input);
      }
      case 3:
      case 4:
      case 5: {  // Data for an R2T, or for none.
        R2t r2t{input.Byte(), input.Byte(), 0, 64};
        if (!r2ts_.empty()) {
          auto chosen = r2ts_.begin();
          std::advance(chosen, input.Byte() % r2ts_.size());
          r2t = *chosen;
          const uint8_t kind = input.Byte();
          uint32_t bytes = r2t.bytes;
          if ((kind & 1) != 0) bytes = std::min(bytes, 1 + input.Le(2));
          if ((kind & 2) != 0) r2t.offset += input.Le(4);
          chosen->offset += bytes;
          chosen->bytes -= bytes;
          r2t.last = chosen->bytes == 0;
          if (r2t.last) r2ts_.erase(chosen);
          r2t.bytes = bytes;
        }
        const std::string data = DataOf(input, r2t.bytes);
        std::string pdu(24, 0);
        pdu[0] = 6;
        pdu[1] = r2t.last ? 4 : 0;
        pdu[2] = 24;
        PutLe(pdu, 8, r2t.cid, 2);
        PutLe(pdu, 10, r2t.ttag, 2);
        PutLe(pdu, 12, r2t.offset, 4);
        PutLe(pdu, 16, static_cast<uint32_t>(data.size()), 4);
        return SendDamaged(Sealed(pdu, data), input);
      }
      case 6:
      case 7:
        return Want(input);
      case 8:
        return Give(input);
      case 9:
        if (Command* const command = Chosen(input)) {
          if (!Busy(*command)) target_.End(*command, static_cast<uint16_t>(input.Byte()));
        }
        return;
      case 10:
        if (Command* const command = Chosen(input)) command->OnDataUnwanted();
        return;
      case 11:
        return Turn();
    }
  }
  void SendDamaged(std::string pdu, Input& input) {
    const uint8_t how = input.Byte();
    if (how < 16) pdu[input.Byte() % pdu.size()] ^= static_cast<char>(input.Byte());
    if (how == 16) pdu.resize(pdu.size() / 2);
    Send(pdu);
  }

  // Null when there is none, or the transport has given it up.
  Command* Chosen(Input& input) {
    if (target_.started.empty()) return nullptr;
    Command* const command = target_.started[input.Byte() % target_.started.size()];
    return target_.heard[command].abandoned ? nullptr : command;
  }
  // A part of the command's data, in memory of exactly its size: it goes on where the last ended,
  // since a controller moves each byte once. Empty at the end.
  std::pair<uint32_t, std::span<const iovec>> PartsOf(const Command& command, Input& input) {
    uint32_t& next = moved_[&command];
    const uint32_t offset = next;
    uint32_t bytes = std::min(command.data_bytes, kDataBytesMax) - offset;
    if (bytes > 1 && (input.Byte() & 1) != 0) bytes /= 2;
    next += bytes;
    auto& parts = memory_.emplace_back();
    const uint32_t step = std::max<uint32_t>(1, bytes / (1 + input.Byte() % 12));
    for (uint32_t at = 0; at < bytes; at += step) {
      const size_t here = std::min(step, bytes - at);
      parts.blocks.push_back(std::make_unique<char[]>(here));
      parts.iovecs.push_back({parts.blocks.back().get(), here});
    }
    return {offset, parts.iovecs};
  }
  // It has asked the transport for something that is not done: a controller waits then.
  bool Busy(Command& command) {
    const ScriptedTarget::Heard& heard = target_.heard[&command];
    return asked_[&command] > heard.arrived + heard.sent + heard.dropped;
  }
  void Want(Input& input) {
    Command* const command = Chosen(input);
    if (command == nullptr || command->data_bytes == 0 || Busy(*command)) return;
    const bool to_host = (TransferOf(*command) & 2) != 0;
    if (to_host) return;
    const auto [offset, parts] = PartsOf(*command, input);
    if (parts.empty()) return;
    ++asked_[command];
    target_.Want(*command, offset, parts);
  }
  void Give(Input& input) {
    Command* const command = Chosen(input);
    if (command == nullptr || command->data_bytes == 0 || Busy(*command)) return;
    if ((TransferOf(*command) & 2) == 0) return;
    const auto [offset, parts] = PartsOf(*command, input);
    if (parts.empty()) return;
    ++asked_[command];
    target_.Give(*command, offset, parts, (input.Byte() & 1) != 0, input.Byte() & 1u);
  }
  static uint8_t TransferOf(const Command& command) {
    return command.entry.opc == 0x7f ? static_cast<uint8_t>(command.entry.nsid) : command.entry.opc;
  }

  struct R2t {
    uint32_t cid, ttag, offset, bytes;
    bool last = true;
  };
  struct Memory {
    std::vector<std::unique_ptr<char[]>> blocks;
    std::vector<iovec> iovecs;
  };

  ManualClock clock_;
  std::unique_ptr<Reactors> reactors_;
  ScriptedTarget target_;
  std::array<std::byte, 64> buffer_memory_;
  BufferPool buffers_{buffer_memory_.data(), 64, 1};
  TransportOptions options_;
  const SocketAddress peer_ = *SocketAddress::Parse("127.0.0.1", 4711);
  std::unique_ptr<Worker> worker_;
  std::unique_ptr<ConnectionGroup> group_;
  UniqueFd host_;
  bool gone_ = false, header_digest_ = false, data_digest_ = false;
  uint64_t id_ = 0;
  std::string received_;
  std::list<R2t> r2ts_;
  std::list<Memory> memory_;
  std::map<Command*, int> asked_;
  std::map<const Command*, uint32_t> moved_;  // How much of its data was asked for or given.
};

}  // namespace
}  // namespace pollux::nvmf

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static auto* const world = new pollux::nvmf::World;
  world->Run({data, size});
  return 0;
}
