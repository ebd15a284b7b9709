#pragma once
#include "drivers/stacked/stacked_channel.h"

namespace pollux {

// Shows the blocks of one base from `offset` on, as they are. What the base lends is passed on.
class WindowChannel final : public StackedChannel {
 public:
  WindowChannel(BlockDevice& device, Reactor& reactor, BlockChannel& base, uint64_t offset)
      : StackedChannel(device, reactor), base_(base), offset_(offset) {}

 private:
  void DoSubmit(IoRequest& request) override {
    Forward(Enter<Passage>(request), base_, request.lba + offset_, request.blocks);
  }
  bool DoLend(Loan& loan) override {
    loan.lba += offset_;
    const bool lent = base_.TryLend(loan);
    loan.lba -= offset_;
    return lent;
  }
  void DoReturn(Loan& loan) override {
    loan.lba += offset_;
    base_.Return(loan);
    loan.lba -= offset_;
  }

  BlockChannel& base_;
  const uint64_t offset_;
};

}  // namespace pollux
