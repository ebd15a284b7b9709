#pragma once
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "core/clock.h"
#include "core/loop.h"
#include "core/memory/region_registry.h"
#include "drivers/pci/vfio_user_device.h"
#include "targets/vfio_user/server.h"
#include "tests/unit/targets/vfio_user/scratch_device.h"

namespace pollux::pci {

// Memory of a file, as pools have it.
class SharedMemory {
 public:
  explicit SharedMemory(size_t bytes) : bytes_(bytes), fd_(memfd_create("pool", MFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(fd_.get(), static_cast<off_t>(bytes)), 0);
    address_ = static_cast<std::byte*>(
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0));
  }
  ~SharedMemory() { munmap(address_, bytes_); }
  std::byte* address() const { return address_; }
  Region region(const std::string& name = "pool") const {
    return {.address = address_, .bytes = bytes_, .fd = fd_.get(), .name = name};
  }

 private:
  const size_t bytes_;
  const UniqueFd fd_;
  std::byte* address_ = nullptr;
};

// A scratch device behind our server, on a thread of its own.
class ServedScratch {
 public:
  explicit ServedScratch(const std::string& path, int irq_index = vfio_user::kMsix)
      : device_(irq_index) {
    loop_.StartThread();
    OnLoop([&] {
      vfio_user::Server::Options options;
      options.path = path;
      auto server = vfio_user::Server::Listen(options, device_, loop_);
      ASSERT_TRUE(server.ok()) << server.status();
      server_ = *std::move(server);
    });
  }
  ~ServedScratch() {
    if (server_ != nullptr) Close();
    loop_.StopThread();
  }
  void Close() {
    std::optional<Task<void>> closing;
    OnLoop([&] {
      device_.Release();
      closing.emplace(server_->Close());
      closing->Start();
    });
    for (bool done = false; !done;) OnLoop([&] { done = closing->done(); });
    OnLoop([&] {
      closing.reset();
      server_.reset();
    });
  }
  // On the server's thread; waits for it.
  void OnLoop(std::function<void()> step) {
    struct Call final : Message {
      void Run() override {
        step();
        done.store(true);
        done.notify_one();
      }
      std::function<void()> step;
      std::atomic<bool> done{false};
    } call;
    call.step = std::move(step);
    loop_.Post(call);
    call.done.wait(false);
  }
  vfio_user::ScratchDevice& device() { return device_; }
  vfio_user::Server& server() { return *server_; }

 private:
  RealClock clock_;
  Loop loop_{{.name = "server"}, clock_, *MakeEpollWaiter()};
  vfio_user::ScratchDevice device_;
  std::unique_ptr<vfio_user::Server> server_;
};

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "pollux-XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& file) const { return path_ / file; }
  std::string path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace pollux::pci
