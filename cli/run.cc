#include "cli/run.h"

#include <string>

#include "cli/arguments.h"
#include "cli/catalog.h"
#include "cli/comments.h"
#include "cli/embedded_descriptors.h"
#include "cli/help.h"
#include "cli/pci/pci_command.h"
#include "cli/session.h"
#include "cli/table.h"
#include "core/check.h"

namespace pollux::cli {
namespace {

Comments ReadComments() {
  Result<Comments> comments = Comments::Parse(EmbeddedDescriptors());
  CHECK(comments.ok(), "the build embeds a descriptor set that is whole");
  return *std::move(comments);
}

class Runner {
 public:
  Runner(const Catalog& catalog, Options options, std::ostream& out, std::ostream& err,
         size_t width)
      : catalog_(catalog),
        options_(std::move(options)),
        session_(options_.socket, options_.timeout_ns),
        out_(out),
        err_(err),
        width_(width) {}

  // One call: words[0] is the method.
  ExitCode RunWords(const Words& words) {
    const Command* command = catalog_.Find(words[0]);
    if (command == nullptr) return OnUnknown(words[0]);
    Options options = options_;
    const Words rest(words.begin() + 1, words.end());
    const Result<std::string> params = ParseArguments(*command, rest, options);
    if (!params.ok()) {
      err_ << "pollux: " << command->name << ": " << params.status().message()
           << "\nUsage: " << UsageOf(*command) << "\nMore: pollux " << command->name << " --help\n";
      return kMisused;
    }
    if (options.help) {
      out_ << HelpOn(*command, ReadComments());
      return kDone;
    }
    if (options.socket != options_.socket || options.timeout_ns != options_.timeout_ns) {
      Session session(options.socket, options.timeout_ns);
      return Call(*command, *params, session, options.json);
    }
    return Call(*command, *params, session_, options.json);
  }

  // Calls from a script, until one fails.
  ExitCode RunLines(std::istream& in) {
    std::string line;
    for (size_t number = 1; std::getline(in, line); ++number) {
      const Result<Words> words = SplitWords(line);
      ExitCode code = kDone;
      if (!words.ok()) {
        err_ << "pollux: " << words.status().message() << "\n";
        code = kMisused;
      } else if (!words->empty()) {
        code = RunWords(*words);
        out_.flush();
      }
      if (code != kDone) {
        err_ << "pollux: stopped at line " << number << ": " << line << "\n";
        return code;
      }
    }
    return kDone;
  }

 private:
  ExitCode OnUnknown(const std::string& name) {
    err_ << "pollux: there is no method " << name;
    const std::vector<std::string> near = catalog_.NamesLike(name);
    for (size_t i = 0; i < near.size(); ++i) {
      err_ << (i == 0 ? "; did you mean " : " or ") << near[i];
    }
    err_ << (near.empty() ? "; pollux --help lists them\n" : "?\n");
    return kMisused;
  }

  ExitCode Call(const Command& command, const std::string& params, Session& session, bool json) {
    const Result<Answer> answer = session.Call(command.name, params);
    if (!answer.ok()) {
      err_ << "pollux: " << answer.status().message() << "\n";
      return kNoConnection;
    }
    if (!answer->ok) return OnRefused(command, *answer);
    if (json) {
      out_ << answer->result << "\n";
    } else {
      out_ << ForPeople(ParseJson(answer->result), width_);
    }
    return kDone;
  }

  ExitCode OnRefused(const Command& command, const Answer& answer) {
    err_ << "pollux: " << command.name << ": " << answer.message << "\n";
    const auto show = [this](const char* name, const std::string& text) {
      if (!text.empty()) err_ << "  " << name << text << "\n";
    };
    show("code    ", answer.code);
    show("field   ", answer.field);
    show("value   ", answer.value);
    if (answer.reason != answer.message) show("reason  ", answer.reason);
    return kRefused;
  }

  const Catalog& catalog_;
  const Options options_;
  Session session_;
  std::ostream& out_;
  std::ostream& err_;
  const size_t width_;
};

// What needs no polluxd.
ExitCode RunPciWords(const Words& words, const Options& options, std::ostream& out,
                     std::ostream& err) {
  Words rest(words.begin() + 1, words.end());
  if (options.json) rest.push_back("--json");
  if (options.help) rest.push_back("--help");
  return static_cast<ExitCode>(RunPci(rest, pci::HostFiles(), out, err));
}

}  // namespace

ExitCode Run(const Words& words, std::istream& in, std::ostream& out, std::ostream& err,
             size_t width) {
  Options options;
  options.socket = DefaultSocket();
  size_t at = 0;
  for (; at < words.size(); ++at) {
    const Result<bool> taken = TakeOption(words, at, options);
    if (!taken.ok()) {
      err << "pollux: " << taken.status().message() << "\n";
      return kMisused;
    }
    if (!*taken) break;
  }
  const Words rest(words.begin() + static_cast<ptrdiff_t>(at), words.end());
  if (!rest.empty() && rest[0] == "pci") return RunPciWords(rest, options, out, err);

  const Catalog catalog;
  if (rest.empty()) {
    (options.help ? out : err) << HelpOnAll(catalog, ReadComments());
    return options.help ? kDone : kMisused;
  }
  if (rest[0] != "-" && rest[0].starts_with('-')) {
    err << "pollux: there is no option " << rest[0] << "; pollux --help lists them\n";
    return kMisused;
  }
  Runner runner(catalog, options, out, err, width);
  return rest[0] == "-" ? runner.RunLines(in) : runner.RunWords(rest);
}

}  // namespace pollux::cli
