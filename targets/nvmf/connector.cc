#include "targets/nvmf/connector.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "core/run_on.h"
#include "targets/nvmf/await_task.h"
#include "targets/nvmf/controller.h"
#include "targets/nvmf/io_commands.h"
#include "targets/nvmf/names.h"

namespace pollux::nvmf {

using namespace nvme::status;

namespace {

const nvme::ConnectCommand& CommandOf(Execution& execution) {
  return reinterpret_cast<const nvme::ConnectCommand&>(execution.entry());
}

// The parameter at `offset`, of the command or of its data, is what is wrong. Figure 381
void EndInvalid(Execution& execution, size_t offset) {
  execution.End(kConnectInvalidParameters | kDnrBit, static_cast<uint32_t>(offset));
}
void EndInvalidData(Execution& execution, size_t offset) {
  execution.End(kConnectInvalidParameters | kDnrBit,
                nvme::kIattrData | static_cast<uint32_t>(offset));
}

// Null when it is none, or so long that it may not end within its field.
std::optional<std::string> NameOf(const char (&field)[256]) {
  std::string name(field, strnlen(field, sizeof(field)));
  if (!IsAcceptableHostNqn(name)) return std::nullopt;
  return name;
}

bool IsZero(const uint8_t (&hostid)[16]) {
  return std::all_of(std::begin(hostid), std::end(hostid), [](uint8_t byte) { return byte == 0; });
}

}  // namespace

void Connector::Start(Execution& execution) {
  const nvme::ConnectCommand& command = CommandOf(execution);
  Queue& queue = execution.queue();
  const bool connect =
      command.opcode == nvme::admin::kFabrics && command.fctype == nvme::fctype::kConnect;
  if (!connect || queue.state_ != Queue::State::kNew) {
    return execution.End(kCommandSequenceError | kDnrBit);
  }
  if ((command.flags & kFuseMask) != 0) return execution.End(kInvalidField | kDnrBit);
  if (command.recfmt != 0) return execution.End(kConnectIncompatibleFormat | kDnrBit);

  const Queue::Limits& limits = queue.limits_;
  const uint16_t depth_max = command.qid == 0 ? limits.admin_depth_max : limits.io_depth_max;
  if (command.qid > limits.io_queues_max) {
    return EndInvalid(execution, offsetof(nvme::ConnectCommand, qid));
  }
  // 0's based: a ring of one entry would hold no command.
  if (command.sqsize == 0 || command.sqsize >= depth_max) {
    return EndInvalid(execution, offsetof(nvme::ConnectCommand, sqsize));
  }
  if (execution.command().data_bytes != sizeof(nvme::ConnectData)) {
    return execution.End(kSglDataLengthInvalid | kDnrBit);
  }
  execution.FetchData(sizeof(nvme::ConnectData), OnData);
}

void Connector::OnData(Execution& execution) {
  const nvme::ConnectCommand& command = CommandOf(execution);
  Queue& queue = execution.queue();
  // Several may have been sent, and this is not the first whose data came.
  if (queue.state_ != Queue::State::kNew) return execution.End(kCommandSequenceError | kDnrBit);

  nvme::ConnectData data;
  memcpy(&data, execution.data().data(), sizeof(data));
  if (IsZero(data.hostid)) return EndInvalidData(execution, offsetof(nvme::ConnectData, hostid));
  const bool cntlid_is_valid =
      command.qid == 0 ? data.cntlid == nvme::kDynamicCntlid : data.cntlid <= nvme::kCntlidMax;
  if (!cntlid_is_valid) return EndInvalidData(execution, offsetof(nvme::ConnectData, cntlid));
  std::optional<std::string> subnqn = NameOf(data.subnqn), hostnqn = NameOf(data.hostnqn);
  if (!subnqn) return EndInvalidData(execution, offsetof(nvme::ConnectData, subnqn));
  if (!hostnqn) return EndInvalidData(execution, offsetof(nvme::ConnectData, hostnqn));

  ConnectQuery query;
  query.qid = command.qid;
  query.depth = command.sqsize + 1u;
  query.kato_ms = command.kato;
  query.disable_sq_flow_control = (command.cattr & nvme::cattr::kDisableSqFlowControl) != 0;
  query.cntlid = data.cntlid;
  std::copy(std::begin(data.hostid), std::end(data.hostid), query.hostid.begin());
  query.subnqn = *std::move(subnqn);
  query.hostnqn = *std::move(hostnqn);
  query.listener_id = queue.listener_id_;
  query.reactor_index = queue.worker_.reactor().index();
  query.queue = &queue;
  queue.state_ = Queue::State::kConnecting;
  AwaitTask(execution, Admit(&execution, std::move(query)));
}

Task<void> Connector::Admit(Execution* execution, ConnectQuery query) {
  Worker& worker = execution->queue().worker_;
  co_await SwitchTo(worker.control());
  ConnectVerdict verdict = co_await worker.control_side().Admit(query);
  co_await SwitchTo(worker.reactor());
  Settle(*execution, query, std::move(verdict));
}

void Connector::Settle(Execution& execution, const ConnectQuery& query, ConnectVerdict verdict) {
  Queue& queue = execution.queue();
  if (verdict.status != kSuccess) {
    if (queue.state_ == Queue::State::kConnecting) queue.state_ = Queue::State::kNew;
    return execution.End(verdict.status, verdict.dw0);
  }
  Queue::Connection connection;
  connection.identity = verdict.identity;
  connection.view = queue.worker_.FindView(query.subnqn);
  connection.qid = query.qid;
  connection.depth = query.depth;
  connection.sq_flow_control = !query.disable_sq_flow_control;
  queue.SetUp(std::move(connection));
  if (queue.state_ == Queue::State::kAdmin) {
    queue.controller_ =
        std::make_unique<Controller>(queue, *queue.view_, verdict.identity, query.kato_ms);
  }
  execution.EndSuccess(verdict.identity->cntlid);
}

void Connector::StartOnIoQueue(Execution& execution) {
  const auto& command = reinterpret_cast<const nvme::DisconnectCommand&>(execution.entry());
  Queue& queue = execution.queue();
  switch (command.fctype) {
    case nvme::fctype::kConnect:
      return execution.End(kCommandSequenceError | kDnrBit);
    case nvme::fctype::kPropertyGet:
    case nvme::fctype::kPropertySet:
      return execution.End(kInvalidQueueType | kDnrBit);
    case nvme::fctype::kDisconnect:
      if (command.recfmt != 0) return execution.End(kConnectIncompatibleFormat | kDnrBit);
      // Commands that are still there end as the queue closes. §6.4
      execution.EndSuccess();
      return queue.End("its host disconnected it", /*when_sent=*/true);
  }
  execution.End(kInvalidOpcode | kDnrBit);
}

}  // namespace pollux::nvmf
