#pragma once
#include <cstdint>
#include <memory>

#include "targets/nvmf/controller_identity.h"
#include "targets/nvmf/execution.h"
#include "targets/nvmf/subsystem_view.h"

namespace pollux::nvmf {

// A dynamic controller (Base §3.1.2): registers as properties, admin commands, features, log pages,
// asynchronous events, keep alive. It belongs to its admin queue and lives on that queue's reactor;
// its I/O queues know only who it is. A discovery controller is one without I/O queues.
class Controller {
 public:
  // `kato_ms`: as Connect asked, 0 for none (a discovery controller then ends by its own timer).
  Controller(Queue& admin_queue, SubsystemView& view, const ListenerView& listener,
             std::shared_ptr<const ControllerIdentity> identity, uint32_t kato_ms);
  ~Controller();

  // Any command of the admin queue but Connect. It ends through the Execution of the command.
  void Start(Execution& execution);
  // From the subsystem: what hosts are told that have asked for it.
  void OnEvent(SubsystemEvent event, uint32_t nsid);
  // The admin queue closes: what is held (asynchronous event requests) ends.
  void Close();

  // CC.EN is set and CSTS.RDY says so: I/O queues may be made. Base §3.5
  bool ready() const;
  // What Set Features, Number of Queues, granted. I/O queues have ids 1 to this.
  uint16_t io_queues_max() const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace pollux::nvmf
