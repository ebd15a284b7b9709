/*
 * The I/OAT driver of Pollux (Intel CBDMA, QuickData): user space, polled, asynchronous, without
 * locks or allocation on the way of a copy. This is its only public header, for C11, and for C++
 * with a few inline classes at its end.
 *
 *   host      what this process brings: DMA-able memory, access to devices
 *   device    one attached PCI function
 *   channel   one of its DMA engines; each is used by one thread
 *   request   one operation in flight; the caller embeds it in what waits for the answer
 *
 * THREADS. Everything of a host and its devices is called by one thread at a time (the control
 * thread), except what takes a channel: that is called by the channel's owner alone, which may be
 * another thread. Functions that say "any thread" may be called by any. Callbacks run inside
 * pollux_ioat_channel_poll(), on the thread that called it, never inside a submission.
 *
 * ERRORS. Functions return 0 (or a count) or a negative errno. On the control thread,
 * pollux_ioat_error_text() says in a sentence why the last one failed. Nothing is queued when a
 * submission fails: on_complete then never runs. Once a submission succeeded, on_complete runs
 * exactly once, whatever becomes of the device.
 *
 * MEMORY. Data lies in memory that the host knows: from pollux_ioat_alloc(), or registered. Other
 * memory is refused with -EFAULT before a descriptor is written. It may begin at any byte.
 */
#ifndef POLLUX_DRIVERS_IOAT_IOAT_H_
#define POLLUX_DRIVERS_IOAT_IOAT_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pollux_ioat_host;
struct pollux_ioat_device;
struct pollux_ioat_channel;
struct pollux_ioat_request;

/* Of the last function that failed on this thread: a sentence, valid until the next one fails. */
const char* pollux_ioat_error_text(void);

/* ================================================================================ Status */

enum pollux_ioat_status {
  POLLUX_IOAT_OK = 0,
  POLLUX_IOAT_FAILED,         /* The device refused this operation; chanerr tells why. */
  POLLUX_IOAT_MISMATCH,       /* A validation found a difference: chanerr bit 16 XOR or P, 17 Q. */
  POLLUX_IOAT_ABORTED,        /* Ended by a reset. It may or may not have been executed. */
  POLLUX_IOAT_TIMEOUT,        /* The device made no progress and was reset. The same. */
  POLLUX_IOAT_OUT_OF_SERVICE, /* The channel's device is gone, or lied. The same. */
};
struct pollux_ioat_completion {
  enum pollux_ioat_status status;
  uint32_t chanerr; /* Channel error bits, or 0. */
};
/* "ok", "failed". Any thread. */
const char* pollux_ioat_status_name(enum pollux_ioat_status status);

/* ================================================================================ Host */

/* Zero is every member's default. */
struct pollux_ioat_host_options {
  /* Drive devices without an IOMMU: the device can then write anywhere in this machine. Memory is
   * then of hugepages. */
  bool allow_no_iommu;
};
/* `options` may be null. */
int pollux_ioat_host_create(const struct pollux_ioat_host_options* options,
                            struct pollux_ioat_host** host);
/* All devices are detached. Memory from pollux_ioat_alloc() goes with it. */
void pollux_ioat_host_destroy(struct pollux_ioat_host* host);

/* DMA-able memory, zeroed, of whole pages: meant for pools, not for each buffer. Null when there is
 * none left. */
void* pollux_ioat_alloc(struct pollux_ioat_host* host, size_t bytes);
void pollux_ioat_free(struct pollux_ioat_host* host, void* memory); /* Null does nothing. */

/* Makes memory of the caller's DMA-able, for all devices, now and later. Whole pages. vfio-user
 * needs a file behind it: `fd` (borrowed) at `fd_offset`, shared; -1 suits PCIe with an IOMMU.
 * Errors: -EEXIST it overlaps; -EINVAL; -ENOMEM. */
int pollux_ioat_register_memory(struct pollux_ioat_host* host, void* memory, size_t bytes, int fd,
                                uint64_t fd_offset);
/* No request uses it any more. -ENOENT: `memory` was not registered. */
int pollux_ioat_unregister_memory(struct pollux_ioat_host* host, void* memory);

/* ================================================================================ Finding */

struct pollux_ioat_probe_info {
  char address[32];  /* "0000:00:04.0" */
  char driver[32];   /* "vfio-pci", "ioatdma", or "" for none. */
  const char* model; /* "Ice Lake". */
  uint16_t vendor, device;
  int numa_node; /* -1: unknown. */
};
/* Calls back for each I/OAT function of the PCI bus, whatever driver it has, until one call returns
 * false. Returns how many calls were made. */
int pollux_ioat_probe(struct pollux_ioat_host* host,
                      bool (*found)(void* context, const struct pollux_ioat_probe_info* info),
                      void* context);

/* ================================================================================ Attaching */

/* Zero is every member's default. */
struct pollux_ioat_attach_options {
  uint32_t descriptors; /* Of each channel's ring: a power of two, 16 to 32768. 0: 1024. */
  uint32_t timeout_ms;  /* Without progress for so long, a channel is reset. 0: 2000. */
};

enum pollux_ioat_device_state {
  POLLUX_IOAT_DEVICE_ATTACHING = 1,
  POLLUX_IOAT_DEVICE_READY,     /* Its channels may be taken. */
  POLLUX_IOAT_DEVICE_FAILED,    /* A channel did not start. Only detach is left. */
  POLLUX_IOAT_DEVICE_GONE,      /* Unplugged, or its peer died. The same. */
  POLLUX_IOAT_DEVICE_DETACHING, /* Its channels are being stopped. */
  POLLUX_IOAT_DEVICE_DETACHED,
};

/* Begins to attach what `address` names: a PCI address ("0000:00:04.0", by VFIO), or the path of a
 * vfio-user socket, or of the directory with its socket `cntrl`. Opens it and reads what it is;
 * then every channel is reset and executes a first descriptor, which is not waited for: poll the
 * device until its state is no longer ATTACHING. That takes less than a second, whatever becomes of
 * it: READY, or FAILED or GONE with pollux_ioat_device_failure(). Either way it ends with a detach.
 * Other devices may be attached meanwhile. Errors: -ENODEV no such device, or none that this driver
 * knows, or it does not answer; -EEXIST this host has it already, or is still attaching or
 * detaching it; -EBUSY another driver has it; -EACCES; -EINVAL; -ENOMEM. `options` may be null. */
int pollux_ioat_attach_begin(struct pollux_ioat_host* host, const char* address,
                             const struct pollux_ioat_attach_options* options,
                             struct pollux_ioat_device** device);
/* The same, and waits. On error there is nothing to detach; -ETIMEDOUT: a channel did not start. */
int pollux_ioat_attach(struct pollux_ioat_host* host, const char* address,
                       const struct pollux_ioat_attach_options* options,
                       struct pollux_ioat_device** device);

/* Begins to stop the channels: all have been returned, else -EBUSY. Also while it is attached,
 * which then ends. Poll until DETACHED, for less than a second; then pollux_ioat_release() frees
 * the device. A second call while one is under way does nothing. What was in flight ends inside
 * those polls. */
int pollux_ioat_detach_begin(struct pollux_ioat_device* device);
/* As pollux_ioat_detach() where it is not DETACHED. */
void pollux_ioat_release(struct pollux_ioat_device* device);
/* All three. -EBUSY as above; -EDEADLK inside a callback: it may not wait. */
int pollux_ioat_detach(struct pollux_ioat_device* device);

/* Does what there is to do, and looks whether the device is still there. Call it often while it is
 * ATTACHING or DETACHING; else when its descriptor is readable, and once in 100 ms. 0, or why it is
 * FAILED or GONE: the channels of one that is GONE end their requests at their next poll. Never
 * waits longer than the device takes to answer when a register is read. */
int pollux_ioat_device_poll(struct pollux_ioat_device* device);
int pollux_ioat_device_event_fd(const struct pollux_ioat_device* device); /* -1: there is none. */

enum pollux_ioat_device_state pollux_ioat_device_state(const struct pollux_ioat_device* device);
const char* pollux_ioat_device_state_name(enum pollux_ioat_device_state state); /* "ready" */
/* Why it is FAILED or GONE: a negative errno, and a sentence that is valid until a function fails;
 * 0 and "" when it is neither. */
int pollux_ioat_device_failure(const struct pollux_ioat_device* device, const char** text);

struct pollux_ioat_device_info {
  char address[256];
  const char* model; /* "Ice Lake". */
  uint16_t vendor, device;
  uint8_t version;       /* 0x34: 3.4. */
  uint32_t capabilities; /* DMACAPABILITY as the device has it. */
  uint32_t channels;
  uint32_t descriptors;        /* Of each ring. */
  uint64_t transfer_bytes_max; /* Of one descriptor; longer ones are split. */
  bool fill, xor_, pq;         /* What may be asked for. */
  int numa_node;               /* -1: unknown. */
};
/* Valid until detach. */
const struct pollux_ioat_device_info* pollux_ioat_get_device_info(
    const struct pollux_ioat_device* device);

/* ================================================================================ Channels */

/* Takes a channel that nobody uses; `index` -1: any. Control thread. -EBUSY it is in use; -ENOSPC
 * there is no such channel, or none that is free; -EAGAIN still attaching; -ENODEV it is not READY
 * for another reason. */
int pollux_ioat_channel_take(struct pollux_ioat_device* device, int index,
                             struct pollux_ioat_channel** channel);
/* Nothing is in flight, and its thread does not touch it any more. Control thread. */
void pollux_ioat_channel_return(struct pollux_ioat_channel* channel);

enum pollux_ioat_state {
  POLLUX_IOAT_STATE_RUNNING = 1,
  POLLUX_IOAT_STATE_RECOVERING,     /* After an error or a reset; submissions get -EAGAIN. */
  POLLUX_IOAT_STATE_SUSPENDED,      /* By pollux_ioat_channel_suspend(). */
  POLLUX_IOAT_STATE_OUT_OF_SERVICE, /* For good; submissions get -ENXIO. */
};
enum pollux_ioat_state pollux_ioat_channel_state(const struct pollux_ioat_channel* channel);
/* Why it is out of service, or was last reset: a literal. "" when nothing was. Any thread. */
const char* pollux_ioat_channel_reason(const struct pollux_ioat_channel* channel);

/* How many more descriptors could be written now. */
uint32_t pollux_ioat_channel_room(const struct pollux_ioat_channel* channel);
bool pollux_ioat_channel_idle(const struct pollux_ioat_channel* channel); /* Nothing in flight. */

/* Submissions are announced to the device together: by this call, or by the next poll. */
void pollux_ioat_channel_ring(struct pollux_ioat_channel* channel);
/* Completes what is there to complete, and rings for what that submitted. Returns how many. Never
 * waits. Also takes part in recoveries: who has something in flight goes on polling. */
int pollux_ioat_channel_poll(struct pollux_ioat_channel* channel);

/* All three only begin; poll until the state has changed. Not inside on_complete (-EBUSY). -ENXIO:
 * out of service; -EAGAIN: not from this state, poll and try again.
 * Reset: every request in flight ends, with ABORTED where it was not completed before. Also while
 * another reset, or a suspend, is under way.
 * Suspend: the descriptor under way is finished, the others wait for resume. */
int pollux_ioat_channel_reset(struct pollux_ioat_channel* channel);
int pollux_ioat_channel_suspend(struct pollux_ioat_channel* channel);
int pollux_ioat_channel_resume(struct pollux_ioat_channel* channel);

/* Counted by the channel's owner; any thread may read. */
struct pollux_ioat_statistics {
  uint64_t submitted, completed, failed;
  uint64_t descriptors, doorbells;
  uint64_t polls, idle_polls;
  uint64_t errors; /* Times that the device halted. */
  uint64_t resets; /* For whatever reason. */
};
void pollux_ioat_get_statistics(const struct pollux_ioat_channel* channel,
                                struct pollux_ioat_statistics* into);

/* ================================================================================ Requests
 *
 * Errors of all operations, with nothing queued:
 *   -EAGAIN   the ring is full, or the channel is recovering or suspended: poll and try again
 *   -ENXIO    the channel is out of service
 *   -EINVAL   no bytes, lengths that differ, source and destination that overlap
 *   -E2BIG    more descriptors than the ring has, or more pieces than PIECES_MAX
 *   -EFAULT   memory that the host does not know
 *   -ENOTSUP  the device cannot do it
 */

/* One operation in flight. Embed it in the object that waits for the answer; it must live, unmoved,
 * until on_complete ran: once, on the thread that polls. It may then be used again, also inside
 * on_complete. */
struct pollux_ioat_request {
  void (*on_complete)(struct pollux_ioat_request* request,
                      struct pollux_ioat_completion completion);
};

enum {
  POLLUX_IOAT_PIECES_MAX = 64,
  POLLUX_IOAT_SOURCES_MIN = 2,
  POLLUX_IOAT_SOURCES_MAX = 8,
};

/* Any length: it is split where the device or the memory's layout asks for it. */
int pollux_ioat_copy(struct pollux_ioat_channel* channel, struct pollux_ioat_request* request,
                     void* destination, const void* source, size_t bytes);
/* The same for lists of pieces, which together have the same length on both sides. The arrays may
 * go when the call returns. */
int pollux_ioat_copyv(struct pollux_ioat_channel* channel, struct pollux_ioat_request* request,
                      const struct iovec* destinations, uint32_t destination_count,
                      const struct iovec* sources, uint32_t source_count);
/* The pattern's low byte comes first, and the pattern begins anew after its eighth byte. */
int pollux_ioat_fill(struct pollux_ioat_channel* channel, struct pollux_ioat_request* request,
                     void* destination, uint64_t pattern, size_t bytes);
/* Moves nothing. Completes after all that was submitted before, which is finished before anything
 * that is submitted later begins. */
int pollux_ioat_fence(struct pollux_ioat_channel* channel, struct pollux_ioat_request* request);

/* destination = sources[0] ^ sources[1] ^ ..., 2 to 8 of them, each of `bytes`. */
int pollux_ioat_xor(struct pollux_ioat_channel* channel, struct pollux_ioat_request* request,
                    void* destination, const void* const* sources, uint32_t count, size_t bytes);
/* Compares instead of writing: ends with MISMATCH when it differs. */
int pollux_ioat_xor_validate(struct pollux_ioat_channel* channel,
                             struct pollux_ioat_request* request, const void* destination,
                             const void* const* sources, uint32_t count, size_t bytes);
/* RAID-6: p is the XOR of all sources, q their sum in GF(2^8), polynomial 0x11d, each multiplied by
 * its coefficient. Either of the two may be null. */
int pollux_ioat_pq(struct pollux_ioat_channel* channel, struct pollux_ioat_request* request,
                   void* p, void* q, const void* const* sources, const uint8_t* coefficients,
                   uint32_t count, size_t bytes);
int pollux_ioat_pq_validate(struct pollux_ioat_channel* channel,
                            struct pollux_ioat_request* request, const void* p, const void* q,
                            const void* const* sources, const uint8_t* coefficients, uint32_t count,
                            size_t bytes);

#ifdef __cplusplus
} /* extern "C" */

#include <memory>

/* The same for C++: ownership by unique_ptr, requests with a virtual method. Nothing here costs
 * more than the C beneath it. */
namespace pollux::ioat {

using Completion = pollux_ioat_completion;

/* One operation in flight. Derive the object that waits for the answer from it. */
class Request : private pollux_ioat_request {
 public:
  Request() : pollux_ioat_request{&Request::Complete} {}
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  pollux_ioat_request* c() { return this; }

  /* Runs once per submission, on the thread that polls. */
  virtual void OnComplete(Completion completion) = 0;

 protected:
  ~Request() = default;

 private:
  static void Complete(pollux_ioat_request* request, Completion completion) {
    static_cast<Request*>(request)->OnComplete(completion);
  }
};

struct HostDeleter {
  void operator()(pollux_ioat_host* host) const { pollux_ioat_host_destroy(host); }
};
using Host = std::unique_ptr<pollux_ioat_host, HostDeleter>;

struct DeviceDeleter {
  void operator()(pollux_ioat_device* device) const { pollux_ioat_release(device); }
};
using Device = std::unique_ptr<pollux_ioat_device, DeviceDeleter>;

struct ChannelDeleter {
  void operator()(pollux_ioat_channel* channel) const { pollux_ioat_channel_return(channel); }
};
using Channel = std::unique_ptr<pollux_ioat_channel, ChannelDeleter>;

/* DMA-able memory of a host. */
struct MemoryDeleter {
  pollux_ioat_host* host;
  void operator()(void* memory) const { pollux_ioat_free(host, memory); }
};
using Memory = std::unique_ptr<void, MemoryDeleter>;
inline Memory Allocate(pollux_ioat_host* host, size_t bytes) {
  return Memory(pollux_ioat_alloc(host, bytes), MemoryDeleter{host});
}

} /* namespace pollux::ioat */
#endif /* __cplusplus */

#endif /* POLLUX_DRIVERS_IOAT_IOAT_H_ */
