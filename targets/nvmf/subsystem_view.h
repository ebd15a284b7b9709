#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/block/block_device.h"
#include "core/event.h"
#include "core/spec/nvmf_spec.h"
#include "core/task.h"
#include "targets/nvmf/command_counters.h"

namespace pollux::nvmf {

class Controller;
class Queue;

// What commands say of a namespace, taken down on the control loop. The size is not here: the
// channel knows it. Immutable; a change publishes the next one.
struct NamespaceFacts {
  uint32_t nsid = 0;
  std::string device_name;
  Geometry geometry;
  Limits limits;
  Uuid uuid;
  std::array<uint8_t, 16> nguid{};
  std::array<uint8_t, 8> eui64{};
  uint32_t anagrpid = 1;
  bool read_only = false;                                                 // The device is.
  nvme::WriteProtection write_protection = nvme::WriteProtection::kNone;  // Base §8.12
  bool volatile_cache = false;
  bool flush = false, unmap = false, write_zeroes = false, compare = false;
  bool compare_and_write = false;
  // Who sees it, sorted. Null: every host that the subsystem admits.
  std::shared_ptr<const std::vector<std::string>> hosts;

  bool VisibleTo(const std::string& hostnqn) const;
  bool IsWritable() const { return !read_only && write_protection == nvme::WriteProtection::kNone; }
  // How many blocks a fused compare and write may have (NACWU, 1's based). 0: it is not offered.
  uint32_t FusedBlocksMax() const;
  // Limits of Copy (NVM §3.2.2): blocks of one source range (MSSRL), and of all together (MCL).
  uint16_t CopyRangeBlocksMax() const;
  uint32_t CopyBlocksMax() const;
  static constexpr uint32_t kCopyRangesMax = 128;  // MSRC + 1
};

// A namespace on one reactor.
struct NamespaceView {
  BlockChannel* channel = nullptr;
  std::shared_ptr<const NamespaceFacts> facts;
  CommandCounters* counters = nullptr;  // Of this reactor.
  size_t in_flight = 0;                 // Commands that use it.
  bool leaving = false;                 // No new ones.
};

// A listener of the subsystem on one reactor: its address's ANA states.
struct ListenerView {
  uint32_t id = 0;
  // By group, [0] unused. Empty: ANA is not reported, all is optimized.
  std::vector<nvme::AnaState> states;
  std::vector<uint64_t> change_counts;  // Likewise.
  uint64_t change_count = 0;            // Of the whole log page.
  nvme::AnaState StateOf(uint32_t group) const {
    return group < states.size() ? states[group] : nvme::AnaState::kOptimized;
  }
};

// What does not change in the life of a subsystem.
struct SubsystemFacts {
  std::string nqn;
  bool discovery = false;
  std::string serial_number;  // At most 20 characters.
  std::string model_number;   // At most 40.
  uint32_t namespaces_max = 32;
  bool ana_reporting = false;
  uint16_t cntlid_min = 1, cntlid_max = nvme::kCntlidMax;
  uint32_t dmrsl = 0;  // Blocks of one DSM range; 0: no limit.
  uint8_t wzsl = 0;    // Log2 of the pages of one Write Zeroes; 0: no limit.
  bool multipath = true;
  std::array<uint16_t, 3> crdt{};  // Command Retry Delay Times, in units of 100 ms; 0: none.
};

// What controllers of a subsystem hear. Base §5.2, figure 150
enum class SubsystemEvent { kNamespaceChanged, kAnaChanged, kDiscoveryChanged };

// What one reactor knows of a subsystem. Its reactor only, apart from the constructor.
class SubsystemView {
 public:
  SubsystemView(std::shared_ptr<const SubsystemFacts> facts, Reactor& reactor);
  ~SubsystemView();  // No queue, no namespace is left.

  const SubsystemFacts& facts() const { return *facts_; }
  Reactor& reactor() { return reactor_; }

  // Null when there is none, or it is leaving, or pending.
  NamespaceView* Find(uint32_t nsid) const {
    NamespaceView* const found = nsid < namespaces_.size() ? namespaces_[nsid].get() : nullptr;
    return found != nullptr && !found->leaving ? found : nullptr;
  }
  // The least nsid above `nsid` of one that is there and that the host sees; 0: none.
  uint32_t NextVisible(uint32_t nsid, const std::string& hostnqn) const;
  const ListenerView* FindListener(uint32_t id) const;

  // --- By the control side, through messages.
  // `counters` outlive the namespace here.
  void Attach(BlockChannel* channel, std::shared_ptr<const NamespaceFacts> facts,
              CommandCounters& counters);
  void Update(std::shared_ptr<const NamespaceFacts> facts);
  // New commands do not find it. Those in flight are aborted, and those that wait for their host
  // give up; done when all have ended and the channel is not touched any more. The queue of a
  // command that waits for its host still, after kDetachPatienceNs, is ended.
  static constexpr uint64_t kDetachPatienceNs = kNsPerSecond;
  Task<void> Detach(uint32_t nsid);
  void SetListener(ListenerView listener);
  // To queues that came through it, and are there still, no namespace is accessible any more.
  void RemoveListener(uint32_t id);
  // Every controller whose home this reactor is. `subject`: the nsid of kNamespaceChanged; the id
  // of the listener of kAnaChanged, or 0 for all of them.
  void Tell(SubsystemEvent event, uint32_t subject);

  // --- By queues and controllers.
  void AddQueue(Queue& queue);
  void RemoveQueue(Queue& queue);
  const std::vector<Queue*>& queues() const { return queues_; }
  // A command that used the namespace has ended while it was leaving.
  void OnLeavingCommandEnded();

 private:
  void AbortCommandsOf(const NamespaceView& ns);
  // Those whose commands still use it.
  void EndQueuesOf(const NamespaceView& ns);

  const std::shared_ptr<const SubsystemFacts> facts_;
  Reactor& reactor_;
  std::vector<std::unique_ptr<NamespaceView>> namespaces_;  // By nsid.
  std::map<uint32_t, std::unique_ptr<ListenerView>> listeners_;
  std::vector<Queue*> queues_;
  Event left_;  // A command of a namespace that is leaving has ended.
};

}  // namespace pollux::nvmf
