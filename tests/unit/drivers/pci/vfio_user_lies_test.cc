// The client against servers that lie about their device.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>

#include "core/mmio.h"
#include "tests/unit/drivers/pci/vfio_user_script.h"

namespace pollux::pci {
namespace {

constexpr uint64_t kMax = ~uint64_t{0};

using testing::HasSubstr;

TEST_F(VfioUserClientTest, WhatIsNoPciDeviceIsRefused) {
  const auto error_of = [&](uint32_t flags, uint32_t regions) {
    return ErrorNumber(Client(Script().Version().Info(flags, regions))->GetDevice().status());
  };
  EXPECT_EQ(error_of(1, 9), ENOTSUP);
  EXPECT_EQ(error_of(3, 7), EBADMSG);
  EXPECT_EQ(error_of(3, 65), EBADMSG);
  EXPECT_EQ(error_of(3, 0xffffffff), EBADMSG);
  EXPECT_EQ(error_of(3, 8), 0);
}

TEST_F(VfioUserClientTest, ARegionThatCannotBeEndsTheConnection) {
  const auto error_of = [&](const std::string& reply) {
    const auto client = Client(Script().Version().Reply(5, reply));
    return ErrorNumber(client->GetRegion(0).status());
  };
  EXPECT_EQ(error_of(Bytes().U32(32).U32(3).U32(0).U32(0).U64(4096).U64(0)), 0);
  EXPECT_EQ(error_of(Bytes().U32(32).U32(3).U32(1).U32(0).U64(4096).U64(0)), EBADMSG);
  EXPECT_EQ(error_of(Bytes().U32(32).U32(3).U32(0).U32(0).U64(kMax).U64(0)), EBADMSG);
  EXPECT_EQ(error_of(Bytes().U32(32).U32(3).U32(0).U32(0).U64(4096).U64(kMax)), EBADMSG);
  EXPECT_EQ(error_of(Bytes().U32(kMax).U32(3).U32(0).U32(0).U64(4096).U64(0)), EBADMSG);
}

TEST_F(VfioUserClientTest, CapabilitiesThatCannotBeEndTheConnection) {
  // A region of 8192 bytes whose capabilities begin at `offset` of the payload.
  const auto error_of = [&](uint32_t cap_offset, const std::string& capabilities) {
    const size_t whole = 32 + capabilities.size();
    Script script;
    script.Version();
    script.Reply(5, Bytes().U32(whole).U32(7).U32(0).U32(0).U64(8192).U64(0));
    script.Reply(5,
                 std::string(Bytes().U32(whole).U32(0xf).U32(0).U32(cap_offset).U64(8192).U64(0)) +
                     capabilities,
                 {file_.get()});
    const auto client = Client(script);
    return ErrorNumber(client->GetRegion(0).status());
  };
  const auto sparse = [](uint32_t next, uint32_t count, uint64_t offset, uint64_t bytes) {
    return std::string(Bytes().U16(1).U16(1).U32(next).U32(count).U32(0).U64(offset).U64(bytes));
  };
  EXPECT_EQ(error_of(32, sparse(0, 1, 4096, 4096)), 0);
  EXPECT_EQ(error_of(32, sparse(0, 0, 0, 0)), 0);
  EXPECT_EQ(error_of(0, sparse(0, 1, 4096, 4096)), 0);  // There is none, it says.
  EXPECT_EQ(error_of(57, sparse(0, 1, 4096, 4096)), EINVAL);
  EXPECT_EQ(error_of(64, sparse(0, 1, 4096, 4096)), EINVAL);
  EXPECT_EQ(error_of(0xffffffff, sparse(0, 1, 4096, 4096)), EINVAL);
  EXPECT_EQ(error_of(32, sparse(32, 1, 4096, 4096)), EINVAL);  // In a circle.
  EXPECT_EQ(error_of(32, sparse(1, 1, 4096, 4096)), EINVAL);
  EXPECT_EQ(error_of(32, sparse(0xffffffff, 1, 4096, 4096)), EINVAL);
  EXPECT_EQ(error_of(32, sparse(0, 2, 4096, 4096)), EINVAL);
  EXPECT_EQ(error_of(32, sparse(0, 0xffffffff, 4096, 4096)), EINVAL);
  EXPECT_EQ(error_of(32, sparse(0, 1, 4096, 4097)), EINVAL);
  EXPECT_EQ(error_of(32, sparse(0, 1, 8193, 1)), EINVAL);
  EXPECT_EQ(error_of(32, sparse(0, 1, kMax, 2)), EINVAL);
  EXPECT_EQ(error_of(32, sparse(0, 1, 4096, kMax)), EINVAL);
  EXPECT_EQ(error_of(32, sparse(0, 1, 0, 0)), EINVAL);
  // Another capability is passed over.
  EXPECT_EQ(error_of(32, std::string(Bytes().U16(9).U16(1).U32(40)) + sparse(0, 1, 0, 4096)), 0);
}

TEST_F(VfioUserClientTest, AreasThatItsFileDoesNotHaveAreReachedByMessages) {
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  const UniqueFd reader(pipe_fds[0]), writer(pipe_fds[1]);
  const UniqueFd shorter = MakeFile(8191);
  const UniqueFd zero(open("/dev/zero", O_RDWR | O_CLOEXEC));
  for (const int fd : {reader.get(), shorter.get(), zero.get()}) {
    const auto device = Open(Script().WholeOpening(fd));
    ASSERT_TRUE(device.ok()) << device.status();
    EXPECT_EQ((*device)->MapBar(0, 4096, 4), nullptr);
  }
}

TEST_F(VfioUserClientTest, AServerThatTakesItsRegistersAwayLosesItsDevice) {
  auto client = Client(Script().WholeOpening(file_.get()), /*hang_up=*/false);
  const auto device = VfioUserDevice::Open(std::move(client), registry_);
  ASSERT_TRUE(device.ok()) << device.status();
  std::byte* const page = (*device)->MapBar(0, 4096, 4096);
  ASSERT_NE(page, nullptr);
  ASSERT_EQ(ftruncate(file_.get(), 0), 0);
  MmioWrite<uint32_t>(page + 16, 1);
  EXPECT_EQ(MmioRead<uint32_t>(page + 20), 0xffffffffu);
  EXPECT_EQ(ErrorNumber((*device)->gone()), ENODEV);
  EXPECT_EQ((*device)->Read32(0, 4096), 0xffffffffu);
  pollfd state{.fd = (*device)->removal_fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&state, 1, 0), 1);
}

TEST_F(VfioUserClientTest, ARegionWithoutCapabilitiesIsMappedWhole) {
  Script script;
  script.Version().Info();
  script.Reply(5, Bytes().U32(32).U32(7).U32(0).U32(0).U64(8192).U64(0), {file_.get()});
  for (uint32_t bar = 1; bar < 7; ++bar) script.Region(bar, 0, 0);
  script.Region(7, 256).Irqs(2, 1);
  const auto device = Open(script);
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_NE((*device)->MapBar(0, 0, 8192), nullptr);
}

TEST_F(VfioUserClientTest, ADeviceWithoutAConfigurationSpaceIsRefused) {
  Script script;
  script.Version().Info();
  for (uint32_t bar = 0; bar < 7; ++bar) script.Region(bar, 0, 0);
  script.Region(7, 63);
  EXPECT_EQ(ErrorNumber(Open(script).status()), EBADMSG);
}

TEST_F(VfioUserClientTest, InterruptsThatCannotBeEndTheConnection) {
  const auto vectors = [&](uint32_t flags, uint32_t index, uint32_t count) {
    const auto client =
        Client(Script().Version().Reply(7, Bytes().U32(16).U32(flags).U32(index).U32(count)));
    return client->GetVectors(2);
  };
  EXPECT_EQ(*vectors(1, 2, 2048), 2048u);
  EXPECT_EQ(*vectors(0, 2, 4), 0u);  // Without eventfds they are of no use.
  EXPECT_EQ(ErrorNumber(vectors(1, 2, 2049).status()), EBADMSG);
  EXPECT_EQ(ErrorNumber(vectors(1, 2, 0xffffffff).status()), EBADMSG);
  EXPECT_EQ(ErrorNumber(vectors(1, 1, 4).status()), EBADMSG);
}

TEST_F(VfioUserClientTest, DescriptorsThatNobodyAskedForAreClosed) {
  const int fd = file_.get();
  Script script;
  script.Version().Reply(4, Bytes().U32(16).U32(3).U32(9).U32(5), {fd, fd, fd});
  script.Reply(4, Bytes().U32(16).U32(3).U32(9).U32(5), std::vector<int>(50, fd));
  script.Info();
  const auto client = Client(script);
  const int open = OpenDescriptors();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(client->GetDevice().ok());
  EXPECT_EQ(OpenDescriptors(), open);
}

TEST_F(VfioUserClientTest, NoMoreMemoryIsMappedThanTheServerTakes) {
  const SharedMemory one(4096), two(4096);
  Script script;
  script.Version(Json(R"({"capabilities":{"max_dma_maps":1}})"));
  const auto client = Client(script.Reply(2, ""));
  EXPECT_TRUE(client->MapDma(one.region("one")).ok());
  const Status status = client->MapDma(two.region("two"));
  EXPECT_EQ(ErrorNumber(status), ENOSPC);
  EXPECT_THAT(std::string(status.message()), HasSubstr("two"));
}

TEST_F(VfioUserClientTest, MemoryThatTheServerRefusesIsRefusedByTheRegistry) {
  Script script;
  script.WholeOpening(file_.get()).Error(2, ENOMEM);
  const auto device = Open(script);
  ASSERT_TRUE(device.ok());
  const SharedMemory memory(4096);
  EXPECT_EQ(ErrorNumber(registry_.Add(memory.region())), ENOMEM);
  EXPECT_TRUE(registry_.regions().empty());
}

TEST_F(VfioUserClientTest, AServerThatKeepsMemoryLosesItsDevice) {
  Script script;
  script.WholeOpening(file_.get()).Reply(2, "").Error(3, EBUSY);
  auto client = Client(script, /*hang_up=*/false);
  const auto device = VfioUserDevice::Open(std::move(client), registry_);
  ASSERT_TRUE(device.ok());
  const SharedMemory memory(4096);
  ASSERT_TRUE(registry_.Add(memory.region()).ok());
  registry_.Remove(memory.address());
  EXPECT_EQ(ErrorNumber((*device)->gone()), EBUSY);
}

}  // namespace
}  // namespace pollux::pci
