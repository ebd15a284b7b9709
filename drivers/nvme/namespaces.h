#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/status.h"
#include "core/task.h"
#include "drivers/nvme/admin.h"
#include "drivers/nvme/identify.h"
#include "drivers/nvme/namespace.h"
#include "drivers/nvme/nvme.h"
#include "drivers/nvme/quirks.h"

namespace pollux::nvme {

// The active namespaces of a controller. Control thread.
class Namespaces {
 public:
  // Called for each that came, went, or changed its size.
  using OnChange = std::function<void(pollux_nvme_event_type type, uint32_t nsid)>;
  using Warn = std::function<void(const std::string& text)>;
  Namespaces(AdminQueue& admin, OnChange on_change, Warn warn)
      : admin_(admin), on_change_(std::move(on_change)), warn_(std::move(warn)) {}

  // Reads what is active, and every namespace of it again. One that the device describes as
  // impossible is left out with a warning, and so is one of an unknown command set. An error when a
  // list cannot be read; then nothing has changed.
  Task<Status> Scan(const ControllerFacts& facts, Quirks quirks, bool io_command_sets);

  pollux_nvme_namespace* Find(uint32_t nsid) const;
  pollux_nvme_namespace* Next(uint32_t nsid) const;
  size_t count() const { return active_.size(); }

 private:
  // Handles stay valid until release, so a device whose namespaces come and go without end is
  // stopped somewhere.
  static constexpr size_t kRetiredMax = 4096;

  Task<Result<std::vector<uint32_t>>> ReadActive(const ControllerFacts& facts, Quirks quirks);
  Task<Status> Identify(uint8_t cns, uint32_t nsid, uint8_t csi);  // Into data_.
  Task<Result<NamespaceIds>> ReadIds(uint32_t nsid, bool required);
  Task<Result<std::optional<Namespace::Facts>>> Describe(uint32_t nsid,
                                                         const ControllerFacts& facts,
                                                         Quirks quirks, bool io_command_sets);
  Task<bool> HasKnownGuard(uint32_t nsid, const IdentifyNamespace& identify,
                           const ControllerFacts& facts);
  void Merge(const std::map<uint32_t, Namespace::Facts>& found);
  void Add(uint32_t nsid, const Namespace::Facts& facts);
  void Retire(uint32_t nsid);
  std::span<const std::byte, kIdentifyBytes> data() const {
    return std::span<const std::byte, kIdentifyBytes>(data_.get(), kIdentifyBytes);
  }

  AdminQueue& admin_;
  const OnChange on_change_;
  const Warn warn_;
  Piece data_;  // Of the identify command that is under way.
  std::map<uint32_t, std::unique_ptr<pollux_nvme_namespace>> active_;
  std::vector<std::unique_ptr<pollux_nvme_namespace>> retired_;
};

}  // namespace pollux::nvme
