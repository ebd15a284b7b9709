#include "service/configuration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <deque>
#include <filesystem>
#include <optional>
#include <set>

#include "core/task_group.h"
#include "rpc/dispatcher.h"

namespace pollux::service {
namespace {

namespace fs = std::filesystem;

// A configuration over a real store, with the control loop and the store's loop run by hand.
class ConfigurationTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "pollux-conf-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    Reopen();
  }
  void TearDown() override {
    configuration_.reset();
    fs::remove_all(directory_);
  }

  // As after a restart.
  void Reopen() {
    configuration_.reset();
    Result<std::unique_ptr<Store>> store = Store::Open(directory_);
    ASSERT_TRUE(store.ok()) << store.status();
    configuration_ = std::make_unique<Configuration>(store_loop_.get(), *std::move(store));
    ASSERT_TRUE(configuration_->Load().ok());
  }

  static std::unique_ptr<Loop> MakeLoop(const char* name) {
    static const RealClock clock;
    Loop::Options options{.name = name, .idle_after_ns = Loop::kNever, .core = -1};
    return std::make_unique<Loop>(std::move(options), clock, *MakeEpollWaiter());
  }
  // Runs a task to its end on the control loop, with turns of both loops.
  template <typename T>
  T Run(Task<T> task) {
    struct Begin final : Message {
      Task<T>* task;
      void Run() override { task->Start(); }
    } begin;
    begin.task = &task;
    control_->Post(begin);
    for (int i = 0; i < 1000 && (i == 0 || !task.done()); ++i) {
      control_->RunTurn();
      store_loop_->RunTurn();
    }
    EXPECT_TRUE(task.done());
    return task.TakeResult();
  }
  Status Commit() { return Run(configuration_->Commit()); }

  // A world in which calls work, apart from those that are said to fail.
  Configuration::Apply Apply() {
    return [this](rpc::SavedCall call) -> Task<Status> { return ApplyCall(std::move(call)); };
  }
  Task<Status> ApplyCall(rpc::SavedCall call) {
    if (broken_.contains(call.method)) co_return NoDevice("%s is not there", call.method);
    applied_.push_back(call.method);
    co_return OkStatus();
  }
  // The calls begin what ends later: a pending object comes to life.
  Task<bool> Settle() {
    if (!later_.has_value()) co_return false;
    configuration_->Unpark(*later_);
    later_.reset();
    broken_.clear();
    co_return true;
  }
  void Replay() { Run(ReplayTask(Apply())); }
  Task<bool> ReplayTask(Configuration::Apply apply) {
    const Configuration::Settle settle = [this] { return Settle(); };
    const auto all = [](const std::string&) { return true; };
    co_await configuration_->Replay(turn_, apply, settle, all);
    co_return true;
  }
  bool Retry() { return Run(configuration_->RetryPending(turn_, Apply())); }

  void Sql(const std::string& statement) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open((directory_ + "/pollux.db").c_str(), &db), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db, statement.c_str(), nullptr, nullptr, nullptr), SQLITE_OK);
    sqlite3_close(db);
  }

  static rpc::SavedCall Call(const std::string& method) { return {method, "{}"}; }

  std::string directory_;
  std::unique_ptr<Loop> control_ = MakeLoop("control");
  std::unique_ptr<Loop> store_loop_ = MakeLoop("store");
  std::unique_ptr<Configuration> configuration_;
  Turn turn_;
  std::set<std::string> broken_;
  std::optional<ObjectId> later_;
  std::vector<std::string> applied_;
};

TEST_F(ConfigurationTest, ReplaysWhatWasCommittedInTheOrderOfMaking) {
  configuration_->Put({"bdev", "z"}, {Call("make_z"), Call("tune_z")});
  configuration_->Put({"bdev", "a"}, {Call("make_a")});
  ASSERT_TRUE(Commit().ok());
  configuration_->Put({"bdev", "z"}, {Call("make_z2")});
  ASSERT_TRUE(Commit().ok());
  Reopen();
  Replay();
  EXPECT_EQ(applied_, std::vector<std::string>({"make_z2", "make_a"}));
}

TEST_F(ConfigurationTest, ForgetsWhatWasErased) {
  configuration_->Put({"bdev", "a"}, {Call("make_a")});
  ASSERT_TRUE(Commit().ok());
  configuration_->Erase({"bdev", "a"});
  ASSERT_TRUE(Commit().ok());
  Reopen();
  EXPECT_TRUE(configuration_->empty());
}

TEST_F(ConfigurationTest, KeepsNothingThatWasNotCommitted) {
  configuration_->Put({"bdev", "a"}, {Call("make_a")});
  Reopen();
  EXPECT_TRUE(configuration_->empty());
}

TEST_F(ConfigurationTest, ParksAFailedCallAndThoseOfItsObjectAfterIt) {
  configuration_->Put({"bdev", "a"}, {Call("make_a"), Call("tune_a"), Call("paint_a")});
  configuration_->Put({"bdev", "b"}, {Call("make_b")});
  ASSERT_TRUE(Commit().ok());
  Reopen();
  broken_ = {"tune_a"};
  Replay();
  EXPECT_EQ(applied_, std::vector<std::string>({"make_a", "make_b"}));
  const std::vector<PendingCalls> pending = configuration_->pending();
  ASSERT_EQ(pending.size(), 1u);
  EXPECT_EQ(pending[0].id, (ObjectId{"bdev", "a"}));
  EXPECT_EQ(pending[0].calls, std::vector<rpc::SavedCall>({Call("tune_a"), Call("paint_a")}));
  EXPECT_EQ(std::string(pending[0].why.message()), "tune_a is not there");

  broken_.clear();
  EXPECT_TRUE(Retry());
  EXPECT_TRUE(configuration_->pending().empty());
  EXPECT_EQ(applied_.back(), "paint_a");
}

TEST_F(ConfigurationTest, GoesRoundAgainForWhatDependsOnALaterObject) {
  configuration_->Put({"target", "t"}, {Call("make_target")});
  configuration_->Put({"bdev", "late"}, {Call("make_late")});
  ASSERT_TRUE(Commit().ok());
  Reopen();
  broken_ = {"make_target"};
  // The disk brings the target to life.
  const auto apply = [this](rpc::SavedCall call) -> Task<Status> {
    if (call.method == "make_late") broken_.clear();
    return ApplyCall(std::move(call));
  };
  Run(ReplayTask(apply));
  EXPECT_EQ(applied_, std::vector<std::string>({"make_late", "make_target"}));
  EXPECT_TRUE(configuration_->pending().empty());
}

TEST_F(ConfigurationTest, GoesRoundAgainForWhatComesBesideTheReplay) {
  configuration_->Put({"bdev", "slow"}, {Call("make_slow")});
  configuration_->Put({"target", "t"}, {Call("make_target")});
  configuration_->Put({"bdev", "quick"}, {Call("make_quick")});
  ASSERT_TRUE(Commit().ok());
  Reopen();
  broken_ = {"make_slow", "make_target"};
  later_ = {"bdev", "slow"};
  Replay();
  EXPECT_EQ(applied_, std::vector<std::string>({"make_quick", "make_target"}));
  EXPECT_TRUE(configuration_->pending().empty());
}

TEST_F(ConfigurationTest, KeepsPendingObjectsSavedAcrossRestarts) {
  configuration_->Put({"bdev", "a"}, {Call("make_a")});
  ASSERT_TRUE(Commit().ok());
  broken_ = {"make_a"};
  for (int restart = 0; restart < 3; ++restart) {
    Reopen();
    Replay();
    EXPECT_TRUE(configuration_->IsPending({"bdev", "a"}));
    configuration_->Put({"bdev", "b"}, {Call("make_b")});
    ASSERT_TRUE(Commit().ok());
  }
  EXPECT_EQ(configuration_->CallsWhere([](const std::string&) { return true; }).size(), 2u);
}

TEST_F(ConfigurationTest, ReplayChangesNothingThatIsSaved) {
  configuration_->Put({"bdev", "a"}, {Call("make_a")});
  ASSERT_TRUE(Commit().ok());
  Reopen();
  const auto apply = [this](rpc::SavedCall call) -> Task<Status> {
    configuration_->Put({"bdev", "a"}, {Call("something else")});  // As every handler does.
    return ApplyCall(std::move(call));
  };
  Run(ReplayTask(apply));
  EXPECT_EQ(configuration_->CallsOf({"bdev", "a"}), std::vector<rpc::SavedCall>({Call("make_a")}));
}

TEST_F(ConfigurationTest, ManyWaitingChangesShareOneTransaction) {
  std::deque<Task<Status>> commits;
  struct Begin final : Message {
    std::deque<Task<Status>>* commits;
    Configuration* configuration;
    void Run() override {
      for (int i = 0; i < 100; ++i) {
        configuration->Put({"bdev", std::to_string(i)}, {{"make", "{}"}});
        commits->push_back(configuration->Commit());
        commits->back().Start();
      }
    }
  } begin;
  begin.commits = &commits;
  begin.configuration = configuration_.get();
  control_->Post(begin);
  // The first change is written by itself, the 99 that came meanwhile together: two rounds.
  for (int turn = 0; turn < 4; ++turn) {
    control_->RunTurn();
    store_loop_->RunTurn();
  }
  control_->RunTurn();
  for (Task<Status>& commit : commits) {
    ASSERT_TRUE(commit.done());
    EXPECT_TRUE(commit.TakeResult().ok());
  }
  Reopen();
  EXPECT_EQ(configuration_->CallsWhere([](const std::string&) { return true; }).size(), 100u);
}

TEST_F(ConfigurationTest, SaysThatAChangeCouldNotBeSavedAndSavesItLater) {
  configuration_->Put({"bdev", "a"}, {Call("make_a")});
  // The rows are refused, as by a disk that is full or broken.
  Sql("CREATE TRIGGER no BEFORE INSERT ON calls BEGIN SELECT RAISE(ABORT, 'disk on fire'); END");
  const Status status = Commit();
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("disk on fire"));
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("is in effect"));
  EXPECT_FALSE(configuration_->health().ok());

  Sql("DROP TRIGGER no");
  configuration_->Put({"bdev", "b"}, {Call("make_b")});
  EXPECT_TRUE(Commit().ok());
  EXPECT_TRUE(configuration_->health().ok());
  Reopen();
  EXPECT_EQ(configuration_->CallsWhere([](const std::string&) { return true; }).size(), 2u);
}

}  // namespace
}  // namespace pollux::service
