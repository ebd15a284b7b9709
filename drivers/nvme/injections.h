#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "drivers/nvme/nvme.h"

namespace pollux::nvme {

// Which commands of a controller are to fail, for tests of what is above. A table never changes:
// the control thread makes another and gives it to all queues, which share the counts that are
// left.
class Injections {
 public:
  Injections() = default;

  // The same, with `injection` in place of the one for the same command.
  std::shared_ptr<const Injections> With(const pollux_nvme_injection& injection) const;
  // The same without that command's; null when nothing is left.
  std::shared_ptr<const Injections> Without(bool admin, uint8_t opc) const;
  bool Has(bool admin, uint8_t opc) const;

  // What the command that is submitted now is to suffer, counted; or null. Any thread.
  const pollux_nvme_injection* Take(bool admin, uint8_t opc) const;

 private:
  struct Entry {
    explicit Entry(const pollux_nvme_injection& asked) : injection(asked), left(asked.count) {}
    const pollux_nvme_injection injection;
    std::atomic<uint32_t> left;  // Unless injection.count is 0.
  };
  std::vector<std::shared_ptr<Entry>> entries_;
};

}  // namespace pollux::nvme
