#pragma once
#include <string>

#include "core/intrusive_list.h"
#include "targets/iscsi/iscsi_spec.h"
#include "targets/iscsi/outgoing_pdu.h"
#include "targets/iscsi/task.h"

namespace pollux::iscsi {

class Connection;

// A request that is no SCSI command (NOP-Out, task management, text, logout), or one that is
// rejected, and its response. A connection has a few; while all are in use it reads no more.
class ControlTask final : public Numbered, public OutgoingPdu {
 public:
  Connection* connection = nullptr;
  BasicHeader request{};
  std::string data;  // Of the request.
  // Task management: it concerns tasks that came before this one. See Session::Manage.
  uint64_t serial = 0;
  std::string text;  // Data segment of the response.

  void OnItsTurn() override;

 private:
  friend class Connection;
  void OnSent(bool ok) override;

  ListNode node_;  // Of the free ones.
  bool in_use_ = false;
  bool held_ = false;  // Waits for its turn.
};

// What the target sends of its own accord: a ping, an event. One of a kind at a time.
class Notice final : public OutgoingPdu {
 private:
  void OnSent(bool) override {}
};

}  // namespace pollux::iscsi
