#include "drivers/stacked/passthru_disk.h"

#include <utility>

#include "core/json_string.h"
#include "drivers/stacked/window_channel.h"

namespace pollux {
namespace {

class PassthruDisk final : public StackedDisk {
 public:
  PassthruDisk(const std::string& name, Uuid uuid, BlockDevice& base)
      : StackedDisk(name, kPassthruProduct, base.geometry(), uuid, {&base}) {}

  uint64_t BlocksOverBases() const override { return base().geometry().blocks; }
  std::string DriverSpecificJson() const override {
    return absl::StrFormat(R"({"passthru":{"name":%s,"base_bdev_name":%s}})",
                           JsonStringOfLatin1(name()), JsonStringOfLatin1(base().name()));
  }

 private:
  Result<std::unique_ptr<BlockChannel>> MakeChannel(Reactor& reactor) override {
    return std::make_unique<WindowChannel>(*this, reactor, *base().channel(reactor.index()), 0);
  }
};

}  // namespace

Result<std::unique_ptr<StackedDisk>> MakePassthruDisk(const PassthruOptions& options,
                                                      BlockDevice& base) {
  if (options.name.empty()) return InvalidField("name", options.name, "must not be empty");
  ASSIGN_OR_RETURN(const Uuid uuid, UuidGivenOrOver(options.uuid, base, kPassthruProduct));
  return std::make_unique<PassthruDisk>(options.name, uuid, base);
}

}  // namespace pollux
