#pragma once
#include <string>

namespace pollux {

// Told by targets of the hosts that come and go; not of those that only discover. Control loop
// only.
class HostObserver {
 public:
  // `kind` is a literal, of what the host has made: "iscsi_session", "nvmf_controller".
  virtual void OnHostConnected(const char* kind, const std::string& host,
                               const std::string& target) = 0;
  virtual void OnHostDisconnected(const char* kind, const std::string& host,
                                  const std::string& target) = 0;

 protected:
  ~HostObserver() = default;
};

}  // namespace pollux
