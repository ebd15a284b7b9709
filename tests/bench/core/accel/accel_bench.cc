// The CPU's forms of the accel operations, each beside what it competes with: memcpy, ISA-L, the
// classic loop of three SSE4.2 chains. The counter "gain" is how many times as fast as that it is
// ("cost": how many times as long as that it takes), measured in turns with it in the same run.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstring>
#include <span>
#include <vector>

#include "core/accel/compare.h"
#include "core/accel/copy_crc32c.h"
#include "core/accel/crc16_t10dif.h"
#include "core/accel/crc32c.h"
#include "core/accel/crc32c_forms.h"
#include "core/accel/dualcast.h"
#include "core/accel/fill.h"
#include "core/accel/protection.h"
#include "core/accel/xor.h"

namespace pollux {
namespace {

constexpr size_t kBytesMax = 65536, kSources = 4;

// The pages of all buffers are there, and hot as far as they fit.
struct Buffers {
  Buffers() {
    for (auto& buffer : all) {
      for (size_t i = 0; i < sizeof(buffer); ++i) buffer[i] = static_cast<std::byte>(i * i >> 3);
    }
  }
  alignas(4096) std::byte all[kSources + 2][kBytesMax + 4096];
};
Buffers& buffers() {
  static Buffers made;
  return made;
}

template <typename F>
double SecondsOf(size_t times, F&& f) {
  const auto begin = std::chrono::steady_clock::now();
  for (size_t i = 0; i < times; ++i) {
    f();
    benchmark::ClobberMemory();
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Both in turns, so that what disturbs one disturbs the other.
template <typename F, typename G>
void Compare(benchmark::State& state, size_t bytes, F&& ours, G&& theirs) {
  const size_t times = 1 + 200000 / (bytes + 100);
  double our_time = 0, their_time = 0;
  for (auto _ : state) {
    const double seconds = SecondsOf(times, ours);
    their_time += SecondsOf(times, theirs);
    our_time += seconds;
    state.SetIterationTime(seconds);
  }
  const double calls = static_cast<double>(state.iterations()) * static_cast<double>(times);
  state.counters["ns"] = our_time / calls * 1e9;
  state.counters["GB/s"] = static_cast<double>(bytes) * calls / our_time / 1e9;
  state.counters["other_ns"] = their_time / calls * 1e9;
  state.counters["gain"] = their_time / our_time;
  state.counters["cost"] = our_time / their_time;
}

void Lengths(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"bytes", "offset"})->UseManualTime();
  for (const int64_t bytes : {16, 24, 72, 128, 512, 4096, 65536}) bench->Args({bytes, 0});
  bench->Args({128, 7})->Args({4096, 7});
}
void LongLengths(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"bytes", "offset"})->UseManualTime();
  bench->Args({512, 0})->Args({4096, 0})->Args({65536, 0})->Args({4096, 7});
}

struct Run {
  explicit Run(benchmark::State& state)
      : bytes(static_cast<size_t>(state.range(0))), offset(static_cast<size_t>(state.range(1))) {}
  std::byte* Buffer(size_t i) const { return buffers().all[i] + offset; }
  std::span<std::byte> Span(size_t i) const { return {Buffer(i), bytes}; }
  const size_t bytes, offset;
};

void Crc32cBesideIsaL(benchmark::State& state) {
  const Run run(state);
  Compare(
      state, run.bytes, [&] { benchmark::DoNotOptimize(Crc32c(run.Span(0))); },
      [&] { benchmark::DoNotOptimize(crc32c::IsaL(run.Buffer(0), run.bytes, ~0u)); });
}
BENCHMARK(Crc32cBesideIsaL)->Apply(Lengths);

void Crc32cBesideThreeWay(benchmark::State& state) {
  const Run run(state);
  if (!crc32c::HasThreeWay()) return state.SkipWithError("not on this CPU");
  Compare(
      state, run.bytes, [&] { benchmark::DoNotOptimize(Crc32c(run.Span(0))); },
      [&] { benchmark::DoNotOptimize(crc32c::ThreeWay(run.Buffer(0), run.bytes, ~0u)); });
}
BENCHMARK(Crc32cBesideThreeWay)->Apply(Lengths);

void CopyCrc32cBesideMemcpy(benchmark::State& state) {
  const Run run(state);
  Compare(
      state, run.bytes, [&] { benchmark::DoNotOptimize(CopyCrc32c(run.Buffer(1), run.Span(0))); },
      [&] { memcpy(run.Buffer(1), run.Buffer(0), run.bytes); });
}
BENCHMARK(CopyCrc32cBesideMemcpy)->Apply(Lengths);

// Buffers that are in no first-level cache, as those of a server at work.
void ColdCopyCrc32cBesideMemcpy(benchmark::State& state) {
  const auto bytes = static_cast<size_t>(state.range(0));
  constexpr size_t kArea = 16 << 20;
  std::vector<std::byte> from(kArea, std::byte{1}), to(kArea, std::byte{2});
  size_t at = 0;
  const auto next = [&] {
    at += bytes + 64;
    if (at + bytes > kArea) at = 0;
    return at;
  };
  Compare(
      state, bytes,
      [&] {
        const size_t i = next();
        benchmark::DoNotOptimize(CopyCrc32c(&to[i], {&from[i], bytes}));
      },
      [&] {
        const size_t i = next();
        memcpy(&to[i], &from[i], bytes);
      });
}
BENCHMARK(ColdCopyCrc32cBesideMemcpy)->UseManualTime()->ArgName("bytes")->Arg(4096)->Arg(65536);

// The two passes that one replaces.
void CopyCrc32cBesideCopyThenIsaL(benchmark::State& state) {
  const Run run(state);
  Compare(
      state, run.bytes, [&] { benchmark::DoNotOptimize(CopyCrc32c(run.Buffer(1), run.Span(0))); },
      [&] {
        memcpy(run.Buffer(1), run.Buffer(0), run.bytes);
        benchmark::DoNotOptimize(crc32c::IsaL(run.Buffer(1), run.bytes, ~0u));
      });
}
BENCHMARK(CopyCrc32cBesideCopyThenIsaL)->Apply(LongLengths);

void DualcastBesideTwoCopies(benchmark::State& state) {
  const Run run(state);
  Compare(
      state, run.bytes, [&] { Dualcast(run.Buffer(1), run.Buffer(2), run.Span(0)); },
      [&] {
        memcpy(run.Buffer(1), run.Buffer(0), run.bytes);
        memcpy(run.Buffer(2), run.Buffer(0), run.bytes);
      });
}
BENCHMARK(DualcastBesideTwoCopies)->Apply(LongLengths);

void FillBesideMemset(benchmark::State& state) {
  const Run run(state);
  Compare(
      state, run.bytes, [&] { FillWithPattern(run.Span(1), 0x0123456789abcdef); },
      [&] { memset(run.Buffer(1), 1, run.bytes); });
}
BENCHMARK(FillBesideMemset)->Apply(LongLengths);

void FirstDifferenceBesideMemcmp(benchmark::State& state) {
  const Run run(state);
  memcpy(run.Buffer(1), run.Buffer(0), run.bytes);
  Compare(
      state, run.bytes,
      [&] { benchmark::DoNotOptimize(FirstDifference(run.Span(0), run.Span(1))); },
      [&] { benchmark::DoNotOptimize(memcmp(run.Buffer(0), run.Buffer(1), run.bytes)); });
}
BENCHMARK(FirstDifferenceBesideMemcmp)->Apply(LongLengths);

void XorOfFourBesideMemcpy(benchmark::State& state) {
  const Run run(state);
  const std::byte* sources[kSources];
  for (size_t i = 0; i < kSources; ++i) sources[i] = run.Buffer(i + 1);
  Compare(
      state, run.bytes, [&] { XorInto(run.Buffer(0), sources, run.bytes); },
      [&] { memcpy(run.Buffer(0), run.Buffer(1), run.bytes); });
}
BENCHMARK(XorOfFourBesideMemcpy)->Apply(LongLengths);

// Protection information, beside the CRC of the same bytes.
void VerifyBesideCrc16(benchmark::State& state) {
  const Run run(state);
  const Protection protection;
  const uint64_t blocks = run.bytes / 512;
  std::vector<std::byte> memory(blocks * 520);
  const iovec interleaved{memory.data(), memory.size()};
  GenerateProtection(protection, blocks, {&interleaved, 1});
  Compare(
      state, run.bytes,
      [&] {
        benchmark::DoNotOptimize(VerifyProtection(protection, blocks, {&interleaved, 1}));
      },
      [&] { benchmark::DoNotOptimize(Crc16T10Dif(run.Span(0))); });
}
BENCHMARK(VerifyBesideCrc16)->Apply(LongLengths);

void InsertBesideMemcpy(benchmark::State& state) {
  const Run run(state);
  const Protection protection;
  const uint64_t blocks = run.bytes / 512;
  std::vector<std::byte> memory(blocks * 520);
  const iovec interleaved{memory.data(), memory.size()}, data{run.Buffer(0), run.bytes};
  Compare(
      state, run.bytes,
      [&] {
        InsertProtection(protection, blocks, {&data, 1}, {&interleaved, 1});
      },
      [&] { memcpy(run.Buffer(1), run.Buffer(0), run.bytes); });
}
BENCHMARK(InsertBesideMemcpy)->Apply(LongLengths);

}  // namespace
}  // namespace pollux

BENCHMARK_MAIN();
