#pragma once
#include <memory>
#include <string>

#include "core/status.h"

struct ssl_ctx_st;
struct ssl_st;

namespace pollux {

// The PEM files of a server that knows its clients by certificates.
struct TlsFiles {
  std::string certificate;  // Ours, and the chain below it.
  std::string key;          // Of the certificate.
  std::string client_ca;    // Who signs clients' certificates.
};

// What TLS sessions of a server are made from: TLS 1.2 with forward secrecy, or 1.3; no
// renegotiation, no resumption; the client has to show a certificate for clients that one of
// `client_ca` signed. One thread at a time.
class TlsContext {
 public:
  // Fails with the file that cannot be used, and why. `protocol` is what both sides have to mean
  // (ALPN, RFC 7301): "h2".
  static Result<std::unique_ptr<TlsContext>> Load(TlsFiles files, std::string protocol);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  // Takes the files again if one of them is another than before: certificates end, and are renewed
  // while we run. When the new ones are no use the old stay, and the error says why, once.
  Status Refresh();

  // A new session, of the server, over a connected non-blocking socket. The caller frees it.
  ssl_st* NewSession(int fd) const;

 private:
  struct Seen;
  TlsContext(TlsFiles files, std::string protocol);
  Result<ssl_ctx_st*> Make() const;

  const TlsFiles files_;
  const std::string protocol_;
  const std::unique_ptr<Seen> seen_;
  ssl_ctx_st* context_ = nullptr;
};

// The subject of the certificate that the peer has shown, as RFC 2253 writes it:
// "CN=backup,O=Example". `openssl x509 -noout -subject -nameopt RFC2253` prints the same.
std::string SubjectOfPeer(const ssl_st* session);

// Why the last operation of this session failed, in words.
std::string TlsErrorText(const ssl_st* session);

}  // namespace pollux
