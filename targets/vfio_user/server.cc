#include "targets/vfio_user/server.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "core/check.h"
#include "core/event.h"
#include "core/log.h"
#include "core/net/listener.h"
#include "core/task_group.h"
#include "core/vfio_user/message_socket.h"
#include "targets/vfio_user/session.h"

namespace pollux::vfio_user {
namespace {

constexpr uint32_t kDataBytesMin = 4096;  // QEMU reads the configuration space in one piece.
constexpr uint32_t kFdsMaxMax = 64;

// A client that came has to say VERSION, one that began a message has to end it, and one that asked
// has to take its answer, within this. A message that stays a beginning could hold the client's own
// end of the socket, and keep the connection when the client is long dead.
constexpr uint64_t kPatienceNs = 5 * kNsPerSecond;

// So that a client that never stops asking leaves others their turn.
constexpr int kMessagesPerTurnMax = 32;

class SocketServer final : public Server, private Listener::Owner, private FdHandler {
 public:
  SocketServer(Options options, ServedDevice& device, std::unique_ptr<EventfdRinger> ringer,
               Loop& loop)
      : options_(std::move(options)),
        device_(device),
        loop_(loop),
        facts_(FactsOf(device)),
        bell_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        dma_(options_.dma_regions_max, bell_.get()),
        ringer_(std::move(ringer)),
        interrupts_(facts_.irqs, *ringer_, loop) {}
  ~SocketServer() override { CHECK(!socket_.valid(), "a server was not closed"); }

  Status Listen() {
    if (!bell_.valid()) return ErrorOfErrno(errno, "no event descriptor for a vfio-user server");
    ASSIGN_OR_RETURN(listener_, Listener::Unix(loop_, options_.path, *this));
    return OkStatus();
  }

  Task<void> Close() override {
    closing_ = true;
    listener_.reset();
    news_.Pulse();
    co_await clients_.Drained();
  }
  bool connected() const override { return socket_.valid(); }

  std::byte* Memory(uint64_t iova, uint64_t bytes, bool write) const override {
    return dma_.Memory(iova, bytes, write);
  }
  void Trigger(int irq_index, uint32_t vector) override {
    interrupts_.Trigger(static_cast<uint32_t>(irq_index), vector);
  }
  void LowerIntx() override { interrupts_.LowerIntx(); }

 private:
  void OnAccepted(UniqueFd socket) override {
    listener_->Pause();
    socket_ = std::move(socket);
    clients_.Spawn(Serve());
  }
  void OnReady(uint32_t /*events*/) override { news_.Pulse(); }

  // The device met memory that the client had taken away.
  class Alarm final : public FdHandler {
   public:
    explicit Alarm(SocketServer& server) : server_(server) {}
    void OnReady(uint32_t /*events*/) override { server_.OnMemoryLost(); }

   private:
    SocketServer& server_;
  };
  void OnMemoryLost();
  void ClearBell();

  Task<void> Serve();
  Task<void> ServeMessages();
  // The device lets go of each region before it is removed.
  Task<void> Unmap(std::vector<DmaRegion> regions);
  // Sends what the socket did not take at once. False: the client does not take it either.
  Task<bool> SendRest(std::span<const std::byte> rest, std::span<const int> fds);

  // While the socket is watched; a watch that nobody waits for would turn the loop when the client
  // dies.
  bool Watch();
  void Unwatch();

  const Options options_;
  ServedDevice& device_;
  Loop& loop_;
  const DeviceFacts facts_;
  const UniqueFd bell_;  // Rung by whatever thread met lost memory.
  Alarm alarm_{*this};
  bool memory_lost_ = false;
  DmaTable dma_;
  const std::unique_ptr<EventfdRinger> ringer_;
  Interrupts interrupts_;
  std::unique_ptr<Listener> listener_;
  UniqueFd socket_;  // The client's, until it is forgotten.
  bool watched_ = false;
  Event news_;  // The socket is ready, or the server closes.
  bool closing_ = false;
  TaskGroup clients_;  // At most one.
};

bool SocketServer::Watch() {
  watched_ = loop_.Watch(socket_.get(), EPOLLIN, *this).ok();
  return watched_;
}

void SocketServer::Unwatch() {
  if (std::exchange(watched_, false)) loop_.Unwatch(socket_.get(), *this);
}

void SocketServer::ClearBell() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(bell_.get(), &count, sizeof(count));
}

void SocketServer::OnMemoryLost() {
  ClearBell();
  if (std::exchange(memory_lost_, true)) return;
  LogNotice("vfio_user", "%s: the client took memory away that the device was using",
            options_.path);
  news_.Pulse();
}

// One client, from its connection until the device has forgotten it.
Task<void> SocketServer::Serve() {
  LogInfo("vfio_user", "%s: a client connected", options_.path);
  device_.OnClientConnected();
  const bool alarmed = loop_.Watch(bell_.get(), EPOLLIN, alarm_).ok();
  if (alarmed && Watch()) co_await ServeMessages();
  Unwatch();
  shutdown(socket_.get(), SHUT_RDWR);  // It learns now that nothing follows.

  interrupts_.DropEventfds();
  co_await Unmap(dma_.regions());
  // From here on nothing of this client's can ring.
  if (alarmed) loop_.Unwatch(bell_.get(), alarm_);
  ClearBell();
  memory_lost_ = false;
  device_.OnClientGone();
  device_.Reset();
  LogInfo("vfio_user", "%s: the client is gone", options_.path);
  socket_.Reset();
  if (!closing_) listener_->Resume();
}

// Carries out one command after the other: the next one is not read before this one is answered,
// which also bounds what waits to be sent.
Task<void> SocketServer::ServeMessages() {
  using Outcome = MessageReader::Outcome;
  const Session::Limits limits{.data_bytes_max = options_.data_bytes_max,
                               .fds_max = options_.fds_max,
                               .dma_regions_max = options_.dma_regions_max};
  Session session(limits, facts_, device_, dma_, interrupts_);
  MessageReader reader(
      {.payload_bytes_max = Session::PayloadBytesMax(limits), .fds_max = options_.fds_max});
  uint64_t deadline_ns = loop_.NowNs() + kPatienceNs;
  int messages = 0;
  while (!closing_ && !memory_lost_) {
    const Outcome outcome =
        messages < kMessagesPerTurnMax ? reader.Read(socket_.get()) : Outcome::kAgain;
    if (outcome == Outcome::kEnd) co_return;
    if (outcome == Outcome::kAgain) {
      messages = 0;
      if (!session.ready()) {
        // The deadline stands, whatever comes.
      } else if (!reader.begun()) {
        deadline_ns = Loop::kNever;
      } else if (deadline_ns == Loop::kNever) {
        deadline_ns = loop_.NowNs() + kPatienceNs;
      }
      const bool heard = co_await news_.Until(deadline_ns);
      if (!heard) co_return;
      continue;
    }
    ++messages;
    if (session.ready()) deadline_ns = Loop::kNever;
    Session::Answer answer =
        outcome == Outcome::kViolation
            ? session.Refuse(reader.header())
            : session.Handle(reader.header(), reader.payload(), reader.fds(), reader.fds_lost());
    reader.fds().clear();
    if (!answer.unmapping.empty()) {
      Unwatch();
      co_await Unmap(std::move(answer.unmapping));
      if (!Watch()) co_return;
    }
    std::span<const std::byte> rest = answer.message;
    std::span<const int> fds(&answer.fd, answer.fd >= 0 ? 1 : 0);
    const int error = SendSome(socket_.get(), rest, fds);
    if (error == EAGAIN) {
      const bool sent = co_await SendRest(rest, fds);
      if (!sent) co_return;
    } else if (error != 0) {
      co_return;
    }
    if (answer.close) {
      LogNotice("vfio_user", "%s: the client broke the protocol", options_.path);
      co_return;
    }
  }
}

Task<void> SocketServer::Unmap(std::vector<DmaRegion> regions) {
  for (const DmaRegion& region : regions) {
    Task<void> letting_go = device_.OnDmaUnmapping(region);
    co_await letting_go;
    dma_.Remove(region.iova);
  }
}

Task<bool> SocketServer::SendRest(std::span<const std::byte> rest, std::span<const int> fds) {
  const uint64_t deadline_ns = loop_.NowNs() + kPatienceNs;
  loop_.Rewatch(socket_.get(), EPOLLOUT, *this);
  int error = EAGAIN;
  while (error == EAGAIN && !closing_ && !memory_lost_) {
    const bool heard = co_await news_.Until(deadline_ns);
    if (!heard) {
      LogNotice("vfio_user", "%s: the client does not take its answers", options_.path);
      co_return false;
    }
    error = SendSome(socket_.get(), rest, fds);
  }
  loop_.Rewatch(socket_.get(), EPOLLIN, *this);
  co_return error == 0;
}

}  // namespace

Result<std::unique_ptr<Server>> Server::Listen(Options options, ServedDevice& device, Loop& loop) {
  if (options.data_bytes_max < kDataBytesMin) {
    return InvalidField("data_bytes_max", options.data_bytes_max, "must be at least %u",
                        kDataBytesMin);
  }
  if (options.fds_max == 0 || options.fds_max > kFdsMaxMax) {
    return InvalidField("fds_max", options.fds_max, "must be from 1 to %u", kFdsMaxMax);
  }
  ASSIGN_OR_RETURN(std::unique_ptr<EventfdRinger> ringer, EventfdRinger::Make());
  auto server = std::make_unique<SocketServer>(std::move(options), device, std::move(ringer), loop);
  RETURN_IF_ERROR(server->Listen());
  return server;
}

}  // namespace pollux::vfio_user
