#include "core/accel/accel_channel.h"

#include "core/check.h"

namespace pollux {
namespace {

bool SamePieces(std::span<const iovec> a, std::span<const iovec> b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].iov_base != b[i].iov_base || a[i].iov_len != b[i].iov_len) return false;
  }
  return true;
}

// A CRC of what is copied, chained to the copy.
bool IsCrcOfCopy(const AccelOperation& copy, const AccelOperation& crc) {
  return copy.opcode == AccelOpcode::kCopy && crc.opcode == AccelOpcode::kCrc32c &&
         (SamePieces(crc.source, copy.source) || SamePieces(crc.source, copy.destination));
}

}  // namespace

AccelChannel::~AccelChannel() {
  CHECK(counters_.operations_outstanding.load() == 0, "an accel channel died while it is used");
}

bool AccelChannel::SubmitOther(AccelOperation& first) {
  const bool chained = first.then != nullptr;
  for (AccelOperation* one = &first; one != nullptr; one = one->then) one->chained_ = chained;
  if (chained) Add(counters_.chains_outstanding, 1);
  return Run(first);
}

// From `from` to the end of its chain, or until a module has taken one. True: the chain has ended.
bool AccelChannel::Run(AccelOperation& from) {
  AccelOperation* operation = &from;
  for (;;) {
    operation = Execute(*operation);
    if (operation == nullptr) return false;
    if (operation->status != AccelStatus::kSuccess) break;
    if (operation->then == nullptr) break;
    operation = operation->then;
  }
  EndChain(*operation);
  return true;
}

AccelOperation* AccelChannel::Execute(AccelOperation& operation) {
  AccelOperation* const next = operation.then;
  if (!IsValid(operation)) {
    operation.status = AccelStatus::kInvalid;
    Count(operation, 0);
    return &operation;
  }
  if (next != nullptr && IsCrcOfCopy(operation, *next) && !offloads(AccelOpcode::kCopy) &&
      !offloads(AccelOpcode::kCrc32c)) {
    next->crc = CopyPiecesCrc32c(operation.destination, operation.source, next->crc);
    operation.status = next->status = AccelStatus::kSuccess;
    Count(operation, 0);
    Count(*next, 0);
    return next;
  }
  if (TryBegin(operation)) return nullptr;
  operation.status = ExecuteOnCpu(operation);
  Count(operation, 0);
  return &operation;
}

bool AccelChannel::TryBegin(AccelOperation& operation) {
  AccelModuleChannel* const module = assigned_[Index(operation.opcode)];
  if (module == nullptr || BytesOf(operation) == 0 || !module->TryBegin(operation)) return false;
  Add(counters_.operations_outstanding, 1);
  return true;
}

void AccelChannel::OnModuleEnd(AccelOperation& operation, AccelStatus status, uint8_t slot) {
  Add(counters_.operations_outstanding, uint64_t{0} - 1);
  operation.status = status;
  Count(operation, slot);
  AccelOperation* last = &operation;
  if (status == AccelStatus::kSuccess && operation.then != nullptr) {
    if (!Run(*operation.then)) return;
  } else {
    EndChain(operation);
  }
  while (last->then != nullptr) last = last->then;
  last->OnComplete();
}

// `last` is the last one that was executed.
void AccelChannel::EndChain(const AccelOperation& last) {
  for (AccelOperation* rest = last.then; rest != nullptr; rest = rest->then) {
    rest->status = AccelStatus::kSkipped;
  }
  if (!last.chained_) return;
  Add(counters_.chains_outstanding, uint64_t{0} - 1);
  Add(last.status == AccelStatus::kSuccess ? counters_.chains_executed : counters_.chains_failed,
      1);
}

void AccelChannel::Count(const AccelOperation& operation, uint8_t slot) {
  AccelCounters::PerOpcode& counters = counters_.operations[Index(operation.opcode)][slot];
  if (operation.status == AccelStatus::kSuccess) {
    Add(counters.executed, 1);
    Add(counters.bytes, BytesOf(operation));
  } else {
    Add(counters.failed, 1);
  }
}

void AccelModuleChannel::Complete(AccelOperation& operation, AccelStatus status) {
  channel_.OnModuleEnd(operation, status, slot_);
}

void AccelModuleChannel::GiveBack(AccelOperation& operation) {
  AccelChannel::Add(channel_.counters_.given_back, 1);
  channel_.OnModuleEnd(operation, ExecuteOnCpu(operation), 0);
}

}  // namespace pollux
