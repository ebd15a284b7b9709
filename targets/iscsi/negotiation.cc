#include "targets/iscsi/negotiation.h"

#include <algorithm>

#include "targets/iscsi/iscsi_spec.h"
#include "targets/iscsi/text_keys.h"

namespace pollux::iscsi {

struct Negotiation::Rule {
  enum class Kind {
    kMinimum,
    kMaximum,
    kAnd,
    kOr,
    kDeclaredNumber,  // The initiator's own; not answered.
    kDeclaredText,    // Noted by nobody here; not answered.
    kChosen,          // A list of which we know one value.
    kDigest,          // A list of which we take the first that we know, and may take.
    kAlwaysNo,        // Obsolete keys that must be understood. §13.25.
    kAlwaysRejected,
  };
  const char* key;
  Kind kind;
  bool irrelevant_to_discovery = false;
  uint32_t low = 0, high = 0;
  uint32_t Parameters::*number = nullptr;
  bool Parameters::*boolean = nullptr;
  const char* choice = nullptr;
};

const Negotiation::Rule* Negotiation::FindRule(std::string_view key) {
  using K = Rule::Kind;
  using P = Parameters;
  static constexpr uint32_t kSegmentMax = kDataSegmentBytesMax;
  static constexpr Rule kRules[] = {
      {key::kMaxConnections, K::kMinimum, true, 1, 65535, &P::max_connections},
      {key::kInitialR2t, K::kOr, true, 0, 0, nullptr, &P::initial_r2t},
      {key::kImmediateData, K::kAnd, true, 0, 0, nullptr, &P::immediate_data},
      {key::kMaxRecvDataSegmentLength, K::kDeclaredNumber, false, 512, kSegmentMax,
       &P::max_recv_data_segment_length},
      {key::kMaxBurstLength, K::kMinimum, true, 512, kSegmentMax, &P::max_burst_length},
      {key::kFirstBurstLength, K::kMinimum, true, 512, kSegmentMax, &P::first_burst_length},
      {key::kDefaultTime2Wait, K::kMaximum, false, 0, 3600, &P::default_time2wait},
      {key::kDefaultTime2Retain, K::kMinimum, false, 0, 3600, &P::default_time2retain},
      {key::kMaxOutstandingR2t, K::kMinimum, true, 1, 65535, &P::max_outstanding_r2t},
      {key::kDataPduInOrder, K::kOr, true, 0, 0, nullptr, &P::data_pdu_in_order},
      {key::kDataSequenceInOrder, K::kOr, true, 0, 0, nullptr, &P::data_sequence_in_order},
      {key::kErrorRecoveryLevel, K::kMinimum, false, 0, 2, &P::error_recovery_level},
      {.key = key::kHeaderDigest, .kind = K::kDigest, .boolean = &P::header_digest},
      {.key = key::kDataDigest, .kind = K::kDigest, .boolean = &P::data_digest},
      {.key = key::kTaskReporting, .kind = K::kChosen, .choice = value::kRfc3720},
      {.key = key::kInitiatorAlias, .kind = K::kDeclaredText},
      {.key = key::kIfMarker, .kind = K::kAlwaysNo},
      {.key = key::kOfMarker, .kind = K::kAlwaysNo},
      {.key = key::kIfMarkInt, .kind = K::kAlwaysRejected},
      {.key = key::kOfMarkInt, .kind = K::kAlwaysRejected},
      // Known, and not for the initiator to say, or not now.
      {.key = key::kSendTargets, .kind = K::kAlwaysRejected},
      {.key = key::kTargetAlias, .kind = K::kAlwaysRejected},
      {.key = key::kTargetAddress, .kind = K::kAlwaysRejected},
      {.key = key::kTargetPortalGroupTag, .kind = K::kAlwaysRejected},
  };
  const auto* const found = std::find_if(std::begin(kRules), std::end(kRules),
                                         [key](const Rule& rule) { return rule.key == key; });
  return found == std::end(kRules) ? nullptr : found;
}

std::optional<std::string> Negotiation::Answer(std::string_view key, std::string_view value) {
  // Of RFC 7143 alone we know all features; a later RFC counts them up from 2. §13.24.
  if (key == key::kIscsiProtocolLevel) {
    return ParseNumber(value, 0, 31) ? std::string("1") : std::string(value::kReject);
  }
  const Rule* const rule = FindRule(key);
  if (rule == nullptr) return std::string(value::kNotUnderstood);

  if (const auto proposal = proposed_.find(key); proposal != proposed_.end()) {
    proposed_.erase(proposal);
    Apply(*rule, value);
    return std::nullopt;
  }
  settled_.emplace(key);
  if (discovery_ && rule->irrelevant_to_discovery) return std::string(value::kIrrelevant);
  if (value.size() > kValueBytesMax) return std::string(value::kReject);
  std::string answer = Apply(*rule, value);
  if (answer.empty()) return std::nullopt;
  return answer;
}

std::string Negotiation::Apply(const Rule& rule, std::string_view value) {
  using K = Rule::Kind;
  switch (rule.kind) {
    case K::kMinimum:
    case K::kMaximum: {
      const std::optional<uint32_t> number = ParseNumber(value, rule.low, rule.high);
      if (!number) return value::kReject;
      const uint32_t wish = ours_.*rule.number;
      result_.*rule.number =
          rule.kind == K::kMinimum ? std::min(*number, wish) : std::max(*number, wish);
      return std::to_string(result_.*rule.number);
    }
    case K::kAnd:
    case K::kOr: {
      if (value != value::kYes && value != value::kNo) return value::kReject;
      const bool theirs = value == value::kYes;
      const bool wish = ours_.*rule.boolean;
      result_.*rule.boolean = rule.kind == K::kAnd ? theirs && wish : theirs || wish;
      return result_.*rule.boolean ? value::kYes : value::kNo;
    }
    case K::kDeclaredNumber: {
      const std::optional<uint32_t> number = ParseNumber(value, rule.low, rule.high);
      if (!number) return value::kReject;
      result_.*rule.number = *number;
      return {};
    }
    case K::kDeclaredText:
      return {};
    case K::kChosen:
      return ListContains(value, rule.choice) ? rule.choice : value::kReject;
    case K::kDigest:
      for (const std::string_view name : SplitList(value)) {
        if (name == value::kCrc32c) {
          result_.*rule.boolean = true;
          return value::kCrc32c;
        }
        if (name == value::kNone && !(ours_.*rule.boolean)) return value::kNone;
      }
      return value::kReject;
    case K::kAlwaysNo:
      return value::kNo;
    case K::kAlwaysRejected:
      return value::kReject;
  }
  return value::kReject;
}

void Negotiation::RequireDigests(bool header, bool data) {
  ours_.header_digest = header;
  ours_.data_digest = data;
}

bool Negotiation::LacksDigest(bool at_end) const {
  const auto lacks = [this, at_end](const char* key, bool Parameters::*digest) {
    if (!(ours_.*digest) || result_.*digest) return false;
    return at_end || (settled_.contains(key) && !proposed_.contains(key));
  };
  return lacks(key::kHeaderDigest, &Parameters::header_digest) ||
         lacks(key::kDataDigest, &Parameters::data_digest);
}

std::string Negotiation::Propose() {
  std::string text;
  if (discovery_) return text;
  // The other defaults suit us as they are, or are what our wish would come to anyway.
  const auto propose = [this, &text](const char* key, const std::string& wish) {
    if (settled_.contains(key)) return;
    settled_.emplace(key);
    proposed_.emplace(key);
    AppendKey(text, key, wish);
  };
  if (ours_.first_burst_length < result_.first_burst_length) {
    propose(key::kFirstBurstLength, std::to_string(ours_.first_burst_length));
  }
  if (!ours_.immediate_data && result_.immediate_data) propose(key::kImmediateData, value::kNo);
  if (ours_.header_digest && !result_.header_digest) propose(key::kHeaderDigest, value::kCrc32c);
  if (ours_.data_digest && !result_.data_digest) propose(key::kDataDigest, value::kCrc32c);
  return text;
}

}  // namespace pollux::iscsi
