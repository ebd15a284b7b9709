#include "cli/pci/pci_command.h"

#include <algorithm>

#include "cli/tool/flags.h"
#include "cli/tool/json_writer.h"
#include "core/log.h"
#include "drivers/pci/device_use.h"
#include "drivers/pci/pci_bus.h"

namespace pollux::cli {
namespace {

using pci::PciAddress;
using pci::PciBus;
using pci::PciFunction;

constexpr int kDone = 0, kRefused = 1, kMisused = 2;
constexpr uint32_t kNvme = 0x010802;
constexpr uint16_t kIntel = 0x8086;
constexpr uint32_t kSystemPeripheral = 0x0880;  // I/OAT has no class of its own.

struct ClassName {
  uint32_t prefix;  // Base class and sub-class.
  const char* name;
};
constexpr ClassName kClasses[] = {
    {0x0100, "SCSI"},    {0x0101, "IDE"},        {0x0104, "RAID"},       {0x0106, "SATA"},
    {0x0107, "SAS"},     {0x0108, "NVM"},        {0x0180, "storage"},    {0x0200, "Ethernet"},
    {0x0280, "network"}, {0x0300, "VGA"},        {0x0302, "3D"},         {0x0600, "host bridge"},
    {0x0601, "ISA"},     {0x0604, "PCI bridge"}, {0x0880, "peripheral"}, {0x0c03, "USB"},
    {0x0c05, "SMBus"},
};

std::string ClassText(uint32_t class_code) {
  if (class_code == kNvme) return "NVMe";
  for (const ClassName& known : kClasses) {
    if (known.prefix == class_code >> 8) return known.name;
  }
  return absl::StrFormat("%06x", class_code);
}

// What Pollux can drive.
bool IsOurs(const PciFunction& function) {
  return function.class_code == kNvme ||
         (function.vendor == kIntel && function.class_code >> 8 == kSystemPeripheral);
}

// Why bind and unbind would refuse; "" when they would not.
std::string UseOf(const PciFunction& function, const pci::HostFiles& files) {
  const auto proof = pci::ProveIdle(files, function.address, function.device_nodes);
  if (proof.ok()) return "";
  const std::string reason(proof.status().message());
  const std::string prefix = ToString(function.address) + " is in use: ";  // The table says it.
  return reason.starts_with(prefix) ? reason.substr(prefix.size()) : reason;
}

std::string Joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : " ") + name;
  return out;
}

std::vector<std::string> DevicesOf(const PciFunction& function) {
  std::vector<std::string> devices = function.block_devices;
  devices.insert(devices.end(), function.net_devices.begin(), function.net_devices.end());
  return devices;
}

std::string GroupText(const PciFunction& function) {
  if (function.iommu_group < 0) return "-";
  return absl::StrFormat("%d%s", function.iommu_group, function.no_iommu ? " (no IOMMU)" : "");
}

std::string OrDash(const std::string& text) { return text.empty() ? "-" : Printable(text); }

void WriteFunction(JsonWriter& json, const PciFunction& function, const std::string& use) {
  const auto text = [&json](const char* name, const std::string& value) {
    json.Key(name);
    json.Text(value);
  };
  const auto number = [&json](const char* name, int64_t value) {
    json.Key(name);
    json.Raw(std::to_string(value));
  };
  const auto list = [&json](const char* name, const std::vector<std::string>& values) {
    json.Key(name);
    json.BeginArray();
    for (const std::string& value : values) json.Text(value);
    json.EndArray();
  };
  json.BeginObject();
  text("address", ToString(function.address));
  number("vendor", function.vendor);
  number("device", function.device);
  number("subsystem_vendor", function.subsystem_vendor);
  number("subsystem_device", function.subsystem_device);
  number("class", function.class_code);
  text("class_name", ClassText(function.class_code));
  number("numa_node", function.numa_node);
  text("driver", function.driver);
  number("iommu_group", function.iommu_group);
  json.Key("no_iommu");
  json.Bool(function.no_iommu);
  list("block_devices", function.block_devices);
  list("net_devices", function.net_devices);
  list("device_nodes", function.device_nodes);
  text("in_use", use);
  json.EndObject();
}

// Columns as wide as what is in them, the last one open.
std::string Table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths(rows[0].size());
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i] + std::string(widths[i] + 2 - row[i].size(), ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

class PciCommand {
 public:
  PciCommand(const pci::HostFiles& files, std::ostream& out, std::ostream& err)
      : files_(files), bus_(files), out_(out), err_(err), flags_(MakeFlags()) {}

  int Run(const std::vector<std::string>& words) {
    std::vector<std::string> positional;
    Status status = flags_.Parse(words, positional);
    if (status.ok() && help_) {
      out_ << flags_.Help();
      return kDone;
    }
    if (status.ok() && positional.empty()) status = InvalidArgument("pci needs a command");
    if (!status.ok()) return Misused(status);
    const std::string command = positional[0];
    positional.erase(positional.begin());
    std::vector<PciAddress> addresses;
    for (const std::string& word : positional) {
      const Result<PciAddress> address = pci::ParsePciAddress(word);
      if (!address.ok()) return Misused(address.status());
      addresses.push_back(*address);
    }
    if (command == "list") return List(addresses);
    if (command != "bind" && command != "unbind" && command != "restore" && command != "reset") {
      return Misused(InvalidArgument("there is no command pci %s", command));
    }
    if (addresses.empty()) return Misused(InvalidArgument("pci %s: which function?", command));
    for (const PciAddress& address : addresses) {
      const Status done = Do(command, address);
      if (!done.ok()) return Refused(command, done);
    }
    return List(addresses);
  }

 private:
  Flags MakeFlags() {
    Flags flags(
        "pollux pci", "COMMAND [FLAG]... [ADDRESS]...",
        "The PCI functions of this machine, and which driver has them. Pollux drives what\n"
        "vfio-pci has.\n"
        "\n"
        "  list [ADDRESS]...       what Pollux can drive: NVMe, I/OAT; with addresses: these\n"
        "  bind ADDRESS...         hand them to vfio-pci, and to no other driver\n"
        "  unbind ADDRESS...       take them away from their driver\n"
        "  restore ADDRESS...      give them back to the driver that the kernel chooses\n"
        "  reset ADDRESS...        reset them\n"
        "\n"
        "A function in use is refused: a disk of it is mounted, or part of something, or\n"
        "open; a network interface of it is up.\n"
        "\n"
        "Flags:\n");
    flags.AddSwitch("--all", "list: all functions", all_);
    flags.Add("--driver", "NAME", "bind: to this driver (default: vfio-pci)",
              [this](const std::string& value) {
                driver_ = value;
                return OkStatus();
              });
    flags.AddSwitch("--json", "print JSON", json_);
    flags.AddSwitch("-h, --help", "this", help_);
    return flags;
  }

  int Misused(const Status& status) {
    err_ << "pollux: " << Printable(std::string(status.message())) << "\n"
         << flags_.Usage() << "More: pollux pci --help\n";
    return kMisused;
  }

  int Refused(const std::string& command, const Status& status) {
    err_ << "pollux: pci " << command << ": " << Printable(std::string(status.message())) << "\n";
    return kRefused;
  }

  Status Do(const std::string& command, const PciAddress& address) const {
    if (command == "bind") return bus_.Bind(address, driver_);
    if (command == "unbind") return bus_.Unbind(address);
    if (command == "restore") return bus_.Restore(address);
    return bus_.Reset(address);
  }

  int List(const std::vector<PciAddress>& addresses) {
    std::vector<PciFunction> functions;
    if (addresses.empty()) {
      functions = bus_.List();
      if (!all_) std::erase_if(functions, [](const PciFunction& one) { return !IsOurs(one); });
    }
    for (const PciAddress& address : addresses) {
      Result<PciFunction> function = bus_.Find(address);
      if (!function.ok()) return Refused("list", function.status());
      functions.push_back(*std::move(function));
    }
    json_ ? ShowJson(functions) : ShowTable(functions);
    return kDone;
  }

  void ShowJson(const std::vector<PciFunction>& functions) {
    JsonWriter json;
    json.BeginArray();
    for (const PciFunction& function : functions) {
      WriteFunction(json, function, UseOf(function, files_));
    }
    json.EndArray();
    out_ << json.Take();
  }

  void ShowTable(const std::vector<PciFunction>& functions) {
    if (functions.empty()) {
      out_ << (all_ ? "(none)\n" : "(none that Pollux can drive; --all lists the others)\n");
      return;
    }
    std::vector<std::vector<std::string>> rows = {
        {"ADDRESS", "ID", "CLASS", "DRIVER", "NODE", "GROUP", "DEVICES", "IN USE"}};
    for (const PciFunction& function : functions) {
      rows.push_back({ToString(function.address),
                      absl::StrFormat("%04x:%04x", function.vendor, function.device),
                      ClassText(function.class_code), OrDash(function.driver),
                      function.numa_node < 0 ? "-" : std::to_string(function.numa_node),
                      GroupText(function), OrDash(Joined(DevicesOf(function))),
                      OrDash(UseOf(function, files_))});
    }
    out_ << Table(rows);
  }

  const pci::HostFiles& files_;
  const PciBus bus_;
  std::ostream& out_;
  std::ostream& err_;
  bool all_ = false, json_ = false, help_ = false;
  std::string driver_ = "vfio-pci";
  const Flags flags_;  // Refers to those above.
};

}  // namespace

int RunPci(const std::vector<std::string>& words, const pci::HostFiles& files, std::ostream& out,
           std::ostream& err) {
  return PciCommand(files, out, err).Run(words);
}

}  // namespace pollux::cli
