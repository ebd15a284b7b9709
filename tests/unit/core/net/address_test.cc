#include "core/net/address.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <unistd.h>

#include "core/unique_fd.h"

namespace pollux {
namespace {

std::string Shown(std::string_view text) {
  const auto address = SocketAddress::ParseHostPort(text);
  return address.ok() ? address->ToString() : std::string(address.status().message());
}

TEST(SocketAddressTest, ShowsWhatItParsed) {
  EXPECT_EQ(Shown("127.0.0.1:3260"), "127.0.0.1:3260");
  EXPECT_EQ(Shown("[::1]:3260"), "[::1]:3260");
  EXPECT_EQ(Shown("0.0.0.0:0"), "0.0.0.0:0");
  EXPECT_EQ(Shown("[2001:DB8:0:0::7]:65535"), "[2001:db8::7]:65535");
}

TEST(SocketAddressTest, TakesAHostWithAndWithoutBrackets) {
  for (const char* host : {"::1", "[::1]"}) {
    const auto address = SocketAddress::Parse(host, 8080);
    ASSERT_TRUE(address.ok()) << host;
    EXPECT_EQ(address->host(), "::1");
    EXPECT_EQ(address->port(), 8080);
    EXPECT_EQ(address->family(), AF_INET6);
    EXPECT_EQ(address->length(), sizeof(sockaddr_in6));
  }
}

TEST(SocketAddressTest, ShowsAnIpv4MappedAddressAsIpv4) {
  const auto address = *SocketAddress::Parse("::ffff:192.0.2.7", 1);
  EXPECT_EQ(address.host(), "192.0.2.7");
  EXPECT_EQ(address.ToString(), "192.0.2.7:1");
}

TEST(SocketAddressTest, KnowsLoopbackAndAny) {
  for (const char* host : {"127.0.0.1", "127.255.0.3", "::1", "::ffff:127.0.0.1"}) {
    EXPECT_TRUE(SocketAddress::Parse(host, 0)->IsLoopback()) << host;
    EXPECT_FALSE(SocketAddress::Parse(host, 0)->IsAny()) << host;
  }
  for (const char* host : {"0.0.0.0", "::"}) {
    EXPECT_TRUE(SocketAddress::Parse(host, 0)->IsAny()) << host;
    EXPECT_FALSE(SocketAddress::Parse(host, 0)->IsLoopback()) << host;
  }
  EXPECT_FALSE(SocketAddress::Parse("128.0.0.1", 0)->IsLoopback());
  EXPECT_FALSE(SocketAddress::Parse("::2", 0)->IsLoopback());
}

TEST(SocketAddressTest, AnEmptyAddressIsNothingInParticular) {
  const SocketAddress empty;
  EXPECT_FALSE(empty.IsLoopback() || empty.IsAny());
  EXPECT_EQ(empty.port(), 0);
  EXPECT_EQ(empty.host(), "");
}

TEST(SocketAddressTest, RefusesWhatIsNoAddress) {
  for (const std::string_view host :
       {std::string_view(""), std::string_view("localhost"), std::string_view("127.0.0"),
        std::string_view("127.0.0.1 "), std::string_view("1.2.3.256"),
        std::string_view("[127.0.0.1]"), std::string_view("[::1"), std::string_view("::1]"),
        std::string_view("[]"), std::string_view(":::"), std::string_view("127.0.0.1\0x", 11)}) {
    const auto address = SocketAddress::Parse(host, 1);
    EXPECT_EQ(ErrnoOf(address.status()), EINVAL) << host;
    EXPECT_EQ(DetailOf(address.status()).field, "address");
  }
}

TEST(SocketAddressTest, RefusesWhatIsNoPort) {
  for (const char* text : {"127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:3260x",
                           "127.0.0.1: 1", "127.0.0.1:+1"}) {
    EXPECT_EQ(DetailOf(SocketAddress::ParseHostPort(text).status()).field, "port") << text;
  }
  for (const char* text : {"127.0.0.1", "", "::1:3260", ":1"}) {
    EXPECT_EQ(DetailOf(SocketAddress::ParseHostPort(text).status()).field, "address") << text;
  }
}

TEST(SocketAddressTest, NamesWhatASocketIsBoundTo) {
  const UniqueFd fd(socket(AF_INET6, SOCK_STREAM, 0));
  const auto wanted = *SocketAddress::Parse("::1", 0);
  ASSERT_EQ(bind(fd.get(), wanted.address(), wanted.length()), 0);
  const auto local = SocketAddress::LocalOf(fd.get());
  ASSERT_TRUE(local.ok());
  EXPECT_EQ(local->host(), "::1");
  EXPECT_NE(local->port(), 0);
  EXPECT_EQ(ErrnoOf(SocketAddress::PeerOf(fd.get()).status()), ENOTCONN);
}

TEST(SocketAddressTest, AUnixSocketHasNoAddressOfThisKind) {
  const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM, 0));
  EXPECT_EQ(ErrnoOf(SocketAddress::LocalOf(fd.get()).status()), EAFNOSUPPORT);
  EXPECT_EQ(ErrnoOf(SocketAddress::LocalOf(-1).status()), EBADF);
}

}  // namespace
}  // namespace pollux
