#pragma once
#include <array>
#include <cstddef>
#include <memory>

#include "core/check.h"
#include "targets/nvmf/tcp/tcp_command.h"

namespace pollux::nvmf {

// The commands of a connection. Memory for all of them is taken at once, and a command is made in
// it when it is needed first: an idle connection keeps few pages busy. What was free last is used
// next, since it is warm.
class CommandTable {
 public:
  explicit CommandTable(TcpConnection& connection) : connection_(connection) {}
  CommandTable(const CommandTable&) = delete;
  ~CommandTable() {
    for (size_t i = 0; i < made_; ++i) std::destroy_at(Place(i));
  }

  // Room for `count` more: first for those before Connect, then for as many as it asked for.
  void Grow(size_t count) {
    CHECK(blocks_used_ < blocks_.size());
    Block& block = blocks_[blocks_used_++];
    block.first = capacity_;
    block.slots = std::make_unique_for_overwrite<Slot[]>(count);
    capacity_ += count;
  }

  bool empty() const { return free_ == nullptr && made_ == capacity_; }
  // Not when it is empty.
  TcpCommand& Take() {
    if (free_ == nullptr) [[unlikely]]
      return Make();
    TcpCommand& command = *free_;
    free_ = command.next_free_;
    return command;
  }
  void Give(TcpCommand& command) {
    command.next_free_ = free_;
    free_ = &command;
  }
  // One that was made, or null.
  TcpCommand* At(size_t index) { return index < made_ ? Place(index) : nullptr; }

 private:
  struct Slot {
    alignas(TcpCommand) std::byte bytes[sizeof(TcpCommand)];
  };
  struct Block {
    size_t first = 0;
    std::unique_ptr<Slot[]> slots;
  };

  TcpCommand* Place(size_t index) {
    const Block& block = blocks_[blocks_used_ > 1 && index >= blocks_[1].first ? 1 : 0];
    return std::launder(reinterpret_cast<TcpCommand*>(block.slots[index - block.first].bytes));
  }
  TcpCommand& Make() {
    CHECK(made_ < capacity_);
    const size_t index = made_++;
    return *new (Place(index)) TcpCommand(connection_, static_cast<uint16_t>(index));
  }

  TcpConnection& connection_;
  std::array<Block, 2> blocks_;
  size_t blocks_used_ = 0;
  size_t capacity_ = 0, made_ = 0;
  TcpCommand* free_ = nullptr;
};

}  // namespace pollux::nvmf
