#pragma once
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <future>
#include <memory>
#include <string>

#include "core/task_group.h"
#include "drivers/ioat/ioat.h"
#include "tests/models/ioat_model_served.h"

namespace pollux::ioat {

// The model behind a vfio-user socket, whose loop runs in a thread of its own.
class ServedWorld : public testing::Test {
 protected:
  ServedWorld() {
    char name[] = "/tmp/ioat-XXXXXX";
    directory_ = mkdtemp(name);
  }
  ~ServedWorld() override {
    EndServer();
    std::filesystem::remove_all(directory_);
  }

  void Serve(const models::IoatModelServed::Faults& faults = {},
             const models::IoatModel::Options& device = {}) {
    served_ = std::make_unique<Served>(device, directory_ + "/cntrl", faults);
  }
  // The client sees its end.
  void EndServer() { served_.reset(); }

  std::string directory_;

 private:
  struct Served {
    Served(const models::IoatModel::Options& device, const std::string& path,
           const models::IoatModelServed::Faults& faults)
        : loop(Loop::Options{.name = "served", .idle_after_ns = kNsPerMs}, clock,
               *MakeEpollWaiter()),
          model(device, loop) {
      model.SetFaults(faults);
      vfio_user::Server::Options options;
      options.path = path;
      auto listening = vfio_user::Server::Listen(std::move(options), model, loop);
      EXPECT_TRUE(listening.ok()) << listening.status();
      server = *std::move(listening);
      model.set_server(server.get());
      loop.StartThread();
    }
    ~Served() {
      struct End final : Message {
        vfio_user::Server* server = nullptr;
        TaskGroup tasks;
        std::promise<void> ended;
        void Run() override { tasks.Spawn(Close()); }
        Task<void> Close() {
          co_await server->Close();
          ended.set_value();
        }
      } end;
      end.server = server.get();
      loop.Post(end);
      end.ended.get_future().wait();
      loop.StopThread();
    }

    const RealClock clock;
    Loop loop;
    models::IoatModelServed model;
    std::unique_ptr<vfio_user::Server> server;
  };
  std::unique_ptr<Served> served_;
};

}  // namespace pollux::ioat
