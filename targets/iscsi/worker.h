#pragma once
#include <array>
#include <map>
#include <memory>
#include <vector>

#include "core/log_limiter.h"
#include "core/memory/buffer_pool.h"
#include "core/method_call.h"
#include "targets/iscsi/discovery.h"
#include "targets/iscsi/session.h"

namespace pollux::iscsi {

// What sessions ask of the control loop. Its methods run there.
class ControlSide {
 public:
  virtual std::string SendTargets(const DiscoveryQuery& query) = 0;
  virtual void OnSessionGone(uint16_t tsih) = 0;
  // All sessions of the target are to end. RFC 7143 §11.5.1.
  virtual void OnColdReset(const std::string& target_name) = 0;

 protected:
  ~ControlSide() = default;
};

// What one loop has of the iSCSI target: its sessions and the buffers that they share. Each reactor
// has one; the control loop has one for discovery sessions, which move no data.
class Worker {
 public:
  static constexpr size_t kDataBufferBytes = 64 * 1024;

  struct Environment {
    Loop& loop;
    Loop& control;
    ControlSide& control_side;
    StreamKind stream = StreamKind::kEpoll;
    // The SCSI layer's; null on the control loop.
    BufferPool* data = nullptr;
    const Options& options;
  };
  // `unsolicited_count` buffers for data that comes before it is wanted.
  Worker(Environment environment, size_t unsolicited_bytes, size_t unsolicited_count);
  ~Worker();  // After all its sessions.

  // --- On its loop.
  Session* Adopt(std::unique_ptr<Session> session);
  Session* Find(uint16_t tsih);
  void Drain(uint64_t within_ns);
  void CloseAll(const char* reason);
  // Of all sessions with the target.
  void SetLatencies(const std::string& target_name, Histogram* latencies);
  size_t session_count() const { return sessions_.size(); }
  void AppendConnections(std::vector<ConnectionInfo>& infos);

  Loop& loop() { return environment_.loop; }
  Loop& control() { return environment_.control; }
  ControlSide& control_side() { return environment_.control_side; }
  StreamKind stream() const { return environment_.stream; }
  BufferPool& data_buffers() { return *environment_.data; }
  BufferPool& unsolicited_buffers() { return unsolicited_; }
  const Options& options() const { return environment_.options; }
  // What initiators can make us say.
  LogLimiter& log() { return log_; }
  // Where bytes go that nobody wants.
  std::span<std::byte> scrap() { return scrap_; }

  // A session has ended; it is destroyed later in this turn or in the next.
  void OnSessionEnded(Session& session);

 private:
  void RunBurial();

  const Environment environment_;
  const std::unique_ptr<std::byte[]> unsolicited_memory_;
  BufferPool unsolicited_;
  std::map<uint16_t, std::unique_ptr<Session>> sessions_;
  std::vector<uint16_t> ended_;
  std::array<std::byte, 16 * 1024> scrap_;
  LogLimiter log_{environment_.loop, "iscsi", "connections"};
  DeferredCall<Worker, &Worker::RunBurial> burial_{*this};
};

}  // namespace pollux::iscsi
