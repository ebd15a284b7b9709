#include "drivers/nvme/injections.h"

namespace pollux::nvme {
namespace {

bool IsAbout(const pollux_nvme_injection& injection, bool admin, uint8_t opc) {
  return injection.admin == admin && injection.opc == opc;
}

}  // namespace

std::shared_ptr<const Injections> Injections::With(const pollux_nvme_injection& injection) const {
  auto next = std::make_shared<Injections>();
  for (const auto& entry : entries_) {
    if (!IsAbout(entry->injection, injection.admin, injection.opc)) next->entries_.push_back(entry);
  }
  next->entries_.push_back(std::make_shared<Entry>(injection));
  return next;
}

std::shared_ptr<const Injections> Injections::Without(bool admin, uint8_t opc) const {
  auto next = std::make_shared<Injections>();
  for (const auto& entry : entries_) {
    if (!IsAbout(entry->injection, admin, opc)) next->entries_.push_back(entry);
  }
  if (next->entries_.empty()) return nullptr;
  return next;
}

bool Injections::Has(bool admin, uint8_t opc) const {
  for (const auto& entry : entries_) {
    if (IsAbout(entry->injection, admin, opc)) return true;
  }
  return false;
}

const pollux_nvme_injection* Injections::Take(bool admin, uint8_t opc) const {
  for (const auto& entry : entries_) {
    if (!IsAbout(entry->injection, admin, opc)) continue;
    if (entry->injection.count == 0) return &entry->injection;
    uint32_t left = entry->left.load(std::memory_order_relaxed);
    while (left > 0) {
      if (entry->left.compare_exchange_weak(left, left - 1, std::memory_order_relaxed)) {
        return &entry->injection;
      }
    }
    return nullptr;
  }
  return nullptr;
}

}  // namespace pollux::nvme
