#include "core/crypto/hash.h"

#include <gtest/gtest.h>

#include <set>

namespace pollux {
namespace {

std::string Hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += absl::StrFormat("%02x", static_cast<unsigned char>(byte));
  return text;
}

std::string HexOf(HashAlgorithm algorithm, std::initializer_list<std::string_view> parts) {
  const Result<std::string> value = HashOf(algorithm, parts);
  EXPECT_TRUE(value.ok()) << value.status();
  EXPECT_EQ(value->size(), HashBytes(algorithm));
  return Hex(*value);
}

// RFC 1321 §A.5.
TEST(HashTest, Md5IsThatOfItsSpecification) {
  EXPECT_EQ(HexOf(HashAlgorithm::kMd5, {}), "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(HexOf(HashAlgorithm::kMd5, {"abc"}), "900150983cd24fb0d6963f7d28e17f72");
  EXPECT_EQ(HexOf(HashAlgorithm::kMd5, {"message digest"}), "f96b697d7cb7938d525a2f31aaf161d0");
}

// FIPS 180-4 and FIPS 202, the examples of NIST.
TEST(HashTest, TheShaFamilyIsThatOfItsSpecifications) {
  EXPECT_EQ(HexOf(HashAlgorithm::kSha1, {"abc"}), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(HexOf(HashAlgorithm::kSha256, {"abc"}),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(HexOf(HashAlgorithm::kSha3_256, {"abc"}),
            "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532");
  EXPECT_EQ(HexOf(HashAlgorithm::kSha3_256, {}),
            "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a");
}

TEST(HashTest, PartsAreHashedOneBehindTheOther) {
  EXPECT_EQ(HexOf(HashAlgorithm::kSha256, {"a", "", "bc"}), HexOf(HashAlgorithm::kSha256, {"abc"}));
  EXPECT_NE(HexOf(HashAlgorithm::kSha256, {"a", "cb"}), HexOf(HashAlgorithm::kSha256, {"abc"}));
}

TEST(HashTest, EqualMeansEveryByteAndTheLength) {
  EXPECT_TRUE(EqualInConstantTime("", ""));
  EXPECT_TRUE(EqualInConstantTime(std::string_view("a\0b", 3), std::string_view("a\0b", 3)));
  EXPECT_FALSE(EqualInConstantTime(std::string_view("a\0b", 3), std::string_view("a\0c", 3)));
  EXPECT_FALSE(EqualInConstantTime("abc", "ab"));
  EXPECT_FALSE(EqualInConstantTime("", "a"));
  EXPECT_FALSE(EqualInConstantTime("xbc", "abc"));
}

TEST(HashTest, RandomBytesAreAsManyAsAskedForAndNeverTheSame) {
  EXPECT_EQ(RandomBytes(0), "");
  EXPECT_EQ(RandomBytes(1000).size(), 1000u);  // More than one call of getrandom guarantees.
  std::set<std::string> seen;
  for (int i = 0; i < 10000; ++i) seen.insert(RandomBytes(16));
  EXPECT_EQ(seen.size(), 10000u);
}

}  // namespace
}  // namespace pollux
