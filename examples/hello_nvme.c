/*
 * The NVMe driver in C, from nothing to a block that was written and read back.
 *
 *   hello_nvme [CONTROLLER]      0000:01:00.0, or the directory of a vfio-user socket
 *
 * Without a controller: the first on the PCI bus that vfio-pci has. What is in the last block of
 * its first namespace is put back at the end.
 */
#include <pollux/nvme.h>
#include <stdio.h>
#include <string.h>

/* Step 2, when nobody named a controller: takes the first that this process could drive. */
static bool take_first(void* context, const struct pollux_nvme_probe_info* info) {
  struct pollux_nvme_transport_id* id = context;
  printf("found %s, driver %s\n", info->id.traddr, *info->driver ? info->driver : "none");
  if (strcmp(info->driver, "vfio-pci") != 0) return true; /* Go on. */
  *id = info->id;
  return false;
}

/* A request, and what waits for it. The driver calls back with a pointer to the request; since it
 * is the first member, that is a pointer to ours. It lives until on_complete ran. */
struct io {
  struct pollux_nvme_request request;
  bool done;
  struct pollux_nvme_completion completion;
};

static void on_complete(struct pollux_nvme_request* request,
                        struct pollux_nvme_completion completion) {
  struct io* io = (struct io*)request;
  io->done = true;
  io->completion = completion;
}

/* Step 5: a submission returns at once; polling the queue brings the answer. `error` is what the
 * submission returned. A real program would do other things between two polls. */
static bool wait_for(struct pollux_nvme_queue* queue, struct io* io, int error, const char* what) {
  char text[128];
  if (error < 0) {
    fprintf(stderr, "%s: not submitted: %s\n", what, strerror(-error));
    return false;
  }
  while (!io->done) pollux_nvme_queue_poll(queue, 0);
  io->done = false;
  if (pollux_nvme_ok(io->completion)) return true;
  fprintf(stderr, "%s: %s\n", what,
          pollux_nvme_status_text(io->completion.status, text, sizeof(text)));
  return false;
}

/* Step 4: one block is kept, written, read back, compared, and put back. */
static bool write_and_read(struct pollux_nvme_host* host, struct pollux_nvme_queue* queue,
                           const struct pollux_nvme_namespace* ns) {
  const struct pollux_nvme_namespace_info* info = pollux_nvme_get_namespace_info(ns);
  const size_t bytes = info->block_bytes + (info->metadata_extended ? info->metadata_bytes : 0);
  const uint64_t lba = info->blocks - 1;
  struct io io = {{on_complete, {0}}, false, {0, 0, 0}};
  struct pollux_nvme_request* request = &io.request;
  bool good = false;

  /* Data lies in memory that the device reaches. The driver copies nothing. */
  unsigned char* before = pollux_nvme_alloc(host, bytes, 4096);
  unsigned char* written = pollux_nvme_alloc(host, bytes, 4096);
  unsigned char* found = pollux_nvme_alloc(host, bytes, 4096);
  if (before == NULL || written == NULL || found == NULL) {
    fprintf(stderr, "no memory\n");
  } else if (wait_for(queue, &io, pollux_nvme_read(queue, ns, request, before, bytes, lba, 1),
                      "read")) {
    for (size_t i = 0; i < bytes; ++i) written[i] = (unsigned char)("Hello, NVMe. "[i % 13]);
    good = wait_for(queue, &io, pollux_nvme_write(queue, ns, request, written, bytes, lba, 1),
                    "write") &&
           wait_for(queue, &io, pollux_nvme_read(queue, ns, request, found, bytes, lba, 1), "read");
    if (good && memcmp(written, found, bytes) != 0) {
      fprintf(stderr, "block %llu is not what was written\n", (unsigned long long)lba);
      good = false;
    }
    if (good) printf("block %llu: \"%.11s\"\n", (unsigned long long)lba, (const char*)found);
    good &= wait_for(queue, &io, pollux_nvme_write(queue, ns, request, before, bytes, lba, 1),
                     "putting it back");
  }
  pollux_nvme_free(host, found);
  pollux_nvme_free(host, written);
  pollux_nvme_free(host, before);
  return good;
}

/* Step 3: what it is, its first namespace, and a queue to speak to it. */
static bool greet(struct pollux_nvme_host* host, struct pollux_nvme_controller* controller) {
  const struct pollux_nvme_controller_info* info = pollux_nvme_get_controller_info(controller);
  const struct pollux_nvme_namespace* ns = pollux_nvme_namespace_next(controller, 0);
  const struct pollux_nvme_namespace_info* ns_info;
  struct pollux_nvme_queue* queue = NULL;
  bool good;

  printf("%s: %s, serial number %s, firmware %s, NVMe %u.%u, %u queues\n", info->id.traddr,
         info->model_number, info->serial_number, info->firmware_revision, info->version >> 16,
         info->version >> 8 & 0xff, info->io_queues);
  if (ns == NULL) {
    fprintf(stderr, "it has no active namespace\n");
    return false;
  }
  ns_info = pollux_nvme_get_namespace_info(ns);
  printf("namespace %u: %llu blocks of %u bytes\n", ns_info->nsid,
         (unsigned long long)ns_info->blocks, ns_info->block_bytes);

  if (pollux_nvme_queue_take(controller, -1, &queue) < 0) {
    fprintf(stderr, "%s\n", pollux_nvme_error_text());
    return false;
  }
  good = write_and_read(host, queue, ns);
  pollux_nvme_queue_return(queue);
  return good;
}

int main(int argc, char** argv) {
  struct pollux_nvme_host* host = NULL;
  struct pollux_nvme_controller* controller = NULL;
  struct pollux_nvme_transport_id id = {.traddr = ""};
  bool good = false;

  /* Step 1: what this process brings. Null options: the defaults. */
  if (pollux_nvme_host_create(NULL, &host) < 0) {
    fprintf(stderr, "%s\n", pollux_nvme_error_text());
    return 1;
  }

  /* Step 2: which controller. */
  if (argc > 1) {
    if (pollux_nvme_transport_id_parse(argv[1], &id) < 0) {
      fprintf(stderr, "%s: %s\n", argv[1], pollux_nvme_error_text());
    }
  } else {
    pollux_nvme_probe(host, take_first, &id);
    if (id.trtype == 0) fprintf(stderr, "no NVMe controller: pollux pci bind ADDRESS\n");
  }

  /* Step 3: attach it. This resets and starts the device, and waits for that. */
  if (id.trtype != 0) {
    if (pollux_nvme_attach(host, &id, NULL, &controller) < 0) {
      fprintf(stderr, "%s\n", pollux_nvme_error_text());
    } else {
      good = greet(host, controller);
      pollux_nvme_detach(controller); /* Step 6: shuts the device down. */
    }
  }
  pollux_nvme_host_destroy(host);
  return good ? 0 : 1;
}
