#pragma once
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/intrusive_list.h"
#include "core/spec/nvme_spec.h"

namespace pollux::nvmf {

class Queue;

// One command of a host, from its submission queue entry to its completion. A transport derives its
// request from it and fills in the first part; the controller executes it through the upcalls. All
// of it happens on the queue's reactor, and nothing is allocated.
//
//   Queue::Start --> [OnDataWanted --> DataArrived]...    data from the host, burst by burst
//                --> [OnDataReady  --> DataSent]...       data for the host
//                --> OnCompletion, or the DataSent after the last data
//
// Upcalls may run from within Start and the downcalls, except that OnCompletion never runs from
// within Abandon. After OnCompletion, and after the DataSent that follows `last`, the command is
// the transport's again and may be started anew.
class Command {
 public:
  Command();
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;

  // --- The transport's part.
  nvme::SubmissionEntry entry;
  // What the host offers or expects, as SGL1 (or the PRPs) describe it; 0: nothing.
  uint32_t data_bytes = 0;

  // --- Upcalls.
  // Bytes [offset, offset + length of parts) of the host's data shall land in `parts`, which stay
  // until DataArrived() or DataDropped().
  virtual void OnDataWanted(uint32_t offset, std::span<const iovec> parts) = 0;
  // Bytes from `offset` on for the host. DataSent() follows when the memory is not needed any more,
  // never from within. With `last`, `completion` goes out behind the data (or with it, where the
  // transport can say success so): the command has succeeded. It is there for the call only.
  virtual void OnDataReady(uint32_t offset, std::span<const iovec> parts,
                           const nvme::CompletionEntry* last) = 0;
  // It has ended: sqhd and cid are filled in, and the phase tag is 0. No data is on its way.
  virtual void OnCompletion(const nvme::CompletionEntry& completion) = 0;
  // The controller would have the parts back before their time (the namespace goes, an abort):
  // answer with DataDropped() as soon as nothing more lands in them. What is being sent is sent.
  virtual void OnDataUnwanted() = 0;

  // --- Downcalls.
  void DataArrived();
  // It did not come whole, or not as it left the host: `status` is what the command ends with.
  void DataDropped(uint16_t status);
  void DataSent();
  // The connection is gone and the transport touches no parts any more. The command ends with
  // OnCompletion, as soon as the device allows, in a later stage of the loop.
  void Abandon();

  bool in_flight() const { return queue_ != nullptr; }
  uint16_t cid() const { return entry.cid; }

 protected:
  ~Command();

 private:
  friend class Queue;
  friend class Execution;
  Queue* queue_ = nullptr;  // Set while in flight.
  ListNode node_;           // Of the queue's commands in flight.

 public:
  // What executes it, made with the command, in place: see execution.h.
  static constexpr size_t kExecutionBytes = 640;
  alignas(16) std::byte execution_area[kExecutionBytes];
};

}  // namespace pollux::nvmf
