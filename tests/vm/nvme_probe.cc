// Does one thing with an NVMe controller, in a guest, and says what came of it: the last line is
// "ok", or what is wrong. tests/vm/nvme_test.py runs it.
//
//   pollux_nvme_probe [--no-iommu] COMMAND ADDRESS
//
//   data         writes, reads and compares at lengths and offsets that take every kind of PRP list
//   protection   the same on a namespace with protection information, made by the controller
//   metadata     the same on a namespace with metadata of its own, which comes back
//   zones        reports, appends to, reads, finishes and resets zones
//   errors       reads and writes blocks that fail, one by one, and tells their status
//   events       waits until the controller tells something of its health
//   reset        resets ten times while reads are in flight
//   hold         reads until the controller goes; every request ends once
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "drivers/nvme/nvme.h"

namespace {

using pollux::nvme::Completion;
using Steady = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kPatience = 60s;
constexpr size_t kBufferBytes = 256 << 10;

[[noreturn]] void Fail(const std::string& why) {
  std::printf("%s\n", why.c_str());
  std::exit(1);
}

std::string TextOf(Completion completion) {
  char text[128];
  return pollux_nvme_status_text(completion.status, text, sizeof(text));
}

void Must(int error, const char* what) {
  if (error < 0) Fail(std::string(what) + ": " + strerror(-error));
}

class Waited final : public pollux::nvme::Request {
 public:
  bool done = false;
  Completion completion{};

 private:
  void OnComplete(Completion end) override {
    done = true;
    completion = end;
  }
};

// A controller with a queue and a buffer.
class World {
 public:
  World(const char* address, bool no_iommu) {
    pollux_nvme_host_options options{};
    options.allow_no_iommu = no_iommu;
    pollux_nvme_host* host = nullptr;
    if (pollux_nvme_host_create(&options, &host) < 0) Fail(pollux_nvme_error_text());
    host_.reset(host);
    pollux_nvme_transport_id id{};
    if (pollux_nvme_transport_id_parse(address, &id) < 0) Fail(pollux_nvme_error_text());
    pollux_nvme_attach_options attach{};
    attach.io_queues = 2;
    attach.on_event = [](void* context, pollux_nvme_controller*, const pollux_nvme_event* event) {
      auto& world = *static_cast<World*>(context);
      if (world.on_event) world.on_event(*event);
    };
    attach.context = this;
    pollux_nvme_controller* controller = nullptr;
    if (pollux_nvme_attach(host, &id, &attach, &controller) < 0) Fail(pollux_nvme_error_text());
    controller_.reset(controller);
    pollux_nvme_queue* queue = nullptr;
    Must(pollux_nvme_queue_take(controller, -1, &queue), "queue");
    queue_.reset(queue);
    ns_ = pollux_nvme_namespace_next(controller, 0);
    if (ns_ == nullptr) Fail("no namespace");
    for (auto* memory : {&written_, &found_, &metadata_}) {
      *memory = static_cast<std::byte*>(pollux_nvme_alloc(host, kBufferBytes, 4096));
      if (*memory == nullptr) Fail("no memory");
    }
  }

  // Both sides of the controller: what a program with one thread does between two things.
  void Poll() {
    pollux_nvme_queue_poll(queue(), 0);
    pollux_nvme_controller_poll(controller());
  }
  Completion Wait(Waited& request, int error, const char* what) {
    Must(error, what);
    const auto end = Steady::now() + kPatience;
    while (!request.done) {
      if (Steady::now() > end) Fail(std::string(what) + ": no completion");
      Poll();
    }
    request.done = false;
    return request.completion;
  }
  void MustEndWell(Waited& request, int error, const char* what) {
    const Completion completion = Wait(request, error, what);
    if (!pollux_nvme_ok(completion)) Fail(std::string(what) + ": " + TextOf(completion));
  }

  pollux_nvme_controller* controller() { return controller_.get(); }
  pollux_nvme_queue* queue() { return queue_.get(); }
  const pollux_nvme_namespace* ns() const { return ns_; }
  const pollux_nvme_namespace_info& info() const { return *pollux_nvme_get_namespace_info(ns_); }
  // What blocks take of the data.
  size_t BytesOf(uint32_t blocks) const {
    return blocks *
           size_t{info().block_bytes + (info().metadata_extended ? info().metadata_bytes : 0)};
  }
  std::byte* written() { return written_; }
  std::byte* found() { return found_; }
  std::byte* metadata() { return metadata_; }
  std::function<void(const pollux_nvme_event&)> on_event;

 private:
  pollux::nvme::Host host_;
  pollux::nvme::Controller controller_;
  pollux::nvme::Queue queue_;
  const pollux_nvme_namespace* ns_ = nullptr;
  std::byte *written_ = nullptr, *found_ = nullptr, *metadata_ = nullptr;
};

void Fill(std::byte* data, size_t bytes, uint32_t seed) {
  for (size_t i = 0; i < bytes; ++i) {
    seed = seed * 1664525 + 1013904223;
    data[i] = static_cast<std::byte>(seed >> 24);
  }
}

void WriteAndRead(World& world, uint64_t lba, uint32_t blocks, size_t offset, uint32_t flags,
                  std::byte* metadata) {
  const auto& info = world.info();
  // With PRACT and nothing but protection in the metadata, the host moves the data alone.
  const bool host_moves_it = info.metadata_extended && (flags & POLLUX_NVME_PRACT) == 0;
  const size_t bytes =
      blocks * size_t{info.block_bytes + (host_moves_it ? info.metadata_bytes : 0)};
  const size_t metadata_bytes = metadata != nullptr ? blocks * size_t{info.metadata_bytes} : 0;
  Fill(world.written() + offset, bytes, static_cast<uint32_t>(lba + blocks + offset));
  std::memset(world.found(), 0, kBufferBytes);
  if (metadata != nullptr) Fill(metadata, metadata_bytes, blocks);

  Waited request;
  iovec piece = {world.written() + offset, bytes};
  pollux_nvme_io io{};
  io.lba = lba;
  io.blocks = blocks;
  io.flags = flags;
  io.data = &piece;
  io.data_count = 1;
  io.metadata = metadata;
  io.reference_tag = static_cast<uint32_t>(lba);
  world.MustEndWell(request, pollux_nvme_writev(world.queue(), world.ns(), request.c(), &io),
                    "write");
  piece.iov_base = world.found() + offset;
  std::vector<std::byte> before(metadata, metadata + metadata_bytes);
  if (metadata != nullptr) std::memset(metadata, 0, metadata_bytes);
  world.MustEndWell(request, pollux_nvme_readv(world.queue(), world.ns(), request.c(), &io),
                    "read");
  if (std::memcmp(world.written() + offset, world.found() + offset, bytes) != 0) {
    Fail("what was read is not what was written");
  }
  if (metadata != nullptr && std::memcmp(before.data(), metadata, metadata_bytes) != 0) {
    Fail("the metadata that was read is not what was written");
  }
}

void Data(World& world, uint32_t flags, std::byte* metadata) {
  const auto& info = world.info();
  int cases = 0;
  for (const size_t offset : {size_t{0}, size_t{4}, size_t{512}, size_t{4092}}) {
    for (const uint32_t blocks : {1u, 2u, 7u, 8u, 9u, 16u, 17u, 64u, 128u}) {
      const size_t bytes = blocks * size_t{info.block_bytes + info.metadata_bytes};
      if (blocks > info.transfer_blocks_max || offset + bytes > kBufferBytes) continue;
      WriteAndRead(world, blocks * 3, blocks, offset, flags, metadata);
      ++cases;
    }
  }
  std::printf("cases %d\n", cases);
}

void Zones(World& world) {
  const auto& info = world.info();
  if (info.zone_blocks == 0) Fail("not zoned");
  Waited request;
  auto* report = world.found();
  const auto zones = [&] {
    world.MustEndWell(
        request,
        pollux_nvme_zone_report(world.queue(), world.ns(), request.c(), 0, 0, false, report, 4096),
        "report");
    uint64_t count;
    std::memcpy(&count, report, sizeof(count));
    return count;
  };
  const auto state = [&](int zone) {
    zones();
    return static_cast<int>(report[64 + 64 * zone + 1]) >> 4;
  };
  std::printf("zones %llu\n", static_cast<unsigned long long>(zones()));

  const size_t bytes = 8 * size_t{info.block_bytes};
  uint64_t lbas[2];
  for (uint64_t& lba : lbas) {
    Fill(world.written(), bytes, 7);
    iovec piece = {world.written(), bytes};
    pollux_nvme_io io{};
    io.lba = info.zone_blocks;  // The second zone.
    io.blocks = 8;
    io.data = &piece;
    io.data_count = 1;
    world.MustEndWell(request, pollux_nvme_zone_append(world.queue(), world.ns(), request.c(), &io),
                      "append");
    lba = request.completion.dw0 | uint64_t{request.completion.dw1} << 32;
  }
  if (lbas[0] != info.zone_blocks || lbas[1] != info.zone_blocks + 8) Fail("appended elsewhere");
  world.MustEndWell(
      request,
      pollux_nvme_read(world.queue(), world.ns(), request.c(), world.found(), bytes, lbas[1], 8),
      "read");
  if (std::memcmp(world.written(), world.found(), bytes) != 0) Fail("not what was appended");
  std::printf("open %d\n", state(1));
  const auto send = [&](pollux_nvme_zone_action action) {
    world.MustEndWell(request,
                      pollux_nvme_zone_send(world.queue(), world.ns(), request.c(),
                                            info.zone_blocks, action, false),
                      "zone send");
  };
  send(POLLUX_NVME_ZONE_FINISH);
  std::printf("finished %d\n", state(1));
  send(POLLUX_NVME_ZONE_RESET);
  std::printf("reset %d\n", state(1));
}

void Errors(World& world) {
  Waited request;
  for (uint64_t lba = 0; lba < 64; lba += 8) {
    const size_t bytes = world.BytesOf(8);
    const Completion read = world.Wait(
        request,
        pollux_nvme_read(world.queue(), world.ns(), request.c(), world.found(), bytes, lba, 8),
        "read");
    const Completion write = world.Wait(
        request,
        pollux_nvme_write(world.queue(), world.ns(), request.c(), world.written(), bytes, lba, 8),
        "write");
    std::printf("block %llu: read %03x write %03x\n", static_cast<unsigned long long>(lba),
                pollux_nvme_code(read), pollux_nvme_code(write));
  }
}

void Events(World& world) {
  bool heard = false;
  world.on_event = [&heard](const pollux_nvme_event& event) {
    if (event.type != POLLUX_NVME_EVENT_HEALTH) return;
    std::printf("warning %02x: %s\n", event.value, event.text);
    heard = true;
  };
  std::printf("waiting\n");
  std::fflush(stdout);
  const auto end = Steady::now() + kPatience;
  while (!heard && Steady::now() < end) {
    world.Poll();
    std::this_thread::sleep_for(1ms);
  }
  if (!heard) Fail("nothing was heard");
}

// A read that is submitted again whenever it ends.
class Reader final : public pollux::nvme::Request {
 public:
  Reader(World& world, uint64_t lba) : world_(world), lba_(lba) {}
  // False: the queue takes nothing now.
  bool Submit() {
    const int error = pollux_nvme_read(world_.queue(), world_.ns(), c(), world_.found(),
                                       world_.BytesOf(8), lba_, 8);
    if (error == -EAGAIN) return false;
    gone = error == -ENXIO;
    if (error < 0 && !gone) Must(error, "read");
    in_flight = error == 0;
    return true;
  }
  bool in_flight = false, gone = false;
  uint64_t good = 0, aborted = 0, pathing = 0, other = 0;

 private:
  void OnComplete(Completion completion) override {
    if (!in_flight) Fail("a request ended twice");
    in_flight = false;
    const uint16_t code = pollux_nvme_code(completion);
    if (pollux_nvme_ok(completion)) {
      ++good;
    } else if (code == POLLUX_NVME_ABORTED_BY_HOST) {
      ++aborted;
    } else if (code == POLLUX_NVME_HOST_PATHING_ERROR) {
      ++pathing;
    } else {
      ++other;
    }
  }
  World& world_;
  const uint64_t lba_;
};

class Load {
 public:
  explicit Load(World& world) : world_(world) {
    for (uint64_t i = 0; i < 32; ++i) readers_.push_back(std::make_unique<Reader>(world, 8 * i));
  }
  void Turn() {
    for (auto& reader : readers_) {
      if (!reader->in_flight && !reader->gone) reader->Submit();
    }
    world_.Poll();
  }
  uint64_t Sum(uint64_t Reader::*count) const {
    uint64_t sum = 0;
    for (const auto& reader : readers_) sum += (*reader).*count;
    return sum;
  }
  int Count(bool Reader::*flag) const {
    int count = 0;
    for (const auto& reader : readers_) count += (*reader).*flag ? 1 : 0;
    return count;
  }
  int size() const { return static_cast<int>(readers_.size()); }

 private:
  World& world_;
  std::vector<std::unique_ptr<Reader>> readers_;
};

void Reset(World& world) {
  Load load(world);
  const auto end = Steady::now() + 2 * kPatience;
  const auto must_be_in_time = [end] {
    if (Steady::now() > end) Fail("it took too long");
  };
  for (int i = 0; i < 10; ++i) {
    const uint64_t before = load.Sum(&Reader::good);
    while (load.Sum(&Reader::good) < before + 50) {
      load.Turn();
      must_be_in_time();
    }
    Must(pollux_nvme_reset(world.controller()), "reset");
    do {
      load.Turn();
      must_be_in_time();
    } while (pollux_nvme_state(world.controller()) == POLLUX_NVME_STATE_RESETTING);
    if (pollux_nvme_state(world.controller()) != POLLUX_NVME_STATE_READY) Fail("not ready again");
  }
  while (load.Count(&Reader::in_flight) > 0) world.Poll();
  std::printf("aborted %s\n", load.Sum(&Reader::aborted) > 0 ? "some" : "none");
  if (load.Sum(&Reader::other) + load.Sum(&Reader::pathing) > 0) Fail("reads failed");
}

void Hold(World& world) {
  Load load(world);
  std::printf("holding\n");
  std::fflush(stdout);
  const auto end = Steady::now() + kPatience;
  while (load.Count(&Reader::gone) < load.size()) {
    load.Turn();
    if (Steady::now() > end) Fail("it is still there");
  }
  const char* why = "";
  pollux_nvme_failure(world.controller(), &why);
  std::printf("%s: %s\n", pollux_nvme_state_name(pollux_nvme_state(world.controller())), why);
  if (load.Count(&Reader::in_flight) > 0) Fail("some reads never ended");
  if (load.Sum(&Reader::other) > 0) Fail("reads ended otherwise");
}

}  // namespace

int main(int argc, char** argv) {
  const bool no_iommu = argc > 1 && std::string(argv[1]) == "--no-iommu";
  const std::vector<std::string> words(argv + 1 + (no_iommu ? 1 : 0), argv + argc);
  if (words.size() != 2) Fail("usage: pollux_nvme_probe [--no-iommu] COMMAND ADDRESS");
  const std::string& command = words[0];
  {
    World world(words[1].c_str(), no_iommu);
    if (command == "data") {
      Data(world, 0, nullptr);
    } else if (command == "protection") {
      Data(world, POLLUX_NVME_PRACT | POLLUX_NVME_CHECK_GUARD | POLLUX_NVME_CHECK_REFTAG, nullptr);
    } else if (command == "metadata") {
      Data(world, 0, world.info().metadata_extended ? nullptr : world.metadata());
    } else if (command == "zones") {
      Zones(world);
    } else if (command == "errors") {
      Errors(world);
    } else if (command == "events") {
      Events(world);
    } else if (command == "reset") {
      Reset(world);
    } else if (command == "hold") {
      Hold(world);
    } else {
      Fail("no command " + command);
    }
  }
  std::printf("ok\n");
  return 0;
}
