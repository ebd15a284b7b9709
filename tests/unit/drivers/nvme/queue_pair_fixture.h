#pragma once
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>

#include "drivers/nvme/queue_pair.h"
#include "tests/unit/drivers/nvme/queue_world.h"

namespace pollux::nvme {

// A queue pair that is open, and its device.
class QueuePairTest : public testing::Test {
 protected:
  static constexpr uint16_t kId = 3, kDepth = 8;

  SharedMemory memory_{16};
  QueueDevice device_{kId, kDepth};
  std::unique_ptr<pollux_nvme_queue> queue_;

  QueuePairTest() { Make(device_.Parts(memory_.map())); }
  ~QueuePairTest() override { QueueRecorder::EndTest(*queue_); }

  void Make(const QueuePair::Parts& parts) {
    queue_ = std::make_unique<pollux_nvme_queue>(parts);
    queue_->Reopen();
  }
  int TrySubmit(QueueRecorder& command, uint8_t opc = io::kFlush, uint8_t fuse = 0) {
    SubmissionEntry entry;
    entry.opc = opc;
    entry.flags = fuse;
    return queue_->Submit(*command.c(), entry, {});
  }
  void Submit(QueueRecorder& command, uint8_t opc = io::kFlush) {
    ASSERT_EQ(TrySubmit(command, opc), 0);
  }
  // Announces, and lets the device fetch.
  size_t Fetch() {
    queue_->Ring();
    return device_.Step();
  }
  pollux_nvme_queue_statistics Statistics() const {
    pollux_nvme_queue_statistics statistics;
    queue_->ReadStatistics(statistics);
    return statistics;
  }
  uint64_t strays() const { return Statistics().stray_completions; }
};

}  // namespace pollux::nvme
