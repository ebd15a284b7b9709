#include "core/tls/tls_context.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "core/check.h"

namespace pollux {
namespace {

// TLS 1.2's; all of 1.3's are good.
constexpr char kCiphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20";

std::string LastError() {
  // The first in the queue is the cause, those after it say where it was noticed.
  const unsigned long code = ERR_peek_error();
  ERR_clear_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  return reason == nullptr ? "no reason given" : reason;
}

Status CannotUse(const std::string& path) {
  return InvalidArgument("cannot use %s for TLS: %s", path, LastError());
}

Status CheckReadable(const std::string& path) {
  struct stat found;
  if (stat(path.c_str(), &found) == 0) return OkStatus();
  return ErrorOfErrno(errno, absl::StrFormat("cannot read %s: %s", path, strerror(errno)));
}

// `wanted` is our protocol as ALPN lists it. A client that does not name it is no client of ours.
int ChooseProtocol(SSL*, const unsigned char** out, unsigned char* out_length,
                   const unsigned char* in, unsigned in_length, void* wanted) {
  const auto& ours = *static_cast<const std::string*>(wanted);
  for (unsigned at = 0; at < in_length && in[at] < in_length - at; at += 1u + in[at]) {
    if (std::string_view(reinterpret_cast<const char*>(in + at + 1), in[at]) != ours) continue;
    *out = in + at + 1;
    *out_length = in[at];
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

}  // namespace

// What the files were when they were read.
struct TlsContext::Seen {
  struct Mark {
    dev_t device = 0;
    ino_t inode = 0;
    off_t bytes = 0;
    int64_t seconds = 0, nanoseconds = 0;
    bool operator==(const Mark&) const = default;
  };
  using Marks = std::array<Mark, 3>;

  static Marks Look(const TlsFiles& files) {
    Marks marks;
    const std::array<const std::string*, 3> paths{&files.certificate, &files.key, &files.client_ca};
    for (size_t i = 0; i < paths.size(); ++i) {
      struct stat found;
      if (stat(paths[i]->c_str(), &found) != 0) continue;
      marks[i] = {.device = found.st_dev,
                  .inode = found.st_ino,
                  .bytes = found.st_size,
                  .seconds = found.st_mtim.tv_sec,
                  .nanoseconds = found.st_mtim.tv_nsec};
    }
    return marks;
  }

  Marks marks;
};

TlsContext::TlsContext(TlsFiles files, std::string protocol)
    : files_(std::move(files)),
      protocol_(std::move(protocol)),
      seen_(std::make_unique<Seen>(Seen{Seen::Look(files_)})) {}

TlsContext::~TlsContext() { SSL_CTX_free(context_); }

Result<std::unique_ptr<TlsContext>> TlsContext::Load(TlsFiles files, std::string protocol) {
  std::unique_ptr<TlsContext> self(new TlsContext(std::move(files), std::move(protocol)));
  ASSIGN_OR_RETURN(self->context_, self->Make());
  return self;
}

Result<ssl_ctx_st*> TlsContext::Make() const {
  for (const std::string* path : {&files_.certificate, &files_.key, &files_.client_ca}) {
    RETURN_IF_ERROR(CheckReadable(*path));
  }
  ERR_clear_error();
  struct Free {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  };
  const std::unique_ptr<SSL_CTX, Free> made(SSL_CTX_new(TLS_server_method()));
  SSL_CTX* const context = made.get();
  CHECK(context != nullptr, "OpenSSL has no memory for a context");
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  CHECK(SSL_CTX_set_cipher_list(context, kCiphers) == 1, "OpenSSL does not know our ciphers");
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
                                   SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_alpn_select_cb(context, ChooseProtocol, const_cast<std::string*>(&protocol_));

  if (SSL_CTX_use_certificate_chain_file(context, files_.certificate.c_str()) != 1) {
    return CannotUse(files_.certificate);
  }
  if (SSL_CTX_use_PrivateKey_file(context, files_.key.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context) != 1) {
    return CannotUse(files_.key);
  }
  STACK_OF(X509_NAME)* const names = SSL_load_client_CA_file(files_.client_ca.c_str());
  if (names == nullptr ||
      SSL_CTX_load_verify_locations(context, files_.client_ca.c_str(), nullptr) != 1) {
    sk_X509_NAME_pop_free(names, X509_NAME_free);
    return CannotUse(files_.client_ca);
  }
  SSL_CTX_set_client_CA_list(context, names);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_up_ref(context);
  return context;
}

Status TlsContext::Refresh() {
  const Seen::Marks now = Seen::Look(files_);
  if (now == seen_->marks) return OkStatus();
  seen_->marks = now;
  ASSIGN_OR_RETURN(ssl_ctx_st* const fresh, Make());
  SSL_CTX_free(context_);
  context_ = fresh;
  return OkStatus();
}

ssl_st* TlsContext::NewSession(int fd) const {
  SSL* const session = SSL_new(context_);
  CHECK(session != nullptr && SSL_set_fd(session, fd) == 1, "OpenSSL has no memory for a session");
  SSL_set_accept_state(session);
  return session;
}

std::string SubjectOfPeer(const ssl_st* session) {
  const X509* const certificate = SSL_get0_peer_certificate(session);
  if (certificate == nullptr) return "";
  BIO* const text = BIO_new(BIO_s_mem());
  CHECK(text != nullptr, "OpenSSL has no memory for a name");
  X509_NAME_print_ex(text, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
  char* bytes = nullptr;
  const long length = BIO_get_mem_data(text, &bytes);
  std::string subject(bytes, static_cast<size_t>(std::max(length, 0L)));
  BIO_free(text);
  return subject;
}

std::string TlsErrorText(const ssl_st* session) {
  const long verified = SSL_get_verify_result(session);
  if (verified != X509_V_OK) {
    ERR_clear_error();
    return absl::StrFormat("its certificate is not accepted: %s",
                           X509_verify_cert_error_string(verified));
  }
  return LastError();
}

}  // namespace pollux
