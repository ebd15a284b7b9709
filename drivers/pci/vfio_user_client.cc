#include "drivers/pci/vfio_user_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/log.h"

namespace pollux::pci {
namespace {

namespace spec = vfio_user_spec;
using spec::Command;
using vfio_user::MessageReader;

constexpr uint32_t kDataBytesMax = 1 << 20;
constexpr uint32_t kFdsMax = 8;
constexpr uint16_t kVersionId = 1;  // The first command.
constexpr size_t kAreasMax = 64;
constexpr uint32_t kRegionsMax = 64;
constexpr uint32_t kVectorsMax = 2048;  // PCI 3.0 §6.8.2.3.
constexpr uint64_t kRegionBytesMax = uint64_t{1} << 46;
constexpr uint64_t kFileOffsetMax = uint64_t{1} << 62;

// The room for the longest answer: a read. And for one message of the server's own.
constexpr size_t kPayloadBytesMax = kDataBytesMax + 64;

const char* NameOf(Command command) {
  switch (command) {
    case Command::kVersion:
      return "VERSION";
    case Command::kDmaMap:
      return "DMA_MAP";
    case Command::kDmaUnmap:
      return "DMA_UNMAP";
    case Command::kDeviceGetInfo:
      return "DEVICE_GET_INFO";
    case Command::kDeviceGetRegionInfo:
      return "DEVICE_GET_REGION_INFO";
    case Command::kDeviceGetIrqInfo:
      return "DEVICE_GET_IRQ_INFO";
    case Command::kDeviceSetIrqs:
      return "DEVICE_SET_IRQS";
    case Command::kRegionRead:
      return "REGION_READ";
    case Command::kRegionWrite:
      return "REGION_WRITE";
    case Command::kDeviceReset:
      return "DEVICE_RESET";
    default:
      return "a command";
  }
}

template <typename T>
std::span<const std::byte> BytesOf(const T& part) {
  static_assert(alignof(T) == 1);
  return std::as_bytes(std::span(&part, 1));
}

template <typename T>
T Begin(std::span<const std::byte> payload) {
  T part;
  std::memcpy(&part, payload.data(), sizeof(part));
  return part;
}

using Area = VfioUserClient::Area;

// The areas in the capabilities of a region, or EINVAL for what cannot be.
Result<std::vector<Area>> ReadAreas(std::span<const std::byte> reply,
                                    const spec::RegionInfo& info) {
  const auto lie = [] { return InvalidArgument("a capability of a region is malformed"); };
  std::vector<Area> areas;
  size_t offset = info.cap_offset;
  while (offset != 0) {
    if (offset > reply.size() || reply.size() - offset < sizeof(spec::CapabilityHeader)) {
      return lie();
    }
    const std::span<const std::byte> capability = reply.subspan(offset);
    const auto header = Begin<spec::CapabilityHeader>(capability);
    if (header.next != 0 && header.next <= offset) return lie();  // It would go in a circle.
    offset = header.next;
    if (header.id != spec::kCapSparseMmap) continue;

    if (capability.size() < sizeof(spec::SparseMmap)) return lie();
    const uint32_t count = Begin<spec::SparseMmap>(capability).nr_areas;
    const std::span<const std::byte> list = capability.subspan(sizeof(spec::SparseMmap));
    if (count > kAreasMax || list.size() / sizeof(spec::SparseArea) < count) return lie();
    for (uint32_t i = 0; i < count; ++i) {
      const auto area = Begin<spec::SparseArea>(list.subspan(i * sizeof(spec::SparseArea)));
      const uint64_t begin = area.offset, bytes = area.size;
      if (bytes == 0 || begin > info.size || bytes > info.size - begin) return lie();
      areas.push_back({.offset = begin, .bytes = bytes});
    }
  }
  return areas;
}

Result<std::string> SocketPath(const std::string& address) {
  struct stat found;
  std::string path = address;
  if (stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode)) path += "/cntrl";
  if (path.empty() || path.size() >= sizeof(sockaddr_un{}.sun_path)) {
    return InvalidField("traddr", address, "a socket's path must have between 1 and %u bytes",
                        sizeof(sockaddr_un{}.sun_path) - 1);
  }
  return path;
}

}  // namespace

VfioUserClient::VfioUserClient(UniqueFd socket, std::string name, uint64_t timeout_ns)
    : socket_(std::move(socket)),
      name_(std::move(name)),
      timeout_ns_(timeout_ns),
      reader_({.payload_bytes_max = kPayloadBytesMax, .fds_max = kFdsMax}) {}

Result<UniqueFd> VfioUserClient::TryConnect(const std::string& address) {
  ASSIGN_OR_RETURN(const std::string path, SocketPath(address));
  sockaddr_un target{};
  target.sun_family = AF_UNIX;
  std::memcpy(target.sun_path, path.c_str(), path.size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return ErrorOfErrno(errno, "no socket for a vfio-user connection");
  if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&target), sizeof(target)) == 0) {
    return socket;
  }
  // The server's backlog is full: there is no event that tells when it has room.
  if (errno == EAGAIN || errno == EINTR) return UniqueFd();
  return ErrorOfErrno(errno, absl::StrFormat("cannot connect to the vfio-user server at %s: %s",
                                             path, strerror(errno)));
}

Result<std::unique_ptr<VfioUserClient>> VfioUserClient::Connect(const std::string& address,
                                                                uint64_t timeout_ns) {
  constexpr int kRetryMs = 10;
  const uint64_t deadline_ns = RealClock().NowNs() + timeout_ns;
  for (;;) {
    ASSIGN_OR_RETURN(UniqueFd socket, TryConnect(address));
    if (socket.valid()) return Adopt(std::move(socket), address, timeout_ns);
    if (RealClock().NowNs() >= deadline_ns) {
      return TimedOut("the vfio-user server at %s takes no connection", address);
    }
    poll(nullptr, 0, kRetryMs);
  }
}

Result<std::unique_ptr<VfioUserClient>> VfioUserClient::Adopt(UniqueFd socket, std::string name,
                                                              uint64_t timeout_ns) {
  ASSIGN_OR_RETURN(std::unique_ptr<VfioUserClient> client,
                   AdoptBegin(std::move(socket), std::move(name), timeout_ns));
  const uint64_t deadline_ns = client->clock_.NowNs() + timeout_ns;
  ASSIGN_OR_RETURN(const Payload reply,
                   client->AwaitReply(Command::kVersion, kVersionId, deadline_ns));
  RETURN_IF_ERROR(client->TakeVersion(reply));
  return client;
}

Result<std::unique_ptr<VfioUserClient>> VfioUserClient::AdoptBegin(UniqueFd socket,
                                                                   std::string name,
                                                                   uint64_t timeout_ns) {
  std::unique_ptr<VfioUserClient> client(
      new VfioUserClient(std::move(socket), std::move(name), timeout_ns));
  // A connection that is new has room for it.
  RETURN_IF_ERROR(client->SendVersion(/*deadline_ns=*/0));
  return client;
}

Status VfioUserClient::SendVersion(uint64_t deadline_ns) {
  const spec::Version ours{.major = spec::kMajor, .minor = spec::kMinorMax};
  vfio_user::Capabilities capabilities;
  capabilities.max_msg_fds = kFdsMax;
  capabilities.max_data_xfer_size = kDataBytesMax;
  const std::string json = vfio_user::FormatCapabilities(capabilities);
  ASSIGN_OR_RETURN(const uint16_t id, SendCommand(Command::kVersion, BytesOf(ours),
                                                  std::as_bytes(std::span(json)), -1, deadline_ns));
  CHECK(id == kVersionId);
  return OkStatus();
}

Result<bool> VfioUserClient::TryNegotiate() {
  const Lock lock(mutex_);
  RETURN_IF_ERROR(broken_);
  // Without time: a server that asks before it has answered ends the connection.
  ASSIGN_OR_RETURN(const std::optional<Payload> reply,
                   TakeReply(Command::kVersion, kVersionId, /*deadline_ns=*/0));
  if (!reply.has_value()) return false;
  RETURN_IF_ERROR(TakeVersion(*reply));
  return true;
}

Status VfioUserClient::TakeVersion(Payload reply) {
  reader_.fds().clear();
  if (reply.size() < sizeof(spec::Version)) {
    return Break(DataLoss("the vfio-user server at %s answers VERSION with %u bytes instead of %u",
                          name_, reply.size(), sizeof(spec::Version)));
  }
  const auto theirs = Begin<spec::Version>(reply);
  if (theirs.major != spec::kMajor || theirs.minor > spec::kMinorMax) {
    return Break(NotSupported("the vfio-user server at %s speaks version %u.%u, not 0.%u", name_,
                              unsigned{theirs.major}, unsigned{theirs.minor},
                              unsigned{spec::kMinorMax}));
  }
  Result<vfio_user::Capabilities> parsed =
      vfio_user::ParseCapabilities(reply.subspan(sizeof(theirs)));
  if (!parsed.ok()) return Break(std::move(parsed).status());
  server_ = *parsed;
  return OkStatus();
}

Result<VfioUserClient::Device> VfioUserClient::GetDevice() {
  const Lock lock(mutex_);
  const spec::DeviceInfo request{.argsz = sizeof(request)};
  ASSIGN_OR_RETURN(const spec::DeviceInfo info, Ask(Command::kDeviceGetInfo, request));
  if ((info.flags & spec::kDevicePci) == 0) {
    return NotSupported("the vfio-user server at %s serves no PCI device", name_);
  }
  if (info.num_regions <= spec::kRegionConfig || info.num_regions > kRegionsMax) {
    return Break(DataLoss("the vfio-user server at %s claims a PCI device of %u regions", name_,
                          uint32_t{info.num_regions}));
  }
  return Device{.regions = info.num_regions,
                .irq_indexes = std::min<uint32_t>(info.num_irqs, spec::kPciIrqs),
                .can_reset = (info.flags & spec::kDeviceReset) != 0};
}

Result<VfioUserClient::DeviceRegion> VfioUserClient::GetRegion(uint32_t index) {
  const Lock lock(mutex_);
  spec::RegionInfo request{.argsz = sizeof(request), .index = index};
  constexpr size_t kWholeMax =
      sizeof(spec::RegionInfo) + sizeof(spec::SparseMmap) + kAreasMax * sizeof(spec::SparseArea);
  const auto ask = [&] {
    return Call(Command::kDeviceGetRegionInfo, BytesOf(request), {}, -1, sizeof(request));
  };
  ASSIGN_OR_RETURN(Payload reply, ask());
  auto info = Begin<spec::RegionInfo>(reply);
  // The first answer says how much room the whole one needs; see argsz in vfio_user_spec.h.
  if (info.argsz > sizeof(request) && info.argsz <= kWholeMax) {
    request.argsz = info.argsz;
    ASSIGN_OR_RETURN(reply, ask());
    info = Begin<spec::RegionInfo>(reply);
  }
  if (info.index != index || info.size > kRegionBytesMax || info.offset > kFileOffsetMax ||
      info.argsz > kWholeMax) {
    return Break(DataLoss("the vfio-user server at %s describes region %u wrongly", name_, index));
  }
  DeviceRegion region{.bytes = info.size,
                      .readable = (info.flags & spec::kRegionReadable) != 0,
                      .writable = (info.flags & spec::kRegionWritable) != 0,
                      .file_offset = info.offset};
  if (region.bytes == 0 || (info.flags & spec::kRegionMmap) == 0 || reader_.fds().empty()) {
    return region;
  }
  region.file = std::move(reader_.fds()[0]);
  reader_.fds().clear();
  if ((info.flags & spec::kRegionCaps) == 0) {
    region.areas.push_back({.offset = 0, .bytes = region.bytes});
    return region;
  }
  Result<std::vector<Area>> areas = ReadAreas(reply, info);
  if (!areas.ok()) return Break(std::move(areas).status());
  region.areas = *std::move(areas);
  return region;
}

Status VfioUserClient::CheckAccess(size_t bytes) const {
  const uint64_t most = std::min<uint64_t>(kDataBytesMax, server_.max_data_xfer_size);
  if (bytes <= most) return OkStatus();
  return InvalidArgument("%u bytes are more than the vfio-user server at %s takes at once, %u",
                         bytes, name_, most);
}

Status VfioUserClient::ReadRegion(uint32_t index, uint64_t offset, std::span<std::byte> data) {
  const Lock lock(mutex_);
  RETURN_IF_ERROR(CheckAccess(data.size()));
  const spec::RegionAccess request{
      .offset = offset, .region = index, .count = static_cast<uint32_t>(data.size())};
  ASSIGN_OR_RETURN(const Payload reply, Call(Command::kRegionRead, BytesOf(request), {}, -1,
                                             sizeof(request) + data.size()));
  const auto echo = Begin<spec::RegionAccess>(reply);
  if (echo.count != data.size() || reply.size() != sizeof(echo) + data.size()) {
    return Break(DataLoss("the vfio-user server at %s answers a read of %u bytes with %u", name_,
                          data.size(), uint32_t{echo.count}));
  }
  std::memcpy(data.data(), reply.data() + sizeof(echo), data.size());
  return OkStatus();
}

Status VfioUserClient::WriteRegion(uint32_t index, uint64_t offset,
                                   std::span<const std::byte> data) {
  const Lock lock(mutex_);
  RETURN_IF_ERROR(CheckAccess(data.size()));
  const spec::RegionAccess request{
      .offset = offset, .region = index, .count = static_cast<uint32_t>(data.size())};
  ASSIGN_OR_RETURN(const Payload reply,
                   Call(Command::kRegionWrite, BytesOf(request), data, -1, sizeof(request)));
  const auto echo = Begin<spec::RegionAccess>(reply);
  if (echo.count != data.size()) {
    return Break(DataLoss("the vfio-user server at %s took %u bytes of a write of %u", name_,
                          uint32_t{echo.count}, data.size()));
  }
  return OkStatus();
}

Result<uint32_t> VfioUserClient::GetVectors(uint32_t irq_index) {
  const Lock lock(mutex_);
  const spec::IrqInfo request{.argsz = sizeof(request), .index = irq_index};
  ASSIGN_OR_RETURN(const spec::IrqInfo info, Ask(Command::kDeviceGetIrqInfo, request));
  if (info.index != irq_index || info.count > kVectorsMax) {
    return Break(DataLoss("the vfio-user server at %s claims %u interrupt vectors of index %u",
                          name_, uint32_t{info.count}, uint32_t{info.index}));
  }
  // Without eventfds there is no way to hear of one.
  return (info.flags & spec::kIrqEventfd) != 0 ? uint32_t{info.count} : 0;
}

Status VfioUserClient::SetEventfd(uint32_t irq_index, uint32_t vector, int eventfd) {
  const Lock lock(mutex_);
  const spec::SetIrqs request{.argsz = sizeof(request),
                              .flags = spec::kIrqDataEventfd | spec::kIrqTrigger,
                              .index = irq_index,
                              .start = vector,
                              .count = 1};
  return Tell(Command::kDeviceSetIrqs, request, eventfd);
}

Status VfioUserClient::Unmask(uint32_t irq_index, uint32_t vector) {
  const Lock lock(mutex_);
  const spec::SetIrqs request{.argsz = sizeof(request),
                              .flags = spec::kIrqDataNone | spec::kIrqUnmask,
                              .index = irq_index,
                              .start = vector,
                              .count = 1};
  return Tell(Command::kDeviceSetIrqs, request);
}

Status VfioUserClient::MapDma(const Region& region) {
  const Lock lock(mutex_);
  if (region.fd < 0) {
    return NotSupported("memory '%s' has no file that the vfio-user server at %s could map",
                        region.name, name_);
  }
  if (dma_maps_ >= server_.max_dma_maps) {
    return NoSpace("the vfio-user server at %s takes %u pieces of memory, '%s' would be one more",
                   name_, server_.max_dma_maps, region.name);
  }
  const spec::DmaMap request{.argsz = sizeof(request),
                             .flags = spec::kDmaMapReadable | spec::kDmaMapWritable,
                             .offset = region.offset,
                             .address = region.iova,
                             .size = region.bytes};
  RETURN_IF_ERROR(Tell(Command::kDmaMap, request, region.fd));
  ++dma_maps_;
  return OkStatus();
}

Status VfioUserClient::UnmapDma(const Region& region) {
  const Lock lock(mutex_);
  const spec::DmaUnmap request{
      .argsz = sizeof(request), .flags = 0, .address = region.iova, .size = region.bytes};
  RETURN_IF_ERROR(Ask(Command::kDmaUnmap, request).status());
  --dma_maps_;
  return OkStatus();
}

Status VfioUserClient::Reset() {
  const Lock lock(mutex_);
  return Call(Command::kDeviceReset, {}, {}, -1, 0).status();
}

// --- One command and its answer.

template <typename T>
Result<T> VfioUserClient::Ask(Command command, const T& request) {
  ASSIGN_OR_RETURN(const Payload reply, Call(command, BytesOf(request), {}, -1, sizeof(T)));
  return Begin<T>(reply);
}

template <typename T>
Status VfioUserClient::Tell(Command command, const T& request, int fd) {
  return Call(command, BytesOf(request), {}, fd, 0).status();
}

Result<VfioUserClient::Payload> VfioUserClient::Call(Command command, Payload head, Payload data,
                                                     int fd, size_t reply_bytes) {
  RETURN_IF_ERROR(broken_);
  const uint64_t deadline_ns = clock_.NowNs() + timeout_ns_;
  ASSIGN_OR_RETURN(const uint16_t id, SendCommand(command, head, data, fd, deadline_ns));
  ASSIGN_OR_RETURN(const Payload reply, AwaitReply(command, id, deadline_ns));
  // One that nobody asked for could be the server's end of the socket, which would never hang up.
  if (command != Command::kDeviceGetRegionInfo) reader_.fds().clear();
  if (reply.size() < reply_bytes) {
    return Break(DataLoss("the vfio-user server at %s answers %s with %u bytes instead of %u",
                          name_, NameOf(command), reply.size(), reply_bytes));
  }
  return reply;
}

Result<uint16_t> VfioUserClient::SendCommand(Command command, Payload head, Payload data, int fd,
                                             uint64_t deadline_ns) {
  const uint16_t id = next_id_++;
  const size_t message_bytes = sizeof(spec::Header) + head.size() + data.size();
  const spec::Header header{.message_id = id,
                            .command = static_cast<uint16_t>(command),
                            .message_size = static_cast<uint32_t>(message_bytes),
                            .flags = spec::kTypeCommand,
                            .error = 0};
  request_.clear();
  for (const Payload part : {BytesOf(header), head, data}) {
    request_.insert(request_.end(), part.begin(), part.end());
  }
  RETURN_IF_ERROR(Send(request_, fd, deadline_ns));
  return id;
}

Status VfioUserClient::Send(Payload message, int fd, uint64_t deadline_ns) {
  std::span<const int> fds(&fd, fd >= 0 ? 1 : 0);
  for (;;) {
    const int error = vfio_user::SendSome(socket_.get(), message, fds);
    if (error == 0) return OkStatus();
    if (error != EAGAIN) {
      return Break(NoDevice("the vfio-user server at %s is gone: %s", name_, strerror(error)));
    }
    if (!Wait(POLLOUT, deadline_ns)) {
      return Break(TimedOut("the vfio-user server at %s takes no commands", name_));
    }
  }
}

Result<VfioUserClient::Payload> VfioUserClient::AwaitReply(Command command, uint16_t id,
                                                           uint64_t deadline_ns) {
  for (;;) {
    ASSIGN_OR_RETURN(const std::optional<Payload> reply, TakeReply(command, id, deadline_ns));
    if (reply.has_value()) return *reply;
    if (!Wait(POLLIN, deadline_ns)) {
      return Break(
          TimedOut("the vfio-user server at %s does not answer %s", name_, NameOf(command)));
    }
  }
}

Result<std::optional<VfioUserClient::Payload>> VfioUserClient::TakeReply(Command command,
                                                                         uint16_t id,
                                                                         uint64_t deadline_ns) {
  for (;;) {
    switch (reader_.Read(socket_.get())) {
      case MessageReader::Outcome::kMessage:
        break;
      case MessageReader::Outcome::kAgain:
        return std::nullopt;
      case MessageReader::Outcome::kEnd:
        return Break(NoDevice("the vfio-user server at %s is gone%s%s", name_,
                              reader_.error_number() != 0 ? ": " : "",
                              reader_.error_number() != 0 ? strerror(reader_.error_number()) : ""));
      case MessageReader::Outcome::kViolation:
        return Break(DataLoss("the vfio-user server at %s sends a message of %u bytes", name_,
                              uint32_t{reader_.header().message_size}));
    }
    const spec::Header& header = reader_.header();
    const uint32_t type = header.flags & spec::kTypeMask;
    if (type == spec::kTypeCommand) {
      RETURN_IF_ERROR(RefuseCommand(deadline_ns));
      continue;
    }
    if (type != spec::kTypeReply || header.message_id != id ||
        header.command != static_cast<uint16_t>(command)) {
      return Break(DataLoss("the vfio-user server at %s answers %s with something else", name_,
                            NameOf(command)));
    }
    if ((header.flags & spec::kFlagError) == 0) return std::optional<Payload>(reader_.payload());
    // An error without a number, or with one that no system has.
    constexpr uint32_t kErrnoMax = 4095;
    const uint32_t given = header.error;
    const int error = given == 0 || given > kErrnoMax ? EIO : static_cast<int>(given);
    return ErrorOfErrno(error, absl::StrFormat("the vfio-user server at %s refuses %s: %s", name_,
                                               NameOf(command), strerror(error)));
  }
}

// A server asks for memory that it could not map. We give none that it cannot.
Status VfioUserClient::RefuseCommand(uint64_t deadline_ns) {
  spec::Header reply = reader_.header();
  if ((reply.flags & spec::kFlagNoReply) == 0) {
    reply.message_size = sizeof(reply);
    reply.flags = spec::kTypeReply | spec::kFlagError;
    reply.error = ENOTSUP;
    RETURN_IF_ERROR(Send(BytesOf(reply), -1, deadline_ns));
  }
  if (clock_.NowNs() < deadline_ns) return OkStatus();
  return Break(TimedOut("the vfio-user server at %s asks, but does not answer", name_));
}

bool VfioUserClient::Wait(short events, uint64_t deadline_ns) const {
  for (;;) {
    const uint64_t now_ns = clock_.NowNs();
    if (now_ns >= deadline_ns) return false;
    const uint64_t left_ns = deadline_ns - now_ns;
    const timespec left{.tv_sec = static_cast<time_t>(left_ns / kNsPerSecond),
                        .tv_nsec = static_cast<long>(left_ns % kNsPerSecond)};
    pollfd ready{.fd = socket_.get(), .events = events, .revents = 0};
    if (ppoll(&ready, 1, &left, nullptr) > 0) return true;
  }
}

Status VfioUserClient::broken() {
  const Lock lock(mutex_);
  if (!broken_.ok()) return broken_;
  pollfd state{.fd = socket_.get(), .events = POLLRDHUP, .revents = 0};
  if (poll(&state, 1, 0) > 0) {
    return Break(NoDevice("the vfio-user server at %s closed the connection", name_));
  }
  return OkStatus();
}

Status VfioUserClient::Break(Status why) {
  const Lock lock(mutex_);
  if (!broken_.ok()) return broken_;
  LogWarning("pci", "%s", why.message());
  broken_ = std::move(why);
  shutdown(socket_.get(), SHUT_RDWR);  // So that removal is seen where it is watched.
  return broken_;
}

}  // namespace pollux::pci
