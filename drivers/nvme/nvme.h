/*
 * The NVMe driver of Pollux: user space, polled, asynchronous, without locks, copies or allocation
 * on the I/O path. This is its only public header, for C11, and for C++ with a few inline classes
 * at its end. Section numbers are those of the NVM Express Base Specification 2.0c ("Base"), the
 * NVM Command Set Specification 1.0c ("NVM"), and the Zoned Namespace Command Set
 * Specification 1.1c
 * ("ZNS").
 *
 *   host         what this process brings: DMA-able memory, access to devices
 *   controller   one attached device; its namespaces; admin commands
 *   queue        one I/O queue pair; any number may be in use, each by one thread
 *   request      one command in flight; the caller embeds it in what waits for the answer
 *
 * THREADS. Everything of a host and its controllers is called by one thread at a time (the control
 * thread), except what takes a queue: that is called by the queue's owner alone, which may be
 * another thread and may change while nothing is in flight. Functions that say "any thread" may be
 * called by any. Callbacks run inside pollux_nvme_controller_poll() or pollux_nvme_queue_poll(),
 * on the thread that called it, never inside a submission.
 *
 * ERRORS. Functions return 0 (or a count) or a negative errno. On the control thread,
 * pollux_nvme_error_text() says in a sentence why the last one failed. Nothing is queued when a
 * submission fails: on_complete then never runs. Once a submission succeeded, on_complete runs
 * exactly once, whatever becomes of the device.
 *
 * MEMORY. Data, metadata and raw admin data lie in memory that the host knows: from
 * pollux_nvme_alloc(), or registered. Other memory is refused with -EFAULT before anything is
 * queued. It stays as it is until on_complete. PRP wants dword-aligned data (Base §4.1.1).
 *
 * Sizes ("bytes", "blocks"), times ("_ms", "_us", "_ns") and 0's-based values say so in their
 * names; everything else is counted from 1, also where the specification counts from 0.
 */
#ifndef POLLUX_DRIVERS_NVME_NVME_H_
#define POLLUX_DRIVERS_NVME_NVME_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
#define POLLUX_NVME_ZERO \
  {}
extern "C" {
#else
#define POLLUX_NVME_ZERO \
  { 0 }
#endif

struct pollux_nvme_host;
struct pollux_nvme_controller;
struct pollux_nvme_namespace;
struct pollux_nvme_queue;
struct pollux_nvme_request;

/* Of the last function that failed on this thread: a sentence, valid until the next one fails. */
const char* pollux_nvme_error_text(void);

/* ================================================================================ Status */

/* How a command ended. Base §3.3.3.2. */
struct pollux_nvme_completion {
  uint32_t dw0; /* Command specific. */
  uint32_t dw1; /* The same; the zone append result is dw0 | dw1 << 32 (ZNS §3.4.1). */
  /* Status field without the phase tag: SC 7:0, SCT 10:8, CRD 12:11, M 13, DNR 14. */
  uint16_t status;
};

/* Made by the driver itself, as the specification provides (Base figure 99). */
enum {
  /* The controller is gone or has failed for good: nothing will be answered any more. */
  POLLUX_NVME_HOST_PATHING_ERROR = 0x370,
  /* A reset, a timeout or an abort ended the command. It may or may not have been executed. */
  POLLUX_NVME_ABORTED_BY_HOST = 0x371,
};

static inline bool pollux_nvme_ok(struct pollux_nvme_completion completion) {
  return (completion.status & 0x7ff) == 0;
}
/* SCT << 8 | SC: 0x281 is an unrecovered read error. */
static inline uint16_t pollux_nvme_code(struct pollux_nvme_completion completion) {
  return completion.status & 0x7ff;
}
/* The same command would fail again (DNR). */
static inline bool pollux_nvme_do_not_retry(struct pollux_nvme_completion completion) {
  return (completion.status & 0x4000) != 0;
}
/* "Unrecovered Read Error (281h), do not retry". Any thread; returns `into`. */
const char* pollux_nvme_status_text(uint16_t status, char* into, size_t bytes);

/* ================================================================================ Host */

enum pollux_nvme_hugepages {
  POLLUX_NVME_HUGEPAGES_AUTO = 0, /* When there are enough, and always without an IOMMU. */
  POLLUX_NVME_HUGEPAGES_ON,
  POLLUX_NVME_HUGEPAGES_OFF,
};

/* Zero is every member's default. */
struct pollux_nvme_host_options {
  size_t memory_bytes; /* DMA-able memory for queues and pollux_nvme_alloc(). 0: 64 MiB. */
  enum pollux_nvme_hugepages hugepages;
  /* Drive PCI devices without an IOMMU: the device can then write anywhere in this machine. */
  bool allow_no_iommu;
  /* Called for every message, on the control thread. Null: warnings and errors go to stderr. */
  void (*log)(void* context, int priority /* as syslog's */, const char* text);
  void* log_context;
};

/* One per process is enough. `options` may be null. Errors: -ENOMEM. */
int pollux_nvme_host_create(const struct pollux_nvme_host_options* options,
                            struct pollux_nvme_host** host);
/* All controllers are detached, all queues returned. */
void pollux_nvme_host_destroy(struct pollux_nvme_host* host);

/* DMA-able memory, zeroed, aligned to `alignment` (a power of two, at least 64; 4096 suits data).
 * Null when there is none left. Control thread. */
void* pollux_nvme_alloc(struct pollux_nvme_host* host, size_t bytes, size_t alignment);
void pollux_nvme_free(struct pollux_nvme_host* host, void* memory); /* Null does nothing. */

/* Makes memory of the caller's DMA-able, for all controllers, now and later. Whole pages. vfio-user
 * needs a file behind it: `fd` (borrowed) at `fd_offset`, shared; -1 suits PCIe with an IOMMU.
 * Errors: -EEXIST it overlaps; -EINVAL; -ENOMEM a locked-memory limit, see the text. */
int pollux_nvme_register_memory(struct pollux_nvme_host* host, void* memory, size_t bytes, int fd,
                                uint64_t fd_offset);
/* No request uses it any more. -ENOENT: `memory` was not registered. */
int pollux_nvme_unregister_memory(struct pollux_nvme_host* host, void* memory);

/* ================================================================================ Finding */

enum pollux_nvme_transport {
  POLLUX_NVME_TRANSPORT_PCIE = 1,
  POLLUX_NVME_TRANSPORT_VFIOUSER,
  POLLUX_NVME_TRANSPORT_TCP,
};
enum pollux_nvme_address_family {
  POLLUX_NVME_ADRFAM_ANY = 0, /* As the address is written. */
  POLLUX_NVME_ADRFAM_IPV4,
  POLLUX_NVME_ADRFAM_IPV6,
};

/* Where a controller is. */
struct pollux_nvme_transport_id {
  enum pollux_nvme_transport trtype;
  /* PCIe: "0000:01:00.0". vfio-user: the directory that holds the socket `cntrl`, or the socket.
   * TCP: a numeric IPv4 or IPv6 address; names are not looked up. */
  char traddr[256];
  /* TCP only. */
  enum pollux_nvme_address_family adrfam;
  char trsvcid[32]; /* The port. "": 4420, of the discovery subsystem 8009. */
  char subnqn[224]; /* "": the discovery subsystem, nqn.2014-08.org.nvmexpress.discovery. */
};

/* From "trtype:PCIe traddr:0000:01:00.0", "trtype:TCP adrfam:IPv4 traddr:10.0.0.1 trsvcid:4420
 * subnqn:nqn.2024-01.io.example:disks", or a bare PCI address, or a path. -EINVAL. Any thread. */
int pollux_nvme_transport_id_parse(const char* text, struct pollux_nvme_transport_id* id);

/* What the PCI bus tells of a controller. */
struct pollux_nvme_probe_info {
  struct pollux_nvme_transport_id id;
  uint16_t vendor, device, subsystem_vendor, subsystem_device;
  int numa_node;   /* -1: unknown. */
  char driver[32]; /* "vfio-pci", "nvme", or "" for none. */
};

/* Calls back for each NVMe controller (class 01 08 02) of the PCI bus, whatever driver it has,
 * until one call returns false. Returns how many calls were made, or an error. */
int pollux_nvme_probe(struct pollux_nvme_host* host,
                      bool (*found)(void* context, const struct pollux_nvme_probe_info* info),
                      void* context);

/* ================================================================================ Attaching */

/* What a controller tells on its own. */
enum pollux_nvme_event_type {
  POLLUX_NVME_EVENT_NAMESPACE_ADDED = 1,   /* nsid. Also for each one found while attaching. */
  POLLUX_NVME_EVENT_NAMESPACE_REMOVED,     /* nsid. Its handle stays valid until detach. */
  POLLUX_NVME_EVENT_NAMESPACE_RESIZED,     /* nsid. */
  POLLUX_NVME_EVENT_NAMESPACE_ANA_CHANGED, /* Read the ANA log page. */
  POLLUX_NVME_EVENT_HEALTH,                /* value: the critical warning byte, Base figure 207. */
  POLLUX_NVME_EVENT_ERROR,                 /* value: the event's information, Base figure 146. */
  POLLUX_NVME_EVENT_FIRMWARE_ACTIVATION,   /* Processing pauses; Base §3.11. */
  POLLUX_NVME_EVENT_SANITIZE,              /* value: the event's information. */
  POLLUX_NVME_EVENT_ZONES_CHANGED,         /* nsid. Read the changed zone list. */
  POLLUX_NVME_EVENT_OTHER,                 /* value: dword 0 of the event's completion. */
  POLLUX_NVME_EVENT_TIMEOUT,               /* A command timed out; value: queue << 16 | CID. */
  POLLUX_NVME_EVENT_STATE,                 /* value: enum pollux_nvme_state. */
  POLLUX_NVME_EVENT_DISCOVERY_CHANGED,     /* Read the discovery log page. */
};

struct pollux_nvme_event {
  enum pollux_nvme_event_type type;
  uint32_t nsid;
  uint32_t value;
  const char* text; /* A sentence, valid during the call. Never null. */
};

enum pollux_nvme_timeout_action {
  POLLUX_NVME_ON_TIMEOUT_NOTHING = 0, /* Only the event. */
  POLLUX_NVME_ON_TIMEOUT_ABORT,       /* Abort it; reset if that does not help in the same time. */
  POLLUX_NVME_ON_TIMEOUT_RESET,
};

/* Zero is every member's default. */
struct pollux_nvme_attach_options {
  uint16_t io_queues;         /* How many to ask for. 0: one per CPU. The device may grant fewer. */
  uint16_t io_queue_depth;    /* Entries, 2 to 65535. 0: 256. The device's MQES bounds it. */
  uint16_t admin_queue_depth; /* Entries, 4 to 4096. 0: 32. */
  uint32_t admin_timeout_ms;  /* An admin command that takes longer resets. 0: 60000. */
  uint32_t io_timeout_ms;     /* 0: I/O never times out. */
  enum pollux_nvme_timeout_action on_io_timeout;
  /* Rounded up to the device's granularity. 0: none; TCP: 10000. UINT32_MAX: none. A controller
   * that leaves one unanswered for so long is reset. Base §3.9. */
  uint32_t keep_alive_ms;
  uint32_t reset_attempts_max; /* In a row, with back-off, before it has failed. 0: 5. */
  bool interrupts;             /* Event descriptors: pollux_nvme_queue_event_fd(). */
  bool no_shadow_doorbells;    /* Do not use Doorbell Buffer Config. Base §5.8, annex B.5. */
  bool no_sgl;                 /* PRP only. */
  bool no_host_memory_buffer;
  bool submission_queues_in_cmb; /* Where the controller memory buffer allows it. Base §8.5. */
  uint64_t host_memory_buffer_bytes_max; /* 0: 64 MiB. A device that needs more gets none. */
  uint8_t arbitration_burst;             /* Log2, 7: no limit. Base §5.27.1.1. */
  bool weighted_round_robin;             /* Arbitration, where the device can. */
  uint8_t high_priority_weight, medium_priority_weight, low_priority_weight; /* 0's based. */
  char host_nqn[224];                                                        /* "": none. */
  /* 128-bit host identifier, for reservations. All zero: none; TCP: one that the host made up, and
   * the name that goes with it where host_nqn is "". */
  uint8_t host_id[16];
  /* TCP only. See "Over TCP" below. */
  bool header_digest, data_digest; /* CRC32C. A target that does not agree is not attached. */
  bool no_sq_flow_control;
  char host_traddr[64], host_trsvcid[32]; /* From where to connect. "": any. */
  uint32_t connect_timeout_ms;            /* Of each connection, Connect included. 0: 5000. */
  uint32_t reconnect_delay_ms;            /* Between attempts. 0: 1000. */
  uint32_t
      loss_timeout_ms; /* Lost so long, it is GONE. 0: as reset_attempts_max; UINT32_MAX: never. */
  uint32_t
      fast_io_fail_ms; /* Lost so long, submissions get -ENXIO. 0: never before GONE or FAILED. */
  /* Called inside pollux_nvme_controller_poll(). May be null. */
  void (*on_event)(void* context, struct pollux_nvme_controller* controller,
                   const struct pollux_nvme_event* event);
  void* context;
};

enum pollux_nvme_state {
  POLLUX_NVME_STATE_ATTACHING = 1,
  POLLUX_NVME_STATE_READY,
  POLLUX_NVME_STATE_RESETTING, /* Submissions are refused with -EAGAIN until it ends. */
  POLLUX_NVME_STATE_DISABLED,  /* By pollux_nvme_disable(). */
  POLLUX_NVME_STATE_FAILED,    /* Resets did not help. A reset may still be asked for. */
  POLLUX_NVME_STATE_GONE,      /* Unplugged, or its peer died. Only detach is left. */
  POLLUX_NVME_STATE_DETACHING,
  POLLUX_NVME_STATE_DETACHED,
};

/* Over TCP. All queues are connections, and end together: when one of them fails, or the target
 * breaks the protocol, or a keep alive is not answered in time, the controller is reset. Commands
 * that were in flight end with ABORTED_BY_HOST within a second, whatever becomes of the target. It
 * is then connected to anew, as often as the options say.
 *
 * A command that ended so may have been executed, or not, and, if the target could not be told,
 * may still be for a while. pollux_nvme_settled() is true once no such command is left: the old
 * controller confirmed that it is disabled, or its keep alive time-out has passed since it last
 * could have heard of us, after which it has ended the association (Base §3.9, §9.6). A controller
 * that lost a command that changes something is not READY before that, so that who sends it again
 * need not think of it; who has another path waits for it, or an old write may overwrite a newer
 * one. Without keep alive nothing is known, and nothing is waited for.
 */

/* Begins to attach, and returns without waiting for the device. Poll the controller until its state
 * is no longer ATTACHING: READY, or FAILED or GONE with pollux_nvme_failure(). Either way it ends
 * with a detach. `options` may be null. Errors: -ENODEV; -EBUSY another driver has the device;
 * -EACCES; -ENOTSUP; -EINVAL. */
int pollux_nvme_attach_begin(struct pollux_nvme_host* host,
                             const struct pollux_nvme_transport_id* id,
                             const struct pollux_nvme_attach_options* options,
                             struct pollux_nvme_controller** controller);
/* The same, and waits. On error there is nothing to detach. */
int pollux_nvme_attach(struct pollux_nvme_host* host, const struct pollux_nvme_transport_id* id,
                       const struct pollux_nvme_attach_options* options,
                       struct pollux_nvme_controller** controller);

/* Begins the shutdown (Base §3.6): all queues have been returned. Poll until DETACHED, then
 * pollux_nvme_release() frees the controller. */
int pollux_nvme_detach_begin(struct pollux_nvme_controller* controller);
void pollux_nvme_release(struct pollux_nvme_controller* controller);
/* All three, waiting for at most RTD3E or ten seconds. */
void pollux_nvme_detach(struct pollux_nvme_controller* controller);

/* Does what there is to do: admin completions, events, time-outs, resets, keep-alive. Call it often
 * while the state is not READY, or admin requests are in flight; else when its event descriptor is
 * readable, and once in 100 ms. Returns how much was done. Never waits. */
int pollux_nvme_controller_poll(struct pollux_nvme_controller* controller);
/* Readable when the controller wants to be polled before that; -1: there is none. */
int pollux_nvme_controller_event_fd(struct pollux_nvme_controller* controller);

enum pollux_nvme_state pollux_nvme_state(const struct pollux_nvme_controller* controller);
const char* pollux_nvme_state_name(enum pollux_nvme_state state); /* "ready" */
/* Why it is FAILED or GONE, or why the last reset was made: a negative errno, and a sentence. */
int pollux_nvme_failure(const struct pollux_nvme_controller* controller, const char** text);

/* Whether commands that ended with ABORTED_BY_HOST or HOST_PATHING_ERROR cannot be executed any
 * more. Over PCIe always. Control thread. */
bool pollux_nvme_settled(const struct pollux_nvme_controller* controller);

/* Begins a reset: every command in flight ends with ABORTED_BY_HOST, on its queue's thread, which
 * must go on polling; then the device starts anew with the same queues. Base §3.7.2. */
int pollux_nvme_reset(struct pollux_nvme_controller* controller);
/* Ends all commands as a reset does, and leaves the device disabled. pollux_nvme_enable() goes on.
 */
int pollux_nvme_disable(struct pollux_nvme_controller* controller);
int pollux_nvme_enable(struct pollux_nvme_controller* controller);

/* ================================================================================ Describing */

/* Of Identify Controller (CNS 01h), in our units. Base figure 275. */
struct pollux_nvme_controller_info {
  struct pollux_nvme_transport_id id;
  uint16_t vendor, subsystem_vendor, cntlid;
  char serial_number[21], model_number[41], firmware_revision[9]; /* Without trailing blanks. */
  char subnqn[257];
  uint32_t version; /* As VS: major << 16 | minor << 8 | tertiary. */
  uint16_t oacs, oncs;
  uint32_t sgls, oaes, ctratt;
  uint8_t cmic, anacap, vwc, fna, frmw, npss;
  uint32_t namespaces_max;
  uint64_t transfer_bytes_max; /* Of one command: MDTS, and what the driver's lists hold. */
  uint16_t io_queues, io_queue_depth;
  uint32_t interrupt_vectors;
  int numa_node;
  bool shadow_doorbells, sgl, host_memory_buffer, submission_queues_in_cmb;
};
/* Valid from READY until release; changes only by a reset. Control thread. */
const struct pollux_nvme_controller_info* pollux_nvme_get_controller_info(
    const struct pollux_nvme_controller* controller);
/* The 4096 bytes of Identify Controller. */
const void* pollux_nvme_identify_controller(const struct pollux_nvme_controller* controller);

enum { POLLUX_NVME_CSI_NVM = 0, POLLUX_NVME_CSI_ZONED = 2 };

/* Of Identify Namespace, in our units. NVM figure 97. */
struct pollux_nvme_namespace_info {
  uint32_t nsid;
  uint8_t csi;          /* POLLUX_NVME_CSI_... */
  uint64_t blocks;      /* NSZE. */
  uint32_t block_bytes; /* Data of one block, without metadata. A power of two, 512 at least. */
  uint32_t metadata_bytes;
  bool metadata_extended;      /* Interleaved: a block takes block_bytes + metadata_bytes. */
  uint8_t protection_type;     /* 0: none, 1 to 3. NVM §5.2. */
  bool protection_first_bytes; /* Protection information is at the start of the metadata. */
  bool read_only, volatile_cache, shareable;
  bool compare, write_zeroes, dsm, verify, copy, write_uncorrectable, reservations;
  bool deallocated_reads_zero; /* DLFEAT. */
  uint32_t transfer_blocks_max;
  /* Of commands that move none. 0: no limit but the command's own. NVM figure 102. */
  uint32_t write_zeroes_blocks_max, verify_blocks_max, write_uncorrectable_blocks_max;
  uint64_t deallocate_blocks_max;                   /* In all ranges of a command. DMSL. */
  uint32_t deallocate_range_blocks_max;             /* DMRSL. */
  uint16_t deallocate_ranges_max;                   /* DMRL. */
  uint32_t optimal_boundary_blocks;                 /* NOIOB. 0: none. */
  uint32_t preferred_write_granularity_blocks;      /* NPWG. 0: none. */
  uint32_t preferred_write_alignment_blocks;        /* NPWA. */
  uint32_t preferred_deallocate_granularity_blocks; /* NPDG. */
  uint32_t preferred_deallocate_alignment_blocks;   /* NPDA. */
  uint32_t optimal_write_blocks;                    /* NOWS. */
  uint32_t atomic_write_blocks, atomic_write_power_fail_blocks, atomic_compare_write_blocks;
  uint32_t copy_range_blocks_max, copy_blocks_max; /* MSSRL, MCL. */
  uint16_t copy_ranges_max;                        /* MSRC. */
  uint8_t nguid[16], eui64[8], uuid[16];           /* All zero: none. */
  uint32_t ana_group;
  uint64_t zone_blocks;                      /* Zoned: ZSZE. 0: not zoned. */
  uint32_t open_zones_max, active_zones_max; /* 0: no limit. */
  uint64_t zone_append_bytes_max;
};

/* The active namespace with this number, or null. Valid until the controller is released. */
struct pollux_nvme_namespace* pollux_nvme_namespace_find(struct pollux_nvme_controller* controller,
                                                         uint32_t nsid);
/* The active namespace with the lowest number above `nsid`, or null: begin with 0. */
struct pollux_nvme_namespace* pollux_nvme_namespace_next(struct pollux_nvme_controller* controller,
                                                         uint32_t nsid);
/* Control thread, or a copy. */
const struct pollux_nvme_namespace_info* pollux_nvme_get_namespace_info(
    const struct pollux_nvme_namespace* ns);
/* The 4096 bytes of Identify Namespace (CNS 00h). */
const void* pollux_nvme_identify_namespace(const struct pollux_nvme_namespace* ns);
/* Whether it is active: not removed since. Any thread. */
bool pollux_nvme_namespace_active(const struct pollux_nvme_namespace* ns);

/* ================================================================================ Requests */

/* One command in flight. Embed it in the object that waits for the answer; it must live, unmoved,
 * until on_complete ran: once, on the thread that polls. It may then be used again, also inside
 * on_complete. */
struct pollux_nvme_request {
  void (*on_complete)(struct pollux_nvme_request* request,
                      struct pollux_nvme_completion completion);
  uint64_t reserved[7]; /* The driver's own, so that it never allocates. Zero it once. */
};

/* A command as it lies in the submission queue. Base figure 87. Data pointer and CID are filled in
 * by the driver. */
struct pollux_nvme_command {
  uint8_t opc;
  uint8_t fuse; /* Bits 1:0; the rest is the driver's. */
  uint16_t cid;
  uint32_t nsid;
  uint32_t cdw2, cdw3;
  uint64_t mptr;
  uint64_t dptr[2];
  uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};

/* ================================================================================ Queues */

/* Takes an I/O queue pair that nobody uses; it has existed since the device was attached. `index`
 * is 0 to info.io_queues - 1, or -1 for any. Control thread. Errors: -EBUSY; -ENOSPC. */
int pollux_nvme_queue_take(struct pollux_nvme_controller* controller, int index,
                           struct pollux_nvme_queue** queue);
/* Nothing is in flight, and its thread does not touch it any more. Control thread. */
void pollux_nvme_queue_return(struct pollux_nvme_queue* queue);

/* How many more requests could be submitted now. Depth - 1 when nothing is in flight. */
uint32_t pollux_nvme_queue_room(const struct pollux_nvme_queue* queue);
uint32_t pollux_nvme_queue_in_flight(const struct pollux_nvme_queue* queue);
uint16_t pollux_nvme_queue_id(const struct pollux_nvme_queue* queue); /* As the device knows it. */

/* Submissions are announced to the device together: by this call, or by the next poll. */
void pollux_nvme_queue_ring(struct pollux_nvme_queue* queue);

/* Completes at most `completions_max` requests (0: as many as there are now) and rings for what
 * they submitted. Returns how many. Also takes part in resets: the owner of a queue polls it even
 * when nothing is in flight, at least when the event descriptor is readable or once in 100 ms. */
int pollux_nvme_queue_poll(struct pollux_nvme_queue* queue, int completions_max);

/* Readable when the queue wants to be polled: for whoever sleeps. PCIe: -1 unless the controller
 * was attached with `interrupts` and has a vector for it. TCP: always there. */
int pollux_nvme_queue_event_fd(struct pollux_nvme_queue* queue);
/* Before sleeping on the descriptor: clears it and looks once more. False: poll instead. */
bool pollux_nvme_queue_prepare_sleep(struct pollux_nvme_queue* queue);

/* Looks for requests that have been in flight longer than io_timeout_ms and has them dealt with.
 * `now_ns` is any monotonic clock's. Call it some times per timeout; it costs nothing per request.
 */
void pollux_nvme_queue_check_timeouts(struct pollux_nvme_queue* queue, uint64_t now_ns);

/* Counted by the queue's owner; any thread may read. */
struct pollux_nvme_queue_statistics {
  uint64_t submitted, completed, failed;
  uint64_t doorbells; /* Writes to the device, both ways. */
  uint64_t polls, idle_polls;
  uint64_t stray_completions; /* For an identifier that was not in flight. */
  uint64_t timeouts;
};
void pollux_nvme_get_queue_statistics(const struct pollux_nvme_queue* queue,
                                      struct pollux_nvme_queue_statistics* into);

/* ================================================================================ I/O commands
 *
 * Errors of all of them, with nothing queued:
 *   -EAGAIN  the queue is full, or a reset is under way: try again after a completion, or a poll
 *   -ENXIO   the controller is gone or has failed, or the namespace is not active
 *   -EINVAL  beyond the end, no blocks, a wrong length
 *   -E2BIG   more than transfer_blocks_max, or more pieces than the driver's lists hold
 *   -EFAULT  memory that the host does not know, or that cannot be told to the device: data or
 *            metadata that does not begin at a dword; metadata that is not one piece for the
 * device; and, without SGL, pieces of data whose inner borders are not page borders. (With SGL,
 *            pieces of any length at any byte, in dwords where info.sgls bits 1:0 are 10b.)
 *   -ENOTSUP the controller does not have the command
 */

enum {
  POLLUX_NVME_FUA = 1 << 0,           /* Force Unit Access. */
  POLLUX_NVME_LIMITED_RETRY = 1 << 1, /* LR. */
  POLLUX_NVME_DEALLOCATE = 1 << 2,    /* Write zeroes: DEAC. */
  POLLUX_NVME_PRACT = 1 << 3,         /* The controller inserts or strips protection. */
  POLLUX_NVME_CHECK_GUARD = 1 << 4,   /* PRCHK, NVM figure 69. */
  POLLUX_NVME_CHECK_APPTAG = 1 << 5,
  POLLUX_NVME_CHECK_REFTAG = 1 << 6,
  /* Compare, and refused unless there is room for two. The very next submission of the queue must
   * be the second, a write; any other gets -EINVAL. Both are announced together. Base §3.4.2. */
  POLLUX_NVME_FUSED_FIRST = 1 << 7,
  POLLUX_NVME_FUSED_SECOND = 1 << 8,
};

/* What a read, write, compare, zone append, write zeroes or verify is about. */
struct pollux_nvme_io {
  uint64_t lba;    /* Zone append: the zone's first. */
  uint32_t blocks; /* 1 to transfer_blocks_max; write zeroes and verify: to 65536. */
  uint32_t flags;  /* POLLUX_NVME_... */
  /* Together exactly `blocks` blocks. The array may go when the call returns, the data not. Null
   * for write zeroes and verify. */
  const struct iovec* data;
  uint32_t data_count;
  void* metadata; /* blocks * metadata_bytes where it is separate; else null. */
  uint32_t reference_tag;
  uint16_t application_tag, application_tag_mask;
};

int pollux_nvme_readv(struct pollux_nvme_queue* queue, const struct pollux_nvme_namespace* ns,
                      struct pollux_nvme_request* request, const struct pollux_nvme_io* io);
int pollux_nvme_writev(struct pollux_nvme_queue* queue, const struct pollux_nvme_namespace* ns,
                       struct pollux_nvme_request* request, const struct pollux_nvme_io* io);
/* Ends with 0x285, Compare Failure, when the data differs. NVM §3.2.1. */
int pollux_nvme_comparev(struct pollux_nvme_queue* queue, const struct pollux_nvme_namespace* ns,
                         struct pollux_nvme_request* request, const struct pollux_nvme_io* io);
int pollux_nvme_write_zeroes(struct pollux_nvme_queue* queue,
                             const struct pollux_nvme_namespace* ns,
                             struct pollux_nvme_request* request, const struct pollux_nvme_io* io);
int pollux_nvme_verify(struct pollux_nvme_queue* queue, const struct pollux_nvme_namespace* ns,
                       struct pollux_nvme_request* request, const struct pollux_nvme_io* io);
int pollux_nvme_write_uncorrectable(struct pollux_nvme_queue* queue,
                                    const struct pollux_nvme_namespace* ns,
                                    struct pollux_nvme_request* request, uint64_t lba,
                                    uint32_t blocks);
int pollux_nvme_flush(struct pollux_nvme_queue* queue, const struct pollux_nvme_namespace* ns,
                      struct pollux_nvme_request* request);

/* The common case, and the quickest: one piece of memory, no metadata, no flags. */
int pollux_nvme_read(struct pollux_nvme_queue* queue, const struct pollux_nvme_namespace* ns,
                     struct pollux_nvme_request* request, void* data, size_t bytes, uint64_t lba,
                     uint32_t blocks);
int pollux_nvme_write(struct pollux_nvme_queue* queue, const struct pollux_nvme_namespace* ns,
                      struct pollux_nvme_request* request, const void* data, size_t bytes,
                      uint64_t lba, uint32_t blocks);

/* Dataset management (NVM §3.2.3): tells that these blocks are not needed any more. The ranges are
 * copied. */
struct pollux_nvme_range {
  uint64_t lba;
  uint32_t blocks;
};
enum { POLLUX_NVME_RANGES_MAX = 256 };
int pollux_nvme_deallocate(struct pollux_nvme_queue* queue, const struct pollux_nvme_namespace* ns,
                           struct pollux_nvme_request* request,
                           const struct pollux_nvme_range* ranges, uint32_t count);
/* Copy (NVM §3.2.2), descriptor format 0, within one namespace, in order. The ranges are copied. */
int pollux_nvme_copy(struct pollux_nvme_queue* queue, const struct pollux_nvme_namespace* ns,
                     struct pollux_nvme_request* request, uint64_t to_lba,
                     const struct pollux_nvme_range* ranges, uint32_t count, uint32_t flags);

/* Reservations. Base §7.4. The keys are copied; `report` is DMA-able memory, its length a multiple
 * of 4. */
enum pollux_nvme_reservation_type {
  POLLUX_NVME_WRITE_EXCLUSIVE = 1,
  POLLUX_NVME_EXCLUSIVE_ACCESS,
  POLLUX_NVME_WRITE_EXCLUSIVE_REGISTRANTS_ONLY,
  POLLUX_NVME_EXCLUSIVE_ACCESS_REGISTRANTS_ONLY,
  POLLUX_NVME_WRITE_EXCLUSIVE_ALL_REGISTRANTS,
  POLLUX_NVME_EXCLUSIVE_ACCESS_ALL_REGISTRANTS,
};
struct pollux_nvme_reservation_keys {
  uint64_t current_key, new_key; /* Acquire: new_key is the one to preempt. */
};
/* action 0 register, 1 unregister, 2 replace; cptpl 0 no change, 2 clear, 3 set. */
int pollux_nvme_reservation_register(struct pollux_nvme_queue* queue,
                                     const struct pollux_nvme_namespace* ns,
                                     struct pollux_nvme_request* request,
                                     const struct pollux_nvme_reservation_keys* keys,
                                     uint8_t action, bool ignore_existing_key, uint8_t cptpl);
/* action 0 acquire, 1 preempt, 2 preempt and abort. */
int pollux_nvme_reservation_acquire(struct pollux_nvme_queue* queue,
                                    const struct pollux_nvme_namespace* ns,
                                    struct pollux_nvme_request* request,
                                    const struct pollux_nvme_reservation_keys* keys, uint8_t action,
                                    enum pollux_nvme_reservation_type type,
                                    bool ignore_existing_key);
/* action 0 release, 1 clear. */
int pollux_nvme_reservation_release(struct pollux_nvme_queue* queue,
                                    const struct pollux_nvme_namespace* ns,
                                    struct pollux_nvme_request* request,
                                    const struct pollux_nvme_reservation_keys* key, uint8_t action,
                                    enum pollux_nvme_reservation_type type,
                                    bool ignore_existing_key);
int pollux_nvme_reservation_report(struct pollux_nvme_queue* queue,
                                   const struct pollux_nvme_namespace* ns,
                                   struct pollux_nvme_request* request, void* report, size_t bytes,
                                   bool extended);

/* Zones. ZNS §3.4. */
enum pollux_nvme_zone_action {
  POLLUX_NVME_ZONE_CLOSE = 1,
  POLLUX_NVME_ZONE_FINISH = 2,
  POLLUX_NVME_ZONE_OPEN = 3,
  POLLUX_NVME_ZONE_RESET = 4,
  POLLUX_NVME_ZONE_OFFLINE = 5,
};
int pollux_nvme_zone_send(struct pollux_nvme_queue* queue, const struct pollux_nvme_namespace* ns,
                          struct pollux_nvme_request* request, uint64_t zone_lba,
                          enum pollux_nvme_zone_action action, bool all_zones);
/* The zones from `zone_lba` on, as a report (ZNS figure 35) into DMA-able memory. `state` 0: all.
 */
int pollux_nvme_zone_report(struct pollux_nvme_queue* queue, const struct pollux_nvme_namespace* ns,
                            struct pollux_nvme_request* request, uint64_t zone_lba, uint8_t state,
                            bool partial, void* report, size_t bytes);
/* io->lba is the zone's first; where the data came to lie is in the completion's dw0 and dw1. */
int pollux_nvme_zone_append(struct pollux_nvme_queue* queue, const struct pollux_nvme_namespace* ns,
                            struct pollux_nvme_request* request, const struct pollux_nvme_io* io);

/* Any command, with its data in memory that the host knows (null: none). `command->nsid` counts. */
int pollux_nvme_io_command(struct pollux_nvme_queue* queue, struct pollux_nvme_request* request,
                           const struct pollux_nvme_command* command, const struct iovec* data,
                           uint32_t data_count, void* metadata, size_t metadata_bytes);

/* Asks the device to abort a request of this queue (Base §5.1): best effort; on_complete tells. The
 * queue's thread. -ENOENT: it is not in flight. -EAGAIN: another abort of this queue is under way.
 */
int pollux_nvme_abort(struct pollux_nvme_queue* queue, struct pollux_nvme_request* request);

/* ================================================================================ Admin commands
 *
 * Control thread. on_complete runs inside pollux_nvme_controller_poll(). Errors as for I/O.
 */

/* Any admin command that is not the driver's own business (queues, events, keep-alive: -EPERM).
 * Data in memory that the host knows (null: none). */
int pollux_nvme_admin(struct pollux_nvme_controller* controller,
                      struct pollux_nvme_request* request,
                      const struct pollux_nvme_command* command, void* data, size_t bytes);
/* The same, waits for the end, and takes any memory: at most 1 MiB is copied to and from. Returns 0
 * when the command was answered, with `completion`; -ETIMEDOUT and the like when not. */
int pollux_nvme_admin_wait(struct pollux_nvme_controller* controller,
                           const struct pollux_nvme_command* command, void* data, size_t bytes,
                           struct pollux_nvme_completion* completion);

/* Commands to hand to either. No function of these talks to a device. */

static inline struct pollux_nvme_command pollux_nvme_make_identify(uint8_t cns, uint32_t nsid,
                                                                   uint16_t cntid, uint8_t csi) {
  struct pollux_nvme_command command = POLLUX_NVME_ZERO;
  command.opc = 0x06; /* Base §5.17. Data: 4096 bytes. */
  command.nsid = nsid;
  command.cdw10 = cns | (uint32_t)cntid << 16;
  command.cdw11 = (uint32_t)csi << 24;
  return command;
}
/* `bytes` and `offset`: multiples of 4. `lsp`: log specific field. */
static inline struct pollux_nvme_command pollux_nvme_make_get_log_page(uint8_t lid, uint32_t nsid,
                                                                       size_t bytes,
                                                                       uint64_t offset, uint8_t lsp,
                                                                       bool retain_event) {
  struct pollux_nvme_command command = POLLUX_NVME_ZERO;
  const uint32_t numd = (uint32_t)(bytes / 4 - 1);
  command.opc = 0x02; /* Base §5.16. */
  command.nsid = nsid;
  command.cdw10 =
      lid | (uint32_t)(lsp & 0x7f) << 8 | (retain_event ? 1u << 15 : 0) | (numd & 0xffff) << 16;
  command.cdw11 = numd >> 16;
  command.cdw12 = (uint32_t)offset;
  command.cdw13 = (uint32_t)(offset >> 32);
  return command;
}
/* `select`: 0 current, 1 default, 2 saved, 3 capabilities. */
static inline struct pollux_nvme_command pollux_nvme_make_get_features(uint8_t fid, uint8_t select,
                                                                       uint32_t nsid,
                                                                       uint32_t cdw11) {
  struct pollux_nvme_command command = POLLUX_NVME_ZERO;
  command.opc = 0x0a; /* Base §5.15. */
  command.nsid = nsid;
  command.cdw10 = fid | (uint32_t)(select & 7) << 8;
  command.cdw11 = cdw11;
  return command;
}
static inline struct pollux_nvme_command pollux_nvme_make_set_features(uint8_t fid, bool save,
                                                                       uint32_t nsid,
                                                                       uint32_t cdw11,
                                                                       uint32_t cdw12) {
  struct pollux_nvme_command command = POLLUX_NVME_ZERO;
  command.opc = 0x09; /* Base §5.27. */
  command.nsid = nsid;
  command.cdw10 = fid | (save ? 1u << 31 : 0);
  command.cdw11 = cdw11;
  command.cdw12 = cdw12;
  return command;
}
/* `erase`: 0 none, 1 user data, 2 cryptographic. `protection`: PI type, `protection_first`: PIL. */
static inline struct pollux_nvme_command pollux_nvme_make_format(uint32_t nsid, uint8_t lba_format,
                                                                 bool metadata_extended,
                                                                 uint8_t protection,
                                                                 bool protection_first,
                                                                 uint8_t erase) {
  struct pollux_nvme_command command = POLLUX_NVME_ZERO;
  command.opc = 0x80; /* Base §5.14. */
  command.nsid = nsid;
  command.cdw10 = (lba_format & 0xfu) | (metadata_extended ? 1u << 4 : 0) |
                  (uint32_t)(protection & 7) << 5 | (protection_first ? 1u << 8 : 0) |
                  (uint32_t)(erase & 7) << 9 | (uint32_t)((lba_format >> 4) & 3) << 12;
  return command;
}
/* Data: Identify Namespace's fields of 4096 bytes; the new number is dw0. Base §5.23. */
static inline struct pollux_nvme_command pollux_nvme_make_namespace_create(uint8_t csi) {
  struct pollux_nvme_command command = POLLUX_NVME_ZERO;
  command.opc = 0x0d;
  command.cdw11 = (uint32_t)csi << 24;
  return command;
}
static inline struct pollux_nvme_command pollux_nvme_make_namespace_delete(uint32_t nsid) {
  struct pollux_nvme_command command = POLLUX_NVME_ZERO;
  command.opc = 0x0d;
  command.nsid = nsid;
  command.cdw10 = 1;
  return command;
}
/* Data: a controller list of 4096 bytes. Base §5.22. */
static inline struct pollux_nvme_command pollux_nvme_make_namespace_attach(uint32_t nsid,
                                                                           bool attach) {
  struct pollux_nvme_command command = POLLUX_NVME_ZERO;
  command.opc = 0x15;
  command.nsid = nsid;
  command.cdw10 = attach ? 0 : 1;
  return command;
}
/* `offset` and `bytes`: multiples of 4. Base §5.13. */
static inline struct pollux_nvme_command pollux_nvme_make_firmware_download(uint32_t offset,
                                                                            uint32_t bytes) {
  struct pollux_nvme_command command = POLLUX_NVME_ZERO;
  command.opc = 0x11;
  command.cdw10 = bytes / 4 - 1;
  command.cdw11 = offset / 4;
  return command;
}
/* `slot` 0: the controller chooses. `action`: Base figure 184. */
static inline struct pollux_nvme_command pollux_nvme_make_firmware_commit(uint8_t slot,
                                                                          uint8_t action) {
  struct pollux_nvme_command command = POLLUX_NVME_ZERO;
  command.opc = 0x10;
  command.cdw10 = (slot & 7u) | (uint32_t)(action & 7) << 3;
  return command;
}
/* `action`: 1 exit failure mode, 2 block erase, 3 overwrite, 4 crypto erase. Base §5.26. */
static inline struct pollux_nvme_command pollux_nvme_make_sanitize(uint8_t action,
                                                                   bool allow_unrestricted_exit,
                                                                   uint8_t overwrite_passes,
                                                                   uint32_t overwrite_pattern) {
  struct pollux_nvme_command command = POLLUX_NVME_ZERO;
  command.opc = 0x84;
  command.cdw10 = (action & 7u) | (allow_unrestricted_exit ? 1u << 3 : 0) |
                  (uint32_t)(overwrite_passes & 0xf) << 4;
  command.cdw11 = overwrite_pattern;
  return command;
}
/* Base §5.25 (send) and §5.24 (receive). `bytes`: of the data. */
static inline struct pollux_nvme_command pollux_nvme_make_security(bool send, uint8_t protocol,
                                                                   uint16_t specific,
                                                                   uint8_t nvme_specific,
                                                                   uint32_t bytes) {
  struct pollux_nvme_command command = POLLUX_NVME_ZERO;
  command.opc = send ? 0x81 : 0x82;
  command.cdw10 = (uint32_t)protocol << 24 | (uint32_t)specific << 8 | nvme_specific;
  command.cdw11 = bytes;
  return command;
}

/* Reads the namespaces again, as a notice of the device would have it done. Begins only. */
int pollux_nvme_rescan(struct pollux_nvme_controller* controller);

/* Writes a firmware image in pieces as large as the device takes (FWUG), and commits it to `slot`
 * with `action`. Waits. Returns 0 with `completion` of the commit, which may say that a reset is
 * needed; -EIO with the completion of the piece that failed. Base §3.11. */
int pollux_nvme_firmware_update(struct pollux_nvme_controller* controller, const void* image,
                                size_t bytes, uint8_t slot, uint8_t action,
                                struct pollux_nvme_completion* completion);

/* ================================================================================ Discovery
 *
 * A discovery controller (subnqn "") has no namespaces and no I/O queues. It tells which subsystems
 * are where, in its discovery log page, and with an event when that has changed, as long as it is
 * attached and keep alive is not switched off. Base §3.1.2.3, §5.16.1.23. Control thread.
 */
enum pollux_nvme_subsystem_type {
  POLLUX_NVME_SUBSYSTEM_REFERRAL = 1, /* Another discovery service. */
  POLLUX_NVME_SUBSYSTEM_NVM = 2,
  POLLUX_NVME_SUBSYSTEM_CURRENT_DISCOVERY = 3, /* The service that was asked. */
};

/* One entry. Base figure 265. */
struct pollux_nvme_discovery_entry {
  /* To attach to; its trtype is 0 where this driver cannot, and `unusable` says why not. */
  struct pollux_nvme_transport_id id;
  const char* unusable;            /* A literal, or null. */
  uint8_t trtype, adrfam, subtype; /* As they are in the page: trtype 1 RDMA, 2 FC, 3 TCP. */
  uint8_t treq, tsas;              /* tsas: its first byte, for TCP the security type. */
  uint16_t portid, cntlid, asqsz, eflags;
  /* Without padding. What is in them is the peer's: see to it before it is printed. */
  char trsvcid[33], traddr[257], subnqn[257];
};
struct pollux_nvme_discovery_log {
  uint64_t generation; /* GENCTR. */
  uint32_t count;
  const struct pollux_nvme_discovery_entry* entries;
};

/* Begins to read the page: as one that did not change meanwhile. `on_read` is called once, inside
 * pollux_nvme_controller_poll(), with the log, valid during the call; or with null and a negative
 * errno, and its text: -EFBIG more than 4096 entries; -EPROTO a record format that is not known;
 * -ESTALE it never stood still; -EIO the controller refused, or was reset. Errors: -EBUSY a reading
 * is under way; -ENOTSUP no discovery controller; -ENOMEM; as of pollux_nvme_admin(). */
int pollux_nvme_discovery_read(struct pollux_nvme_controller* controller,
                               void (*on_read)(void* context, int error,
                                               const struct pollux_nvme_discovery_log* log),
                               void* context);
/* The same, and waits; a negative errno is returned too. */
int pollux_nvme_discovery_read_wait(struct pollux_nvme_controller* controller,
                                    void (*on_read)(void* context, int error,
                                                    const struct pollux_nvme_discovery_log* log),
                                    void* context);

/* ================================================================================ Error injection
 *
 * For tests of what is above the driver. Control thread; takes effect at each queue's next poll.
 */
struct pollux_nvme_injection {
  bool admin;          /* Else the I/O queues. */
  uint8_t opc;         /* The commands it is about. */
  bool do_not_submit;  /* Fail it in the host; the device never sees it. */
  uint64_t timeout_us; /* Complete it only after that long. */
  uint32_t count;      /* How many commands; 0: all. */
  uint16_t status;     /* SCT << 8 | SC; 0: the device's own. */
};
int pollux_nvme_inject(struct pollux_nvme_controller* controller,
                       const struct pollux_nvme_injection* injection);
int pollux_nvme_remove_injection(struct pollux_nvme_controller* controller, bool admin,
                                 uint8_t opc);

#ifdef __cplusplus
} /* extern "C" */

#include <memory>

/* The same for C++: ownership by unique_ptr, requests with a virtual method. Nothing here costs
 * more than the C beneath it. */
namespace pollux::nvme {

using Completion = pollux_nvme_completion;
using Io = pollux_nvme_io;

/* One command in flight. Derive the object that waits for the answer from it. */
class Request : private pollux_nvme_request {
 public:
  Request() : pollux_nvme_request{&Request::Complete, {}} {}
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  pollux_nvme_request* c() { return this; }

  /* Runs once per submission, on the thread that polls. */
  virtual void OnComplete(Completion completion) = 0;

 protected:
  ~Request() = default;

 private:
  static void Complete(pollux_nvme_request* request, Completion completion) {
    static_cast<Request*>(request)->OnComplete(completion);
  }
};

struct HostDeleter {
  void operator()(pollux_nvme_host* host) const { pollux_nvme_host_destroy(host); }
};
using Host = std::unique_ptr<pollux_nvme_host, HostDeleter>;

struct ControllerDeleter {
  void operator()(pollux_nvme_controller* controller) const { pollux_nvme_detach(controller); }
};
using Controller = std::unique_ptr<pollux_nvme_controller, ControllerDeleter>;

struct QueueDeleter {
  void operator()(pollux_nvme_queue* queue) const { pollux_nvme_queue_return(queue); }
};
using Queue = std::unique_ptr<pollux_nvme_queue, QueueDeleter>;

/* Who waits for a discovery log. It outlives the reading. */
class DiscoveryReader {
 public:
  /* `log` is null after an error. */
  virtual void OnDiscoveryLog(int error, const pollux_nvme_discovery_log* log) = 0;
  int Read(pollux_nvme_controller* controller) {
    return pollux_nvme_discovery_read(controller, &DiscoveryReader::Call, this);
  }

 protected:
  ~DiscoveryReader() = default;

 private:
  static void Call(void* reader, int error, const pollux_nvme_discovery_log* log) {
    static_cast<DiscoveryReader*>(reader)->OnDiscoveryLog(error, log);
  }
};

/* DMA-able memory of a host. */
struct MemoryDeleter {
  pollux_nvme_host* host;
  void operator()(void* memory) const { pollux_nvme_free(host, memory); }
};
using Memory = std::unique_ptr<void, MemoryDeleter>;
inline Memory Allocate(pollux_nvme_host* host, size_t bytes, size_t alignment = 4096) {
  return Memory(pollux_nvme_alloc(host, bytes, alignment), MemoryDeleter{host});
}

} /* namespace pollux::nvme */
#endif /* __cplusplus */

#endif /* POLLUX_DRIVERS_NVME_NVME_H_ */
