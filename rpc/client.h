#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/clock.h"
#include "core/status.h"
#include "core/unique_fd.h"
#include "rpc/json_scanner.h"

namespace pollux::rpc {

// The caller's end of JSON-RPC, blocking: for the command line and for tests. It sends text and
// receives values; what they mean is the caller's business.
class Client {
 public:
  static constexpr size_t kAnswerBytesMax = 64 * 1024 * 1024;

  // `where` is ADDR:PORT or the path of a Unix socket.
  static Result<Client> Connect(std::string_view where, uint64_t timeout_ns);
  Client(Client&&) = default;

  // Returns when the kernel has taken all of it.
  Status Send(std::string_view text, uint64_t timeout_ns);
  // The next JSON value as it came. ETIMEDOUT; ECONNRESET when the server closed the connection;
  // EBADMSG when it sends something else than JSON. After an error the connection is of no more
  // use, apart from ETIMEDOUT.
  Result<std::string> Receive(uint64_t timeout_ns);
  // Returns when there is something to receive from the socket.
  Status AwaitAnswer(uint64_t timeout_ns);
  // No more will be sent; the answers may still be received.
  void ShutdownSend();

  int fd() const { return socket_.get(); }

 private:
  explicit Client(UniqueFd socket);
  // Waits until the socket is ready for `events`.
  Status WaitFor(short events, uint64_t deadline_ns);

  UniqueFd socket_;
  RealClock clock_;
  JsonScanner scanner_;
  std::string received_;  // Not yet returned;
  size_t scanned_ = 0;    // so much of it has been looked at.
};

}  // namespace pollux::rpc
