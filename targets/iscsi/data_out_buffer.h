#pragma once
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace pollux::iscsi {

// Brings the data of a write, in the order in which it comes, to where it is wanted.
//
// The SCSI layer wants bursts, one after the other; the initiator sends what was asked for, and,
// unasked, the first bytes of its own accord. What comes before it is wanted lies in the store
// until then, or, for the rest of this turn, still in the connection's read-ahead (lent).
class DataOutBuffer {
 public:
  // `store` holds what came unasked: `store_bytes` from offset 0. Null when nothing may.
  void Reset(std::byte* store, size_t store_bytes);

  // The next burst: bytes [offset, offset + length of parts).
  void Want(uint64_t offset, std::span<const iovec> parts);
  bool wanting() const { return wanted_end_ > wanted_begin_; }
  // The burst is whole; Want again.
  bool complete() const { return wanting() && filled_to_ == wanted_end_; }
  void Done() { wanted_begin_ = wanted_end_ = 0; }
  // What is to be asked for: everything from here up to wanted_end() is missing.
  uint64_t filled_to() const { return filled_to_; }
  uint64_t wanted_end() const { return wanted_end_; }

  // Data comes from `offset` on: where the last byte left off, or where an R2T says.
  void GoTo(uint64_t offset) { received_to_ = offset; }
  uint64_t received_to() const { return received_to_; }
  // Whether the next `bytes` have a place.
  bool HasPlaceFor(size_t bytes) const;

  // Where the next bytes go: fills `parts` with the places of at most `bytes`, in order, and
  // returns how many parts. Landed() tells how many of them are there; a Want in between is fine.
  size_t PlaceFor(size_t bytes, std::span<iovec> parts);
  void Landed(size_t bytes);
  void Copy(std::span<const std::byte> data);

  // The first bytes of the transfer, which stay where they are until wanted or set aside.
  void Lend(std::span<const std::byte> data);
  bool lent() const { return !lent_.empty(); }
  void SetAside();

 private:
  bool GoesToBurst() const { return filled_to_ < wanted_end_ && received_to_ == filled_to_; }
  size_t BurstSlices(uint64_t offset, size_t bytes, std::span<iovec> parts) const;
  void CopyToBurst(const std::byte* from, size_t bytes);
  void Absorb();

  std::byte* store_ = nullptr;
  size_t store_bytes_ = 0;
  uint64_t stored_begin_ = 0, stored_end_ = 0;  // Offsets that lie in the store, or are lent.
  std::span<const std::byte> lent_;             // From offset 0; then the store has none of it.

  std::span<const iovec> wanted_;
  uint64_t wanted_begin_ = 0, wanted_end_ = 0;
  uint64_t filled_to_ = 0;
  uint64_t received_to_ = 0;
  bool placed_in_burst_ = false;
};

}  // namespace pollux::iscsi
