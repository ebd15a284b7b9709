#include "cli/run.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <thread>

#include "cli/arguments.h"
#include "cli/catalog.h"
#include "cli/completion.h"
#include "cli/config_commands.h"
#include "cli/help.h"
#include "cli/pci/pci_command.h"
#include "cli/report.h"
#include "cli/session.h"
#include "cli/state/state_command.h"
#include "cli/table.h"
#include "cli/watch.h"
#include "core/check.h"
#include "core/clock.h"
#include "core/default_paths.h"
#include "core/version.h"
#include "rpc/reference/comments.h"
#include "rpc/reference/embedded_descriptors.h"
#include "rpc/reference/openrpc.h"

namespace pollux::cli {
namespace {

rpc::Comments ReadComments() {
  Result<rpc::Comments> comments = rpc::Comments::Parse(rpc::EmbeddedDescriptors());
  CHECK(comments.ok(), "the build embeds a descriptor set that is whole");
  return *std::move(comments);
}

class Runner {
 public:
  Runner(const Catalog& catalog, Options options, std::ostream& out, std::ostream& err,
         Terminal terminal)
      : catalog_(catalog),
        options_(std::move(options)),
        session_(options_.socket, options_.timeout_ns),
        out_(out),
        err_(err),
        terminal_(terminal) {}

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
      return CallOften(*command, *params, session, options);
    }
    return CallOften(*command, *params, session_, options);
  }

  // What is no method of the server; nothing when it is none of ours either.
  std::optional<ExitCode> RunOwn(const Words& words, std::istream& in) {
    if (ConfigCommands::Has(words[0])) {
      return ConfigCommands({catalog_, session_, in, out_, err_}).Run(words);
    }
    if (words[0] == "watch" && words.size() == 1) {
      constexpr uint64_t kWaitMsMax = 30'000;
      return Watch(session_, options_.json,
                   std::min(kWaitMsMax, options_.timeout_ns / kNsPerMs / 2), out_, err_);
    }
    if (words[0] == "openrpc" && words.size() == 1) {
      out_ << rpc::OpenRpcDocument(rpc::CompiledServices(), ReadComments(), kVersion) << "\n";
      return kDone;
    }
    if (words[0] == "complete") {
      const bool dashes = words.size() > 1 && words[1] == "--";
      for (const std::string& word :
           Complete(catalog_, {words.begin() + (dashes ? 2 : 1), words.end()}, session_)) {
        out_ << word << "\n";
      }
      return kDone;
    }
    if (words[0] != "completion" && words[0] != "watch") return std::nullopt;
    const std::string script = words.size() == 2 ? CompletionScript(words[1]) : "";
    out_ << script;
    if (!script.empty()) return kDone;
    err_ << "Usage: pollux watch\n       pollux completion bash|zsh\n";
    return kMisused;
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

  // Once, or again and again until it fails or nobody reads.
  ExitCode CallOften(const Command& command, const std::string& params, Session& session,
                     const Options& options) {
    for (;;) {
      if (options.every_ns > 0 && terminal_.clears) out_ << "\x1b[H\x1b[2J";
      const ExitCode code = Call(command, params, session, options.json);
      if (code != kDone || options.every_ns == 0) return code;
      out_.flush();
      if (!out_) return kDone;
      std::this_thread::sleep_for(std::chrono::nanoseconds(options.every_ns));
    }
  }

  ExitCode Call(const Command& command, const std::string& params, Session& session, bool json) {
    const Result<Answer> answer = session.Call(command.name, params);
    if (!answer.ok()) {
      err_ << "pollux: " << answer.status().message() << "\n";
      return kNoConnection;
    }
    if (!answer->ok) {
      ShowRefusal(err_, command.name, *answer);
      return kRefused;
    }
    if (json) {
      out_ << answer->result << "\n";
    } else {
      out_ << ForPeople(ParseJson(answer->result), terminal_.width);
    }
    return kDone;
  }

  const Catalog& catalog_;
  const Options options_;
  Session session_;
  std::ostream& out_;
  std::ostream& err_;
  const Terminal terminal_;
};

// What needs no polluxd; nothing when it is something else.
std::optional<ExitCode> RunAlone(const Words& words, const Options& options, std::ostream& out,
                                 std::ostream& err) {
  if (words.empty() || (words[0] != "pci" && words[0] != "state")) return std::nullopt;
  Words rest(words.begin() + 1, words.end());
  if (options.json) rest.push_back("--json");
  if (options.help) rest.push_back("--help");
  return static_cast<ExitCode>(words[0] == "pci" ? RunPci(rest, pci::HostFiles(), out, err)
                                                 : RunState(rest, out, err));
}

}  // namespace

ExitCode Run(const Words& words, std::istream& in, std::ostream& out, std::ostream& err,
             Terminal terminal) {
  Options options;
  options.socket = DefaultRpcSocket();
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
  if (const std::optional<ExitCode> code = RunAlone(rest, options, out, err)) return *code;

  const Catalog catalog;
  if (rest.empty()) {
    (options.help ? out : err) << HelpOnAll(catalog, ReadComments());
    return options.help ? kDone : kMisused;
  }
  if (rest[0] != "-" && rest[0].starts_with('-')) {
    err << "pollux: there is no option " << rest[0] << "; pollux --help lists them\n";
    return kMisused;
  }
  Runner runner(catalog, options, out, err, terminal);
  if (const std::optional<ExitCode> code = runner.RunOwn(rest, in)) return *code;
  return rest[0] == "-" ? runner.RunLines(in) : runner.RunWords(rest);
}

}  // namespace pollux::cli
