#include "cli/bdev_perf/outcome.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "cli/tool/json_writer.h"
#include "cli/tool/meter.h"
#include "cli/tool/units.h"
#include "core/log.h"

namespace pollux::cli {
namespace {

constexpr size_t kLabelMax = 24;

std::string LabelOf(const BdevOutcome::Disk& disk) {
  return ShortenedText(Printable(disk.name), kLabelMax);
}

std::string WhatText(const BdevPerfOptions& options) {
  std::string text = WorkloadText(options);
  if (options.unmap > 0) text += absl::StrFormat(", %d %% unmaps", options.unmap);
  if (options.flush > 0) text += absl::StrFormat(", %d %% flushes", options.flush);
  if (options.fua) text += ", FUA";
  if (options.lend) text += ", lent";
  return text;
}

void AppendRow(std::string& out, const std::string& label, const std::string& core,
               const BdevTotals& totals, double seconds) {
  out += absl::StrFormat("%-*s %4s %s %7d\n", static_cast<int>(kLabelMax), label, core,
                         RateColumns(totals.All(), seconds), totals.error_count());
}

std::string ErrorsText(const BdevTotals& totals) {
  std::string text;
  for (size_t i = 0; i < totals.errors.size(); ++i) {
    if (totals.errors[i] == 0) continue;
    text += absl::StrFormat("%s%d x %s", text.empty() ? "" : ", ", totals.errors[i],
                            IoStatusName(static_cast<IoStatus>(i)));
  }
  return text;
}

void WriteTotals(JsonWriter& out, const BdevTotals& totals, double seconds) {
  const Reading all = totals.All();
  out.Field("iops", PerSecond(all.count, seconds));
  out.Field("bytes_per_second", PerSecond(all.bytes, seconds));
  const auto reading = [&](const char* name, const Reading& of) {
    out.Key(name);
    WriteReading(out, "ios", "iops", of, seconds);
  };
  reading("read", totals.io.reads);
  reading("write", totals.io.writes);
  reading("unmap", totals.unmaps);
  reading("flush", totals.flushes);
  out.Field("verified", totals.io.verified);
  out.Field("differences", totals.differences);
  out.Field("errors", totals.error_count());
  out.Key("errors_by_status");
  out.BeginObject();
  for (size_t i = 0; i < totals.errors.size(); ++i) {
    if (totals.errors[i] > 0) out.Field(IoStatusName(static_cast<IoStatus>(i)), totals.errors[i]);
  }
  out.EndObject();
}

void WriteLimits(JsonWriter& out, const RateLimits& limits) {
  out.Key("limits");
  out.BeginObject();
  out.Field("ios_per_second", limits.rw_ios);
  out.Field("bytes_per_second", limits.rw_bytes);
  out.Field("read_bytes_per_second", limits.r_bytes);
  out.Field("write_bytes_per_second", limits.w_bytes);
  out.EndObject();
}

}  // namespace

BdevTotals BdevOutcome::Sum() const {
  BdevTotals sum;
  for (const Worker& worker : workers) sum.Add(worker.totals);
  return sum;
}

bool BdevOutcome::Good() const {
  return std::all_of(workers.begin(), workers.end(), [](const Worker& worker) {
    return worker.totals.error_count() == 0 && worker.totals.differences == 0 &&
           worker.failure.empty();
  });
}

std::string ForPeople(const BdevPerfOptions& options, const BdevOutcome& outcome) {
  std::string out = absl::StrFormat("%s: %.2f s%s\n\n", WhatText(options), outcome.seconds,
                                    outcome.interrupted ? ", interrupted" : "");
  for (const BdevOutcome::Disk& disk : outcome.disks) {
    out += absl::StrFormat("%s: %s, %s, blocks of %s\n", Printable(disk.name), disk.product,
                           BytesText(disk.blocks * disk.block_bytes), BytesText(disk.block_bytes));
  }
  out += absl::StrFormat("\n%-*s %4s %s %7s\n", static_cast<int>(kLabelMax), "Disk", "Core",
                         RateHeading("I/Os per s"), "errors");
  for (const BdevOutcome::Worker& worker : outcome.workers) {
    AppendRow(out, LabelOf(outcome.disks[worker.disk]), std::to_string(worker.core), worker.totals,
              outcome.seconds);
  }
  const BdevTotals sum = outcome.Sum();
  if (outcome.workers.size() > 1) AppendRow(out, "total", "", sum, outcome.seconds);
  if (sum.All().count > 0) {
    out += LatencyTable({{"read", &sum.io.reads},
                         {"write", &sum.io.writes},
                         {"unmap", &sum.unmaps},
                         {"flush", &sum.flushes}});
  }
  if (options.verify) {
    out += absl::StrFormat("\nVerified: %s reads held what was written, %s did not\n",
                           WithCommas(sum.io.verified), WithCommas(sum.differences));
    if (!outcome.first_difference.empty()) out += "  first: " + outcome.first_difference + "\n";
  }
  if (sum.error_count() > 0) out += "\nErrors: " + ErrorsText(sum) + "\n";
  for (const BdevOutcome::Worker& worker : outcome.workers) {
    if (worker.failure.empty()) continue;
    out += absl::StrFormat("\n%s, core %d ended early: %s\n", LabelOf(outcome.disks[worker.disk]),
                           worker.core, worker.failure);
  }
  return out;
}

std::string ToJson(const BdevPerfOptions& options, const BdevOutcome& outcome) {
  JsonWriter out;
  out.BeginObject();
  out.Field("workload", options.pattern_name);
  out.Field("io_bytes", options.io_bytes);
  out.Field("depth", options.depth);
  out.Field("mix", options.mix);
  out.Field("unmap", options.unmap);
  out.Field("flush", options.flush);
  out.Field("verify", options.verify);
  out.Field("lend", options.lend);
  WriteLimits(out, options.limits);
  out.Field("seconds", outcome.seconds);
  out.Field("interrupted", outcome.interrupted);
  out.Field("first_difference", outcome.first_difference);
  out.Key("disks");
  out.BeginArray();
  for (const BdevOutcome::Disk& disk : outcome.disks) {
    out.BeginObject();
    out.Field("name", disk.name);
    out.Field("product_name", disk.product);
    out.Field("block_size", disk.block_bytes);
    out.Field("num_blocks", disk.blocks);
    out.EndObject();
  }
  out.EndArray();
  out.Key("total");
  out.BeginObject();
  WriteTotals(out, outcome.Sum(), outcome.seconds);
  out.EndObject();
  out.Key("workers");
  out.BeginArray();
  for (const BdevOutcome::Worker& worker : outcome.workers) {
    out.BeginObject();
    out.Field("disk", outcome.disks[worker.disk].name);
    out.Field("core", worker.core);
    out.Field("passes", worker.passes);
    out.Field("failure", worker.failure);
    WriteTotals(out, worker.totals, outcome.seconds);
    out.EndObject();
  }
  out.EndArray();
  out.EndObject();
  return out.Take();
}

std::string BdevProgressLine(double at_seconds, double seconds, const BdevTotals& since) {
  std::string line = RateLine("I/Os per s", at_seconds, seconds, since.All());
  if (const uint64_t errors = since.error_count(); errors > 0) {
    line += absl::StrFormat("  %d errors", errors);
  }
  return line;
}

}  // namespace pollux::cli
