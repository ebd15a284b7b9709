#include "rpc/store/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace pollux::rpc {
namespace {

namespace fs = std::filesystem;

class StoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "pollux-store-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::unique_ptr<Store> Open() {
    Result<std::unique_ptr<Store>> store = Store::Open(directory_);
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? *std::move(store) : nullptr;
  }
  // What a start would find, as text; or "refused".
  std::string Contents(std::string* warning = nullptr) {
    Result<std::unique_ptr<Store>> store = Store::Open(directory_);
    if (!store.ok()) return "refused";
    if (warning != nullptr) *warning = (*store)->warning();
    const auto objects = (*store)->Load();
    if (!objects.ok()) return "refused";
    std::string text;
    for (const SavedObject& object : *objects) {
      text += object.id.kind + "/" + object.id.name + ":";
      for (const SavedCall& call : object.calls) text += call.method + call.params;
      text += "\n";
    }
    return text;
  }
  static SavedObject Disk(const std::string& name, uint64_t sequence) {
    return {.id = {"bdev", name},
            .sequence = sequence,
            .calls = {{"bdev_malloc_create", "{\"name\":\"" + name + "\"}"}}};
  }
  std::string ReadBytes(const std::string& name) const {
    std::ifstream file(directory_ + "/" + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void WriteBytes(const std::string& name, const std::string& bytes) {
    std::ofstream(directory_ + "/" + name, std::ios::binary | std::ios::trunc) << bytes;
  }

  std::string directory_;
};

TEST_F(StoreTest, GivesBackWhatWasWrittenInOrderOfSequence) {
  auto store = Open();
  ASSERT_TRUE(store->Write({Disk("b", 2), Disk("a", 1)}).ok());
  store.reset();
  EXPECT_EQ(
      Contents(),
      "bdev/a:bdev_malloc_create{\"name\":\"a\"}\nbdev/b:bdev_malloc_create{\"name\":\"b\"}\n");
}

TEST_F(StoreTest, ReplacesAndRemovesObjects) {
  auto store = Open();
  ASSERT_TRUE(store->Write({Disk("a", 1), Disk("b", 2)}).ok());
  SavedObject gone = Disk("a", 1);
  gone.calls.clear();
  SavedObject changed = Disk("b", 2);
  changed.calls = {{"one", "{}"}, {"two", "{}"}};
  ASSERT_TRUE(store->Write({gone, changed}).ok());
  store.reset();
  EXPECT_EQ(Contents(), "bdev/b:one{}two{}\n");
}

TEST_F(StoreTest, KeepsBytesThatLookLikeSqlOrEndStrings) {
  auto store = Open();
  SavedObject odd = Disk("'; DROP TABLE calls; --", 1);
  odd.calls[0].params = std::string("{\"x\":\"\\u0000 \xc3\xa9\"}");
  ASSERT_TRUE(store->Write({odd}).ok());
  ASSERT_EQ(store->Load()->size(), 1u);
  EXPECT_EQ(store->Load()->front().calls, odd.calls);
}

TEST_F(StoreTest, LocksTheDirectoryAgainstASecondDaemon) {
  auto store = Open();
  const auto second = Store::Open(directory_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(ErrnoOf(second.status()), EBUSY);
  EXPECT_THAT(std::string(second.status().message()),
              testing::HasSubstr("in use by another polluxd"));
}

TEST_F(StoreTest, FallsBackOnTheGoodCopyWhenTheDatabaseIsCut) {
  auto store = Open();
  ASSERT_TRUE(store->Write({Disk("a", 1)}).ok());
  ASSERT_TRUE(store->KeepGoodCopy().ok());
  store.reset();
  const std::string good = Contents();
  const std::string bytes = ReadBytes("pollux.db");

  for (size_t length = 0; length < bytes.size(); length += 512) {
    WriteBytes("pollux.db", bytes.substr(0, length));
    std::string warning;
    EXPECT_EQ(Contents(&warning), good) << "cut at " << length;
    EXPECT_THAT(warning, testing::HasSubstr("damaged")) << "cut at " << length;
    EXPECT_TRUE(fs::exists(directory_ + "/pollux.db.damaged"));
  }
}

TEST_F(StoreTest, NeverReadsAFlippedByteAsConfiguration) {
  auto store = Open();
  ASSERT_TRUE(store->Write({Disk("a", 1), Disk("b", 2)}).ok());
  store.reset();
  const std::string whole = Contents();
  const std::string bytes = ReadBytes("pollux.db");
  // Every seventh byte: without a copy, what is damaged is refused, and what is not touched by the
  // flip (free space, header fields that SQLite ignores) reads as it was.
  for (size_t at = 0; at < bytes.size(); at += 7) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x20);
    WriteBytes("pollux.db", damaged);
    for (const char* journal : {"/pollux.db-wal", "/pollux.db-shm"}) {
      fs::remove(directory_ + journal);
    }
    const std::string contents = Contents();
    EXPECT_TRUE(contents == whole || contents == "refused") << "byte " << at << ": " << contents;
  }
}

TEST_F(StoreTest, RefusesADamagedDatabaseWithoutACopyAndLeavesItAlone) {
  Open().reset();
  WriteBytes("pollux.db", "this is no database, and it is long enough to be looked at closely");
  const auto store = Store::Open(directory_);
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(ErrnoOf(store.status()), EBADMSG);
  EXPECT_THAT(ReadBytes("pollux.db"), testing::HasSubstr("this is no database"));
}

TEST_F(StoreTest, RestoresAMissingDatabaseFromTheCopy) {
  auto store = Open();
  ASSERT_TRUE(store->Write({Disk("a", 1)}).ok());
  ASSERT_TRUE(store->KeepGoodCopy().ok());
  store.reset();
  const std::string good = Contents();
  fs::remove(directory_ + "/pollux.db");
  std::string warning;
  EXPECT_EQ(Contents(&warning), good);
  EXPECT_THAT(warning, testing::HasSubstr("missing"));
}

TEST_F(StoreTest, RefusesADatabaseOfANewerVersion) {
  Open().reset();
  std::string bytes = ReadBytes("pollux.db");
  bytes[63] = 99;  // PRAGMA user_version, big-endian at offset 60 of the header.
  WriteBytes("pollux.db", bytes);
  const auto store = Store::Open(directory_);
  ASSERT_FALSE(store.ok());
  EXPECT_THAT(std::string(store.status().message()), testing::HasSubstr("schema version 99"));
}

TEST_F(StoreTest, NamesADirectoryThatCannotBeMade) {
  const auto store = Store::Open("/proc/pollux-state");
  ASSERT_FALSE(store.ok());
  EXPECT_THAT(std::string(store.status().message()), testing::HasSubstr("/proc/pollux-state"));
}

}  // namespace
}  // namespace pollux::rpc
