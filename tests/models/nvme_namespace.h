#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/spec/nvme_spec.h"
#include "tests/models/nvme_protection.h"
#include "tests/models/nvme_zones.h"

namespace pollux::models {

// One namespace: its blocks and what is known of them.
class ModelNamespace {
 public:
  struct Options {
    uint64_t blocks = 65536;
    uint32_t block_bytes = 512;
    uint16_t metadata_bytes = 0;
    bool extended = false;   // Metadata at the end of each block's data, else by MPTR.
    uint8_t protection = 0;  // Type 1 to 3; 0: none.
    bool protection_first = false;
    std::optional<ZoneSet::Options> zones;
    bool attached = true;
    int file = -1;  // Borrowed: data lies there, else in memory.
  };
  ModelNamespace(uint32_t nsid, const Options& options);
  ~ModelNamespace();
  ModelNamespace(const ModelNamespace&) = delete;
  ModelNamespace& operator=(const ModelNamespace&) = delete;

  uint32_t nsid() const { return nsid_; }
  uint64_t blocks() const { return blocks_; }
  uint32_t block_bytes() const { return 1u << format().lbads; }
  uint16_t metadata_bytes() const { return format().ms; }
  bool extended() const { return extended_; }
  // What a block takes of a command's data.
  uint32_t transfer_bytes() const { return block_bytes() + (extended_ ? metadata_bytes() : 0u); }
  Protection protection() const { return {protection_, protection_first_, metadata_bytes()}; }
  bool zoned() const { return zones_.has_value(); }
  ZoneSet& zones() { return *zones_; }
  bool attached() const { return attached_; }
  void set_attached(bool attached) { attached_ = attached; }

  std::span<std::byte> Data(uint64_t lba, uint64_t count) {
    return {data_ + (lba << format().lbads), count << format().lbads};
  }
  std::span<std::byte> Metadata(uint64_t lba, uint64_t count);

  // The first block of a range that cannot be read, by Write Uncorrectable or by a test.
  bool Readable(uint64_t lba, uint64_t count) const;
  void SetUncorrectable(uint64_t lba, uint64_t count, bool uncorrectable);
  // Zeroes, with metadata as a deallocated block has it: not to be checked.
  void Deallocate(uint64_t lba, uint64_t count);

  // Within what was there at first.
  void Resize(uint64_t blocks) { blocks_ = blocks; }
  // Returns a status code; everything is deallocated.
  uint16_t Format(uint8_t format, bool extended, uint8_t protection, bool protection_first);

  // CNS 00h and 05h (zoned).
  nvme::IdentifyNamespace Identify() const;
  nvme::IdentifyZonedNamespace IdentifyZoned() const;
  // Unique identifiers.
  void FillNguid(std::span<uint8_t, 16> nguid) const;
  void FillUuid(std::span<uint8_t, 16> uuid) const;

  bool write_protected = false;

  // Which formats every namespace has, and the one that its options added.
  static std::vector<nvme::LbaFormat> CommonFormats();

 private:
  const nvme::LbaFormat& format() const { return formats_[flbas_]; }

  const uint32_t nsid_;
  const uint64_t data_bytes_;
  uint64_t blocks_;
  std::vector<nvme::LbaFormat> formats_;
  uint8_t flbas_ = 0;
  bool extended_;
  uint8_t protection_;
  bool protection_first_;
  bool attached_;
  std::optional<ZoneSet> zones_;
  std::byte* data_;
  std::vector<std::byte> metadata_;
  uint64_t uncorrectable_count_ = 0;
  std::vector<bool> uncorrectable_;  // By block; empty: none ever was.
};

}  // namespace pollux::models
