#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/crypto/hash.h"
#include "targets/iscsi/iscsi_target.h"

namespace pollux::iscsi {

// The target's side of CHAP in one login. RFC 7143 §12.1.3, RFC 1994.
//
//   kAwaitAlgorithms --CHAP_A--> kAwaitResponse --CHAP_N, CHAP_R [CHAP_I, CHAP_C]--> kDone
//          |                            |
//          +------anything else---------+--> kFailed
//
// An initiator that sends a challenge of its own wants the target to prove itself too.
class Chap {
 public:
  static constexpr size_t kChallengeBytes = 32;

  // What one request says of CHAP.
  struct Keys {
    std::optional<std::string_view> algorithms;  // CHAP_A
    std::optional<std::string_view> identifier;  // CHAP_I
    std::optional<std::string_view> challenge;   // CHAP_C
    std::optional<std::string_view> name;        // CHAP_N
    std::optional<std::string_view> response;    // CHAP_R
    bool any() const { return algorithms || identifier || challenge || name || response; }
    // The member that is called so, or null.
    std::optional<std::string_view>* Find(std::string_view key);
  };

  // Without a group, or in one without the initiator's name, everything goes on as it would with a
  // wrong secret: neither the answers nor the time they take tell who is known.
  Chap(std::shared_ptr<const AuthGroup> group, bool mutual_required);

  // Appends the answer. False: authentication has failed, and fault() says why.
  bool OnKeys(const Keys& keys, std::string& answer);

  bool done() const { return state_ == State::kDone; }
  // For the log; it contains no secret.
  const std::string& fault() const { return fault_; }

 private:
  enum class State { kAwaitAlgorithms, kAwaitResponse, kDone, kFailed };

  bool OnAlgorithms(const Keys& keys, std::string& answer);
  bool OnResponse(const Keys& keys, std::string& answer);
  bool Prove(const Keys& keys, const ChapSecret& secret, std::string& answer);
  bool Fail(std::string fault);

  const std::shared_ptr<const AuthGroup> group_;
  const bool mutual_required_;
  State state_ = State::kAwaitAlgorithms;
  HashAlgorithm algorithm_{};
  const uint8_t identifier_;
  const std::string challenge_;
  std::string fault_;
};

}  // namespace pollux::iscsi
