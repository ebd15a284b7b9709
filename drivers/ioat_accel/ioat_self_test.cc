#include "drivers/ioat_accel/ioat_self_test.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>

#include "core/event.h"
#include "core/run_on.h"

namespace pollux {
namespace {

constexpr uint64_t kPollEveryNs = 20 * kNsPerUs;
constexpr size_t kAreaBytes = kIoatSelfTestBytes / 4;
constexpr std::byte kUntouched{0xa5};

// Waits for one request after the other.
class Waited final : public ioat::Request {
 public:
  void OnComplete(ioat::Completion completion) override {
    completion_ = completion;
    done_ = true;
  }
  // `error`: what the submission returned.
  Task<Status> End(pollux_ioat_channel* channel, int error, const char* what) {
    if (error != 0) {
      co_return InternalError("%s is refused in its test: %s", what, strerror(-error));
    }
    pollux_ioat_channel_ring(channel);
    // It ends by itself: the driver bounds every wait.
    for (; !done_; co_await Sleep(kPollEveryNs)) pollux_ioat_channel_poll(channel);
    done_ = false;
    if (completion_.status == POLLUX_IOAT_OK) co_return OkStatus();
    co_return InternalError("%s has failed in its test: %s, CHANERR 0x%x", what,
                            pollux_ioat_status_name(completion_.status), completion_.chanerr);
  }

 private:
  bool done_ = false;
  ioat::Completion completion_{};
};

class Bench {
 public:
  Bench(pollux_ioat_channel* channel, const pollux_ioat_device_info& info, std::byte* memory)
      : channel_(channel), info_(info), to_(memory) {
    uint32_t seed = 0x2545f491;
    for (size_t i = 0; i < kSources; ++i) {
      sources_[i] = memory + (i + 1) * kAreaBytes;
      for (size_t at = 0; at < kAreaBytes; ++at) {
        seed ^= seed << 13, seed ^= seed >> 17, seed ^= seed << 5;
        sources_[i][at] = static_cast<std::byte>(seed);
      }
    }
  }

  Task<Status> Run() {
    struct Case {
      size_t to, from, bytes;
    };
    // Within a page, across pages at odd places, and as much as there is.
    for (const Case& one : {Case{0, 0, 4096}, Case{1, 4095, 1}, Case{4093, 7, 12345},
                            Case{63, 64, kAreaBytes - 128}}) {
      Clear();
      const int error =
          pollux_ioat_copy(channel_, request_.c(), to_ + one.to, sources_[0] + one.from, one.bytes);
      CO_RETURN_IF_ERROR(co_await request_.End(channel_, error, "a copy"));
      CO_RETURN_IF_ERROR(
          Expect(one.to, one.bytes, "a copy", [&](size_t i) { return sources_[0][one.from + i]; }));
    }
    if (info_.fill) {
      constexpr uint64_t kPattern = 0x0123456789abcdef;
      Clear();
      const int error = pollux_ioat_fill(channel_, request_.c(), to_ + 5, kPattern, 10007);
      CO_RETURN_IF_ERROR(co_await request_.End(channel_, error, "a fill"));
      CO_RETURN_IF_ERROR(Expect(5, 10007, "a fill", [](size_t i) {
        return static_cast<std::byte>(kPattern >> (i % 8 * 8));
      }));
    }
    if (info_.xor_) {
      Clear();
      const void* sources[kSources] = {sources_[0], sources_[1], sources_[2]};
      const int error = pollux_ioat_xor(channel_, request_.c(), to_, sources, kSources, 8192);
      CO_RETURN_IF_ERROR(co_await request_.End(channel_, error, "an XOR"));
      CO_RETURN_IF_ERROR(Expect(0, 8192, "an XOR", [&](size_t i) {
        return sources_[0][i] ^ sources_[1][i] ^ sources_[2][i];
      }));
    }
    co_return OkStatus();
  }

 private:
  static constexpr size_t kSources = 3;

  void Clear() { std::fill_n(to_, kAreaBytes, kUntouched); }

  template <typename Byte>
  Status Expect(size_t begin, size_t bytes, const char* what, Byte byte) const {
    for (size_t at = 0; at < kAreaBytes; ++at) {
      const bool inside = at >= begin && at < begin + bytes;
      if (to_[at] == (inside ? byte(at - begin) : kUntouched)) continue;
      return InternalError("%s of %u bytes in its test has left a wrong byte at %d", what, bytes,
                           static_cast<int64_t>(at) - static_cast<int64_t>(begin));
    }
    return OkStatus();
  }

  pollux_ioat_channel* const channel_;
  const pollux_ioat_device_info& info_;
  std::byte* const to_;
  std::byte* sources_[kSources];
  Waited request_;
};

}  // namespace

Task<Status> TestIoatChannel(pollux_ioat_channel* channel, pollux_ioat_device_info info,
                             std::byte* memory) {
  Bench bench(channel, info, memory);
  co_return co_await bench.Run();
}

}  // namespace pollux
