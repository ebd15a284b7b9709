// The registers of a memory-based controller. Base §3.1.3.
#include <algorithm>
#include <bit>
#include <utility>

#include "tests/models/nvme_model.h"

namespace pollux::models {

using namespace nvme;  // NOLINT: nearly every word here is the specification's.

namespace {

constexpr uint32_t kSubsystemResetValue = 0x4e564d65;  // "NVMe", Base §3.1.3.7.
constexpr uint64_t kAllOnes = ~uint64_t{0};
constexpr size_t kComplaintsMax = 100;

uint64_t DoorbellBytes(const NvmeModel::Options& options) {
  return (uint64_t{2} * (options.io_queues_max + 1u) * 4) << options.doorbell_stride;
}

}  // namespace

std::byte* NvmeModel::Reach::At(uint64_t iova, uint64_t bytes, bool write) {
  if (!model_.bus_master_) return nullptr;
  if (model_.cmb_ != nullptr && cmbmsc::kCmse.Get(model_.cmbmsc_) != 0) {
    const uint64_t base = cmbmsc::kCba.Get(model_.cmbmsc_) << 12;
    const uint64_t size = model_.cmb_->bytes();
    if (iova - base < size) {
      return bytes <= size - (iova - base) ? model_.cmb_->address() + (iova - base) : nullptr;
    }
  }
  return model_.dma_.At(iova, bytes, write);
}

NvmeModel::NvmeModel(const Options& options, DmaSpace& dma)
    : io_queues_granted(options.io_queues_granted),
      options_(options),
      dma_(dma),
      reach_(*this),
      bar_(std::bit_ceil(kDoorbells + DoorbellBytes(options))),
      cmb_(options.cmb_bytes != 0 ? std::make_unique<SharedMemory>(options.cmb_bytes) : nullptr),
      faults_(options.faults),
      sqs_(options.io_queues_max + 1u),
      cqs_(options.io_queues_max + 1u),
      fetched_(options.io_queues_max + 1u),
      doorbell_writes_(2 * (options.io_queues_max + 1u)) {
  for (const ModelNamespace::Options& each : options.namespaces) {
    const auto nsid = static_cast<uint32_t>(namespaces_.size() + 1);
    namespaces_.emplace(nsid, std::make_unique<ModelNamespace>(nsid, each));
  }
  health_.temperature = 310;
  health_.avail_spare = 100;
  health_.spare_thresh = 10;
}

NvmeModel::~NvmeModel() = default;

void NvmeModel::Complain(std::string text) {
  if (complaints_.size() < kComplaintsMax) complaints_.push_back(std::move(text));
}

bool NvmeModel::Access() {
  ++accesses_;
  if (accesses_left_ != 0 && --accesses_left_ == 0) gone_ = true;
  return !gone_;
}

uint64_t NvmeModel::Capabilities() const {
  uint64_t value = 0;
  value = cap::kMqes.Set(value, options_.queue_entries_max - 1);
  value = cap::kCqr.Set(value, 1);
  value = cap::kAms.Set(value, options_.weighted_round_robin ? 1 : 0);
  value = cap::kTo.Set(value, options_.timeout_500ms);
  value = cap::kDstrd.Set(value, options_.doorbell_stride);
  value = cap::kNssrs.Set(value, options_.subsystem_reset ? 1 : 0);
  value = cap::kCss.Set(value, options_.io_command_sets ? 0x41 : 0x01);
  value = cap::kMpsmin.Set(value, options_.page_size_min);
  value = cap::kMpsmax.Set(value, options_.page_size_max);
  value = cap::kCmbs.Set(value, cmb_ != nullptr ? 1 : 0);
  value = cap::kCrms.Set(value, options_.version >= 0x020000 ? 1 : 0);
  return value;
}

uint64_t NvmeModel::ReadRegister(uint64_t offset, size_t bytes) {
  if (!Access()) return bytes == 8 ? kAllOnes : kAllOnes >> 32;
  if ((bytes != 4 && bytes != 8) || offset % bytes != 0) {
    Complain("a read of %u bytes at register %#x", bytes, offset);
    return 0;
  }
  const uint64_t low = ReadOne(offset);
  return bytes == 4 ? low : low | ReadOne(offset + 4) << 32;
}

uint64_t NvmeModel::ReadOne(uint64_t offset) {
  const auto half = [offset](uint64_t value) {
    return offset % 8 == 0 ? value & 0xffffffff : value >> 32;
  };
  switch (offset) {
    case kCap.offset:
    case kCap.offset + 4:
      return half(Capabilities());
    case kVs.offset:
      return options_.version;
    case kIntms.offset:
    case kIntmc.offset:
      return intms_;
    case kCc.offset:
      return cc_;
    case kCsts.offset:
      Settle(false);
      return csts_;
    case kAqa.offset:
      return aqa_;
    case kAsq.offset:
    case kAsq.offset + 4:
      return half(asq_);
    case kAcq.offset:
    case kAcq.offset + 4:
      return half(acq_);
    case kCmbloc.offset:
      return cmbmsc::kCre.Get(cmbmsc_) != 0 ? cmbloc::kBir.Set(0, 2) : 0;
    case kCmbsz.offset:
      // All uses, in units of 4 KiB.
      return cmbmsc::kCre.Get(cmbmsc_) != 0
                 ? cmbsz::kSz.Set(0x1f, static_cast<uint32_t>(cmb_->bytes() / 4096))
                 : 0;
    case kCmbmsc.offset:
    case kCmbmsc.offset + 4:
      return half(cmbmsc_);
    case kCrto.offset:
      return options_.version >= 0x020000 ? options_.timeout_500ms : 0;
    default:
      if (offset >= kDoorbells) Complain("a doorbell was read");
      return 0;
  }
}

void NvmeModel::WriteRegister(uint64_t offset, size_t bytes, uint64_t value) {
  if (!Access()) return;
  if ((bytes != 4 && bytes != 8) || offset % bytes != 0) {
    return Complain("a write of %u bytes at register %#x", bytes, offset);
  }
  WriteOne(offset, static_cast<uint32_t>(value));
  if (bytes == 8) WriteOne(offset + 4, static_cast<uint32_t>(value >> 32));
}

void NvmeModel::WriteOne(uint64_t offset, uint32_t value) {
  const auto merge = [offset, value](uint64_t& reg, uint64_t writable) {
    const unsigned shift = offset % 8 == 0 ? 0 : 32;
    reg = ((reg & ~(uint64_t{0xffffffff} << shift)) | uint64_t{value} << shift) & writable;
  };
  if (offset >= kDoorbells) return WriteDoorbell(offset - kDoorbells, value);
  const bool enabled = cc::kEn.Get(cc_) != 0;
  switch (offset) {
    case kIntms.offset:
      intms_ |= value;
      return;
    case kIntmc.offset:
      intms_ &= ~value;
      return;
    case kCc.offset:
      return WriteCc(value);
    case kCsts.offset:
      if (csts::kNssro.Get(value) != 0) csts_ = csts::kNssro.Set(csts_, 0);
      return;
    case kNssr.offset:
      if (options_.subsystem_reset && value == kSubsystemResetValue) {
        PowerOn();
        csts_ = csts::kNssro.Set(csts_, 1);
      }
      return;
    case kAqa.offset:
    case kAsq.offset:
    case kAsq.offset + 4:
    case kAcq.offset:
    case kAcq.offset + 4:
      if (enabled) Complain("admin queue register %#x is written while enabled", offset);
      if (offset == kAqa.offset) {
        aqa_ = value & 0x0fff0fff;
      } else if (offset < kAcq.offset) {
        merge(asq_, ~uint64_t{0xfff});
      } else {
        merge(acq_, ~uint64_t{0xfff});
      }
      return;
    case kCmbmsc.offset:
    case kCmbmsc.offset + 4:
      if (cmb_ != nullptr) merge(cmbmsc_, ~uint64_t{0xffc});
      return;
    case kCap.offset:
    case kCap.offset + 4:
    case kVs.offset:
    case kCmbloc.offset:
    case kCmbsz.offset:
      return Complain("read-only register %#x is written", offset);
    default:
      return;
  }
}

void NvmeModel::WriteCc(uint32_t value) {
  const uint32_t old = std::exchange(cc_, value);
  const bool was_enabled = cc::kEn.Get(old) != 0;
  const bool enabled = cc::kEn.Get(value) != 0;
  const uint32_t fixed = cc::kCss.mask() | cc::kMps.mask() | cc::kAms.mask();
  if (was_enabled && enabled && ((old ^ value) & fixed) != 0) {
    Complain("CC changes from %#x to %#x while enabled", old, value);
  }
  if (!was_enabled && enabled) return Enable();
  if (was_enabled && !enabled) {
    ResetController();
    settling_ = true;
    settle_steps_ = options_.ready_steps;
    settle_reads_ = options_.ready_reads;
  } else if (cc::kShn.Get(old) == 0 && cc::kShn.Get(value) != 0) {
    csts_ = csts::kShst.Set(csts_, 1);
    settling_ = true;
    settle_steps_ = options_.shutdown_steps;
    settle_reads_ = options_.shutdown_reads;
  } else {
    return;
  }
  if (settle_steps_ == 0 && settle_reads_ == 0) Settle(false);
}

// Base §3.5.1.
void NvmeModel::Enable() {
  if (ready() || csts::kShst.Get(csts_) == 1) Complain("enabled before CSTS followed a reset");
  csts_ = csts::kShst.Set(csts_, 0);
  const uint32_t css = cc::kCss.Get(cc_);
  const uint32_t mps = cc::kMps.Get(cc_);
  const uint32_t ams = cc::kAms.Get(cc_);
  bool bad = true;
  if (mps < options_.page_size_min || mps > options_.page_size_max) {
    Complain("CC.MPS %u is not supported", mps);
  } else if (css != 0 && css != 7 && !(css == 6 && options_.io_command_sets)) {
    Complain("CC.CSS %u is not supported", css);
  } else if (ams > (options_.weighted_round_robin ? 1u : 0u)) {
    Complain("CC.AMS %u is not supported", ams);
  } else if (aqa::kAsqs.Get(aqa_) == 0 || aqa::kAcqs.Get(aqa_) == 0) {
    Complain("an admin queue of less than two entries: AQA %#x", aqa_);
  } else if (((asq_ | acq_) & (page_bytes() - 1)) != 0 || asq_ == 0 || acq_ == 0) {
    Complain("admin queues at %#x and %#x", asq_, acq_);
  } else {
    bad = false;
  }
  if (bad) return GoFatal();

  sqs_[0] = {.live = true, .entries = aqa::kAsqs.Get(aqa_) + 1, .base = asq_};
  cqs_[0] = {.live = true, .entries = aqa::kAcqs.Get(aqa_) + 1, .base = acq_, .interrupts = true};
  FindQueuesEnd();
  ResetDoorbell(0, false);
  ResetDoorbell(0, true);
  settling_ = true;
  settle_steps_ = options_.ready_steps;
  settle_reads_ = options_.ready_reads;
  if (settle_steps_ == 0 && settle_reads_ == 0) Settle(false);
}

// CSTS follows CC, when its time has come.
void NvmeModel::Settle(bool step) {
  if (!settling_) return;
  uint32_t& left = step ? settle_steps_ : settle_reads_;
  if (left != 0 && left != kNever) {
    --left;
    if (!step) return;  // This read still finds the old value.
  }
  if (settle_steps_ != 0 || settle_reads_ != 0) return;
  settling_ = false;
  if (csts::kCfs.Get(csts_) != 0 && cc::kEn.Get(cc_) != 0) return;
  csts_ = csts::kRdy.Set(csts_, cc::kEn.Get(cc_));
  if (cc::kShn.Get(cc_) != 0 && csts::kShst.Get(csts_) == 1) csts_ = csts::kShst.Set(csts_, 2);
}

// Base §3.7.2: queues and commands are gone, registers of the admin queue stay.
void NvmeModel::ResetController() {
  csts_ = csts::kCfs.Set(csts_, 0);
  csts_ = csts::kShst.Set(csts_, 0);
  std::fill(sqs_.begin(), sqs_.end(), SubmissionRing{});
  std::fill(cqs_.begin(), cqs_.end(), CompletionRing{});
  queues_end_ = 0;
  held_.clear();
  later_ = {};
  event_requests_.clear();
  events_.clear();
  masked_event_types_ = 0;
  shadow_ = event_index_ = nullptr;
  shadow_iova_ = event_index_iova_ = 0;
  features_.Reset();
  firmware_.clear();
  io_queues_allocated_ = 1;
  if (firmware_next_ != 0) firmware_active_ = std::exchange(firmware_next_, uint8_t{0});
}

bool NvmeModel::needs_steps(bool doorbells_mapped) const {
  if (gone_ || !bus_master_) return false;
  const bool unannounced = doorbells_mapped || shadow_iova_ != 0;
  return settling_ || !later_.empty() || (ready() && unannounced);
}

void NvmeModel::PowerOn() {
  ResetController();
  cc_ = csts_ = aqa_ = intms_ = 0;
  asq_ = acq_ = cmbmsc_ = 0;
  settling_ = false;
}

void NvmeModel::ForgetMemory() {
  for (SubmissionRing& sq : sqs_) sq.memory = nullptr;
  for (CompletionRing& cq : cqs_) cq.memory = nullptr;
  shadow_ = event_index_ = nullptr;
}

void NvmeModel::GoFatal() {
  csts_ = csts::kCfs.Set(csts_, 1);
  settling_ = false;
}

}  // namespace pollux::models
