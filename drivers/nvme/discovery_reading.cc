#include "drivers/nvme/discovery_reading.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "drivers/nvme/controller.h"
#include "drivers/nvme/discovery_log.h"
#include "drivers/nvme/error_text.h"
#include "drivers/nvme/host.h"

namespace pollux::nvme {

Status DiscoveryReading::Begin(OnRead on_read, void* context) {
  if (running()) return Busy("the discovery log page is being read already");
  if (controller_.state() == POLLUX_NVME_STATE_READY && !controller_.facts().discovery) {
    return NotSupported("%s is no discovery controller", controller_.name());
  }
  const uint64_t most = controller_.facts().info.transfer_bytes_max / sizeof(DiscoveryLogEntry);
  piece_entries_ = std::clamp<uint64_t>(most, 1, kPieceEntriesMax);
  buffer_ = controller_.admin().Buffer(piece_entries_ * sizeof(DiscoveryLogEntry));
  if (!buffer_.valid()) return OutOfMemory("no memory for the discovery log page");
  attempts_ = 1;
  entries_.clear();
  step_ = Step::kHeader;
  const int error = Ask(0, sizeof(DiscoveryLogHeader), /*retain_event=*/true);
  if (error != 0) {
    buffer_ = Piece();
    return ErrorOfErrno(-error, absl::StrFormat("%s is %s", controller_.name(),
                                                pollux_nvme_state_name(controller_.state())));
  }
  on_read_ = on_read;
  context_ = context;
  return OkStatus();
}

// What a page leaves out is zero.
int DiscoveryReading::Ask(uint64_t offset, size_t bytes, bool retain_event) {
  memset(buffer_.get(), 0, bytes);
  const SubmissionEntry entry = EntryOf(
      pollux_nvme_make_get_log_page(log_page::kDiscovery, 0, bytes, offset, 0, retain_event));
  return controller_.SubmitAdmin(*c(), entry, buffer_.get(), bytes);
}

void DiscoveryReading::AskForHeader(Step step) {
  step_ = step;
  // The last reading is what lets the controller tell of the next change. Base §5.2.
  const int error = Ask(0, sizeof(DiscoveryLogHeader), step == Step::kHeader);
  if (error != 0) End(ErrorOfErrno(-error, "the discovery log page cannot be asked for"));
}

void DiscoveryReading::AskForEntries() {
  step_ = Step::kEntries;
  const size_t count = std::min<uint64_t>(piece_entries_, expected_ - entries_.size());
  const uint64_t offset =
      sizeof(DiscoveryLogHeader) + entries_.size() * uint64_t{sizeof(DiscoveryLogEntry)};
  const int error = Ask(offset, count * sizeof(DiscoveryLogEntry), /*retain_event=*/true);
  if (error != 0) End(ErrorOfErrno(-error, "the discovery log page cannot be asked for"));
}

void DiscoveryReading::OnComplete(Completion completion) {
  if (!pollux_nvme_ok(completion)) {
    // The entries may be fewer than they were a moment ago, and the offset beyond the end.
    if (step_ == Step::kEntries && !pollux_nvme_do_not_retry(completion) &&
        pollux_nvme_code(completion) == status::kInvalidField) {
      return Restart();
    }
    const Status refused = CommandFailed("the discovery log page", completion);
    return End(ErrorOfErrno(EIO, std::string(refused.message())));
  }
  switch (step_) {
    case Step::kHeader:
      return OnHeader();
    case Step::kEntries:
      return OnEntries();
    case Step::kHeaderAgain:
      return OnHeaderAgain();
  }
}

void DiscoveryReading::OnHeader() {
  const auto& header = *buffer_.as<DiscoveryLogHeader>();
  if (header.recfmt != 0) {
    return End(ErrorOfErrno(
        EPROTO, absl::StrFormat("discovery log records of format %u", uint16_t{header.recfmt})));
  }
  generation_ = header.genctr;
  expected_ = header.numrec;
  if (expected_ > kEntriesMax) {
    return End(ErrorOfErrno(EFBIG, absl::StrFormat("a discovery log page of %u entries; %u are "
                                                   "read at most",
                                                   expected_, kEntriesMax)));
  }
  expected_ == 0 ? AskForHeader(Step::kHeaderAgain) : AskForEntries();
}

void DiscoveryReading::OnEntries() {
  const auto* entries = buffer_.as<DiscoveryLogEntry>();
  const size_t count = std::min<uint64_t>(piece_entries_, expected_ - entries_.size());
  for (size_t i = 0; i < count; ++i) entries_.push_back(DecodeDiscoveryEntry(entries[i]));
  entries_.size() < expected_ ? AskForEntries() : AskForHeader(Step::kHeaderAgain);
}

void DiscoveryReading::OnHeaderAgain() {
  const auto& header = *buffer_.as<DiscoveryLogHeader>();
  if (header.genctr != generation_ || header.numrec != expected_) return Restart();
  End(OkStatus());
}

void DiscoveryReading::Restart() {
  if (attempts_ == kAttemptsMax) {
    return End(ErrorOfErrno(
        ESTALE,
        absl::StrFormat("the discovery log page changed %u times while it was read", attempts_)));
  }
  ++attempts_;
  entries_.clear();
  AskForHeader(Step::kHeader);
}

// The next reading may begin inside the callback.
void DiscoveryReading::End(const Status& status) {
  const OnRead on_read = std::exchange(on_read_, nullptr);
  void* const context = context_;
  buffer_ = Piece();
  const std::vector<pollux_nvme_discovery_entry> entries = std::exchange(entries_, {});
  if (!status.ok()) return on_read(context, Fail(status), nullptr);
  pollux_nvme_discovery_log log{};
  log.generation = generation_;
  log.count = static_cast<uint32_t>(entries.size());
  log.entries = entries.data();
  on_read(context, 0, &log);
}

}  // namespace pollux::nvme

using pollux::nvme::Fail;

int pollux_nvme_discovery_read(pollux_nvme_controller* controller,
                               pollux::nvme::DiscoveryReading::OnRead on_read, void* context) {
  return Fail(controller->discovery_reading().Begin(on_read, context));
}

int pollux_nvme_discovery_read_wait(pollux_nvme_controller* controller,
                                    pollux::nvme::DiscoveryReading::OnRead on_read, void* context) {
  struct Waiting {
    pollux::nvme::DiscoveryReading::OnRead on_read;
    void* context;
    int error = 0;
  };
  if (controller->polling()) {
    return Fail(pollux::ErrorOfErrno(EDEADLK, "a callback may not wait for a log page"));
  }
  Waiting waiting{.on_read = on_read, .context = context};
  const auto read = [](void* about, int error, const pollux_nvme_discovery_log* log) {
    auto& waits = *static_cast<Waiting*>(about);
    waits.error = error;
    waits.on_read(waits.context, error, log);
  };
  const int error = pollux_nvme_discovery_read(controller, read, &waiting);
  if (error != 0) return error;
  // Each command has its time; the reading has a bound of commands.
  while (controller->discovery_reading().running()) {
    if (controller->Poll() == 0) controller->host().Idle();
  }
  return waiting.error;
}
