#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/memory/region_registry.h"
#include "core/spec/vfio_user_spec.h"
#include "core/status.h"
#include "core/unique_fd.h"
#include "core/vfio_user/capabilities.h"
#include "core/vfio_user/message_socket.h"

namespace pollux::pci {

// The client's end of a vfio-user connection. One command at a time; each waits for its answer, up
// to a limit. Any thread: where doorbells cannot be mapped, each queue's owner writes its own by a
// command, and waits until nobody else's is under way.
//
// A command that the server refuses fails with the server's errno, and that is all. A server that
// is gone, late, or does not keep to the protocol ends the connection: broken() says why, and all
// that follows fails with it.
class VfioUserClient {
 public:
  static constexpr uint64_t kTimeoutNs = 5 * kNsPerSecond;

  // `address` is a socket, or the directory in which it is called cntrl, as SPDK's targets have it.
  static Result<std::unique_ptr<VfioUserClient>> Connect(const std::string& address,
                                                         uint64_t timeout_ns = kTimeoutNs);
  // The same with a connected socket.
  static Result<std::unique_ptr<VfioUserClient>> Adopt(UniqueFd socket, std::string name,
                                                       uint64_t timeout_ns = kTimeoutNs);

  // Their parts that wait for nobody; see VfioUserGreeting. A socket that is not valid: the server
  // has no room for another connection now.
  static Result<UniqueFd> TryConnect(const std::string& address);
  // VERSION is on its way; TryNegotiate() then comes before all else, until it says true.
  static Result<std::unique_ptr<VfioUserClient>> AdoptBegin(UniqueFd socket, std::string name,
                                                            uint64_t timeout_ns = kTimeoutNs);
  Result<bool> TryNegotiate();

  struct Device {
    uint32_t regions = 0;
    uint32_t irq_indexes = 0;
    bool can_reset = false;
  };
  Result<Device> GetDevice();

  struct Area {
    uint64_t offset, bytes;  // In the region, within it.
  };
  struct DeviceRegion {
    uint64_t bytes = 0;  // 0: there is none.
    bool readable = false, writable = false;
    std::vector<Area> areas;   // That may be mapped,
    UniqueFd file;             // of this file,
    uint64_t file_offset = 0;  // where the region's byte 0 is.
  };
  Result<DeviceRegion> GetRegion(uint32_t index);
  Status ReadRegion(uint32_t index, uint64_t offset, std::span<std::byte> data);
  Status WriteRegion(uint32_t index, uint64_t offset, std::span<const std::byte> data);

  Result<uint32_t> GetVectors(uint32_t irq_index);
  Status SetEventfd(uint32_t irq_index, uint32_t vector, int eventfd);  // -1: none.
  Status Unmask(uint32_t irq_index, uint32_t vector);

  Status MapDma(const Region& region);
  Status UnmapDma(const Region& region);
  Status Reset();

  const std::string& name() const { return name_; }
  const vfio_user::Capabilities& server() const { return server_; }
  int socket() const { return socket_.get(); }
  // OK, or why the connection ended. Looks whether the server hung up meanwhile.
  Status broken();
  // Ends it.
  Status Break(Status why);

 private:
  using Payload = std::span<const std::byte>;
  // Held from a command to the end of what its answer is used for; recursive, since Break() is for
  // others as for ourselves.
  using Lock = std::lock_guard<std::recursive_mutex>;

  VfioUserClient(UniqueFd socket, std::string name, uint64_t timeout_ns);
  Status SendVersion(uint64_t deadline_ns);
  Status TakeVersion(Payload reply);

  // Sends `command` with a payload of these two parts, and returns the payload of the reply, of at
  // least `reply_bytes`. It is valid until the next call; so are the descriptors that came along.
  Result<Payload> Call(vfio_user_spec::Command command, Payload head, Payload data, int fd,
                       size_t reply_bytes);
  // With a structure, answered by one of the same kind.
  template <typename T>
  Result<T> Ask(vfio_user_spec::Command command, const T& request);
  template <typename T>
  Status Tell(vfio_user_spec::Command command, const T& request, int fd = -1);

  // Sends a command, and returns its identifier.
  Result<uint16_t> SendCommand(vfio_user_spec::Command command, Payload head, Payload data, int fd,
                               uint64_t deadline_ns);
  Status Send(Payload message, int fd, uint64_t deadline_ns);
  // What the socket has of the reply; no payload while it has not all of it.
  Result<std::optional<Payload>> TakeReply(vfio_user_spec::Command command, uint16_t id,
                                           uint64_t deadline_ns);
  Result<Payload> AwaitReply(vfio_user_spec::Command command, uint16_t id, uint64_t deadline_ns);
  Status RefuseCommand(uint64_t deadline_ns);
  // Until the socket is ready for `events`. False: the deadline came first.
  bool Wait(short events, uint64_t deadline_ns) const;
  Status CheckAccess(size_t bytes) const;

  const UniqueFd socket_;
  const std::string name_;
  const uint64_t timeout_ns_;
  const RealClock clock_;
  std::recursive_mutex mutex_;
  vfio_user::MessageReader reader_;
  vfio_user::Capabilities server_;
  uint32_t dma_maps_ = 0;
  uint16_t next_id_ = 1;
  std::vector<std::byte> request_;
  Status broken_;
};

}  // namespace pollux::pci
