#include "core/accel/error_module.h"

#include <new>

#include "core/accel/accel_on_cpu.h"
#include "core/check.h"
#include "core/intrusive_list.h"

namespace pollux {
namespace {

// In the operation's module area, until the deferred stage.
struct Waiting {
  ListNode node;
  AccelOperation* operation;
};
static_assert(sizeof(Waiting) <= AccelOperation::kModuleAreaBytes);

void FlipFirstByte(std::span<const iovec> pieces) {
  for (const iovec& piece : pieces) {
    if (piece.iov_len == 0) continue;
    *static_cast<std::byte*>(piece.iov_base) ^= std::byte{0xff};
    return;
  }
}

// What a part that computes wrongly would leave behind.
AccelStatus Corrupt(AccelOperation& operation) {
  switch (operation.opcode) {
    case AccelOpcode::kCopy:
    case AccelOpcode::kFill:
    case AccelOpcode::kDualcast:
    case AccelOpcode::kXor:
    case AccelOpcode::kDifGenerate:
    case AccelOpcode::kDifGenerateCopy:
      FlipFirstByte(operation.destination);
      return AccelStatus::kSuccess;
    case AccelOpcode::kDixGenerate:
      FlipFirstByte(operation.other);
      return AccelStatus::kSuccess;
    case AccelOpcode::kCrc32c:
    case AccelOpcode::kCopyCrc32c:
      operation.crc ^= 1;
      return AccelStatus::kSuccess;
    case AccelOpcode::kCompare:
      operation.mismatch_offset = 0;
      return AccelStatus::kMiscompare;
    case AccelOpcode::kDifVerify:
    case AccelOpcode::kDifVerifyCopy:
    case AccelOpcode::kDixVerify:
      operation.protection->fault = {.field = ProtectionFault::Field::kGuard};
      return AccelStatus::kProtectionError;
  }
  CHECK(false);
}

}  // namespace

class ErrorModule::Channel final : public AccelModuleChannel, public Deferred {
 public:
  Channel(AccelChannel& channel, Reactor& reactor)
      : AccelModuleChannel(channel), reactor_(reactor) {}
  ~Channel() { CHECK(waiting_.empty()); }

  bool TryBegin(AccelOperation& operation) override {
    auto* const waiting = new (operation.module_area) Waiting{{}, &operation};
    waiting_.PushBack(*waiting);
    if (!deferred()) reactor_.Defer(*this);
    return true;
  }

  void Inject(AccelOpcode opcode, const Injection& injection) {
    injected_[static_cast<size_t>(opcode)] = {injection, 0};
  }

 private:
  struct Injected {
    Injection injection;
    uint64_t seen = 0;  // Since the last one that went wrong.
  };

  // What begins while these end waits for the next stage.
  void RunDeferred() override {
    for (size_t n = waiting_.size(); n > 0; --n) {
      Waiting* const waiting = waiting_.PopFront();
      AccelOperation& operation = *waiting->operation;
      waiting->~Waiting();
      Complete(operation, Execute(operation));
    }
    if (!waiting_.empty() && !deferred()) reactor_.Defer(*this);
  }

  AccelStatus Execute(AccelOperation& operation) {
    const Fault fault = Draw(injected_[static_cast<size_t>(operation.opcode)]);
    if (fault == Fault::kFailure) return AccelStatus::kFailed;
    const AccelStatus status = ExecuteOnCpu(operation);
    return fault == Fault::kCorrupt && status == AccelStatus::kSuccess ? Corrupt(operation)
                                                                       : status;
  }

  static Fault Draw(Injected& injected) {
    Injection& injection = injected.injection;
    if (injection.fault == Fault::kDisable || injection.count == 0) return Fault::kDisable;
    if (++injected.seen < injection.interval) return Fault::kDisable;
    injected.seen = 0;
    --injection.count;
    return injection.fault;
  }

  Reactor& reactor_;
  IntrusiveList<Waiting, &Waiting::node> waiting_;
  std::array<Injected, kAccelOpcodeCount> injected_{};
};

ErrorModule::ErrorModule(Accel& accel, Reactors& reactors) : reactors_(reactors) {
  for (auto& reactor : reactors) {
    channels_.push_back(std::make_unique<Channel>(accel.channel(*reactor), *reactor));
  }
}

ErrorModule::~ErrorModule() = default;

AccelModuleChannel* ErrorModule::channel(const Reactor& reactor) {
  return channels_[reactor.index()].get();
}

Task<void> ErrorModule::Inject(AccelOpcode opcode, Injection injection) {
  auto step = [this, opcode, &injection](Reactor& reactor) {
    channels_[reactor.index()]->Inject(opcode, injection);
  };
  co_await reactors_.ForEach(step);
}

}  // namespace pollux
