#include "cli/accel_perf/outcome.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_format.h"
#include "cli/tool/json_writer.h"
#include "cli/tool/units.h"
#include "core/log.h"

namespace pollux::cli {
namespace {

const char* ByWhom(const AccelRun& run) { return run.by_device ? "device" : "CPU"; }

std::string NsText(double ns) { return TimeText(static_cast<uint64_t>(ns + 0.5)); }

void AppendRow(std::string& out, const std::string& label, const AccelRun::Core& core,
               double seconds) {
  const double chains = static_cast<double>(std::max<uint64_t>(core.reading.count, 1));
  out += absl::StrFormat("%-14s %s %10s %7d\n", label, RateColumns(core.reading, seconds),
                         NsText(core.busy_ns / chains), core.failures);
}

void AppendRun(std::string& out, const AccelRun& run) {
  for (const AccelRun::Core& core : run.cores) {
    AppendRow(out, absl::StrFormat("%s, core %d", ByWhom(run), core.core), core, run.seconds);
  }
  if (run.cores.size() > 1) {
    AppendRow(out, absl::StrFormat("%s, all", ByWhom(run)), run.Sum(), run.seconds);
  }
}

void AppendSweep(std::string& out, const AccelOutcome& outcome) {
  std::map<uint32_t, std::pair<const AccelRun*, const AccelRun*>> sizes;
  for (const AccelRun& run : outcome.runs) {
    (run.by_device ? sizes[run.bytes].first : sizes[run.bytes].second) = &run;
  }
  out += absl::StrFormat("%10s %14s %14s %14s %14s\n", "Size", "device, MiB/s", "its CPU time",
                         "CPU, MiB/s", "its CPU time");
  for (const auto& [bytes, both] : sizes) {
    out += absl::StrFormat("%10s", BytesText(bytes));
    for (const AccelRun* run : {both.first, both.second}) {
      if (run == nullptr) continue;
      out += absl::StrFormat(" %14s %14s", MiBPerSecondText(run->Sum().reading.bytes, run->seconds),
                             NsText(run->CpuNsPerChain()));
    }
    out.push_back('\n');
  }
  const uint32_t worthwhile = outcome.WorthwhileBytes();
  out +=
      worthwhile == 0
          ? std::string("\nAt none of these sizes does a device save the CPU's time.\n")
          : absl::StrFormat("\nA device saves the CPU's time from %s on.\n", BytesText(worthwhile));
}

void WriteRun(JsonWriter& out, const AccelRun& run) {
  const AccelRun::Core sum = run.Sum();
  out.BeginObject();
  out.Field("by", run.by_device ? "device" : "cpu");
  out.Field("bytes", run.bytes);
  out.Field("seconds", run.seconds);
  out.Key("done");
  WriteReading(out, "chains", "chains_per_second", sum.reading, run.seconds);
  out.Field("cpu_ns_per_chain", run.CpuNsPerChain());
  out.Field("verified", sum.verified);
  out.Field("failures", sum.failures);
  out.Field("first_failure", sum.first_failure);
  out.Field("operations_by_device", run.by_module);
  out.Field("operations_by_cpu", run.by_cpu);
  out.Field("operations_given_back", run.given_back);
  out.Field("interrupted", run.interrupted);
  out.Key("cores");
  out.BeginArray();
  for (const AccelRun::Core& core : run.cores) {
    out.BeginObject();
    out.Field("core", core.core);
    out.Key("done");
    WriteReading(out, "chains", "chains_per_second", core.reading, run.seconds);
    out.EndObject();
  }
  out.EndArray();
  out.EndObject();
}

}  // namespace

AccelRun::Core AccelRun::Sum() const {
  Core sum;
  for (const Core& core : cores) {
    sum.reading.Add(core.reading);
    sum.busy_ns += core.busy_ns;
    sum.verified += core.verified;
    sum.failures += core.failures;
    if (sum.first_failure.empty()) sum.first_failure = core.first_failure;
  }
  return sum;
}

bool AccelRun::Good() const { return Sum().failures == 0; }

double AccelRun::CpuNsPerChain() const {
  const Core sum = Sum();
  return sum.busy_ns / static_cast<double>(std::max<uint64_t>(sum.reading.count, 1));
}

bool AccelOutcome::Good() const {
  return std::all_of(runs.begin(), runs.end(), [](const AccelRun& run) { return run.Good(); });
}

uint32_t AccelOutcome::WorthwhileBytes() const {
  std::map<uint32_t, double> saved;
  for (const AccelRun& run : runs) {
    saved[run.bytes] += (run.by_device ? -1 : 1) * run.CpuNsPerChain();
  }
  uint32_t from = 0;
  for (auto one = saved.rbegin(); one != saved.rend() && one->second > 0; ++one) from = one->first;
  return from;
}

std::string ForPeople(const AccelPerfOptions& options, const AccelOutcome& outcome) {
  std::string out = options.workload;
  if (!options.sweep) out += absl::StrFormat(", %s", BytesText(options.bytes));
  out += absl::StrFormat(
      ", depth %d%s%s\n\n", options.depth, options.verify ? ", verified" : "",
      !outcome.runs.empty() && outcome.runs.back().interrupted ? ", interrupted" : "");
  for (const AccelOutcome::Device& device : outcome.devices) {
    out += absl::StrFormat("%s: %s, %d channels\n", Printable(device.address), device.model,
                           device.channels);
  }
  if (!outcome.devices.empty()) out.push_back('\n');
  if (options.sweep) {
    AppendSweep(out, outcome);
  } else {
    out += absl::StrFormat("%-14s %s %10s %7s\n", "By", RateHeading("per s"), "CPU time", "failed");
    for (const AccelRun& run : outcome.runs) AppendRun(out, run);
  }
  for (const AccelRun& run : outcome.runs) {
    const AccelRun::Core sum = run.Sum();
    if (run.by_device && !options.sweep) {
      out += absl::StrFormat("\nThe devices executed %s operations, the CPU %s in their place\n",
                             WithCommas(run.by_module), WithCommas(run.by_cpu));
    }
    if (options.verify && !options.sweep) {
      out += absl::StrFormat("\n%s: %s chains had the right results\n", ByWhom(run),
                             WithCommas(sum.verified));
    }
    if (sum.failures > 0) {
      out += absl::StrFormat("\n%s, %s: failed: %s\n", ByWhom(run), BytesText(run.bytes),
                             sum.first_failure);
    }
  }
  return out;
}

std::string ToJson(const AccelPerfOptions& options, const AccelOutcome& outcome) {
  JsonWriter out;
  out.BeginObject();
  out.Field("workload", options.workload);
  out.Field("depth", options.depth);
  out.Field("verify", options.verify);
  out.Key("devices");
  out.BeginArray();
  for (const AccelOutcome::Device& device : outcome.devices) {
    out.BeginObject();
    out.Field("address", device.address);
    out.Field("model", device.model);
    out.Field("channels", device.channels);
    out.EndObject();
  }
  out.EndArray();
  out.Key("runs");
  out.BeginArray();
  for (const AccelRun& run : outcome.runs) WriteRun(out, run);
  out.EndArray();
  if (options.sweep) {
    out.Field("worthwhile_bytes", outcome.WorthwhileBytes());
  }
  out.EndObject();
  return out.Take();
}

std::string AccelProgressLine(const AccelRun& run, double at_seconds, double seconds,
                              const Reading& since) {
  return absl::StrFormat("%-6s %8s %s", ByWhom(run), BytesText(run.bytes),
                         RateLine("per s", at_seconds, seconds, since));
}

}  // namespace pollux::cli
