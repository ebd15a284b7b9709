#include "cli/arguments.h"

#include <map>

#include "cli/likeness.h"
#include "cli/value.h"
#include "rpc/json_codec.h"
#include "rpc/json_writer.h"

namespace pollux::cli {
namespace {

bool IsFlag(const std::string& word) {
  return word.size() > 1 && word[0] == '-' && (word[1] < '0' || word[1] > '9');
}

std::string FlagOf(const FieldDescriptor& field) {
  std::string flag = "--" + rpc::JsonKey(field);
  for (char& c : flag) {
    if (c == '_' || c == ' ') c = '-';
  }
  return flag;
}

bool IsBool(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_BOOL && !field.is_repeated();
}

// Gathers the words of each field.
class ArgumentParser {
 public:
  ArgumentParser(const Command& command, const Words& words, Options& options)
      : command_(command), words_(words), options_(options) {}

  Status Parse() {
    for (; at_ < words_.size(); ++at_) {
      const std::string& word = words_[at_];
      if (flags_ended_ || !IsFlag(word)) {
        free_.push_back(word);
      } else if (word == "--") {
        flags_ended_ = true;
      } else {
        ASSIGN_OR_RETURN(const bool taken, TakeOption(words_, at_, options_));
        if (!taken) RETURN_IF_ERROR(TakeFlag(word));
      }
    }
    return OkStatus();
  }

  Status PlaceFreeWords() {
    size_t next = 0;
    for (const FieldDescriptor* field : command_.positional) {
      if (given_.contains(field)) continue;
      if (next < free_.size()) {
        given_[field].push_back(free_[next++]);
      } else if (IsRequired(*field)) {
        return InvalidArgument("%s is missing", rpc::JsonKey(*field));
      }
    }
    if (next < free_.size()) return InvalidArgument("there is no argument for '%s'", free_[next]);
    return OkStatus();
  }

  Result<std::string> Params() const {
    if (given_.empty()) return std::string();
    std::string params = "{";
    for (int i = 0; i < command_.request().field_count(); ++i) {
      const FieldDescriptor* field = command_.request().field(i);
      const auto words = given_.find(field);
      if (words == given_.end()) continue;
      if (params.size() > 1) params.push_back(',');
      rpc::AppendJsonString(params, rpc::JsonKey(*field));
      params.push_back(':');
      RETURN_IF_ERROR(AppendValue(params, *field, words->second));
    }
    params.push_back('}');
    return params;
  }

 private:
  Status TakeFlag(const std::string& word) {
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const FieldDescriptor* field =
        name.starts_with("--") ? command_.FindField(name.substr(2)) : nullptr;
    if (field == nullptr) return TakeNegation(word);
    if (equals != std::string::npos) {
      given_[field].push_back(word.substr(equals + 1));
      return OkStatus();
    }
    const bool more = at_ + 1 < words_.size();
    if (IsBool(*field)) {
      // Only these words: the next one may as well be a positional argument, such as 1.
      const bool has_value = more && (words_[at_ + 1] == "true" || words_[at_ + 1] == "false");
      given_[field].push_back(has_value ? words_[++at_] : "true");
      return OkStatus();
    }
    if (!more) return InvalidArgument("%s needs a value", word);
    given_[field].push_back(words_[++at_]);
    return OkStatus();
  }

  Status TakeNegation(const std::string& word) {
    const FieldDescriptor* field =
        word.starts_with("--no-") ? command_.FindField(word.substr(5)) : nullptr;
    if (field == nullptr || !IsBool(*field)) {
      std::string flags, near;
      for (int i = 0; i < command_.request().field_count(); ++i) {
        const std::string flag = FlagOf(*command_.request().field(i));
        flags += (flags.empty() ? "" : ", ") + flag;
        if (near.empty() && IsLike(word.substr(0, word.find('=')), flag)) near = flag;
      }
      if (!near.empty())
        return InvalidArgument("there is no flag %s; did you mean %s?", word, near);
      return InvalidArgument("there is no flag %s; there is %s", word,
                             flags.empty() ? "none" : flags);
    }
    given_[field].push_back("false");
    return OkStatus();
  }

  const Command& command_;
  const Words& words_;
  Options& options_;
  size_t at_ = 0;
  bool flags_ended_ = false;
  Words free_;  // Words that are neither flags nor their values.
  std::map<const FieldDescriptor*, Words> given_;
};

}  // namespace

Result<std::string> ParseArguments(const Command& command, const Words& words, Options& options) {
  ArgumentParser parser(command, words, options);
  RETURN_IF_ERROR(parser.Parse());
  if (options.help) return std::string();
  RETURN_IF_ERROR(parser.PlaceFreeWords());
  return parser.Params();
}

Result<Words> SplitWords(const std::string& line) {
  Words words;
  std::string word;
  bool in_word = false;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == '\'' || c == '"') {
      in_word = true;
      for (++i;; ++i) {
        if (i == line.size()) return InvalidArgument("a %c is not closed", c);
        if (line[i] == c) break;
        if (c == '"' && line[i] == '\\' && i + 1 < line.size()) ++i;
        word.push_back(line[i]);
      }
    } else if (c == ' ' || c == '\t' || c == '\r') {
      if (in_word) words.push_back(std::move(word));
      word.clear();
      in_word = false;
    } else if (c == '#' && !in_word) {
      break;
    } else {
      in_word = true;
      if (c == '\\' && i + 1 < line.size()) ++i;
      word.push_back(line[i]);
    }
  }
  if (in_word) words.push_back(std::move(word));
  return words;
}

}  // namespace pollux::cli
