#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/task.h"
#include "targets/nvmf/async_events.h"
#include "targets/nvmf/changed_namespaces.h"
#include "targets/nvmf/controller_identity.h"
#include "targets/nvmf/execution.h"
#include "targets/nvmf/features.h"
#include "targets/nvmf/keep_alive.h"
#include "targets/nvmf/properties.h"
#include "targets/nvmf/subsystem_view.h"

namespace pollux::nvmf {

// A dynamic controller (Base §3.1.2): registers as properties, admin commands, features, log pages,
// asynchronous events, keep alive. It belongs to its admin queue and lives on that queue's reactor;
// its I/O queues know only who it is. A discovery controller is one without I/O queues.
//
// Whatever waits for the control loop does so for a command, which stays in flight meanwhile; and
// the queue keeps its controller while it has commands.
class Controller final : private KeepAlive::Owner {
 public:
  // Aborts that may wait for the control loop at a time; ACL is one less.
  static constexpr uint32_t kAbortsMax = 4;

  // `kato_ms`: as Connect asked, 0 for none (a discovery controller then ends by its own timer).
  Controller(Queue& admin_queue, SubsystemView& view,
             std::shared_ptr<const ControllerIdentity> identity, uint32_t kato_ms);
  ~Controller();

  // Any command of the admin queue but Connect. It ends through the Execution of the command.
  void Start(Execution& execution);
  // From the subsystem: what hosts are told that have asked for it.
  void OnEvent(SubsystemEvent event, uint32_t subject);
  // The admin queue closes: what is held (asynchronous event requests) ends.
  void Close();

  // CC.EN is set and CSTS.RDY says so: I/O queues may be made. Base §3.5
  bool ready() const { return properties_.ready(); }
  // What Set Features, Number of Queues, granted. I/O queues have ids 1 to this.
  uint16_t io_queues_max() const { return features_.io_queues; }

 private:
  static Controller& Of(Execution& execution);

  // --- fabrics.cc: what works while the controller is disabled, too.
  void StartFabrics(Execution& execution);
  void PropertyGet(Execution& execution);
  void PropertySet(Execution& execution);
  Task<void> DoWork(Execution* execution, Properties::Work work);
  void Reset();

  // --- controller.cc
  void StartDiscovery(Execution& execution);
  void StartAbort(Execution& execution);
  Task<void> Abort(Execution* execution, uint16_t sqid, uint16_t cid);
  // Grants what a host asks for; a discovery controller without a timeout has one of its own.
  void SetKeepAlive(uint32_t asked_ms);
  void OnSilence(uint64_t silent_ns) override;
  bool discovery() const { return identity_->discovery; }
  // Null when there is none, as far as this host may know.
  const NamespaceView* FindVisible(uint32_t nsid) const;
  // Whether commands for namespaces of this ANA group come through.
  bool IsReachable(uint32_t anagrpid) const;
  // One that a namespace of this subsystem could have.
  bool IsValidNsid(uint32_t nsid) const {
    return nsid >= 1 && nsid <= view_.facts().namespaces_max;
  }
  // Answers `data`, all of which the host must take.
  void EndWithWhole(Execution& execution, std::string data);

  // --- identify.cc and identify_*.cc
  void Identify(Execution& execution);
  void IdentifyNamespaceOf(Execution& execution);
  std::string IdentifyController() const;
  std::string IdentifyNamespace(const NamespaceView& ns) const;
  std::string IdentifyIndependent(const NamespaceView& ns) const;
  std::string NamespaceDescriptors(const NamespaceView& ns) const;
  std::string IdentifyNvmController() const;
  std::string ActiveNamespaces(uint32_t after) const;
  void IdentifyControllers(Execution& execution);
  Task<void> EndWithControllers(Execution* execution, uint32_t nsid);

  // --- features.cc
  void GetFeatures(Execution& execution);
  void SetFeatures(Execution& execution);
  uint16_t SetValue(uint8_t fid, uint32_t value);
  void SetHostBehavior(Execution& execution);
  void StartNumberOfQueues(Execution& execution);
  Task<void> SetNumberOfQueues(Execution* execution, uint16_t count);
  void StartWriteProtection(Execution& execution);
  Task<void> SetWriteProtection(Execution* execution, uint32_t nsid, nvme::WriteProtection state);
  uint32_t EventBitsSupported() const;
  std::string FeatureEffects() const;

  // --- log_pages.cc
  void GetLogPage(Execution& execution);
  bool HasLogPage(uint8_t lid) const;
  std::string SupportedLogPages() const;
  std::string AnaPage(bool groups_only) const;
  void EndWithLog(Execution& execution, const std::string& page);
  Task<void> EndWithHealth(Execution* execution);
  Task<void> EndWithDiscovery(Execution* execution);

  Queue& queue_;
  SubsystemView& view_;
  const std::shared_ptr<const ControllerIdentity> identity_;
  Properties properties_;
  Features features_;
  AsyncEvents events_;
  ChangedNamespaces changed_namespaces_;
  std::vector<bool> visible_;  // By nsid: what the host saw when it was last told.
  KeepAlive keep_alive_;
  uint32_t aborts_ = 0;
};

}  // namespace pollux::nvmf
