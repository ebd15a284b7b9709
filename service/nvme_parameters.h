#pragma once
#include <optional>
#include <string>

#include "core/status.h"
#include "drivers/nvme_disk/nvme_discovery.h"
#include "drivers/nvme_disk/nvme_options.h"
#include "pollux/v1/bdev_nvme.pb.h"

namespace pollux::service {

// From the messages of bdev_nvme.proto to what the driver takes, and back. Errors name the field.

Result<NvmeOptions> NvmeOptionsOf(const v1::BdevNvmeSetOptionsRequest& request);
Result<NvmePathChoice> NvmePathChoiceOf(const v1::NvmeMultipathOptions& options,
                                        NvmePathChoice otherwise);
Result<NvmeAttachment> NvmeAttachmentOf(const v1::BdevNvmeAttachControllerRequest& request);
Result<NvmeDiscoveryOptions> NvmeDiscoveryOptionsOf(
    const v1::BdevNvmeStartDiscoveryRequest& request);
// Whether the request means this path, by what it says beside the name.
bool IsMeant(const v1::BdevNvmeDetachControllerRequest& request, const NvmeAttachment& attachment);
void DescribeTransport(const pollux_nvme_transport_id& id, v1::NvmeTransportId& into);

// base64url (RFC 4648 §5), with padding or without. Nothing: it is not that.
std::optional<std::string> DecodeBase64Url(const std::string& text);
std::string EncodeBase64Url(const std::string& bytes);  // With padding, as SPDK has it.

}  // namespace pollux::service
