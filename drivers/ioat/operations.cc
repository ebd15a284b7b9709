// From requests to descriptors. All is checked before the first of them is announced.
#include <algorithm>
#include <cerrno>

#include "drivers/ioat/channel.h"

namespace pollux::ioat {
namespace {

bool Overlap(const void* a, size_t a_bytes, const void* b, size_t b_bytes) {
  const auto at = reinterpret_cast<uintptr_t>(a), bt = reinterpret_cast<uintptr_t>(b);
  return at < bt ? bt - at < a_bytes : at - bt < b_bytes;
}

// A place in a list of pieces.
class Cursor {
 public:
  Cursor(const iovec* pieces, uint32_t count) : piece_(pieces), end_(pieces + count) { Skip(); }
  bool at_end() const { return piece_ == end_; }
  std::byte* address() const { return static_cast<std::byte*>(piece_->iov_base) + into_; }
  size_t bytes() const { return piece_->iov_len - into_; }
  void Advance(size_t bytes) {
    into_ += bytes;
    Skip();
  }

 private:
  void Skip() {
    while (piece_ != end_ && into_ == piece_->iov_len) ++piece_, into_ = 0;
  }
  const iovec* piece_;
  const iovec* const end_;
  size_t into_ = 0;
};

// 0 when it is nothing, or more than there are addresses.
size_t Total(const iovec* pieces, uint32_t count) {
  size_t total = 0;
  for (uint32_t i = 0; i < count; ++i) {
    if (__builtin_add_overflow(total, pieces[i].iov_len, &total)) return 0;
  }
  return total;
}

uint64_t Rotate(uint64_t pattern, size_t bytes) {
  const auto bits = static_cast<unsigned>(bytes % 8 * 8);
  return bits == 0 ? pattern : pattern >> bits | pattern << (64 - bits);
}

}  // namespace

// Writes descriptors behind the last submission, where the device does not look before they are
// announced. When there are more than fit, the rest is only counted.
class IoatChannel::Writer {
 public:
  explicit Writer(IoatChannel& channel) : channel_(channel) {}

  // More than the whole ring has room for.
  bool too_many() const { return count_ > channel_.capacity(); }
  Descriptor& Next(bool extension = false) {
    const uint32_t place = (channel_.head_ + count_) & channel_.mask_;
    if (++count_ > channel_.room()) return nowhere_;
    channel_.slots_[place] = {nullptr, extension};
    Descriptor& descriptor = channel_.ring_[place];
    if (!extension) last_ = &descriptor;
    return descriptor;
  }
  // The status is written after the last of them.
  int Commit(pollux_ioat_request& request) {
    if (too_many()) return -E2BIG;
    if (count_ > channel_.room()) return -EAGAIN;
    last_->control = last_->control | control::kCompletionUpdate;
    channel_.head_ += count_;
    channel_.slots_[(channel_.head_ - 1) & channel_.mask_].request = &request;
    channel_.submitted_.Add(1);
    return 0;
  }

 private:
  IoatChannel& channel_;
  uint32_t count_ = 0;
  Descriptor* last_ = nullptr;
  Descriptor nowhere_;
};

size_t IoatChannel::Locate(pci::DmaView& view, const void* address, size_t bytes, uint64_t& iova) {
  const pci::DmaView::Piece piece = view.Translate(address);
  iova = piece.iova;
  return std::min(bytes, piece.bytes);
}

// The common case without a call: one piece for the device on either side.
int IoatChannel::Copy(pollux_ioat_request& request, void* destination, const void* source,
                      size_t bytes) {
  uint64_t to = 0, from = 0;
  if (state_ != State::kRunning || room() == 0 || bytes - 1 >= transfer_max_ ||
      !to_.TranslateNear(destination, bytes, to) || !from_.TranslateNear(source, bytes, from) ||
      Overlap(destination, bytes, source, bytes)) [[unlikely]] {
    const iovec destinations = {destination, bytes};
    const iovec sources = {const_cast<void*>(source), bytes};
    return CopyPieces(request, &destinations, 1, &sources, 1);
  }
  const uint32_t place = head_ & mask_;
  Descriptor& descriptor = ring_[place];
  descriptor.size = static_cast<uint32_t>(bytes);
  descriptor.control = control::kCompletionUpdate;
  descriptor.source = from;
  descriptor.destination = to;
  slots_[place] = {&request, false};
  ++head_;
  submitted_.Add(1);
  return 0;
}

int IoatChannel::CopyPieces(pollux_ioat_request& request, const iovec* destinations,
                            uint32_t destination_count, const iovec* sources,
                            uint32_t source_count) {
  if (state_ != State::kRunning) return Refusal();
  if (destination_count > POLLUX_IOAT_PIECES_MAX || source_count > POLLUX_IOAT_PIECES_MAX) {
    return -E2BIG;
  }
  const size_t total = Total(destinations, destination_count);
  if (total == 0 || total != Total(sources, source_count)) return -EINVAL;
  for (uint32_t d = 0; d < destination_count; ++d) {
    for (uint32_t s = 0; s < source_count; ++s) {
      if (destinations[d].iov_len == 0 || sources[s].iov_len == 0) continue;
      if (Overlap(destinations[d].iov_base, destinations[d].iov_len, sources[s].iov_base,
                  sources[s].iov_len)) {
        return -EINVAL;
      }
    }
  }
  Writer writer(*this);
  Cursor to(destinations, destination_count), from(sources, source_count);
  while (!to.at_end()) {
    uint64_t to_iova = 0, from_iova = 0;
    size_t bytes = std::min({to.bytes(), from.bytes(), static_cast<size_t>(transfer_max_)});
    bytes = Locate(to_, to.address(), bytes, to_iova);
    bytes = Locate(from_, from.address(), bytes, from_iova);
    if (bytes == 0) return -EFAULT;
    Descriptor& descriptor = writer.Next();
    descriptor.size = static_cast<uint32_t>(bytes);
    descriptor.control = 0;
    descriptor.source = from_iova;
    descriptor.destination = to_iova;
    if (writer.too_many()) return -E2BIG;
    to.Advance(bytes);
    from.Advance(bytes);
  }
  return writer.Commit(request);
}

int IoatChannel::Fill(pollux_ioat_request& request, void* destination, uint64_t pattern,
                      size_t bytes) {
  if (!parts_.fill) return -ENOTSUP;
  if (state_ != State::kRunning) return Refusal();
  if (bytes == 0) return -EINVAL;
  Writer writer(*this);
  for (size_t done = 0; done < bytes;) {
    uint64_t iova = 0;
    const size_t piece = Locate(to_, static_cast<std::byte*>(destination) + done,
                                std::min<size_t>(bytes - done, transfer_max_), iova);
    if (piece == 0) return -EFAULT;
    Descriptor& descriptor = writer.Next();
    descriptor.size = static_cast<uint32_t>(piece);
    descriptor.control = control::kOpcode.Set(0, opcode::kFill);
    descriptor.source = Rotate(pattern, done);  // The pattern goes on where the last piece ended.
    descriptor.destination = iova;
    if (writer.too_many()) return -E2BIG;
    done += piece;
  }
  return writer.Commit(request);
}

int IoatChannel::Fence(pollux_ioat_request& request) {
  if (state_ != State::kRunning) return Refusal();
  Writer writer(*this);
  Descriptor& descriptor = writer.Next();
  descriptor.size = 8;
  descriptor.control = control::kNull | control::kFence;
  descriptor.source = 0;
  descriptor.destination = 0;
  return writer.Commit(request);
}

int IoatChannel::MakeParity(pollux_ioat_request& request, const Parity& parity) {
  const bool is_pq = parity.opcode == opcode::kPq || parity.opcode == opcode::kPqValidate;
  const bool validates =
      parity.opcode == opcode::kXorValidate || parity.opcode == opcode::kPqValidate;
  if (!(is_pq ? parts_.pq : parts_.xor_)) return -ENOTSUP;
  if (state_ != State::kRunning) return Refusal();
  if (parity.count < kSourcesMin || parity.count > kSourcesMax || parity.bytes == 0) return -EINVAL;
  if (parity.targets[0] == nullptr && (!is_pq || parity.targets[1] == nullptr)) return -EINVAL;
  if (is_pq && parity.coefficients == nullptr) return -EINVAL;
  for (const void* target : parity.targets) {
    if (target == nullptr || validates) continue;
    for (uint32_t s = 0; s < parity.count; ++s) {
      if (Overlap(target, parity.bytes, parity.sources[s], parity.bytes)) return -EINVAL;
    }
  }
  if (!validates && parity.targets[0] != nullptr && parity.targets[1] != nullptr &&
      Overlap(parity.targets[0], parity.bytes, parity.targets[1], parity.bytes)) {
    return -EINVAL;
  }

  Writer writer(*this);
  for (size_t done = 0; done < parity.bytes;) {
    size_t piece = std::min<size_t>(parity.bytes - done, transfer_max_);
    uint64_t targets[2] = {}, sources[kSourcesMax] = {};
    for (int t = 0; t < 2; ++t) {
      if (parity.targets[t] == nullptr) continue;
      const auto* at = static_cast<const std::byte*>(parity.targets[t]) + done;
      piece = Locate(to_, at, piece, targets[t]);
    }
    for (uint32_t s = 0; s < parity.count; ++s) {
      const auto* at = static_cast<const std::byte*>(parity.sources[s]) + done;
      piece = Locate(from_, at, piece, sources[s]);
    }
    if (piece == 0) return -EFAULT;

    uint32_t control = control::kOpcode.Set(0, parity.opcode);
    control = control::kSourceCount.Set(control, parity.count - kSourcesMin);
    if (is_pq && parity.targets[0] == nullptr) control |= control::kPDisable;
    if (is_pq && parity.targets[1] == nullptr) control |= control::kQDisable;
    Descriptor& base = writer.Next();
    base.size = static_cast<uint32_t>(piece);
    base.control = control;
    base.source = sources[0];
    base.destination = targets[0];
    base.rest[0] = sources[1];
    base.rest[1] = sources[2];
    const uint32_t in_base = is_pq ? kPqSources : kXorSources;
    if (is_pq) {
      uint64_t coefficients = 0;
      for (uint32_t s = 0; s < parity.count; ++s) {
        coefficients |= uint64_t{parity.coefficients[s]} << (8 * s);
      }
      base.rest[2] = coefficients;
      base.rest[3] = targets[1];
    } else {
      base.rest[2] = sources[3];
      base.rest[3] = sources[4];
    }
    if (parity.count > in_base) {
      // The places of the sources are those of XorExtension and PqExtension.
      Descriptor& more = writer.Next(/*extension=*/true);
      const uint64_t first = sources[in_base], second = sources[in_base + 1];
      more.size = static_cast<uint32_t>(first);
      more.control = static_cast<uint32_t>(first >> 32);
      more.source = second;
      more.destination = sources[in_base + 2];
      more.rest[0] = is_pq ? sources[6] : 0;
      more.rest[1] = is_pq ? sources[7] : 0;
    }
    if (writer.too_many()) return -E2BIG;
    done += piece;
  }
  return writer.Commit(request);
}

}  // namespace pollux::ioat
