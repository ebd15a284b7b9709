#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "core/block/block_device.h"
#include "drivers/stacked/stacked_channel.h"

namespace pollux {

// A disk that lies on others, its bases. They are open and claimed for it as long as it is there:
// StackedDisks sees to that. It does what all its bases do, with their limits.
class StackedDisk : public BlockDevice {
 public:
  StackedDisk(std::string name, std::string product_name, const Geometry& geometry, Uuid uuid,
              std::vector<BlockDevice*> bases);

  // The size that it should have, now that a base may have another.
  virtual uint64_t BlocksOverBases() const { return geometry().blocks; }

 protected:
  const std::vector<BlockDevice*>& bases() const { return bases_; }
  BlockDevice& base() const { return *bases_.front(); }
  void DoesNotExecute(IoType type) { executes_.reset(static_cast<size_t>(type)); }
  Status CheckResize(uint64_t blocks) const override;

 private:
  const std::vector<BlockDevice*> bases_;
};

// The identity of what lies on `base`: the same whenever it is made anew on the same base, and
// another for each `what`.
Uuid UuidOver(const BlockDevice& base, std::string_view what);
// `text`, the parameter `uuid` of a call, or where it is empty the above.
Result<Uuid> UuidGivenOrOver(const std::string& text, const BlockDevice& base,
                             std::string_view what);
// Refuses a base whose blocks carry their own number, for a disk that numbers them anew.
Status CheckRenumbering(std::string_view field, const BlockDevice& base);

}  // namespace pollux
