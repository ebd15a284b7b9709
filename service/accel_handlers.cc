#include "service/accel_handlers.h"

#include <algorithm>
#include <string_view>

#include "core/accel/accel.h"
#include "core/accel/error_module.h"
#include "drivers/ioat_accel/ioat_devices.h"
#include "rpc/json_codec.h"
#include "service/answers.h"
#include "service/appliance.h"

namespace pollux::service {
namespace {

// Those that initialisation makes.
constexpr std::string_view kModules[] = {"software", "error", "ioat"};

// Limits of what sizes nothing: so that a number that makes no sense is told.
constexpr uint32_t kCountMax = 1 << 20;

std::vector<AccelOpcode> Opcodes() {
  std::vector<AccelOpcode> opcodes;
  for (int i = 0; i < kAccelOpcodeCount; ++i) opcodes.push_back(static_cast<AccelOpcode>(i));
  return opcodes;
}

// The .proto has them in the same order, after its zero.
AccelOpcode OpcodeOf(v1::AccelOpcode opcode) {
  static_assert(v1::ACCEL_OPCODE_COPY == static_cast<int>(AccelOpcode::kCopy) + 1);
  static_assert(v1::ACCEL_OPCODE_XOR == static_cast<int>(AccelOpcode::kXor) + 1);
  static_assert(v1::ACCEL_OPCODE_DIX_VERIFY == static_cast<int>(AccelOpcode::kDixVerify) + 1);
  static_assert(v1::AccelOpcode_MAX == kAccelOpcodeCount);
  return static_cast<AccelOpcode>(opcode - 1);
}

ErrorModule::Fault FaultOf(v1::AccelFault fault) {
  switch (fault) {
    case v1::ACCEL_FAULT_CORRUPT:
      return ErrorModule::Fault::kCorrupt;
    case v1::ACCEL_FAULT_FAILURE:
      return ErrorModule::Fault::kFailure;
    default:
      return ErrorModule::Fault::kDisable;
  }
}

Status CheckCount(const char* field, uint32_t value, uint32_t min) {
  if (value >= min && value <= kCountMax) return OkStatus();
  return InvalidField(field, value, "must be %u to %u", min, kCountMax);
}

Status CheckOptions(const v1::AccelSetOptionsRequest& request) {
  RETURN_IF_ERROR(CheckCount("small_cache_size", request.small_cache_size(), 0));
  RETURN_IF_ERROR(CheckCount("large_cache_size", request.large_cache_size(), 0));
  RETURN_IF_ERROR(CheckCount("task_count", request.task_count(), 1));
  RETURN_IF_ERROR(CheckCount("sequence_count", request.sequence_count(), 1));
  return CheckCount("buf_count", request.buf_count(), 1);
}

}  // namespace

void AccelHandlers::Bind(rpc::Dispatcher& dispatcher) {
  dispatcher.Bind("accel_get_module_info", this, &AccelHandlers::GetModuleInfo);
  dispatcher.Bind("accel_get_opc_assignments", this, &AccelHandlers::GetAssignments);
  dispatcher.Bind("accel_assign_opc", this, &AccelHandlers::Assign);
  dispatcher.Bind("accel_set_options", this, &AccelHandlers::SetOptions);
  dispatcher.Bind("accel_set_driver", this, &AccelHandlers::SetDriver);
  dispatcher.Bind("accel_get_stats", this, &AccelHandlers::GetStats);
  dispatcher.Bind("accel_error_inject_error", this, &AccelHandlers::InjectError);
}

Task<Result<v1::AccelGetModuleInfoResponse>> AccelHandlers::GetModuleInfo(
    v1::AccelGetModuleInfoRequest) {
  v1::AccelGetModuleInfoResponse response;
  for (const AccelModule* module : appliance_.accel().modules()) {
    v1::AccelModuleInfo& info = *response.add_modules();
    info.set_module(std::string(module->name()));
    for (const AccelOpcode opcode : Opcodes()) {
      if (module->Executes(opcode)) info.add_supported_ops(AccelOpcodeName(opcode));
    }
  }
  co_return response;
}

Task<Result<v1::AccelGetOpcAssignmentsResponse>> AccelHandlers::GetAssignments(
    v1::AccelGetOpcAssignmentsRequest) {
  v1::AccelGetOpcAssignmentsResponse response;
  for (const AccelOpcode opcode : Opcodes()) {
    (*response.mutable_assignments())[AccelOpcodeName(opcode)] =
        std::string(appliance_.accel().assigned(opcode).name());
  }
  co_return response;
}

Task<Result<v1::AccelAssignOpcResponse>> AccelHandlers::Assign(v1::AccelAssignOpcRequest request,
                                                               rpc::Caller caller) {
  const std::optional<AccelOpcode> opcode = ParseAccelOpcode(request.opname());
  if (!opcode.has_value()) {
    co_return InvalidField("opname", request.opname(), "there is no such opcode");
  }
  if (std::ranges::find(kModules, request.module()) == std::end(kModules)) {
    co_return InvalidField("module", request.module(), "there is no such accel module");
  }
  if (appliance_.dispatcher().state() != v1::STATE_STARTUP) {
    CO_RETURN_IF_ERROR(co_await appliance_.accel().Assign(*opcode, request.module()));
  }
  const ObjectId id{"accel_opcode", request.opname()};
  if (!caller.replay) appliance_.configuration().Unpark(id);  // Another module is wanted now.
  appliance_.configuration().Put(id, {{"accel_assign_opc", rpc::EncodeMessage(request)}});
  co_return Done<v1::AccelAssignOpcResponse>();
}

Task<Result<v1::AccelSetOptionsResponse>> AccelHandlers::SetOptions(
    v1::AccelSetOptionsRequest request) {
  CO_RETURN_IF_ERROR(CheckOptions(request));
  if (appliance_.dispatcher().state() != v1::STATE_STARTUP) {
    co_await appliance_.ioat().SetBytesMin(request.offload_min_bytes());
  }
  appliance_.configuration().Put({"options", "accel"},
                                 {{"accel_set_options", rpc::EncodeMessage(request)}});
  co_return Done<v1::AccelSetOptionsResponse>();
}

Task<Result<v1::AccelSetDriverResponse>> AccelHandlers::SetDriver(
    v1::AccelSetDriverRequest request) {
  if (!request.name().empty()) {
    co_return ErrorOfField(ENODEV, "name", request.name(), "there is no such platform driver");
  }
  co_return Done<v1::AccelSetDriverResponse>();
}

Task<Result<v1::AccelGetStatsResponse>> AccelHandlers::GetStats(v1::AccelGetStatsRequest) {
  const AccelStatistics statistics = appliance_.accel().statistics();
  v1::AccelGetStatsResponse response;
  response.set_sequence_executed(statistics.chains_executed);
  response.set_sequence_failed(statistics.chains_failed);
  response.set_sequence_outstanding(statistics.chains_outstanding);
  response.set_task_outstanding(statistics.operations_outstanding);
  for (const AccelOperationStatistics& one : statistics.operations) {
    v1::AccelOperationStats& operation = *response.add_operations();
    operation.set_opcode(AccelOpcodeName(one.opcode));
    operation.set_module_name(std::string(one.module));
    operation.set_executed(one.executed);
    operation.set_failed(one.failed);
    operation.set_num_bytes(one.bytes);
  }
  response.set_given_back(statistics.given_back);
  co_return response;
}

Task<Result<v1::AccelErrorInjectErrorResponse>> AccelHandlers::InjectError(
    v1::AccelErrorInjectErrorRequest request) {
  const ErrorModule::Injection injection{
      .fault = FaultOf(request.type()), .count = request.count(), .interval = request.interval()};
  co_await appliance_.accel_errors().Inject(OpcodeOf(request.opcode()), injection);
  co_return Done<v1::AccelErrorInjectErrorResponse>();
}

}  // namespace pollux::service
