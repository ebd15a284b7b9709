#include "targets/iscsi/chap.h"

#include <algorithm>

#include "core/log.h"
#include "targets/iscsi/binary_value.h"
#include "targets/iscsi/iscsi_spec.h"
#include "targets/iscsi/text_keys.h"

namespace pollux::iscsi {
namespace {

struct KnownAlgorithm {
  uint32_t number;  // Of CHAP_A, as IANA registered it.
  HashAlgorithm hash;
};
constexpr KnownAlgorithm kAlgorithms[] = {{5, HashAlgorithm::kMd5},
                                          {6, HashAlgorithm::kSha1},
                                          {7, HashAlgorithm::kSha256},
                                          {8, HashAlgorithm::kSha3_256}};

// The first one of the initiator's list that we have, and that OpenSSL lets us use.
const KnownAlgorithm* Choose(std::string_view list) {
  for (const std::string_view word : SplitList(list)) {
    const std::optional<uint32_t> number = ParseNumber(word, 0, 255);
    for (const KnownAlgorithm& known : kAlgorithms) {
      if (number == known.number && HashOf(known.hash, {}).ok()) return &known;
    }
  }
  return nullptr;
}

// RFC 1994 §4.1
Result<std::string> ResponseTo(HashAlgorithm algorithm, uint8_t identifier, std::string_view secret,
                               std::string_view challenge) {
  const char first = static_cast<char>(identifier);
  return HashOf(algorithm, {std::string_view(&first, 1), secret, challenge});
}

const ChapSecret& NobodysSecret() {
  static const ChapSecret nobody{.user = {}, .secret = RandomBytes(16), .muser = {}, .msecret = {}};
  return nobody;
}

}  // namespace

std::optional<std::string_view>* Chap::Keys::Find(std::string_view key) {
  if (key == key::kChapA) return &algorithms;
  if (key == key::kChapI) return &identifier;
  if (key == key::kChapC) return &challenge;
  if (key == key::kChapN) return &name;
  if (key == key::kChapR) return &response;
  return nullptr;
}

Chap::Chap(std::shared_ptr<const AuthGroup> group, bool mutual_required)
    : group_(std::move(group)),
      mutual_required_(mutual_required),
      identifier_(static_cast<uint8_t>(RandomBytes(1)[0])),
      challenge_(RandomBytes(kChallengeBytes)) {}

bool Chap::OnKeys(const Keys& keys, std::string& answer) {
  switch (state_) {
    case State::kAwaitAlgorithms:
      return OnAlgorithms(keys, answer);
    case State::kAwaitResponse:
      return OnResponse(keys, answer);
    case State::kDone:
    case State::kFailed:
      break;
  }
  return Fail("a CHAP key came when CHAP was over");
}

bool Chap::OnAlgorithms(const Keys& keys, std::string& answer) {
  if (!keys.algorithms || keys.identifier || keys.challenge || keys.name || keys.response) {
    return Fail("CHAP must begin with CHAP_A, and with nothing else");
  }
  const KnownAlgorithm* const chosen = Choose(*keys.algorithms);
  if (chosen == nullptr) return Fail("CHAP_A has no algorithm that we have");
  algorithm_ = chosen->hash;
  AppendKey(answer, key::kChapA, std::to_string(chosen->number));
  AppendKey(answer, key::kChapI, std::to_string(identifier_));
  AppendKey(answer, key::kChapC, EncodeBinary(challenge_));
  state_ = State::kAwaitResponse;
  return true;
}

bool Chap::OnResponse(const Keys& keys, std::string& answer) {
  if (!keys.name || !keys.response || keys.algorithms) {
    return Fail("CHAP_N and CHAP_R, and they alone, must answer the challenge");
  }
  const std::optional<std::string> response = DecodeBinary(*keys.response);
  if (!response) return Fail("CHAP_R is no binary value");

  const ChapSecret* found = &NobodysSecret();
  if (group_ != nullptr) {
    for (const ChapSecret& secret : group_->secrets) {
      if (secret.user == *keys.name) found = &secret;
    }
  }
  const Result<std::string> expected =
      ResponseTo(algorithm_, identifier_, found->secret, challenge_);
  if (!expected.ok()) return Fail(std::string(expected.status().message()));
  const bool equal = EqualInConstantTime(*response, *expected);
  if (!equal || found == &NobodysSecret()) {
    // A user's name may be where a person has typed a secret: it is not logged.
    return Fail("the user or the secret is wrong");
  }
  if (keys.identifier || keys.challenge) {
    if (!Prove(keys, *found, answer)) return false;
  } else if (mutual_required_) {
    return Fail("mutual CHAP is required, and the initiator sent no challenge");
  }
  state_ = State::kDone;
  return true;
}

// The initiator is who it says; now it wants to know who we are.
bool Chap::Prove(const Keys& keys, const ChapSecret& secret, std::string& answer) {
  if (!keys.identifier || !keys.challenge) return Fail("CHAP_I and CHAP_C belong together");
  const std::optional<uint32_t> identifier = ParseNumber(*keys.identifier, 0, 255);
  const std::optional<std::string> challenge = DecodeBinary(*keys.challenge);
  if (!identifier || !challenge) return Fail("CHAP_I or CHAP_C is malformed");
  if (secret.msecret.empty()) return Fail("there is no secret by which to prove ourselves");
  // §9.2.1: else who does not know the secret could have us compute what we wait for.
  if (*challenge == challenge_) return Fail("the initiator sent our own challenge back");
  if (EqualInConstantTime(secret.secret, secret.msecret)) {
    return Fail("the secret is the same in both directions");
  }
  const Result<std::string> response =
      ResponseTo(algorithm_, static_cast<uint8_t>(*identifier), secret.msecret, *challenge);
  if (!response.ok()) return Fail(std::string(response.status().message()));
  AppendKey(answer, key::kChapN, secret.muser);
  AppendKey(answer, key::kChapR, EncodeBinary(*response));
  return true;
}

bool Chap::Fail(std::string fault) {
  state_ = State::kFailed;
  fault_ = std::move(fault);
  return false;
}

}  // namespace pollux::iscsi
