#include "tests/models/nvme_namespace.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/check.h"

namespace pollux::models {
namespace {

nvme::LbaFormat MakeFormat(uint32_t block_bytes, uint16_t metadata_bytes) {
  return {
      .ms = metadata_bytes, .lbads = static_cast<uint8_t>(std::countr_zero(block_bytes)), .rp = 0};
}

std::byte* MapData(int file, uint64_t bytes) {
  void* memory = file >= 0 ? mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
                           : mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(memory != MAP_FAILED, "no memory for a model's namespace");
  return static_cast<std::byte*>(memory);
}

}  // namespace

std::vector<nvme::LbaFormat> ModelNamespace::CommonFormats() {
  return {MakeFormat(512, 0),  MakeFormat(4096, 0), MakeFormat(512, 8),
          MakeFormat(4096, 8), MakeFormat(512, 16), MakeFormat(4096, 64)};
}

ModelNamespace::ModelNamespace(uint32_t nsid, const Options& options)
    : nsid_(nsid),
      data_bytes_(options.blocks * options.block_bytes),
      blocks_(options.blocks),
      formats_(CommonFormats()),
      extended_(options.extended),
      protection_(options.protection),
      protection_first_(options.protection_first),
      attached_(options.attached),
      data_(MapData(options.file, data_bytes_)) {
  const nvme::LbaFormat wanted = MakeFormat(options.block_bytes, options.metadata_bytes);
  const auto found = std::find_if(formats_.begin(), formats_.end(), [&](const auto& format) {
    return format.lbads == wanted.lbads && format.ms == wanted.ms;
  });
  flbas_ = static_cast<uint8_t>(found - formats_.begin());
  if (found == formats_.end()) formats_.push_back(wanted);
  if (options.zones.has_value()) zones_.emplace(*options.zones, options.blocks);
  metadata_.assign(blocks_ * metadata_bytes(), std::byte(protection_ != 0 ? 0xff : 0));
}

ModelNamespace::~ModelNamespace() { munmap(data_, data_bytes_); }

std::span<std::byte> ModelNamespace::Metadata(uint64_t lba, uint64_t count) {
  return std::span(metadata_).subspan(lba * metadata_bytes(), count * metadata_bytes());
}

bool ModelNamespace::Readable(uint64_t lba, uint64_t count) const {
  if (uncorrectable_count_ == 0) return true;
  const auto at = uncorrectable_.begin() + static_cast<std::ptrdiff_t>(lba);
  return std::find(at, at + static_cast<std::ptrdiff_t>(count), true) ==
         at + static_cast<std::ptrdiff_t>(count);
}

void ModelNamespace::SetUncorrectable(uint64_t lba, uint64_t count, bool uncorrectable) {
  if (uncorrectable_count_ == 0 && !uncorrectable) return;
  uncorrectable_.resize(std::max<uint64_t>(uncorrectable_.size(), blocks_));
  for (uint64_t i = lba; i < lba + count; ++i) {
    if (uncorrectable_[i] == uncorrectable) continue;
    uncorrectable_[i] = uncorrectable;
    uncorrectable ? ++uncorrectable_count_ : --uncorrectable_count_;
  }
}

void ModelNamespace::Deallocate(uint64_t lba, uint64_t count) {
  const std::span<std::byte> data = Data(lba, count);
  std::memset(data.data(), 0, data.size());
  const std::span<std::byte> metadata = Metadata(lba, count);
  std::fill(metadata.begin(), metadata.end(), std::byte(protection_ != 0 ? 0xff : 0));
  SetUncorrectable(lba, count, false);
}

uint16_t ModelNamespace::Format(uint8_t format, bool extended, uint8_t protection,
                                bool protection_first) {
  if (format >= formats_.size() || (zoned() && format != flbas_)) {
    return nvme::status::kInvalidFormat;
  }
  const nvme::LbaFormat& wanted = formats_[format];
  if (protection > 3 || (protection != 0 && wanted.ms < 8)) return nvme::status::kInvalidFormat;
  flbas_ = format;
  extended_ = extended && wanted.ms != 0;
  protection_ = protection;
  protection_first_ = protection_first;
  blocks_ = data_bytes_ >> wanted.lbads;
  metadata_.assign(blocks_ * metadata_bytes(), std::byte(protection_ != 0 ? 0xff : 0));
  uncorrectable_.clear();
  uncorrectable_count_ = 0;
  std::memset(data_, 0, data_bytes_);
  return nvme::status::kSuccess;
}

nvme::IdentifyNamespace ModelNamespace::Identify() const {
  nvme::IdentifyNamespace identify{};
  identify.nsze = blocks_;
  identify.ncap = blocks_;
  identify.nuse = blocks_;
  identify.nsfeat = 0x10;  // NPWG to NOWS are there.
  identify.nlbaf = static_cast<uint8_t>(formats_.size() - 1);
  identify.flbas = static_cast<uint8_t>(flbas_ | (extended_ ? 0x10 : 0));
  identify.mc = 0x03;
  identify.dpc = 0x1f;
  identify.dps = static_cast<uint8_t>(protection_ | (protection_first_ ? 0x08 : 0));
  identify.nmic = 0;
  identify.rescap = 0xfe;
  identify.dlfeat = 0x09;  // Deallocated blocks are zero; Write Zeroes may deallocate.
  identify.mssrl = 1024;
  identify.mcl = 4096;
  identify.msrc = 15;
  identify.nsattr = write_protected ? 1 : 0;
  FillNguid(std::span<uint8_t, 16>(identify.nguid));
  std::copy_n(formats_.begin(), formats_.size(), identify.lbaf);
  return identify;
}

nvme::IdentifyZonedNamespace ModelNamespace::IdentifyZoned() const {
  nvme::IdentifyZonedNamespace identify{};
  const ZoneSet::Options& options = zones_->options();
  identify.mar = options.active_max - 1;  // 0's based; ffffffffh: no limit.
  identify.mor = options.open_max - 1;
  identify.lbafe[flbas_].zsze = options.zone_blocks;
  return identify;
}

void ModelNamespace::FillNguid(std::span<uint8_t, 16> nguid) const {
  static constexpr uint8_t kPrefix[] = {0x5c, 0x0f, 0xfe, 0x00, 0x11, 0x22, 0x33, 0x44};
  std::fill(nguid.begin(), nguid.end(), uint8_t{0});
  std::copy(std::begin(kPrefix), std::end(kPrefix), nguid.begin());
  const Be32 number = nsid_;
  std::memcpy(nguid.data() + 12, &number, 4);
}

void ModelNamespace::FillUuid(std::span<uint8_t, 16> uuid) const {
  FillNguid(uuid);
  uuid[6] = 0x40;  // Version 4, variant 1. RFC 4122 §4.1.
  uuid[8] = 0x80;
}

}  // namespace pollux::models
