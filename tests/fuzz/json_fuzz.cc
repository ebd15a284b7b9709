// libFuzzer: the scanner, the reader and the codec, on any bytes. Built with -DPOLLUX_FUZZ=ON by
// clang. The first byte says into which pieces the rest is cut.
#include <cstdint>
#include <string>
#include <string_view>

#include "core/check.h"
#include "rpc/json_codec.h"
#include "rpc/json_reader.h"
#include "rpc/json_rpc_request.h"
#include "rpc/json_scanner.h"
#include "test.pb.h"

namespace pollux::rpc {
namespace {

// The ends of all values in the stream, and what broke it.
std::string Trace(std::string_view stream, size_t piece) {
  JsonScanner scanner({.bytes_max = 4096, .values_max = 200, .nesting_max = 20});
  std::string trace;
  for (size_t at = 0; at < stream.size();) {
    size_t taken = 0;
    const JsonScanner::Outcome outcome = scanner.Scan(stream.substr(at, piece), taken);
    at += taken;
    if (outcome == JsonScanner::Outcome::kComplete) trace += std::to_string(at) + " ";
    if (outcome == JsonScanner::Outcome::kBroken) return trace + scanner.error();
  }
  return trace;
}

void CheckText(std::string_view text) {
  const bool commented = CheckJson(text, {.comments = true}).ok();
  if (commented) CHECK(CheckJson(CompactJson(text), {}).ok());

  rpc_test::Kinds kinds;
  const Status decoded = DecodeParams(text, /*relaxed=*/false, kinds);
  if (!CheckJson(text, {}).ok()) {
    CHECK(!decoded.ok() || text.empty());
    return;
  }
  CHECK(commented);
  (void)ParseJsonRpcRequest(text);
  if (!decoded.ok()) return;
  const std::string written = EncodeMessage(kinds);
  rpc_test::Kinds again;
  CHECK(DecodeParams(written, /*relaxed=*/false, again).ok());
  CHECK(EncodeMessage(again) == written);
}

}  // namespace
}  // namespace pollux::rpc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t piece = 1 + data[0] % 16u;
  CHECK(pollux::rpc::Trace(text, piece) == pollux::rpc::Trace(text, text.size()));
  pollux::rpc::CheckText(text);
  return 0;
}
