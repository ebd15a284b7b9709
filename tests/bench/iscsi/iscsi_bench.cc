// Reads or writes of 4 KiB over iSCSI from a memory disk, for
// tests/bench/iscsi/instructions_per_io. The initiator is the one of the target's tests, in the
// same thread: it fills the window while the target stands still, so that the turns are full and
// the count is the same each time.
//
//   pollux_iscsi_bench read|write DEPTH N
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "core/check.h"
#include "core/memory/region_registry.h"
#include "drivers/memory/memory_disk.h"
#include "tests/unit/targets/iscsi/iscsi_fixture.h"

namespace pollux::iscsi {
namespace {

constexpr uint32_t kBytes = 4096;
constexpr uint64_t kBlocks = 4096;
// So many turns without an answer mean that none will come.
constexpr int kTurnsMax = 100000;

// What is counted.
[[gnu::noinline]] void RunTarget(Reactor& reactor) { reactor.RunTurn(); }

struct Load {
  bool writes;
  uint64_t depth;
  uint64_t left;
  uint64_t lba = 0;
};

// Sends as many commands as the depth allows. The target runs only where the socket is full.
uint64_t Submit(TestInitiator& initiator, Load& load, const Bytes& data) {
  Bytes wire;
  const uint64_t count = std::min(load.left, load.depth);
  for (uint64_t i = 0; i < count; ++i) {
    load.lba = (load.lba + 1237) % kBlocks;
    const auto lba = static_cast<uint32_t>(load.lba);
    Wire command = load.writes ? initiator.Command(Write10(lba, 1), 0xa1, kBytes)
                               : initiator.Command(Read10(lba, 1), 0xc1, kBytes);
    if (load.writes) command.data = data;
    const Bytes bytes = command.Encode();
    wire.insert(wire.end(), bytes.begin(), bytes.end());
  }
  initiator.SendRaw(wire);
  load.left -= count;
  return count;
}

// One turn of the target at a time, until each command has its status.
void Await(TestInitiator& initiator, uint64_t count) {
  for (int turns = 0; count > 0; ++turns) {
    CHECK(turns < kTurnsMax, "an answer is missing");
    CHECK(!initiator.SeesEnd(), "the target closed the connection");
    while (const std::optional<Wire> pdu = initiator.TryReceive()) {
      const bool response = pdu->opcode() == 0x21;
      CHECK(response || pdu->opcode() == 0x25);
      if (!response && (pdu->flags() & 1) == 0) continue;  // Data-In without status.
      CHECK(pdu->header[3] == 0);
      initiator.exp_stat_sn = pdu->Get32(24) + 1;
      --count;
    }
  }
}

void Run(Load load) {
  testing_world::BlockWorld world(1);
  testing_world::PlainMemory memory;
  RegionRegistry regions;
  Accel accel(*world.reactors);
  MemoryDiskOptions disk;
  disk.name = "disk";
  disk.block_size = kBytes;
  disk.num_blocks = kBlocks;
  CHECK(world.Run(world.devices.Register(*MakeMemoryDisk(disk, regions, accel))).ok());

  IscsiTarget target({.control = world.control,
                      .reactors = *world.reactors,
                      .devices = world.devices,
                      .memory = memory});
  Options options;
  options.max_sessions = 8;
  CHECK(world.Run(target.Start(options)).ok());
  world.OnControl([&target] {
    CHECK(target.CreatePortalGroup({.tag = 1, .portals = {{"127.0.0.1", "0"}}}, false).ok());
    CHECK(target.CreateInitiatorGroup({.tag = 1, .initiators = {"ANY"}, .netmasks = {"ANY"}}).ok());
  });
  TargetNode node{.name = "disk1", .maps = {{1, 1}}, .luns = {{.bdev_name = "disk", .lun_id = 0}}};
  CHECK(world.Run(target.CreateTargetNode(std::move(node), false)).ok());

  bool measuring = false;
  const std::string port = target.portal_groups_as_bound()[0].portals[0].port;
  TestInitiator initiator(static_cast<uint16_t>(std::stoi(port)), [&world, &measuring] {
    measuring ? RunTarget((*world.reactors)[0]) : world.Turn();
  });
  CHECK(initiator.Login() == 0);
  initiator.NoData(TestUnitReady());  // The unit attention of a new nexus.
  const Bytes data = Pattern(kBytes, 1);
  measuring = true;
  while (load.left > 0) Await(initiator, Submit(initiator, load, data));
  measuring = false;

  initiator.Disconnect();
  world.Run(target.Stop(kNsPerSecond));
  CHECK(world.Run(world.devices.Unregister("disk")).ok());
}

}  // namespace
}  // namespace pollux::iscsi

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: %s read|write DEPTH N\n", argv[0]);
    return 2;
  }
  pollux::iscsi::Run({.writes = strcmp(argv[1], "write") == 0,
                      .depth = strtoull(argv[2], nullptr, 10),
                      .left = strtoull(argv[3], nullptr, 10)});
  return 0;
}
