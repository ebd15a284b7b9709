#include "cli/workload/workload.h"

#include "core/check.h"

namespace pollux::cli {
namespace {

// How often another unit is tried when the first is in use.
constexpr int kTries = 8;

}  // namespace

Workload::Workload(const Shape& shape) : shape_(shape), random_(shape.seed) {
  CHECK(shape.units > 0 && (!shape.verify || shape.units <= kVerifiedUnitsMax));
  if (shape.verify) generations_.resize(shape.units);
}

bool Workload::ChooseRead() {
  switch (shape_.pattern) {
    case Pattern::kRead:
    case Pattern::kRandRead:
      return true;
    case Pattern::kWrite:
    case Pattern::kRandWrite:
      return false;
    case Pattern::kRw:
    case Pattern::kRandRw:
      return random_.Below(100) < shape_.mix;
    case Pattern::kVerify:
      return reading_back_;
  }
  return true;
}

void Workload::ChooseKind(Operation& into) {
  into.unmaps = shape_.unmap > 0 && random_.Below(100) < shape_.unmap;
  into.is_read = !into.unmaps && ChooseRead();
}

uint64_t Workload::ChooseUnit() {
  switch (shape_.pattern) {
    case Pattern::kRandRead:
    case Pattern::kRandWrite:
    case Pattern::kRandRw:
      return random_.Below(shape_.units);
    case Pattern::kRead:
    case Pattern::kWrite:
    case Pattern::kRw:
    case Pattern::kVerify:
      return cursor_;
  }
  return cursor_;
}

void Workload::Advance() {
  if (++cursor_ < shape_.units) return;
  cursor_ = 0;
  if (shape_.pattern != Pattern::kVerify) return;
  passes_ += reading_back_;
  done_ = reading_back_ && !shape_.endless;
  reading_back_ = !reading_back_;
}

bool Workload::Next(Operation& into) {
  if (done_) return false;
  into.unit = ChooseUnit();
  if (!shape_.verify) {
    ChooseKind(into);
    Advance();
    return true;
  }
  for (int tries = 1; generations_[into.unit] & kBusy; ++tries) {
    if (tries == kTries) return false;
    into.unit = ChooseUnit();
  }
  ChooseKind(into);
  uint32_t& generation = generations_[into.unit];
  if (into.unmaps) {
    generation = 0;
  } else if (!into.is_read) {
    generation = generation == kGenerationMax ? 1 : generation + 1;
  }
  into.generation = generation;
  generation |= kBusy;
  Advance();
  return true;
}

void Workload::Ended(const Operation& operation, bool succeeded) {
  if (!shape_.verify) return;
  uint32_t& generation = generations_[operation.unit];
  CHECK(generation & kBusy);
  generation &= ~kBusy;
  // A write that failed may have been executed or not.
  if (!operation.is_read && !succeeded) generation = 0;
}

}  // namespace pollux::cli
