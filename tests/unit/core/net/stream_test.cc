#include <gmock/gmock.h>

#include "tests/unit/core/net/stream_fixture.h"

namespace pollux {
namespace {

struct Kind {
  StreamKind stream;
  Transport transport;
};

class StreamTest : public StreamFixture, public testing::WithParamInterface<Kind> {
 protected:
  StreamTest() : StreamFixture(GetParam().stream) { Connect(GetParam().transport); }
  // Fills the socket until an item stays queued.
  void FillSocket(TestItem& item) {
    stream().Send(item);
    Settle();
    ASSERT_EQ(item.calls, 0) << "the socket took all of it";
  }
  void ExpectLastWordsOnceResumed() {
    Settle();  // It must not spin on an end that it knows of.
    EXPECT_EQ(owner_.closed, 0);
    owner_.paused = false;
    stream().ResumeReceive();
    RunUntil([&] { return owner_.closed > 0; });
    EXPECT_EQ(owner_.received, "last words");
    EXPECT_EQ(ErrnoOf(owner_.why), ESHUTDOWN);
  }
  static constexpr size_t kMoreThanASocketTakes = 16 << 20;
};

class TcpStreamTest : public StreamTest {};  // Unix sockets know no reset.

TEST_P(StreamTest, DeliversWhatThePeerSends) {
  PeerSends("hello");
  RunUntil([&] { return owner_.received.size() == 5; });
  EXPECT_EQ(owner_.received, "hello");
  EXPECT_EQ(stream().counters().bytes_received, 5u);
}

TEST_P(StreamTest, AStreamCutAtEveryByteArrivesWhole) {
  const std::string text = Pattern(64);
  owner_.part_sizes = {1, 7, 3, 20};
  for (size_t cut = 1; cut < text.size(); ++cut) {
    owner_.received.clear();
    PeerSends(text.substr(0, cut));
    RunUntil([&] { return owner_.received.size() == cut; });
    PeerSends(text.substr(cut));
    RunUntil([&] { return owner_.received.size() == text.size(); });
    ASSERT_EQ(owner_.received, text) << "cut at " << cut;
  }
}

TEST_P(StreamTest, InputFillsThePartsInOrder) {
  const std::string text = Pattern(30'000);
  owner_.part_sizes = {48, 4096, 1, 300};
  PeerSends(text);
  RunUntil([&] { return owner_.received.size() == text.size(); });
  EXPECT_EQ(owner_.received, text);
}

TEST_P(StreamTest, ManyMessagesAreReadInOneCall) {
  owner_.part_sizes = {65536};
  Settle();
  const uint64_t before = stream().counters().receive_calls;
  for (int i = 0; i < 10; ++i) PeerSends(Pattern(100));
  RunUntil([&] { return owner_.received.size() == 1000; });
  EXPECT_LE(stream().counters().receive_calls - before, 2u);
}

TEST_P(StreamTest, WhatGathersInATurnLeavesInOneCall) {
  TestItem a("one "), b("two ", 3), c("three");
  stream().Send(a);
  stream().Send(b);
  stream().Send(c);
  EXPECT_EQ(stream().queued_bytes(), 13u);
  EXPECT_EQ(PeerReadsUntil(13), "one two three");
  RunUntil([&] { return c.calls == 1; });
  EXPECT_EQ(stream().counters().send_calls, 1u);
  EXPECT_EQ(stream().counters().bytes_sent, 13u);
  EXPECT_EQ(stream().queued_bytes(), 0u);
  EXPECT_TRUE(a.sent && b.sent && c.sent);
}

TEST_P(StreamTest, NothingIsSentOrReportedFromWithinSend) {
  TestItem item("text");
  stream().Send(item);
  EXPECT_EQ(item.calls, 0);
  EXPECT_TRUE(item.queued());
  EXPECT_EQ(PeerReads(), "");
  CloseStream();
}

TEST_P(StreamTest, AHugeGatherArrivesWholeAndInOrder) {
  constexpr size_t kItems = 3000;
  std::vector<std::unique_ptr<TestItem>> items;
  std::vector<size_t> order;
  std::string all;
  for (size_t i = 0; i < kItems; ++i) {
    items.push_back(std::make_unique<TestItem>(Pattern(1 + i % 700, all.size()), 1 + i % 6));
    items.back()->on_sent = [&order, i] { order.push_back(i); };
    all += items.back()->text;
    stream().Send(*items.back());
  }
  EXPECT_EQ(PeerReadsUntil(all.size()), all);
  RunUntil([&] { return order.size() == kItems; });
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  EXPECT_LT(stream().counters().send_calls, kItems / 10);
}

TEST_P(StreamTest, ItemsWithoutBytesAreReportedToo) {
  TestItem empty, text("x"), hole;
  hole.part_count = 0;
  stream().Send(empty);
  stream().Send(text);
  stream().Send(hole);
  RunUntil([&] { return hole.calls == 1; });
  EXPECT_TRUE(empty.sent && text.sent && hole.sent);
  EXPECT_EQ(PeerReadsUntil(1), "x");
}

TEST_P(StreamTest, OnlyItemsWithoutBytesNeedNoCall) {
  TestItem empty;
  stream().Send(empty);
  RunUntil([&] { return empty.calls == 1; });
  EXPECT_EQ(stream().counters().send_calls, 0u);
}

TEST_P(StreamTest, AnItemMayBeSentAgainFromOnSent) {
  TestItem item("again ");
  item.on_sent = [&] {
    if (item.calls < 100) stream().Send(item);
  };
  stream().Send(item);
  RunUntil([&] { return item.calls == 100; });
  EXPECT_EQ(PeerReadsUntil(600).size(), 600u);
}

TEST_P(StreamTest, AReaderThatIsSlowGetsEverything) {
  TestItem item(Pattern(kMoreThanASocketTakes), 6);
  FillSocket(item);
  std::string got;
  while (got.size() < item.text.size() && !HasFailure()) {
    got += PeerReads(100'000);
    loop_.RunTurn();
  }
  EXPECT_TRUE(got == item.text);
  RunUntil([&] { return item.calls == 1; });
  EXPECT_TRUE(item.sent);
}

TEST_P(StreamTest, AReaderThatDoesNotReadCostsNothing) {
  TestItem item(Pattern(kMoreThanASocketTakes));
  FillSocket(item);
  const uint64_t calls = stream().counters().send_calls;
  TestItem more("more");
  stream().Send(more);
  Settle();
  EXPECT_EQ(stream().counters().send_calls, calls);
  EXPECT_GT(stream().queued_bytes(), 0u);
  CloseStream();
}

TEST_P(StreamTest, InputArrivesWhileOutputIsStuck) {
  TestItem item(Pattern(kMoreThanASocketTakes));
  FillSocket(item);
  PeerSends("still here");
  RunUntil([&] { return owner_.received == "still here"; });
  CloseStream();
}

TEST_P(StreamTest, BothDirectionsAtOnceCarryEverything) {
  const std::string text = Pattern(3 << 20);
  owner_.part_sizes = {1000, 5000, 7, 60'000};
  TestItem item(text, 5);
  stream().Send(item);
  std::string got;
  std::string_view left = text;
  while ((got.size() < text.size() || owner_.received.size() < text.size()) && !HasFailure()) {
    const ssize_t n = send(peer_.get(), left.data(), std::min<size_t>(left.size(), 50'000), 0);
    if (n > 0) left.remove_prefix(static_cast<size_t>(n));
    got += PeerReads(70'000);
    loop_.RunTurn();
  }
  EXPECT_TRUE(got == text);
  EXPECT_TRUE(owner_.received == text);
}

TEST_P(StreamTest, ClosingReportsEachQueuedItemOnceAndThenTheEnd) {
  TestItem stuck(Pattern(kMoreThanASocketTakes)), queued("never");
  FillSocket(stuck);
  stream().Send(queued);
  bool all_reported = false;
  owner_.on_closed = [&] {
    all_reported = stuck.calls == 1 && queued.calls == 1;
    if (ring_ == nullptr) return;
    EXPECT_EQ(ring_->in_flight(), 0u) << "the kernel still has our memory";
  };
  stream().Close();
  EXPECT_EQ(stuck.calls + queued.calls + owner_.closed, 0) << "from within Close";
  RunUntil([&] { return owner_.closed > 0; });
  EXPECT_TRUE(all_reported);
  EXPECT_FALSE(stuck.sent || queued.sent);
  EXPECT_TRUE(owner_.why.ok()) << owner_.why;
  Settle();
  EXPECT_EQ(owner_.closed, 1);
}

TEST_P(StreamTest, ClosingTwiceIsClosingOnce) {
  stream().Close();
  stream().Close();
  stream().CloseWhenSent();
  Settle();
  EXPECT_EQ(owner_.closed, 1);
}

TEST_P(StreamTest, ThePeerSeesTheEndWhenTheStreamCloses) {
  stream().Close();
  RunUntil([&] { return owner_.closed > 0; });
  EXPECT_EQ(PeerReads(), "");
  EXPECT_TRUE(ended_);
}

TEST_P(StreamTest, TheOwnerMayCloseFromOnReceived) {
  owner_.part_sizes = {2};
  owner_.on_received = [&] { stream().Close(); };
  PeerSends("too many bytes");
  RunUntil([&] { return owner_.closed > 0; });
  EXPECT_EQ(owner_.received, "to");
  EXPECT_TRUE(owner_.why.ok());
}

TEST_P(StreamTest, TheOwnerMayCloseFromOnSent) {
  TestItem first("first"), second("second");
  first.on_sent = [&] { stream().Close(); };
  stream().Send(first);
  stream().Send(second);
  RunUntil([&] { return owner_.closed > 0; });
  EXPECT_EQ(first.calls, 1);
  EXPECT_EQ(second.calls, 1);
}

TEST_P(StreamTest, WhatIsSentWhileClosingIsReportedAsNotSent) {
  TestItem late("late"), later("later");
  late.on_sent = [&] { stream().Send(later); };
  stream().Close();
  stream().Send(late);
  RunUntil([&] { return owner_.closed > 0; });
  EXPECT_EQ(late.calls + later.calls, 2);
  EXPECT_FALSE(late.sent || later.sent);
}

TEST_P(StreamTest, CloseWhenSentDeliversWhatIsQueued) {
  TestItem item(Pattern(kMoreThanASocketTakes), 4), last("last");
  stream().Send(item);
  stream().Send(last);
  stream().CloseWhenSent();
  TestItem late("late");
  stream().Send(late);
  const std::string got = PeerReadsUntil(SIZE_MAX);
  EXPECT_TRUE(got == item.text + "last");
  EXPECT_TRUE(ended_ && !broken_);
  EXPECT_EQ(owner_.closed, 1);
  EXPECT_TRUE(owner_.why.ok()) << owner_.why;
  EXPECT_TRUE(item.sent && last.sent);
  EXPECT_EQ(late.calls, 1);
  EXPECT_FALSE(late.sent);
}

TEST_P(StreamTest, CloseWhenSentWithNothingQueuedCloses) {
  stream().CloseWhenSent();
  EXPECT_EQ(owner_.closed, 0);
  RunUntil([&] { return owner_.closed > 0; });
  EXPECT_TRUE(owner_.why.ok());
}

TEST_P(StreamTest, CloseWhenSentGivesUpAfterASecond) {
  TestItem item(Pattern(kMoreThanASocketTakes));
  FillSocket(item);
  stream().CloseWhenSent();
  clock_.Advance(kNsPerSecond - 1);
  Settle();
  EXPECT_EQ(owner_.closed, 0);
  clock_.Advance(1);
  RunUntil([&] { return owner_.closed > 0; });
  EXPECT_EQ(ErrnoOf(owner_.why), ETIMEDOUT);
  EXPECT_EQ(item.calls, 1);
  EXPECT_FALSE(item.sent);
}

TEST_P(StreamTest, UnreadInputDoesNotCostThePeerTheLastBytes) {
  owner_.paused = true;
  Settle();
  PeerSends(Pattern(20'000));
  Settle();
  TestItem last("the answer");
  stream().Send(last);
  stream().CloseWhenSent();
  RunUntil([&] { return owner_.closed > 0; });
  EXPECT_EQ(PeerReads(), "the answer");
  EXPECT_TRUE(ended_ && !broken_);
}

TEST_P(StreamTest, NothingIsReceivedAfterCloseWhenSent) {
  TestItem item(Pattern(kMoreThanASocketTakes));
  FillSocket(item);
  stream().CloseWhenSent();
  PeerSends("ignored");
  Settle();
  EXPECT_EQ(owner_.received, "");
  EXPECT_EQ(owner_.closed, 0);
  CloseStream();
}

TEST_P(StreamTest, APeerThatClosesIsReportedOnce) {
  PeerSends("bye");
  peer_.Reset();
  RunUntil([&] { return owner_.closed > 0; });
  EXPECT_EQ(owner_.received, "bye");
  EXPECT_EQ(ErrnoOf(owner_.why), ESHUTDOWN);
  Settle();
  EXPECT_EQ(owner_.closed, 1);
}

TEST_P(StreamTest, AnswersQueuedWhenThePeerEndsItsInputStillLeave) {
  TestItem answer("answer");
  owner_.on_received = [&] { stream().Send(answer); };
  PeerSends("question");
  shutdown(peer_.get(), SHUT_WR);
  RunUntil([&] { return owner_.closed > 0; });
  EXPECT_EQ(PeerReads(), "answer");
  EXPECT_TRUE(ended_ && !broken_);
  EXPECT_TRUE(answer.sent);
  EXPECT_EQ(ErrnoOf(owner_.why), ESHUTDOWN);
}

TEST_P(StreamTest, SendingToAPeerThatIsGoneEndsTheStream) {
  TestItem item(Pattern(kMoreThanASocketTakes));
  FillSocket(item);
  peer_.Reset();
  RunUntil([&] { return owner_.closed > 0; });
  EXPECT_FALSE(owner_.why.ok());
  EXPECT_EQ(item.calls, 1);
  EXPECT_FALSE(item.sent);
}

TEST_P(TcpStreamTest, APeerThatResetsIsReported) {
  PeerResets();
  RunUntil([&] { return owner_.closed > 0; });
  EXPECT_EQ(ErrnoOf(owner_.why), ECONNRESET);
}

TEST_P(TcpStreamTest, APeerThatResetsIsReportedWhilePaused) {
  owner_.paused = true;
  Settle();
  PeerSends("unread");
  Settle();
  PeerResets();
  RunUntil([&] { return owner_.closed > 0; });
  EXPECT_EQ(ErrnoOf(owner_.why), ECONNRESET);
}

TEST_P(StreamTest, APeerThatResetsIsReportedWhileDraining) {
  TestItem item(Pattern(kMoreThanASocketTakes));
  FillSocket(item);
  stream().CloseWhenSent();
  PeerResets();
  RunUntil([&] { return owner_.closed > 0; });
  EXPECT_FALSE(owner_.why.ok());
  EXPECT_FALSE(item.sent);
}

TEST_P(StreamTest, APausedStreamReceivesNothingAndCostsNothing) {
  owner_.paused = true;
  // One receive may have been under way when it paused.
  PeerSends("a");
  owner_.on_received = [] {};
  Settle();
  EXPECT_EQ(owner_.received, "");
  PeerSends(Pattern(100'000));
  Settle();
  EXPECT_EQ(owner_.received, "");
  owner_.paused = false;
  stream().ResumeReceive();
  RunUntil([&] { return owner_.received.size() == 100'001; });
  EXPECT_EQ(owner_.received.substr(1), Pattern(100'000));
}

TEST_P(StreamTest, PausingAfterEachReceiveLosesNothing) {
  const std::string text = Pattern(50'000);
  owner_.part_sizes = {777};
  owner_.on_received = [&] { owner_.paused = true; };
  PeerSends(text);
  while (owner_.received.size() < text.size() && !HasFailure()) {
    Settle();
    ASSERT_TRUE(owner_.paused);
    owner_.paused = false;
    stream().ResumeReceive();
  }
  EXPECT_EQ(owner_.received, text);
}

TEST_P(StreamTest, ResumingWhatIsNotPausedChangesNothing) {
  for (int i = 0; i < 10; ++i) {
    stream().ResumeReceive();
    loop_.RunTurn();
  }
  PeerSends("text");
  RunUntil([&] { return owner_.received == "text"; });
}

TEST_P(StreamTest, APausedStreamNoticesThatThePeerClosed) {
  owner_.paused = true;
  Settle();
  peer_.Reset();
  RunUntil([&] { return owner_.closed > 0; });
  EXPECT_EQ(ErrnoOf(owner_.why), ESHUTDOWN);
}

TEST_P(StreamTest, APausedStreamDeliversWhatCameBeforeTheEndOfInput) {
  owner_.paused = true;
  Settle();
  PeerSends("last words");
  shutdown(peer_.get(), SHUT_WR);
  ExpectLastWordsOnceResumed();
}

TEST_P(StreamTest, APausedStreamDeliversWhatCameBeforeThePeerClosed) {
  owner_.paused = true;
  Settle();
  PeerSends("last words");
  peer_.Reset();
  ExpectLastWordsOnceResumed();
}

TEST_P(StreamTest, AStreamMayCloseWhilePausedWithInputWaiting) {
  owner_.paused = true;
  Settle();
  PeerSends("unread");
  peer_.Reset();
  Settle();
  stream().Close();
  RunUntil([&] { return owner_.closed > 0; });
  EXPECT_EQ(owner_.received, "");
}

TEST_P(StreamTest, AnIdleStreamCostsNothing) {
  Settle();
  EXPECT_EQ(loop_.RunTurn(), 0);
  EXPECT_EQ(stream().counters().send_calls, 0u);
}

TEST_P(StreamTest, ABusyConnectionDoesNotStarveAnother) {
  auto [mine, peer] = MakePair(GetParam().transport);
  TestOwner quiet;
  quiet.stream = *MakeByteStream(kind_, loop_, std::move(mine));
  quiet.stream->Start(quiet);
  Settle();
  owner_.part_sizes = {16};
  PeerSends(Pattern(60'000));
  ASSERT_EQ(send(peer.get(), "q", 1, 0), 1);
  RunUntil([&] { return quiet.received == "q"; });
  EXPECT_LT(owner_.received.size(), 60'000u);
  quiet.stream->Close();
  RunUntil([&] { return quiet.closed > 0; });
}

std::string NameOf(const testing::TestParamInfo<Kind>& kind) {
  return std::string(kind.param.stream == StreamKind::kEpoll ? "Epoll" : "Uring") +
         (kind.param.transport == Transport::kUnix ? "Unix" : "Tcp");
}
constexpr Kind kEpollUnix{StreamKind::kEpoll, Transport::kUnix};
constexpr Kind kEpollTcp{StreamKind::kEpoll, Transport::kTcp};
constexpr Kind kUringUnix{StreamKind::kUring, Transport::kUnix};
constexpr Kind kUringTcp{StreamKind::kUring, Transport::kTcp};
INSTANTIATE_TEST_SUITE_P(Streams, StreamTest,
                         testing::Values(kEpollUnix, kEpollTcp, kUringUnix, kUringTcp), NameOf);
INSTANTIATE_TEST_SUITE_P(Streams, TcpStreamTest, testing::Values(kEpollTcp, kUringTcp), NameOf);

TEST(MakeByteStreamTest, NeedsARingForIoUring) {
  ManualClock clock;
  Loop loop({.name = "plain"}, clock, *MakeEpollWaiter());
  auto [mine, peer] = MakePair(Transport::kUnix);
  const auto stream = MakeByteStream(StreamKind::kUring, loop, std::move(mine));
  EXPECT_EQ(ErrnoOf(stream.status()), ENOTSUP);
}

TEST(MakeByteStreamTest, RefusesWhatIsNoDescriptor) {
  ManualClock clock;
  Loop loop({.name = "plain"}, clock, *MakeEpollWaiter());
  EXPECT_FALSE(MakeByteStream(StreamKind::kEpoll, loop, UniqueFd()).ok());
}

TEST(MakeByteStreamTest, AStreamThatWasNeverStartedMayGo) {
  ManualClock clock;
  Loop loop({.name = "plain"}, clock, *MakeEpollWaiter());
  auto [mine, peer] = MakePair(Transport::kUnix);
  EXPECT_TRUE(MakeByteStream(StreamKind::kEpoll, loop, std::move(mine)).ok());
}

}  // namespace
}  // namespace pollux
