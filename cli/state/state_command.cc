#include "cli/state/state_command.h"

#include <sys/stat.h>

#include "cli/tool/flags.h"
#include "cli/tool/json_writer.h"
#include "cli/tool/program.h"
#include "core/default_paths.h"
#include "core/log.h"
#include "rpc/store/state_files.h"

namespace pollux::cli {
namespace {

class StateCommand {
 public:
  StateCommand(std::ostream& out, std::ostream& err) : out_(out), err_(err), flags_(MakeFlags()) {}

  int Run(const std::vector<std::string>& words) {
    std::vector<std::string> positional;
    Status status = flags_.Parse(words, positional);
    if (status.ok() && help_) {
      out_ << flags_.Help();
      return kExitDone;
    }
    if (status.ok() && positional.empty()) status = InvalidArgument("state needs a command");
    if (!status.ok()) return Misused(status);
    const std::string& command = positional[0];
    if (command == "check" && positional.size() == 1) return Check();
    if (command != "check" && command != "backup" && command != "restore") {
      return Misused(InvalidArgument("there is no command state %s", command));
    }
    if (command == "check" || positional.size() != 2) {
      return Misused(InvalidArgument("state %s: %s", command,
                                     command == "check" ? "takes no file" : "which file?"));
    }
    umask(077);  // Secrets are in what is written.
    return command == "backup" ? BackUp(positional[1]) : Restore(positional[1]);
  }

 private:
  Flags MakeFlags() {
    Flags flags("pollux state", "COMMAND [FLAG]... [FILE]",
                "The state directory of polluxd, in which the configuration is kept.\n"
                "\n"
                "  check           reads all of it, and says whether it is good; changes nothing\n"
                "  backup FILE     writes the configuration to FILE, secrets and all\n"
                "  restore FILE    puts it back; what was there is kept beside it\n"
                "\n"
                "check and backup may be used while polluxd runs, restore may not.\n"
                "\n"
                "Flags:\n");
    flags.Add("--state-dir", "DIR", "the directory (default: " + directory_ + ")",
              [this](const std::string& value) {
                directory_ = value;
                return OkStatus();
              });
    flags.AddSwitch("--json", "check: print JSON", json_);
    flags.AddSwitch("-h, --help", "this", help_);
    return flags;
  }

  int Misused(const Status& status) { return RefuseMisuse(flags_, status, err_); }

  int Refused(const std::string& command, const Status& status) {
    err_ << "pollux: state " << command << ": " << Printable(std::string(status.message())) << "\n";
    return kExitFailed;
  }

  int Check() {
    const Result<rpc::StateCheck> check = rpc::CheckState(directory_);
    if (!check.ok()) return Refused("check", check.status());
    if (json_) {
      JsonWriter json;
      json.BeginObject();
      json.Key("current");
      Write(json, check->current);
      json.Key("good");
      Write(json, check->good);
      json.Field("in_use", check->in_use);
      json.EndObject();
      out_ << json.Take();
    } else {
      Show(check->current, "nothing was saved yet");
      Show(check->good, "no start was good yet");
      if (check->in_use) out_ << "A polluxd uses it.\n";
    }
    return check->current.status.ok() && check->good.status.ok() ? kExitDone : kExitFailed;
  }

  void Show(const rpc::StateFile& file, const char* when_missing) {
    out_ << Printable(file.path) << ": ";
    if (!file.exists) {
      out_ << when_missing << "\n";
    } else if (!file.status.ok()) {
      out_ << "DAMAGED: " << Printable(std::string(file.status.message())) << "\n";
    } else {
      out_ << "good, " << file.objects << " objects, " << file.calls << " calls\n";
    }
  }

  static void Write(JsonWriter& json, const rpc::StateFile& file) {
    json.BeginObject();
    json.Field("path", file.path);
    json.Field("exists", file.exists);
    json.Field("good", file.exists && file.status.ok());
    json.Field("objects", file.objects);
    json.Field("calls", file.calls);
    json.Field("reason", std::string(file.status.message()));
    json.EndObject();
  }

  int BackUp(const std::string& file) {
    const Status done = rpc::BackUpState(directory_, file);
    if (!done.ok()) return Refused("backup", done);
    out_ << file << ": written\n";
    return kExitDone;
  }

  int Restore(const std::string& file) {
    const Result<std::string> aside = rpc::RestoreState(directory_, file);
    if (!aside.ok()) return Refused("restore", aside.status());
    out_ << directory_ << ": restored\n";
    if (!aside->empty()) out_ << "What was there is kept as " << *aside << ".\n";
    return kExitDone;
  }

  std::ostream& out_;
  std::ostream& err_;
  bool json_ = false, help_ = false;
  std::string directory_ = DefaultStateDirectory();
  const Flags flags_;  // Refers to those above.
};

}  // namespace

int RunState(const std::vector<std::string>& words, std::ostream& out, std::ostream& err) {
  return StateCommand(out, err).Run(words);
}

}  // namespace pollux::cli
