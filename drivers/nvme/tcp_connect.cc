// How a queue joins a controller: TCP, ICReq and ICResp, Connect.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "drivers/nvme/tcp_queue.h"

namespace pollux::nvme {
namespace {

using nvme_tcp::Pdu;
using nvme_tcp::PduReader;
using nvme_tcp::PduType;
namespace fes = nvme_tcp::fes;

// Read ahead: headers, and data that comes with them.
constexpr size_t kReadAheadBytes = 64 << 10;
// Longer data that was not read ahead to its end is not awaited there: the rest goes to its place.
constexpr size_t kWholeBytesMax = 512;
// Of one PDU that a target may send: the data of the largest command, and its header.
constexpr uint32_t kPlenMax = (256u << 20) + 128;
constexpr uint32_t kMaxH2CDataUnit = 4;

}  // namespace

Status TcpQueue::Open(const Joining& joining) {
  Close();
  joining_ = joining;
  UniqueFd fd(socket(joining.address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrorOfErrno(errno, "no socket");
  const int on = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (joining.user_timeout_ms > 0) {
    setsockopt(fd.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &joining.user_timeout_ms,
               sizeof(joining.user_timeout_ms));
  }
  if (joining.source.has_value() &&
      bind(fd.get(), joining.source->address(), joining.source->length()) != 0) {
    return ErrorOfErrno(errno, absl::StrFormat("the host address %s cannot be used: %s",
                                               joining.source->ToString(), strerror(errno)));
  }
  if (connect(fd.get(), joining.address.address(), joining.address.length()) != 0 &&
      errno != EINPROGRESS) {
    const int error = errno;
    return ErrorOfErrno(error, absl::StrFormat("%s cannot be connected to: %s",
                                               joining.address.ToString(), strerror(error)));
  }
  if (parts_.event_set >= 0) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd.get();
    if (epoll_ctl(parts_.event_set, EPOLL_CTL_ADD, fd.get(), &event) != 0) {
      return ErrorOfErrno(errno, "a socket cannot be waited for");
    }
  }
  socket_ = std::move(fd);
  reader_.emplace(PduReader::End::kHost, kReadAheadBytes, kPlenMax, kWholeBytesMax);
  Enter(State::kConnecting);
  return OkStatus();
}

TcpQueue::State TcpQueue::Step() {
  if (state_ == State::kConnecting) {
    pollfd poll_fd = {socket_.get(), POLLOUT, 0};
    if (poll(&poll_fd, 1, 0) > 0) OnConnected();
  }
  if (state_ == State::kNegotiating || state_ == State::kJoining) {
    Flush();
    Receive();
    Flush();
  }
  return state_;
}

void TcpQueue::OnConnected() {
  int error = 0;
  socklen_t bytes = sizeof(error);
  getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &bytes);
  if (error != 0) {
    return Break(
        ErrorOfErrno(error, absl::StrFormat("%s cannot be connected to: %s",
                                            joining_.address.ToString(), strerror(error))));
  }
  SendIcReq();
  Enter(State::kNegotiating);
}

void TcpQueue::SendIcReq() {
  TcpCommand& command = commands_[0];
  nvme_tcp::ICReq request{};
  request.ch.type = PduType::kICReq;
  request.ch.hlen = sizeof(request);
  request.ch.plen = sizeof(request);
  request.dgst = static_cast<uint8_t>((joining_.header_digest ? nvme_tcp::kHdgstEnable : 0) |
                                      (joining_.data_digest ? nvme_tcp::kDdgstEnable : 0));
  static_assert(sizeof(request) <= sizeof(command.header));
  std::memcpy(command.header.data(), &request, sizeof(request));
  command.header_bytes = sizeof(request);
  command.data_bytes = 0;
  command.digested = false;
  Enqueue(command);
}

void TcpQueue::OnIcResp(const Pdu& pdu) {
  const auto& response = *reinterpret_cast<const nvme_tcp::ICResp*>(pdu.header);
  if (response.pfv != 0) {
    return Refuse(fes::kUnsupportedParameter, offsetof(nvme_tcp::ICResp, pfv),
                  "the target speaks another version of NVMe/TCP", pdu);
  }
  if (response.cpda > nvme_tcp::kPdaMax) {
    return Refuse(fes::kInvalidHeaderField, offsetof(nvme_tcp::ICResp, cpda),
                  "CPDA is more than 31", pdu);
  }
  const uint32_t most = response.maxh2cdata;
  if (most < nvme_tcp::kMaxH2CDataMin || most % kMaxH2CDataUnit != 0) {
    return Refuse(fes::kInvalidHeaderField, offsetof(nvme_tcp::ICResp, maxh2cdata),
                  "MAXH2CDATA is less than 4096, or no multiple of 4", pdu);
  }
  const bool header = (response.dgst & nvme_tcp::kHdgstEnable) != 0;
  const bool data = (response.dgst & nvme_tcp::kDdgstEnable) != 0;
  if ((header && !joining_.header_digest) || (data && !joining_.data_digest)) {
    return Refuse(fes::kInvalidHeaderField, offsetof(nvme_tcp::ICResp, dgst),
                  "the target enables a digest that was not asked for", pdu);
  }
  // Who asks for digests does not trust the network: going on without would be no service.
  if (header != joining_.header_digest || data != joining_.data_digest) {
    return Break(NotSupported("the target does not use the digests that were asked for"));
  }
  header_digest_ = header;
  data_digest_ = data;
  cpda_ = response.cpda;
  maxh2cdata_ = most;
  reader_->Agree({.header_digest = header, .data_digest = data, .pda = 0});
  Enter(State::kJoining);
  SendConnect();
}

void TcpQueue::SendConnect() {
  static_assert(sizeof(SubmissionEntry) == sizeof(ConnectCommand));
  auto entry = std::bit_cast<SubmissionEntry>(joining_.command);
  entry.opc = admin::kFabrics;
  entry.flags = kPsdtSgl;
  entry.cid = kConnectCid;
  entry.prp1 = reinterpret_cast<uint64_t>(&joining_.data);
  entry.prp2 = sizeof(joining_.data);
  Take(entry);
}

}  // namespace pollux::nvme
