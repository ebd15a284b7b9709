#include "cli/tool/program.h"

#include "core/log.h"

namespace pollux::cli {

int RefuseMisuse(const Flags& flags, const Status& why, std::ostream& err) {
  err << flags.program() << ": " << std::string(why.message()) << "\n"
      << flags.Usage() << "More: " << flags.program() << " --help\n";
  return kExitMisused;
}

int RefuseFailure(const Flags& flags, const Status& why, std::ostream& err) {
  err << flags.program() << ": " << Printable(std::string(why.message())) << "\n";
  return kExitFailed;
}

}  // namespace pollux::cli
