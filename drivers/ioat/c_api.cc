// The functions of ioat.h.
#include <algorithm>
#include <cstring>
#include <string>

#include "drivers/ioat/channel.h"
#include "drivers/ioat/device.h"
#include "drivers/ioat/device_table.h"
#include "drivers/ioat/host.h"
#include "drivers/ioat/ioat.h"
#include "drivers/pci/pci_bus.h"

namespace pollux::ioat {
namespace {

std::string& ErrorText() {
  thread_local std::string text;
  return text;
}

// Remembers why, and returns the negative errno; 0 when nothing is wrong.
int Fail(const Status& status) {
  if (status.ok()) return 0;
  ErrorText() = std::string(status.message());
  return -ErrnoOf(status);
}

template <size_t N>
void CopyText(char (&into)[N], const std::string& text) {
  const size_t bytes = std::min(text.size(), N - 1);
  memcpy(into, text.data(), bytes);
  into[bytes] = 0;
}

}  // namespace
}  // namespace pollux::ioat

using pollux::Result;
using pollux::ioat::Fail;

const char* pollux_ioat_error_text(void) { return pollux::ioat::ErrorText().c_str(); }

const char* pollux_ioat_status_name(enum pollux_ioat_status status) {
  switch (status) {
    case POLLUX_IOAT_OK:
      return "ok";
    case POLLUX_IOAT_FAILED:
      return "failed";
    case POLLUX_IOAT_MISMATCH:
      return "mismatch";
    case POLLUX_IOAT_ABORTED:
      return "aborted";
    case POLLUX_IOAT_TIMEOUT:
      return "timeout";
    case POLLUX_IOAT_OUT_OF_SERVICE:
      return "out of service";
  }
  return "unknown";
}

// --- Host.

int pollux_ioat_host_create(const pollux_ioat_host_options* options, pollux_ioat_host** host) {
  pollux::ioat::IoatHost::Parts parts;
  parts.allow_no_iommu = options != nullptr && options->allow_no_iommu;
  *host = new pollux_ioat_host(std::move(parts));
  return 0;
}
void pollux_ioat_host_destroy(pollux_ioat_host* host) { delete host; }

void* pollux_ioat_alloc(pollux_ioat_host* host, size_t bytes) {
  const Result<std::byte*> memory = host->Allocate(bytes);
  Fail(memory.status());
  return memory.ok() ? *memory : nullptr;
}
void pollux_ioat_free(pollux_ioat_host* host, void* memory) {
  if (memory != nullptr) host->Free(static_cast<const std::byte*>(memory));
}
int pollux_ioat_register_memory(pollux_ioat_host* host, void* memory, size_t bytes, int fd,
                                uint64_t fd_offset) {
  return Fail(host->RegisterMemory(static_cast<std::byte*>(memory), bytes, fd, fd_offset));
}
int pollux_ioat_unregister_memory(pollux_ioat_host* host, void* memory) {
  return Fail(host->UnregisterMemory(static_cast<const std::byte*>(memory)));
}

int pollux_ioat_probe(pollux_ioat_host* host,
                      bool (*found)(void* context, const pollux_ioat_probe_info* info),
                      void* context) {
  int calls = 0;
  for (const pollux::pci::PciFunction& function : pollux::pci::PciBus(host->files()).List()) {
    const auto* model = pollux::ioat::FindDeviceModel(function.vendor, function.device);
    if (model == nullptr) continue;
    pollux_ioat_probe_info info{};
    pollux::ioat::CopyText(info.address, pollux::pci::ToString(function.address));
    pollux::ioat::CopyText(info.driver, function.driver);
    info.model = model->name;
    info.vendor = function.vendor;
    info.device = function.device;
    info.numa_node = function.numa_node;
    ++calls;
    if (!found(context, &info)) break;
  }
  return calls;
}

// --- Devices.

int pollux_ioat_attach(pollux_ioat_host* host, const char* address,
                       const pollux_ioat_attach_options* options, pollux_ioat_device** device) {
  const Result<pollux_ioat_device*> attached =
      host->Attach(address, options != nullptr ? *options : pollux_ioat_attach_options{});
  if (!attached.ok()) return Fail(attached.status());
  *device = *attached;
  return 0;
}
int pollux_ioat_attach_begin(pollux_ioat_host* host, const char* address,
                             const pollux_ioat_attach_options* options,
                             pollux_ioat_device** device) {
  const Result<pollux_ioat_device*> begun =
      host->AttachBegin(address, options != nullptr ? *options : pollux_ioat_attach_options{});
  if (!begun.ok()) return Fail(begun.status());
  *device = *begun;
  return 0;
}
int pollux_ioat_detach_begin(pollux_ioat_device* device) { return Fail(device->Detach()); }
void pollux_ioat_release(pollux_ioat_device* device) {
  if (device->state() == POLLUX_IOAT_DEVICE_DETACHED) return device->host().Release(*device);
  Fail(device->host().Detach(*device));
}
int pollux_ioat_detach(pollux_ioat_device* device) { return Fail(device->host().Detach(*device)); }

int pollux_ioat_device_poll(pollux_ioat_device* device) { return Fail(device->Poll()); }
int pollux_ioat_device_event_fd(const pollux_ioat_device* device) { return device->event_fd(); }
enum pollux_ioat_device_state pollux_ioat_device_state(const pollux_ioat_device* device) {
  return device->state();
}
const char* pollux_ioat_device_state_name(enum pollux_ioat_device_state state) {
  switch (state) {
    case POLLUX_IOAT_DEVICE_ATTACHING:
      return "attaching";
    case POLLUX_IOAT_DEVICE_READY:
      return "ready";
    case POLLUX_IOAT_DEVICE_FAILED:
      return "failed";
    case POLLUX_IOAT_DEVICE_GONE:
      return "gone";
    case POLLUX_IOAT_DEVICE_DETACHING:
      return "detaching";
    case POLLUX_IOAT_DEVICE_DETACHED:
      return "detached";
  }
  return "unknown";
}
int pollux_ioat_device_failure(const pollux_ioat_device* device, const char** text) {
  const int error = Fail(device->failure());
  *text = error == 0 ? "" : pollux_ioat_error_text();
  return error;
}
const pollux_ioat_device_info* pollux_ioat_get_device_info(const pollux_ioat_device* device) {
  return &device->info();
}

// --- Channels.

int pollux_ioat_channel_take(pollux_ioat_device* device, int index, pollux_ioat_channel** channel) {
  const Result<pollux_ioat_channel*> taken = device->Take(index);
  if (!taken.ok()) return Fail(taken.status());
  *channel = *taken;
  return 0;
}
void pollux_ioat_channel_return(pollux_ioat_channel* channel) { channel->taken = false; }

enum pollux_ioat_state pollux_ioat_channel_state(const pollux_ioat_channel* channel) {
  return channel->state();
}
const char* pollux_ioat_channel_reason(const pollux_ioat_channel* channel) {
  return channel->reason();
}
uint32_t pollux_ioat_channel_room(const pollux_ioat_channel* channel) { return channel->room(); }
bool pollux_ioat_channel_idle(const pollux_ioat_channel* channel) { return channel->idle(); }
void pollux_ioat_channel_ring(pollux_ioat_channel* channel) { channel->Ring(); }
int pollux_ioat_channel_poll(pollux_ioat_channel* channel) { return channel->Poll(); }
int pollux_ioat_channel_reset(pollux_ioat_channel* channel) { return channel->Reset(); }
int pollux_ioat_channel_suspend(pollux_ioat_channel* channel) { return channel->Suspend(); }
int pollux_ioat_channel_resume(pollux_ioat_channel* channel) { return channel->Resume(); }
void pollux_ioat_get_statistics(const pollux_ioat_channel* channel, pollux_ioat_statistics* into) {
  channel->ReadStatistics(*into);
}

// --- Operations.

int pollux_ioat_copy(pollux_ioat_channel* channel, pollux_ioat_request* request, void* destination,
                     const void* source, size_t bytes) {
  return channel->Copy(*request, destination, source, bytes);
}
int pollux_ioat_copyv(pollux_ioat_channel* channel, pollux_ioat_request* request,
                      const iovec* destinations, uint32_t destination_count, const iovec* sources,
                      uint32_t source_count) {
  return channel->CopyPieces(*request, destinations, destination_count, sources, source_count);
}
int pollux_ioat_fill(pollux_ioat_channel* channel, pollux_ioat_request* request, void* destination,
                     uint64_t pattern, size_t bytes) {
  return channel->Fill(*request, destination, pattern, bytes);
}
int pollux_ioat_fence(pollux_ioat_channel* channel, pollux_ioat_request* request) {
  return channel->Fence(*request);
}

int pollux_ioat_xor(pollux_ioat_channel* channel, pollux_ioat_request* request, void* destination,
                    const void* const* sources, uint32_t count, size_t bytes) {
  return channel->MakeParity(
      *request, {pollux::ioat::opcode::kXor, {destination}, sources, nullptr, count, bytes});
}
int pollux_ioat_xor_validate(pollux_ioat_channel* channel, pollux_ioat_request* request,
                             const void* destination, const void* const* sources, uint32_t count,
                             size_t bytes) {
  return channel->MakeParity(
      *request,
      {pollux::ioat::opcode::kXorValidate, {destination}, sources, nullptr, count, bytes});
}
int pollux_ioat_pq(pollux_ioat_channel* channel, pollux_ioat_request* request, void* p, void* q,
                   const void* const* sources, const uint8_t* coefficients, uint32_t count,
                   size_t bytes) {
  return channel->MakeParity(
      *request, {pollux::ioat::opcode::kPq, {p, q}, sources, coefficients, count, bytes});
}
int pollux_ioat_pq_validate(pollux_ioat_channel* channel, pollux_ioat_request* request,
                            const void* p, const void* q, const void* const* sources,
                            const uint8_t* coefficients, uint32_t count, size_t bytes) {
  return channel->MakeParity(
      *request, {pollux::ioat::opcode::kPqValidate, {p, q}, sources, coefficients, count, bytes});
}
