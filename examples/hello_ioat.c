/*
 * The I/OAT driver in C, from nothing to memory that a DMA engine copied.
 *
 *   hello_ioat [DEVICE]      0000:00:04.0, or the directory of a vfio-user socket
 *
 * Without a device: the first on the PCI bus that vfio-pci has.
 */
#include <pollux/ioat.h>
#include <stdio.h>
#include <string.h>

/* Step 2, when nobody named a device: takes the first that this process could drive. */
static bool take_first(void* context, const struct pollux_ioat_probe_info* info) {
  printf("found %s, %s, driver %s\n", info->address, info->model,
         *info->driver ? info->driver : "none");
  if (strcmp(info->driver, "vfio-pci") != 0) return true; /* Go on. */
  strcpy(context, info->address);
  return false;
}

/* A request, and what waits for it. The driver calls back with a pointer to the request; since it
 * is the first member, that is a pointer to ours. It lives until on_complete ran. */
struct operation {
  struct pollux_ioat_request request;
  bool done;
  struct pollux_ioat_completion completion;
};

static void on_complete(struct pollux_ioat_request* request,
                        struct pollux_ioat_completion completion) {
  struct operation* operation = (struct operation*)request;
  operation->done = true;
  operation->completion = completion;
}

/* Step 5: a submission returns at once; polling the channel announces it to the device, and brings
 * the answer. `error` is what the submission returned. A real program would submit more before it
 * polls, and do other things between two polls. */
static bool wait_for(struct pollux_ioat_channel* channel, struct operation* operation, int error,
                     const char* what) {
  if (error < 0) {
    fprintf(stderr, "%s: not submitted: %s\n", what, strerror(-error));
    return false;
  }
  while (!operation->done) pollux_ioat_channel_poll(channel);
  operation->done = false;
  if (operation->completion.status == POLLUX_IOAT_OK) return true;
  fprintf(stderr, "%s: %s, channel errors %xh\n", what,
          pollux_ioat_status_name(operation->completion.status),
          (unsigned)operation->completion.chanerr);
  return false;
}

/* Step 4: memory is filled, copied, and compared; then XORed, where the device can. */
static bool fill_and_copy(struct pollux_ioat_host* host, struct pollux_ioat_channel* channel,
                          const struct pollux_ioat_device_info* info) {
  enum { BYTES = 1 << 20 };
  struct operation operation = {{on_complete}, false, {POLLUX_IOAT_OK, 0}};
  struct pollux_ioat_request* request = &operation.request;
  bool good = false;

  /* Data lies in memory that the device reaches, and begins at any byte. */
  unsigned char* memory = pollux_ioat_alloc(host, 3 * BYTES);
  unsigned char *from = memory, *to = memory + BYTES, *sum = memory + 2 * BYTES;
  if (memory == NULL) {
    fprintf(stderr, "%s\n", pollux_ioat_error_text());
    return false;
  }
  if (info->fill) {
    uint64_t pattern;
    memcpy(&pattern, "I/OAT.. ", sizeof(pattern));
    good = wait_for(channel, &operation, pollux_ioat_fill(channel, request, from, pattern, BYTES),
                    "fill");
    if (good) printf("filled with \"%.8s\"\n", (const char*)from);
  } else {
    for (size_t i = 0; i < BYTES; ++i) from[i] = (unsigned char)(i * 31);
    good = true;
  }
  good = good && wait_for(channel, &operation,
                          pollux_ioat_copy(channel, request, to + 5, from, BYTES - 5), "copy");
  if (good && memcmp(to + 5, from, BYTES - 5) != 0) {
    fprintf(stderr, "the copy is not what was copied\n");
    good = false;
  }
  if (good) printf("copied %d bytes\n", BYTES - 5);
  if (good && info->xor_) {
    const void* sources[] = {from, to};
    good = wait_for(channel, &operation, pollux_ioat_xor(channel, request, sum, sources, 2, BYTES),
                    "xor");
    for (size_t i = 0; good && i < BYTES; ++i) good = sum[i] == (from[i] ^ to[i]);
    printf("XORed two megabytes into one: %s\n", good ? "right" : "WRONG");
  }
  pollux_ioat_free(host, memory);
  return good;
}

/* Step 3: what it is, and a channel of it. */
static bool greet(struct pollux_ioat_host* host, struct pollux_ioat_device* device) {
  const struct pollux_ioat_device_info* info = pollux_ioat_get_device_info(device);
  struct pollux_ioat_channel* channel = NULL;
  bool good;

  printf("%s: %s, version %u.%u, %u channel%s, %llu bytes at once%s%s%s\n", info->address,
         info->model, (unsigned)(info->version >> 4), (unsigned)(info->version & 15),
         (unsigned)info->channels, info->channels == 1 ? "" : "s",
         (unsigned long long)info->transfer_bytes_max, info->fill ? ", fill" : "",
         info->xor_ ? ", XOR" : "", info->pq ? ", PQ" : "");
  if (pollux_ioat_channel_take(device, -1, &channel) < 0) {
    fprintf(stderr, "%s\n", pollux_ioat_error_text());
    return false;
  }
  good = fill_and_copy(host, channel, info);
  pollux_ioat_channel_return(channel);
  return good;
}

int main(int argc, char** argv) {
  struct pollux_ioat_host* host = NULL;
  struct pollux_ioat_device* device = NULL;
  char found[32] = "";
  const char* address = argc > 1 ? argv[1] : found;
  bool good = false;

  /* Step 1: what this process brings. Null options: the defaults. */
  if (pollux_ioat_host_create(NULL, &host) < 0) {
    fprintf(stderr, "%s\n", pollux_ioat_error_text());
    return 1;
  }

  /* Step 2: which device. */
  if (argc < 2) pollux_ioat_probe(host, take_first, found);
  if (*address == '\0') {
    fprintf(stderr, "no I/OAT device: pollux pci bind ADDRESS\n");
  } else if (pollux_ioat_attach(host, address, NULL, &device) < 0) {
    /* Step 3: attach it. This resets and starts its channels, and waits for that; a program that
     * has other things to do calls pollux_ioat_attach_begin(). */
    fprintf(stderr, "%s\n", pollux_ioat_error_text());
  } else {
    good = greet(host, device);
    pollux_ioat_detach(device); /* Step 6: stops the channels. */
  }
  pollux_ioat_host_destroy(host);
  return good ? 0 : 1;
}
