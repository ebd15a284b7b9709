#pragma once
#include <cstdint>
#include <map>
#include <string_view>

namespace pollux::service {

// What the kernel says a core has done, in ticks of 1/USER_HZ s: proc_stat(5).
struct CoreTimes {
  uint64_t user = 0;       // Processes, niced ones too.
  uint64_t system = 0;     // The kernel, on behalf of processes.
  uint64_t interrupt = 0;  // Interrupts, and what they left for later ("softirq").

  // The lines "cpuN" of /proc/stat by N. A line that cannot be read is left out.
  static std::map<int, CoreTimes> Parse(std::string_view proc_stat);
};

// The same since this object was made. As in SPDK the numbers are about the core and not about our
// thread on it: who compares them with the reactor's busy time sees what others take from it.
class CoreTimesSince {
 public:
  CoreTimesSince();
  // Zeroes for a core that the kernel does not list.
  CoreTimes Of(int core) const;

 private:
  const std::map<int, CoreTimes> begin_;
};

}  // namespace pollux::service
