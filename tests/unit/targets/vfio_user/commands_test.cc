// What each command answers.
#include <gmock/gmock.h>

#include "tests/unit/targets/vfio_user/server_fixture.h"

namespace pollux::vfio_user {
namespace {

using CommandsTest = ServerTest;

TEST_F(CommandsTest, VersionIsAnsweredWithOursInJson) {
  Start();
  client_ = Connect();
  const Reply reply = Ask(1, MakeVersion());
  EXPECT_EQ(reply.error, 0u);
  EXPECT_EQ(NumberAt(reply.payload, 0, 2), 0u);
  EXPECT_EQ(NumberAt(reply.payload, 2, 2), 1u);
  EXPECT_EQ(reply.payload.substr(4),
            std::string(R"({"capabilities":{"max_msg_fds":8,"max_data_xfer_size":1048576,)"
                        R"("max_dma_maps":4096,"pgsizes":4096,"write_multiple":true}})") +
                '\0');
  // QEMU has room for as much as it asks with.
  EXPECT_LE(16 + reply.payload.size(), 0xd6u);
}

TEST_F(CommandsTest, VersionMeetsTheLowerMinorNumber) {
  for (const auto& [theirs, agreed] : {std::pair(0, 0u), std::pair(1, 1u), std::pair(9, 1u)}) {
    Start();
    client_ = Connect();
    const Reply reply = Ask(1, MakeVersion("", 0, static_cast<uint16_t>(theirs)));
    EXPECT_EQ(NumberAt(reply.payload, 2, 2), agreed);
    EXPECT_EQ(reply.payload.find("write_multiple"), std::string::npos);  // It was not proposed.
    client_.Reset();
    Close();
  }
}

TEST_F(CommandsTest, AWrongVersionIsRefusedAndClosed) {
  for (const std::string& payload : {
           MakeVersion("", 1),                                      // Major.
           std::string(Bytes().U16(0)),                             // Too short.
           MakeVersion("{}"),                                       // No NUL.
           MakeVersion(std::string("{\0", 2)),                      // Not JSON.
           MakeVersion(std::string("{\"capabilities\":1}\0", 19)),  // Not an object.
           MakeVersion(std::string(5000, ' ') + '\0'),              // Endless.
       }) {
    Start();
    client_ = Connect();
    EXPECT_EQ(Ask(1, payload).error, static_cast<uint32_t>(EINVAL));
    EXPECT_TRUE(ServerHungUp());
    client_.Reset();
    Close();
  }
}

TEST_F(CommandsTest, NothingComesBeforeVersion) {
  Start();
  client_ = Connect();
  EXPECT_EQ(Ask(4, Bytes().U32(16).U32(0).U32(0).U32(0)).error, static_cast<uint32_t>(EINVAL));
  EXPECT_TRUE(ServerHungUp());
}

TEST_F(CommandsTest, ASecondVersionIsRefused) {
  StartSession();
  EXPECT_EQ(ErrorOf(1, MakeVersion()), static_cast<uint32_t>(EINVAL));
  ExpectAlive();
}

TEST_F(CommandsTest, TheDeviceIsAPciFunctionThatCanBeReset) {
  StartSession();
  EXPECT_EQ(Ask(4, Bytes().U32(16).U32(0).U32(0).U32(0)).payload,
            std::string(Bytes().U32(16).U32(3).U32(9).U32(5)));
  EXPECT_EQ(ErrorOf(4, Bytes().U32(12).U32(0).U32(0).U32(0)), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(ErrorOf(4, Bytes().U32(16).U32(0)), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(ErrorOf(4, ""), static_cast<uint32_t>(EINVAL));
}

TEST_F(CommandsTest, ARegionWithAreasIsDescribedInTwoSteps) {
  StartSession();
  Reply reply = Ask(5, RegionQuestion(0));
  EXPECT_EQ(reply.payload, std::string(Bytes().U32(64).U32(7).U32(0).U32(0).U64(16384).U64(0)));
  EXPECT_TRUE(reply.fds.empty());

  reply = Ask(5, RegionQuestion(0, 64));
  EXPECT_EQ(reply.payload, std::string(Bytes()
                                           .U32(64)
                                           .U32(0xf)
                                           .U32(0)
                                           .U32(32)
                                           .U64(16384)
                                           .U64(0)
                                           .U16(1)
                                           .U16(1)
                                           .U32(0)
                                           .U32(1)
                                           .U32(0)
                                           .U64(4096)
                                           .U64(4096)));
  ASSERT_EQ(reply.fds.size(), 1u);
  // It is the device's memory.
  char byte = 0x5a;
  ASSERT_EQ(pwrite(reply.fds[0].get(), &byte, 1, 4096 + 12), 1);
  EXPECT_EQ(*device_.Place(0, 4096 + 12), std::byte{0x5a});
}

TEST_F(CommandsTest, AreasBeginWhereTheRegionBeginsInTheFile) {
  StartSession();
  const Reply reply = Ask(5, RegionQuestion(4, 4064) + std::string(4032, '\0'));
  EXPECT_EQ(reply.payload, std::string(Bytes()
                                           .U32(80)
                                           .U32(0xf)
                                           .U32(4)
                                           .U32(32)
                                           .U64(16384)
                                           .U64(16 * 4096)
                                           .U16(1)
                                           .U16(1)
                                           .U32(0)
                                           .U32(2)
                                           .U32(0)
                                           .U64(0)
                                           .U64(4096)
                                           .U64(8192)
                                           .U64(4096)));
  EXPECT_EQ(reply.fds.size(), 1u);
}

TEST_F(CommandsTest, RegionsWithoutAreasAndWithoutAnythingAreDescribed) {
  StartSession();
  EXPECT_EQ(Ask(5, RegionQuestion(7)).payload,
            std::string(Bytes().U32(32).U32(3).U32(7).U32(0).U64(256).U64(0)));
  EXPECT_EQ(Ask(5, RegionQuestion(2)).payload,
            std::string(Bytes().U32(32).U32(1).U32(2).U32(0).U64(4096).U64(0)));
  for (const uint32_t absent : {1u, 3u, 5u, 6u, 8u}) {
    EXPECT_EQ(Ask(5, RegionQuestion(absent)).payload,
              std::string(Bytes().U32(32).U32(0).U32(absent).U32(0).U64(0).U64(0)));
  }
  EXPECT_EQ(ErrorOf(5, RegionQuestion(9)), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(ErrorOf(5, RegionQuestion(0, 31)), static_cast<uint32_t>(EINVAL));
}

TEST_F(CommandsTest, EveryByteOfARegionIsReadAndWritten) {
  StartSession();
  for (const uint64_t offset : {0u, 4096u, 16376u}) {
    EXPECT_EQ(Ask(10, Access(0, offset, 8) + "abcdefgh").payload, Access(0, offset, 8));
    EXPECT_EQ(Ask(9, Access(0, offset, 8)).payload, Access(0, offset, 8) + "abcdefgh");
  }
  EXPECT_EQ(Ask(9, Access(0, 1, 1)).payload, Access(0, 1, 1) + "b");
}

TEST_F(CommandsTest, TheConfigurationSpaceIsReadInOnePiece) {
  StartSession();
  const Reply reply = Ask(9, Access(7, 0, 256));
  ASSERT_EQ(reply.payload.size(), 16u + 256u);
  EXPECT_EQ(NumberAt(reply.payload, 16, 4), 0x56781234u);
}

TEST_F(CommandsTest, AccessBeyondARegionIsRefused) {
  StartSession();
  for (const auto& [region, offset, count] :
       std::vector<std::tuple<uint32_t, uint64_t, uint32_t>>{{0, 16384, 1},
                                                             {0, 16381, 4},
                                                             {0, ~uint64_t{0}, 1},
                                                             {0, ~uint64_t{0} - 3, 8},
                                                             {0, 0, 0xffffffff},
                                                             {1, 0, 1},
                                                             {8, 0, 1},
                                                             {9, 0, 1},
                                                             {0xffffffff, 0, 1}}) {
    EXPECT_EQ(ErrorOf(9, Access(region, offset, count)), static_cast<uint32_t>(EINVAL));
    if (count <= 8) {
      EXPECT_EQ(ErrorOf(10, Access(region, offset, count) + std::string(count, 'x')),
                static_cast<uint32_t>(EINVAL));
    }
  }
  EXPECT_EQ(device_.writes, 0);
}

TEST_F(CommandsTest, AReadOnlyRegionIsNotWritten) {
  StartSession();
  EXPECT_EQ(ErrorOf(10, Access(2, 0, 4) + "abcd"), static_cast<uint32_t>(EPERM));
  EXPECT_EQ(ErrorOf(9, Access(2, 0, 4)), 0u);
}

TEST_F(CommandsTest, AWriteSaysHowMuchItBrings) {
  StartSession();
  EXPECT_EQ(ErrorOf(10, Access(0, 0, 4) + "abc"), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(ErrorOf(10, Access(0, 0, 4) + "abcde"), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(ErrorOf(10, Access(0, 0, 0xffffffff) + "abcde"), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(ErrorOf(10, "short"), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(ErrorOf(9, "short"), static_cast<uint32_t>(EINVAL));
}

TEST_F(CommandsTest, AReadOfMoreThanWasAnnouncedIsRefused) {
  StartSession({.data_bytes_max = 4096});
  EXPECT_EQ(ErrorOf(9, Access(0, 0, 4096)), 0u);
  EXPECT_EQ(ErrorOf(9, Access(0, 0, 4097)), static_cast<uint32_t>(EINVAL));
}

TEST_F(CommandsTest, AnAccessOfNothingSucceeds) {
  StartSession();
  EXPECT_EQ(ErrorOf(9, Access(0, 16384, 0)), 0u);
  EXPECT_EQ(ErrorOf(10, Access(0, 0, 0)), 0u);
  EXPECT_EQ(device_.writes, 0);
}

TEST_F(CommandsTest, TheDevicesErrorIsTheAnswer) {
  StartSession();
  device_.error = ENODEV;
  EXPECT_EQ(ErrorOf(9, Access(0, 0, 4)), static_cast<uint32_t>(ENODEV));
  EXPECT_EQ(ErrorOf(10, Access(0, 0, 4) + "abcd"), static_cast<uint32_t>(ENODEV));
  device_.error = 0;
  EXPECT_EQ(ErrorOf(9, Access(0, 0, 4)), 0u);
}

TEST_F(CommandsTest, APostedWriteIsCarriedOutWithoutAReply) {
  StartSession();
  Send(MakeMessage(10, Access(0, 64, 4) + "wxyz", 7, kNoReply));
  EXPECT_EQ(Ask(9, Access(0, 64, 4)).payload, Access(0, 64, 4) + "wxyz");
  // Nor has one that fails, nor a read.
  Send(MakeMessage(10, Access(9, 0, 4) + "wxyz", 7, kNoReply));
  Send(MakeMessage(9, Access(0, 0, 4), 7, kNoReply));
  Send(MakeMessage(99, "", 7, kNoReply));
  ExpectAlive();
}

TEST_F(CommandsTest, ManyWritesComeInOneMessage) {
  StartSession();
  const std::string entries = Bytes()
                                  .U64(2)
                                  .U64(8)
                                  .U32(0)
                                  .U32(8)
                                  .Text("abcdefgh")
                                  .U64(100)
                                  .U32(0)
                                  .U32(2)
                                  .Text("ij")
                                  .Text("......");
  EXPECT_EQ(Ask(15, entries).payload, std::string(Bytes().U64(2)));
  EXPECT_EQ(Ask(9, Access(0, 8, 8)).payload.substr(16), "abcdefgh");
  EXPECT_EQ(Ask(9, Access(0, 100, 3)).payload.substr(16), std::string("ij\0", 3));
}

TEST_F(CommandsTest, ManyWritesThatDoNotAddUpAreRefused) {
  StartSession();
  const std::string entry = Bytes().U64(8).U32(0).U32(8).Text("abcdefgh");
  EXPECT_EQ(ErrorOf(15, ""), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(ErrorOf(15, std::string(Bytes().U64(2)) + entry), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(ErrorOf(15, std::string(Bytes().U64(~uint64_t{0})) + entry),
            static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(ErrorOf(15, std::string(Bytes().U64(1)) + entry + "x"), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(ErrorOf(15, Bytes().U64(1).U64(8).U32(0).U32(9).Text("abcdefgh")),
            static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(device_.writes, 0);
  EXPECT_EQ(Ask(15, Bytes().U64(0)).payload, std::string(Bytes().U64(0)));
}

TEST_F(CommandsTest, ManyWritesWantToBeAgreedUpon) {
  Start();
  client_ = Connect();
  ASSERT_EQ(ErrorOf(1, MakeVersion("")), 0u);
  EXPECT_EQ(ErrorOf(15, Bytes().U64(0)), static_cast<uint32_t>(EINVAL));
}

TEST_F(CommandsTest, ResetReachesTheDeviceAndKeepsMemory) {
  StartSession();
  const UniqueFd memory = MakeMemory(4096);
  ASSERT_EQ(ErrorOf(2, DmaMap(0x10000, 4096), {memory.get()}), 0u);
  EXPECT_EQ(ErrorOf(13, ""), 0u);
  EXPECT_THAT(device_.log, testing::ElementsAre("connected", "map 65536+4096", "reset"));
  EXPECT_NE(server_->Memory(0x10000, 4096, true), nullptr);
}

TEST_F(CommandsTest, ThereAreNoDescriptorsForPartsOfRegions) {
  StartSession();
  EXPECT_EQ(Ask(6, Bytes().U32(4096).U32(0).U32(0).U32(0)).payload,
            std::string(Bytes().U32(16).U32(0).U32(0).U32(0)));
  EXPECT_EQ(ErrorOf(6, Bytes().U32(15).U32(0).U32(0).U32(0)), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(ErrorOf(6, Bytes().U32(16).U32(1).U32(0).U32(0)), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(ErrorOf(6, Bytes().U32(16).U32(0).U32(1).U32(0)), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(ErrorOf(6, Bytes().U32(16).U32(0).U32(9).U32(0)), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(ErrorOf(6, Bytes().U32(16).U32(0).U32(0).U32(1)), static_cast<uint32_t>(EINVAL));
}

TEST_F(CommandsTest, MigrationAndUnknownCommandsAreRefused) {
  StartSession();
  for (const uint16_t command :
       std::initializer_list<uint16_t>{0, 11, 12, 14, 16, 17, 18, 19, 255, 65535}) {
    EXPECT_EQ(ErrorOf(command, Bytes().U32(16).U32(0x10001).U64(0)), static_cast<uint32_t>(EINVAL));
  }
  ExpectAlive();
}

}  // namespace
}  // namespace pollux::vfio_user
