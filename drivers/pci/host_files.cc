#include "drivers/pci/host_files.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <memory>

#include "core/unique_fd.h"

namespace pollux::pci {
namespace {

constexpr size_t kFileBytesMax = 8 << 20;  // A table of mounts has a line of 100 bytes for each.

}  // namespace

std::optional<std::string> HostFiles::ReadBytes(std::string_view path) const {
  const UniqueFd fd(open(Path(path).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return std::nullopt;
  std::string text;
  std::array<char, 4096> piece;
  while (text.size() < kFileBytesMax) {
    const ssize_t count = read(fd.get(), piece.data(), piece.size());
    if (count < 0) return std::nullopt;
    if (count == 0) break;
    text.append(piece.data(), static_cast<size_t>(count));
  }
  return text;
}

std::optional<std::string> HostFiles::Read(std::string_view path) const {
  std::optional<std::string> text = ReadBytes(path);
  if (text && !text->empty() && text->back() == '\n') text->pop_back();
  return text;
}

std::optional<uint64_t> HostFiles::ReadNumber(std::string_view path) const {
  const std::optional<std::string> text = Read(path);
  if (!text) return std::nullopt;
  std::string_view digits = *text;
  const bool hex = digits.substr(0, 2) == "0x";
  if (hex) digits.remove_prefix(2);
  uint64_t number = 0;
  const auto [stop, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), number, hex ? 16 : 10);
  if (error != std::errc() || stop != digits.data() + digits.size()) return std::nullopt;
  return number;
}

Status HostFiles::Write(std::string_view path, std::string_view text) const {
  const UniqueFd fd(open(Path(path).c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid() || write(fd.get(), text.data(), text.size()) < 0) {
    const int error_number = errno;
    return ErrorOfErrno(error_number,
                        absl::StrFormat("cannot write %s: %s%s", path, strerror(error_number),
                                        error_number == EACCES ? " (needs root)" : ""));
  }
  return OkStatus();
}

bool HostFiles::Exists(std::string_view path) const {
  return access(Path(path).c_str(), F_OK) == 0;
}

std::vector<std::string> HostFiles::List(std::string_view path) const {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entry(Path(path), error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string HostFiles::ReadLink(std::string_view path) const {
  std::error_code error;
  return std::filesystem::read_symlink(Path(path), error).string();
}

std::string HostFiles::LinkName(std::string_view path) const {
  return std::filesystem::path(ReadLink(path)).filename().string();
}

std::string HostFiles::Resolve(std::string_view path) const {
  const std::unique_ptr<char, decltype(&free)> real(realpath(Path(path).c_str(), nullptr), free);
  const std::unique_ptr<char, decltype(&free)> top(
      realpath(root_.empty() ? "/" : root_.c_str(), nullptr), free);
  if (!real || !top) return "";
  const std::string_view target = real.get();
  const std::string_view root = strcmp(top.get(), "/") == 0 ? "" : top.get();
  return target.substr(0, root.size()) == root ? std::string(target.substr(root.size())) : "";
}

}  // namespace pollux::pci
