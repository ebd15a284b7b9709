// How fast a JSON-RPC server answers: rpc_bench SOCKET [METHOD]
//
// Prints the medians of 7 runs: the time of one call after the other (p50 of 5,000), and the calls
// a second of 100,000 that are pipelined. SOCKET is a path or ADDR:PORT.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>
#include <vector>

#include "rpc/client.h"

namespace pollux::rpc {
namespace {

constexpr int kRuns = 7;
constexpr size_t kCallsInStep = 5'000;
constexpr size_t kCallsPipelined = 100'000;
constexpr size_t kCallsPerWrite = 500;
constexpr size_t kCallsOutstandingMax = 2'000;
constexpr uint64_t kTimeoutNs = 10 * kNsPerSecond;

template <typename T>
T Median(std::vector<T> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

std::string Request(const std::string& method) {
  return R"({"jsonrpc":"2.0","id":1,"method":")" + method + "\"}";
}

Result<uint64_t> MedianCallNs(Client& client, const std::string& method) {
  const RealClock clock;
  const std::string request = Request(method);
  std::vector<uint64_t> times;
  for (size_t i = 0; i < kCallsInStep; ++i) {
    const uint64_t begin = clock.NowNs();
    RETURN_IF_ERROR(client.Send(request, kTimeoutNs));
    ASSIGN_OR_RETURN(const std::string answer, client.Receive(kTimeoutNs));
    times.push_back(clock.NowNs() - begin);
    if (answer.find("\"result\"") == std::string::npos) return InvalidArgument("%s", answer);
  }
  return Median(times);
}

// Answers are counted by their line ends: a parser here would be measured, too.
Result<double> CallsPerSecond(Client& client, const std::string& method) {
  const RealClock clock;
  std::string requests;
  for (size_t i = 0; i < kCallsPerWrite; ++i) requests += Request(method);
  std::array<char, 256 * 1024> buffer;
  const uint64_t begin = clock.NowNs();
  size_t sent = 0, answered = 0;
  while (answered < kCallsPipelined) {
    while (sent < kCallsPipelined && sent - answered + kCallsPerWrite <= kCallsOutstandingMax) {
      RETURN_IF_ERROR(client.Send(requests, kTimeoutNs));
      sent += kCallsPerWrite;
    }
    RETURN_IF_ERROR(client.AwaitAnswer(kTimeoutNs));
    const ssize_t count = recv(client.fd(), buffer.data(), buffer.size(), 0);
    if (count <= 0) return InternalError("the server closed the connection");
    answered += static_cast<size_t>(std::count(buffer.data(), buffer.data() + count, '\n'));
  }
  return static_cast<double>(answered) * 1e9 / static_cast<double>(clock.NowNs() - begin);
}

Status Run(const std::string& where, const std::string& method) {
  std::vector<uint64_t> call_ns;
  std::vector<double> calls_per_second;
  for (int i = 0; i < kRuns; ++i) {
    ASSIGN_OR_RETURN(Client client, Client::Connect(where, kTimeoutNs));
    ASSIGN_OR_RETURN(const uint64_t ns, MedianCallNs(client, method));
    ASSIGN_OR_RETURN(const double rate, CallsPerSecond(client, method));
    call_ns.push_back(ns);
    calls_per_second.push_back(rate);
  }
  std::printf("%s: one at a time p50 %.1f us, pipelined %.0f calls/s (medians of %d)\n",
              method.c_str(), static_cast<double>(Median(call_ns)) / 1000.0,
              Median(calls_per_second), kRuns);
  return OkStatus();
}

}  // namespace
}  // namespace pollux::rpc

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: rpc_bench SOCKET [METHOD]\n");
    return 2;
  }
  const pollux::Status status = pollux::rpc::Run(argv[1], argc == 3 ? argv[2] : "spdk_get_version");
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
