#include "core/block/io_watch.h"

#include <algorithm>

#include "core/block/block_channel.h"

namespace pollux {

void IoWatch::SetHistogram(Histogram* histogram, uint32_t types) {
  for (size_t i = 0; i < histograms_.size(); ++i) {
    histograms_[i] = (types >> i & 1) != 0 ? histogram : nullptr;
  }
  UpdateOn();
}

void IoWatch::SetTrace(IoTrace* trace) {
  trace_ = trace;
  UpdateOn();
}

void IoWatch::UpdateOn() {
  const auto kept = [](const Histogram* histogram) { return histogram != nullptr; };
  on_ = trace_ != nullptr || std::any_of(histograms_.begin(), histograms_.end(), kept);
}

void IoWatch::AddToTrace(const IoRequest& request, uint64_t ended_ns) {
  trace_->Add({.ended_ns = ended_ns,
               .latency_ns = ended_ns - request.submitted_ns(),
               .lba = request.lba,
               .blocks = request.blocks,
               .device = device_number_,
               .type = request.type,
               .status = request.status,
               .source = request.source});
}

void IoWatch::AddToTrace(const Loan& loan, uint64_t ended_ns) {
  trace_->Add({.ended_ns = ended_ns,
               .latency_ns = ended_ns - loan.lent_ns,
               .lba = loan.lba,
               .blocks = loan.blocks,
               .device = device_number_,
               .type = loan.write ? IoType::kWrite : IoType::kRead,
               .source = loan.source,
               .lent = true});
}

}  // namespace pollux
