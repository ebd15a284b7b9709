// The I/OAT driver in C++, from nothing to memory that a DMA engine copied.
//
//   hello_ioat_cc [DEVICE]      0000:00:04.0, or the directory of a vfio-user socket
//
// Without a device: the first on the PCI bus that vfio-pci has.
#include <pollux/ioat.h>

#include <array>
#include <cstring>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>

namespace ioat = pollux::ioat;

namespace {

// Says what failed, in the driver's words, and is what a function returns then.
bool Failed(const std::string& what) {
  std::cerr << what << ": " << pollux_ioat_error_text() << "\n";
  return false;
}

// Step 2, when nobody named a device: takes the first that this process could drive.
bool TakeFirst(void* context, const pollux_ioat_probe_info* info) {
  if (std::string_view(info->driver) != "vfio-pci") return true;  // Go on.
  *static_cast<std::string*>(context) = info->address;
  return false;
}

// A copy in flight. The request is the object that waits for the answer: it lives, unmoved, until
// OnComplete ran.
class Copy final : public ioat::Request {
 public:
  bool good() const { return done_ && completion_.status == POLLUX_IOAT_OK; }
  void OnComplete(ioat::Completion completion) override {
    done_ = true;
    completion_ = completion;
  }

 private:
  bool done_ = false;
  ioat::Completion completion_{};
};

// Step 5: sixteen copies with one doorbell, and a fence that tells when all are done.
bool CopyMany(pollux_ioat_host* host, pollux_ioat_channel* channel) {
  constexpr size_t kCopies = 16, kBytes = 4096;
  // Data lies in memory that the device reaches.
  const ioat::Memory memory = ioat::Allocate(host, 2 * kCopies * kBytes);
  if (!memory) return Failed("memory");
  auto* const from = static_cast<unsigned char*>(memory.get());
  auto* const to = from + kCopies * kBytes;
  for (size_t i = 0; i < kCopies * kBytes; ++i) from[i] = static_cast<unsigned char>(i * 7);

  std::array<Copy, kCopies> copies;
  Copy all;
  int error = 0;
  for (size_t i = 0; i < kCopies && error == 0; ++i) {
    error = pollux_ioat_copy(channel, copies[i].c(), to + i * kBytes, from + i * kBytes, kBytes);
  }
  if (error == 0) error = pollux_ioat_fence(channel, all.c());
  pollux_ioat_channel_ring(channel);
  // A real program would do other things between two polls.
  while (!pollux_ioat_channel_idle(channel)) pollux_ioat_channel_poll(channel);
  if (error < 0) {
    std::cerr << "not submitted: " << std::strerror(-error) << "\n";
    return false;
  }

  pollux_ioat_statistics counted{};
  pollux_ioat_get_statistics(channel, &counted);
  bool good = all.good() && std::memcmp(from, to, kCopies * kBytes) == 0;
  for (const Copy& copy : copies) good = good && copy.good();
  std::cout << kCopies << " copies: " << (good ? "all the same" : "DIFFERENT") << "; "
            << counted.descriptors << " descriptors, " << counted.doorbells << " doorbells\n";
  return good;
}

// Step 4: what it is, and a channel of it.
bool Greet(pollux_ioat_host* host, pollux_ioat_device* device) {
  const pollux_ioat_device_info& info = *pollux_ioat_get_device_info(device);
  std::cout << info.address << ": " << info.model << ", version " << (info.version >> 4) << "."
            << (info.version & 15) << ", channels: " << info.channels << "\n";
  pollux_ioat_channel* taken = nullptr;
  if (pollux_ioat_channel_take(device, -1, &taken) < 0) return Failed("channel");
  const ioat::Channel channel(taken);
  return CopyMany(host, channel.get());
}

bool Hello(std::string address) {
  // Step 1: what this process brings. Null options: the defaults.
  pollux_ioat_host* created = nullptr;
  if (pollux_ioat_host_create(nullptr, &created) < 0) return Failed("host");
  const ioat::Host host(created);

  // Step 2: which device.
  if (address.empty()) pollux_ioat_probe(host.get(), &TakeFirst, &address);
  if (address.empty()) {
    std::cerr << "no I/OAT device that vfio-pci has: pollux pci bind ADDRESS\n";
    return false;
  }

  // Step 3: attach it, without waiting: each poll takes a step, and between two of them a program
  // does what else it has to do. At the end of its life it is stopped and given back.
  pollux_ioat_device* begun = nullptr;
  if (pollux_ioat_attach_begin(host.get(), address.c_str(), nullptr, &begun) < 0) {
    return Failed(address);
  }
  const ioat::Device device(begun);
  while (pollux_ioat_device_state(device.get()) == POLLUX_IOAT_DEVICE_ATTACHING) {
    pollux_ioat_device_poll(device.get());
  }
  const char* why = nullptr;
  if (pollux_ioat_device_failure(device.get(), &why) < 0) {
    std::cerr << why << "\n";
    return false;
  }
  return Greet(host.get(), device.get());
}

}  // namespace

int main(int argc, char** argv) { return Hello(argc > 1 ? argv[1] : "") ? 0 : 1; }
