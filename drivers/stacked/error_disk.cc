#include "drivers/stacked/error_disk.h"

#include <array>
#include <atomic>
#include <utility>

#include "core/json_string.h"
#include "core/run_on.h"

namespace pollux {
namespace {

using Kind = ErrorInjection::Kind;

// The types of I/O that errors are injected into.
constexpr std::array<IoType, 4> kTypes = {IoType::kRead, IoType::kWrite, IoType::kUnmap,
                                          IoType::kFlush};
constexpr size_t kNoType = kTypes.size();
constexpr size_t IndexOf(IoType type) {
  for (size_t i = 0; i < kTypes.size(); ++i) {
    if (kTypes[i] == type) return i;
  }
  return kNoType;
}

// How many errors are left, of each type: all reactors take from one.
class Supply {
 public:
  void Set(uint32_t count) { left_.store(count, std::memory_order_relaxed); }
  bool empty() const { return left_.load(std::memory_order_relaxed) == 0; }
  bool TryTake() {
    uint32_t left = left_.load(std::memory_order_relaxed);
    while (left > 0) {
      if (left_.compare_exchange_weak(left, left - 1, std::memory_order_relaxed)) return true;
    }
    return false;
  }

 private:
  std::atomic<uint32_t> left_{0};
};
using Supplies = std::array<Supply, kTypes.size()>;

void FlipByte(std::span<const iovec> data, uint64_t offset, uint8_t value) {
  for (const iovec& part : data) {
    if (offset < part.iov_len) {
      static_cast<uint8_t*>(part.iov_base)[offset] ^= value;
      return;
    }
    offset -= part.iov_len;
  }
}

class ErrorChannel final : public StackedChannel {
 public:
  ErrorChannel(BlockDevice& device, Reactor& reactor, BlockChannel& base, Supplies& supplies)
      : StackedChannel(device, reactor), base_(base), supplies_(supplies) {}

  // On this reactor, while there is no supply of the type.
  void SetRule(size_t type, const ErrorInjection& rule) { rules_[type] = rule; }
  void ResumePending() {
    IntrusiveList<Passage, &Passage::node> resumed;
    resumed.TakeAll(pending_);
    while (Passage* passage = resumed.PopFront()) Pass(static_cast<Erring&>(*passage));
  }

 private:
  struct Erring final : Passage {
    explicit Erring(IoRequest& r) : Passage(r) {}
    bool pending = false;  // In pending_.
    uint8_t corrupt_value = 0;
    uint64_t corrupt_offset = 0;
  };

  void DoSubmit(IoRequest& request) override {
    Erring& erring = Enter<Erring>(request);
    const size_t type = IndexOf(request.type);
    if (type != kNoType && !supplies_[type].empty() && Strikes(rules_[type], request) &&
        supplies_[type].TryTake()) [[unlikely]] {
      return Err(erring, rules_[type]);
    }
    Pass(erring);
  }

  bool Strikes(const ErrorInjection& rule, const IoRequest& request) const {
    if (passed_ < rule.queue_depth) return false;
    return rule.kind != Kind::kCorruptData ||
           rule.corrupt_offset < request.blocks * data_block_bytes();
  }

  void Err(Erring& erring, const ErrorInjection& rule) {
    switch (rule.kind) {
      case Kind::kFailure:
        return End(erring, IoStatus::kInternalError);
      case Kind::kNomem:
        return End(erring, IoStatus::kNoResources);
      case Kind::kNvmeFailure:
        erring.request.nvme_status = static_cast<uint16_t>(rule.nvme_sct << 8 | rule.nvme_sc);
        return End(erring, IoStatus::kNvmeFailure);
      case Kind::kPending:
        if (removing_) return End(erring, IoStatus::kGone);
        erring.pending = true;
        return pending_.PushBack(erring);
      case Kind::kCorruptData:
        erring.corrupt_offset = rule.corrupt_offset;
        erring.corrupt_value = static_cast<uint8_t>(rule.corrupt_value);
        if (erring.request.type == IoType::kWrite) Flip(erring);
        return Pass(erring);
    }
  }

  void Pass(Erring& erring) {
    erring.pending = false;
    ++passed_;
    Forward(erring, base_, erring.request.lba, erring.request.blocks);
  }

  // What was written had the wrong byte for as long as the base needed it.
  void OnForwarded(Passage& passage, IoStatus status) override {
    auto& erring = static_cast<Erring&>(passage);
    --passed_;
    if (erring.corrupt_value != 0) Flip(erring);
    End(erring, status);
  }

  static void Flip(const Erring& erring) {
    FlipByte(erring.request.data, erring.corrupt_offset, erring.corrupt_value);
  }

  bool TryAbort(IoRequest& target) override {
    auto& erring = PassageOf<Erring>(target);
    if (!erring.pending) return StackedChannel::TryAbort(target);
    pending_.Remove(erring);
    return End(erring, IoStatus::kAborted), true;
  }

  void OnRemoving() override {
    removing_ = true;
    while (Passage* passage = pending_.PopFront()) {
      End(static_cast<Erring&>(*passage), IoStatus::kGone);
    }
  }

  BlockChannel& base_;
  Supplies& supplies_;
  std::array<ErrorInjection, kTypes.size()> rules_;
  uint64_t passed_ = 0;  // How many the base has, or will have when a child is free.
  bool removing_ = false;
  IntrusiveList<Passage, &Passage::node> pending_;
};

class ErrorDisk final : public StackedDisk {
 public:
  ErrorDisk(Uuid uuid, BlockDevice& base)
      : StackedDisk(ErrorDiskName(base.name()), kErrorProduct, base.geometry(), uuid, {&base}) {}

  Supplies& supplies() { return supplies_; }
  // What a type of I/O is to meet, as the control loop knows it.
  std::array<Kind, kTypes.size()> kinds{};

  uint64_t BlocksOverBases() const override { return base().geometry().blocks; }
  std::string DriverSpecificJson() const override {
    return absl::StrFormat(R"({"error_disk":{"base_bdev":%s}})", JsonStringOfLatin1(base().name()));
  }

 private:
  Result<std::unique_ptr<BlockChannel>> MakeChannel(Reactor& reactor) override {
    return std::make_unique<ErrorChannel>(*this, reactor, *base().channel(reactor.index()),
                                          supplies_);
  }

  Supplies supplies_;
};

Result<ErrorDisk*> FindErrorDisk(DeviceRegistry& devices, const std::string& name) {
  ASSIGN_OR_RETURN(BlockDevice * disk, devices.FindKind(name, kErrorProduct));
  return static_cast<ErrorDisk*>(disk);
}

// Runs `step` on each channel, one after the other. The disk is looked up for each, since it may go
// during a wait.
Task<Status> OnEachChannel(DeviceRegistry& devices, std::string name,
                           std::function<void(ErrorChannel&)> step) {
  for (auto& reactor : devices.reactors()) {
    ASSIGN_OR_CO_RETURN(ErrorDisk * disk, FindErrorDisk(devices, name));
    auto here = [&step, channel = disk->channel(reactor->index())] {
      step(static_cast<ErrorChannel&>(*channel));
    };
    co_await RunOn(*reactor, here);
  }
  co_return OkStatus();
}

bool Concerns(const ErrorInjection& injection, size_t type) {
  const bool has_data = kTypes[type] == IoType::kRead || kTypes[type] == IoType::kWrite;
  switch (injection.io) {
    case ErrorInjection::Io::kAll:
      return has_data || injection.kind != Kind::kCorruptData;
    case ErrorInjection::Io::kClear:
      return true;
    default:
      return static_cast<size_t>(injection.io) == type;
  }
}

Status Check(const ErrorInjection& injection) {
  using Io = ErrorInjection::Io;
  if (injection.io == Io::kClear) return OkStatus();
  const bool has_status = injection.nvme_sct != 0 || injection.nvme_sc != 0;
  if (has_status != (injection.kind == Kind::kNvmeFailure)) {
    return InvalidField("nvme_sc", injection.nvme_sc,
                        "nvme_sct and nvme_sc say what an nvme_failure is, and nothing else");
  }
  if (injection.nvme_sct > 7) {
    return InvalidField("nvme_sct", injection.nvme_sct, "must be from 0 to 7");
  }
  if (injection.nvme_sc > 255) {
    return InvalidField("nvme_sc", injection.nvme_sc, "must be from 0 to 255");
  }
  if (injection.kind != Kind::kCorruptData) return OkStatus();
  if (injection.io == Io::kUnmap || injection.io == Io::kFlush) {
    return InvalidField("error_type", "corrupt_data", "such I/O has no data");
  }
  if (injection.corrupt_value == 0 || injection.corrupt_value > 255) {
    return InvalidField("corrupt_value", injection.corrupt_value, "must be from 1 to 255");
  }
  return OkStatus();
}

}  // namespace

std::string ErrorDiskName(const std::string& base_name) { return "EE_" + base_name; }

Result<std::unique_ptr<StackedDisk>> MakeErrorDisk(const std::string& uuid, BlockDevice& base) {
  ASSIGN_OR_RETURN(const Uuid identity, UuidGivenOrOver(uuid, base, "error"));
  return std::make_unique<ErrorDisk>(identity, base);
}

// A reactor never sees a supply with another's rule: first there is none, then all have the rule.
Task<Status> InjectErrors(DeviceRegistry& devices, std::string name, ErrorInjection injection) {
  ASSIGN_OR_CO_RETURN(ErrorDisk * disk, FindErrorDisk(devices, name));
  CO_RETURN_IF_ERROR(Check(injection));
  for (size_t type = 0; type < kTypes.size(); ++type) {
    if (!Concerns(injection, type)) continue;
    disk->supplies()[type].Set(0);
    disk->kinds[type] = injection.kind;
  }
  if (injection.io == ErrorInjection::Io::kClear) co_return OkStatus();

  const std::function<void(ErrorChannel&)> set = [&injection](ErrorChannel& channel) {
    for (size_t type = 0; type < kTypes.size(); ++type) {
      if (Concerns(injection, type)) channel.SetRule(type, injection);
    }
  };
  CO_RETURN_IF_ERROR(co_await OnEachChannel(devices, name, set));
  ASSIGN_OR_CO_RETURN(disk, FindErrorDisk(devices, name));
  for (size_t type = 0; type < kTypes.size(); ++type) {
    if (Concerns(injection, type)) disk->supplies()[type].Set(injection.num);
  }
  co_return OkStatus();
}

Task<Status> ResumePending(DeviceRegistry& devices, std::string name) {
  ASSIGN_OR_CO_RETURN(ErrorDisk * disk, FindErrorDisk(devices, name));
  for (size_t type = 0; type < kTypes.size(); ++type) {
    if (disk->kinds[type] == Kind::kPending) disk->supplies()[type].Set(0);
  }
  const std::function<void(ErrorChannel&)> resume = [](ErrorChannel& c) { c.ResumePending(); };
  co_return co_await OnEachChannel(devices, name, resume);
}

}  // namespace pollux
