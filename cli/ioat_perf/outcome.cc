#include "cli/ioat_perf/outcome.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "cli/tool/json_writer.h"
#include "cli/tool/units.h"
#include "core/log.h"

namespace pollux::cli {
namespace {

constexpr size_t kLabelMax = 32;

std::string LabelOf(const IoatOutcome& outcome, const IoatOutcome::Channel& channel) {
  if (channel.device < 0) return "CPU";
  return ShortenedText(Printable(outcome.devices[static_cast<size_t>(channel.device)].address),
                       kLabelMax);
}

void AppendRow(std::string& out, const std::string& label, const std::string& channel,
               const std::string& core, const Reading& reading, uint64_t errors, double seconds) {
  out += absl::StrFormat("%-*s %7s %4s %s %7d\n", static_cast<int>(kLabelMax), label, channel, core,
                         RateColumns(reading, seconds), errors);
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
  out.Field("seconds", side.seconds);
  out.Field("verified", side.verified);
  out.Field("differences", side.differences);
  out.Field("errors", side.error_count);
  out.EndObject();
}

void WriteDriver(JsonWriter& out, const pollux_ioat_statistics& driver) {
  out.BeginObject();
  out.Field("submitted", driver.submitted);
  out.Field("completed", driver.completed);
  out.Field("failed", driver.failed);
  out.Field("descriptors", driver.descriptors);
  out.Field("doorbells", driver.doorbells);
  out.Field("polls", driver.polls);
  out.Field("idle_polls", driver.idle_polls);
  out.Field("errors", driver.errors);
  out.Field("resets", driver.resets);
  out.EndObject();
}

void WriteChannel(JsonWriter& out, const IoatOutcome& outcome,
                  const IoatOutcome::Channel& channel) {
  out.BeginObject();
  out.Field("device", channel.device < 0
                          ? "cpu"
                          : outcome.devices[static_cast<size_t>(channel.device)].address);
  out.Field("channel", channel.number);
  out.Field("core", channel.core);
  out.Field("depth", channel.depth);
  out.Key("done");
  WriteReading(out, "operations", "operations_per_second", channel.reading, channel.seconds);
  out.Field("verified", channel.verified);
  out.Field("differences", channel.differences);
  out.Field("errors", channel.error_count);
  out.Key("errors_by_status");
  out.BeginArray();
  for (const auto& [kind, count] : channel.errors) {
    out.BeginObject();
    out.Field("status", pollux_ioat_status_name(kind.first));
    out.Field("chanerr", kind.second);
    out.Field("count", count);
    out.EndObject();
  }
  out.EndArray();
  out.Field("failure", channel.failure);
  out.Field("first_difference", channel.first_difference);
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
  out += absl::StrFormat("%-*s %7s %4s %s %7s\n", static_cast<int>(kLabelMax), "Device", "Channel",
                         "Core", RateHeading("per s"), "errors");
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
  out.Field("workload", options.operation_name);
  out.Field("bytes", options.bytes);
  out.Field("sources", IoatWork::Shape::Of(options).sources);
  out.Field("depth", options.depth);
  out.Field("verify", options.verify);
  out.Field("interrupted", outcome.interrupted);
  out.Key("devices");
  out.BeginArray();
  for (const IoatOutcome::Device& device : outcome.devices) {
    out.BeginObject();
    out.Field("address", device.address);
    out.Field("model", device.model);
    out.Field("version", absl::StrFormat("%d.%d", device.version >> 4, device.version & 15));
    out.Field("transfer_bytes_max", device.transfer_bytes_max);
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
  std::string line = (cpu ? "CPU    " : "device ") + RateLine("per s", at_seconds, seconds, since);
  if (errors > 0) line += absl::StrFormat("  %d errors", errors);
  return line;
}

}  // namespace pollux::cli
