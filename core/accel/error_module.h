#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/accel/accel.h"

namespace pollux {

// The module "error", for tests of those who use the layer: the CPU executes what is assigned to
// it, a stage later, and some of it goes wrong as asked for. It is never preferred.
class ErrorModule final : public AccelModule {
 public:
  enum class Fault : uint8_t {
    kDisable,  // None, from now on.
    kCorrupt,  // The operation succeeds, with a result that is not right. A comparison or a check
               // finds a difference that is not there.
    kFailure,  // The operation fails, with nothing executed.
  };
  struct Injection {
    Fault fault = Fault::kDisable;
    uint64_t count = UINT64_MAX;  // How many go wrong, on each reactor;
    uint64_t interval = 1;        // every one of so many.
  };

  ErrorModule(Accel& accel, Reactors& reactors);
  ~ErrorModule();

  // Replaces what was injected there before.
  Task<void> Inject(AccelOpcode opcode, Injection injection);

  std::string_view name() const override { return "error"; }
  bool Executes(AccelOpcode) const override { return true; }
  AccelModuleChannel* channel(const Reactor& reactor) override;

 private:
  class Channel;
  Reactors& reactors_;
  std::vector<std::unique_ptr<Channel>> channels_;
};

}  // namespace pollux
