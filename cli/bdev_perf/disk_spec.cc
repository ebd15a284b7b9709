#include "cli/bdev_perf/disk_spec.h"

#include "cli/tool/flags.h"

namespace pollux::cli {
namespace {

constexpr uint64_t kBytesMin = 1 << 20, kBytesMax = uint64_t{1} << 60;

struct KindName {
  const char* name;
  DiskSpec::Kind kind;
  uint64_t default_bytes;  // 0: what follows is a place, and must be there.
};
constexpr KindName kKinds[] = {
    {"null", DiskSpec::Kind::kNull, uint64_t{1} << 40},
    {"memory", DiskSpec::Kind::kMemory, 64 << 20},
    {"file", DiskSpec::Kind::kFile, 0},
    {"nvme", DiskSpec::Kind::kNvme, 0},
};

}  // namespace

Result<DiskSpec> ParseDiskSpec(const std::string& text) {
  const size_t colon = text.find(':');
  const std::string name = text.substr(0, colon);
  const std::string rest = colon == std::string::npos ? "" : text.substr(colon + 1);
  for (const KindName& known : kKinds) {
    if (name != known.name) continue;
    DiskSpec spec{.text = text, .kind = known.kind, .bytes = known.default_bytes, .place = {}};
    if (known.default_bytes == 0) {
      if (rest.empty()) return InvalidArgument("%s: where is it? Such as %s:PLACE", text, name);
      spec.place = rest;
    } else if (colon != std::string::npos) {
      ASSIGN_OR_RETURN(spec.bytes, ParseSize(name, rest, kBytesMin, kBytesMax));
    }
    return spec;
  }
  return InvalidArgument(
      "%s is no disk: null, memory, both with a size such as memory:1g; file:PATH; or "
      "nvme:CONTROLLER",
      text);
}

}  // namespace pollux::cli
