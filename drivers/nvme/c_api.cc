// The functions of nvme.h that take a host or a controller.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "drivers/nvme/controller.h"
#include "drivers/nvme/error_text.h"
#include "drivers/nvme/host.h"
#include "drivers/nvme/nvme.h"

namespace pollux::nvme {
namespace {

constexpr size_t kBounceBytesMax = 1 << 20;
constexpr size_t kAlignmentMax = 2 << 20;

// What the driver sends by itself, and what would take it from under it.
bool IsDriversOwn(uint8_t opc) {
  switch (opc) {
    case admin::kDeleteSq:
    case admin::kCreateSq:
    case admin::kDeleteCq:
    case admin::kCreateCq:
    case admin::kAbort:
    case admin::kAsyncEventRequest:
    case admin::kKeepAlive:
    case admin::kDoorbellBufferConfig:
      return true;
    default:
      return false;
  }
}

Status CheckAdmin(const NvmeController& controller, const pollux_nvme_command& command,
                  const void* data, size_t bytes) {
  if (IsDriversOwn(command.opc)) {
    return PermissionDenied("admin command %02xh is the driver's own business", command.opc);
  }
  if ((data == nullptr) != (bytes == 0) || command.fuse != 0) {
    return InvalidArgument("an admin command's data is missing or too much, or it is fused");
  }
  const uint64_t most = controller.facts().info.transfer_bytes_max;
  if (bytes > most) {
    return ErrorOfErrno(E2BIG, absl::StrFormat("%u bytes, and a command carries %u", bytes, most));
  }
  return OkStatus();
}

Status RunWithCopy(NvmeController& controller, const pollux_nvme_command& command, void* data,
                   size_t bytes, Completion& completion) {
  RETURN_IF_ERROR(CheckAdmin(controller, command, data, bytes));
  if (bytes > kBounceBytesMax) return ErrorOfErrno(E2BIG, "at most 1 MiB is copied");
  const SubmissionEntry entry = EntryOf(command);
  if (bytes == 0) {
    ASSIGN_OR_RETURN(completion, controller.RunAdmin(entry, nullptr, 0));
    return OkStatus();
  }
  // Whole dwords: that is what devices transfer, whatever the caller's memory is.
  const Piece bounce = controller.admin().Buffer((bytes + 3) / 4 * 4);
  if (!bounce.valid()) return OutOfMemory("no memory for %u bytes of an admin command", bytes);
  memcpy(bounce.get(), data, bytes);
  ASSIGN_OR_RETURN(completion, controller.RunAdmin(entry, bounce.get(), bounce.bytes()));
  memcpy(data, bounce.get(), bytes);
  return OkStatus();
}

// Polls until `done`. Everything that is waited for has a time of its own after which it failed.
template <typename Done>
Status PollUntil(NvmeController& controller, Done done) {
  if (controller.polling()) return ErrorOfErrno(EDEADLK, "a callback may not wait");
  while (!done()) {
    if (controller.Poll() == 0) controller.host().Idle();
  }
  return OkStatus();
}

Status AttachAndWait(NvmeHost& host, const pollux_nvme_transport_id& id,
                     const pollux_nvme_attach_options& options,
                     pollux_nvme_controller** controller) {
  ASSIGN_OR_RETURN(pollux_nvme_controller * attached, host.Attach(id, options));
  RETURN_IF_ERROR(PollUntil(
      *attached, [attached] { return attached->state() != POLLUX_NVME_STATE_ATTACHING; }));
  if (attached->state() == POLLUX_NVME_STATE_READY) {
    *controller = attached;
    return OkStatus();
  }
  const Status failure = attached->failure();
  pollux_nvme_detach(attached);
  return failure;
}

}  // namespace
}  // namespace pollux::nvme

using pollux::Status;
using pollux::nvme::Fail;

// --- Host.

int pollux_nvme_host_create(const pollux_nvme_host_options* options, pollux_nvme_host** host) {
  auto created =
      pollux::nvme::NvmeHost::Create(options != nullptr ? *options : pollux_nvme_host_options{});
  if (!created.ok()) return Fail(created.status());
  *host = created->release();
  return 0;
}

void pollux_nvme_host_destroy(pollux_nvme_host* host) { delete host; }

void* pollux_nvme_alloc(pollux_nvme_host* host, size_t bytes, size_t alignment) {
  if (alignment == 0 || (alignment & (alignment - 1)) != 0 ||
      alignment > pollux::nvme::kAlignmentMax) {
    pollux::nvme::SetErrorText("an alignment is a power of two, at most 2 MiB");
    return nullptr;
  }
  void* memory = host->arena().Allocate(bytes, alignment);
  if (memory == nullptr) {
    pollux::nvme::SetErrorText(absl::StrFormat("no DMA-able memory for %u bytes: %u are free",
                                               bytes, host->arena().free_bytes()));
  }
  return memory;
}

void pollux_nvme_free(pollux_nvme_host* host, void* memory) {
  if (memory != nullptr) host->arena().Free(static_cast<std::byte*>(memory));
}

int pollux_nvme_register_memory(pollux_nvme_host* host, void* memory, size_t bytes, int fd,
                                uint64_t fd_offset) {
  return Fail(host->RegisterMemory(static_cast<std::byte*>(memory), bytes, fd, fd_offset));
}

int pollux_nvme_unregister_memory(pollux_nvme_host* host, void* memory) {
  return Fail(host->UnregisterMemory(static_cast<std::byte*>(memory)));
}

// --- Attaching.

int pollux_nvme_attach_begin(pollux_nvme_host* host, const pollux_nvme_transport_id* id,
                             const pollux_nvme_attach_options* options,
                             pollux_nvme_controller** controller) {
  auto attached = host->Attach(*id, options != nullptr ? *options : pollux_nvme_attach_options{});
  if (!attached.ok()) return Fail(attached.status());
  *controller = *attached;
  return 0;
}

int pollux_nvme_attach(pollux_nvme_host* host, const pollux_nvme_transport_id* id,
                       const pollux_nvme_attach_options* options,
                       pollux_nvme_controller** controller) {
  return Fail(pollux::nvme::AttachAndWait(
      *host, *id, options != nullptr ? *options : pollux_nvme_attach_options{}, controller));
}

int pollux_nvme_detach_begin(pollux_nvme_controller* controller) {
  return Fail(controller->Detach());
}

void pollux_nvme_release(pollux_nvme_controller* controller) {
  if (controller->state() != POLLUX_NVME_STATE_DETACHED) return pollux_nvme_detach(controller);
  controller->host().Release(controller);
}

void pollux_nvme_detach(pollux_nvme_controller* controller) {
  // An owner may still touch a queue that it did not return: then nothing may be freed.
  Status detached = controller->Detach();
  if (detached.ok()) {
    detached = pollux::nvme::PollUntil(
        *controller, [controller] { return controller->state() == POLLUX_NVME_STATE_DETACHED; });
  }
  if (detached.ok()) return controller->host().Release(controller);
  Fail(detached);
  controller->host().Log(3, "a controller stays attached: " + std::string(detached.message()));
}

int pollux_nvme_controller_poll(pollux_nvme_controller* controller) { return controller->Poll(); }

int pollux_nvme_controller_event_fd(pollux_nvme_controller* controller) {
  return controller->event_fd();
}

enum pollux_nvme_state pollux_nvme_state(const pollux_nvme_controller* controller) {
  return controller->state();
}

const char* pollux_nvme_state_name(enum pollux_nvme_state state) {
  switch (state) {
    case POLLUX_NVME_STATE_ATTACHING:
      return "attaching";
    case POLLUX_NVME_STATE_READY:
      return "ready";
    case POLLUX_NVME_STATE_RESETTING:
      return "resetting";
    case POLLUX_NVME_STATE_DISABLED:
      return "disabled";
    case POLLUX_NVME_STATE_FAILED:
      return "failed";
    case POLLUX_NVME_STATE_GONE:
      return "gone";
    case POLLUX_NVME_STATE_DETACHING:
      return "detaching";
    case POLLUX_NVME_STATE_DETACHED:
      return "detached";
  }
  return "unknown";
}

int pollux_nvme_failure(const pollux_nvme_controller* controller, const char** text) {
  const Status& failure = controller->failure();
  const int error = Fail(failure);
  *text = failure.ok() ? "" : pollux_nvme_error_text();
  return error;
}

bool pollux_nvme_settled(const pollux_nvme_controller* controller) { return controller->settled(); }

int pollux_nvme_reset(pollux_nvme_controller* controller) { return Fail(controller->Reset()); }

int pollux_nvme_disable(pollux_nvme_controller* controller) { return Fail(controller->Disable()); }

int pollux_nvme_enable(pollux_nvme_controller* controller) { return Fail(controller->Enable()); }

int pollux_nvme_rescan(pollux_nvme_controller* controller) { return Fail(controller->Rescan()); }

// --- Describing.

const pollux_nvme_controller_info* pollux_nvme_get_controller_info(
    const pollux_nvme_controller* controller) {
  return &controller->facts().info;
}

const void* pollux_nvme_identify_controller(const pollux_nvme_controller* controller) {
  return &controller->facts().identify;
}

pollux_nvme_namespace* pollux_nvme_namespace_find(pollux_nvme_controller* controller,
                                                  uint32_t nsid) {
  return controller->namespaces().Find(nsid);
}

pollux_nvme_namespace* pollux_nvme_namespace_next(pollux_nvme_controller* controller,
                                                  uint32_t nsid) {
  return controller->namespaces().Next(nsid);
}

// --- Queues.

int pollux_nvme_queue_take(pollux_nvme_controller* controller, int index,
                           pollux_nvme_queue** queue) {
  auto taken = controller->TakeQueue(index);
  if (!taken.ok()) return Fail(taken.status());
  *queue = *taken;
  return 0;
}

void pollux_nvme_queue_return(pollux_nvme_queue* queue) { queue->taken = false; }

// --- Admin commands.

int pollux_nvme_admin(pollux_nvme_controller* controller, pollux_nvme_request* request,
                      const pollux_nvme_command* command, void* data, size_t bytes) {
  if (const Status wrong = pollux::nvme::CheckAdmin(*controller, *command, data, bytes);
      !wrong.ok()) {
    return Fail(wrong);
  }
  const int error = controller->SubmitAdmin(*request, pollux::nvme::EntryOf(*command), data, bytes);
  if (error != 0) {
    pollux::nvme::SetErrorText(absl::StrFormat("the admin command is not taken (%s): %s is %s",
                                               strerror(-error), controller->name(),
                                               pollux_nvme_state_name(controller->state())));
  }
  return error;
}

int pollux_nvme_admin_wait(pollux_nvme_controller* controller, const pollux_nvme_command* command,
                           void* data, size_t bytes, pollux_nvme_completion* completion) {
  *completion = {};
  return Fail(pollux::nvme::RunWithCopy(*controller, *command, data, bytes, *completion));
}

// --- Error injection.

int pollux_nvme_inject(pollux_nvme_controller* controller, const pollux_nvme_injection* injection) {
  const auto& now = controller->injections();
  controller->SetInjections(now != nullptr ? now->With(*injection)
                                           : pollux::nvme::Injections().With(*injection));
  return 0;
}

int pollux_nvme_remove_injection(pollux_nvme_controller* controller, bool admin, uint8_t opc) {
  const auto& now = controller->injections();
  if (now == nullptr || !now->Has(admin, opc)) {
    return Fail(pollux::NotFound("no error is injected into command %02xh", opc));
  }
  controller->SetInjections(now->Without(admin, opc));
  return 0;
}
