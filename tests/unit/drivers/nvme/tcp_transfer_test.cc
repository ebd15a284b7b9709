// Attaching to a target over TCP, and moving data.
#include "tests/unit/drivers/nvme/tcp_world.h"

namespace pollux::nvme {
namespace {

using testing::Each;
using testing::HasSubstr;
using testing::Le;

class TcpTransferTest : public TcpWorld {
 protected:
  void WriteAndReadBack(size_t bytes, uint64_t lba) {
    Fill(data_, bytes, static_cast<uint32_t>(bytes + lba));
    Ended written;
    ASSERT_EQ(Write(written, bytes, lba), 0);
    Await(written);
    ASSERT_EQ(written.status(), 0);
    EXPECT_EQ(memcmp(peer_.disk().data() + lba * TcpPeer::kBlockBytes, data_, bytes), 0);
    const size_t into = kDataBytes / 2;
    Ended read;
    ASSERT_EQ(Read(read, bytes, lba, into), 0);
    Await(read);
    ASSERT_EQ(read.status(), 0);
    EXPECT_EQ(memcmp(data_ + into, data_, bytes), 0);
  }
};

TEST_F(TcpTransferTest, AttachesAndDescribesTheController) {
  strcpy(options_.host_nqn, "nqn.2024-01.io.example:host");
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_STREQ(info().serial_number, "PEER0");
  EXPECT_EQ(info().io_queues, 2);
  EXPECT_EQ(info().io_queue_depth, 32);
  EXPECT_STREQ(peer_.connected.subnqn, "nqn.2024-01.io.example:disks");
  EXPECT_STREQ(peer_.connected.hostnqn, "nqn.2024-01.io.example:host");
  EXPECT_EQ(peer_.connected.cntlid, 1);  // I/O queues join the controller that there is.
  EXPECT_EQ(peer_.connect.sqsize, 31);
  EXPECT_EQ(peer_.connections_accepted, 3);
  EXPECT_EQ(pollux_nvme_get_namespace_info(ns())->blocks,
            TcpPeer::kDiskBytes / TcpPeer::kBlockBytes);
}

TEST_F(TcpTransferTest, TakesFewerAndShorterQueuesWhereTheTargetGrantsNoMore) {
  peer_.options().queues_max = 1;
  peer_.options().mqes = 7;
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_EQ(info().io_queues, 1);
  EXPECT_EQ(info().io_queue_depth, 8);
}

TEST_F(TcpTransferTest, MovesDataOfAnyLength) {
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY);
  TakeQueue();
  for (const size_t bytes : {512u, 4096u, 8192u, 8704u, 65536u, 262144u}) {
    WriteAndReadBack(bytes, bytes / 512);
  }
  EXPECT_EQ(peer_.in_capsule_writes, 3);
}

TEST_F(TcpTransferTest, MovesDataWithDigestsAndAlignment) {
  options_.header_digest = options_.data_digest = true;
  peer_.options().cpda = 31;
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY);
  TakeQueue();
  for (const size_t bytes : {512u, 4096u, 65536u, 262144u}) WriteAndReadBack(bytes, 7);
}

TEST_F(TcpTransferTest, AlignsDataAsAnyTargetWantsIt) {
  options_.header_digest = true;  // A header of 76 bytes: with CPDA 17 the data is at 144.
  for (uint8_t cpda = 0; cpda <= nvme_tcp::kPdaMax; ++cpda) {
    SCOPED_TRACE(int{cpda});
    peer_.options().cpda = cpda;
    ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY);
    TakeQueue();
    WriteAndReadBack(4096, cpda);
    Detach();
  }
}

TEST_F(TcpTransferTest, HeedsWhatTheTargetAsksForAndTakes) {
  peer_.options().maxh2cdata = 4096;
  peer_.options().r2t_bytes = 12288;
  peer_.options().c2h_bytes = 5120;
  peer_.options().success = true;
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY);
  TakeQueue();
  WriteAndReadBack(65536, 3);
  EXPECT_THAT(peer_.h2c_bytes, Each(Le(4096u)));
  EXPECT_EQ(peer_.h2c_bytes.size(), 16u);
}

TEST_F(TcpTransferTest, SendsNothingInCapsulesThatHaveNoRoom) {
  peer_.options().in_capsule_bytes = 0;
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY);
  TakeQueue();
  WriteAndReadBack(512, 1);
  EXPECT_EQ(peer_.in_capsule_writes, 0);
}

TEST_F(TcpTransferTest, ScattersAndGathers) {
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY);
  TakeQueue();
  Fill(data_, 65536, 1);
  const iovec pieces[] = {{data_ + 1, 511}, {data_ + 4000, 1}, {data_ + 8192, 65024}};
  pollux_nvme_io io{};
  io.lba = 5;
  io.blocks = 65536 / 512;
  io.data = pieces;
  io.data_count = 3;
  Ended written;
  ASSERT_EQ(pollux_nvme_writev(queues_[0], ns(), written.c(), &io), 0);
  Await(written);
  const std::byte* disk = peer_.disk().data() + 5 * 512;
  EXPECT_EQ(memcmp(disk, data_ + 1, 511), 0);
  EXPECT_EQ(disk[511], data_[4000]);
  EXPECT_EQ(memcmp(disk + 512, data_ + 8192, 65024), 0);

  memset(data_, 0, 131072);
  Ended read;
  ASSERT_EQ(pollux_nvme_readv(queues_[0], ns(), read.c(), &io), 0);
  Await(read);
  EXPECT_EQ(memcmp(disk, data_ + 1, 511), 0);
  EXPECT_EQ(disk[511], data_[4000]);
  EXPECT_EQ(memcmp(disk + 512, data_ + 8192, 65024), 0);
  EXPECT_EQ(data_[0], std::byte{0});
  EXPECT_EQ(data_[512], std::byte{0});
}

TEST_F(TcpTransferTest, KeepsManyCommandsInFlight) {
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY);
  pollux_nvme_queue* queue = TakeQueue();
  Fill(peer_.disk().data(), 1 << 20, 9);
  std::deque<Ended> reads(300);
  size_t sent = 0, ended = 0;
  for (int turn = 0; turn < kTurnsMax && ended < reads.size(); ++turn) {
    while (sent < reads.size() && pollux_nvme_queue_room(queue) > 0) {
      ASSERT_EQ(Read(reads[sent], 4096, sent % 31 * 8, sent % 31 * 4096), 0);
      ++sent;
    }
    EXPECT_LE(pollux_nvme_queue_in_flight(queue), 31u);
    Turn();
    ended = 0;
    for (const Ended& read : reads) ended += static_cast<size_t>(read.calls);
  }
  for (const Ended& read : reads) EXPECT_EQ(read.status(), 0);
  EXPECT_EQ(memcmp(data_, peer_.disk().data(), 31 * 4096), 0);
}

TEST_F(TcpTransferTest, SendsDataThatLiesInTheQueuesOwnMemory) {
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY);
  TakeQueue();
  const pollux_nvme_range ranges[] = {{1, 2}, {8, 4}};
  Ended ended;
  ASSERT_EQ(pollux_nvme_deallocate(queues_[0], ns(), ended.c(), ranges, 2), 0);
  Await(ended);
  EXPECT_EQ(ended.status(), 0);
  EXPECT_EQ(peer_.in_capsule_writes, 1);
}

TEST_F(TcpTransferTest, SaysThroughADescriptorWhenToPoll) {
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY);
  pollux_nvme_queue* queue = TakeQueue();
  EXPECT_GE(pollux_nvme_queue_event_fd(queue), 0);
  EXPECT_GE(pollux_nvme_controller_event_fd(controller_), 0);
  EXPECT_TRUE(pollux_nvme_queue_prepare_sleep(queue));
}

TEST_F(TcpTransferTest, RefusesMemoryThatTheHostDoesNotKnow) {
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY);
  TakeQueue();
  alignas(4096) static std::byte strange[512];
  Ended ended;
  EXPECT_EQ(pollux_nvme_read(queues_[0], ns(), ended.c(), strange, 512, 0, 1), -EFAULT);
}

TEST_F(TcpTransferTest, RefusesATargetWithoutTheDigestsThatWereAskedFor) {
  options_.data_digest = true;
  peer_.options().data_digest = false;
  EXPECT_EQ(Attach(), POLLUX_NVME_STATE_FAILED);
  EXPECT_THAT(failure_text(), HasSubstr("digest"));
}

TEST_F(TcpTransferTest, SaysWhyItWasNotLetIn) {
  peer_.on_command = [](TcpPeer::Connection& connection, const SubmissionEntry& sqe) {
    connection.Respond(sqe.cid, status::kConnectInvalidHost);
    return true;
  };
  EXPECT_EQ(Attach(), POLLUX_NVME_STATE_FAILED);
  EXPECT_THAT(failure_text(), HasSubstr("Connect"));
}

TEST_F(TcpTransferTest, DoesNotAuthenticate) {
  peer_.on_command = [](TcpPeer::Connection& connection, const SubmissionEntry& sqe) {
    if (sqe.opc != admin::kFabrics || sqe.nsid != fctype::kConnect) return false;
    connection.Respond(sqe.cid, 0, 1 | 2 << 16);
    return true;
  };
  EXPECT_EQ(Attach(), POLLUX_NVME_STATE_FAILED);
  EXPECT_THAT(failure_text(), HasSubstr("authenticate"));
}

TEST_F(TcpTransferTest, GivesUpATargetThatIsNotThereOrSaysNothing) {
  peer_.StopListening();
  EXPECT_EQ(Attach(), POLLUX_NVME_STATE_FAILED);
  Detach();
  peer_.Listen();
  peer_.on_icreq = [](TcpPeer::Connection&) { return true; };
  EXPECT_EQ(Attach(), POLLUX_NVME_STATE_FAILED);
  EXPECT_THAT(failure_text(), HasSubstr("not connected"));
}

TEST_F(TcpTransferTest, RefusesWhatIsNoAddress) {
  pollux_nvme_transport_id id{};
  const char* const wrong[] = {
      "trtype:TCP traddr:example.com trsvcid:4420 subnqn:nqn.2024-01.io.example:a",
      "trtype:TCP traddr:127.0.0.1 trsvcid:70000 subnqn:nqn.2024-01.io.example:a",
      "trtype:TCP traddr:127.0.0.1 trsvcid:4420 subnqn:disks",
      "trtype:TCP adrfam:IPv6 traddr:127.0.0.1 trsvcid:4420 subnqn:nqn.2024-01.io.example:a",
  };
  for (const char* text : wrong) {
    ASSERT_EQ(pollux_nvme_transport_id_parse(text, &id), 0) << text;
    EXPECT_EQ(pollux_nvme_attach_begin(host_.get(), &id, &options_, &controller_), -EINVAL) << text;
    EXPECT_EQ(controller_, nullptr);
  }
}

}  // namespace
}  // namespace pollux::nvme
