#pragma once
#include <string>

#include "core/status.h"
#include "pollux/v1/nvmf.pb.h"
#include "targets/nvmf/nvmf_target.h"

namespace pollux::service {

// From the messages of nvmf.proto to what the target takes, and back. Errors name the field.

inline constexpr char kNvmfTargetName[] = "nvmf_tgt";

Result<nvmf::TargetOptions> NvmfTargetOptionsOf(const v1::NvmfSetConfigRequest& request,
                                                nvmf::TargetOptions options);
Result<nvmf::TransportOptions> NvmfTransportOptionsOf(
    const v1::NvmfCreateTransportRequest& request);
Result<nvmf::SubsystemSpec> NvmfSubsystemSpecOf(const v1::NvmfCreateSubsystemRequest& request);
Result<nvmf::NamespaceSpec> NvmfNamespaceSpecOf(const v1::NvmfNewNamespace& request);
nvmf::ListenAddress NvmfAddressOf(const v1::NvmfListenAddress& request);
nvme::AnaState NvmfAnaStateOf(v1::NvmfAnaState state);
v1::NvmfWriteProtection NvmfWriteProtectionOf(nvme::WriteProtection state);

void Describe(const nvmf::TransportOptions& options, v1::NvmfTransport& into);
void Describe(const nvmf::SubsystemInfo& info, v1::NvmfSubsystem& into);
void Describe(const nvmf::ListenerInfo& info, v1::NvmfListener& into);
void Describe(const nvmf::SubsystemStatistics& statistics, v1::NvmfSubsystemStats& into);
void Describe(const nvmf::ListenAddress& address, v1::NvmfAddress& into);
void Describe(const nvmf::ListenAddress& address, v1::NvmfListenAddress& into);

}  // namespace pollux::service
