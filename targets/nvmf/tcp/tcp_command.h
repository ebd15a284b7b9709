#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "core/intrusive_list.h"
#include "core/net/byte_stream.h"
#include "core/spec/nvme_tcp_spec.h"
#include "targets/nvmf/command.h"
#include "targets/nvmf/tcp/part_cursor.h"
#include "targets/nvmf/tcp/sgl.h"

namespace pollux::nvmf {

class TcpConnection;

// One command of a TCP connection, from its capsule to the response. They are made with the
// connection and used again and again, so nothing is allocated per command.
//
// Data from the host lies in the capsule, or is asked for with R2T, one at a time: the next burst
// is asked for when the last has landed. Data for the host leaves in C2HData, header and lent
// memory in one piece of output, with the response behind it where one is needed.
//
// Whatever was asked for will come. So the response of a command that ends early waits until it
// has, and was thrown away; a transfer tag is not used again before.
class TcpCommand final : public Command, private SendItem {
 public:
  TcpCommand(TcpConnection& connection, uint16_t index) : connection_(connection), index_(index) {}

  // --- By the connection, as PDUs come in.

  // `capsule_data` lies in the read-ahead: see SetAside(). `digest_ok`: it is what the host sent.
  void Begin(const nvme::SubmissionEntry& sqe, const DataPlan& plan,
             std::span<const std::byte> capsule_data, bool digest_ok);
  // In-capsule data that the controller has not taken yet.
  bool lends_capsule_data() const { return !capsule_data_.empty(); }
  // The read-ahead is about to be overwritten: keeps that data elsewhere.
  void SetAside();

  // Of the R2T that is outstanding: 0 when there is none.
  uint16_t ttag() const { return ttag_; }
  uint32_t r2t_next() const { return r2t_next_; }  // Where its next data belongs.
  uint32_t r2t_left() const { return r2t_left_; }
  // Data of the R2T, from r2t_next() on: copied from the read-ahead, or received straight to its
  // places. When nobody wants it any more, the places are `scrap`'s.
  void TakeData(std::span<const std::byte> data);
  size_t ListPlaces(std::span<iovec> places, size_t bytes, std::span<std::byte> scrap) const;
  void Landed(uint32_t bytes);
  // The PDU's end. After the last one the command goes on.
  void EndPdu(bool digest_ok);
  // Nothing lands in its places any more: for OnDataUnwanted() that had to wait.
  bool drop_wanted() const { return drop_wanted_; }
  void Drop();

  // The command that issued a transfer tag, which is not 0.
  static size_t IndexOf(uint16_t ttag) { return (ttag & ((1u << kTtagIndexBits) - 1)) - size_t{1}; }
  // What it holds of the connection's allowance while it is started.
  uint32_t cost() const { return cost_; }

 private:
  friend class TcpConnection;
  friend class CommandTable;

  // C2HData may begin up to here: 32 dwords.
  static constexpr size_t kHeadBytesMax = (nvme_tcp::kPdaMax + 1) * 4;
  static constexpr size_t kDataPartsMax = SendItem::kPartsMax - 2;
  // A transfer tag: a round, then the index plus 1.
  static constexpr unsigned kTtagIndexBits = 11;
  enum class Output : uint8_t { kNone, kR2T, kData, kResponse };

  // Command
  void OnDataWanted(uint32_t offset, std::span<const iovec> places) override;
  void OnDataReady(uint32_t offset, std::span<const iovec> ready,
                   const nvme::CompletionEntry* last) override;
  void OnCompletion(const nvme::CompletionEntry& completion) override;
  void OnDataUnwanted() override;
  // SendItem
  void OnSent(bool ok) override;

  void SendR2T();
  void SendData();
  void SendResponse();
  size_t FillResponse();
  void OnDataSent(bool ok);

  TcpConnection& connection_;
  const uint16_t index_;
  Output output_ = Output::kNone;  // What the send queue has of it.
  bool in_capsule_ = false;
  bool r2t_is_large_ = false;
  bool r2t_waits_ = false;  // For the item of output, which the last R2T has not left.
  bool data_bad_ = false;   // A digest of this burst was wrong.
  bool sinking_ = false;    // What is still to come of the R2T is thrown away.
  bool drop_wanted_ = false;
  bool has_response_ = false;
  bool ends_with_data_ = false;  // The burst is the last.
  uint16_t data_fault_ = 0;      // What is told to who wants the host's data, or 0.
  uint16_t ttag_ = 0;            // 0: no R2T is outstanding.
  uint8_t ttag_round_ = 0;
  uint32_t r2t_next_ = 0, r2t_left_ = 0;
  uint32_t out_offset_ = 0;  // Of the data that is sent next.
  uint32_t cost_ = 0;
  std::span<const std::byte> capsule_data_;
  PartCursor landing_;
  std::span<const iovec> out_parts_;
  TcpCommand* next_free_ = nullptr;
  ListNode node_;                           // Of the connection's lent or waiting commands.
  std::unique_ptr<std::byte[]> set_aside_;  // Made once, when it is needed first.

  // C2HData or R2T, its digest, and zeros up to the data.
  alignas(8) std::array<std::byte, kHeadBytesMax> head_{};
  struct Tail {  // What follows the data: any of them, from one of them on.
    Le32 data_digest;
    nvme_tcp::CapsuleResp response{};
    Le32 response_digest;
  } tail_;
};

}  // namespace pollux::nvmf
