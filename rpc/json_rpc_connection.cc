#include "rpc/json_rpc_connection.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "core/log.h"
#include "rpc/error_map.h"
#include "rpc/json_codec.h"
#include "rpc/json_reader.h"

namespace pollux::rpc {
namespace {

constexpr size_t kBufferBytesFirst = 16 * 1024;
constexpr size_t kReceiveBytesMin = 4 * 1024;

JsonScanner::Limits RequestLimits() {
  return {.bytes_max = JsonRpcServer::kRequestBytesMax,
          .values_max = JsonRpcServer::kValuesPerRequestMax,
          .nesting_max = JsonRpcServer::kNestingMax};
}

}  // namespace

// The answers of a batch, which leave together when the last is there.
struct JsonRpcConnection::Batch {
  std::string answers;  // "[", then the answers with commas.
  size_t open = 0;      // Requests without an answer, and the one who counts them.
};

JsonRpcConnection::JsonRpcConnection(Loop& loop, Dispatcher& dispatcher, TaskGroup& calls,
                                     Owner& owner, std::unique_ptr<ByteStream> stream,
                                     Identity caller)
    : loop_(loop),
      dispatcher_(dispatcher),
      calls_(calls),
      owner_(owner),
      stream_(std::move(stream)),
      caller_(std::make_shared<Identity>(std::move(caller))),
      buffer_(kBufferBytesFirst),
      scanner_(RequestLimits()) {}

JsonRpcConnection::~JsonRpcConnection() { CHECK(state_ == State::kClosed); }

void JsonRpcConnection::Start(bool hold) {
  held_ = hold;
  stream_->Start(*this);
}

void JsonRpcConnection::Enter(State next) {
  const bool allowed = next == State::kClosed ? state_ != State::kClosed : next > state_;
  CHECK(allowed);
  state_ = next;
}

void JsonRpcConnection::Hold(bool hold) {
  held_ = hold;
  ReadOnIfWaiting();
}

void JsonRpcConnection::Finish() {
  if (state_ != State::kOpen) return;
  Enter(State::kFinishing);
  if (in_flight_ == 0) SendLater();
}

void JsonRpcConnection::Close() {
  if (state_ != State::kClosed) stream_->Close();
}

// --- Receiving.

bool JsonRpcConnection::MayRead() const {
  return state_ == State::kOpen && !held_ && in_flight_ < JsonRpcServer::kRequestsInFlightMax &&
         gathered_.size() + stream_->queued_bytes() < kQueuedBytesPause;
}

size_t JsonRpcConnection::ReceiveInto(std::span<iovec> parts) {
  receiving_paused_ = !MayRead() || read_on_.deferred();
  if (receiving_paused_) return 0;
  MakeRoom();
  parts[0] = {.iov_base = buffer_.data() + end_, .iov_len = buffer_.size() - end_};
  return 1;
}

// The buffer holds one request of the greatest size, and the beginning of what follows it.
void JsonRpcConnection::MakeRoom() {
  if (begin_ == end_) begin_ = scanned_ = end_ = 0;
  if (buffer_.size() - end_ >= kReceiveBytesMin) return;
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    scanned_ -= begin_;
    end_ -= begin_;
    begin_ = 0;
  }
  // Doubled when less than half of it is free, so that bytes are moved seldom.
  if (buffer_.size() - end_ < buffer_.size() / 2) {
    buffer_.resize(
        std::min(buffer_.size() * 2, JsonRpcServer::kRequestBytesMax + 2 * kReceiveBytesMin));
  }
  CHECK(end_ < buffer_.size());
}

void JsonRpcConnection::OnReceived(size_t bytes) {
  end_ += bytes;
  CHECK(end_ <= buffer_.size());
  TakeRequests();
}

// Something that kept this connection from reading may have gone.
void JsonRpcConnection::ReadOnIfWaiting() {
  if (taking_ || read_on_.deferred() || !MayRead()) return;
  if (scanned_ < end_ || receiving_paused_) loop_.Defer(read_on_);
}

void JsonRpcConnection::ReadOn() {
  TakeRequests();
  if (MayRead() && !read_on_.deferred()) stream_->ResumeReceive();
}

void JsonRpcConnection::TakeRequests() {
  taking_ = true;
  ScanRequests();
  taking_ = false;
}

void JsonRpcConnection::ScanRequests() {
  for (int requests = 0; MayRead() && scanned_ < end_;) {
    if (requests++ == kRequestsPerTurnMax) {
      if (!read_on_.deferred()) loop_.Defer(read_on_);
      return;
    }
    size_t taken = 0;
    const std::string_view unseen(buffer_.data() + scanned_, end_ - scanned_);
    const JsonScanner::Outcome outcome = scanner_.Scan(unseen, taken);
    scanned_ += taken;
    switch (outcome) {
      case JsonScanner::Outcome::kNeedMore:
        if (scanner_.blank()) begin_ = scanned_;
        return;
      case JsonScanner::Outcome::kComplete:
        OnValue({buffer_.data() + begin_, scanned_ - begin_});
        begin_ = scanned_;
        break;
      case JsonScanner::Outcome::kBroken:
        AnswerError("", kParseError, InvalidArgument("the JSON text %s", scanner_.error()),
                    nullptr);
        Enter(State::kEnding);
        return;
    }
  }
}

// --- Requests.

void JsonRpcConnection::OnValue(std::string_view text) {
  if (JsonReader(text).Peek() == JsonKind::kArray) return OnBatch(text);
  OnRequest(text, nullptr);
}

// The elements run concurrently. Their answers are one array, in the order in which they come.
void JsonRpcConnection::OnBatch(std::string_view text) {
  const auto batch = std::make_shared<Batch>();
  batch->answers.push_back('[');
  batch->open = 1;
  JsonReader reader(text);
  reader.EnterArray();
  bool empty = true;
  while (reader.NextElement()) {
    empty = false;
    ++batch->open;
    OnRequest(reader.TakeText(), batch);
  }
  if (empty) {
    return AnswerError("", kInvalidRequest, InvalidArgument("the batch is empty"), nullptr);
  }
  Answered(batch);
}

void JsonRpcConnection::OnRequest(std::string_view text, const std::shared_ptr<Batch>& batch) {
  const JsonRpcRequest request = ParseJsonRpcRequest(text);
  if (!request.status.ok()) {
    return AnswerError(request.id, kInvalidRequest, request.status, batch);
  }
  const Method* method = dispatcher_.Find(request.method);
  if (method == nullptr) {
    return AnswerError(request.id, kMethodNotFound,
                       ErrorOfField(ENOSYS, "method", request.method, "Method not found"), batch);
  }
  if (const Status state = dispatcher_.CheckState(*method); !state.ok()) {
    return AnswerError(request.id, JsonRpcCode(*method, CallPhase::kParams, state), state, batch);
  }
  std::unique_ptr<Message> message = dispatcher_.NewRequest(*method);
  Status decoded = DecodeCheckedParams(request.params, method->options.relaxed(), *message);
  if (decoded.ok()) decoded = dispatcher_.Complete(*message);
  if (!decoded.ok()) {
    return AnswerError(request.id, JsonRpcCode(*method, CallPhase::kParams, decoded), decoded,
                       batch);
  }
  ++in_flight_;
  calls_.Spawn(RunCall(method, std::move(message), std::string(request.id), batch));
}

Task<void> JsonRpcConnection::RunCall(const Method* method, std::unique_ptr<Message> request,
                                      std::string id, std::shared_ptr<Batch> batch) {
  const std::shared_ptr<JsonRpcConnection> alive = shared_from_this();
  Caller caller{.name = caller_->name, .replay = false, .identity = caller_};
  Result<std::unique_ptr<Message>> result =
      co_await dispatcher_.Call(*method, std::move(request), std::move(caller));
  --in_flight_;
  if (!result.ok()) {
    LogFailure(*method, result.status());
    AnswerError(id, JsonRpcCode(*method, CallPhase::kOperation, result.status()), result.status(),
                batch);
  } else if (id.empty()) {
    Answered(batch);
  } else {
    AnswerResult(id, *method, **result, batch);
  }
  OnCallDone();
}

void JsonRpcConnection::LogFailure(const Method& method, const Status& error) const {
  if (!LogEnabled(LogLevel::kInfo, "rpc")) return;
  const absl::string_view message = error.message();
  owner_.log().Info("%s from %s: %s", method.name, caller_->name,
                    Printable({message.data(), message.size()}));
}

void JsonRpcConnection::OnCallDone() {
  if (state_ == State::kFinishing && in_flight_ == 0) return SendLater();
  ReadOnIfWaiting();
}

// --- Answers.

void JsonRpcConnection::AnswerResult(std::string_view id, const Method& method,
                                     const Message& response, const std::shared_ptr<Batch>& batch) {
  if (state_ == State::kEnding || state_ == State::kClosed) return;
  std::string& out = BeginAnswer(id, batch);
  const size_t begin = out.size();
  out += "\"result\":";
  AppendResult(out, method, response);
  if (out.size() - begin > JsonRpcServer::kAnswerBytesMax ||
      (batch != nullptr && out.size() > JsonRpcServer::kAnswerBytesMax)) {
    const std::string reason =
        absl::StrFormat("the answer has %u bytes, more than the %u that one may have",
                        out.size() - begin, JsonRpcServer::kAnswerBytesMax);
    out.resize(begin);
    out += "\"error\":";
    AppendJsonRpcError(out, kInternalError, ErrorOfErrno(EMSGSIZE, reason));
  }
  EndAnswer(batch);
}

void JsonRpcConnection::AnswerError(std::string_view id, int code, const Status& error,
                                    const std::shared_ptr<Batch>& batch) {
  if (state_ == State::kEnding || state_ == State::kClosed) return;
  std::string& out = BeginAnswer(id, batch);
  out += "\"error\":";
  AppendJsonRpcError(out, code, error);
  EndAnswer(batch);
}

std::string& JsonRpcConnection::BeginAnswer(std::string_view id,
                                            const std::shared_ptr<Batch>& batch) {
  std::string& out = batch != nullptr ? batch->answers : gathered_;
  if (batch != nullptr && out.size() > 1) out.push_back(',');
  out += "{\"jsonrpc\":\"2.0\",\"id\":";
  out += id.empty() ? "null" : id;
  out.push_back(',');
  return out;
}

void JsonRpcConnection::EndAnswer(const std::shared_ptr<Batch>& batch) {
  if (batch != nullptr) {
    batch->answers.push_back('}');
    return Answered(batch);
  }
  gathered_ += "}\n";
  SendLater();
}

void JsonRpcConnection::Answered(const std::shared_ptr<Batch>& batch) {
  if (batch == nullptr || --batch->open > 0) return;
  if (batch->answers.size() == 1) return;  // Notifications only.
  if (state_ == State::kEnding || state_ == State::kClosed) return;
  gathered_ += batch->answers;
  gathered_ += "]\n";
  SendLater();
}

// What gathers in this turn leaves together.
void JsonRpcConnection::SendLater() {
  if (!send_.deferred()) loop_.Defer(send_);
}

void JsonRpcConnection::SendGathered() {
  if (state_ == State::kClosed) return;
  if (sending_.queued()) {
    if (gathered_.size() + stream_->queued_bytes() <= kQueuedBytesMax) return;
    owner_.log().Warning("%s does not read its answers: closed", caller_->name);
    return stream_->Close();
  }
  if (!gathered_.empty()) {
    sending_.text.swap(gathered_);
    sending_.parts[0] = {.iov_base = sending_.text.data(), .iov_len = sending_.text.size()};
    sending_.part_count = 1;
    stream_->Send(sending_);
  }
  if (state_ == State::kFinishing && in_flight_ == 0) Enter(State::kEnding);
  if (state_ == State::kEnding) stream_->CloseWhenSent();
}

void JsonRpcConnection::OnSent(bool ok) {
  // A great answer's memory is not kept.
  if (sending_.text.capacity() > kQueuedBytesPause) {
    std::string().swap(sending_.text);
  } else {
    sending_.text.clear();
  }
  if (!ok) return;
  if (!gathered_.empty() || state_ != State::kOpen) SendLater();
  ReadOnIfWaiting();
}

void JsonRpcConnection::OnClosed(const Status& why) {
  if (!why.ok() && ErrnoOf(why) != ESHUTDOWN) {
    owner_.log().Info("%s: %s", caller_->name, why.message());
  }
  Enter(State::kClosed);
  loop_.CancelDeferred(send_);
  loop_.CancelDeferred(read_on_);
  std::string().swap(gathered_);
  owner_.OnConnectionClosed(*this);  // The end of this object, unless a call runs.
}

}  // namespace pollux::rpc
