#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/log.h"
#include "core/memory/memory.h"
#include "core/status.h"
#include "core/tls/tls_context.h"

namespace pollux::service {

// polluxd's command line, stable from the first day.
struct DaemonOptions {
  std::vector<int> cores;                // -m 0x3, [0,1], [0-3]; default: core 0 of those allowed.
  std::vector<std::string> rpc_sockets;  // -r, repeatable.
  std::optional<std::string> rpc_tcp;    // --rpc-tcp ADDR:PORT, loopback only.
  bool spdk_compat = false;              // Adds /var/tmp/spdk.sock.
  // --grpc unix:PATH, repeatable; default: beside the first of rpc_sockets, where that fits.
  std::vector<std::string> grpc_sockets;
  // --grpc ADDR:PORT, repeatable. Loopback only, without grpc_tls.
  std::vector<std::string> grpc_tcp;
  // --grpc-tls-cert, --grpc-tls-key, --grpc-tls-ca: all or none. With them gRPC by TCP is TLS.
  std::optional<TlsFiles> grpc_tls;
  // --audit-log FILE; default: audit.log in the state directory. Absent: none is kept.
  std::optional<std::string> audit_log;
  std::optional<std::string> config_file;  // -c
  bool wait_for_rpc = false;
  std::optional<std::string> state_dir;  // Absent: --no-state.
  Hugepages hugepages = Hugepages::kAuto;
  size_t mem_mib = 0;  // 0: as much as the pools need.
  bool poll = false;   // Reactors never sleep.
  uint64_t idle_after_us = 200;
  LogLevel log_level = LogLevel::kNotice;

  bool show_version = false;
  bool show_help = false;
};

// Fails naming the option and what is wrong with its value. The arguments exclude the program's
// name.
Result<DaemonOptions> ParseDaemonOptions(const std::vector<std::string>& arguments);

// "0x3", "[0,1]", "[0-3,8]": cores in ascending order.
Result<std::vector<int>> ParseCores(const std::string& text);

std::string DaemonHelp();

// Beside a socket for JSON-RPC; empty when the path would be too long for one.
std::string DefaultGrpcSocket(const std::string& rpc_socket);

}  // namespace pollux::service
