#include "cli/report.h"

namespace pollux::cli {

void ShowRefusal(std::ostream& err, const std::string& method, const Answer& answer) {
  err << "pollux: " << method << ": " << answer.message << "\n";
  const auto show = [&err](const char* name, const std::string& text) {
    if (!text.empty()) err << "  " << name << text << "\n";
  };
  show("code    ", answer.code);
  show("field   ", answer.field);
  show("value   ", answer.value);
  if (answer.reason != answer.message) show("reason  ", answer.reason);
}

}  // namespace pollux::cli
