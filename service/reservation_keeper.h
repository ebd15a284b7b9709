#pragma once
#include <string>
#include <utility>

#include "service/configuration.h"
#include "targets/scsi/reservation_store.h"

namespace pollux::service {

// Persistent reservations of iSCSI targets, among the states that the configuration's store keeps.
class ReservationKeeper final : public scsi::ReservationStore {
 public:
  explicit ReservationKeeper(Configuration& configuration) : configuration_(configuration) {}

  Task<Status> Keep(std::string name, std::string text) override {
    return configuration_.KeepState("scsi/" + name, std::move(text));
  }
  std::string Kept(const std::string& name) const override {
    return configuration_.StateOf("scsi/" + name);
  }

 private:
  Configuration& configuration_;
};

}  // namespace pollux::service
