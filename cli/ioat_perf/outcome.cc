#include "cli/ioat_perf/outcome.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "cli/tool/json_writer.h"
#include "cli/tool/units.h"
#include "core/log.h"

namespace pollux::cli {
namespace {

constexpr size_t kLabelMax = 32;

// Of a long address the end tells more.
std::string LabelOf(const IoatOutcome& outcome, const IoatOutcome::Channel& channel) {
  if (channel.device < 0) return "CPU";
  std::string label = Printable(outcome.devices[static_cast<size_t>(channel.device)].address);
  if (label.size() > kLabelMax) label = "..." + label.substr(label.size() - kLabelMax + 3);
  return label;
}

void AppendRow(std::string& out, const std::string& label, const std::string& channel,
               const std::string& core, const Reading& reading, uint64_t errors, double seconds) {
  out += absl::StrFormat(
      "%-*s %7s %4s %12s %10s %8s %8s %8s %8s %7d\n", static_cast<int>(kLabelMax), label, channel,
      core, RateText(reading.count, seconds), MiBPerSecondText(reading.bytes, seconds),
      MeanText(reading), TimeText(reading.PercentileNs(0.5)), TimeText(reading.PercentileNs(0.99)),
      TimeText(reading.PercentileNs(0.9999)), errors);
}

std::string ErrorText(const IoatJob::Kind& kind) {
  std::string text = pollux_ioat_status_name(kind.first);
  if (kind.second != 0) text += absl::StrFormat(" (CHANERR %xh)", kind.second);
  return text;
}

std::string WhatText(const IoatPerfOptions& options) {
  std::string text = absl::StrFormat("%s, %s", options.operation_name, BytesText(options.bytes));
  if (options.has_sources()) text += absl::StrFormat(" of %d sources", options.sources);
  text += absl::StrFormat(", depth %d", options.depth);
  if (options.verify) text += ", verified";
  return text;
}

void WriteSide(JsonWriter& out, const IoatOutcome::Side& side) {
  out.BeginObject();
  out.Key("done");
  WriteReading(out, "operations", "operations_per_second", side.reading, side.seconds);
  out.Key("seconds");
  out.Number(side.seconds);
  out.Key("verified");
  out.Number(side.verified);
  out.Key("differences");
  out.Number(side.differences);
  out.Key("errors");
  out.Number(side.error_count);
  out.EndObject();
}

void WriteDriver(JsonWriter& out, const pollux_ioat_statistics& driver) {
  out.BeginObject();
  const auto write = [&out](const char* name, uint64_t value) {
    out.Key(name);
    out.Number(value);
  };
  write("submitted", driver.submitted);
  write("completed", driver.completed);
  write("failed", driver.failed);
  write("descriptors", driver.descriptors);
  write("doorbells", driver.doorbells);
  write("polls", driver.polls);
  write("idle_polls", driver.idle_polls);
  write("errors", driver.errors);
  write("resets", driver.resets);
  out.EndObject();
}

void WriteChannel(JsonWriter& out, const IoatOutcome& outcome,
                  const IoatOutcome::Channel& channel) {
  out.BeginObject();
  out.Key("device");
  out.Text(channel.device < 0 ? "cpu"
                              : outcome.devices[static_cast<size_t>(channel.device)].address);
  out.Key("channel");
  out.Number(uint64_t{channel.number});
  out.Key("core");
  out.Raw(std::to_string(channel.core));
  out.Key("depth");
  out.Number(uint64_t{channel.depth});
  out.Key("done");
  WriteReading(out, "operations", "operations_per_second", channel.reading, channel.seconds);
  out.Key("verified");
  out.Number(channel.verified);
  out.Key("differences");
  out.Number(channel.differences);
  out.Key("errors");
  out.Number(channel.error_count);
  out.Key("errors_by_status");
  out.BeginArray();
  for (const auto& [kind, count] : channel.errors) {
    out.BeginObject();
    out.Key("status");
    out.Text(pollux_ioat_status_name(kind.first));
    out.Key("chanerr");
    out.Number(uint64_t{kind.second});
    out.Key("count");
    out.Number(count);
    out.EndObject();
  }
  out.EndArray();
  out.Key("failure");
  out.Text(channel.failure);
  out.Key("first_difference");
  out.Text(channel.first_difference);
  if (channel.device >= 0) {
    out.Key("driver");
    WriteDriver(out, channel.driver);
  }
  out.EndObject();
}

}  // namespace

IoatOutcome::Side IoatOutcome::Sum(bool cpu) const {
  Side side;
  for (const Channel& channel : channels) {
    if ((channel.device < 0) != cpu) continue;
    ++side.channels;
    side.reading.Add(channel.reading);
    side.seconds = std::max(side.seconds, channel.seconds);
    side.error_count += channel.error_count;
    side.verified += channel.verified;
    side.differences += channel.differences;
  }
  return side;
}

bool IoatOutcome::Good() const {
  return std::all_of(channels.begin(), channels.end(), [](const Channel& channel) {
    return channel.error_count == 0 && channel.differences == 0 && channel.failure.empty();
  });
}

std::string ForPeople(const IoatPerfOptions& options, const IoatOutcome& outcome) {
  const IoatOutcome::Side device = outcome.Sum(/*cpu=*/false), cpu = outcome.Sum(/*cpu=*/true);
  std::string out =
      absl::StrFormat("%s: %.2f s%s\n\n", WhatText(options), std::max(device.seconds, cpu.seconds),
                      outcome.interrupted ? ", interrupted" : "");
  for (const IoatOutcome::Device& each : outcome.devices) {
    out +=
        absl::StrFormat("%s: %s, version %d.%d, %s at once\n", Printable(each.address), each.model,
                        each.version >> 4, each.version & 15, BytesText(each.transfer_bytes_max));
  }
  if (!outcome.devices.empty()) out.push_back('\n');
  out += absl::StrFormat("%-*s %7s %4s %12s %10s %8s %8s %8s %8s %7s\n",
                         static_cast<int>(kLabelMax), "Device", "Channel", "Core", "per s",
                         "MiB per s", "average", "p50", "p99", "p99.99", "errors");
  for (const IoatOutcome::Channel& channel : outcome.channels) {
    AppendRow(out, LabelOf(outcome, channel), std::to_string(channel.number),
              channel.core < 0 ? "-" : std::to_string(channel.core), channel.reading,
              channel.error_count, channel.seconds);
  }
  for (const auto& [name, side] : {std::pair{"all channels", &device}, {"all of the CPU", &cpu}}) {
    if (side->channels < 2) continue;
    AppendRow(out, name, "", "", side->reading, side->error_count, side->seconds);
  }
  if (device.reading.count + cpu.reading.count > 0) {
    out += LatencyTable({{"device", &device.reading}, {"CPU", &cpu.reading}});
  }
  if (options.verify) {
    out += absl::StrFormat("\nVerified: %s results were right, %s were not\n",
                           WithCommas(device.verified + cpu.verified),
                           WithCommas(device.differences + cpu.differences));
  }
  for (const IoatOutcome::Channel& channel : outcome.channels) {
    const std::string label =
        absl::StrFormat("%s, channel %d", LabelOf(outcome, channel), channel.number);
    if (!channel.first_difference.empty()) {
      out += absl::StrFormat("%s: %s\n", label, channel.first_difference);
    }
    for (const auto& [kind, count] : channel.errors) {
      out += absl::StrFormat("\n%s: %s times: %s\n", label, WithCommas(count), ErrorText(kind));
    }
    if (!channel.failure.empty()) {
      out += absl::StrFormat("\n%s ended early: %s\n", label, Printable(channel.failure));
    }
  }
  return out;
}

std::string ToJson(const IoatPerfOptions& options, const IoatOutcome& outcome) {
  JsonWriter out;
  out.BeginObject();
  out.Key("workload");
  out.Text(options.operation_name);
  out.Key("bytes");
  out.Number(uint64_t{options.bytes});
  out.Key("sources");
  out.Number(uint64_t{IoatWork::Shape::Of(options).sources});
  out.Key("depth");
  out.Number(uint64_t{options.depth});
  out.Key("verify");
  out.Bool(options.verify);
  out.Key("interrupted");
  out.Bool(outcome.interrupted);
  out.Key("devices");
  out.BeginArray();
  for (const IoatOutcome::Device& device : outcome.devices) {
    out.BeginObject();
    out.Key("address");
    out.Text(device.address);
    out.Key("model");
    out.Text(device.model);
    out.Key("version");
    out.Text(absl::StrFormat("%d.%d", device.version >> 4, device.version & 15));
    out.Key("transfer_bytes_max");
    out.Number(device.transfer_bytes_max);
    out.EndObject();
  }
  out.EndArray();
  for (const bool cpu : {false, true}) {
    const IoatOutcome::Side side = outcome.Sum(cpu);
    if (side.channels == 0) continue;
    out.Key(cpu ? "cpu" : "device");
    WriteSide(out, side);
  }
  out.Key("channels");
  out.BeginArray();
  for (const IoatOutcome::Channel& channel : outcome.channels) WriteChannel(out, outcome, channel);
  out.EndArray();
  out.EndObject();
  return out.Take();
}

std::string IoatProgressLine(bool cpu, double at_seconds, double seconds, const Reading& since,
                             uint64_t errors) {
  std::string line = absl::StrFormat(
      "%s %6.1f s  %12s per s  %9s MiB per s  average %8s  p99 %8s", cpu ? "CPU   " : "device",
      at_seconds, RateText(since.count, seconds), MiBPerSecondText(since.bytes, seconds),
      MeanText(since), TimeText(since.latency.Percentile(0.99)));
  if (errors > 0) line += absl::StrFormat("  %d errors", errors);
  return line;
}

}  // namespace pollux::cli
