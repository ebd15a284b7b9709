#include "cli/help.h"

#include <algorithm>

#include "absl/strings/str_split.h"
#include "cli/options.h"
#include "cli/value.h"
#include "core/default_paths.h"
#include "rpc/json_codec.h"

namespace pollux::cli {
namespace {

constexpr size_t kLine = 96;
constexpr size_t kNestingMax = 4;

std::string ToUpper(std::string text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return text;
}

std::string WithDashes(std::string text) {
  std::replace(text.begin(), text.end(), '_', '-');
  return text;
}

// Paragraphs are filled to kLine, each line after `indent` blanks.
void AppendWrapped(std::string& out, const std::string& text, size_t indent) {
  for (const absl::string_view paragraph : absl::StrSplit(text, "\n\n")) {
    size_t column = 0;
    for (const absl::string_view word :
         absl::StrSplit(paragraph, absl::ByAnyChar(" \n"), absl::SkipEmpty())) {
      if (column > 0 && column + 1 + word.size() > kLine) {
        out.push_back('\n');
        column = 0;
      }
      out.append(column == 0 ? indent : 1, ' ').append(word.data(), word.size());
      column += column == 0 ? indent + word.size() : 1 + word.size();
    }
    out.push_back('\n');
  }
}

// The comment's paragraphs, apart, those that are examples as they are written.
std::string Description(const std::string& comment) {
  std::string out;
  for (const absl::string_view paragraph : absl::StrSplit(comment, "\n\n")) {
    if (!out.empty()) out.push_back('\n');
    AppendWrapped(out, std::string(paragraph), 0);
  }
  return out;
}

// What is known of a field beside its comment: "bytes; 1..256; default 64".
std::string FactsOf(const FieldDescriptor& field) {
  const auto& options = field.options();
  std::vector<std::string> facts;
  if (const std::string& unit = options.GetExtension(v1::unit); !unit.empty()) {
    facts.push_back(unit);
  }
  if (const std::string& range = options.GetExtension(v1::range); !range.empty()) {
    facts.push_back(range);
  }
  if (options.HasExtension(v1::default_)) {
    facts.push_back("default " + options.GetExtension(v1::default_));
  }
  std::string out;
  for (const std::string& fact : facts) out += (out.empty() ? "" : "; ") + fact;
  return out.empty() ? out : " (" + out + ")";
}

const char* KindOf(const FieldDescriptor& field) {
  if (field.options().GetExtension(v1::raw_json)) return "any JSON";
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_STRING:
    case FieldDescriptor::CPPTYPE_ENUM:
      return "text";
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return "object";
    default:
      return "number";
  }
}

// Fields, each with its comment, and below an object its own.
class FieldList {
 public:
  explicit FieldList(const rpc::Comments& comments) : comments_(comments) {}

  void AddArgument(const std::string& title, const FieldDescriptor& field) {
    Add(title, field, 2);
    AddFieldsBelow(field, 6, 1);
  }

  void AddResult(const FieldDescriptor& field, size_t indent = 2, size_t nesting = 0) {
    const std::string kind = field.is_map()        ? "object"
                             : field.is_repeated() ? absl::StrFormat("list of %s", KindOf(field))
                                                   : KindOf(field);
    Add(absl::StrFormat("%s: %s", rpc::JsonKey(field), kind), field, indent);
    AddFieldsBelow(field, indent + 4, nesting + 1);
  }

  const std::string& text() const { return text_; }

 private:
  void Add(const std::string& title, const FieldDescriptor& field, size_t indent) {
    text_.append(indent, ' ').append(title).push_back('\n');
    AppendWrapped(text_, comments_.Of(field) + FactsOf(field), indent + 6);
  }
  void AddFieldsBelow(const FieldDescriptor& field, size_t indent, size_t nesting) {
    const bool is_object = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !field.is_map();
    if (!is_object || nesting > kNestingMax) return;
    const Descriptor& type = *field.message_type();
    for (int i = 0; i < type.field_count(); ++i) AddResult(*type.field(i), indent, nesting);
  }

  const rpc::Comments& comments_;
  std::string text_;
};

}  // namespace

std::string UsageOf(const Command& command) {
  std::string usage = "pollux " + command.name;
  for (const FieldDescriptor* field : command.positional) {
    const std::string name = ToUpper(rpc::JsonKey(*field));
    usage += IsRequired(*field) ? " " + name : " [" + name + "]";
  }
  const size_t flags =
      static_cast<size_t>(command.request().field_count()) - command.positional.size();
  if (flags > 0) usage += " [FLAG]...";
  return usage;
}

std::string HelpOn(const Command& command, const rpc::Comments& comments) {
  FieldList arguments(comments), flags(comments), result(comments);
  const auto& positional = command.positional;
  for (const FieldDescriptor* field : positional) {
    const std::string name = ToUpper(rpc::JsonKey(*field));
    arguments.AddArgument(absl::StrFormat("%s  %s", name, FormOf(*field)), *field);
  }
  for (int i = 0; i < command.request().field_count(); ++i) {
    const FieldDescriptor* field = command.request().field(i);
    if (std::find(positional.begin(), positional.end(), field) != positional.end()) continue;
    const std::string name = WithDashes(rpc::JsonKey(*field));
    flags.AddArgument(absl::StrFormat("--%s %s", name, FormOf(*field)), *field);
  }
  if (command.bare != nullptr) {
    result.AddResult(*command.bare);
  } else {
    const Descriptor& response = command.response();
    for (int i = 0; i < response.field_count(); ++i) result.AddResult(*response.field(i));
  }

  std::string out = absl::StrFormat("Usage: %s\n\n%s", UsageOf(command),
                                    Description(comments.Of(*command.method)));
  if (!arguments.text().empty()) out += "\nArguments:\n" + arguments.text();
  if (!flags.text().empty()) out += "\nFlags:\n" + flags.text();
  out += command.bare != nullptr ? "\nResult:\n" : "\nResult, an object:\n";
  return out + result.text();
}

std::string HelpOnAll(const Catalog& catalog, const rpc::Comments& comments) {
  std::string out = absl::StrFormat(
      "Usage: pollux [OPTION]... METHOD [ARGUMENT]...\n"
      "       pollux METHOD --help\n"
      "       pollux - < CALLS\n"
      "       pollux save|load [FILE], pollux diff|apply FILE\n"
      "       pollux watch\n"
      "       pollux completion bash|zsh\n"
      "       pollux state check|backup|restore\n"
      "       pollux pci --help\n"
      "\n"
      "Asks a running polluxd. Required arguments stand in order, all others are flags. \"-\" "
      "reads\n"
      "calls from standard input, one a line, and stops at the first that fails. \"pci\" asks no "
      "polluxd:\n"
      "it shows and changes which driver has the PCI functions of this machine.\n"
      "\n"
      "Whole configurations, in the format of SPDK's save_config (FILE may be -):\n"
      "  save           write the one that runs\n"
      "  load           make all calls of FILE, until one fails\n"
      "  diff           + what FILE has more, - what runs more, ~ what has other parameters; exit "
      "code 1\n"
      "                 when there is anything\n"
      "  apply          make what is missing, say what has other parameters (exit code 1), remove "
      "nothing\n"
      "\n"
      "watch prints what is made, changed and removed as it happens. completion prints what a "
      "shell "
      "must know\n"
      "to complete methods, flags and the names of objects.\n"
      "\n"
      "Options:\n"
      "  -s SOCKET      a Unix socket or ADDR:PORT (default: %s)\n"
      "  -t SECONDS     how long to wait for an answer (default: 60)\n"
      "  --every SECS   make the call again and again\n"
      "  --json         print the result as JSON, as it came\n"
      "  --help, -h     this, or all about METHOD\n"
      "\n"
      "Values:\n"
      "  Numbers may end in K, M, G or T, powers of 1024. Lists are separated by commas, or the "
      "flag\n"
      "  is repeated. An object of two values is A:B; any list or object may be JSON. A flag that "
      "is\n"
      "  true or false may stand alone, as --flag or --no-flag.\n"
      "\n"
      "Exit code: 0 done, 1 refused by the server, 2 misused, 3 no connection or no answer.\n",
      DefaultRpcSocket());
  size_t width = 0;
  for (const Group& group : catalog.groups()) {
    for (const Command& command : group.commands) width = std::max(width, command.name.size());
  }
  for (const Group& group : catalog.groups()) {
    out += "\n" + rpc::FirstSentence(comments.Of(*group.service)) + "\n";
    for (const Command& command : group.commands) {
      std::string summary = rpc::FirstSentence(comments.Of(*command.method));
      if (summary.ends_with('.')) summary.pop_back();
      out +=
          "  " + command.name + std::string(width - command.name.size() + 2, ' ') + summary + "\n";
    }
  }
  return out;
}

}  // namespace pollux::cli
