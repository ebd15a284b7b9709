#include "cli/perf/outcome.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "cli/tool/json_writer.h"
#include "cli/tool/meter.h"
#include "cli/tool/units.h"
#include "core/log.h"

namespace pollux::cli {
namespace {

constexpr size_t kLabelMax = 32;

std::string LabelOf(const Outcome::Controller& controller, uint32_t nsid) {
  return ShortenedText(absl::StrFormat("%s:%d", Printable(controller.address), nsid), kLabelMax);
}

void AppendRow(std::string& out, const std::string& label, const std::string& queue,
               const std::string& core, const Totals& totals, uint64_t errors, double seconds) {
  out += absl::StrFormat("%-*s %5s %4s %s %7d\n", static_cast<int>(kLabelMax), label, queue, core,
                         RateColumns(totals.Both(), seconds), errors);
}

void WriteTotals(JsonWriter& out, const Totals& totals, const ErrorCounts& errors,
                 uint64_t differences, double seconds) {
  out.Key("read");
  WriteReading(out, "ios", "iops", totals.reads, seconds);
  out.Key("write");
  WriteReading(out, "ios", "iops", totals.writes, seconds);
  out.Field("verified", totals.verified);
  out.Field("differences", differences);
  out.Field("errors", errors.total());
  out.Key("errors_by_status");
  out.BeginArray();
  for (size_t i = 0; i < errors.kinds(); ++i) {
    char text[128];
    out.BeginObject();
    out.Field("status", errors.kind(i).code);
    out.Field("text", pollux_nvme_status_text(errors.kind(i).code, text, sizeof(text)));
    out.Field("count", errors.kind(i).count);
    out.EndObject();
  }
  out.EndArray();
}

void WriteDriver(JsonWriter& out, const pollux_nvme_queue_statistics& driver) {
  out.Key("driver");
  out.BeginObject();
  out.Field("submitted", driver.submitted);
  out.Field("completed", driver.completed);
  out.Field("failed", driver.failed);
  out.Field("doorbells", driver.doorbells);
  out.Field("polls", driver.polls);
  out.Field("idle_polls", driver.idle_polls);
  out.Field("stray_completions", driver.stray_completions);
  out.Field("timeouts", driver.timeouts);
  out.EndObject();
}

void WriteQueue(JsonWriter& out, const Outcome& outcome, const Outcome::Queue& queue) {
  out.BeginObject();
  out.Field("controller", outcome.controllers[queue.controller].address);
  out.Field("nsid", queue.nsid);
  out.Field("queue", queue.id);
  out.Field("core", queue.core);
  out.Field("depth", queue.depth);
  out.Field("passes", queue.passes);
  out.Field("failure", queue.failure);
  WriteTotals(out, queue.totals, queue.errors, queue.differences, outcome.seconds);
  WriteDriver(out, queue.driver);
  out.EndObject();
}

}  // namespace

Totals Outcome::Sum() const {
  Totals sum;
  for (const Queue& queue : queues) sum.Add(queue.totals);
  return sum;
}

ErrorCounts Outcome::Errors() const {
  ErrorCounts sum;
  for (const Queue& queue : queues) sum.Add(queue.errors);
  return sum;
}

uint64_t Outcome::Differences() const {
  uint64_t sum = 0;
  for (const Queue& queue : queues) sum += queue.differences;
  return sum;
}

bool Outcome::Good() const {
  const auto failed = [](const Queue& queue) { return !queue.failure.empty(); };
  return Errors().total() == 0 && Differences() == 0 &&
         std::none_of(queues.begin(), queues.end(), failed);
}

std::string ForPeople(const PerfOptions& options, const Outcome& outcome) {
  std::string out = absl::StrFormat("%s: %.2f s%s\n\n", WorkloadText(options), outcome.seconds,
                                    outcome.interrupted ? ", interrupted" : "");
  for (const Outcome::Controller& controller : outcome.controllers) {
    out += absl::StrFormat("%s: %s, serial number %s, firmware %s%s\n",
                           Printable(controller.address), Printable(controller.model),
                           Printable(controller.serial_number), Printable(controller.firmware),
                           controller.shadow_doorbells ? ", shadow doorbells" : "");
  }
  out += absl::StrFormat("\n%-*s %5s %4s %s %7s\n", static_cast<int>(kLabelMax), "Namespace",
                         "Queue", "Core", RateHeading("I/Os per s"), "errors");
  for (const Outcome::Queue& queue : outcome.queues) {
    AppendRow(out, LabelOf(outcome.controllers[queue.controller], queue.nsid),
              std::to_string(queue.id), queue.core < 0 ? "-" : std::to_string(queue.core),
              queue.totals, queue.errors.total(), outcome.seconds);
  }
  const Totals sum = outcome.Sum();
  const ErrorCounts errors = outcome.Errors();
  if (outcome.queues.size() > 1) {
    AppendRow(out, "total", "", "", sum, errors.total(), outcome.seconds);
  }
  if (sum.ios() > 0) out += LatencyTable({{"read", &sum.reads}, {"write", &sum.writes}});
  if (options.verify) {
    out += absl::StrFormat("\nVerified: %s reads held what was written, %s did not\n",
                           WithCommas(sum.verified), WithCommas(outcome.Differences()));
    if (!outcome.first_difference.empty()) out += "  first: " + outcome.first_difference + "\n";
  }
  if (errors.total() > 0) out += "\nErrors: " + errors.Text() + "\n";
  for (const Outcome::Queue& queue : outcome.queues) {
    if (queue.failure.empty()) continue;
    out += absl::StrFormat("\n%s, queue %d ended early: %s\n",
                           LabelOf(outcome.controllers[queue.controller], queue.nsid), queue.id,
                           Printable(queue.failure));
  }
  return out;
}

std::string ToJson(const PerfOptions& options, const Outcome& outcome) {
  JsonWriter out;
  out.BeginObject();
  out.Field("workload", options.pattern_name);
  out.Field("io_bytes", options.io_bytes);
  out.Field("depth", options.depth);
  out.Field("mix", options.mix);
  out.Field("verify", options.verify);
  out.Field("seconds", outcome.seconds);
  out.Field("interrupted", outcome.interrupted);
  out.Field("first_difference", outcome.first_difference);
  out.Key("controllers");
  out.BeginArray();
  for (const Outcome::Controller& controller : outcome.controllers) {
    out.BeginObject();
    out.Field("address", controller.address);
    out.Field("model", controller.model);
    out.Field("serial_number", controller.serial_number);
    out.Field("firmware", controller.firmware);
    out.Field("shadow_doorbells", controller.shadow_doorbells);
    out.EndObject();
  }
  out.EndArray();
  out.Key("total");
  out.BeginObject();
  const Totals sum = outcome.Sum();
  out.Field("iops", PerSecond(sum.ios(), outcome.seconds));
  out.Field("bytes_per_second", PerSecond(sum.bytes(), outcome.seconds));
  WriteTotals(out, sum, outcome.Errors(), outcome.Differences(), outcome.seconds);
  out.EndObject();
  out.Key("queues");
  out.BeginArray();
  for (const Outcome::Queue& queue : outcome.queues) WriteQueue(out, outcome, queue);
  out.EndArray();
  out.EndObject();
  return out.Take();
}

std::string ProgressLine(double at_seconds, double seconds, const Totals& since, uint64_t errors) {
  std::string line = RateLine("I/Os per s", at_seconds, seconds, since.Both());
  if (errors > 0) line += absl::StrFormat("  %d errors", errors);
  return line;
}

}  // namespace pollux::cli
