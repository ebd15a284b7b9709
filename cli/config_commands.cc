#include "cli/config_commands.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>

#include "cli/config_diff.h"
#include "cli/json_value.h"
#include "cli/method_names.h"
#include "cli/report.h"
#include "core/unique_fd.h"
#include "rpc/json_reader.h"
#include "rpc/json_writer.h"

namespace pollux::cli {
namespace {

std::string JsonText(const std::string& text) {
  std::string out;
  rpc::AppendJsonString(out, text);
  return out;
}

// Secrets may be in it: nobody else reads it, and a crash leaves the old one or the new one.
Status WriteFile(const std::string& path, const std::string& text) {
  const std::string fresh = path + ".new";
  const auto failed = [&](const char* what) {
    const int error = errno;
    unlink(fresh.c_str());
    return ErrorOfErrno(error, absl::StrFormat("%s %s: %s", what, path, std::strerror(error)));
  };
  UniqueFd file(open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file.valid()) return failed("cannot write");
  if (fchmod(file.get(), 0600) != 0) return failed("cannot write");
  for (size_t done = 0; done < text.size();) {
    const ssize_t count = write(file.get(), text.data() + done, text.size() - done);
    if (count < 0) return failed("cannot write");
    done += static_cast<size_t>(count);
  }
  if (fsync(file.get()) != 0) return failed("cannot write");
  if (rename(fresh.c_str(), path.c_str()) != 0) return failed("cannot replace");
  return OkStatus();
}

// A call a line: for people, and for diff(1).
std::string ConfigText(const std::vector<rpc::ConfiguredCall>& calls) {
  std::string out = "{\n  \"subsystems\": [";
  const std::string* section = nullptr;
  for (const rpc::ConfiguredCall& one : calls) {
    if (section == nullptr || *section != one.subsystem) {
      out += section == nullptr ? "\n" : "\n    ]},\n";
      out += "    {\"subsystem\": " + JsonText(one.subsystem) + ", \"config\": [\n";
    } else {
      out += ",\n";
    }
    section = &one.subsystem;
    out += "      {\"method\": " + JsonText(one.call.method) + ", \"params\": " + one.call.params +
           "}";
  }
  out += section == nullptr ? "]\n}\n" : "\n    ]}\n  ]\n}\n";
  return out;
}

}  // namespace

bool ConfigCommands::Has(const std::string& name) {
  // The latter two are what rpc.py calls them.
  return name == "save" || name == "load" || name == "diff" || name == "apply" ||
         name == "save_config" || name == "load_config";
}

ExitCode ConfigCommands::Run(const Words& words) {
  const std::string name = words[0].substr(0, words[0].find('_'));
  const bool may_omit_file = name == "save" || name == "load";
  if (words.size() > 2 || (words.size() == 1 && !may_omit_file)) {
    e_.err << "Usage: pollux " << name << (may_omit_file ? " [FILE]\n" : " FILE\n");
    return kMisused;
  }
  const std::string path = words.size() == 2 ? words[1] : "-";
  if (name == "save") return Save(path);
  if (name == "load") return Load(path);
  return name == "diff" ? Diff(path) : Apply(path);
}

ExitCode ConfigCommands::Save(const std::string& path) {
  std::vector<rpc::ConfiguredCall> calls;
  if (const ExitCode code = Running(calls); code != kDone) return code;
  const std::string text = ConfigText(calls);
  if (path == "-") {
    e_.out << text;
    return kDone;
  }
  const Status written = WriteFile(path, text);
  if (written.ok()) return kDone;
  e_.err << "pollux: " << written.message() << "\n";
  return kMisused;
}

ExitCode ConfigCommands::Load(const std::string& path) {
  std::vector<rpc::ConfiguredCall> calls;
  if (const ExitCode code = ReadKnown(path, calls); code != kDone) return code;
  std::string text;
  if (const ExitCode code = Ask(kGetMethods, R"({"current":true})", text); code != kDone) {
    return code;
  }
  const auto callable = [](const std::string& names) {
    std::set<std::string> set;
    for (const JsonValue& name : ParseJson(names).values) set.insert(name.text);
    return set;
  };
  std::set<std::string> now = callable(text);
  const bool starting = now.contains(kStartInit);
  for (const bool second : {false, true}) {
    if (second && !starting) break;
    if (second) {
      if (const ExitCode code = Make({kStartInit, ""}); code != kDone) return code;
      if (const ExitCode code = Ask(kGetMethods, R"({"current":true})", text); code != kDone) {
        return code;
      }
      now = callable(text);
    }
    std::vector<rpc::ConfiguredCall> left;
    for (rpc::ConfiguredCall& one : calls) {
      if (!now.contains(one.call.method)) {
        left.push_back(std::move(one));
      } else if (const ExitCode code = Make(one.call); code != kDone) {
        return code;
      }
    }
    calls = std::move(left);
  }
  for (const rpc::ConfiguredCall& one : calls) {
    e_.err << "pollux: " << one.call.method
           << " was left out: it may only be called before the initialisation (--wait-for-rpc)\n";
  }
  return kDone;
}

ExitCode ConfigCommands::Diff(const std::string& path) {
  std::vector<rpc::ConfiguredCall> wanted, running;
  if (const ExitCode code = ReadKnown(path, wanted); code != kDone) return code;
  if (const ExitCode code = Running(running); code != kDone) return code;
  const std::vector<ConfigDifference> all = CompareConfigs(e_.catalog, wanted, running);
  for (const ConfigDifference& one : all) {
    switch (one.kind) {
      case ConfigDifference::Kind::kMissing:
        ShowDifference("+", one.call);
        break;
      case ConfigDifference::Kind::kExtra:
        ShowDifference("-", one.call);
        break;
      case ConfigDifference::Kind::kOther:
        ShowDifference("~", one.call);
        for (const std::string& line : one.parameters) e_.out << "    " << line << "\n";
        break;
    }
  }
  return all.empty() ? kDone : kRefused;
}

ExitCode ConfigCommands::Apply(const std::string& path) {
  std::vector<rpc::ConfiguredCall> wanted, running;
  if (const ExitCode code = ReadKnown(path, wanted); code != kDone) return code;
  if (const ExitCode code = Running(running); code != kDone) return code;
  ExitCode end = kDone;
  for (const ConfigDifference& one : CompareConfigs(e_.catalog, wanted, running)) {
    if (one.kind == ConfigDifference::Kind::kMissing) {
      if (const ExitCode code = Make(one.call); code != kDone) return code;
      ShowDifference("+", one.call);
    } else if (one.kind == ConfigDifference::Kind::kOther) {
      ShowDifference("~", one.call);
      for (const std::string& line : one.parameters) e_.out << "    " << line << "\n";
      end = kRefused;
    }
  }
  return end;
}

// --- What they share.

Result<std::vector<rpc::ConfiguredCall>> ConfigCommands::Read(const std::string& path) {
  std::string text;
  if (path == "-") {
    text.assign(std::istreambuf_iterator<char>(e_.in), {});
  } else {
    std::ifstream file(path, std::ios::binary);
    text.assign(std::istreambuf_iterator<char>(file), {});
    if (!file) return ErrorOfErrno(errno, absl::StrFormat("cannot read: %s", std::strerror(errno)));
  }
  return rpc::ParseSpdkConfig(text);
}

ExitCode ConfigCommands::ReadKnown(const std::string& path,
                                   std::vector<rpc::ConfiguredCall>& calls) {
  Result<std::vector<rpc::ConfiguredCall>> read = Read(path);
  if (!read.ok()) {
    e_.err << "pollux: " << path << ": " << read.status().message() << "\n";
    return kMisused;
  }
  std::set<std::string> subsystems;
  for (const Group& group : e_.catalog.groups()) {
    subsystems.insert(group.service->options().GetExtension(v1::subsystem));
  }
  for (rpc::ConfiguredCall& one : *read) {
    if (e_.catalog.Find(one.call.method) != nullptr) {
      calls.push_back(std::move(one));
    } else if (!subsystems.contains(one.subsystem)) {
      e_.err << "pollux: " << one.call.method << " was left out: there is no subsystem "
             << one.subsystem << "\n";
    } else {
      e_.err << "pollux: " << path << ": there is no method " << one.call.method << "\n";
      return kMisused;
    }
  }
  return kDone;
}

ExitCode ConfigCommands::Running(std::vector<rpc::ConfiguredCall>& calls) {
  std::string text;
  if (const ExitCode code = Ask(kGetSubsystems, "", text); code != kDone) return code;
  for (const JsonValue& entry : ParseJson(text).values) {
    const JsonValue* name = entry.Find("subsystem");
    if (name == nullptr) continue;
    std::string config;
    const std::string params = R"({"name":)" + JsonText(name->text) + "}";
    if (const ExitCode code = Ask(kGetConfig, params, config); code != kDone) {
      return code;
    }
    rpc::JsonReader reader(config);
    if (reader.Peek() != rpc::JsonKind::kArray) continue;  // It has none.
    reader.EnterArray();
    while (reader.NextElement()) {
      rpc::SavedCall call{.method = "", .params = "{}"};
      reader.EnterObject();
      for (std::string member; reader.NextMember(member);) {
        const std::string_view value = reader.TakeText();
        if (member == "method") call.method = rpc::UnquoteJson(value);
        if (member == "params") call.params = rpc::CompactJson(value);
      }
      calls.push_back({name->text, std::move(call)});
    }
  }
  return kDone;
}

ExitCode ConfigCommands::Ask(const std::string& method, const std::string& params,
                             std::string& result) {
  Result<Answer> answer = e_.session.Call(method, params);
  if (!answer.ok()) {
    e_.err << "pollux: " << answer.status().message() << "\n";
    return kNoConnection;
  }
  if (!answer->ok) {
    ShowRefusal(e_.err, method, *answer);
    return kRefused;
  }
  result = std::move(answer->result);
  return kDone;
}

ExitCode ConfigCommands::Make(const rpc::SavedCall& call) {
  std::string result;
  const ExitCode code = Ask(call.method, call.params, result);
  if (code != kDone) e_.err << "pollux: stopped at " << call.method << " " << call.params << "\n";
  return code;
}

void ConfigCommands::ShowDifference(const std::string& sign, const rpc::SavedCall& call) {
  e_.out << sign << " " << call.method << " " << call.params << "\n";
}

}  // namespace pollux::cli
