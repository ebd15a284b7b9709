// Counts the allocations of a process, per thread, where another process can read them meanwhile:
//
//   LD_PRELOAD=libpollux_count_allocations.so POLLUX_ALLOCATIONS=FILE program
//
// FILE is 4096 slots of 16 bytes that are zero: a thread's number, and how often it asked for
// memory. See tests/e2e/allocations_test.py.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

// glibc's own names of what is interposed here.
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* old, size_t size);
void* __libc_memalign(size_t alignment, size_t size);

struct slot {
  _Atomic uint64_t thread;
  _Atomic uint64_t count;
};

#define SLOTS_MAX 4096

static struct slot* slots;
static _Atomic size_t slots_used;
// Initial-exec: a thread's first use of a variable in another model may allocate.
static _Thread_local struct slot* mine __attribute__((tls_model("initial-exec")));

__attribute__((constructor)) static void open_slots(void) {
  const char* path = getenv("POLLUX_ALLOCATIONS");
  const int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (fd < 0) return;
  void* memory =
      mmap(NULL, SLOTS_MAX * sizeof(struct slot), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory != MAP_FAILED) slots = memory;
  close(fd);
}

static void count(void) {
  if (slots == NULL) return;
  if (mine == NULL) {
    const size_t index = atomic_fetch_add(&slots_used, 1);
    if (index >= SLOTS_MAX) abort();  // Uncounted would be untrue.
    mine = &slots[index];
    atomic_store(&mine->thread, (uint64_t)gettid());
  }
  atomic_fetch_add(&mine->count, 1);
}

void* malloc(size_t size) {
  count();
  return __libc_malloc(size);
}

void* calloc(size_t elements, size_t size) {
  count();
  return __libc_calloc(elements, size);
}

void* realloc(void* old, size_t size) {
  count();
  return __libc_realloc(old, size);
}

void* memalign(size_t alignment, size_t size) {
  count();
  return __libc_memalign(alignment, size);
}

void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void** place, size_t alignment, size_t size) {
  if (alignment % sizeof(void*) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0) {
    return EINVAL;
  }
  void* memory = memalign(alignment, size);
  if (memory == NULL) return ENOMEM;
  *place = memory;
  return 0;
}
