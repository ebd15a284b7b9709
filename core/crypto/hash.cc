#include "core/crypto/hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/random.h>

#include <memory>

#include "core/check.h"

namespace pollux {
namespace {

const EVP_MD* MethodOf(HashAlgorithm algorithm) {
  switch (algorithm) {
    case HashAlgorithm::kMd5:
      return EVP_md5();
    case HashAlgorithm::kSha1:
      return EVP_sha1();
    case HashAlgorithm::kSha256:
      return EVP_sha256();
    case HashAlgorithm::kSha3_256:
      return EVP_sha3_256();
  }
  return nullptr;
}

}  // namespace

size_t HashBytes(HashAlgorithm algorithm) {
  switch (algorithm) {
    case HashAlgorithm::kMd5:
      return 16;
    case HashAlgorithm::kSha1:
      return 20;
    case HashAlgorithm::kSha256:
    case HashAlgorithm::kSha3_256:
      return 32;
  }
  return 0;
}

Result<std::string> HashOf(HashAlgorithm algorithm, std::initializer_list<std::string_view> parts) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        &EVP_MD_CTX_free);
  unsigned char value[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  bool ok =
      context != nullptr && EVP_DigestInit_ex(context.get(), MethodOf(algorithm), nullptr) == 1;
  for (const std::string_view part : parts) {
    ok = ok && EVP_DigestUpdate(context.get(), part.data(), part.size()) == 1;
  }
  ok = ok && EVP_DigestFinal_ex(context.get(), value, &length) == 1;
  if (!ok) return ErrorOfErrno(ENOTSUP, "OpenSSL refuses the hash algorithm");
  CHECK(length == HashBytes(algorithm));
  return std::string(reinterpret_cast<const char*>(value), length);
}

bool EqualInConstantTime(std::string_view a, std::string_view b) {
  return a.size() == b.size() && (a.empty() || CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0);
}

std::string RandomBytes(size_t count) {
  std::string bytes(count, '\0');
  size_t filled = 0;
  while (filled < count) {
    const ssize_t got = getrandom(bytes.data() + filled, count - filled, 0);
    CHECK(got > 0 || errno == EINTR, "getrandom failed");
    if (got > 0) filled += static_cast<size_t>(got);
  }
  return bytes;
}

}  // namespace pollux
