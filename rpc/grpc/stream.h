#pragma once
#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "core/task.h"

// Calls of gRPC clients as the control loop sees them. gRPC's own headers are in transport.cc
// alone.

namespace pollux::rpc {

// A status code of gRPC (doc/statuscodes.md), as far as we give them by ourselves.
enum class GrpcCode : int {
  kOk = 0,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kUnimplemented = 12,
  kUnavailable = 14,
};

// How a call ends.
struct GrpcStatus {
  GrpcCode code = GrpcCode::kOk;
  std::string message;
  std::string details;  // The trailer grpc-status-details-bin; empty: none.
};

// One call. Whoever got it ends it, once, by one of the Finish forms, also when the caller is gone:
// then nothing is sent. Control loop only.
class GrpcStream {
 public:
  virtual ~GrpcStream() = default;

  // "/pollux.v1.Bdev/GetBdevs".
  virtual const std::string& path() const = 0;
  // The connection that it came by, as GrpcTransport::Serve() numbered it; -1 when that is not
  // known.
  virtual int connection() const = 0;
  // Nobody waits for the answer any more: the caller cancelled, is gone, or its deadline passed.
  virtual bool gone() const = 0;
  // Turns true when gone() does, and lives as long as the stream. Any thread.
  virtual const std::atomic<bool>& gone_flag() const = 0;

  // The next message; none when the caller has sent its last.
  virtual Task<std::optional<std::string>> Receive() = 0;
  // Returns when the message is on its way. False: the caller is gone.
  virtual Task<bool> Send(std::string message) = 0;
  virtual void Finish(GrpcStatus status) = 0;
  // The last message, and success.
  virtual void FinishWith(std::string message) = 0;
};

// A method whose answer is a stream, which no dispatcher knows. Control loop only.
class GrpcStreamMethod {
 public:
  // "pollux.v1.Events", "Watch".
  virtual std::string service() const = 0;
  virtual std::string method() const = 0;
  // Ends the stream, at any time, whatever the caller does.
  virtual Task<void> Serve(std::shared_ptr<GrpcStream> stream) = 0;
  // Some caller gave up its call: who waits with a stream looks whether it is gone().
  virtual void LookAgain() = 0;
  // The server stops: all streams end by themselves, soon.
  virtual void End() = 0;

 protected:
  ~GrpcStreamMethod() = default;
};

}  // namespace pollux::rpc
