#include "cli/completion.h"

#include <algorithm>
#include <set>

#include "cli/json_value.h"
#include "cli/method_names.h"
#include "rpc/json_codec.h"

namespace pollux::cli {
namespace {

constexpr char kBash[] = R"(# pollux completion bash > /etc/bash_completion.d/pollux
_pollux() {
  local IFS=$'\n'
  COMPREPLY=($(pollux complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _pollux pollux
)";

constexpr char kZsh[] = R"(#compdef pollux
# pollux completion zsh > "${fpath[1]}/_pollux"
_pollux() {
  local -a found
  found=("${(@f)$(pollux complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  (( $#found )) && compadd -a found
}
compdef _pollux pollux
)";

std::string FlagOf(const FieldDescriptor& field) {
  std::string flag = "--" + rpc::JsonKey(field);
  std::replace(flag.begin(), flag.end(), '_', '-');
  std::replace(flag.begin(), flag.end(), ' ', '-');
  return flag;
}

// The names of all objects of a kind: of block devices whatever there is, of others what is
// configured.
std::set<std::string> NamesOf(const Catalog& catalog, const std::string& kind, Session& session) {
  std::set<std::string> names;
  const auto ask = [&session](const std::string& method, const std::string& params) {
    const Result<Answer> answer = session.Call(method, params);
    return answer.ok() && answer->ok ? ParseJson(answer->result) : JsonValue();
  };
  if (kind == "bdev") {
    for (const JsonValue& device : ask(kGetDevices, "").values) {
      if (const JsonValue* name = device.Find("name")) names.insert(name->text);
    }
    return names;
  }
  for (const JsonValue& subsystem : ask(kGetSubsystems, "").values) {
    const JsonValue* name = subsystem.Find("subsystem");
    if (name == nullptr) continue;
    for (const JsonValue& call : ask(kGetConfig, R"({"name":")" + name->text + R"("})").values) {
      const JsonValue* method = call.Find("method");
      const JsonValue* params = call.Find("params");
      const Command* command = method == nullptr ? nullptr : catalog.Find(method->text);
      if (command == nullptr || params == nullptr) continue;
      if (command->method->options().GetExtension(v1::rpc).makes() != kind) continue;
      for (int i = 0; i < command->request().field_count(); ++i) {
        const FieldDescriptor& field = *command->request().field(i);
        if (field.options().GetExtension(v1::object) != kind) continue;
        if (const JsonValue* value = params->Find(rpc::JsonKey(field))) names.insert(value->text);
      }
    }
  }
  return names;
}

std::set<std::string> ValuesOf(const Catalog& catalog, const FieldDescriptor& field,
                               Session& session) {
  if (const std::string& kind = field.options().GetExtension(v1::object); !kind.empty()) {
    return NamesOf(catalog, kind, session);
  }
  std::set<std::string> values;
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
    const auto& type = *field.enum_type();
    for (int i = 0; i < type.value_count(); ++i) {
      const std::string& word = type.value(i)->options().GetExtension(v1::json_value);
      if (!word.empty()) values.insert(word);
    }
  } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_BOOL) {
    values = {"false", "true"};
  }
  return values;
}

std::set<std::string> FirstWords(const Catalog& catalog) {
  std::set<std::string> words = {"--every", "--help",     "--json", "-s",   "-t",
                                 "apply",   "completion", "diff",   "load", "pci",
                                 "save",    "state",      "watch"};
  for (const Group& group : catalog.groups()) {
    for (const Command& command : group.commands) words.insert(command.name);
  }
  return words;
}

// What may stand where the last word is, after the method.
std::set<std::string> ArgumentWords(const Catalog& catalog, const Command& command,
                                    const Words& arguments, Session& session) {
  const std::string& last = arguments.back();
  if (last.starts_with('-')) {
    std::set<std::string> flags = {"--help", "--json"};
    for (int i = 0; i < command.request().field_count(); ++i) {
      flags.insert(FlagOf(*command.request().field(i)));
    }
    return flags;
  }
  size_t free_words = 0;
  for (size_t i = 0; i + 1 < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (!word.starts_with("--")) {
      ++free_words;
      continue;
    }
    const FieldDescriptor* field = command.FindField(word.substr(2));
    if (field == nullptr || field->cpp_type() == FieldDescriptor::CPPTYPE_BOOL) continue;
    if (i + 2 == arguments.size()) return ValuesOf(catalog, *field, session);
    ++i;  // The flag's value.
  }
  if (free_words >= command.positional.size()) return {};
  return ValuesOf(catalog, *command.positional[free_words], session);
}

}  // namespace

std::vector<std::string> Complete(const Catalog& catalog, const Words& words, Session& session) {
  const Words given = words.empty() ? Words{""} : words;
  // Options of the command line stand first; those with a value have one.
  size_t at = 0;
  while (at + 1 < given.size() && given[at].starts_with('-')) {
    const bool has_value = given[at] == "-s" || given[at] == "-t" || given[at] == "--every";
    at += has_value ? 2u : 1u;
  }
  std::set<std::string> all;
  if (at + 1 == given.size()) {
    all = FirstWords(catalog);
  } else if (at < given.size() && given[at] == "completion") {
    all = {"bash", "zsh"};
  } else if (at < given.size()) {
    const Command* command = catalog.Find(given[at]);
    const Words rest(given.begin() + static_cast<ptrdiff_t>(at) + 1, given.end());
    if (command != nullptr) all = ArgumentWords(catalog, *command, rest, session);
  }
  std::vector<std::string> found;
  for (const std::string& word : all) {
    if (word.starts_with(given.back())) found.push_back(word);
  }
  return found;
}

std::string CompletionScript(const std::string& shell) {
  if (shell == "bash") return kBash;
  return shell == "zsh" ? kZsh : "";
}

}  // namespace pollux::cli
