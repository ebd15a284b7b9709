#include "core/intrusive_list.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace pollux {
namespace {

// The node is not first, and the object is in two lists at once.
struct Member {
  int value = 0;
  ListNode node;
  ListNode other_node;
};
using List = IntrusiveList<Member, &Member::node>;
using OtherList = IntrusiveList<Member, &Member::other_node>;

class IntrusiveListTest : public testing::Test {
 protected:
  IntrusiveListTest() {
    for (int i = 0; i < 4; ++i) members_[static_cast<size_t>(i)].value = i;
  }
  ~IntrusiveListTest() override {
    while (list_.PopFront() != nullptr) {
    }
  }
  std::vector<int> Values(List& list) {
    std::vector<int> values;
    for (Member* m = list.Front(); m != nullptr; m = list.Next(*m)) values.push_back(m->value);
    return values;
  }
  std::array<Member, 4> members_;
  List list_;
};

TEST_F(IntrusiveListTest, KeepsOrder) {
  list_.PushBack(members_[1]);
  list_.PushBack(members_[2]);
  list_.PushFront(members_[0]);
  EXPECT_EQ(Values(list_), (std::vector{0, 1, 2}));
  EXPECT_EQ(list_.size(), 3u);
  EXPECT_EQ(list_.PopFront(), &members_[0]);
  EXPECT_EQ(list_.Front(), &members_[1]);
}

TEST_F(IntrusiveListTest, AMemberLeavesFromAnywhere) {
  for (Member& m : members_) list_.PushBack(m);
  list_.Remove(members_[1]);
  EXPECT_EQ(Values(list_), (std::vector{0, 2, 3}));
  list_.Remove(members_[3]);
  list_.Remove(members_[0]);
  EXPECT_EQ(Values(list_), (std::vector{2}));
  EXPECT_FALSE(members_[1].node.linked());
  EXPECT_TRUE(members_[2].node.linked());
  list_.PushBack(members_[1]);
  EXPECT_EQ(Values(list_), (std::vector{2, 1}));
}

TEST_F(IntrusiveListTest, AnObjectMayBeInTwoLists) {
  OtherList other;
  list_.PushBack(members_[0]);
  other.PushBack(members_[0]);
  list_.Remove(members_[0]);
  EXPECT_EQ(other.Front(), &members_[0]);
  other.Remove(members_[0]);
}

TEST_F(IntrusiveListTest, TakesAllOfAnother) {
  List other;
  list_.PushBack(members_[0]);
  other.PushBack(members_[1]);
  other.PushBack(members_[2]);
  list_.TakeAll(other);
  EXPECT_TRUE(other.empty());
  EXPECT_EQ(Values(list_), (std::vector{0, 1, 2}));
}

TEST_F(IntrusiveListTest, AnEmptyListHasNothingToGive) {
  EXPECT_TRUE(list_.empty());
  EXPECT_EQ(list_.Front(), nullptr);
  EXPECT_EQ(list_.PopFront(), nullptr);
}

TEST(IntrusiveListDeathTest, MisuseIsCaught) {
  EXPECT_DEATH(
      {
        Member member;
        List list;
        list.PushBack(member);
        list.PushBack(member);
      },
      "CHECK");
  EXPECT_DEATH(
      {
        List list;
        Member member;
        list.PushBack(member);
      },
      "destroyed while in a list");
}

}  // namespace
}  // namespace pollux
