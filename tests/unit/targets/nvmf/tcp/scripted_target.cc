#include "tests/unit/targets/nvmf/tcp/scripted_target.h"

#include "core/spec/nvmf_spec.h"
#include "targets/nvmf/controller.h"
#include "targets/nvmf/worker.h"

namespace pollux::nvmf {

ScriptedTarget* ScriptedTarget::current = nullptr;

namespace {

nvme::CompletionEntry CompletionOf(const Command& command, uint16_t status, uint32_t dw0) {
  nvme::CompletionEntry completion;
  completion.dw0 = dw0;
  completion.cid = command.cid();
  completion.status = static_cast<uint16_t>(status << 1);
  return completion;
}

}  // namespace

// A friend of Queue, in the place of the one that makes controllers.
class Connector {
 public:
  static void Connect(Queue& queue, Command& command) {
    const auto& connect = reinterpret_cast<const nvme::ConnectCommand&>(command.entry);
    queue.qid_ = connect.qid;
    queue.depth_ = ScriptedTarget::current->depth;
    auto identity = std::make_shared<ControllerIdentity>();
    identity->hostnqn = "nqn.2026-01.example:host";
    queue.identity_ = identity;
    queue.state_ = connect.qid == 0 ? Queue::State::kAdmin : Queue::State::kIo;
    End(queue, command, 0, /*dw0=*/1);
  }
  static void End(Queue& queue, Command& command, uint16_t status, uint32_t dw0) {
    queue.Remove(command);
    command.OnCompletion(CompletionOf(command, status, dw0));
  }
  static void Remove(Queue& queue, Command& command) { queue.Remove(command); }
};

void ScriptedTarget::OnStart(Command& command) {
  heard[&command] = {};
  ends_with_data.erase(&command);
  started.push_back(&command);
  if (on_start) on_start(command);
}

void ScriptedTarget::Forget(Command& command) { std::erase(started, &command); }

void ScriptedTarget::Give(Command& command, uint32_t offset, std::span<const iovec> parts,
                          bool last, uint32_t dw0) {
  if (!last) return command.OnDataReady(offset, parts, nullptr);
  ends_with_data[&command] = true;
  const nvme::CompletionEntry completion = CompletionOf(command, 0, dw0);
  command.OnDataReady(offset, parts, &completion);
}

void ScriptedTarget::End(Command& command, uint16_t status, uint32_t dw0) {
  Connector::End(*queue, command, status, dw0);
}

// --- Queue

Queue::Queue(Worker& worker, Carrier& carrier, uint32_t listener_id, Limits limits)
    : worker_(worker), carrier_(carrier), listener_id_(listener_id), limits_(limits) {
  worker_.AddQueue(*this);
  ScriptedTarget::current->queue = this;
}

Queue::~Queue() {
  CHECK(state_ == State::kNew || state_ == State::kEnded);
  CHECK(commands_.empty());
  worker_.RemoveQueue(*this);
}

void Queue::Start(Command& command) {
  CHECK(!command.in_flight());
  command.queue_ = this;
  commands_.PushBack(command);
  const auto& fabrics = reinterpret_cast<const nvme::FabricsCommand&>(command.entry);
  if (fabrics.opcode == nvme::admin::kFabrics && fabrics.fctype == nvme::fctype::kConnect &&
      state_ == State::kNew) {
    return Connector::Connect(*this, command);
  }
  ScriptedTarget::current->OnStart(command);
}

void Queue::Refuse(Command& command, uint16_t status) {
  ScriptedTarget::current->refused.push_back(status);
  command.OnCompletion(CompletionOf(command, status, 0));
}

void Queue::Remove(Command& command) {
  command.queue_ = nullptr;
  commands_.Remove(command);
  ScriptedTarget::current->Forget(command);
}

void Queue::Close() {
  CHECK(state_ != State::kClosing && state_ != State::kEnded);
  state_ = State::kClosing;
  for (Command* c = commands_.Front(); c != nullptr; c = commands_.Next(*c)) c->Abandon();
  worker_.reactor().Defer(closing_);
}

void Queue::OnClosing() {
  while (Command* const command = commands_.Front()) {
    Connector::End(*this, *command, nvme::status::kAbortedSqDeletion, 0);
  }
  state_ = State::kEnded;
  ++ScriptedTarget::current->queues_ended;
  carrier_.OnQueueEnded();
}

// --- Command

Command::Command() = default;
Command::~Command() { CHECK(!in_flight()); }

void Command::DataArrived() {
  ScriptedTarget& target = *ScriptedTarget::current;
  ++target.heard[this].arrived;
  if (target.on_arrived) target.on_arrived(*this);
}

void Command::DataDropped(uint16_t status) {
  ScriptedTarget& target = *ScriptedTarget::current;
  ++target.heard[this].dropped;
  target.heard[this].status = status;
  if (target.on_dropped) return target.on_dropped(*this);
  target.End(*this, status);
}

void Command::DataSent() {
  ScriptedTarget& target = *ScriptedTarget::current;
  ++target.heard[this].sent;
  if (target.ends_with_data[this]) return Connector::Remove(*queue_, *this);
  if (target.on_sent) target.on_sent(*this);
}

void Command::Abandon() { ScriptedTarget::current->heard[this].abandoned = true; }

// --- What a Queue and a Worker have, and the transport does not touch.

AsyncEvents::~AsyncEvents() = default;
Controller::~Controller() = default;
void Controller::OnSilence(uint64_t) {}
void KeepAlive::OnTimer() {}
SubsystemView::~SubsystemView() = default;
Worker::Worker(Environment environment) : environment_(environment) {}
Worker::~Worker() { CHECK(queues_.empty()); }

}  // namespace pollux::nvmf
