#include "service/core_times.h"

#include <fstream>
#include <sstream>
#include <string>

namespace pollux::service {
namespace {

std::map<int, CoreTimes> ReadNow() {
  std::ifstream file("/proc/stat");
  std::ostringstream text;
  text << file.rdbuf();
  return CoreTimes::Parse(text.str());
}

// A core that went offline and came back may begin again.
uint64_t Grown(uint64_t begin, uint64_t now) { return now > begin ? now - begin : 0; }

}  // namespace

std::map<int, CoreTimes> CoreTimes::Parse(std::string_view proc_stat) {
  std::map<int, CoreTimes> cores;
  std::istringstream lines{std::string(proc_stat)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string word;
    fields >> word;
    // "cpu" alone is the sum of all.
    if (word.size() < 4 || word.compare(0, 3, "cpu") != 0) continue;
    std::istringstream number(word.substr(3));
    int core = -1;
    uint64_t user, nice, system, idle, iowait, irq, softirq;
    if (!(number >> core) || !number.eof() || core < 0) continue;
    if (!(fields >> user >> nice >> system >> idle >> iowait >> irq >> softirq)) continue;
    cores[core] = {.user = user + nice, .system = system, .interrupt = irq + softirq};
  }
  return cores;
}

CoreTimesSince::CoreTimesSince() : begin_(ReadNow()) {}

CoreTimes CoreTimesSince::Of(int core) const {
  const auto begin = begin_.find(core);
  if (begin == begin_.end()) return {};
  const auto cores = ReadNow();
  const auto now = cores.find(core);
  if (now == cores.end()) return {};
  return {.user = Grown(begin->second.user, now->second.user),
          .system = Grown(begin->second.system, now->second.system),
          .interrupt = Grown(begin->second.interrupt, now->second.interrupt)};
}

}  // namespace pollux::service
