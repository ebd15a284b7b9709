#include "service/options.h"

#include <sched.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <set>

#include "core/default_paths.h"
#include "core/net/address.h"

namespace pollux::service {
namespace {

constexpr int kCoresMax = 1024;

Result<uint64_t> ParseNumber(std::string_view option, std::string_view text, int base = 10) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) {
    return InvalidField(option, text, "is not a number");
  }
  return value;
}

// --grpc ADDR:PORT | unix:PATH | off.
Status AddGrpcAddress(std::string_view option, const std::string& text, DaemonOptions& options,
                      bool& off) {
  constexpr std::string_view kUnix = "unix:";
  if (text == "off") {
    off = true;
  } else if (text.starts_with(kUnix) && text.size() > kUnix.size()) {
    options.grpc_sockets.push_back(text.substr(kUnix.size()));
  } else if (SocketAddress::ParseHostPort(text).ok()) {
    options.grpc_tcp.push_back(text);
  } else {
    return InvalidField(option, text,
                        "must be unix:PATH, an address and a port, such as 127.0.0.1:50051, or "
                        "off");
  }
  if (off && options.grpc_sockets.size() + options.grpc_tcp.size() > 0) {
    return InvalidField(option, text, "off excludes addresses");
  }
  return OkStatus();
}

// What is served to other machines knows who calls.
Status CheckGrpc(const DaemonOptions& options) {
  if (const auto& tls = options.grpc_tls; tls.has_value()) {
    if (tls->certificate.empty() || tls->key.empty() || tls->client_ca.empty()) {
      return InvalidArgument("--grpc-tls-cert, --grpc-tls-key and --grpc-tls-ca go together");
    }
    if (options.grpc_tcp.empty()) {
      return InvalidArgument("--grpc-tls-cert needs a --grpc ADDR:PORT to serve");
    }
    return OkStatus();
  }
  for (const std::string& text : options.grpc_tcp) {
    const Result<SocketAddress> address = SocketAddress::ParseHostPort(text);
    if (address.ok() && address->IsLoopback()) continue;
    return InvalidField("--grpc", text,
                        "must be a loopback address: nothing tells who calls from elsewhere, "
                        "unless there are certificates (--grpc-tls-cert, -key, -ca)");
  }
  return OkStatus();
}

}  // namespace

std::string DefaultGrpcSocket(const std::string& rpc_socket) {
  std::string path = rpc_socket + ".grpc";
  if (path.size() >= sizeof(sockaddr_un::sun_path)) path.clear();
  return path;
}

Result<std::vector<int>> ParseCores(const std::string& text) {
  std::set<int> cores;
  if (text.size() > 2 && text.front() == '[' && text.back() == ']') {
    std::string_view rest(text);
    rest = rest.substr(1, rest.size() - 2);
    while (!rest.empty()) {
      const std::string_view item = rest.substr(0, rest.find(','));
      rest = item.size() < rest.size() ? rest.substr(item.size() + 1) : std::string_view();
      const size_t dash = item.find('-');
      ASSIGN_OR_RETURN(const uint64_t first, ParseNumber("-m", item.substr(0, dash)));
      uint64_t last = first;
      if (dash != std::string_view::npos) {
        ASSIGN_OR_RETURN(last, ParseNumber("-m", item.substr(dash + 1)));
      }
      if (first > last || last >= kCoresMax) {
        return InvalidField("-m", text, "cores are numbers from 0 to %d, low-high", kCoresMax - 1);
      }
      for (uint64_t core = first; core <= last; ++core) cores.insert(static_cast<int>(core));
    }
  } else {
    std::string_view digits(text);
    if (digits.starts_with("0x") || digits.starts_with("0X")) digits.remove_prefix(2);
    for (size_t i = 0; i < digits.size(); ++i) {
      ASSIGN_OR_RETURN(const uint64_t nibble, ParseNumber("-m", digits.substr(i, 1), 16));
      for (int bit = 0; bit < 4; ++bit) {
        const size_t core = (digits.size() - 1 - i) * 4 + static_cast<size_t>(bit);
        if ((nibble >> bit & 1) != 0 && core < kCoresMax) cores.insert(static_cast<int>(core));
      }
    }
  }
  if (cores.empty()) return InvalidField("-m", text, "names no core: write 0x3 or [0,1]");

  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
    for (const int core : cores) {
      if (!CPU_ISSET(static_cast<size_t>(core), &allowed)) {
        return InvalidField("-m", text, "core %d is not there, or not allowed to this process",
                            core);
      }
    }
  }
  return std::vector<int>(cores.begin(), cores.end());
}

Result<DaemonOptions> ParseDaemonOptions(const std::vector<std::string>& arguments) {
  DaemonOptions options;
  bool no_state = false;
  bool no_grpc = false;
  std::optional<std::string> cores;
  std::optional<std::string> audit_log;

  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string name = arguments[i];
    std::optional<std::string> attached;  // --name=value
    if (const size_t equals = name.find('=');
        name.starts_with("--") && equals != std::string::npos) {
      attached = name.substr(equals + 1);
      name.resize(equals);
    }
    const auto value = [&]() -> Result<std::string> {
      if (attached.has_value()) return *attached;
      if (i + 1 >= arguments.size()) return InvalidArgument("%s needs a value", name);
      return arguments[++i];
    };
    // An option that takes no value, or the wrong one, is told from an unknown one below.
    const auto flag = [&](bool& target) -> Status {
      if (attached.has_value()) return InvalidField(name, *attached, "takes no value");
      target = true;
      return OkStatus();
    };

    if (name == "-m" || name == "--cpumask") {
      ASSIGN_OR_RETURN(cores, value());
    } else if (name == "-r" || name == "--rpc-socket") {
      ASSIGN_OR_RETURN(std::string path, value());
      options.rpc_sockets.push_back(std::move(path));
    } else if (name == "--rpc-tcp") {
      ASSIGN_OR_RETURN(const std::string text, value());
      const Result<SocketAddress> address = SocketAddress::ParseHostPort(text);
      if (!address.ok() || !address->IsLoopback()) {
        return InvalidField(name, text,
                            "must be a loopback address and a port, such as 127.0.0.1:5260");
      }
      options.rpc_tcp = text;
    } else if (name == "--spdk-compat") {
      RETURN_IF_ERROR(flag(options.spdk_compat));
    } else if (name == "-c" || name == "--config") {
      ASSIGN_OR_RETURN(options.config_file, value());
    } else if (name == "--wait-for-rpc") {
      RETURN_IF_ERROR(flag(options.wait_for_rpc));
    } else if (name == "--state-dir") {
      ASSIGN_OR_RETURN(options.state_dir, value());
    } else if (name == "--no-state") {
      RETURN_IF_ERROR(flag(no_state));
    } else if (name == "--hugepages") {
      ASSIGN_OR_RETURN(const std::string text, value());
      if (text == "auto") {
        options.hugepages = Hugepages::kAuto;
      } else if (text == "on") {
        options.hugepages = Hugepages::kOn;
      } else if (text == "off") {
        options.hugepages = Hugepages::kOff;
      } else {
        return InvalidField(name, text, "must be auto, on or off");
      }
    } else if (name == "--mem-mib") {
      ASSIGN_OR_RETURN(const std::string text, value());
      ASSIGN_OR_RETURN(options.mem_mib, ParseNumber(name, text));
    } else if (name == "--poll") {
      RETURN_IF_ERROR(flag(options.poll));
    } else if (name == "--idle-after-us") {
      ASSIGN_OR_RETURN(const std::string text, value());
      ASSIGN_OR_RETURN(options.idle_after_us, ParseNumber(name, text));
      if (options.idle_after_us > 1000 * 1000) {
        return InvalidField(name, text, "at most 1000000 (a second); --poll never sleeps");
      }
    } else if (name == "--grpc") {
      ASSIGN_OR_RETURN(const std::string text, value());
      RETURN_IF_ERROR(AddGrpcAddress(name, text, options, no_grpc));
    } else if (name == "--grpc-tls-cert" || name == "--grpc-tls-key" || name == "--grpc-tls-ca") {
      if (!options.grpc_tls.has_value()) options.grpc_tls.emplace();
      TlsFiles& tls = *options.grpc_tls;
      std::string& file = name.ends_with("cert")  ? tls.certificate
                          : name.ends_with("key") ? tls.key
                                                  : tls.client_ca;
      ASSIGN_OR_RETURN(file, value());
    } else if (name == "--audit-log") {
      ASSIGN_OR_RETURN(audit_log, value());
    } else if (name == "--http") {
      ASSIGN_OR_RETURN(const std::string text, value());
      if (text != "off") {
        return InvalidField(name, text,
                            "this version does not serve it yet: only 'off' is accepted");
      }
    } else if (name == "--log-level") {
      ASSIGN_OR_RETURN(const std::string text, value());
      const Result<LogLevel> level = ParseLogLevel(text);
      if (!level.ok()) return InvalidField(name, text, "%s", DetailOf(level.status()).reason);
      options.log_level = *level;
    } else if (name == "--version") {
      RETURN_IF_ERROR(flag(options.show_version));
    } else if (name == "--help" || name == "-h") {
      RETURN_IF_ERROR(flag(options.show_help));
    } else {
      return InvalidArgument("unknown option '%s'; see polluxd --help", name);
    }
  }

  if (cores.has_value()) {
    ASSIGN_OR_RETURN(options.cores, ParseCores(*cores));
  } else {
    // The first core that this process may run on.
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    int first = 0;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
      while (first < CPU_SETSIZE - 1 && !CPU_ISSET(static_cast<size_t>(first), &allowed)) ++first;
    }
    options.cores = {first};
  }
  if (no_state && options.state_dir.has_value()) {
    return InvalidArgument("--state-dir and --no-state exclude each other");
  }
  if (!no_state && !options.state_dir.has_value()) options.state_dir = DefaultStateDirectory();
  RETURN_IF_ERROR(CheckGrpc(options));
  if (!audit_log.has_value() && options.state_dir.has_value()) {
    options.audit_log = *options.state_dir + "/audit.log";
  } else if (audit_log.has_value() && *audit_log != "off") {
    options.audit_log = audit_log;
  }
  if (options.rpc_sockets.empty()) options.rpc_sockets.push_back(DefaultRpcSocket());
  if (!no_grpc && options.grpc_sockets.empty() && options.grpc_tcp.empty()) {
    const std::string path = DefaultGrpcSocket(options.rpc_sockets.front());
    if (!path.empty()) options.grpc_sockets.push_back(path);
  }
  if (options.spdk_compat) options.rpc_sockets.push_back("/var/tmp/spdk.sock");
  return options;
}

std::string DaemonHelp() {
  return absl::StrFormat(
      "polluxd: the Pollux storage appliance.\n"
      "\n"
      "  -m 0x3 | [0,1]           cores of the reactors (default: the first one allowed)\n"
      "  -r PATH                  JSON-RPC on a Unix socket; may be repeated\n"
      "                           (default: %s)\n"
      "  --rpc-tcp ADDR:PORT      JSON-RPC on TCP too; loopback addresses only\n"
      "  --spdk-compat            also listen on /var/tmp/spdk.sock\n"
      "  -c FILE                  import a configuration in SPDK's format; only into an empty "
      "state\n"
      "                           directory, or with --no-state\n"
      "  --wait-for-rpc           wait for framework_start_init before initialising\n"
      "  --state-dir DIR          where the configuration is kept\n"
      "                           (default: %s)\n"
      "  --no-state               keep nothing\n"
      "  --hugepages auto|on|off  memory of the pools (default: auto)\n"
      "  --mem-mib N              its size in MiB (default: what the pools need)\n"
      "  --poll                   reactors never sleep\n"
      "  --idle-after-us N        a reactor sleeps after N microseconds in vain (default: 200)\n"
      "  --grpc ADDR:PORT | unix:PATH | off\n"
      "                           gRPC; loopback addresses only, unless there is TLS; may be\n"
      "                           repeated (default: the first -r with .grpc at its end)\n"
      "  --grpc-tls-cert FILE     gRPC by TCP is TLS: the certificate (PEM, with its chain),\n"
      "  --grpc-tls-key FILE      its key,\n"
      "  --grpc-tls-ca FILE       and who signs the certificates that clients must show; they "
      "have\n"
      "                           the roles that pollux_access_grant gave to their subjects\n"
      "  --audit-log FILE | off   who changed what (default: audit.log in the state directory)\n"
      "  --http ADDR:PORT | off   not in this version: only 'off' is accepted\n"
      "  --log-level LEVEL        ERROR, WARNING, NOTICE, INFO or DEBUG (default: NOTICE)\n"
      "  --version, --help\n",
      DefaultRpcSocket(), DefaultStateDirectory());
}

}  // namespace pollux::service
