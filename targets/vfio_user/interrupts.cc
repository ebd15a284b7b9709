#include "targets/vfio_user/interrupts.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdio>
#include <string_view>

#include "core/check.h"

namespace pollux::vfio_user {
namespace {

namespace spec = vfio_user_spec;

// Nothing else can be rung, and the client is told at once.
bool IsEventfd(const UniqueFd& fd) {
  char path[32], target[64];
  std::snprintf(path, sizeof(path), "/proc/self/fd/%d", fd.get());
  const ssize_t bytes = readlink(path, target, sizeof(target));
  return bytes > 0 &&
         std::string_view(target, static_cast<size_t>(bytes)) == "anon_inode:[eventfd]";
}

}  // namespace

Interrupts::Interrupts(const Counts& counts, EventfdRinger& ringer, Loop& loop)
    : ringer_(ringer), loop_(loop) {
  for (size_t i = 0; i < counts.size(); ++i) vectors_[i].resize(counts[i]);
}

uint32_t Interrupts::flags(uint32_t index) {
  switch (index) {
    case spec::kIrqIntx:
      return spec::kIrqEventfd | spec::kIrqMaskable | spec::kIrqAutomasked;
    case spec::kIrqMsi:
    case spec::kIrqMsix:
      return spec::kIrqEventfd | spec::kIrqMaskable;
    default:
      return spec::kIrqEventfd;
  }
}

int Interrupts::Set(const spec::SetIrqs& request, std::span<const std::byte> data,
                    std::vector<UniqueFd>& fds) {
  const uint32_t index = request.index, start = request.start, count = request.count;
  const uint32_t kind = request.flags & spec::kIrqDataMask;
  const uint32_t action = request.flags & spec::kIrqActionMask;
  if (request.flags != (kind | action) || !std::has_single_bit(kind) ||
      !std::has_single_bit(action) || index >= vectors_.size()) {
    return EINVAL;
  }
  std::vector<Vector>& vectors = vectors_[index];
  if (start >= vectors.size() || count > vectors.size() - start) return EINVAL;
  const bool is_event = index == spec::kIrqErr || index == spec::kIrqReq;
  if (is_event && action != spec::kIrqTrigger) return EINVAL;

  if (count == 0) {
    if (kind != spec::kIrqDataNone || action != spec::kIrqTrigger || start != 0) return EINVAL;
    for (Vector& vector : vectors) {
      const bool level_is_up = index == spec::kIrqIntx && vector.pending;
      vector = {};
      vector.pending = level_is_up;
    }
    return 0;
  }
  switch (kind) {
    case spec::kIrqDataEventfd:
      if (action == spec::kIrqTrigger) return SetEventfds(index, start, count, fds);
      return SetControl(index, action == spec::kIrqMask, fds);
    case spec::kIrqDataBool:
      if (data.size() != count) return EINVAL;
      for (uint32_t i = 0; i < count; ++i) {
        if (data[i] != std::byte{0}) Act(index, start + i, action);
      }
      return 0;
    default:
      for (uint32_t i = 0; i < count; ++i) Act(index, start + i, action);
      return 0;
  }
}

int Interrupts::SetEventfds(uint32_t index, uint32_t start, uint32_t count,
                            std::vector<UniqueFd>& fds) {
  if (!fds.empty() && fds.size() != count) return EINVAL;
  for (const UniqueFd& fd : fds) {
    if (!IsEventfd(fd)) return EINVAL;
  }
  for (uint32_t i = 0; i < count; ++i) {
    Vector& vector = vectors_[index][start + i];
    vector.eventfd = fds.empty() ? UniqueFd() : std::move(fds[i]);
    if (index != spec::kIrqIntx) continue;
    SetMasked(index, vector, false);  // Who sets it up anew has nothing left to unmask.
  }
  fds.clear();
  return 0;
}

int Interrupts::SetControl(uint32_t index, bool mask, std::vector<UniqueFd>& fds) {
  if (index != spec::kIrqIntx || fds.size() > 1) return EINVAL;
  std::unique_ptr<Control>& place = mask ? mask_control_ : unmask_control_;
  if (fds.empty()) {
    place.reset();
    return 0;
  }
  if (!IsEventfd(fds[0])) return EINVAL;
  auto control = std::make_unique<Control>(*this, std::move(fds[0]), mask);
  fds.clear();
  if (!control->Watch()) return EINVAL;
  place = std::move(control);
  return 0;
}

// What a client asks to be done to a vector.
void Interrupts::Act(uint32_t index, uint32_t vector, uint32_t action) {
  Vector& target = vectors_[index][vector];
  if (action == spec::kIrqTrigger) return ringer_.Ring(target.eventfd);
  SetMasked(index, target, action == spec::kIrqMask);
}

void Interrupts::SetMasked(uint32_t index, Vector& vector, bool masked) {
  vector.masked = masked;
  if (masked || !vector.pending) return;
  if (index == spec::kIrqIntx) return SignalIntx();
  vector.pending = false;
  ringer_.Ring(vector.eventfd);
}

void Interrupts::SignalIntx() {
  Vector& intx = vectors_[spec::kIrqIntx][0];
  if (intx.masked || !intx.pending || !intx.eventfd.valid()) return;
  intx.masked = true;
  ringer_.Ring(intx.eventfd);
}

void Interrupts::Trigger(uint32_t index, uint32_t number) {
  CHECK(index < vectors_.size() && number < vectors_[index].size());
  Vector& vector = vectors_[index][number];
  if (index == spec::kIrqIntx) {
    vector.pending = true;
    return SignalIntx();
  }
  if (vector.masked) {
    vector.pending = true;
    return;
  }
  ringer_.Ring(vector.eventfd);
}

void Interrupts::LowerIntx() {
  for (Vector& intx : vectors_[spec::kIrqIntx]) intx.pending = false;
}

void Interrupts::Reset() {
  for (std::vector<Vector>& vectors : vectors_) {
    for (Vector& vector : vectors) vector.masked = vector.pending = false;
  }
}

void Interrupts::DropEventfds() {
  mask_control_.reset();
  unmask_control_.reset();
  for (std::vector<Vector>& vectors : vectors_) {
    for (Vector& vector : vectors) vector = {};
  }
}

bool Interrupts::Control::Watch() {
  watched_ = owner_.loop_.Watch(eventfd_.get(), EPOLLIN | EPOLLET, *this).ok();
  return watched_;
}

Interrupts::Control::~Control() {
  if (watched_) owner_.loop_.Unwatch(eventfd_.get(), *this);
}

void Interrupts::Control::OnReady(uint32_t) {
  for (Vector& intx : owner_.vectors_[spec::kIrqIntx]) {
    owner_.SetMasked(spec::kIrqIntx, intx, mask_);
  }
}

}  // namespace pollux::vfio_user
