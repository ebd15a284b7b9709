#include "drivers/uring/file_disk.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "core/block/disk_format.h"
#include "core/log.h"
#include "drivers/uring/file_channel.h"

namespace pollux {
namespace {

// Per reactor: bounced I/O is the exception, since pool buffers are aligned.
constexpr ReactorBuffers::Size kBounceBuffers{.buffer_bytes = 64 << 10, .count = 16};
constexpr char kBounceConsumer[] = "file disks: unaligned data and compares";
// The kernel takes no more in one call (UIO_MAXIOV).
constexpr uint32_t kSegmentsMax = 1024;

const char* ProductOf(FileDiskOptions::Kind kind) {
  return kind == FileDiskOptions::Kind::kAio ? kAioDiskProduct : kUringDiskProduct;
}

std::string JsonString(const std::string& text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') json += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      json += absl::StrFormat("\\u%04x", c);
    } else {
      json += c;
    }
  }
  return json + '"';
}

class FileDisk final : public BlockDevice {
 public:
  FileDisk(const FileDiskOptions& options, const Geometry& geometry, Uuid uuid, BackingFile file,
           ReactorBuffers& buffers)
      : BlockDevice(options.name, ProductOf(options.kind), geometry, uuid), options_(options) {
    shared_.file = std::move(file);
    read_only_ = options.readonly;
    volatile_cache_ = shared_.file.volatile_cache;
    buffers_ = &buffers;
    limits_.segments_max = kSegmentsMax;
    limits_.buffer_alignment = shared_.file.memory_alignment;
    for (const IoType type : {IoType::kRead, IoType::kWrite, IoType::kFlush}) {
      executes_.set(static_cast<size_t>(type));
    }
    if (options.fallocate || options.kind == FileDiskOptions::Kind::kUring) UseFallocate();
  }

  // Fails when the size cannot be asked for, or is less than a block.
  Result<uint64_t> ReadBlocks() {
    shared_.cut_short = false;
    ASSIGN_OR_RETURN(const uint64_t bytes, SizeOfFile(shared_.file.fd.get()));
    const uint64_t blocks = bytes / geometry().block_bytes;
    if (blocks > 0) return blocks;
    return ErrorOfField(EINVAL, "filename", options_.filename, "it has become empty");
  }

  std::string DriverSpecificJson() const override {
    const auto flag = [](bool set) { return set ? "true" : "false"; };
    const std::string filename = JsonString(options_.filename);
    if (options_.kind == FileDiskOptions::Kind::kUring) {
      return absl::StrFormat("{\"uring\":{\"filename\":%s}}", filename);
    }
    return absl::StrFormat(
        "{\"aio\":{\"filename\":%s,\"block_size_override\":%s,\"readonly\":%s,\"fallocate\":%s,"
        "\"nowait\":%s}}",
        filename, flag(options_.block_size != 0), flag(options_.readonly), flag(options_.fallocate),
        flag(options_.nowait));
  }

 private:
  void UseFallocate() {
    const BackingFile& file = shared_.file;
    if (file.can_punch || file.can_discard) executes_.set(static_cast<size_t>(IoType::kUnmap));
    if (file.can_punch || file.can_zero) executes_.set(static_cast<size_t>(IoType::kWriteZeroes));
    limits_.unmapped_reads_zero = file.can_punch;
    limits_.preferred_unmap_granularity_blocks =
        std::max(1u, file.physical_bytes / geometry().block_bytes);
  }

  Result<std::unique_ptr<BlockChannel>> MakeChannel(Reactor& reactor) override {
    ReactorRing* ring = ReactorRing::Of(reactor);
    if (ring == nullptr) return Unavailable("%s has no io_uring", reactor.name());
    FileChannel::Files files;
    ASSIGN_OR_RETURN(files.io, ReopenForIo(shared_.file, read_only_));
    ASSIGN_OR_RETURN(files.flush, ReopenForFlush(shared_.file));
    std::shared_ptr<ReactorRing> polled;
    if (shared_.file.polled) {
      ASSIGN_OR_RETURN(polled, ReactorRing::PolledOf(reactor));
    }
    return std::make_unique<FileChannel>(*this, reactor, shared_, std::move(files), *ring,
                                         std::move(polled), buffers_->of(reactor.index()));
  }

  Status CheckResize(uint64_t blocks) const override {
    if (blocks >= geometry().blocks || users().empty()) return OkStatus();
    return Busy("%s '%s' has shrunk from %u to %u blocks while it is used by %s", product_name(),
                name(), geometry().blocks, blocks, users().front()->description());
  }

  const FileDiskOptions options_;
  FileShared shared_;
};

Result<Geometry> GeometryOfFile(const FileDiskOptions& options, const BackingFile& file) {
  const uint32_t smallest = file.is_block_device || file.direct ? file.sector_bytes : 512;
  const uint32_t block_bytes = options.block_size != 0 ? options.block_size : smallest;
  if (file.is_block_device && block_bytes < file.sector_bytes) {
    return InvalidField("block_size", block_bytes, "the device has blocks of %u bytes",
                        file.sector_bytes);
  }
  if (file.bytes < block_bytes) {
    return ErrorOfField(EINVAL, "filename", options.filename,
                        absl::StrFormat("its size of %u bytes is less than a block", file.bytes));
  }
  if (file.bytes % block_bytes != 0) {
    return InvalidField("block_size", block_bytes, "the size of %s, %u bytes, is no multiple of it",
                        Printable(options.filename), file.bytes);
  }
  // A file system may work in units larger than a block may be, or in odd ones.
  const bool usable = std::has_single_bit(file.physical_bytes) && file.physical_bytes <= 1 << 20;
  return Geometry{
      .block_bytes = block_bytes,
      .blocks = file.bytes / block_bytes,
      .physical_block_bytes = usable ? std::max(block_bytes, file.physical_bytes) : block_bytes};
}

}  // namespace

MemoryNeed FileDiskBuffersNeed(size_t reactors) {
  return ReactorBuffers::Need(kBounceConsumer, reactors, kBounceBuffers);
}

Result<std::unique_ptr<ReactorBuffers>> MakeFileDiskBuffers(Memory& memory, size_t reactors) {
  return ReactorBuffers::Make(memory, kBounceConsumer, reactors, kBounceBuffers);
}

Result<std::unique_ptr<BlockDevice>> MakeFileDisk(FileDiskOptions options,
                                                  ReactorBuffers& buffers) {
  if (options.name.empty()) return InvalidField("name", options.name, "must not be empty");
  if (options.filename.find('\0') != std::string::npos) {
    return InvalidField("filename", options.filename, "must not hold a NUL");
  }
  if (options.block_size != 0 && !IsBlockSize(options.block_size)) {
    return InvalidField("block_size", options.block_size,
                        "must be a power of two from 512 to 65536");
  }
  ASSIGN_OR_RETURN(const Uuid uuid, Uuid::ParseOrRandom("uuid", options.uuid));
  ASSIGN_OR_RETURN(BackingFile file,
                   OpenBackingFile(options.filename, options.readonly, options.block_size));
  ASSIGN_OR_RETURN(const Geometry geometry, GeometryOfFile(options, file));
  return std::make_unique<FileDisk>(options, geometry, uuid, std::move(file), buffers);
}

Task<Status> RescanFileDisk(DeviceRegistry& devices, FileDiskOptions::Kind kind, std::string name) {
  ASSIGN_OR_CO_RETURN(BlockDevice * device, devices.FindKind(name, ProductOf(kind)));
  // Only MakeFileDisk makes devices of these products.
  ASSIGN_OR_CO_RETURN(const uint64_t blocks, static_cast<FileDisk*>(device)->ReadBlocks());
  co_return co_await devices.Resize(*device, blocks);
}

}  // namespace pollux
