#pragma once
#include <string_view>

#include "core/accel/accel_operation.h"
#include "core/reactors.h"

namespace pollux {

class AccelChannel;

// A module's side of one reactor, touched by that reactor alone.
class AccelModuleChannel {
 public:
  // Takes the operation, which was checked and has bytes, and ends it later in this turn or in
  // another one. Or refuses it, with nothing begun: the CPU then executes it.
  virtual bool TryBegin(AccelOperation& operation) = 0;

 protected:
  explicit AccelModuleChannel(AccelChannel& channel) : channel_(channel) {}
  ~AccelModuleChannel() = default;

  // The operation has ended, never from within TryBegin.
  void Complete(AccelOperation& operation, AccelStatus status);
  // The same, but the module could not execute it, and does not touch its memory any more: the CPU
  // executes it, from the beginning.
  void GiveBack(AccelOperation& operation);

 private:
  friend class Accel;
  friend class AccelChannel;
  AccelChannel& channel_;
  uint8_t slot_ = 0;  // Where the channel counts it.
};

// Something that executes operations. Control loop only. When it dies nothing is submitted any
// more.
class AccelModule {
 public:
  virtual std::string_view name() const = 0;
  // Whether it has such operations at all, so that it may be assigned to them.
  virtual bool Executes(AccelOpcode opcode) const = 0;
  // Whether it could take one now: a module without a device can not. See Accel::Update.
  virtual bool Available(AccelOpcode opcode) const { return Executes(opcode); }
  // Null: the CPU executes the operation in its place.
  virtual AccelModuleChannel* channel(const Reactor& reactor) = 0;

 protected:
  ~AccelModule() = default;
};

}  // namespace pollux
