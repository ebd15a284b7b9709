#pragma once
#include <memory>
#include <new>
#include <type_traits>

#include "core/block/block_channel.h"
#include "core/block/stoppable_io.h"

namespace pollux {

// One reactor's side of a disk that lies on others: what is asked of it goes on to a base's channel
// on the same reactor, as an I/O of its own from a pool made with the channel. When the pool is
// empty, requests wait in order. Buffers are passed on as they are, and so is what the base says.
//
// A disk derives from it and decides, request by request, where it goes:
//
//   void DoSubmit(IoRequest& request) override {
//     Forward(Enter<Passage>(request), base_, request.lba + offset_, request.blocks);
//   }
//   void OnForwarded(Passage& passage, IoStatus status) override;   // Unless that is the end.
class StackedChannel : public BlockChannel {
 public:
  // How many I/Os are with the bases at a time.
  static constexpr size_t kChildCount = 128;

 protected:
  class Child;

  // A request on its way, in its device area. A disk that has more to remember derives from it.
  struct Passage {
    explicit Passage(IoRequest& r) : request(r) {}
    IoRequest& request;
    BlockChannel* base = nullptr;
    uint64_t lba = 0, blocks = 0;  // On the base.
    Child* child = nullptr;        // While the base has it.
    ListNode node;                 // In the line for a child; otherwise the disk's own.
  };

  StackedChannel(BlockDevice& device, Reactor& reactor, size_t child_count = kChildCount);
  ~StackedChannel() override;

  template <typename P>
  static P& Enter(IoRequest& request) {
    static_assert(sizeof(P) <= IoRequest::kDeviceAreaBytes && alignof(P) <= 16);
    static_assert(!std::is_polymorphic_v<P>, "its Passage would not be what it begins with");
    return *new (request.device_area) P(request);
  }
  template <typename P>
  static P& PassageOf(IoRequest& request) {
    return *std::launder(reinterpret_cast<P*>(request.device_area));
  }
  // The passage and its request are over.
  template <typename P>
  void End(P& passage, IoStatus status) {
    IoRequest& request = passage.request;
    passage.~P();
    Complete(request, status);
  }

  // Hands the request to `base`, with the blocks from `lba` on in place of its own. OnForwarded
  // follows, in a later turn.
  void Forward(Passage& passage, BlockChannel& base, uint64_t lba, uint64_t blocks);
  // The base is done with it.
  virtual void OnForwarded(Passage& passage, IoStatus status) { End(passage, status); }
  // Of a request that waits for a child, or that a base has.
  bool TryAbort(IoRequest& target) override;

 private:
  void Start(Child& child, Passage& passage);
  void OnChildEnded(Child& child);

  const size_t child_count_;
  const std::unique_ptr<Child[]> children_;
  Child* free_ = nullptr;
  size_t free_count_ = 0;
  IntrusiveList<Passage, &Passage::node> line_;  // Not empty: no child is free.
};

}  // namespace pollux
