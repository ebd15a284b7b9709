#pragma once
#include <cstdint>
#include <memory>

#include "core/loop.h"
#include "core/task.h"
#include "core/unique_fd.h"
#include "rpc/grpc/stream.h"

namespace pollux::rpc {

// gRPC over connections that others accepted. One thread of its own waits for gRPC's events and
// hands them to the control loop, where the calls are answered; it sleeps when there are none.
//
// gRPC has threads for callbacks, too, and services of its own for health and reflection that need
// them: those wake up every second and then sleep through what comes in the next 100 ms, so they
// are not used. Its timer threads, which deadlines need, do look around once a second.
class GrpcTransport {
 public:
  // What one caller may have of us, and all together.
  static constexpr int kRequestBytesMax = 256 * 1024;          // Of one message, as in JSON-RPC.
  static constexpr size_t kAnswerBytesMax = 32 * 1024 * 1024;  // The same.
  static constexpr int kStreamsPerConnectionMax = 128;         // More wait at the caller.
  static constexpr size_t kCallsMax = 512;  // Of all; the next one is refused at once.
  static constexpr size_t kMemoryMax = 64 * 1024 * 1024;  // What gRPC may buffer.
  // A connection that is silent is asked whether anybody is there, and closed when nobody says so.
  static constexpr int kKeepaliveMs = 60 * 1000;
  static constexpr int kKeepaliveTimeoutMs = 20 * 1000;

  // On the control loop.
  class Owner {
   public:
    // A call came, and with it the first message, if there is one.
    virtual void OnCall(std::shared_ptr<GrpcStream> stream) = 0;
    // Some caller gave up its call.
    virtual void OnGone() = 0;

   protected:
    ~Owner() = default;
  };

  // Starts the thread. Signals must be blocked here already: it inherits that.
  GrpcTransport(Loop& control, Owner& owner);
  ~GrpcTransport();  // After Stop().

  // Takes over a connected, non-blocking socket. What GrpcStream::connection() shows is its number.
  void Serve(UniqueFd socket);
  // Tells the callers to go, lets calls end for at most `drain_ns`, cancels what is left and closes
  // all connections. Returns when no stream is left: whoever has one must finish it.
  Task<void> Stop(uint64_t drain_ns);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pollux::rpc
