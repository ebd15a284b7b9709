#pragma once
#include <cstddef>

#include "core/check.h"

namespace pollux {

// Embed a ListNode to be a member of one IntrusiveList<T>. An object leaves its list before it
// dies.
class ListNode {
 public:
  ListNode() = default;
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;
  ~ListNode() { CHECK(!linked(), "destroyed while in a list"); }
  bool linked() const { return next_ != nullptr; }

 private:
  template <typename T, ListNode T::*kNode>
  friend class IntrusiveList;
  ListNode* next_ = nullptr;
  ListNode* prev_ = nullptr;
};

// A doubly linked list of objects that embed its links: nothing is allocated, and an object can
// leave from the middle. IntrusiveList<Timer, &Timer::node>.
template <typename T, ListNode T::*kNode>
class IntrusiveList {
 public:
  IntrusiveList() { head_.next_ = head_.prev_ = &head_; }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;
  ~IntrusiveList() {
    CHECK(empty());
    head_.next_ = head_.prev_ = nullptr;
  }

  bool empty() const { return head_.next_ == &head_; }
  size_t size() const { return size_; }

  void PushBack(T& item) { InsertBefore(head_, item); }
  void PushFront(T& item) { InsertBefore(*head_.next_, item); }
  T* Front() { return empty() ? nullptr : Owner(head_.next_); }
  T* PopFront() {
    T* item = Front();
    if (item != nullptr) Remove(*item);
    return item;
  }
  void Remove(T& item) {
    ListNode& node = item.*kNode;
    CHECK(node.linked());
    node.prev_->next_ = node.next_;
    node.next_->prev_ = node.prev_;
    node.next_ = node.prev_ = nullptr;
    --size_;
  }
  // The member after `item`, or null at the end.
  T* Next(T& item) {
    ListNode* next = (item.*kNode).next_;
    return next == &head_ ? nullptr : Owner(next);
  }
  // Moves all members of `other` to the end of this list.
  void TakeAll(IntrusiveList& other) {
    while (T* item = other.PopFront()) PushBack(*item);
  }

 private:
  void InsertBefore(ListNode& place, T& item) {
    ListNode& node = item.*kNode;
    CHECK(!node.linked());
    node.prev_ = place.prev_;
    node.next_ = &place;
    place.prev_->next_ = &node;
    place.prev_ = &node;
    ++size_;
  }
  static T* Owner(ListNode* node) {
    // The offset of the node inside T, taken on memory that is never read.
    alignas(T) static const char place[sizeof(T)] = {};
    const T* object = reinterpret_cast<const T*>(place);
    const auto offset = reinterpret_cast<const char*>(&(object->*kNode)) - place;
    return reinterpret_cast<T*>(reinterpret_cast<char*>(node) - offset);
  }

  ListNode head_;
  size_t size_ = 0;
};

}  // namespace pollux
