#include "service/nvme_command_handlers.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>

#include "core/spec/nvme_spec.h"
#include "drivers/nvme_disk/nvme_transport.h"
#include "service/answers.h"
#include "service/appliance.h"
#include "service/nvme_parameters.h"

namespace pollux::service {
namespace {

constexpr size_t kCommandDataMax = 2 << 20;
constexpr size_t kFirmwareMax = 64 << 20;
constexpr size_t kFirmwarePiece = 4096;
constexpr uint8_t kHealthLog = 0x02;
// Replace the image in a slot of the controller's choice; it is active after the next reset.
constexpr uint8_t kCommitAtReset = 1;
// It is committed, and a reset as the one that follows makes it active. Base figure 185.
constexpr uint16_t kNeedsControllerReset = 0x111;

Status CommandError(const char* what, nvme::Completion completion) {
  char text[128];
  return InternalError("%s: %s", what,
                       pollux_nvme_status_text(completion.status, text, sizeof(text)));
}

// A number of 128 bits, as far as it fits.
uint64_t Saturated(const uint8_t* bytes) {
  uint64_t value = 0;
  for (size_t i = 8; i-- > 0;) value = value << 8 | bytes[i];
  const bool fits = std::all_of(bytes + 8, bytes + 16, [](uint8_t byte) { return byte == 0; });
  return fits ? value : std::numeric_limits<uint64_t>::max();
}

int64_t Celsius(uint16_t kelvin) { return int64_t{kelvin} - 273; }

// The fields of the SMART / Health Information log page. Base figure 207.
void Fill(const uint8_t* log, v1::BdevNvmeGetControllerHealthInfoResponse& into) {
  const auto u16 = [log](size_t at) { return static_cast<uint16_t>(log[at] | log[at + 1] << 8); };
  const auto u32 = [&u16](size_t at) { return u16(at) | uint32_t{u16(at + 2)} << 16; };
  into.set_critical_warning(log[0]);
  into.set_temperature_celsius(Celsius(u16(1)));
  into.set_available_spare_percentage(log[3]);
  into.set_available_spare_threshold_percentage(log[4]);
  into.set_percentage_used(log[5]);
  into.set_data_units_read(Saturated(log + 32));
  into.set_data_units_written(Saturated(log + 48));
  into.set_host_read_commands(Saturated(log + 64));
  into.set_host_write_commands(Saturated(log + 80));
  into.set_controller_busy_time(Saturated(log + 96));
  into.set_power_cycles(Saturated(log + 112));
  into.set_power_on_hours(Saturated(log + 128));
  into.set_unsafe_shutdowns(Saturated(log + 144));
  into.set_media_errors(Saturated(log + 160));
  into.set_num_err_log_entries(Saturated(log + 176));
  into.set_warning_temperature_time_minutes(u32(192));
  into.set_critical_composite_temperature_time_minutes(u32(196));
  for (size_t sensor = 0; sensor < 8; ++sensor) {
    const uint16_t kelvin = u16(200 + 2 * sensor);
    if (kelvin != 0) into.set_temperature_sensor_celsius(Celsius(kelvin));
  }
}

Status CheckByte(const char* field, uint32_t value, uint32_t max = 255) {
  if (value <= max) return OkStatus();
  return InvalidField(field, value, "is at most %u", max);
}

// Data or metadata of a command: what is sent, or as many zeroes as shall come.
Result<std::string> Payload(const char* field, bool has_text, const std::string& text,
                            bool has_length, uint32_t length) {
  if (length > kCommandDataMax) return InvalidField(field, length, "is at most 2 MiB");
  if (!has_text) return std::string(length, '\0');
  std::optional<std::string> bytes = DecodeBase64Url(text);
  if (!bytes.has_value()) return ErrorOfField(EINVAL, field, "", "is not base64url");
  if (bytes->size() > kCommandDataMax) {
    return InvalidField(field, bytes->size(), "is at most 2 MiB");
  }
  if (has_length && length != 0 && length != bytes->size()) {
    return InvalidField(field, bytes->size(), "its size is not the given one, %u", length);
  }
  return *std::move(bytes);
}

// As it lies in a completion queue. Base figure 90.
std::string CompletionBytes(nvme::Completion completion) {
  std::string bytes(16, '\0');
  memcpy(&bytes[0], &completion.dw0, 4);
  memcpy(&bytes[4], &completion.dw1, 4);
  const auto status = static_cast<uint16_t>(completion.status << 1);
  memcpy(&bytes[14], &status, 2);
  return bytes;
}

Result<std::string> ReadImage(const std::string& filename) {
  std::ifstream file(filename, std::ios::binary);
  if (!file) return ErrorOfField(errno, "filename", filename, strerror(errno));
  std::string image(std::istreambuf_iterator<char>(file), {});
  if (image.empty() || image.size() % 4 != 0 || image.size() > kFirmwareMax) {
    return InvalidField("filename", filename, "has %u bytes, which is no multiple of 4 up to %u",
                        image.size(), kFirmwareMax);
  }
  return image;
}

// One path after the other, so that the others take the I/O meanwhile. The first error ends it. A
// path that is removed meanwhile is waited for until it has nothing to do with this.
Task<Status> ForAll(std::vector<NvmePath*> paths, Task<Status> (NvmePath::*step)()) {
  std::vector<std::unique_ptr<NvmePath::Use>> uses;
  for (NvmePath* path : paths) uses.push_back(std::make_unique<NvmePath::Use>(*path));
  for (NvmePath* path : paths) {
    Task<Status> one = (path->*step)();
    CO_RETURN_IF_ERROR(co_await one);
  }
  co_return OkStatus();
}

}  // namespace

void NvmeCommandHandlers::Bind(rpc::Dispatcher& dispatcher) {
  dispatcher.Bind("bdev_nvme_reset_controller", this, &NvmeCommandHandlers::Reset);
  dispatcher.Bind("bdev_nvme_enable_controller", this, &NvmeCommandHandlers::Enable);
  dispatcher.Bind("bdev_nvme_disable_controller", this, &NvmeCommandHandlers::Disable);
  dispatcher.Bind("bdev_nvme_get_controller_health_info", this, &NvmeCommandHandlers::GetHealth);
  dispatcher.Bind("bdev_nvme_apply_firmware", this, &NvmeCommandHandlers::ApplyFirmware);
  dispatcher.Bind("bdev_nvme_send_cmd", this, &NvmeCommandHandlers::SendCmd);
  dispatcher.Bind("bdev_nvme_add_error_injection", this, &NvmeCommandHandlers::AddInjection);
  dispatcher.Bind("bdev_nvme_remove_error_injection", this, &NvmeCommandHandlers::RemoveInjection);
  dispatcher.Bind("bdev_nvme_get_transport_statistics", this, &NvmeCommandHandlers::GetStatistics);
}

template <typename Request>
Result<std::vector<NvmePath*>> NvmeCommandHandlers::PathsOf(const Request& request) const {
  ASSIGN_OR_RETURN(const NvmeSubsystem* subsystem, appliance_.nvme().Find(request.name()));
  std::vector<NvmePath*> paths = subsystem->usable_paths();
  if (!request.has_cntlid()) return paths;
  std::erase_if(paths,
                [&request](NvmePath* path) { return path->info().cntlid != request.cntlid(); });
  if (paths.empty()) {
    return ErrorOfField(ENODEV, "cntlid", std::to_string(request.cntlid()),
                        "the controller has no path with this number");
  }
  return paths;
}

Result<NvmePath*> NvmeCommandHandlers::FirstPath(const std::string& name) const {
  ASSIGN_OR_RETURN(const NvmeSubsystem* subsystem, appliance_.nvme().Find(name));
  return subsystem->first_path();
}

Task<Result<v1::BdevNvmeResetControllerResponse>> NvmeCommandHandlers::Reset(
    v1::BdevNvmeResetControllerRequest request) {
  ASSIGN_OR_CO_RETURN(const std::vector<NvmePath*> paths, PathsOf(request));
  CO_RETURN_IF_ERROR(co_await ForAll(paths, &NvmePath::Reset));
  co_return Done<v1::BdevNvmeResetControllerResponse>();
}

Task<Result<v1::BdevNvmeEnableControllerResponse>> NvmeCommandHandlers::Enable(
    v1::BdevNvmeEnableControllerRequest request) {
  ASSIGN_OR_CO_RETURN(std::vector<NvmePath*> paths, PathsOf(request));
  std::erase_if(paths, [](NvmePath* path) { return path->state() == POLLUX_NVME_STATE_READY; });
  if (paths.empty()) co_return ErrorOfField(EALREADY, "name", request.name(), "it is enabled");
  CO_RETURN_IF_ERROR(co_await ForAll(paths, &NvmePath::Enable));
  co_return Done<v1::BdevNvmeEnableControllerResponse>();
}

Task<Result<v1::BdevNvmeDisableControllerResponse>> NvmeCommandHandlers::Disable(
    v1::BdevNvmeDisableControllerRequest request) {
  ASSIGN_OR_CO_RETURN(std::vector<NvmePath*> paths, PathsOf(request));
  std::erase_if(paths, [](NvmePath* path) { return path->state() == POLLUX_NVME_STATE_DISABLED; });
  if (paths.empty()) co_return ErrorOfField(EALREADY, "name", request.name(), "it is disabled");
  CO_RETURN_IF_ERROR(co_await ForAll(paths, &NvmePath::Disable));
  co_return Done<v1::BdevNvmeDisableControllerResponse>();
}

Task<Result<v1::BdevNvmeGetControllerHealthInfoResponse>> NvmeCommandHandlers::GetHealth(
    v1::BdevNvmeGetControllerHealthInfoRequest request) {
  ASSIGN_OR_CO_RETURN(NvmePath * controller, FirstPath(request.name()));
  const NvmePath::Use use(*controller);
  constexpr size_t kBytes = 512;
  const nvme::Memory memory = controller->Allocate(kBytes);
  if (memory == nullptr) co_return OutOfMemory("no memory for the log page");
  const pollux_nvme_command command =
      pollux_nvme_make_get_log_page(kHealthLog, 0xffffffff, kBytes, 0, 0, false);
  ASSIGN_OR_CO_RETURN(const nvme::Completion completion,
                      co_await controller->Admin(command, memory.get(), kBytes));
  if (!pollux_nvme_ok(completion)) co_return CommandError("Get Log Page", completion);
  v1::BdevNvmeGetControllerHealthInfoResponse response;
  response.set_model_number(controller->info().model_number);
  response.set_serial_number(controller->info().serial_number);
  response.set_firmware_revision(controller->info().firmware_revision);
  response.set_traddr(controller->attachment().id.traddr);
  Fill(static_cast<const uint8_t*>(memory.get()), response);
  co_return response;
}

Task<Result<v1::BdevNvmeApplyFirmwareResponse>> NvmeCommandHandlers::ApplyFirmware(
    v1::BdevNvmeApplyFirmwareRequest request) {
  ASSIGN_OR_CO_RETURN(BlockDevice * disk, appliance_.devices().Find(request.bdev_name()));
  NvmeSubsystem* const subsystem = appliance_.nvme().OfDisk(*disk);
  NvmePath* const controller = subsystem == nullptr ? nullptr : subsystem->first_path();
  if (controller == nullptr) {
    co_return InvalidField("bdev_name", request.bdev_name(), "is no NVMe disk");
  }
  for (const std::string& name : subsystem->disk_names()) {
    const Result<BlockDevice*> other = appliance_.devices().Find(name);
    if (other.ok() && !(*other)->users().empty()) {
      co_return Busy("%s is in use by %s", name, (*other)->users().front()->description());
    }
  }
  ASSIGN_OR_CO_RETURN(const std::string image, ReadImage(request.filename()));
  {
    const NvmePath::Use use(*controller);
    const nvme::Memory memory = controller->Allocate(kFirmwarePiece);
    if (memory == nullptr) co_return OutOfMemory("no memory for the image");
    for (size_t done = 0; done < image.size(); done += kFirmwarePiece) {
      const size_t bytes = std::min(kFirmwarePiece, image.size() - done);
      memcpy(memory.get(), image.data() + done, bytes);
      const pollux_nvme_command piece = pollux_nvme_make_firmware_download(
          static_cast<uint32_t>(done), static_cast<uint32_t>(bytes));
      ASSIGN_OR_CO_RETURN(const nvme::Completion written,
                          co_await controller->Admin(piece, memory.get(), bytes));
      if (!pollux_nvme_ok(written)) co_return CommandError("Firmware Image Download", written);
    }
    const pollux_nvme_command commit = pollux_nvme_make_firmware_commit(0, kCommitAtReset);
    ASSIGN_OR_CO_RETURN(const nvme::Completion committed,
                        co_await controller->Admin(commit, nullptr, 0));
    if (!pollux_nvme_ok(committed) && pollux_nvme_code(committed) != kNeedsControllerReset) {
      co_return CommandError("Firmware Commit", committed);
    }
    CO_RETURN_IF_ERROR(co_await controller->Reset());
  }
  v1::BdevNvmeApplyFirmwareResponse response;
  response.set_result("firmware commit succeeded. Controller reset in progress.");
  co_return response;
}

Task<Result<v1::BdevNvmeSendCmdResponse>> NvmeCommandHandlers::SendCmd(
    v1::BdevNvmeSendCmdRequest request) {
  ASSIGN_OR_CO_RETURN(NvmePath * controller, FirstPath(request.name()));
  const std::optional<std::string> bytes = DecodeBase64Url(request.cmdbuf());
  pollux_nvme_command command{};
  static_assert(sizeof(command) == 64);
  if (!bytes.has_value() || bytes->size() != sizeof(command)) {
    co_return InvalidField("cmdbuf", request.cmdbuf(), "is no base64url of 64 bytes");
  }
  memcpy(&command, bytes->data(), sizeof(command));
  ASSIGN_OR_CO_RETURN(std::string data, Payload("data", request.has_data(), request.data(),
                                                request.has_data_len(), request.data_len()));
  ASSIGN_OR_CO_RETURN(std::string metadata,
                      Payload("metadata", request.has_metadata(), request.metadata(),
                              request.has_metadata_len(), request.metadata_len()));

  const NvmePath::Use use(*controller);
  const nvme::Memory memory = controller->Allocate(std::max<size_t>(data.size(), 4096));
  const nvme::Memory beside = controller->Allocate(std::max<size_t>(metadata.size(), 4096));
  if (memory == nullptr || beside == nullptr) co_return OutOfMemory("no memory for the data");
  memcpy(memory.get(), data.data(), data.size());
  memcpy(beside.get(), metadata.data(), metadata.size());

  Result<nvme::Completion> completion = InternalError("not sent");
  if (request.cmd_type() == v1::NVME_COMMAND_TYPE_ADMIN) {
    void* const where = data.empty() ? nullptr : memory.get();
    completion = co_await controller->Admin(command, where, data.size());
  } else {
    const iovec where{memory.get(), data.size()};
    void* const apart = metadata.empty() ? nullptr : beside.get();
    completion = co_await controller->Io(command, where, apart, metadata.size());
  }
  CO_RETURN_IF_ERROR(completion.status());

  v1::BdevNvmeSendCmdResponse response;
  response.set_cpl(EncodeBase64Url(CompletionBytes(*completion)));
  if (request.data_direction() == v1::NVME_DATA_DIRECTION_C2H) {
    memcpy(data.data(), memory.get(), data.size());
    memcpy(metadata.data(), beside.get(), metadata.size());
    if (!data.empty()) response.set_data(EncodeBase64Url(data));
    if (!metadata.empty()) response.set_metadata(EncodeBase64Url(metadata));
  }
  co_return response;
}

Task<Result<v1::BdevNvmeAddErrorInjectionResponse>> NvmeCommandHandlers::AddInjection(
    v1::BdevNvmeAddErrorInjectionRequest request) {
  ASSIGN_OR_CO_RETURN(NvmePath * controller, FirstPath(request.name()));
  CO_RETURN_IF_ERROR(CheckByte("opc", request.opc()));
  CO_RETURN_IF_ERROR(CheckByte("sct", request.sct(), 7));
  CO_RETURN_IF_ERROR(CheckByte("sc", request.sc()));
  // Our driver takes 0 for all of them.
  if (request.err_count() == 0) co_return Done<v1::BdevNvmeAddErrorInjectionResponse>();
  pollux_nvme_injection injection{};
  injection.admin = request.cmd_type() == v1::NVME_COMMAND_TYPE_ADMIN;
  injection.opc = static_cast<uint8_t>(request.opc());
  injection.do_not_submit = request.do_not_submit();
  injection.timeout_us = request.timeout_in_us();
  injection.count = request.err_count();
  injection.status = static_cast<uint16_t>(request.sct() << 8 | request.sc());
  if (const int error = pollux_nvme_inject(controller->c(), &injection); error != 0) {
    co_return ErrorOfErrno(-error, pollux_nvme_error_text());
  }
  co_return Done<v1::BdevNvmeAddErrorInjectionResponse>();
}

Task<Result<v1::BdevNvmeRemoveErrorInjectionResponse>> NvmeCommandHandlers::RemoveInjection(
    v1::BdevNvmeRemoveErrorInjectionRequest request) {
  ASSIGN_OR_CO_RETURN(NvmePath * controller, FirstPath(request.name()));
  CO_RETURN_IF_ERROR(CheckByte("opc", request.opc()));
  const int error = pollux_nvme_remove_injection(controller->c(),
                                                 request.cmd_type() == v1::NVME_COMMAND_TYPE_ADMIN,
                                                 static_cast<uint8_t>(request.opc()));
  if (error != 0 && error != -ENOENT) co_return ErrorOfErrno(-error, pollux_nvme_error_text());
  co_return Done<v1::BdevNvmeRemoveErrorInjectionResponse>();
}

Task<Result<v1::BdevNvmeGetTransportStatisticsResponse>> NvmeCommandHandlers::GetStatistics(
    v1::BdevNvmeGetTransportStatisticsRequest) {
  v1::BdevNvmeGetTransportStatisticsResponse response;
  for (auto& reactor : appliance_.reactors()) {
    std::map<std::string, v1::NvmeTransportStatistics> sums;
    for (const NvmePath* controller : appliance_.nvme().attached()) {
      if (reactor->index() >= controller->queues().size()) continue;
      const NvmeQueue& queue = *controller->queues()[reactor->index()];
      pollux_nvme_queue_statistics one{};
      pollux_nvme_get_queue_statistics(queue.c(), &one);
      v1::NvmeTransportStatistics& sum = sums[NvmeTransportName(controller->attachment().id)];
      sum.set_polls(sum.polls() + one.polls);
      sum.set_idle_polls(sum.idle_polls() + one.idle_polls);
      sum.set_completions(sum.completions() + one.completed);
      sum.set_queued_requests(sum.queued_requests() + queue.queued_count());
      sum.set_submitted_requests(sum.submitted_requests() + one.submitted);
      sum.set_sq_mmio_doorbell_updates(sum.sq_mmio_doorbell_updates() + one.doorbells);
    }
    v1::NvmePollGroup& group = *response.add_poll_groups();
    group.set_thread(reactor->name());
    for (auto& [name, sum] : sums) {
      sum.set_trname(name);
      *group.add_transports() = sum;
    }
  }
  co_return response;
}

}  // namespace pollux::service
