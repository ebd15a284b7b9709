#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/status.h"

namespace pollux::pci {

// /sys, /proc and /dev, which tests put below another root. Holds no state: any thread.
class HostFiles {
 public:
  explicit HostFiles(std::string root = "") : root_(std::move(root)) {}
  virtual ~HostFiles() = default;

  std::string Path(std::string_view path) const { return root_ + std::string(path); }

  // Nullopt: it cannot be read.
  std::optional<std::string> ReadBytes(std::string_view path) const;
  // The same without the newline at its end.
  std::optional<std::string> Read(std::string_view path) const;
  // Decimal, or hexadecimal after 0x.
  std::optional<uint64_t> ReadNumber(std::string_view path) const;
  // In one system call, as the kernel's attributes want it.
  virtual Status Write(std::string_view path, std::string_view text) const;
  bool Exists(std::string_view path) const;
  // The names in a folder, sorted; none when it is not there.
  std::vector<std::string> List(std::string_view path) const;
  // What a symbolic link says; empty: there is none.
  std::string ReadLink(std::string_view path) const;
  // The last component of it.
  std::string LinkName(std::string_view path) const;
  // Where a path leads when all links are followed, without the root; empty: nowhere.
  std::string Resolve(std::string_view path) const;

 private:
  std::string root_;
};

}  // namespace pollux::pci
