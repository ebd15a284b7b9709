#include "service/histogram_answer.h"

#include "absl/strings/escaping.h"

namespace pollux::service {

std::string EncodeBuckets(const std::vector<uint64_t>& buckets) {
  std::string bytes;
  bytes.reserve(buckets.size() * sizeof(uint64_t));
  for (uint64_t count : buckets) {
    for (unsigned byte = 0; byte < sizeof(count); ++byte) {
      bytes.push_back(static_cast<char>(count >> (8 * byte) & 0xff));
    }
  }
  return absl::Base64Escape(bytes);
}

}  // namespace pollux::service
