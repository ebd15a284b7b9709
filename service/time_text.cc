#include "service/time_text.h"

#include <ctime>

#include "absl/strings/str_format.h"

namespace pollux::service {
namespace {

std::string WithoutZone(int64_t seconds) {
  const std::time_t time = seconds;
  std::tm utc;
  gmtime_r(&time, &utc);
  return absl::StrFormat("%04d-%02d-%02dT%02d:%02d:%02d", utc.tm_year + 1900, utc.tm_mon + 1,
                         utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

}  // namespace

std::string TimeTextOfSeconds(int64_t since_1970) { return WithoutZone(since_1970) + "Z"; }

std::string TimeTextOfMs(int64_t since_1970) {
  return absl::StrFormat("%s.%03dZ", WithoutZone(since_1970 / 1000), since_1970 % 1000);
}

}  // namespace pollux::service
