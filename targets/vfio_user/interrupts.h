#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/loop.h"
#include "core/spec/vfio_user_spec.h"
#include "core/unique_fd.h"
#include "targets/vfio_user/device.h"
#include "targets/vfio_user/eventfd_ringer.h"

namespace pollux::vfio_user {

// The eventfds that the client gave, by interrupt index and vector.
//
// INTx is a level: it is signalled once, is masked by that, and signalled again at unmasking if the
// device still holds it up. The others are edges: one that comes while its vector is masked is kept
// for the unmasking, one that comes while there is no eventfd is lost.
class Interrupts {
 public:
  using Counts = std::array<uint32_t, kIrqIndexCount>;

  // The ringer and the loop outlive it.
  Interrupts(const Counts& counts, EventfdRinger& ringer, Loop& loop);
  ~Interrupts() { DropEventfds(); }

  uint32_t count(uint32_t index) const { return static_cast<uint32_t>(vectors_[index].size()); }
  // Of GET_IRQ_INFO.
  static uint32_t flags(uint32_t index);

  // SET_IRQS. Takes what it needs of `fds`. Returns 0 or a positive errno.
  int Set(const vfio_user_spec::SetIrqs& request, std::span<const std::byte> data,
          std::vector<UniqueFd>& fds);

  void Trigger(uint32_t index, uint32_t vector);
  void LowerIntx();
  // Nothing is masked or kept any more. The eventfds stay.
  void Reset();
  void DropEventfds();

 private:
  struct Vector {
    UniqueFd eventfd;
    bool masked = false;
    bool pending = false;  // Of INTx: the level is up.
  };
  // An eventfd of the client's by which it masks or unmasks INTx, as KVM does when a guest has
  // handled it. Its counter is never read, which could wait: each write of it wakes us.
  class Control final : public FdHandler {
   public:
    Control(Interrupts& owner, UniqueFd eventfd, bool mask)
        : owner_(owner), eventfd_(std::move(eventfd)), mask_(mask) {}
    ~Control();
    bool Watch();

   private:
    void OnReady(uint32_t events) override;
    Interrupts& owner_;
    const UniqueFd eventfd_;
    const bool mask_;
    bool watched_ = false;
  };

  int SetEventfds(uint32_t index, uint32_t start, uint32_t count, std::vector<UniqueFd>& fds);
  int SetControl(uint32_t index, bool mask, std::vector<UniqueFd>& fds);
  void Act(uint32_t index, uint32_t vector, uint32_t action);
  void SetMasked(uint32_t index, Vector& vector, bool masked);
  void SignalIntx();

  EventfdRinger& ringer_;
  Loop& loop_;
  std::array<std::vector<Vector>, kIrqIndexCount> vectors_;
  std::unique_ptr<Control> mask_control_, unmask_control_;
};

}  // namespace pollux::vfio_user
