#include "rpc/grpc/transport.h"

#include <grpc/support/log.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>
#include <pthread.h>

#include <charconv>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "core/check.h"
#include "core/log.h"

namespace pollux::rpc {
namespace {

// What gRPC's completion queue gives back: embedded in who waits for it. gRPC's thread.
class Event {
 public:
  virtual void OnEvent(bool ok) = 0;

 protected:
  ~Event() = default;
};

template <typename T, void (T::*kMethod)(bool)>
class EventCall final : public Event {
 public:
  explicit EventCall(T& object) : object_(object) {}
  void OnEvent(bool ok) override { (object_.*kMethod)(ok); }

 private:
  T& object_;
};

template <typename T, void (T::*kMethod)()>
class MessageCall final : public pollux::Message {
 public:
  explicit MessageCall(T& object) : object_(object) {}
  void Run() override { (object_.*kMethod)(); }

 private:
  T& object_;
};

// gRPC's own lines tell what a peer did wrong, in gRPC's words: for those who look for it.
void WriteGrpcLog(gpr_log_func_args* line) {
  if (LogEnabled(LogLevel::kDebug, "rpc")) LogDebug("rpc", "gRPC: %s", Printable(line->message));
}

}  // namespace

struct GrpcTransport::Impl {
  class Stream;
  // Counts a stream as long as there is one.
  struct Presence {
    explicit Presence(Impl& server_of_stream);
    ~Presence();
    Impl& server;
  };

  Impl(Loop& loop, Owner& calls_owner) : control(loop), owner(calls_owner) {}

  // gRPC's thread: takes what happened until all is over.
  void TakeEvents();
  void Accept();
  // A thread of its own, since it waits: ends the server, then the queue.
  void End(uint64_t drain_ns);
  void OnEnded() { ended.Set(true); }

  Loop& control;
  Owner& owner;
  grpc::AsyncGenericService service;
  std::unique_ptr<grpc::ServerCompletionQueue> queue;
  std::unique_ptr<grpc::Server> server;
  std::thread events_thread;
  std::thread ending_thread;
  MessageCall<Impl, &Impl::OnEnded> ended_message{*this};
  Completion<bool> ended;

  std::mutex mutex;
  std::condition_variable none_left;
  size_t streams = 0;  // Under `mutex`. One of them waits for the next call.
};

// A call, from before it comes until gRPC and the control loop have both let go of it.
//
// gRPC's thread: accepted, the first message read; then it is the control loop's, which has at most
// one operation under way. `finished_` and `done_` come back, in any order, as the last two.
class GrpcTransport::Impl::Stream final : public GrpcStream,
                                          public std::enable_shared_from_this<Stream> {
 public:
  explicit Stream(Impl& server) : server_(server), presence_(server) {}

  void AwaitCall() {
    self_ = shared_from_this();
    context_.AsyncNotifyWhenDone(&done_);
    server_.service.RequestCall(&context_, &io_, server_.queue.get(), server_.queue.get(),
                                &accepted_);
  }

  const std::string& path() const override { return context_.method(); }
  int connection() const override { return connection_; }
  bool gone() const override {
    return gone_.load(std::memory_order_relaxed) ||
           context_.deadline() <= std::chrono::system_clock::now();
  }
  const std::atomic<bool>& gone_flag() const override { return gone_; }

  Task<std::optional<std::string>> Receive() override {
    if (first_) {
      first_ = false;
    } else {
      in_.Clear();
      io_.Read(&in_, &received_);
      co_await Step{this};
    }
    if (!ok_) co_return std::nullopt;
    grpc::Slice bytes;
    if (!in_.DumpToSingleSlice(&bytes).ok()) co_return std::nullopt;
    in_.Clear();
    co_return std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
  }

  Task<bool> Send(std::string message) override {
    const grpc::Slice slice(message);
    out_ = grpc::ByteBuffer(&slice, 1);
    io_.Write(out_, &sent_);
    co_await Step{this};
    co_return ok_;
  }

  void Finish(GrpcStatus status) override {
    TakeLeave();
    io_.Finish(
        {static_cast<grpc::StatusCode>(status.code), status.message, std::move(status.details)},
        &finished_);
  }

  void FinishWith(std::string message) override {
    TakeLeave();
    const grpc::Slice slice(message);
    out_ = grpc::ByteBuffer(&slice, 1);
    io_.WriteAndFinish(out_, {}, grpc::Status::OK, &finished_);
  }

 private:
  struct Step {
    Stream* stream;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiter) { stream->waiter_ = waiter; }
    void await_resume() const noexcept {}
  };

  // --- gRPC's thread.

  void OnAccepted(bool ok) {
    if (!ok) {  // The server ends.
      self_.reset();
      return;
    }
    server_.Accept();
    size_t streams;
    {
      const std::lock_guard<std::mutex> lock(server_.mutex);
      streams = server_.streams;
    }
    if (streams > kCallsMax + 1) {
      return Finish({.code = GrpcCode::kResourceExhausted,
                     .message = "there are as many calls under way as there may be"});
    }
    // "fd:12": the peer of a connection that came as a descriptor.
    const std::string peer = context_.peer();
    if (peer.starts_with("fd:")) {
      std::from_chars(peer.data() + 3, peer.data() + peer.size(), connection_);
    }
    io_.Read(&in_, &received_);
  }

  void OnMoved(bool ok) {
    ok_ = ok;
    server_.control.Post(step_message_);
  }

  void OnFinished(bool) { LetGo(); }

  void OnDone(bool) {
    if (context_.IsCancelled()) {
      gone_ = true;
      gone_self_ = shared_from_this();
      server_.control.Post(gone_message_);
    }
    LetGo();
  }

  void LetGo() {
    if (--left_ == 0) self_.reset();
  }

  // --- The control loop.

  void OnStep() {
    if (waiter_) return std::exchange(waiter_, {}).resume();
    server_.owner.OnCall(shared_from_this());
  }

  void OnGone() {
    const std::shared_ptr<Stream> last = std::move(gone_self_);
    server_.owner.OnGone();
  }

  void TakeLeave() {
    CHECK(!left_by_owner_, "a call was finished twice");
    left_by_owner_ = true;
  }

  Impl& server_;
  const Presence presence_;  // The last to go: gRPC's parts need the queue.
  grpc::GenericServerContext context_;
  grpc::GenericServerAsyncReaderWriter io_{&context_};
  grpc::ByteBuffer in_, out_;
  std::shared_ptr<Stream> self_;  // gRPC's hold. Let go on gRPC's thread.
  int left_ = 2;                  // Of finished_ and done_. gRPC's thread.
  int connection_ = -1;
  bool ok_ = false;  // Of the operation that ended last. Handed over with the message.
  bool first_ = true;
  bool left_by_owner_ = false;
  std::atomic<bool> gone_{false};
  std::shared_ptr<Stream> gone_self_;
  std::coroutine_handle<> waiter_;
  EventCall<Stream, &Stream::OnAccepted> accepted_{*this};
  EventCall<Stream, &Stream::OnMoved> received_{*this};
  EventCall<Stream, &Stream::OnMoved> sent_{*this};
  EventCall<Stream, &Stream::OnFinished> finished_{*this};
  EventCall<Stream, &Stream::OnDone> done_{*this};
  MessageCall<Stream, &Stream::OnStep> step_message_{*this};
  MessageCall<Stream, &Stream::OnGone> gone_message_{*this};
};

GrpcTransport::Impl::Presence::Presence(Impl& server_of_stream) : server(server_of_stream) {
  const std::lock_guard<std::mutex> lock(server.mutex);
  ++server.streams;
}

GrpcTransport::Impl::Presence::~Presence() {
  const std::lock_guard<std::mutex> lock(server.mutex);
  if (--server.streams == 0) server.none_left.notify_all();
}

void GrpcTransport::Impl::Accept() { std::make_shared<Stream>(*this)->AwaitCall(); }

void GrpcTransport::Impl::TakeEvents() {
  pthread_setname_np(pthread_self(), "grpc");
  void* tag = nullptr;
  bool ok = false;
  while (queue->Next(&tag, &ok)) static_cast<Event*>(tag)->OnEvent(ok);
}

void GrpcTransport::Impl::End(uint64_t drain_ns) {
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::nanoseconds(drain_ns));
  {
    // Nothing may be asked of the queue once it is shut down.
    std::unique_lock<std::mutex> lock(mutex);
    none_left.wait(lock, [this] { return streams == 0; });
  }
  queue->Shutdown();
  events_thread.join();
  server.reset();
  control.Post(ended_message);
}

GrpcTransport::GrpcTransport(Loop& control, Owner& owner)
    : impl_(std::make_unique<Impl>(control, owner)) {
  gpr_set_log_function(WriteGrpcLog);

  grpc::ServerBuilder builder;
  builder.RegisterAsyncGenericService(&impl_->service);
  impl_->queue = builder.AddCompletionQueue();
  builder.SetMaxReceiveMessageSize(kRequestBytesMax);
  builder.SetMaxSendMessageSize(static_cast<int>(kAnswerBytesMax));
  // A few bytes could unpack to gigabytes.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  grpc::ResourceQuota quota("pollux");
  quota.Resize(kMemoryMax);
  builder.SetResourceQuota(quota);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsPerConnectionMax);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // No pings to measure a network that is this machine, no history of each call for a debugger.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
  impl_->server = builder.BuildAndStart();
  CHECK(impl_->server != nullptr, "a gRPC server without addresses cannot fail to start");
  impl_->Accept();
  impl_->events_thread = std::thread([impl = impl_.get()] { impl->TakeEvents(); });
}

GrpcTransport::~GrpcTransport() { CHECK(impl_->server == nullptr, "a server died without Stop()"); }

void GrpcTransport::Serve(UniqueFd socket) {
  grpc::AddInsecureChannelFromFd(impl_->server.get(), socket.Release());
}

Task<void> GrpcTransport::Stop(uint64_t drain_ns) {
  impl_->ending_thread = std::thread([impl = impl_.get(), drain_ns] { impl->End(drain_ns); });
  co_await impl_->ended;
  impl_->ending_thread.join();
}

}  // namespace pollux::rpc
