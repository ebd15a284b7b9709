#include "service/nvmf_parameters.h"

#include <limits>
#include <span>

#include "service/options.h"
#include "targets/nvmf/listen_address.h"

namespace pollux::service {
namespace {

// A number of a smaller type than Protobuf has.
template <typename To>
Status Narrow(const char* field, uint32_t value, To& to) {
  constexpr uint32_t kMax = std::numeric_limits<To>::max();
  if (value > kMax) return InvalidField(field, value, "must be at most %d", kMax);
  to = static_cast<To>(value);
  return OkStatus();
}

Status NotYet(const char* field, const char* what) {
  return ErrorOfField(ENOTSUP, field, "true", absl::StrFormat("this version has no %s", what));
}

int DigitOf(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

template <size_t N>
Result<std::array<uint8_t, N>> BytesOf(const char* field, const std::string& digits) {
  std::array<uint8_t, N> bytes{};
  bool good = digits.size() == 2 * N;
  for (size_t i = 0; i < digits.size() && good; ++i) {
    good = DigitOf(digits[i]) >= 0;
    if (good) bytes[i / 2] = static_cast<uint8_t>(bytes[i / 2] << 4 | DigitOf(digits[i]));
  }
  if (!good) return InvalidField(field, Printable(digits), "must be %d hexadecimal digits", 2 * N);
  return bytes;
}

std::string DigitsOf(std::span<const uint8_t> bytes) {
  std::string digits;
  for (const uint8_t byte : bytes) digits += absl::StrFormat("%02X", byte);
  return digits;
}

bool AsksForPassthru(const v1::NvmfAdminCmdPassthru& asked) {
  return asked.identify_ctrlr() || asked.identify_uuid_list() || asked.get_log_page() ||
         asked.get_set_features() || asked.sanitize() || asked.security_send_recv() ||
         asked.fw_update() || asked.nvme_mi() || asked.vendor_specific();
}

// "transport,address"; "match_any".
Status SetFilters(const std::string& words, nvmf::TargetOptions& options) {
  for (size_t begin = 0; begin <= words.size();) {
    const size_t end = std::min(words.find(',', begin), words.size());
    const std::string word = words.substr(begin, end - begin);
    if (word == "transport") {
      options.filter_transport = true;
    } else if (word == "address") {
      options.filter_address = true;
    } else if (word == "svcid") {
      options.filter_svcid = true;
    } else if (word != "match_any") {
      return InvalidField("discovery_filter", Printable(words),
                          "must be match_any, or of transport, address and svcid");
    }
    begin = end + 1;
  }
  return OkStatus();
}

const char* NameOf(nvme::AnaState state) {
  switch (state) {
    case nvme::AnaState::kOptimized:
      return "optimized";
    case nvme::AnaState::kNonOptimized:
      return "non_optimized";
    case nvme::AnaState::kInaccessible:
      return "inaccessible";
    case nvme::AnaState::kPersistentLoss:
      return "persistent_loss";
    case nvme::AnaState::kChange:
      return "change";
  }
  return "";
}

template <typename Message>
void FillAddress(const nvmf::ListenAddress& address, Message& into) {
  into.set_trtype(address.trtype);
  into.set_adrfam(address.adrfam);
  into.set_traddr(address.traddr);
  into.set_trsvcid(address.trsvcid);
}

nvme::WriteProtection WriteProtectionOf(v1::NvmfWriteProtection state) {
  switch (state) {
    case v1::NVMF_WRITE_PROTECTION_ON:
      return nvme::WriteProtection::kOn;
    case v1::NVMF_WRITE_PROTECTION_UNTIL_RESTART:
      return nvme::WriteProtection::kUntilPowerCycle;
    case v1::NVMF_WRITE_PROTECTION_PERMANENT:
      return nvme::WriteProtection::kPermanent;
    default:
      return nvme::WriteProtection::kNone;
  }
}

// Of a namespace or a host.
template <typename Message>
void FillTotals(const nvmf::CommandTotals& totals, Message& into) {
  const auto of = [&totals](nvmf::Failure failure) {
    return totals.failures[static_cast<size_t>(failure)];
  };
  into.set_num_read_ops(totals.reads);
  into.set_bytes_read(totals.bytes_read);
  into.set_num_write_ops(totals.writes);
  into.set_bytes_written(totals.bytes_written);
  into.set_num_other_ops(totals.others);
  v1::NvmfFailureCounts& failures = *into.mutable_failures();
  failures.set_command(of(nvmf::Failure::kCommand));
  failures.set_media(of(nvmf::Failure::kMedia));
  failures.set_protection(of(nvmf::Failure::kProtection));
  failures.set_miscompare(of(nvmf::Failure::kMiscompare));
  failures.set_aborted(of(nvmf::Failure::kAborted));
  failures.set_path(of(nvmf::Failure::kPath));
  failures.set_internal(of(nvmf::Failure::kInternal));
}

}  // namespace

Result<nvmf::TargetOptions> NvmfTargetOptionsOf(const v1::NvmfSetConfigRequest& request,
                                                nvmf::TargetOptions options) {
  if (AsksForPassthru(request.admin_cmd_passthru())) {
    return NotYet("admin_cmd_passthru", "pass-through of admin commands");
  }
  options.poll_group_cores.clear();
  if (request.has_poll_groups_mask()) {
    Result<std::vector<int>> cores = ParseCores(request.poll_groups_mask());
    if (!cores.ok()) {
      return InvalidField("poll_groups_mask", Printable(request.poll_groups_mask()),
                          "must be a mask such as 0x3 or a list such as [0,1]");
    }
    options.poll_group_cores = *std::move(cores);
  }
  options.filter_transport = options.filter_address = options.filter_svcid = false;
  if (request.has_discovery_filter()) {
    RETURN_IF_ERROR(SetFilters(request.discovery_filter(), options));
  }
  for (const int filter : request.discovery_filters()) {
    if (filter == v1::NVMF_DISCOVERY_FILTER_TRANSPORT) options.filter_transport = true;
    if (filter == v1::NVMF_DISCOVERY_FILTER_ADDRESS) options.filter_address = true;
    if (filter == v1::NVMF_DISCOVERY_FILTER_SVCID) options.filter_svcid = true;
  }
  options.restrict_duplicate_hosts =
      request.dup_host_policy() == v1::NVMF_DUP_HOST_POLICY_RESTRICT_PER_LISTENER;
  return options;
}

Result<nvmf::TransportOptions> NvmfTransportOptionsOf(
    const v1::NvmfCreateTransportRequest& request) {
  nvmf::TransportOptions options;
  ASSIGN_OR_RETURN(options.trtype, nvmf::TransportTypeOf(request.trtype()));
  RETURN_IF_ERROR(Narrow("max_queue_depth", request.max_queue_depth(), options.max_queue_depth));
  RETURN_IF_ERROR(Narrow("max_io_qpairs_per_ctrlr", request.max_io_qpairs_per_ctrlr(),
                         options.max_io_qpairs_per_ctrlr));
  RETURN_IF_ERROR(Narrow("max_aq_depth", request.max_aq_depth(), options.max_aq_depth));
  RETURN_IF_ERROR(Narrow("kas", request.kas(), options.kas));
  options.in_capsule_data_size = request.in_capsule_data_size();
  options.max_io_size = request.max_io_size();
  options.c2h_success = request.c2h_success();
  options.dif_insert_or_strip = request.dif_insert_or_strip();
  options.zcopy = request.zcopy();
  options.sock_priority = request.sock_priority();
  options.abort_timeout_sec = request.abort_timeout_sec();
  options.min_kato = request.min_kato();
  options.iobuf_small_cache_size = request.iobuf_small_cache_size();
  options.iobuf_large_cache_size = request.iobuf_large_cache_size();
  if (request.masked_oncs_size() > 0) return NotYet("masked_oncs", "masks of optional commands");
  if (request.masked_fuses_size() > 0) return NotYet("masked_fuses", "masks of fused operations");
  RETURN_IF_ERROR(nvmf::Validate(options));
  return options;
}

Result<nvmf::SubsystemSpec> NvmfSubsystemSpecOf(const v1::NvmfCreateSubsystemRequest& request) {
  nvmf::SubsystemSpec spec;
  spec.nqn = request.nqn();
  spec.serial_number = request.serial_number();
  spec.model_number = request.model_number();
  spec.admin_label = request.admin_label();
  if (request.max_namespaces() != 0) spec.max_namespaces = request.max_namespaces();
  spec.allow_any_host = request.allow_any_host();
  spec.ana_reporting = request.ana_reporting();
  RETURN_IF_ERROR(Narrow("min_cntlid", request.min_cntlid(), spec.min_cntlid));
  RETURN_IF_ERROR(Narrow("max_cntlid", request.max_cntlid(), spec.max_cntlid));
  spec.dmrsl = request.dmrsl();
  RETURN_IF_ERROR(Narrow("wzsl", request.wzsl(), spec.wzsl));
  if (request.passthrough()) return NotYet("passthrough", "pass-through subsystems");
  if (request.enable_nssr()) return NotYet("enable_nssr", "reset of subsystems by hosts");
  return spec;
}

Result<nvmf::NamespaceSpec> NvmfNamespaceSpecOf(const v1::NvmfNewNamespace& request) {
  nvmf::NamespaceSpec spec;
  if (request.has_nsid() && request.nsid() == 0) {
    return InvalidField("nsid", 0, "namespaces are numbered from 1");
  }
  spec.nsid = request.nsid();
  spec.bdev_name = request.bdev_name();
  if (request.has_nguid()) {
    ASSIGN_OR_RETURN(spec.nguid, BytesOf<16>("nguid", request.nguid()));
  }
  if (request.has_eui64()) {
    ASSIGN_OR_RETURN(spec.eui64, BytesOf<8>("eui64", request.eui64()));
  }
  if (request.has_uuid()) {
    const Result<Uuid> uuid = Uuid::Parse(request.uuid());
    if (!uuid.ok()) {
      return InvalidField("uuid", Printable(request.uuid()), "%s", DetailOf(uuid.status()).reason);
    }
    spec.uuid = *uuid;
  }
  spec.anagrpid = request.anagrpid();
  spec.no_auto_visible = request.no_auto_visible();
  spec.ptpl_file = request.ptpl_file();
  spec.write_protection = WriteProtectionOf(request.write_protection());
  if (request.hide_metadata()) return NotYet("hide_metadata", "hidden metadata");
  return spec;
}

nvmf::ListenAddress NvmfAddressOf(const v1::NvmfListenAddress& request) {
  return {.trtype = request.trtype(),
          .adrfam = request.adrfam(),
          .traddr = request.traddr(),
          .trsvcid = request.trsvcid()};
}

nvme::AnaState NvmfAnaStateOf(v1::NvmfAnaState state) {
  if (state == v1::NVMF_ANA_STATE_NON_OPTIMIZED) return nvme::AnaState::kNonOptimized;
  if (state == v1::NVMF_ANA_STATE_INACCESSIBLE) return nvme::AnaState::kInaccessible;
  return nvme::AnaState::kOptimized;
}

v1::NvmfWriteProtection NvmfWriteProtectionOf(nvme::WriteProtection state) {
  switch (state) {
    case nvme::WriteProtection::kNone:
      break;
    case nvme::WriteProtection::kOn:
      return v1::NVMF_WRITE_PROTECTION_ON;
    case nvme::WriteProtection::kUntilPowerCycle:
      return v1::NVMF_WRITE_PROTECTION_UNTIL_RESTART;
    case nvme::WriteProtection::kPermanent:
      return v1::NVMF_WRITE_PROTECTION_PERMANENT;
  }
  return v1::NVMF_WRITE_PROTECTION_UNSPECIFIED;
}

void Describe(const nvmf::ListenAddress& address, v1::NvmfAddress& into) {
  FillAddress(address, into);
}
void Describe(const nvmf::ListenAddress& address, v1::NvmfListenAddress& into) {
  FillAddress(address, into);
}

void Describe(const nvmf::TransportOptions& options, v1::NvmfTransport& into) {
  into.set_trtype(options.trtype);
  into.set_max_queue_depth(options.max_queue_depth);
  into.set_max_io_qpairs_per_ctrlr(options.max_io_qpairs_per_ctrlr);
  into.set_in_capsule_data_size(options.in_capsule_data_size);
  into.set_max_io_size(options.max_io_size);
  into.set_max_aq_depth(options.max_aq_depth);
  into.set_iobuf_small_cache_size(options.iobuf_small_cache_size);
  into.set_iobuf_large_cache_size(options.iobuf_large_cache_size);
  into.set_dif_insert_or_strip(options.dif_insert_or_strip);
  into.set_zcopy(options.zcopy);
  into.set_c2h_success(options.c2h_success);
  into.set_sock_priority(options.sock_priority);
  into.set_abort_timeout_sec(options.abort_timeout_sec);
  into.set_kas(options.kas);
  into.set_min_kato(options.min_kato);
}

void Describe(const nvmf::SubsystemInfo& info, v1::NvmfSubsystem& into) {
  into.set_nqn(info.spec.nqn);
  into.set_subtype(info.discovery ? "Discovery" : "NVMe");
  for (const nvmf::ListenerInfo& listener : info.listeners) {
    Describe(listener.address, *into.add_listen_addresses());
  }
  into.set_allow_any_host(info.spec.allow_any_host);
  for (const std::string& host : info.hosts) into.add_hosts()->set_nqn(host);
  if (info.discovery) return;
  into.set_serial_number(info.spec.serial_number);
  into.set_model_number(info.spec.model_number);
  if (!info.spec.admin_label.empty()) into.set_admin_label(info.spec.admin_label);
  into.set_max_namespaces(info.spec.max_namespaces);
  into.set_passthrough(false);
  into.set_min_cntlid(info.spec.min_cntlid);
  into.set_max_cntlid(info.spec.max_cntlid);
  into.set_dmrsl(info.spec.dmrsl);
  into.set_wzsl(info.spec.wzsl);
  for (const nvmf::NamespaceInfo& ns : info.namespaces) {
    v1::NvmfNamespaceInfo& entry = *into.add_namespaces();
    entry.set_nsid(static_cast<int32_t>(ns.spec.nsid));
    entry.set_bdev_name(ns.spec.bdev_name);
    entry.set_name(ns.spec.bdev_name);
    if (ns.spec.nguid) entry.set_nguid(DigitsOf(*ns.spec.nguid));
    if (ns.spec.eui64) entry.set_eui64(DigitsOf(*ns.spec.eui64));
    if (ns.spec.uuid) entry.set_uuid(ns.spec.uuid->ToString());
    if (info.spec.ana_reporting) entry.set_anagrpid(ns.spec.anagrpid);
    if (ns.spec.write_protection != nvme::WriteProtection::kNone) {
      entry.set_write_protection(NvmfWriteProtectionOf(ns.spec.write_protection));
    }
  }
}

void Describe(const nvmf::SubsystemStatistics& statistics, v1::NvmfSubsystemStats& into) {
  into.set_nqn(statistics.nqn);
  for (const auto& ns : statistics.namespaces) {
    v1::NvmfNamespaceStats& entry = *into.add_namespaces();
    entry.set_nsid(ns.nsid);
    entry.set_bdev_name(ns.bdev_name);
    FillTotals(ns.totals, entry);
  }
  for (const auto& host : statistics.hosts) {
    v1::NvmfHostStats& entry = *into.add_hosts();
    entry.set_hostnqn(host.hostnqn);
    entry.set_controllers(host.controllers);
    FillTotals(host.totals, entry);
  }
}

void Describe(const nvmf::ListenerInfo& info, v1::NvmfListener& into) {
  Describe(info.address, *into.mutable_address());
  for (size_t i = 0; i < info.ana_states.size(); ++i) {
    v1::NvmfAnaGroupState& group = *into.add_ana_states();
    group.set_ana_group(static_cast<uint32_t>(i + 1));
    group.set_ana_state(NameOf(info.ana_states[i]));
  }
}

}  // namespace pollux::service
