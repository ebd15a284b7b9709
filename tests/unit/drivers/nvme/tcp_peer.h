#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/spec/nvme_spec.h"
#include "core/spec/nvme_tcp_spec.h"
#include "core/spec/nvmf_spec.h"
#include "core/unique_fd.h"

namespace pollux::nvme {

// A small NVMe/TCP target for tests of the host: one namespace in memory, on a port of loopback. It
// works in Step() alone, does what is right unless a test says otherwise, and can be made to send
// anything.
class TcpPeer {
 public:
  struct Options {
    bool header_digest = true, data_digest = true;  // Whether it agrees to them.
    uint8_t cpda = 0;
    uint32_t maxh2cdata = 131072;
    uint32_t in_capsule_bytes = 8192;
    uint32_t r2t_bytes = 1 << 20;  // It asks for so much at a time.
    uint32_t c2h_bytes = 1 << 20;  // And sends so much in one PDU.
    bool success = false;          // It saves the response of a read.
    uint16_t queues_max = 8;
    uint16_t mqes = 127;
    uint8_t controller_type = 1;
    uint16_t icdoff = 0;
  };
  static constexpr uint32_t kBlockBytes = 512;
  static constexpr size_t kDiskBytes = 4 << 20;

  class Connection {
   public:
    Connection(TcpPeer& peer, UniqueFd fd) : peer_(peer), fd_(std::move(fd)) {}

    int qid() const { return qid_; }
    bool closed() const { return !fd_.valid(); }
    void Close() { fd_.Reset(); }
    // Fatal error status of the terminate request that came; 0: none.
    uint16_t fes() const { return fes_; }
    uint32_t fei() const { return fei_; }

    void SendRaw(std::vector<std::byte> bytes);
    // A header with digest, as agreed, then data with its own.
    void SendPdu(void* header, size_t hlen, uint8_t flags, const std::byte* data = nullptr,
                 size_t bytes = 0, bool damage_digest = false);
    void Respond(uint16_t cid, uint16_t status = 0, uint32_t dw0 = 0, uint32_t dw1 = 0);
    void SendData(uint16_t cid, uint32_t datao, const std::byte* data, uint32_t bytes,
                  uint8_t flags, bool damage_digest = false);
    void SendR2T(uint16_t cid, uint16_t ttag, uint32_t r2to, uint32_t r2tl);
    // All of a command's data, as the options have it, and the response.
    void Deliver(uint16_t cid, const std::byte* data, uint32_t bytes);

    bool Step();  // False: nothing happened.

   private:
    friend class TcpPeer;
    struct Writing {
      SubmissionEntry sqe;
      std::vector<std::byte> data;
      uint32_t came = 0, asked = 0;
    };
    void Handle(const std::byte* pdu, size_t bytes);
    void OnCapsule(const SubmissionEntry& sqe, std::vector<std::byte> in_capsule);
    void OnH2CData(const nvme_tcp::DataPdu& header, const std::byte* data);
    void AskFor(Writing& writing);

    TcpPeer& peer_;
    UniqueFd fd_;
    std::vector<std::byte> in_, out_;
    bool negotiated_ = false, header_digest_ = false, data_digest_ = false;
    int qid_ = -1;
    uint16_t fes_ = 0;
    uint32_t fei_ = 0;
    std::vector<Writing> writings_;
  };

  explicit TcpPeer(Options options);
  explicit TcpPeer() : TcpPeer(Options()) {}

  uint16_t port() const { return port_; }
  Options& options() { return options_; }
  std::vector<std::byte>& disk() { return disk_; }
  // Does what there is to do. Returns whether there was something.
  bool Step();

  // The living connection of a queue; null: there is none.
  Connection* OfQueue(int qid);
  void CloseAll();
  void StopListening() { listener_.Reset(); }
  void Listen();

  // Asked for each command first, admin and fabrics too; true: the test has dealt with it.
  std::function<bool(Connection&, const SubmissionEntry&)> on_command;
  // Instead of ICResp.
  std::function<bool(Connection&)> on_icreq;

  // What came, for tests to look at.
  std::vector<uint8_t> opcodes;
  int connections_accepted = 0;
  ConnectData connected{};
  ConnectCommand connect{};
  uint32_t cc = 0;
  int shutdowns = 0;  // Normal ones.
  int keep_alives = 0;
  std::vector<uint16_t> terminations;  // Of all connections.
  std::vector<uint32_t> h2c_bytes;     // Of each H2CData.
  int in_capsule_writes = 0;
  std::vector<DiscoveryLogEntry> discovery;
  uint64_t discovery_generation = 1;
  uint16_t held_event = 0;  // CID of an Asynchronous Event Request; 0: none.

 private:
  friend class Connection;
  void Execute(Connection& connection, const SubmissionEntry& sqe,
               const std::vector<std::byte>& data);
  void ExecuteFabrics(Connection& connection, const SubmissionEntry& sqe,
                      const std::vector<std::byte>& data);
  void ExecuteAdmin(Connection& connection, const SubmissionEntry& sqe);
  void ExecuteIo(Connection& connection, const SubmissionEntry& sqe,
                 const std::vector<std::byte>& data);
  std::vector<std::byte> Identify(uint8_t cns, uint32_t nsid) const;
  std::vector<std::byte> LogPage(const SubmissionEntry& sqe) const;

  Options options_;
  UniqueFd listener_;
  uint16_t port_ = 0;
  std::vector<std::byte> disk_;
  std::vector<std::unique_ptr<Connection>> connections_;
};

}  // namespace pollux::nvme
