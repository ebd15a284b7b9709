#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/spec/vfio_user_spec.h"
#include "core/unique_fd.h"

namespace pollux::vfio_user {

// Takes messages, with the descriptors that came along, from a Unix socket. It never blocks, and
// never reads beyond a message: descriptors are those of the message with whose bytes they came.
class MessageReader {
 public:
  struct Limits {
    size_t payload_bytes_max = 0;
    size_t fds_max = 0;  // 253 at most, which is Linux's own limit.
  };
  enum class Outcome {
    kMessage,    // There is one.
    kAgain,      // Not all of it is there yet.
    kEnd,        // The peer is gone; error_number() says how, 0: in order.
    kViolation,  // A length that cannot be. What follows cannot be told from noise.
  };

  explicit MessageReader(Limits limits) : limits_(limits) {}

  // Goes on where the last call stopped. After kMessage it begins the next one, and what the last
  // one brought is gone.
  Outcome Read(int socket);

  // Some of the next message is there, and not all.
  bool begun() const { return received_ > 0 && !complete_; }
  const vfio_user_spec::Header& header() const { return header_; }
  // Complete after kMessage; valid until the next call of Read().
  std::span<const std::byte> payload() const { return {payload_.data(), payload_bytes_}; }
  // Who wants one takes it; the others are closed.
  std::vector<UniqueFd>& fds() { return fds_; }
  // More came than fds_max, or than the process has room for: fds() is not all.
  bool fds_lost() const { return fds_lost_; }
  int error_number() const { return error_number_; }

 private:
  Outcome ReadInto(int socket, std::byte* place, size_t bytes);

  const Limits limits_;
  vfio_user_spec::Header header_;
  std::vector<std::byte> payload_;  // Grows to the largest one that came.
  size_t payload_bytes_ = 0;
  size_t received_ = 0;  // Of header and payload.
  bool complete_ = false;
  std::vector<UniqueFd> fds_;
  bool fds_lost_ = false;
  int error_number_ = 0;
};

// Sends what the socket takes at once, moves `bytes` past it, and empties `fds` when they have
// left, which is with the first byte. Returns 0 or a positive errno; EAGAIN: the socket is full.
int SendSome(int socket, std::span<const std::byte>& bytes, std::span<const int>& fds);

}  // namespace pollux::vfio_user
