#include "drivers/stacked/stacked_channel.h"

#include <utility>

#include "core/check.h"

namespace pollux {

// What a base is given.
class StackedChannel::Child final : public StoppableIo {
 public:
  void OnComplete() override {
    if (Ended()) channel->OnChildEnded(*this);
  }
  void OnStopped() override { channel->OnChildEnded(*this); }

  StackedChannel* channel = nullptr;
  Passage* passage = nullptr;
  Child* next_free = nullptr;
};

StackedChannel::StackedChannel(BlockDevice& device, Reactor& reactor, size_t child_count)
    : BlockChannel(device, reactor),
      child_count_(child_count),
      children_(std::make_unique<Child[]>(child_count)) {
  for (size_t i = child_count; i-- > 0;) {
    children_[i].channel = this;
    children_[i].source = IoSource::kStacked;
    children_[i].next_free = std::exchange(free_, &children_[i]);
  }
  free_count_ = child_count;
}

StackedChannel::~StackedChannel() {
  CHECK(free_count_ == child_count_ && line_.empty(), "a base has I/O of a disk that is gone");
}

void StackedChannel::Forward(Passage& passage, BlockChannel& base, uint64_t lba, uint64_t blocks) {
  passage.base = &base;
  passage.lba = lba;
  passage.blocks = blocks;
  if (free_ == nullptr) [[unlikely]]
    return line_.PushBack(passage);
  Child& child = *free_;
  free_ = child.next_free;
  --free_count_;
  Start(child, passage);
}

void StackedChannel::Start(Child& child, Passage& passage) {
  const IoRequest& request = passage.request;
  passage.child = &child;
  child.passage = &passage;
  child.type = request.type;
  child.fua = request.fua;
  child.lba = passage.lba;
  child.blocks = passage.blocks;
  child.data = request.data;
  child.compare_data = request.compare_data;
  child.metadata = request.metadata;
  passage.base->Submit(child);
}

void StackedChannel::OnChildEnded(Child& child) {
  Passage& passage = *child.passage;
  const IoStatus status = child.status;
  if (status != IoStatus::kSuccess) [[unlikely]] {
    passage.request.miscompare_offset = child.miscompare_offset;
    passage.request.nvme_status = child.nvme_status;
  }
  passage.child = nullptr;
  if (line_.empty()) [[likely]] {
    child.next_free = std::exchange(free_, &child);
    ++free_count_;
  } else {
    Start(child, *line_.PopFront());
  }
  OnForwarded(passage, status);
}

bool StackedChannel::TryAbort(IoRequest& target) {
  Passage& passage = PassageOf<Passage>(target);
  if (passage.child != nullptr) return passage.child->Stop(*passage.base);
  line_.Remove(passage);
  OnForwarded(passage, IoStatus::kAborted);  // As if a base had it.
  return true;
}

}  // namespace pollux
