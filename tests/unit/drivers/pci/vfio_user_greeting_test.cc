#include "drivers/pci/vfio_user_greeting.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>

#include "core/loop.h"
#include "tests/unit/drivers/pci/vfio_user_script.h"

namespace pollux::pci {
namespace {

// A server at a socket that does only what the test has it do.
class VfioUserGreetingTest : public testing::Test {
 protected:
  VfioUserGreetingTest() {
    char path[] = "/tmp/pollux-greeting-XXXXXX";
    directory_ = mkdtemp(path);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (directory_ + "/cntrl").copy(address.sun_path, sizeof(address.sun_path) - 1);
    listener_ = UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener_.get(), 0), 0);
  }
  ~VfioUserGreetingTest() override { std::filesystem::remove_all(directory_); }

  void Accept() { peer_ = UniqueFd(accept(listener_.get(), nullptr, nullptr)); }
  void Answer(std::string_view bytes) {
    EXPECT_EQ(write(peer_.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  // The reply to VERSION: 0.1, no capabilities.
  static std::string Reply() {
    return std::string(Bytes().U16(1).U16(1).U32(20).U32(1).U32(0)) +
           std::string(Bytes().U16(0).U16(1));
  }

  std::string directory_;
  UniqueFd listener_, peer_;
};

TEST_F(VfioUserGreetingTest, IsThereOnceTheServerHasAnswered) {
  VfioUserGreeting greeting(directory_);
  EXPECT_EQ(*greeting.Step(), nullptr);
  Accept();
  EXPECT_EQ(*greeting.Step(), nullptr);
  Answer(Reply());
  const auto client = greeting.Step();
  ASSERT_TRUE(client.ok()) << client.status();
  ASSERT_NE(*client, nullptr);
  EXPECT_EQ((*client)->name(), directory_);
  EXPECT_TRUE((*client)->broken().ok());
}

TEST_F(VfioUserGreetingTest, AnAnswerMayComeByteByByte) {
  VfioUserGreeting greeting(directory_);
  EXPECT_EQ(*greeting.Step(), nullptr);
  Accept();
  const std::string reply = Reply();
  for (const char byte : reply.substr(0, reply.size() - 1)) {
    Answer({&byte, 1});
    const auto client = greeting.Step();
    ASSERT_TRUE(client.ok()) << client.status();
    EXPECT_EQ(*client, nullptr);
  }
  Answer({&reply.back(), 1});
  EXPECT_NE(*greeting.Step(), nullptr);
}

TEST_F(VfioUserGreetingTest, AServerThatNeverAnswersIsGivenUpAfterItsTime) {
  VfioUserGreeting greeting(directory_, /*timeout_ns=*/0);
  EXPECT_EQ(ErrnoOf(greeting.Step().status()), ETIMEDOUT);
}

TEST_F(VfioUserGreetingTest, SoIsOneThatTakesNoConnection) {
  std::vector<UniqueFd> others;
  for (int i = 0; i < 8; ++i) {  // More than the backlog has room for.
    others.push_back(*VfioUserClient::TryConnect(directory_));
    if (!others.back().valid()) break;
  }
  ASSERT_FALSE(others.back().valid());
  VfioUserGreeting patient(directory_), hasty(directory_, /*timeout_ns=*/0);
  EXPECT_EQ(*patient.Step(), nullptr);
  EXPECT_EQ(ErrnoOf(hasty.Step().status()), ETIMEDOUT);
}

TEST_F(VfioUserGreetingTest, OneThatIsNotThereHangsUpOrAsksFirstIsReported) {
  VfioUserGreeting nowhere("/nowhere/at/all");
  EXPECT_EQ(ErrnoOf(nowhere.Step().status()), ENOENT);

  VfioUserGreeting hung_up(directory_);
  EXPECT_EQ(*hung_up.Step(), nullptr);
  Accept();
  peer_ = UniqueFd();
  EXPECT_EQ(ErrnoOf(hung_up.Step().status()), ENODEV);

  VfioUserGreeting asked(directory_);
  EXPECT_EQ(*asked.Step(), nullptr);
  Accept();
  Answer(std::string(Bytes().U16(7).U16(11).U32(16).U32(0).U32(0)));  // A command: DMA_READ.
  EXPECT_FALSE(asked.Step().ok());
}

TEST_F(VfioUserGreetingTest, OnALoopItEndsWhenItIsCancelled) {
  const RealClock clock;
  Loop loop({.name = "test"}, clock, *MakeEpollWaiter());
  bool cancelled = false;
  Task<Result<std::unique_ptr<VfioUserClient>>> task = GreetVfioUser(directory_, &cancelled);
  struct Starter final : Message {
    explicit Starter(decltype(task)& its_task) : started(its_task) {}
    void Run() override { started.Start(); }
    decltype(task)& started;
  } starter(task);
  loop.Post(starter);
  loop.RunTurn();
  EXPECT_FALSE(task.done());
  cancelled = true;
  while (!task.done()) loop.RunTurn(/*may_block=*/true);
  EXPECT_EQ(ErrnoOf(task.TakeResult().status()), ECANCELED);
}

}  // namespace
}  // namespace pollux::pci
