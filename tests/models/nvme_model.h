#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "core/spec/nvme_spec.h"
#include "tests/models/nvme_dma.h"
#include "tests/models/nvme_faults.h"
#include "tests/models/nvme_features.h"
#include "tests/models/nvme_namespace.h"
#include "tests/models/nvme_reservations.h"
#include "tests/models/nvme_rings.h"
#include "tests/models/nvme_transfer.h"
#include "tests/models/shared_memory.h"

namespace pollux::models {

// An NVMe controller made of memory. Registers act when they are accessed; queues, only in Step().
// So a test decides when, in which order and with what status each command ends. What the host
// does against the specification is refused with the specified status and told in complaints().
//
// NvmeModelDevice puts it behind pci::PciDevice in the same process, NvmeModelServed behind a
// vfio-user socket. One thread.
class NvmeModel {
 public:
  static constexpr uint32_t kNever = 0xffffffff;
  static constexpr uint16_t kVendorId = 0x1b36;
  static constexpr uint16_t kControllerId = 1;
  static constexpr size_t kErrorLogEntries = 64;
  static constexpr uint64_t kNamespaceBytesMax = uint64_t{1} << 36;  // Of a created one.

  struct Options {
    uint32_t version = 0x020000;
    uint32_t queue_entries_max = 1024;             // CAP.MQES + 1.
    uint8_t timeout_500ms = 20;                    // CAP.TO.
    uint8_t doorbell_stride = 0;                   // CAP.DSTRD.
    uint8_t page_size_min = 0, page_size_max = 4;  // 4096 << these.
    bool weighted_round_robin = true;
    bool subsystem_reset = true;
    bool io_command_sets = true;  // CAP.CSS bit 6: zoned namespaces need it.
    // How many Steps, and how many reads of CSTS, pass until CSTS follows CC. kNever: it does not.
    uint32_t ready_steps = 0, ready_reads = 0;
    uint32_t shutdown_steps = 0, shutdown_reads = 0;

    uint16_t io_queues_max = 64;      // Doorbells that there are.
    uint16_t io_queues_granted = 64;  // By Number of Queues, of each kind.
    uint16_t interrupt_vectors = 65;
    uint8_t mdts = 5;            // 4096 << mdts; 0: no limit.
    uint32_t sgls = 0x000d0001;  // Bit buckets, longer SGLs, and SGLs for metadata.
    uint16_t oacs = 0x010f;
    uint16_t oncs = 0x01ff;
    uint8_t vwc = 0x07;  // A volatile cache; a flush of all namespaces is supported.
    uint8_t async_events_max = 4;
    uint32_t host_memory_preferred_pages = 0, host_memory_min_pages = 0;  // Of 4096 bytes.
    uint32_t keep_alive_ms = 100;                                         // KAS, its granularity.
    uint64_t cmb_bytes = 0;                                               // In BAR 2. 0: none.
    uint32_t namespaces_max = 64;
    std::string serial_number = "POLLUX-MODEL-0";
    std::string subnqn = "nqn.2026-01.io.pollux:model";
    std::vector<ModelNamespace::Options> namespaces = {ModelNamespace::Options{}};
    Faults::Options faults;
  };

  // `dma` outlives the model.
  NvmeModel(const Options& options, DmaSpace& dma);
  ~NvmeModel();
  NvmeModel(const NvmeModel&) = delete;
  NvmeModel& operator=(const NvmeModel&) = delete;

  const Options& options() const { return options_; }

  // --- As the bus has it.

  // BAR 0: registers, then doorbells from nvme::kDoorbells on. Anything beyond reads zero.
  uint64_t ReadRegister(uint64_t offset, size_t bytes);
  void WriteRegister(uint64_t offset, size_t bytes, uint64_t value);
  uint64_t bar_bytes() const { return bar_.bytes(); }  // A power of two.
  // While it is off, the device reaches no memory: nothing is fetched, what ends waits.
  void set_bus_master(bool on) { bus_master_ = on; }
  // BAR 0 as memory, of which the doorbells' pages may be mapped: a write there is seen at the next
  // Step. The registers' page is not used.
  const SharedMemory& bar() const { return bar_; }
  const SharedMemory* cmb() const { return cmb_.get(); }
  // Back to power-on, namespaces' data excepted.
  void PowerOn();
  // Memory of the host that was looked up before may be elsewhere now.
  void ForgetMemory();
  // Called when a completion queue wants its vector raised.
  std::function<void(uint16_t vector)> on_interrupt;

  // --- Time.

  // Fetches every command that was announced and, but for what is held or takes longer, executes
  // and completes it. Returns how many commands were fetched or completed.
  size_t Step();
  // Whether something may happen that no register access announces.
  bool needs_steps(bool doorbells_mapped) const;
  // A clock for latencies; without, a tick is a Step.
  std::function<uint64_t()> clock;

  // --- What the test decides.

  struct Command {
    nvme::SubmissionEntry sqe;
    uint16_t sqid = 0;
    std::optional<nvme::SubmissionEntry> fused;  // The write that goes with a compare.
    uint64_t order = 0;
  };
  struct Outcome {
    uint16_t status = 0;  // Without the phase tag.
    uint32_t dw0 = 0, dw1 = 0;
    bool pending = false;  // Nothing to post yet.
  };
  enum class Hold { kNothing, kIo, kEverything };
  // Commands fetched from now on wait in held(), in order of arrival.
  void HoldCommands(Hold hold) { hold_ = hold; }
  const std::deque<Command>& held() const { return held_; }
  // Executes the n-th and completes it.
  void Complete(size_t n);
  // Does not execute it.
  void Complete(size_t n, uint16_t status, uint32_t dw0 = 0, uint32_t dw1 = 0);
  // Executes it, and completes it twice.
  void CompleteTwice(size_t n);
  void CompleteAll();
  void Forget(size_t n);  // It is never answered.

  // Any completion at all. `entry` is taken as it is, but for the phase.
  void Post(uint16_t cqid, nvme::CompletionEntry entry, bool right_phase = true);

  // CSTS.CFS: nothing is fetched any more, until a reset.
  void GoFatal();
  // From now on everything reads all ones. At the n-th access from now, with 1 the next one.
  void Disappear() { gone_ = true; }
  void DisappearAtAccess(uint64_t n) { accesses_left_ = n; }
  bool gone() const { return gone_; }
  uint64_t register_accesses() const { return accesses_; }

  Faults& faults() { return faults_; }
  uint16_t io_queues_granted;  // From now on.
  bool lose_interrupts = false;
  bool refuse_aborts = false;  // Else a held command can be aborted.
  // The ANA log page. Empty: there is none.
  std::vector<std::byte> ana_log;
  // Called with each data structure before the host gets it: identify, log pages, features.
  std::function<void(const nvme::SubmissionEntry& sqe, std::span<std::byte> data)> edit_data;

  // Completes an Asynchronous Event Request, now or when there is one. Masked notices are dropped.
  void PostEvent(uint32_t type, uint32_t information, uint8_t log_page);
  // With the event that tells of them.
  uint32_t AddNamespace(const ModelNamespace::Options& options);
  void RemoveNamespace(uint32_t nsid);
  void ResizeNamespace(uint32_t nsid, uint64_t blocks);
  void SetCriticalWarning(uint8_t warning);

  // --- What the test sees.

  // Null: there is none.
  ModelNamespace* FindNamespace(uint32_t nsid);
  const std::vector<std::string>& complaints() const { return complaints_; }
  void ForgetComplaints() { complaints_.clear(); }
  // Those made by a register access; writes to mapped memory are not counted.
  uint64_t doorbell_writes(uint16_t qid, bool completion_queue) const;
  uint64_t commands_fetched(uint16_t sqid) const { return fetched_[sqid]; }
  const SubmissionRing& sq(uint16_t qid) const { return sqs_[qid]; }
  const CompletionRing& cq(uint16_t qid) const { return cqs_[qid]; }
  uint64_t flushes() const { return flushes_; }
  size_t event_requests() const { return event_requests_.size(); }
  const Features& features() const { return features_; }
  bool shadow_doorbells() const { return shadow_ != nullptr; }
  uint32_t cc() const { return cc_; }
  uint32_t csts() const { return csts_; }

 private:
  // Registers: nvme_registers.cc.
  // The host's memory and the controller memory buffer, as addresses in commands mean them.
  class Reach final : public DmaSpace {
   public:
    explicit Reach(NvmeModel& model) : model_(model) {}
    std::byte* At(uint64_t iova, uint64_t bytes, bool write) override;

   private:
    NvmeModel& model_;
  };
  uint64_t Capabilities() const;
  uint64_t ReadOne(uint64_t offset);
  void WriteOne(uint64_t offset, uint32_t value);
  void WriteCc(uint32_t value);
  void WriteDoorbell(uint64_t offset, uint32_t value);
  void ResetDoorbell(uint16_t qid, bool completion_queue);
  void Enable();
  void ResetController();
  void Settle(bool step);
  bool Access();
  template <typename... Args>
  void Complain(const absl::FormatSpec<Args...>& format, const Args&... args) {
    Complain(absl::StrFormat(format, args...));
  }
  void Complain(std::string text);
  bool ready() const { return nvme::csts::kRdy.Get(csts_) != 0; }

  // Queues: nvme_queues.cc.
  size_t Fetch(uint16_t sqid);
  bool FetchOne(uint16_t sqid, Command& command);
  uint32_t Tail(uint16_t sqid);
  void TakeHead(uint16_t cqid);
  void SetEventIndex(uint16_t qid, bool completion_queue, uint32_t value);
  uint32_t ReadDoorbell(uint16_t qid, bool completion_queue);
  size_t DoorbellOffset(uint16_t qid, bool completion_queue) const;
  std::byte* doorbells() const { return bar_.address() + nvme::kDoorbells; }
  void Start(Command&& command);
  void Run(const Command& command);
  void Answer(const Command& command, const Outcome& outcome);
  void PostAnswer(uint16_t sqid, uint16_t cid, const Outcome& outcome);
  void PostEntry(uint16_t cqid, const nvme::CompletionEntry& entry);
  void PlaceEntry(CompletionRing& cq, nvme::CompletionEntry entry, bool right_phase);
  size_t DrainWaiting();
  void FindQueuesEnd();
  void RaiseInterrupts();
  void DropCommands(uint16_t sqid);
  Command TakeHeld(size_t n);
  void LogError(uint16_t sqid, uint16_t cid, uint16_t status);
  Outcome ExecuteFused(const Command& command);

  // Admin commands: nvme_admin.cc and the files beside it.
  Outcome ExecuteAdmin(const nvme::SubmissionEntry& sqe);
  Outcome CreateCq(const nvme::SubmissionEntry& sqe);
  Outcome CreateSq(const nvme::SubmissionEntry& sqe);
  Outcome DeleteQueue(const nvme::SubmissionEntry& sqe, bool completion_queue);
  Outcome Abort(const nvme::SubmissionEntry& sqe);
  Outcome AsyncEventRequest(const nvme::SubmissionEntry& sqe);
  Outcome Identify(const nvme::SubmissionEntry& sqe);
  Outcome SetFeatures(const nvme::SubmissionEntry& sqe);
  Outcome GetFeatures(const nvme::SubmissionEntry& sqe);
  Outcome GetLogPage(const nvme::SubmissionEntry& sqe);
  Outcome FormatNvm(const nvme::SubmissionEntry& sqe);
  Outcome NamespaceManagement(const nvme::SubmissionEntry& sqe);
  Outcome NamespaceAttachment(const nvme::SubmissionEntry& sqe);
  Outcome FirmwareDownload(const nvme::SubmissionEntry& sqe);
  Outcome FirmwareCommit(const nvme::SubmissionEntry& sqe);
  Outcome Sanitize(const nvme::SubmissionEntry& sqe);
  Outcome SecuritySend(const nvme::SubmissionEntry& sqe);
  Outcome SecurityReceive(const nvme::SubmissionEntry& sqe);
  Outcome DoorbellBufferConfig(const nvme::SubmissionEntry& sqe);
  nvme::IdentifyController DescribeController() const;
  std::array<std::byte, 4096> DescribeIdentifiers(const ModelNamespace& ns) const;
  std::vector<std::byte> LogPage(uint8_t id);  // Empty: there is no such page.
  Outcome SetHostMemory(const nvme::SubmissionEntry& sqe);
  void DeliverEvents();
  void NoteChangedNamespace(uint32_t nsid);
  // Ends a command, and complains of it.
  Outcome Refuse(uint16_t code, std::string_view why);
  Outcome Return(const nvme::SubmissionEntry& sqe, std::span<std::byte> data);
  Outcome Receive(const nvme::SubmissionEntry& sqe, std::span<std::byte> data);

  // I/O commands: nvme_io.cc, nvme_zone_commands.cc.
  Outcome ExecuteIo(const nvme::SubmissionEntry& sqe);
  Outcome CheckRange(ModelNamespace& ns, uint64_t lba, uint64_t count);
  Outcome Read(ModelNamespace& ns, const nvme::SubmissionEntry& sqe);
  Outcome Write(ModelNamespace& ns, const nvme::SubmissionEntry& sqe);
  Outcome Compare(ModelNamespace& ns, const nvme::SubmissionEntry& sqe);
  Outcome WriteZeroes(ModelNamespace& ns, const nvme::SubmissionEntry& sqe);
  Outcome WriteUncorrectable(ModelNamespace& ns, const nvme::SubmissionEntry& sqe);
  Outcome Verify(ModelNamespace& ns, const nvme::SubmissionEntry& sqe);
  Outcome DatasetManagement(ModelNamespace& ns, const nvme::SubmissionEntry& sqe);
  Outcome Copy(ModelNamespace& ns, const nvme::SubmissionEntry& sqe);
  Outcome Flush(const nvme::SubmissionEntry& sqe);
  Outcome Reservation(ModelNamespace& ns, const nvme::SubmissionEntry& sqe);
  Outcome ZoneManagementSend(ModelNamespace& ns, const nvme::SubmissionEntry& sqe);
  Outcome ZoneManagementReceive(ModelNamespace& ns, const nvme::SubmissionEntry& sqe);
  Outcome ZoneAppend(ModelNamespace& ns, const nvme::SubmissionEntry& sqe);
  Outcome CheckWrite(ModelNamespace& ns, uint64_t lba, uint64_t count);
  Outcome CheckProtectionFields(ModelNamespace& ns, const nvme::SubmissionEntry& sqe, uint64_t lba);
  Outcome CheckMedium(ModelNamespace& ns, const ProtectionCheck& check, uint64_t lba,
                      uint64_t count);
  Outcome MapBlocks(ModelNamespace& ns, const nvme::SubmissionEntry& sqe, uint64_t count,
                    bool device_writes);
  Outcome TakeBlocks(ModelNamespace& ns, const nvme::SubmissionEntry& sqe, uint64_t count);
  Outcome Put(ModelNamespace& ns, const nvme::SubmissionEntry& sqe, uint64_t* append);
  uint32_t page_bytes() const { return 4096u << nvme::cc::kMps.Get(cc_); }
  Transfer::Rules transfer_rules() const { return {page_bytes(), options_.sgls}; }

  const Options options_;
  DmaSpace& dma_;
  Reach reach_;
  SharedMemory bar_;
  std::unique_ptr<SharedMemory> cmb_;
  Faults faults_;

  // Registers.
  uint32_t cc_ = 0, csts_ = 0, aqa_ = 0, intms_ = 0;
  uint64_t asq_ = 0, acq_ = 0, cmbmsc_ = 0;
  uint32_t settle_steps_ = 0, settle_reads_ = 0;  // Until CSTS follows CC.
  bool settling_ = false;
  uint64_t accesses_ = 0, accesses_left_ = 0;
  bool gone_ = false;
  bool bus_master_ = true;

  std::vector<SubmissionRing> sqs_;  // By queue identifier; 0 is the admin queue.
  std::vector<CompletionRing> cqs_;
  uint16_t queues_end_ = 0;  // No queue from here on lives.
  std::vector<uint64_t> fetched_;
  std::vector<uint64_t> doorbell_writes_;  // By doorbell.
  std::byte* shadow_ = nullptr;            // Shadow doorbells and event indices, or null.
  std::byte* event_index_ = nullptr;
  uint64_t shadow_iova_ = 0, event_index_iova_ = 0;

  // Commands.
  Hold hold_ = Hold::kNothing;
  std::deque<Command> held_;
  struct Later {
    uint64_t due;
    Command command;
    bool operator<(const Later& other) const {  // The next one is the greatest.
      return due != other.due ? due > other.due : command.order > other.command.order;
    }
  };
  std::priority_queue<Later> later_;
  uint64_t now_ = 0, order_ = 0;
  uint16_t io_queues_allocated_ = 1;  // By Number of Queues, which comes first. Base §5.27.1.5.

  // Events.
  std::deque<uint16_t> event_requests_;  // Identifiers.
  std::deque<uint32_t> events_;          // Dword 0.
  uint8_t masked_event_types_ = 0;       // Until their log page is read.

  // What the controller is made of.
  std::map<uint32_t, std::unique_ptr<ModelNamespace>> namespaces_;
  std::map<uint32_t, Reservations> reservations_;
  Features features_;
  std::vector<uint32_t> changed_namespaces_;
  std::vector<nvme::ErrorLogEntry> errors_;
  uint64_t error_count_ = 0;
  nvme::HealthLog health_{};
  std::vector<std::byte> firmware_;
  std::string firmware_slots_[7] = {"1.0"};
  uint8_t firmware_active_ = 1, firmware_next_ = 0;
  std::vector<std::byte> security_;
  bool sanitized_ = false;
  uint32_t sanitize_cdw10_ = 0;
  std::vector<std::string> complaints_;

  uint64_t flushes_ = 0;

  // Of the command that is being executed; the memory is used again.
  uint32_t host_stride_ = 0, host_metadata_ = 0;  // A block as the host has it.
  Transfer data_, metadata_;
  std::vector<std::byte> staging_, metadata_staging_;
};

}  // namespace pollux::models
