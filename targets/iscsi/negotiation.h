#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace pollux::iscsi {

// What login settles, with the values that hold where nothing was said. RFC 7143 §13.
struct Parameters {
  // The session's.
  uint32_t max_connections = 1;
  bool initial_r2t = true;
  bool immediate_data = true;
  uint32_t max_burst_length = 262144;
  uint32_t first_burst_length = 65536;
  uint32_t default_time2wait = 2;
  uint32_t default_time2retain = 20;
  uint32_t max_outstanding_r2t = 1;
  bool data_pdu_in_order = true;
  bool data_sequence_in_order = true;
  uint32_t error_recovery_level = 0;
  // The connection's: how much of a data segment the initiator takes.
  uint32_t max_recv_data_segment_length = 8192;
  // CRC32C, in both directions.
  bool header_digest = false;
  bool data_digest = false;
};

// The operational keys of one login, key by key; stages are login.h's business.
//
// Whoever proposes first is answered by a rule of the key: a list is chosen from, the smaller or
// larger number holds, a boolean is the AND or the OR. What the rule makes of the initiator's value
// and ours is the result for both sides.
class Negotiation {
 public:
  // `ours` is what we would like. `discovery`: many keys are irrelevant to such a session.
  explicit Negotiation(const Parameters& ours) : ours_(ours) {}
  void set_discovery(bool discovery) { discovery_ = discovery; }
  // Without CRC32C where it is required, there is no agreement. Before the first Answer.
  void RequireDigests(bool header, bool data);

  // Takes one key of the initiator and returns what to answer; nothing when a declaration needs no
  // answer, or when the key answers our proposal.
  std::optional<std::string> Answer(std::string_view key, std::string_view value);

  // Proposes what the initiator left out and where our wish differs from the default, as text to
  // send; empty when there is nothing. Each is proposed once.
  std::string Propose();
  // True while the initiator owes an answer to a proposal.
  bool awaits_answer() const { return !proposed_.empty(); }

  // A required digest was turned down, or, if nothing more is to be negotiated, left out.
  bool LacksDigest(bool at_end) const;

  // What holds now.
  const Parameters& result() const { return result_; }

 private:
  struct Rule;
  static const Rule* FindRule(std::string_view key);
  std::string Apply(const Rule& rule, std::string_view value);

  Parameters ours_;  // A digest of ours is one that is required.
  bool discovery_ = false;
  Parameters result_;
  std::set<std::string, std::less<>> settled_;
  std::set<std::string, std::less<>> proposed_;
};

}  // namespace pollux::iscsi
