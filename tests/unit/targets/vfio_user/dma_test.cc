// DMA_MAP and DMA_UNMAP, and what the device sees of them.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include "tests/unit/targets/vfio_user/server_fixture.h"

namespace pollux::vfio_user {
namespace {

using testing::Contains;
using testing::ElementsAre;

constexpr uint64_t kMax = ~uint64_t{0};

class DmaTest : public ServerTest {
 protected:
  uint32_t Map(uint64_t iova, uint64_t bytes, uint32_t flags = 3, uint64_t offset = 0) {
    return ErrorOf(2, DmaMap(iova, bytes, flags, offset), {memory_.get()});
  }
  uint32_t MapWithoutFile(uint64_t iova, uint64_t bytes, uint32_t flags = 3) {
    return ErrorOf(2, DmaMap(iova, bytes, flags));
  }
  uint32_t Unmap(uint64_t iova, uint64_t bytes, uint32_t flags = 0) {
    return ErrorOf(3, DmaUnmap(iova, bytes, flags));
  }
  bool Reachable(uint64_t iova, uint64_t bytes = 1, bool write = false) {
    return server_->Memory(iova, bytes, write) != nullptr;
  }

  static constexpr size_t kMemoryBytes = 1 << 20;
  UniqueFd memory_ = MakeMemory(kMemoryBytes);
};

TEST_F(DmaTest, MemoryIsSharedWithTheClient) {
  StartSession();
  EXPECT_EQ(Map(0x100000, 8192, 3, 4096), 0u);
  EXPECT_THAT(device_.log, ElementsAre("connected", "map 1048576+8192"));

  ASSERT_EQ(pwrite(memory_.get(), "hello", 5, 4096 + 100), 5);
  EXPECT_EQ(std::memcmp(server_->Memory(0x100000 + 100, 5, false), "hello", 5), 0);
  std::memcpy(server_->Memory(0x100000 + 8190, 2, true), "!?", 2);
  char back[2];
  ASSERT_EQ(pread(memory_.get(), back, 2, 4096 + 8190), 2);
  EXPECT_EQ(std::string(back, 2), "!?");
}

TEST_F(DmaTest, OnlyWhatLiesInOneRegionIsReached) {
  StartSession();
  ASSERT_EQ(Map(0x10000, 4096), 0u);
  ASSERT_EQ(Map(0x11000, 4096, 3, 4096), 0u);
  EXPECT_TRUE(Reachable(0x10000, 4096));
  EXPECT_TRUE(Reachable(0x11fff, 1));
  EXPECT_FALSE(Reachable(0x10fff, 2));  // Two regions, side by side.
  EXPECT_FALSE(Reachable(0xffff, 2));
  EXPECT_FALSE(Reachable(0x11fff, 2));
  EXPECT_FALSE(Reachable(0x12000, 1));
  EXPECT_FALSE(Reachable(0x10000, kMax));
  EXPECT_FALSE(Reachable(0x10800, kMax - 0x10000));
  EXPECT_FALSE(Reachable(kMax, 1));
  EXPECT_FALSE(Reachable(0, kMax));
}

TEST_F(DmaTest, AccessIsWhatTheClientAllows) {
  StartSession();
  ASSERT_EQ(Map(0x10000, 4096, 1), 0u);
  ASSERT_EQ(Map(0x20000, 4096, 2), 0u);
  ASSERT_EQ(Map(0x30000, 4096, 0), 0u);
  EXPECT_TRUE(Reachable(0x10000, 1, false));
  EXPECT_FALSE(Reachable(0x10000, 1, true));
  EXPECT_FALSE(Reachable(0x20000, 1, false));
  EXPECT_TRUE(Reachable(0x20000, 1, true));
  EXPECT_FALSE(Reachable(0x30000, 1, false));
  EXPECT_FALSE(Reachable(0x30000, 1, true));
}

TEST_F(DmaTest, AnOffsetNeedsNoAlignment) {
  StartSession();
  ASSERT_EQ(Map(0x10000, 100, 3, 4090), 0u);
  ASSERT_EQ(pwrite(memory_.get(), "across", 6, 4093), 6);
  EXPECT_EQ(std::memcmp(server_->Memory(0x10003, 6, false), "across", 6), 0);
  EXPECT_FALSE(Reachable(0x10063, 2));
}

TEST_F(DmaTest, MemoryWithoutAFileIsKnownButNotReached) {
  StartSession();
  EXPECT_EQ(MapWithoutFile(0xfffc0000, 0x40000, 1), 0u);
  EXPECT_FALSE(Reachable(0xfffc0000));
  EXPECT_EQ(Map(0xfffc1000, 4096), static_cast<uint32_t>(EEXIST));
  EXPECT_EQ(MapWithoutFile(0xfffc0000, 0x40000, 1), 0u);  // Identical.
  EXPECT_EQ(Unmap(0xfffc0000, 0x40000), 0u);
  EXPECT_EQ(Unmap(0xfffc0000, 0x40000), static_cast<uint32_t>(ENOENT));
}

TEST_F(DmaTest, OverlapsAreRefused) {
  StartSession();
  ASSERT_EQ(Map(0x10000, 0x3000), 0u);
  for (const auto& [iova, bytes] : std::vector<std::pair<uint64_t, uint64_t>>{{0x10000, 0x1000},
                                                                              {0x10000, 0x4000},
                                                                              {0x11000, 0x1000},
                                                                              {0x12fff, 0x1000},
                                                                              {0xf000, 0x1001},
                                                                              {0xf000, 0x9000},
                                                                              {0x10001, 0x2fff}}) {
    EXPECT_EQ(Map(iova, bytes), static_cast<uint32_t>(EEXIST)) << iova << "+" << bytes;
  }
  EXPECT_EQ(Map(0xf000, 0x1000), 0u);
  EXPECT_EQ(Map(0x13000, 0x1000), 0u);
}

TEST_F(DmaTest, OnlyTheSameAgainSucceeds) {
  StartSession();
  ASSERT_EQ(Map(0x10000, 4096), 0u);
  std::byte* const before = server_->Memory(0x10000, 1, true);
  EXPECT_EQ(Map(0x10000, 4096), 0u);
  EXPECT_EQ(server_->Memory(0x10000, 1, true), before);
  EXPECT_THAT(device_.log, ElementsAre("connected", "map 65536+4096"));

  EXPECT_EQ(Map(0x10000, 4096, 1), static_cast<uint32_t>(EEXIST));
  EXPECT_EQ(Map(0x10000, 4096, 3, 4096), static_cast<uint32_t>(EEXIST));
  EXPECT_EQ(MapWithoutFile(0x10000, 4096), static_cast<uint32_t>(EEXIST));
  const UniqueFd other = MakeMemory(4096);
  EXPECT_EQ(ErrorOf(2, DmaMap(0x10000, 4096), {other.get()}), static_cast<uint32_t>(EEXIST));
}

TEST_F(DmaTest, TheWholeAddressSpaceCanBeNamed) {
  StartSession();
  EXPECT_EQ(MapWithoutFile(0, kMax), 0u);
  EXPECT_EQ(Unmap(0, kMax), 0u);
  EXPECT_EQ(Map(kMax - 4095, 4096), 0u);
  EXPECT_TRUE(Reachable(kMax, 1));
  EXPECT_FALSE(Reachable(kMax, 2));
  EXPECT_EQ(Unmap(kMax - 4095, 4096), 0u);
}

TEST_F(DmaTest, WhatCannotBeIsRefused) {
  StartSession();
  EXPECT_EQ(Map(0x10000, 0), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(Map(kMax, 2), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(MapWithoutFile(2, kMax), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(Map(0x10000, 4096, 0x10), static_cast<uint32_t>(EINVAL));        // An unknown flag.
  EXPECT_EQ(Map(0x10000, kMemoryBytes + 1), static_cast<uint32_t>(EINVAL));  // Beyond the file.
  EXPECT_EQ(Map(0x10000, 4096, 3, kMemoryBytes), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(Map(0x10000, 4096, 3, kMax), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(Map(0x10000, 4096, 3, kMax - 4095), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(ErrorOf(2, "short"), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(ErrorOf(2, Bytes().U32(31).U32(3).U64(0).U64(0).U64(4096)),
            static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(ErrorOf(2, DmaMap(0x10000, 4096), {memory_.get(), memory_.get()}),
            static_cast<uint32_t>(EINVAL));
  EXPECT_THAT(device_.log, ElementsAre("connected"));
}

TEST_F(DmaTest, HowToReachAFileMayBeSaid) {
  StartSession();
  EXPECT_EQ(Map(0x10000, 4096, 3 | 4), 0u);  // By mmap, as without.
  EXPECT_TRUE(Reachable(0x10000));
  EXPECT_EQ(Map(0x20000, 4096, 3 | 8), static_cast<uint32_t>(ENOTSUP));  // By pread: not ours.
  EXPECT_EQ(Map(0x20000, 4096, 3 | 12), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(MapWithoutFile(0x20000, 4096, 3 | 4), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(MapWithoutFile(0x20000, 4096, 3 | 8), static_cast<uint32_t>(EINVAL));
}

TEST_F(DmaTest, WhatIsNoMemoryIsRefused) {
  StartSession();
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  const UniqueFd reader(pipe_fds[0]), writer(pipe_fds[1]);
  const UniqueFd zero(open("/dev/zero", O_RDWR | O_CLOEXEC));
  const UniqueFd directory(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (const int fd : {reader.get(), zero.get(), directory.get(), client_.get()}) {
    EXPECT_EQ(ErrorOf(2, DmaMap(0x10000, 4096), {fd}), static_cast<uint32_t>(EINVAL));
  }
  // It can be read, but not written.
  const std::string path = directory_ / "memory";
  const UniqueFd read_only(open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(truncate(path.c_str(), 4096), 0);
  EXPECT_EQ(ErrorOf(2, DmaMap(0x10000, 4096), {read_only.get()}), static_cast<uint32_t>(EACCES));
  EXPECT_EQ(ErrorOf(2, DmaMap(0x10000, 4096, 1), {read_only.get()}), 0u);
}

TEST_F(DmaTest, MoreAddressesThanAreGoodForUsAreRefused) {
  StartSession();
  const UniqueFd holes = MakeMemory(size_t{9} << 40);
  EXPECT_EQ(ErrorOf(2, DmaMap(0, uint64_t{9} << 40), {holes.get()}), 0u);
  EXPECT_EQ(ErrorOf(2, DmaMap(uint64_t{9} << 40, uint64_t{9} << 40), {holes.get()}),
            static_cast<uint32_t>(ENOMEM));
  EXPECT_EQ(Unmap(0, uint64_t{9} << 40), 0u);
  EXPECT_EQ(ErrorOf(2, DmaMap(uint64_t{9} << 40, uint64_t{9} << 40), {holes.get()}), 0u);
}

TEST_F(DmaTest, TheTableHasABound) {
  StartSession({.dma_regions_max = 3});
  for (uint64_t i = 0; i < 3; ++i) ASSERT_EQ(Map(i * 4096, 4096), 0u);
  EXPECT_EQ(Map(3 * 4096, 4096), static_cast<uint32_t>(ENOSPC));
  EXPECT_EQ(Unmap(4096, 4096), 0u);
  EXPECT_EQ(Map(3 * 4096, 4096), 0u);
}

TEST_F(DmaTest, AnUnmapNamesWhatWasMapped) {
  StartSession();
  ASSERT_EQ(Map(0x10000, 0x2000), 0u);
  EXPECT_EQ(Unmap(0x10000, 0x1000), static_cast<uint32_t>(ENOENT));
  EXPECT_EQ(Unmap(0x11000, 0x1000), static_cast<uint32_t>(ENOENT));
  EXPECT_EQ(Unmap(0x10000, 0x3000), static_cast<uint32_t>(ENOENT));
  EXPECT_EQ(Unmap(0, 0), static_cast<uint32_t>(ENOENT));
  EXPECT_EQ(Unmap(0x10000, 0x2000, 1), static_cast<uint32_t>(EINVAL));  // A dirty bitmap.
  EXPECT_EQ(Unmap(0x10000, 0x2000, 4), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(Unmap(0x10000, 0x2000, 2), static_cast<uint32_t>(EINVAL));  // All, or that one?
  EXPECT_EQ(ErrorOf(3, "short"), static_cast<uint32_t>(EINVAL));
  EXPECT_TRUE(Reachable(0x10000));

  EXPECT_EQ(Ask(3, DmaUnmap(0x10000, 0x2000)).payload, DmaUnmap(0x10000, 0x2000));
  EXPECT_FALSE(Reachable(0x10000));
  EXPECT_THAT(device_.log,
              ElementsAre("connected", "map 65536+8192", "unmap 65536", "unmapped 65536"));
}

TEST_F(DmaTest, ADescriptorThatComesWithAnUnmapIsClosed) {
  StartSession();
  ASSERT_EQ(Map(0x10000, 4096), 0u);
  const int open = OpenDescriptors();
  EXPECT_EQ(ErrorOf(3, DmaUnmap(0x10000, 4096), {memory_.get()}), 0u);
  ExpectAlive();
  EXPECT_EQ(OpenDescriptors(), open);
}

TEST_F(DmaTest, AllIsUnmappedAtOnce) {
  StartSession();
  for (uint64_t i = 0; i < 5; ++i) ASSERT_EQ(Map(i * 8192, 4096), 0u);
  EXPECT_EQ(Ask(3, DmaUnmap(0, 0, 2)).payload, DmaUnmap(0, 0, 2));
  for (uint64_t i = 0; i < 5; ++i) EXPECT_FALSE(Reachable(i * 8192));
  EXPECT_EQ(Unmap(0, 0, 2), 0u);  // Of nothing.
  EXPECT_EQ(Map(0, 0x10000), 0u);
}

TEST_F(DmaTest, FirmwareMayCutMemoryIntoPiecesAndJoinThem) {
  StartSession();
  for (int round = 0; round < 50; ++round) {
    ASSERT_EQ(Map(0, kMemoryBytes), 0u);
    ASSERT_EQ(Unmap(0, kMemoryBytes), 0u);
    for (uint64_t page = 0; page < 16; ++page) {
      ASSERT_EQ(Map(page * 4096, 4096, page % 2 == 0 ? 3 : 1, page * 4096), 0u);
    }
    ASSERT_EQ(Unmap(0, 0, 2), 0u);
  }
}

TEST_F(DmaTest, CommandsWaitForTheDeviceToLetGo) {
  StartSession();
  ASSERT_EQ(Map(0x10000, 4096), 0u);
  device_.hold_unmaps = true;
  Send(MakeMessage(3, DmaUnmap(0x10000, 4096), 1));
  Send(MakeMessage(2, DmaMap(0x10000, 8192), 2), {memory_.get()});
  Send(MakeMessage(9, Access(0, 0, 4), 3));
  Turns();
  std::vector<UniqueFd> none;
  char byte;
  EXPECT_EQ(recv(client_.get(), &byte, 1, 0), -1);
  // Until then the device reaches the memory.
  EXPECT_TRUE(Reachable(0x10000, 4096, true));
  EXPECT_THAT(device_.log, ElementsAre("connected", "map 65536+4096", "unmap 65536"));

  device_.Release();
  for (const uint32_t id : {1u, 2u, 3u}) {
    const Reply reply = ReceiveReply();
    EXPECT_EQ(reply.id, id);
    EXPECT_EQ(reply.error, 0u);
  }
  EXPECT_TRUE(Reachable(0x10000, 8192, true));
  EXPECT_EQ(pread(memory_.get(), &byte, 1, 0), 1);
  EXPECT_EQ(byte, '\xdd');  // What it wrote last reached the client.
}

TEST_F(DmaTest, AClientThatDiesDuringAnUnmapIsForgottenAfterIt) {
  StartSession();
  ASSERT_EQ(Map(0x10000, 4096), 0u);
  ASSERT_EQ(Map(0x20000, 4096, 3, 4096), 0u);
  device_.hold_unmaps = true;
  Send(MakeMessage(3, DmaUnmap(0x10000, 4096)));
  Turns();
  client_.Reset();
  Turns();
  EXPECT_TRUE(server_->connected());
  EXPECT_TRUE(Reachable(0x10000));
  device_.Release();
  RunUntil([&] { return !server_->connected(); });
  EXPECT_THAT(device_.log,
              ElementsAre("connected", "map 65536+4096", "map 131072+4096", "unmap 65536",
                          "unmapped 65536", "unmap 131072", "unmapped 131072", "gone", "reset"));
  EXPECT_FALSE(Reachable(0x20000));
}

TEST_F(DmaTest, ClosingWaitsForTheDeviceToLetGo) {
  StartSession();
  ASSERT_EQ(Map(0x10000, 4096), 0u);
  device_.hold_unmaps = true;
  Task<void> closing = server_->Close();
  Run([&] { closing.Start(); });
  Turns();
  EXPECT_FALSE(closing.done());
  EXPECT_TRUE(ServerHungUp());  // The client knows at once.
  EXPECT_TRUE(Reachable(0x10000));
  EXPECT_FALSE(std::filesystem::exists(path_));
  device_.Release();
  RunUntil([&] { return closing.done(); });
  EXPECT_EQ(device_.log.back(), "reset");
  server_.reset();
}

TEST_F(DmaTest, TheNextClientFindsNothingOfTheLast) {
  StartSession();
  ASSERT_EQ(Map(0x10000, 4096), 0u);
  client_.Reset();
  RunUntil([&] { return !server_->connected(); });
  EXPECT_FALSE(Reachable(0x10000));
  EXPECT_EQ(device_.log.back(), "reset");

  client_ = Connect();
  ASSERT_EQ(Ask(1, MakeVersion()).error, 0u);
  EXPECT_FALSE(Reachable(0x10000));
  EXPECT_EQ(Unmap(0x10000, 4096), static_cast<uint32_t>(ENOENT));
  EXPECT_EQ(Map(0x10000, 8192), 0u);
}

TEST_F(DmaTest, NoDescriptorIsKept) {
  StartSession();
  ExpectAlive();
  const int open = OpenDescriptors();
  for (uint64_t i = 0; i < 20; ++i) ASSERT_EQ(Map(i * 4096, 4096), 0u);
  ASSERT_EQ(Map(0, 4096), 0u);
  ASSERT_EQ(Map(0, 4096, 1), static_cast<uint32_t>(EEXIST));
  ASSERT_EQ(ErrorOf(99, "", {memory_.get(), memory_.get()}), static_cast<uint32_t>(EINVAL));
  ExpectAlive();
  EXPECT_EQ(OpenDescriptors(), open);
}

}  // namespace
}  // namespace pollux::vfio_user
