#include "cli/catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/help.h"
#include "rpc/reference/comments.h"
#include "rpc/reference/embedded_descriptors.h"

namespace pollux::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class CatalogTest : public testing::Test {
 protected:
  CatalogTest() : comments_(*rpc::Comments::Parse(rpc::EmbeddedDescriptors())) {}

  const Command& Find(const std::string& name) const {
    const Command* command = catalog_.Find(name);
    EXPECT_NE(command, nullptr) << name;
    return *command;
  }
  std::vector<std::string> Positional(const std::string& name) const {
    std::vector<std::string> names;
    for (const FieldDescriptor* field : Find(name).positional) names.push_back(field->name());
    return names;
  }

  const Catalog catalog_;
  const rpc::Comments comments_;
};

TEST_F(CatalogTest, RequiredFieldsStandBeforeTheFlagsInTheirOrder) {
  EXPECT_THAT(Positional("bdev_null_create"), ElementsAre("name", "num_blocks", "block_size"));
}

TEST_F(CatalogTest, PositionalFieldsFollowThoseRequired) {
  EXPECT_THAT(Positional("bdev_aio_create"), ElementsAre("filename", "name", "block_size"));
  EXPECT_THAT(Positional("bdev_get_bdevs"), ElementsAre("name"));
}

TEST_F(CatalogTest, DashesAreAsGoodAsUnderscores) {
  EXPECT_EQ(catalog_.Find("bdev-null-create"), catalog_.Find("bdev_null_create"));
  EXPECT_EQ(Find("bdev_null_create").FindField("block-size")->name(), "block_size");
}

TEST_F(CatalogTest, ABareResultIsAField) {
  EXPECT_EQ(Find("bdev_null_create").bare->name(), "name");
  EXPECT_EQ(Find("spdk_get_version").bare, nullptr);
}

TEST_F(CatalogTest, AnUnknownNameFindsNothingButItsNeighbours) {
  EXPECT_EQ(catalog_.Find("bdev_nul_create"), nullptr);
  EXPECT_EQ(catalog_.Find(""), nullptr);
  EXPECT_EQ(catalog_.NamesLike("bdev_nul_create").front(), "bdev_null_create");
  EXPECT_THAT(catalog_.NamesLike("something else"), IsEmpty());
}

TEST_F(CatalogTest, HelpOfEveryMethodSaysWhatItDoesAndShowsAnExample) {
  for (const Group& group : catalog_.groups()) {
    EXPECT_FALSE(comments_.Of(*group.service).empty()) << group.service->name();
    for (const Command& command : group.commands) {
      const std::string help = HelpOn(command, comments_);
      EXPECT_THAT(help, HasSubstr(UsageOf(command)));
      EXPECT_THAT(help, HasSubstr("pollux " + command.name)) << command.name;
      EXPECT_THAT(help, HasSubstr("Example")) << command.name;
    }
  }
}

TEST_F(CatalogTest, HelpNamesArgumentsFlagsUnitsAndDefaults) {
  const std::string help = HelpOn(Find("iscsi_create_target_node"), comments_);
  EXPECT_THAT(help, HasSubstr("LUNS  BDEV_NAME[:LUN_ID],..."));
  EXPECT_THAT(help, HasSubstr("PG_IG_MAPS  PG_TAG:IG_TAG,..."));
  EXPECT_THAT(help, HasSubstr("--chap-group NUMBER"));
  EXPECT_THAT(help, HasSubstr("(default 0)"));
  EXPECT_THAT(HelpOn(Find("bdev_null_resize"), comments_), HasSubstr("(MiB; at least 1)"));
}

TEST_F(CatalogTest, TheListHasEveryMethodOnALineOfItsOwn) {
  const std::string help = HelpOnAll(catalog_, comments_);
  for (const Group& group : catalog_.groups()) {
    for (const Command& command : group.commands) {
      EXPECT_THAT(help, HasSubstr("\n  " + command.name + " "));
    }
  }
}

TEST(Comments, ADamagedDescriptorSetIsRefused) {
  const std::string good(rpc::EmbeddedDescriptors());
  EXPECT_TRUE(rpc::Comments::Parse(good).ok());
  EXPECT_FALSE(rpc::Comments::Parse(good.substr(0, good.size() - 1)).ok());
  EXPECT_FALSE(rpc::Comments::Parse("nonsense").ok());
  EXPECT_TRUE(rpc::Comments::Parse("")->Of(*Catalog().groups().front().service).empty());
}

TEST(Comments, TheFirstSentenceIsOneLine) {
  EXPECT_EQ(rpc::FirstSentence("Makes a disk\nof memory. And more.\n\nErrors: none."),
            "Makes a disk of memory.");
  EXPECT_EQ(rpc::FirstSentence("Version 1.2 is one sentence"), "Version 1.2 is one sentence");
  EXPECT_EQ(rpc::FirstSentence(""), "");
}

}  // namespace
}  // namespace pollux::cli
