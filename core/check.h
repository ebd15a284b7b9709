#pragma once

// CHECK(condition) and CHECK(condition, "text"): an assertion about ourselves, on in every build.
// It prints where and what, and aborts. What comes from a peer, a device or a caller is never
// CHECKed: it is examined and answered.
#define CHECK(condition, ...)                        \
  (__builtin_expect(static_cast<bool>(condition), 1) \
       ? static_cast<void>(0)                        \
       : ::pollux::CheckFailed(__FILE__, __LINE__, #condition __VA_OPT__(, ) __VA_ARGS__))

namespace pollux {

[[noreturn, gnu::cold]] void CheckFailed(const char* file, int line, const char* condition,
                                         const char* text = "");

}  // namespace pollux
