#include "targets/vfio_user/session.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/check.h"
#include "core/log.h"

namespace pollux::vfio_user {
namespace {

namespace spec = vfio_user_spec;
using spec::Command;

// The structure that a payload begins with; null when it is shorter.
template <typename T>
const T* Begin(std::span<const std::byte> payload) {
  static_assert(alignof(T) == 1);
  return payload.size() >= sizeof(T) ? reinterpret_cast<const T*>(payload.data()) : nullptr;
}

// The same of a command with argsz, which says again how much there is, or how much may come back.
template <typename T>
const T* BeginWithArgsz(std::span<const std::byte> payload) {
  const T* const request = Begin<T>(payload);
  return request != nullptr && request->argsz >= sizeof(T) ? request : nullptr;
}

uint32_t FlagsOf(const RegionInfo& region) {
  return (region.readable ? spec::kRegionReadable : 0) |
         (region.writable ? spec::kRegionWritable : 0) |
         (region.areas.empty() ? 0 : spec::kRegionMmap);
}

}  // namespace

DeviceFacts FactsOf(const ServedDevice& device) {
  DeviceFacts facts;
  for (int i = 0; i < kRegionCount; ++i) {
    RegionInfo region = device.region(i);
    CHECK(region.areas.empty() || region.fd >= 0, "a region has areas to map, but no file");
    facts.regions[static_cast<size_t>(i)] = std::move(region);
  }
  for (int i = 0; i < kIrqIndexCount; ++i) {
    facts.irqs[static_cast<size_t>(i)] = device.irq_count(i);
  }
  CHECK(facts.irqs[kIntx] <= 1, "a function has at most one INTx");
  return facts;
}

size_t Session::PayloadBytesMax(const Limits& limits) {
  // A write; VERSION; and 64 bytes for what else clients attach.
  return std::max<size_t>(limits.data_bytes_max, sizeof(spec::Version) + kVersionJsonBytesMax) + 64;
}

std::span<std::byte> Session::Append(size_t bytes) {
  const size_t begin = answer_bytes_;
  answer_bytes_ += bytes;
  if (answer_.size() < answer_bytes_) answer_.resize(answer_bytes_);
  return std::span(answer_).subspan(begin, bytes);
}

template <typename T>
void Session::Put(const T& part) {
  std::memcpy(Append(sizeof(part)).data(), &part, sizeof(part));
}

Session::Answer Session::Handle(const spec::Header& header, Payload payload, Fds& fds,
                                bool fds_lost) {
  Answer answer;
  // We ask nothing of a client, so it has nothing to reply to.
  if ((header.flags & spec::kTypeMask) != spec::kTypeCommand) {
    answer.close = true;
    return answer;
  }
  const auto command = static_cast<Command>(static_cast<uint16_t>(header.command));
  answer_bytes_ = sizeof(spec::Header);
  int error = EINVAL;
  if (!fds_lost) {
    error = Dispatch(command, payload, fds, answer);
  }
  if (error != 0) {
    LogDebug("vfio_user", "command %u is refused: %s", static_cast<unsigned>(header.command),
             strerror(error));
  }
  answer.close = !ready();
  Finish(header, error, answer);
  return answer;
}

Session::Answer Session::Refuse(const spec::Header& header) {
  Answer answer;
  answer.close = true;
  Finish(header, EINVAL, answer);
  return answer;
}

// A reply with an error is a header only.
void Session::Finish(const spec::Header& header, int error, Answer& answer) {
  if (error != 0) {
    answer.fd = -1;
    answer_bytes_ = 0;
    Append(sizeof(spec::Header));
  }
  if ((header.flags & spec::kFlagNoReply) != 0) {
    answer.fd = -1;
    return;
  }
  spec::Header reply = header;
  reply.message_size = static_cast<uint32_t>(answer_bytes_);
  reply.flags = spec::kTypeReply | (error != 0 ? spec::kFlagError : 0);
  reply.error = static_cast<uint32_t>(error);
  std::memcpy(answer_.data(), &reply, sizeof(reply));
  answer.message = std::span(answer_).first(answer_bytes_);
}

int Session::Dispatch(Command command, Payload payload, Fds& fds, Answer& answer) {
  if (command == Command::kVersion) return OnVersion(payload, fds);
  if (!ready()) return EINVAL;
  switch (command) {
    case Command::kDmaMap:
      return OnDmaMap(payload, fds);
    case Command::kDmaUnmap:
      return OnDmaUnmap(payload, answer);
    case Command::kDeviceGetInfo:
      return OnGetInfo(payload);
    case Command::kDeviceGetRegionInfo:
      return OnGetRegionInfo(payload, answer);
    case Command::kDeviceGetRegionIoFds:
      return OnGetRegionIoFds(payload);
    case Command::kDeviceGetIrqInfo:
      return OnGetIrqInfo(payload);
    case Command::kDeviceSetIrqs:
      return OnSetIrqs(payload, fds);
    case Command::kRegionRead:
      return OnRegionRead(payload);
    case Command::kRegionWrite:
      return OnRegionWrite(payload);
    case Command::kRegionWriteMulti:
      return OnRegionWriteMulti(payload);
    case Command::kDeviceReset:
      return OnReset();
    case Command::kVersion:
    case Command::kDmaRead:        // These two are for clients.
    case Command::kDmaWrite:       //
    case Command::kDeviceFeature:  // Migration: not here.
    case Command::kMigDataRead:
    case Command::kMigDataWrite:
      break;
  }
  return EINVAL;
}

int Session::OnVersion(Payload payload, const Fds& fds) {
  const auto* const version = Begin<spec::Version>(payload);
  if (ready() || version == nullptr || !fds.empty()) return EINVAL;
  if (version->major != spec::kMajor) return EINVAL;
  const Result<Capabilities> client = ParseCapabilities(payload.subspan(sizeof(*version)));
  if (!client.ok()) return EINVAL;
  client_ = *client;
  state_ = State::kReady;

  const uint16_t minor = std::min<uint16_t>(version->minor, spec::kMinorMax);
  Put(spec::Version{.major = spec::kMajor, .minor = minor});
  // Always with JSON: some clients take their own proposal for our answer where there is none. And
  // briefly: QEMU has room for as much as it sent.
  Capabilities ours;
  ours.max_msg_fds = limits_.fds_max;
  ours.max_data_xfer_size = limits_.data_bytes_max;
  ours.max_dma_maps = limits_.dma_regions_max;
  ours.write_multiple = client_.write_multiple;
  const std::string json = FormatCapabilities(ours);
  std::memcpy(Append(json.size()).data(), json.data(), json.size());
  return 0;
}

int Session::OnDmaMap(Payload payload, Fds& fds) {
  const auto* const request = BeginWithArgsz<spec::DmaMap>(payload);
  constexpr uint32_t kKnown =
      spec::kDmaMapReadable | spec::kDmaMapWritable | spec::kDmaMapMmap | spec::kDmaMapFileIo;
  if (request == nullptr || (request->flags & ~kKnown) != 0 || fds.size() > 1) return EINVAL;
  const bool by_mmap = (request->flags & spec::kDmaMapMmap) != 0;
  const bool by_file = (request->flags & spec::kDmaMapFileIo) != 0;
  if ((by_mmap || by_file) && (fds.empty() || by_mmap == by_file)) return EINVAL;
  if (by_file) return ENOTSUP;  // Devices of ours access memory directly.

  DmaTable::Request map;
  map.region.iova = request->address;
  map.region.bytes = request->size;
  map.region.readable = (request->flags & spec::kDmaMapReadable) != 0;
  map.region.writable = (request->flags & spec::kDmaMapWritable) != 0;
  map.offset = request->offset;
  if (!fds.empty()) map.file = std::move(fds[0]);
  bool added = false;
  if (const int error = dma_.Map(std::move(map), &added); error != 0) return error;
  if (added) device_.OnDmaMapped(*dma_.Find(request->address, request->size));
  return 0;
}

int Session::OnDmaUnmap(Payload payload, Answer& answer) {
  const auto* const request = BeginWithArgsz<spec::DmaUnmap>(payload);
  if (request == nullptr) return EINVAL;
  if (request->flags == spec::kDmaUnmapAll) {
    if (request->address != 0 || request->size != 0) return EINVAL;
    answer.unmapping = dma_.regions();
  } else {
    if (request->flags != 0) return EINVAL;  // A bitmap of what was written is not kept.
    const DmaRegion* const region = dma_.Find(request->address, request->size);
    if (region == nullptr) return ENOENT;
    answer.unmapping.push_back(*region);
  }
  Put(*request);
  return 0;
}

int Session::OnGetInfo(Payload payload) {
  if (BeginWithArgsz<spec::DeviceInfo>(payload) == nullptr) return EINVAL;
  Put(spec::DeviceInfo{.argsz = sizeof(spec::DeviceInfo),
                       .flags = spec::kDeviceReset | spec::kDevicePci,
                       .num_regions = spec::kPciRegions,
                       .num_irqs = spec::kPciIrqs});
  return 0;
}

// A client learns from argsz that the whole answer needs more room than it has, and asks again. The
// file goes with the whole answer only, or it would have two.
int Session::OnGetRegionInfo(Payload payload, Answer& answer) {
  const auto* const request = BeginWithArgsz<spec::RegionInfo>(payload);
  if (request == nullptr || request->index >= facts_.regions.size()) return EINVAL;
  const RegionInfo& region = facts_.regions[request->index];

  const size_t areas_bytes =
      region.areas.empty()
          ? 0
          : sizeof(spec::SparseMmap) + region.areas.size() * sizeof(spec::SparseArea);
  const size_t whole_bytes = sizeof(spec::RegionInfo) + areas_bytes;
  const bool whole = request->argsz >= whole_bytes;
  const bool with_areas = whole && areas_bytes > 0;

  spec::RegionInfo reply{.argsz = static_cast<uint32_t>(whole_bytes), .index = request->index};
  if (region.bytes > 0) {
    reply.flags = FlagsOf(region) | (with_areas ? spec::kRegionCaps : 0);
    reply.size = region.bytes;
    reply.offset = region.areas.empty() ? 0 : region.fd_offset;
  }
  if (with_areas) reply.cap_offset = sizeof(reply);
  Put(reply);
  if (!with_areas) return 0;

  answer.fd = region.fd;
  Put(spec::SparseMmap{.header = {.id = spec::kCapSparseMmap, .version = 1},
                       .nr_areas = static_cast<uint32_t>(region.areas.size())});
  for (const RegionInfo::Area& area : region.areas) {
    Put(spec::SparseArea{.offset = area.offset, .size = area.bytes});
  }
  return 0;
}

int Session::OnGetRegionIoFds(Payload payload) {
  const auto* const request = BeginWithArgsz<spec::RegionIoFds>(payload);
  if (request == nullptr || request->flags != 0 || request->count != 0) return EINVAL;
  if (request->index >= facts_.regions.size()) return EINVAL;
  const RegionInfo& region = facts_.regions[request->index];
  if (region.bytes == 0 || !(region.readable || region.writable)) return EINVAL;
  Put(spec::RegionIoFds{.argsz = sizeof(spec::RegionIoFds), .index = request->index});
  return 0;
}

int Session::OnGetIrqInfo(Payload payload) {
  const auto* const request = BeginWithArgsz<spec::IrqInfo>(payload);
  if (request == nullptr || request->index >= facts_.irqs.size()) return EINVAL;
  const uint32_t index = request->index;
  Put(spec::IrqInfo{.argsz = sizeof(spec::IrqInfo),
                    .flags = Interrupts::flags(index),
                    .index = index,
                    .count = facts_.irqs[index]});
  return 0;
}

int Session::OnSetIrqs(Payload payload, Fds& fds) {
  const auto* const request = BeginWithArgsz<spec::SetIrqs>(payload);
  if (request == nullptr) return EINVAL;
  return interrupts_.Set(*request, payload.subspan(sizeof(*request)), fds);
}

int Session::CheckAccess(uint64_t offset, uint32_t region, uint64_t count, bool write) const {
  if (region >= facts_.regions.size() || count > limits_.data_bytes_max) return EINVAL;
  const RegionInfo& info = facts_.regions[region];
  if (offset > info.bytes || count > info.bytes - offset) return EINVAL;
  return (write ? info.writable : info.readable) ? 0 : EPERM;
}

int Session::OnRegionRead(Payload payload) {
  const auto* const request = Begin<spec::RegionAccess>(payload);
  if (request == nullptr) return EINVAL;
  const uint32_t count = request->count;
  const int error = CheckAccess(request->offset, request->region, count, /*write=*/false);
  if (error != 0) return error;
  Put(*request);
  const std::span<std::byte> data = Append(count);
  if (count == 0) return 0;
  return device_.ReadRegion(static_cast<int>(request->region), request->offset, data);
}

int Session::OnRegionWrite(Payload payload) {
  const auto* const request = Begin<spec::RegionAccess>(payload);
  if (request == nullptr) return EINVAL;
  const Payload data = payload.subspan(sizeof(*request));
  if (data.size() != request->count) return EINVAL;
  int error = CheckAccess(request->offset, request->region, data.size(), /*write=*/true);
  if (error != 0) return error;
  if (!data.empty()) {
    error = device_.WriteRegion(static_cast<int>(request->region), request->offset, data);
  }
  Put(*request);
  return error;
}

// The first entry that is wrong ends it; those before it have been written.
int Session::OnRegionWriteMulti(Payload payload) {
  const auto* const count = Begin<Le64>(payload);
  if (!client_.write_multiple || count == nullptr) return EINVAL;
  const uint64_t entries = *count;
  const Payload rest = payload.subspan(sizeof(*count));
  if (rest.size() % sizeof(spec::WriteMultiEntry) != 0 ||
      rest.size() / sizeof(spec::WriteMultiEntry) != entries) {
    return EINVAL;
  }
  for (size_t i = 0; i < entries; ++i) {
    const auto& entry =
        *Begin<spec::WriteMultiEntry>(rest.subspan(i * sizeof(spec::WriteMultiEntry)));
    if (entry.count == 0 || entry.count > sizeof(entry.data)) return EINVAL;
    int error = CheckAccess(entry.offset, entry.region, entry.count, /*write=*/true);
    if (error == 0) {
      error = device_.WriteRegion(static_cast<int>(entry.region), entry.offset,
                                  std::span(entry.data).first(entry.count));
    }
    if (error != 0) return error;
  }
  Put(*count);
  return 0;
}

int Session::OnReset() {
  device_.Reset();
  interrupts_.Reset();
  return 0;
}

}  // namespace pollux::vfio_user
