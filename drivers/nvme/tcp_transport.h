#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/unique_fd.h"
#include "drivers/nvme/tcp_queue.h"
#include "drivers/nvme/tcp_target.h"
#include "drivers/nvme/transport.h"
#include "drivers/pci/dma_map.h"

namespace pollux::nvme {

// Connections to a controller on a network, one per queue: Connect instead of rings that are
// created, properties instead of registers. Base §3.1 (properties), §6 (fabrics commands).
//
// All connections end together: one that breaks is trouble, and a reset makes all of them anew.
class TcpTransport final : public Transport {
 public:
  TcpTransport(const Surroundings& around, TcpTarget target);
  ~TcpTransport() override;

  const std::string& name() const override { return target_.name; }
  const Capabilities& capabilities() const override { return capabilities_; }
  Status Describe(ControllerFacts& facts) override;

  Findings Look(uint64_t now_ns) override;
  Status Silence() override { return OkStatus(); }
  int event_fd() const override { return admin_.set.get(); }
  void ClearEvents() override;

  Task<Status> MakeReady(bool first, uint16_t io_queues, uint16_t io_queue_depth) override;
  uint32_t io_queues_max() const override { return UINT16_MAX - 1; }
  Result<QueueMemory> MakeQueue(QueuePair::Parts& parts, const ControllerFacts& facts) override;
  Task<Status> CreateQueue(QueuePair& queue) override;
  uint32_t agreed_keep_alive_ms() const override { return keep_alive_ms_; }
  RetryPolicy retry_policy() const override;

  bool ready() const override { return ready_; }
  void Cut() override;
  Task<void> Stop() override;
  Task<Status> ShutDown(uint64_t limit_ns) override;
  bool settled() const override;

 private:
  // One queue's.
  struct Line {
    UniqueFd set;  // What its owner sleeps on.
    std::unique_ptr<TcpQueue> wire;
  };
  // An admin command whose answer is waited for only so long.
  struct Answer final : Request {
    void OnComplete(Completion ended) override {
      completion = ended;
      out = false;
    }
    Completion completion{};
    bool out = false;
  };

  Status Prepare();
  Result<QueueMemory> MakeLine(Line& line, QueuePair::Parts& parts);
  Task<Status> Join(TcpQueue& wire, uint16_t qid, uint16_t depth);
  Task<Result<uint64_t>> GetProperty(uint32_t offset, bool eight_bytes);
  Task<Status> SetProperty(uint32_t offset, uint32_t value);
  Task<Status> AwaitReady();
  Task<bool> Disable(uint64_t limit_ns);
  Task<bool> Ask(SubmissionEntry entry, uint64_t until_ns);
  uint32_t Configuration() const;
  uint64_t NowNs() const;

  // Devices are told addresses of ours: the wire reads and writes there by itself.
  struct Identity final : pci::DmaMapper {
    Result<Mapping> Map(const Region& region) override {
      Mapping mapping;
      mapping.page_iova = {reinterpret_cast<uint64_t>(region.address)};
      return mapping;
    }
    void Unmap(const Region& /*region*/, const Mapping& /*mapping*/) override {}
  };

  const TcpTarget target_;
  const uint32_t keep_alive_ms_;  // 0: none.
  Identity identity_;
  std::unique_ptr<pci::DmaMap> dma_;
  Line admin_;
  UniqueFd notice_;  // An eventfd in admin_.set: a connection broke.
  std::vector<Line> lines_;
  Capabilities capabilities_;
  uint32_t configuration_ = 0;  // CC, as it was written last.
  uint16_t cntlid_ = kDynamicCntlid;
  uint32_t in_capsule_bytes_ = 0;  // Of I/O queues.
  bool watching_ = false;          // A connection that breaks is trouble.
  bool ready_ = false;
  bool leaving_ = false;        // The target may end I/O connections as it shuts down.
  bool associated_ = false;     // The target may hold commands of ours.
  bool traffic_based_ = false;  // CTRATT.TBKAS: it may notice our silence only the second time.
  uint64_t settled_at_ns_ = 0;
  Answer answer_;
};

}  // namespace pollux::nvme
