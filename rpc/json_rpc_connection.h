#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/log_limiter.h"
#include "core/loop.h"
#include "core/method_call.h"
#include "core/net/byte_stream.h"
#include "core/task_group.h"
#include "rpc/dispatcher.h"
#include "rpc/json_rpc_request.h"
#include "rpc/json_rpc_server.h"
#include "rpc/json_scanner.h"

namespace pollux::rpc {

// One caller of a JsonRpcServer.
//
//   kOpen --a broken text--------------> kEnding --all sent--> kClosed
//     |                                     ^                    ^
//     +--Finish--> kFinishing --no call-----+                    |
//     |                |                                         |
//     +----------------+-----the caller is gone, Close-----------+
//
// Calls that run keep the object alive; what they answer after kClosed is dropped.
class JsonRpcConnection final : public ByteStream::Owner,
                                public std::enable_shared_from_this<JsonRpcConnection> {
 public:
  class Owner {
   public:
    // The last call. The owner lets go of the connection.
    virtual void OnConnectionClosed(JsonRpcConnection& connection) = 0;
    // What callers can make us say.
    virtual LogLimiter& log() = 0;

   protected:
    ~Owner() = default;
  };
  // A caller that does not read its answers is not read from, either,
  static constexpr size_t kQueuedBytesPause = 1024 * 1024;
  // and is let go when those of calls that ran already reach this.
  static constexpr size_t kQueuedBytesMax = 2 * JsonRpcServer::kAnswerBytesMax;
  // Then others have their turn.
  static constexpr int kRequestsPerTurnMax = 128;

  // `calls` is where its calls run; it outlives them.
  JsonRpcConnection(Loop& loop, Dispatcher& dispatcher, TaskGroup& calls, Owner& owner,
                    std::unique_ptr<ByteStream> stream, Identity caller);
  ~JsonRpcConnection();

  void Start(bool hold);
  // Requests are left unread while it is held.
  void Hold(bool hold);
  // No new requests; closes when all answers are sent.
  void Finish();
  void Close();

 private:
  enum class State { kOpen, kFinishing, kEnding, kClosed };
  struct Batch;
  struct Sending final : SendItem {
    explicit Sending(JsonRpcConnection& self) : connection(self) {}
    void OnSent(bool ok) override { connection.OnSent(ok); }
    JsonRpcConnection& connection;
    std::string text;
  };

  size_t ReceiveInto(std::span<iovec> parts) override;
  void OnReceived(size_t bytes) override;
  void OnClosed(const Status& why) override;

  void Enter(State next);
  bool MayRead() const;
  void ReadOnIfWaiting();
  void ReadOn();
  void TakeRequests();
  void ScanRequests();
  void MakeRoom();
  void OnValue(std::string_view text);
  void OnBatch(std::string_view text);
  void OnRequest(std::string_view text, const std::shared_ptr<Batch>& batch);
  Task<void> RunCall(const Method* method, std::unique_ptr<Message> request, std::string id,
                     std::shared_ptr<Batch> batch);
  void LogFailure(const Method& method, const Status& error) const;
  void OnCallDone();

  // Each request is answered by one of these.
  void AnswerResult(std::string_view id, const Method& method, const Message& response,
                    const std::shared_ptr<Batch>& batch);
  void AnswerError(std::string_view id, int code, const Status& error,
                   const std::shared_ptr<Batch>& batch);
  // A notification that succeeded, or an element of a batch whose answer has been added.
  void Answered(const std::shared_ptr<Batch>& batch);
  std::string& BeginAnswer(std::string_view id, const std::shared_ptr<Batch>& batch);
  void EndAnswer(const std::shared_ptr<Batch>& batch);
  void SendLater();
  void SendGathered();
  void OnSent(bool ok);

  Loop& loop_;
  Dispatcher& dispatcher_;
  TaskGroup& calls_;
  Owner& owner_;
  const std::unique_ptr<ByteStream> stream_;
  const std::shared_ptr<const Identity> caller_;
  State state_ = State::kOpen;
  bool held_ = false;
  bool receiving_paused_ = false;
  bool taking_ = false;  // TakeRequests() runs.

  // Invariant: begin_ <= scanned_ <= end_ <= buffer_.size(). The value that the scanner is in began
  // at begin_.
  std::vector<char> buffer_;
  size_t begin_ = 0, scanned_ = 0, end_ = 0;
  JsonScanner scanner_;
  size_t in_flight_ = 0;

  // Answers gather in one text while the other is being sent.
  std::string gathered_;
  Sending sending_{*this};
  DeferredCall<JsonRpcConnection, &JsonRpcConnection::SendGathered> send_{*this};
  DeferredCall<JsonRpcConnection, &JsonRpcConnection::ReadOn> read_on_{*this};
};

}  // namespace pollux::rpc
