#include "targets/iscsi/auth_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "core/log.h"
#include "core/unique_fd.h"
#include "targets/iscsi/auth_groups.h"

namespace pollux::iscsi {
namespace {

constexpr std::string_view kBlanks = " \t\r";
constexpr std::string_view kSection = "AuthGroup";

// The words of a line without its remark; nothing where a quote is not closed, or words touch.
std::optional<std::vector<std::string>> WordsOf(std::string_view line) {
  std::vector<std::string> words;
  for (;;) {
    const size_t begin = line.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos || line[begin] == '#') return words;
    line.remove_prefix(begin);
    size_t end = 0;
    if (line[0] == '"') {
      end = line.find('"', 1);
      if (end == std::string_view::npos) return std::nullopt;
      words.emplace_back(line.substr(1, end - 1));
      ++end;
    } else {
      end = std::min(line.find_first_of(" \t\r\"#"), line.size());
      words.emplace_back(line.substr(0, end));
    }
    line.remove_prefix(end);
    if (!line.empty() && kBlanks.find(line[0]) == std::string_view::npos && line[0] != '#') {
      return std::nullopt;
    }
  }
}

// The tag of "[AuthGroup7]".
std::optional<int32_t> TagOf(std::string_view word) {
  if (word.size() < 2 || word.front() != '[' || word.back() != ']') return std::nullopt;
  word = word.substr(1, word.size() - 2);
  if (word.substr(0, kSection.size()) != kSection) return std::nullopt;
  word.remove_prefix(kSection.size());
  int32_t tag = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), tag);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return tag;
}

class Parser {
 public:
  // What is wrong with the line; it may be a secret, and is not shown.
  Status Add(std::string_view line) {
    const std::optional<std::vector<std::string>> words = WordsOf(line);
    if (!words) return ErrorOfErrno(EINVAL, "a quote is not closed, or words are not apart");
    if (words->empty()) return OkStatus();
    const std::string& first = words->front();
    if (first.starts_with('[')) return Begin(*words);
    if (tags_.empty()) return ErrorOfErrno(EINVAL, "it stands before the first [AuthGroup]");
    if (first == "Comment") return OkStatus();
    if (first != "Auth") return ErrorOfErrno(EINVAL, "it is neither Auth nor Comment");
    if (words->size() != 3 && words->size() != 5) {
      return ErrorOfErrno(EINVAL, "Auth has a user and a secret, and may have a muser and msecret");
    }
    ChapSecret secret{.user = (*words)[1], .secret = (*words)[2], .muser = {}, .msecret = {}};
    if (words->size() == 5) secret.muser = (*words)[3], secret.msecret = (*words)[4];
    return groups_.AddSecret(tags_.back(), std::move(secret));
  }
  std::vector<AuthGroup> groups() const { return groups_.groups(); }

 private:
  Status Begin(const std::vector<std::string>& words) {
    const std::optional<int32_t> tag = words.size() == 1 ? TagOf(words[0]) : std::nullopt;
    if (!tag) return ErrorOfErrno(EINVAL, "a section is [AuthGroup] with its number");
    RETURN_IF_ERROR(groups_.Create({.tag = *tag, .secrets = {}}));
    tags_.push_back(*tag);
    return OkStatus();
  }

  AuthGroups groups_;
  std::vector<int32_t> tags_;
};

Status Unreadable(const std::string& path, int error_number) {
  return ErrorOfField(error_number, "auth_file", Printable(path), "cannot be read");
}

}  // namespace

Result<std::vector<AuthGroup>> ParseAuthFile(std::string_view text) {
  Parser parser;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const Status good = parser.Add(text.substr(0, end));
    if (!good.ok()) return InvalidArgument("line %d: %s", number, good.message());
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parser.groups();
}

Result<std::vector<AuthGroup>> ReadAuthFile(const std::string& path) {
  // A FIFO would not answer, and must not hold up the loop.
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) return Unreadable(path, errno);
  struct stat facts {};
  if (fstat(file.get(), &facts) != 0) return Unreadable(path, errno);
  if (!S_ISREG(facts.st_mode)) {
    return InvalidField("auth_file", Printable(path), "must be a regular file");
  }
  std::string text(kAuthFileBytesMax + 1, '\0');
  size_t bytes = 0;
  while (bytes < text.size()) {
    const ssize_t got = read(file.get(), text.data() + bytes, text.size() - bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Unreadable(path, errno);
    if (got == 0) break;
    bytes += static_cast<size_t>(got);
  }
  if (bytes > kAuthFileBytesMax) {
    return InvalidField("auth_file", Printable(path), "must have at most %d bytes",
                        kAuthFileBytesMax);
  }
  text.resize(bytes);
  Result<std::vector<AuthGroup>> groups = ParseAuthFile(text);
  if (!groups.ok()) {
    const std::string why(groups.status().message());
    return ErrorOfField(EINVAL, "auth_file", Printable(path), why);
  }
  if ((facts.st_mode & (S_IRGRP | S_IROTH)) != 0) {
    LogWarning("iscsi", "others may read the secrets of auth_file '%s'", Printable(path));
  }
  return groups;
}

}  // namespace pollux::iscsi
