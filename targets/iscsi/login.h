#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "targets/iscsi/chap.h"
#include "targets/iscsi/iscsi_spec.h"
#include "targets/iscsi/negotiation.h"

namespace pollux::iscsi {

// The login phase of one connection: requests in, responses out, no I/O. RFC 7143 §6.3, §11.12.
//
//   kSecurity --T, NSG 1--> kOperational --T, NSG 3--> kFullFeature
//       |  (either may be the first)                       ^
//       +--------------------T, NSG 3----------------------+
//
// With CHAP, kSecurity is left only when it has succeeded. Whatever goes wrong with it, the
// initiator sees the same status.
//
// A request whose text goes on in the next one (C) is answered empty; so is, in reverse, an answer
// of more than 8192 bytes. Any error ends the login with its status.
class Login {
 public:
  struct Identity {
    std::string initiator_name;
    std::string target_name;  // Empty in a discovery session without one.
    bool discovery = false;
    Isid isid{};
    uint16_t tsih = 0;
    uint16_t cid = 0;
  };

  // What the target says to one who gave its names.
  struct Verdict {
    LoginStatus status = LoginStatus::kSuccess;
    Authentication authentication;
    std::shared_ptr<const AuthGroup> secrets;  // Null when the group is not there.
    bool header_digest_required = false;
    bool data_digest_required = false;
    std::optional<uint16_t> portal_group_tag;
    std::string target_alias;
    // With kMovedTemporarily: where to, as TargetAddress has it.
    std::string moved_to;
  };
  class Gate {
   public:
    virtual Verdict Admit(const Identity& identity) = 0;

   protected:
    ~Gate() = default;
  };

  enum class Outcome {
    kGoOn,
    kComplete,  // The reply is the final one, but for TSIH and the sequence numbers of the session.
    kFailed,    // The reply has the status; the connection closes when it was sent.
  };
  struct Reply {
    LoginResponsePdu header{};
    std::string text;
    Outcome outcome = Outcome::kGoOn;
  };

  // `gate` outlives the login. `ours.max_recv_data_segment_length` is what we declare.
  Login(const Parameters& ours, Gate& gate);

  // `text` is the data segment of the request.
  Reply OnRequest(const LoginRequestPdu& request, std::string_view text);
  // A reply to a request, or to something else, that ends the login.
  Reply Refuse(const BasicHeader& request, LoginStatus status);

  LoginStage stage() const { return stage_; }
  bool started() const { return started_; }
  const Identity& identity() const { return identity_; }
  const Parameters& parameters() const { return negotiation_.result(); }
  // What was wrong, for the log. Empty when nothing was.
  const std::string& fault() const { return fault_; }
  uint32_t next_stat_sn() const { return stat_sn_; }

 private:
  Reply Fail(const LoginRequestPdu& request, LoginStatus status, std::string fault);
  Reply MakeReply(const LoginRequestPdu& request);
  LoginStatus FailAuthentication(std::string fault);
  // The checks of a request against the ones before; what is wrong, or null.
  const char* FaultOf(const LoginRequestPdu& request) const;
  LoginStatus TakeText();
  LoginStatus TakeKey(std::string_view key, std::string_view value, Chap::Keys& chap);
  LoginStatus TakeNames();
  bool AnswerAuthMethod(std::string_view value);
  void PutAnswer(std::string_view key, std::string_view value);
  bool MayLeaveStage(LoginStage next);

  Gate& gate_;
  const uint32_t our_max_recv_;
  Negotiation negotiation_;
  Identity identity_;
  LoginStage stage_ = LoginStage::kSecurity;
  bool started_ = false;
  bool admitted_ = false;
  bool declared_ = false;
  std::optional<Chap> chap_;  // Since it was agreed upon.
  Verdict verdict_;
  std::set<std::string, std::less<>> seen_;
  std::string gathered_;  // Of requests with C.
  size_t received_bytes_ = 0;
  std::string answer_;  // What is still to be sent.
  std::string fault_;
  uint32_t stat_sn_ = 0;
};

}  // namespace pollux::iscsi
