#include "targets/iscsi/login.h"

#include <algorithm>

#include "core/check.h"
#include "core/log.h"
#include "targets/iscsi/names.h"
#include "targets/iscsi/text_keys.h"

namespace pollux::iscsi {
namespace {

LoginStage CurrentStage(uint8_t flags) { return static_cast<LoginStage>(flags >> 2 & 3); }
LoginStage NextStage(uint8_t flags) { return static_cast<LoginStage>(flags & 3); }
bool IsNegotiated(LoginStage stage) {
  return stage == LoginStage::kSecurity || stage == LoginStage::kOperational;
}

// Keys that may come in the security stage: those of §12, and of §13 those that say who it is, and
// declarations that hold in all stages.
bool BelongsToSecurityStage(std::string_view key) {
  return key == key::kAuthMethod || key == key::kInitiatorAlias ||
         key == key::kMaxRecvDataSegmentLength;
}

bool SaysWhoItIs(std::string_view key) {
  return key == key::kInitiatorName || key == key::kTargetName || key == key::kSessionType;
}

Parameters WishesOf(Parameters ours) {
  ours.max_recv_data_segment_length = 0;  // Not negotiated.
  return ours;
}

}  // namespace

Login::Login(const Parameters& ours, Gate& gate)
    : gate_(gate), our_max_recv_(ours.max_recv_data_segment_length), negotiation_(WishesOf(ours)) {}

Login::Reply Login::OnRequest(const LoginRequestPdu& request, std::string_view text) {
  if (request.version_min > kVersion) {
    return Fail(request, LoginStatus::kUnsupportedVersion, "a version that we do not have");
  }
  if (const char* fault = FaultOf(request)) {
    return Fail(request, LoginStatus::kInitiatorError, fault);
  }
  if (!started_) {
    started_ = true;
    stage_ = CurrentStage(request.flags);
    identity_.isid = request.isid;
    identity_.tsih = request.tsih;
    identity_.cid = request.cid;
  }

  received_bytes_ += text.size();
  if (received_bytes_ > kNegotiationBytesMax) {
    return Fail(request, LoginStatus::kInitiatorError, "more than 64 KiB of login text");
  }
  gathered_.append(text);
  if ((request.flags & kContinue) != 0) return MakeReply(request);

  LoginStatus status = TakeText();
  if (status == LoginStatus::kSuccess && stage_ == LoginStage::kSecurity && !chap_ &&
      verdict_.authentication.require && (request.flags & kTransit) != 0) {
    status = FailAuthentication("CHAP is required, and was not offered");
  }
  if (status != LoginStatus::kSuccess) return Fail(request, status, fault_);
  // Without the operational stage there is no occasion to propose them.
  const bool at_end = stage_ == LoginStage::kSecurity && (request.flags & kTransit) != 0 &&
                      NextStage(request.flags) == LoginStage::kFullFeature;
  if (negotiation_.LacksDigest(at_end)) {
    return Fail(request, LoginStatus::kInitiatorError, "the target requires digests");
  }
  return MakeReply(request);
}

const char* Login::FaultOf(const LoginRequestPdu& request) const {
  const LoginStage current = CurrentStage(request.flags);
  if (!IsNegotiated(current)) return "the current stage is none that login has";
  if (started_) {
    if (current != stage_) return "the stage is not the one that was agreed upon";
    if (request.isid != identity_.isid || request.tsih != identity_.tsih ||
        request.cid != identity_.cid) {
      return "ISID, TSIH or CID changed during login";
    }
  }
  const bool transit = (request.flags & kTransit) != 0;
  const bool goes_on = (request.flags & kContinue) != 0;
  if (transit && goes_on) return "T and C are both set";
  if (transit) {
    const LoginStage next = NextStage(request.flags);
    if (next != LoginStage::kOperational && next != LoginStage::kFullFeature) {
      return "the next stage is none that can be gone to";
    }
    if (next <= current) return "the next stage is not behind the current one";
  }
  if (!answer_.empty() && request.data_segment_length > 0) {
    return "text came while our answer was not complete";
  }
  return nullptr;
}

LoginStatus Login::TakeText() {
  const std::string text = std::move(gathered_);
  gathered_.clear();
  const auto pairs = ParseKeys(text);
  if (!pairs) {
    fault_ = "the text is not made of key=value pairs";
    return LoginStatus::kInitiatorError;
  }
  Chap::Keys chap;
  const bool chap_was_agreed = chap_.has_value();
  // What kind of session it is, and with which target, decides how other keys are answered,
  // wherever it stands.
  const bool first = !admitted_;
  if (first) {
    for (const KeyValue& pair : *pairs) {
      if (!SaysWhoItIs(pair.key)) continue;
      const LoginStatus status = TakeKey(pair.key, pair.value, chap);
      if (status != LoginStatus::kSuccess) return status;
    }
    const LoginStatus status = TakeNames();
    if (status != LoginStatus::kSuccess) return status;
  }
  for (const KeyValue& pair : *pairs) {
    if (first && SaysWhoItIs(pair.key)) continue;
    const LoginStatus status = TakeKey(pair.key, pair.value, chap);
    if (status != LoginStatus::kSuccess) return status;
  }
  if (chap.any()) {
    // Who sends CHAP's keys has seen our choice of the method. §12.1
    if (!chap_was_agreed) return FailAuthentication("a CHAP key came before CHAP was agreed upon");
    if (!chap_->OnKeys(chap, answer_)) return FailAuthentication(chap_->fault());
  }
  if (stage_ == LoginStage::kOperational && !declared_) {
    declared_ = true;
    AppendKey(answer_, key::kMaxRecvDataSegmentLength, std::to_string(our_max_recv_));
  }
  if (answer_.size() > kNegotiationBytesMax) {
    fault_ = "more keys than we care to answer";
    return LoginStatus::kInitiatorError;
  }
  return LoginStatus::kSuccess;
}

LoginStatus Login::TakeKey(std::string_view key, std::string_view value, Chap::Keys& chap) {
  // §6.3: no key is negotiated twice in a login. That is no reason to remember what is unknown.
  if (!seen_.emplace(key).second) {
    fault_ = absl::StrFormat("the key '%s' came twice", Printable(key));
    return LoginStatus::kInitiatorError;
  }
  const bool is_name = key == key::kInitiatorName || key == key::kTargetName;
  if (admitted_ && SaysWhoItIs(key)) {
    fault_ = absl::StrFormat("the key '%s' belongs into the first request", Printable(key));
    return LoginStatus::kInitiatorError;
  }
  if (stage_ == LoginStage::kSecurity) {
    if (std::optional<std::string_view>* member = chap.Find(key)) {
      *member = value;
      return LoginStatus::kSuccess;
    }
  }
  if (key == key::kSessionType) {
    if (value != value::kNormal && value != value::kDiscovery) {
      fault_ = "an unknown SessionType";
      return LoginStatus::kSessionTypeNotSupported;
    }
    identity_.discovery = value == value::kDiscovery;
  } else if (is_name) {
    if (const Status valid = ValidateName(key, value); !valid.ok()) {
      fault_ = std::string(valid.message());
      return LoginStatus::kInitiatorError;
    }
    (key == key::kInitiatorName ? identity_.initiator_name : identity_.target_name) = value;
  } else if (key == key::kAuthMethod) {
    if (!AnswerAuthMethod(value)) {
      return FailAuthentication("none of the offered authentication methods is acceptable");
    }
  } else if (stage_ == LoginStage::kSecurity && !BelongsToSecurityStage(key)) {
    // An unknown key is answered as such in every stage.
    const std::optional<std::string> answer = Negotiation(Parameters{}).Answer(key, value::kNone);
    PutAnswer(key, answer == value::kNotUnderstood ? value::kNotUnderstood : value::kReject);
  } else if (const auto answer = negotiation_.Answer(key, value)) {
    PutAnswer(key, *answer);
  }
  return LoginStatus::kSuccess;
}

void Login::PutAnswer(std::string_view key, std::string_view value) {
  AppendKey(answer_, key, value);
}

// The first of the initiator's methods that is allowed. §6.2.1
bool Login::AnswerAuthMethod(std::string_view value) {
  if (stage_ != LoginStage::kSecurity) {
    PutAnswer(key::kAuthMethod, value::kReject);
    return true;
  }
  const Authentication& policy = verdict_.authentication;
  const bool chap_allowed = policy.require || (!policy.disable && policy.group != 0);
  for (const std::string_view method : SplitList(value)) {
    if (method == value::kChap && chap_allowed) {
      chap_.emplace(verdict_.secrets, policy.mutual);
      PutAnswer(key::kAuthMethod, value::kChap);
      return true;
    }
    if (method == value::kNone && !policy.require) {
      PutAnswer(key::kAuthMethod, value::kNone);
      return true;
    }
  }
  return false;
}

LoginStatus Login::FailAuthentication(std::string fault) {
  fault_ = std::move(fault);
  return LoginStatus::kAuthenticationFailed;
}

// The names are all there: the first whole request must have brought them. §6.3.
LoginStatus Login::TakeNames() {
  if (identity_.initiator_name.empty()) {
    fault_ = "no InitiatorName";
    return LoginStatus::kMissingParameter;
  }
  if (!identity_.discovery && identity_.target_name.empty()) {
    fault_ = "no TargetName";
    return LoginStatus::kMissingParameter;
  }
  admitted_ = true;
  negotiation_.set_discovery(identity_.discovery);
  verdict_ = gate_.Admit(identity_);
  if (verdict_.status != LoginStatus::kSuccess) {
    fault_ = verdict_.moved_to.empty() ? "not admitted" : "it is sent to " + verdict_.moved_to;
    return verdict_.status;
  }
  if (verdict_.authentication.require && stage_ != LoginStage::kSecurity) {
    return FailAuthentication("CHAP is required, and the stage for it was left out");
  }
  negotiation_.RequireDigests(verdict_.header_digest_required, verdict_.data_digest_required);
  std::string about_target;
  if (!verdict_.target_alias.empty()) {
    AppendKey(about_target, key::kTargetAlias, verdict_.target_alias);
  }
  if (verdict_.portal_group_tag) {
    AppendKey(about_target, key::kTargetPortalGroupTag, std::to_string(*verdict_.portal_group_tag));
  }
  answer_.insert(0, about_target);
  return LoginStatus::kSuccess;
}

bool Login::MayLeaveStage(LoginStage next) {
  if (stage_ == LoginStage::kSecurity && chap_ && !chap_->done()) return false;
  if (stage_ == LoginStage::kOperational && next == LoginStage::kFullFeature) {
    answer_.append(negotiation_.Propose());
    return !negotiation_.awaits_answer();
  }
  return true;
}

Login::Reply Login::MakeReply(const LoginRequestPdu& request) {
  Reply reply;
  const bool goes_on = (request.flags & kContinue) != 0;
  const bool wants_transit = (request.flags & kTransit) != 0;
  const LoginStage next = NextStage(request.flags);
  const bool transit = wants_transit && MayLeaveStage(next);

  uint8_t flags = static_cast<uint8_t>(static_cast<uint8_t>(stage_) << 2);
  if (!goes_on) {
    const size_t portion = std::min<size_t>(answer_.size(), kLoginDataBytes);
    reply.text = answer_.substr(0, portion);
    answer_.erase(0, portion);
    if (!answer_.empty()) {
      flags |= kContinue;
    } else if (transit) {
      flags |= static_cast<uint8_t>(kTransit | static_cast<uint8_t>(next));
      stage_ = next;
      if (next == LoginStage::kFullFeature) reply.outcome = Outcome::kComplete;
    }
  }
  LoginResponsePdu& header = reply.header;
  header.opcode = static_cast<uint8_t>(Opcode::kLoginResponse);
  header.flags = flags;
  header.version_max = header.version_active = kVersion;
  header.data_segment_length = static_cast<uint32_t>(reply.text.size());
  header.isid = request.isid;
  header.tsih = request.tsih;
  header.itt = request.itt;
  header.stat_sn = stat_sn_++;
  header.exp_cmd_sn = header.max_cmd_sn = request.cmd_sn;
  return reply;
}

Login::Reply Login::Fail(const LoginRequestPdu& request, LoginStatus status, std::string fault) {
  fault_ = std::move(fault);
  Reply reply = Refuse(reinterpret_cast<const BasicHeader&>(request), status);
  if (status == LoginStatus::kMovedTemporarily) {
    AppendKey(reply.text, key::kTargetAddress, verdict_.moved_to);
    reply.header.data_segment_length = static_cast<uint32_t>(reply.text.size());
  }
  return reply;
}

Login::Reply Login::Refuse(const BasicHeader& request, LoginStatus status) {
  const auto& login = As<LoginRequestPdu>(request);
  Reply reply;
  reply.outcome = Outcome::kFailed;
  LoginResponsePdu& header = reply.header;
  header.opcode = static_cast<uint8_t>(Opcode::kLoginResponse);
  header.flags = static_cast<uint8_t>(static_cast<uint8_t>(stage_) << 2);
  header.isid = started_ ? identity_.isid : login.isid;
  header.itt = request.itt;
  header.stat_sn = stat_sn_++;
  header.exp_cmd_sn = header.max_cmd_sn = login.cmd_sn;
  header.status = static_cast<uint16_t>(status);
  return reply;
}

}  // namespace pollux::iscsi
