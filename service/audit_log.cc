#include "service/audit_log.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <utility>

#include "core/log.h"
#include "rpc/access_rules.h"
#include "rpc/json_codec.h"
#include "service/time_text.h"

namespace pollux::service {
namespace {

std::string TimeTextOfNow() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return TimeTextOfMs(int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000);
}

std::string Line(const std::string& who, const std::string& what, const Status& result) {
  std::string line = absl::StrFormat("{\"time\":%s,\"who\":%s", rpc::QuoteJson(TimeTextOfNow()),
                                     rpc::QuoteJson(who));
  line += what;
  if (result.ok()) return line + ",\"result\":\"ok\"}\n";
  const absl::string_view message = result.message();
  return line + absl::StrFormat(",\"result\":\"%s\",\"errno\":%d,\"reason\":%s}\n",
                                rpc::IsAccessDenied(result) ? "refused" : "failed", ErrnoOf(result),
                                rpc::QuoteJson({message.data(), message.size()}));
}

}  // namespace

Result<std::unique_ptr<AuditLog>> AuditLog::Open(std::string path, off_t file_bytes_max) {
  std::unique_ptr<AuditLog> self(new AuditLog(std::move(path), file_bytes_max));
  RETURN_IF_ERROR(self->OpenFile());
  self->thread_ = std::thread([log = self.get()] { log->Main(); });
  return self;
}

AuditLog::~AuditLog() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void AuditLog::OnCallEnded(const Call& call, const Status& result) {
  std::string what = absl::StrFormat(",\"method\":%s", rpc::QuoteJson(call.method));
  if (call.params.size() > kParamsBytesMax) {
    what += absl::StrFormat(",\"params_bytes\":%d", call.params.size());
  } else if (!call.params.empty()) {
    what += ",\"params\":" + call.params;
  }
  Add(Line(call.who, what, result));
}

void AuditLog::OnCallerRefused(const std::string& who, const Status& why) {
  Add(Line(who, "", rpc::AccessDenied(std::string(why.message()))));
}

std::string AuditLog::complaint() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return complaint_;
}

void AuditLog::Add(std::string line) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (waiting_.size() + line.size() > kWaitingBytesMax) {
      ++lost_;
      return;
    }
    if (lost_ > 0) {
      waiting_ += absl::StrFormat("{\"time\":%s,\"lost\":%d}\n", rpc::QuoteJson(TimeTextOfNow()),
                                  std::exchange(lost_, 0));
    }
    waiting_ += line;
  }
  changed_.notify_one();
}

// --- The thread.

void AuditLog::Main() {
  pthread_setname_np(pthread_self(), "audit");
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    const std::string lines = std::exchange(waiting_, std::string());
    lock.unlock();
    const Status written = Write(lines);
    lock.lock();
    if (!written.ok()) lost_ += static_cast<uint64_t>(std::ranges::count(lines, '\n'));
    const std::string complaint(written.message());
    if (complaint != complaint_ && !complaint.empty()) LogError("service", "%s", complaint);
    complaint_ = complaint;
  }
}

Status AuditLog::OpenFile() {
  const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW;
  file_ = UniqueFd(open(path_.c_str(), flags, 0600));
  if (file_.valid()) return OkStatus();
  return ErrorOfErrno(
      errno, absl::StrFormat("the audit log %s cannot be opened: %s", path_, strerror(errno)));
}

Status AuditLog::Write(const std::string& lines) {
  struct stat ours, named;
  const bool is_there = file_.valid() && fstat(file_.get(), &ours) == 0 &&
                        stat(path_.c_str(), &named) == 0 && ours.st_ino == named.st_ino &&
                        ours.st_dev == named.st_dev;
  if (is_there && ours.st_size >= file_bytes_max_) {
    std::rename(path_.c_str(), (path_ + ".1").c_str());
    RETURN_IF_ERROR(OpenFile());
  } else if (!is_there) {
    RETURN_IF_ERROR(OpenFile());
  }
  const std::string whole = torn_ ? "\n" + lines : lines;
  torn_ = true;
  for (size_t done = 0; done < whole.size();) {
    const ssize_t written = write(file_.get(), whole.data() + done, whole.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      return ErrorOfErrno(
          errno, absl::StrFormat("the audit log %s cannot be written: %s", path_, strerror(errno)));
    }
    done += static_cast<size_t>(written);
  }
  torn_ = false;
  return OkStatus();
}

}  // namespace pollux::service
