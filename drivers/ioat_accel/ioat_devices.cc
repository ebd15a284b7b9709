#include "drivers/ioat_accel/ioat_devices.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "core/run_on.h"
#include "drivers/ioat/host.h"

namespace pollux {
namespace {

// How often a lane that is to be empty is asked whether it is.
constexpr uint64_t kDrainEveryNs = 1 * kNsPerMs;

pollux_ioat_host* MakeHost(const IoatDevices::Environment& environment) {
  ioat::IoatHost::Parts parts;
  parts.registry = &environment.regions;
  parts.clock = environment.clock;
  return new pollux_ioat_host(std::move(parts));
}

std::string_view NameOf(pollux_ioat_state state) {
  switch (state) {
    case POLLUX_IOAT_STATE_RUNNING:
      return "running";
    case POLLUX_IOAT_STATE_RECOVERING:
      return "recovering";
    case POLLUX_IOAT_STATE_SUSPENDED:
      return "suspended";
    case POLLUX_IOAT_STATE_OUT_OF_SERVICE:
      return IoatDevices::kOutOfService;
  }
  return "unknown";
}

// Nobody else touches a channel that no lane has.
pollux_ioat_state StateOf(const IoatAttachment::Place& place) {
  return place.lane != nullptr ? place.lane->channel_state()
                               : pollux_ioat_channel_state(place.channel);
}

}  // namespace

IoatDevices::IoatDevices(const Environment& environment, Observer* observer)
    : environment_(environment), observer_(observer), host_(MakeHost(environment)) {
  IoatLane::Keeper& keeper = *this;
  for (auto& reactor : environment_.reactors) {
    lanes_.push_back(std::make_unique<IoatLane>(environment_.accel.channel(*reactor), *reactor,
                                                environment_.control, keeper));
    lanes_.back()->set_bytes_min(bytes_min_);
  }
  environment_.accel.Add(*this, Accel::Use::kPreferred);
}

IoatDevices::~IoatDevices() { CHECK(attachments_.empty(), "I/OAT devices were not detached"); }

IoatAttachment* IoatDevices::Find(const std::string& address) const {
  for (const auto& one : attachments_) {
    if (one->address() == address) return one.get();
  }
  return nullptr;
}

// --- Attaching and detaching.

Task<Status> IoatDevices::Attach(std::string address) {
  if (stopping_) co_return Cancelled("%s: the attach was given up", address);
  if (Find(address) != nullptr) {
    co_return ErrorOfField(EEXIST, "address", address, "it is attached, or on its way");
  }
  IoatAttachment::Owner& owner = *this;
  attachments_.push_back(std::make_unique<IoatAttachment>(
      environment_.control, host_.get(), environment_.attach_begin, std::move(address), owner));
  IoatAttachment* const attachment = attachments_.back().get();
  const Status connected = co_await attachment->Connect();
  if (!connected.ok()) {
    co_await Remove(attachment);
    co_return connected;
  }
  const pollux_ioat_device_info& info = attachment->info();
  LogNotice("ioat", "%s is attached: %s, version %u.%u, %u channels", attachment->address(),
            info.model, info.version >> 4, info.version & 15, info.channels);
  co_await Distribute();
  co_await environment_.accel.Update();
  co_return OkStatus();
}

Task<Status> IoatDevices::Detach(std::string address) {
  IoatAttachment* const attachment = Find(address);
  if (attachment == nullptr) {
    co_return ErrorOfField(ENODEV, "address", address, "no such I/OAT device is attached");
  }
  switch (attachment->state()) {
    case IoatAttachment::State::kConnecting:
      co_return ErrorOfField(EBUSY, "address", address, "it is being attached");
    case IoatAttachment::State::kLeaving:
      co_return ErrorOfField(EBUSY, "address", address, "it is being detached");
    case IoatAttachment::State::kReady:
      break;
  }
  attachment->BeginLeaving();
  co_await Remove(attachment);
  LogNotice("ioat", "%s is detached", address);
  co_return OkStatus();
}

Task<void> IoatDevices::Remove(IoatAttachment* attachment) {
  {
    const Turn::Holder held = co_await moving_.Take();
    for (Place& place : attachment->places()) {
      if (place.lane != nullptr) co_await EmptyLane(&place);
    }
  }
  co_await Distribute();  // Of what other devices have to spare.
  co_await environment_.accel.Update();
  co_await attachment->Disconnect();
  std::erase_if(attachments_, [&](const auto& one) { return one.get() == attachment; });
  removed_.Pulse();
}

void IoatDevices::OnGone(IoatAttachment& attachment, Status why) {
  LogWarning("ioat", "%s", why.message());
  attachment.BeginLeaving();
  tasks_.Spawn(RemoveGone(&attachment, std::move(why)));
}

Task<void> IoatDevices::RemoveGone(IoatAttachment* attachment, Status why) {
  const std::string address = attachment->address();
  co_await Remove(attachment);
  if (observer_ != nullptr && !stopping_) observer_->OnDeviceGone(address, why);
}

void IoatDevices::CancelAttaches() {
  for (const auto& one : attachments_) {
    if (one->state() == IoatAttachment::State::kConnecting) one->Cancel();
  }
}

Task<void> IoatDevices::Stop() {
  stopping_ = true;
  CancelAttaches();
  std::vector<std::string> ready;
  for (const auto& one : attachments_) {
    if (one->state() == IoatAttachment::State::kReady) ready.push_back(one->address());
  }
  for (const std::string& address : ready) {
    // Somebody else may have begun to detach it meanwhile.
    const Status detached = co_await Detach(address);
    detached.IgnoreError();
  }
  while (!attachments_.empty()) co_await removed_;
  co_await tasks_.Drained();
}

std::vector<std::string> IoatDevices::Scan() {
  std::vector<std::string> found;
  const auto add = [](void* context, const pollux_ioat_probe_info* info) {
    if (strcmp(info->driver, "vfio-pci") == 0) {
      static_cast<std::vector<std::string>*>(context)->push_back(info->address);
    }
    return true;
  };
  pollux_ioat_probe(host_.get(), add, &found);
  std::erase_if(found, [&](const std::string& address) { return Find(address) != nullptr; });
  return found;
}

// --- Channels and lanes.

bool IoatDevices::IsEmpty(const IoatLane& lane) const {
  for (const auto& attachment : attachments_) {
    for (const Place& place : attachment->places()) {
      if (place.lane == &lane) return false;
    }
  }
  return true;
}

IoatDevices::Place* IoatDevices::FindSpare() const {
  for (const auto& attachment : attachments_) {
    if (attachment->state() != IoatAttachment::State::kReady) continue;
    for (Place& place : attachment->places()) {
      if (place.lane == nullptr && place.fault.empty() &&
          StateOf(place) != POLLUX_IOAT_STATE_OUT_OF_SERVICE) {
        return &place;
      }
    }
  }
  return nullptr;
}

// In some lane.
IoatDevices::Place* IoatDevices::FindOutOfService() const {
  for (const auto& attachment : attachments_) {
    for (Place& place : attachment->places()) {
      if (place.lane != nullptr && StateOf(place) == POLLUX_IOAT_STATE_OUT_OF_SERVICE) {
        return &place;
      }
    }
  }
  return nullptr;
}

Task<void> IoatDevices::Distribute() {
  const Turn::Holder held = co_await moving_.Take();
  for (const auto& lane : lanes_) {
    if (!IsEmpty(*lane)) continue;
    Place* const place = FindSpare();
    if (place == nullptr) co_return;
    place->lane = lane.get();
    auto open = [to = lane.get(), channel = place->channel] { to->Open(*channel); };
    co_await RunOn(lane->reactor(), open);
  }
}

Task<void> IoatDevices::EmptyLane(Place* place) {
  IoatLane* const lane = place->lane;
  auto close = [lane] { lane->Close(); };
  co_await RunOn(lane->reactor(), close);
  auto empty = [lane] {
    const bool drained = lane->drained();
    if (drained) lane->Empty();
    return drained;
  };
  for (;;) {
    const bool done = co_await RunOn(lane->reactor(), empty);
    if (done) break;
    co_await Sleep(kDrainEveryNs);
  }
  place->lane = nullptr;
}

void IoatDevices::OnOutOfService() { tasks_.Spawn(ReplaceOutOfService()); }

Task<void> IoatDevices::ReplaceOutOfService() {
  {
    const Turn::Holder held = co_await moving_.Take();
    while (Place* const place = FindOutOfService()) {
      LogWarning("ioat", "%s is out of service: %s", place->name,
                 pollux_ioat_channel_reason(place->channel));
      co_await EmptyLane(place);
    }
  }
  co_await Distribute();
  co_await environment_.accel.Update();
}

Task<void> IoatDevices::SetBytesMin(uint32_t bytes) {
  bytes_min_ = bytes;
  auto step = [this, bytes](Reactor& reactor) { lanes_[reactor.index()]->set_bytes_min(bytes); };
  co_await environment_.reactors.ForEach(step);
}

// --- What there is.

bool IoatDevices::Executes(AccelOpcode opcode) const {
  return opcode == AccelOpcode::kCopy || opcode == AccelOpcode::kFill ||
         opcode == AccelOpcode::kXor;
}

bool IoatDevices::Available(AccelOpcode opcode) const {
  for (const auto& attachment : attachments_) {
    for (const Place& place : attachment->places()) {
      if (place.lane == nullptr) continue;
      if (opcode == AccelOpcode::kCopy) return true;
      if (opcode == AccelOpcode::kFill && attachment->info().fill) return true;
      if (opcode == AccelOpcode::kXor && attachment->info().xor_) return true;
    }
  }
  return false;
}

std::vector<IoatDevices::DeviceView> IoatDevices::devices() const {
  std::vector<DeviceView> views;
  for (const auto& attachment : attachments_) {
    if (attachment->state() == IoatAttachment::State::kConnecting) continue;
    DeviceView view{.info = attachment->info(), .channels = {}};
    for (const Place& place : attachment->places()) {
      ChannelView channel{.index = static_cast<uint32_t>(view.channels.size())};
      channel.state =
          NameOf(place.fault.empty() ? StateOf(place) : POLLUX_IOAT_STATE_OUT_OF_SERVICE);
      channel.reason = place.fault;
      if (place.fault.empty()) channel.reason = pollux_ioat_channel_reason(place.channel);
      if (place.lane != nullptr) channel.reactor = &place.lane->reactor();
      pollux_ioat_get_statistics(place.channel, &channel.statistics);
      view.channels.push_back(channel);
    }
    views.push_back(std::move(view));
  }
  return views;
}

}  // namespace pollux
