#include "cli/config_diff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pollux::cli {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Kind = ConfigDifference::Kind;

class ConfigDiffTest : public testing::Test {
 protected:
  static rpc::ConfiguredCall Call(const std::string& method, const std::string& params) {
    return {"any", {method, params}};
  }
  // The parameters that differ of two calls that are of the same thing.
  std::vector<std::string> Parameters(const std::string& method, const std::string& wanted,
                                      const std::string& running) {
    const auto all = CompareConfigs(catalog_, {Call(method, wanted)}, {Call(method, running)});
    if (all.empty()) return {};
    EXPECT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].kind, Kind::kOther);
    return all[0].parameters;
  }
  const Catalog catalog_;
};

TEST_F(ConfigDiffTest, ObjectsAreTheSameByName) {
  const auto all =
      CompareConfigs(catalog_, {Call("bdev_null_create", R"({"name":"A","num_blocks":8})")},
                     {Call("bdev_null_create", R"({"name":"B","num_blocks":8})")});
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].kind, Kind::kMissing);
  EXPECT_EQ(all[1].kind, Kind::kExtra);
}

TEST_F(ConfigDiffTest, CallsThatMakeNothingAreTheSameByWhatTheyRequire) {
  EXPECT_THAT(Parameters("bdev_set_qos_limit", R"({"name":"A","rw_ios_per_sec":1000})",
                         R"({"name":"A","rw_ios_per_sec":2000})"),
              ElementsAre("rw_ios_per_sec is 2000, wanted 1000"));
  const auto all = CompareConfigs(catalog_, {Call("bdev_set_qos_limit", R"({"name":"A"})")},
                                  {Call("bdev_set_qos_limit", R"({"name":"B"})")});
  EXPECT_EQ(all.size(), 2u);
}

TEST_F(ConfigDiffTest, CallsWithoutRequiredParametersAreOfOneThing) {
  EXPECT_THAT(
      Parameters("bdev_set_options", R"({"bdev_io_pool_size":1})", R"({"bdev_io_pool_size":2})"),
      ElementsAre("bdev_io_pool_size is 2, wanted 1"));
}

TEST_F(ConfigDiffTest, WhatIsNotSaidMayBeAnything) {
  EXPECT_THAT(Parameters("bdev_null_create", R"({"name":"A"})",
                         R"({"name":"A","num_blocks":8,"uuid":"x"})"),
              IsEmpty());
}

TEST_F(ConfigDiffTest, WhatIsNotThereIsItsDefault) {
  EXPECT_THAT(
      Parameters("bdev_null_create", R"({"name":"A","md_size":0,"uuid":""})", R"({"name":"A"})"),
      IsEmpty());
  EXPECT_THAT(Parameters("bdev_null_create", R"({"name":"A","md_size":8})", R"({"name":"A"})"),
              ElementsAre("md_size is 0, wanted 8"));
}

TEST_F(ConfigDiffTest, NestedValuesAreCompared) {
  const std::string running =
      R"({"tag":1,"portals":[{"host":"a","port":"1","extra":{"deep":[1,{"x":2}]}}]})";
  const auto parameters = [&](const std::string& portals) {
    return Parameters("iscsi_create_portal_group", R"({"tag":1,"portals":)" + portals + "}",
                      running);
  };
  EXPECT_THAT(parameters(R"([{"port":"1","host":"a"}])"), IsEmpty());
  EXPECT_THAT(parameters(R"([{"extra":{"deep":[1,{"x":2,"none":false}]}}])"), IsEmpty());
  for (const char* other : {R"([])", R"([{"host":"a"},{"host":"b"}])", R"([{"host":"A"}])",
                            R"([{"port":1}])", R"([{"extra":{"deep":[{"x":2},1]}}])",
                            R"([{"extra":{"deep":[1,{"x":2,"y":1}]}}])", R"({})", R"("a")"}) {
    EXPECT_EQ(parameters(other).size(), 1u) << other;
  }
  EXPECT_THAT(parameters(R"([{"host":"b"}])"),
              ElementsAre("portals is [{host: 'a', port: '1', extra: {deep: [1, {x: 2}]}}], wanted "
                          "[{host: 'b'}]"));
}

// Each running call stands for one wanted call, and the one that is most alike is taken.
TEST_F(ConfigDiffTest, EachCallHasOneLike) {
  const auto add = [](const char* disk) {
    return Call("nvmf_subsystem_add_ns",
                absl::StrFormat(R"({"nqn":"n","namespace":{"bdev_name":"%s"}})", disk));
  };
  EXPECT_THAT(CompareConfigs(catalog_, {add("B"), add("A")}, {add("A"), add("B")}), IsEmpty());
  const auto all = CompareConfigs(catalog_, {add("A"), add("A")}, {add("A")});
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].kind, Kind::kMissing);
}

TEST_F(ConfigDiffTest, AMethodThatThereIsNotIsMissing) {
  const auto all = CompareConfigs(catalog_, {Call("no_method", "{}")}, {Call("no_method", "{}")});
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].kind, Kind::kMissing);
}

}  // namespace
}  // namespace pollux::cli
