#pragma once
#include <sys/types.h>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "core/status.h"
#include "core/unique_fd.h"
#include "rpc/auditor.h"

namespace pollux::service {

// Who changed what, and who was refused: a file of JSON objects, one in a line.
//
//   {"time":"2026-11-24T01:02:03.456Z","who":"uid 0 pid 812 (unix)","method":"bdev_malloc_create",
//    "params":{"name":"Malloc0",...},"result":"ok"}
//
// Secrets are left out. A thread of its own writes, so that a slow disk holds nobody up; what it
// cannot keep up with is counted, and the count is written. At 64 MiB the file becomes FILE.1; a
// file that somebody else moved away is begun anew.
class AuditLog final : public rpc::Auditor {
 public:
  static constexpr size_t kWaitingBytesMax = 8 * 1024 * 1024;
  static constexpr size_t kParamsBytesMax = 16 * 1024;  // Longer ones are said to be so.
  static constexpr off_t kFileBytesMax = 64 * 1024 * 1024;

  // Opens the file, mode 0600, and starts the thread. Signals must be blocked here already.
  static Result<std::unique_ptr<AuditLog>> Open(std::string path,
                                                off_t file_bytes_max = kFileBytesMax);
  ~AuditLog();  // When all is written.

  void OnCallEnded(const Call& call, const Status& result) override;
  void OnCallerRefused(const std::string& who, const Status& why) override;

  // What keeps it from being written; empty when nothing does.
  std::string complaint() const;

 private:
  AuditLog(std::string path, off_t file_bytes_max)
      : path_(std::move(path)), file_bytes_max_(file_bytes_max) {}
  void Add(std::string line);
  // The thread.
  void Main();
  Status Write(const std::string& lines);
  Status OpenFile();

  const std::string path_;
  const off_t file_bytes_max_;
  UniqueFd file_;      // The thread's, after Open.
  bool torn_ = false;  // Likewise: the file may end in the middle of a line.
  std::thread thread_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Under the mutex.
  std::string waiting_;
  uint64_t lost_ =
      0;  // Lines that found no room, and that could not be written, since the last that did.
  std::string complaint_;
  bool ending_ = false;
};

}  // namespace pollux::service
