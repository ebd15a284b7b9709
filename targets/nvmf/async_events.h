#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace pollux::nvmf {

class Execution;

// Asynchronous events of a controller: what happened meets the requests that wait for it. Base
// §5.2.
//
// After an event was told, events of its kind are not, until the host has read the log page that
// says what happened: it will find there what came in between.
class AsyncEvents {
 public:
  enum class Kind : uint8_t { kNamespaceAttribute, kAnaChange, kDiscoveryChange };
  static constexpr size_t kKinds = 3;
  static constexpr size_t kRequestsMax = 4;  // AERL is one less.

  ~AsyncEvents();  // Without requests.

  // Bits of the Asynchronous Event Configuration feature: the kinds that the host wants to hear of.
  void Enable(uint32_t bits);
  // Takes an Asynchronous Event Request. It ends at once when there is something to tell, or when
  // too many wait.
  void Request(Execution& execution);
  // A request that waits is to end before its time.
  void Withdraw(Execution& execution);
  void Raise(Kind kind);
  // The host has read this log page, and did not ask to retain the event.
  void OnLogRead(uint8_t log_page);
  // All requests end with `status`.
  void EndRequests(uint16_t status);
  // Forgets what happened, and what the host wanted to hear of: a controller reset.
  void Reset();

  size_t requests() const { return requests_.size(); }

 private:
  struct State {
    bool enabled = false;
    bool raised = false;  // And not told yet.
    bool told = false;    // And its log page not read yet.
  };
  void Tell();

  std::array<State, kKinds> states_{};
  std::vector<Execution*> requests_;  // The oldest first.
};

}  // namespace pollux::nvmf
