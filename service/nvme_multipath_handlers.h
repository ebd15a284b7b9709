#pragma once
#include "core/task.h"
#include "pollux/v1/bdev_nvme.pb.h"
#include "rpc/dispatcher.h"

namespace pollux::service {

class Appliance;

// proto/pollux/v1/bdev_nvme.proto: how the paths of a disk are used. The choice and the preferred
// path are saved as objects of their own, which wait for the disk.
class NvmeMultipathHandlers {
 public:
  explicit NvmeMultipathHandlers(Appliance& appliance) : appliance_(appliance) {}
  void Bind(rpc::Dispatcher& dispatcher);

 private:
  Task<Result<v1::BdevNvmeGetIoPathsResponse>> GetIoPaths(v1::BdevNvmeGetIoPathsRequest request);
  Task<Result<v1::BdevNvmeSetMultipathPolicyResponse>> SetPolicy(
      v1::BdevNvmeSetMultipathPolicyRequest request);
  Task<Result<v1::BdevNvmeSetPreferredPathResponse>> SetPreferred(
      v1::BdevNvmeSetPreferredPathRequest request);
  Task<Result<v1::BdevNvmeGetPathIostatResponse>> GetPathIostat(
      v1::BdevNvmeGetPathIostatRequest request);

  Appliance& appliance_;
};

}  // namespace pollux::service
