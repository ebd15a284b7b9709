#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "core/status.h"
#include "rpc/client.h"

namespace pollux::cli {

// What the server answered: a result, or an error.
struct Answer {
  bool ok = false;
  std::string result;  // JSON text.
  // Of an error. What does not apply is empty.
  std::string code, message, field, value, reason;
};

// One connection, opened by the first call.
class Session {
 public:
  Session(std::string socket, uint64_t timeout_ns)
      : socket_(std::move(socket)), timeout_ns_(timeout_ns) {}

  // `params` is a JSON object, or empty. Fails when there is no connection or no answer.
  Result<Answer> Call(std::string_view method, std::string_view params);

 private:
  const std::string socket_;
  const uint64_t timeout_ns_;
  std::optional<rpc::Client> client_;
  uint64_t last_id_ = 0;
};

}  // namespace pollux::cli
