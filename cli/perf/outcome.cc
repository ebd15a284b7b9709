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

// "…/b/c:1": of a long address the end tells more.
std::string LabelOf(const Outcome::Controller& controller, uint32_t nsid) {
  std::string label = absl::StrFormat("%s:%d", Printable(controller.address), nsid);
  if (label.size() > kLabelMax) label = "..." + label.substr(label.size() - kLabelMax + 3);
  return label;
}

void AppendRow(std::string& out, const std::string& label, const std::string& queue,
               const std::string& core, const Totals& totals, uint64_t errors, double seconds) {
  const Reading both = totals.Both();
  out += absl::StrFormat(
      "%-*s %5s %4s %12s %10s %8s %8s %8s %8s %7d\n", static_cast<int>(kLabelMax), label, queue,
      core, RateText(totals.ios(), seconds), MiBPerSecondText(totals.bytes(), seconds),
      MeanText(both), TimeText(both.PercentileNs(0.5)), TimeText(both.PercentileNs(0.99)),
      TimeText(both.PercentileNs(0.9999)), errors);
}

std::string WhatText(const PerfOptions& options) {
  std::string text = absl::StrFormat("%s, %s", options.pattern_name, BytesText(options.io_bytes));
  if (options.pattern == Pattern::kRw || options.pattern == Pattern::kRandRw) {
    text += absl::StrFormat(", %d %% reads", options.mix);
  }
  text += absl::StrFormat(", depth %d", options.depth);
  if (options.verify && options.pattern != Pattern::kVerify) text += ", verified";
  return text;
}

void WriteTotals(JsonWriter& out, const Totals& totals, const ErrorCounts& errors,
                 uint64_t differences, double seconds) {
  out.Key("read");
  WriteReading(out, "ios", "iops", totals.reads, seconds);
  out.Key("write");
  WriteReading(out, "ios", "iops", totals.writes, seconds);
  out.Key("verified");
  out.Number(totals.verified);
  out.Key("differences");
  out.Number(differences);
  out.Key("errors");
  out.Number(errors.total());
  out.Key("errors_by_status");
  out.BeginArray();
  for (size_t i = 0; i < errors.kinds(); ++i) {
    char text[128];
    out.BeginObject();
    out.Key("status");
    out.Number(uint64_t{errors.kind(i).code});
    out.Key("text");
    out.Text(pollux_nvme_status_text(errors.kind(i).code, text, sizeof(text)));
    out.Key("count");
    out.Number(errors.kind(i).count);
    out.EndObject();
  }
  out.EndArray();
}

void WriteDriver(JsonWriter& out, const pollux_nvme_queue_statistics& driver) {
  out.Key("driver");
  out.BeginObject();
  const auto write = [&](const char* name, uint64_t value) {
    out.Key(name);
    out.Number(value);
  };
  write("submitted", driver.submitted);
  write("completed", driver.completed);
  write("failed", driver.failed);
  write("doorbells", driver.doorbells);
  write("polls", driver.polls);
  write("idle_polls", driver.idle_polls);
  write("stray_completions", driver.stray_completions);
  write("timeouts", driver.timeouts);
  out.EndObject();
}

void WriteQueue(JsonWriter& out, const Outcome& outcome, const Outcome::Queue& queue) {
  out.BeginObject();
  out.Key("controller");
  out.Text(outcome.controllers[queue.controller].address);
  out.Key("nsid");
  out.Number(uint64_t{queue.nsid});
  out.Key("queue");
  out.Number(uint64_t{queue.id});
  out.Key("core");
  out.Raw(std::to_string(queue.core));
  out.Key("depth");
  out.Number(uint64_t{queue.depth});
  out.Key("passes");
  out.Number(queue.passes);
  out.Key("failure");
  out.Text(queue.failure);
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
  std::string out = absl::StrFormat("%s: %.2f s%s\n\n", WhatText(options), outcome.seconds,
                                    outcome.interrupted ? ", interrupted" : "");
  for (const Outcome::Controller& controller : outcome.controllers) {
    out += absl::StrFormat("%s: %s, serial number %s, firmware %s%s\n",
                           Printable(controller.address), Printable(controller.model),
                           Printable(controller.serial_number), Printable(controller.firmware),
                           controller.shadow_doorbells ? ", shadow doorbells" : "");
  }
  out += absl::StrFormat("\n%-*s %5s %4s %12s %10s %8s %8s %8s %8s %7s\n",
                         static_cast<int>(kLabelMax), "Namespace", "Queue", "Core", "I/Os per s",
                         "MiB per s", "average", "p50", "p99", "p99.99", "errors");
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
  out.Key("workload");
  out.Text(options.pattern_name);
  out.Key("io_bytes");
  out.Number(uint64_t{options.io_bytes});
  out.Key("depth");
  out.Number(uint64_t{options.depth});
  out.Key("mix");
  out.Number(uint64_t{options.mix});
  out.Key("verify");
  out.Bool(options.verify);
  out.Key("seconds");
  out.Number(outcome.seconds);
  out.Key("interrupted");
  out.Bool(outcome.interrupted);
  out.Key("first_difference");
  out.Text(outcome.first_difference);
  out.Key("controllers");
  out.BeginArray();
  for (const Outcome::Controller& controller : outcome.controllers) {
    out.BeginObject();
    out.Key("address");
    out.Text(controller.address);
    out.Key("model");
    out.Text(controller.model);
    out.Key("serial_number");
    out.Text(controller.serial_number);
    out.Key("firmware");
    out.Text(controller.firmware);
    out.Key("shadow_doorbells");
    out.Bool(controller.shadow_doorbells);
    out.EndObject();
  }
  out.EndArray();
  out.Key("total");
  out.BeginObject();
  const Totals sum = outcome.Sum();
  out.Key("iops");
  out.Number(PerSecond(sum.ios(), outcome.seconds));
  out.Key("bytes_per_second");
  out.Number(PerSecond(sum.bytes(), outcome.seconds));
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
  const Reading both = since.Both();
  std::string line =
      absl::StrFormat("%6.1f s  %12s I/Os per s  %9s MiB per s  average %8s  p99 %8s", at_seconds,
                      RateText(since.ios(), seconds), MiBPerSecondText(since.bytes(), seconds),
                      MeanText(both), TimeText(both.latency.Percentile(0.99)));
  if (errors > 0) line += absl::StrFormat("  %d errors", errors);
  return line;
}

}  // namespace pollux::cli
