// The NVMe driver in C++, from nothing to a block that was written and read back.
//
//   hello_nvme_cc [CONTROLLER]      0000:01:00.0, or the directory of a vfio-user socket
//
// Without a controller: the first on the PCI bus that vfio-pci has. What is in the last block of
// its first namespace is put back at the end.
#include <pollux/nvme.h>

#include <cstring>
#include <iostream>
#include <string_view>
#include <utility>

namespace nvme = pollux::nvme;

namespace {

// Says what failed, in the driver's words, and is what a function returns then.
bool Failed(const char* what) {
  std::cerr << what << ": " << pollux_nvme_error_text() << "\n";
  return false;
}

// Step 2, when nobody named a controller: takes the first that this process could drive.
bool TakeFirst(void* context, const pollux_nvme_probe_info* info) {
  if (std::string_view(info->driver) != "vfio-pci") return true;  // Go on.
  *static_cast<pollux_nvme_transport_id*>(context) = info->id;
  return false;
}

// One request at a time on one queue. The request is the object that waits for the answer: it
// lives, unmoved, until OnComplete ran.
class Session final : private nvme::Request {
 public:
  Session(nvme::Queue queue, const pollux_nvme_namespace* ns) : queue_(std::move(queue)), ns_(ns) {}

  bool Read(void* data, size_t bytes, uint64_t lba) {
    return Wait("read", pollux_nvme_read(queue_.get(), ns_, c(), data, bytes, lba, 1));
  }
  bool Write(const void* data, size_t bytes, uint64_t lba) {
    return Wait("write", pollux_nvme_write(queue_.get(), ns_, c(), data, bytes, lba, 1));
  }

 private:
  void OnComplete(nvme::Completion completion) override {
    done_ = true;
    completion_ = completion;
  }

  // A submission returns at once, here with `error`; polling the queue brings the answer. A real
  // program would do other things between two polls.
  bool Wait(const char* what, int error) {
    if (error < 0) {
      std::cerr << what << ": not submitted: " << std::strerror(-error) << "\n";
      return false;
    }
    while (!done_) pollux_nvme_queue_poll(queue_.get(), 0);
    done_ = false;
    if (pollux_nvme_ok(completion_)) return true;
    char text[128];
    std::cerr << what << ": " << pollux_nvme_status_text(completion_.status, text, sizeof(text))
              << "\n";
    return false;
  }

  const nvme::Queue queue_;
  const pollux_nvme_namespace* const ns_;
  bool done_ = false;
  nvme::Completion completion_{};
};

// Step 5: one block is kept, written, read back, compared, and put back.
bool WriteAndRead(pollux_nvme_host* host, nvme::Queue queue, const pollux_nvme_namespace* ns) {
  const pollux_nvme_namespace_info& info = *pollux_nvme_get_namespace_info(ns);
  const size_t bytes = info.block_bytes + (info.metadata_extended ? info.metadata_bytes : 0);
  const uint64_t lba = info.blocks - 1;

  // Data lies in memory that the device reaches. The driver copies nothing.
  const nvme::Memory before = nvme::Allocate(host, bytes);
  const nvme::Memory written = nvme::Allocate(host, bytes);
  const nvme::Memory found = nvme::Allocate(host, bytes);
  if (!before || !written || !found) return Failed("memory");

  Session session(std::move(queue), ns);
  if (!session.Read(before.get(), bytes, lba)) return false;
  std::memset(written.get(), 0xb1, bytes);
  const bool done =
      session.Write(written.get(), bytes, lba) && session.Read(found.get(), bytes, lba);
  const bool same = done && std::memcmp(written.get(), found.get(), bytes) == 0;
  if (done) {
    std::cout << "block " << lba << ": written, read back, " << (same ? "the same" : "DIFFERENT")
              << "\n";
  }
  return session.Write(before.get(), bytes, lba) && same;
}

// Step 4: what it is, its first namespace, and a queue to speak to it.
bool Greet(pollux_nvme_host* host, pollux_nvme_controller* controller) {
  const pollux_nvme_controller_info& info = *pollux_nvme_get_controller_info(controller);
  std::cout << info.id.traddr << ": " << info.model_number << ", serial number "
            << info.serial_number << ", firmware " << info.firmware_revision << "\n";
  const pollux_nvme_namespace* ns = pollux_nvme_namespace_next(controller, 0);
  if (ns == nullptr) {
    std::cerr << "it has no active namespace\n";
    return false;
  }
  const pollux_nvme_namespace_info& ns_info = *pollux_nvme_get_namespace_info(ns);
  std::cout << "namespace " << ns_info.nsid << ": " << ns_info.blocks << " blocks of "
            << ns_info.block_bytes << " bytes\n";

  pollux_nvme_queue* queue = nullptr;
  if (pollux_nvme_queue_take(controller, -1, &queue) < 0) return Failed("queue");
  return WriteAndRead(host, nvme::Queue(queue), ns);
}

bool Hello(const char* address) {
  // Step 1: what this process brings. Null options: the defaults.
  pollux_nvme_host* created = nullptr;
  if (pollux_nvme_host_create(nullptr, &created) < 0) return Failed("host");
  const nvme::Host host(created);

  // Step 2: which controller.
  pollux_nvme_transport_id id{};
  if (address != nullptr) {
    if (pollux_nvme_transport_id_parse(address, &id) < 0) return Failed(address);
  } else if (pollux_nvme_probe(host.get(), &TakeFirst, &id) < 0 || id.trtype == 0) {
    std::cerr << "no NVMe controller that vfio-pci has: pollux pci bind ADDRESS\n";
    return false;
  }

  // Step 3: attach it. This resets and starts the device, and waits for that. At the end of its
  // life it is shut down and given back.
  pollux_nvme_controller* attached = nullptr;
  if (pollux_nvme_attach(host.get(), &id, nullptr, &attached) < 0) return Failed(id.traddr);
  const nvme::Controller controller(attached);
  return Greet(host.get(), controller.get());
}

}  // namespace

int main(int argc, char** argv) { return Hello(argc > 1 ? argv[1] : nullptr) ? 0 : 1; }
