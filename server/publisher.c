#include "publisher.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "error.h"
#include "log.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

struct cbm_publisher {
    cbm_board *board;
    size_t size;
    int descriptor;
    pid_t thread; /* that died for the board, when it dies; 0: not registered */
    /*
     * The robust list is glibc's otherwise, for robust mutexes, and cbmd has none. The kernel reads this one as the thread dies:
     * here, and not on the board, since its addresses are nobody else's business.
     */
    struct robust_list_head dies;
    struct robust_list_head *before;
};

/* F_SEAL_FUTURE_WRITE leaves the one mapping that is there writable, and nothing else: no descriptor, no map, no hole. */
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

static int make_memfd(void)
{
    int descriptor = memfd_create("cbm-board", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

    if (descriptor < 0 && errno == EINVAL)
        descriptor = memfd_create("cbm-board", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return descriptor;
}

static int cause(void)
{
    return errno == ENOMEM || errno == ENFILE || errno == EMFILE ? CBM_PROTO_E_NOMEM : CBM_PROTO_E_UNSUPPORTED;
}

int cbm_publisher_new(cbm_publisher **publisher_out, uint32_t slot_count, const uint8_t incarnation[CBM_ID_SIZE])
{
    cbm_publisher *publisher = calloc(1, sizeof *publisher);
    void *map;
    int error;

    *publisher_out = NULL;
    if (!publisher)
        return CBM_PROTO_E_NOMEM;
    error = CBM_PROTO_E_UNSUPPORTED;
    publisher->size = cbm_board_size(slot_count);
    publisher->descriptor = -1;
    if (slot_count > CBM_BOARD_SLOTS_MAX)
        goto failed;
    publisher->descriptor = make_memfd();
    if (publisher->descriptor < 0 || ftruncate(publisher->descriptor, (off_t)publisher->size) != 0)
        goto failed_by_errno;
    map = mmap(NULL, publisher->size, PROT_READ | PROT_WRITE, MAP_SHARED, publisher->descriptor, 0);
    if (map == MAP_FAILED)
        goto failed_by_errno;
    publisher->board = map;
    cbm_board_init(publisher->board, slot_count, incarnation);
    if (fcntl(publisher->descriptor, F_ADD_SEALS, SEALS) != 0)
        goto failed_by_errno;
    *publisher_out = publisher;
    return 0;

failed_by_errno:
    error = cause();
failed:
    cbm_publisher_free(publisher);
    return error;
}

void cbm_publisher_free(cbm_publisher *publisher)
{
    if (!publisher)
        return;
    if (publisher->board) {
        cbm_publisher_die(publisher);
        munmap(publisher->board, publisher->size);
    }
    if (publisher->descriptor >= 0)
        close(publisher->descriptor);
    free(publisher);
}

int cbm_publisher_descriptor(const cbm_publisher *publisher)
{
    return publisher->descriptor;
}

uint64_t cbm_publisher_size(const cbm_publisher *publisher)
{
    return publisher->size;
}

void cbm_publisher_live(cbm_publisher *publisher)
{
    size_t size = 0;

    /* A list with nothing in it, and one lock that is being taken: the kernel cleans up after that one. */
    publisher->dies.list.next = &publisher->dies.list;
    publisher->dies.futex_offset = 0;
    publisher->dies.list_op_pending = (struct robust_list *)(void *)&publisher->board->alive;
    publisher->before = NULL;
    (void)syscall(SYS_get_robust_list, 0, &publisher->before, &size);
    if (syscall(SYS_set_robust_list, &publisher->dies, sizeof publisher->dies) != 0) {
        cbm_log_message(CBM_LOG_WARN, "no_shared_memory", "set_robust_list: %s: clients will do without the board",
                        strerror(errno));
        return;
    }
    publisher->thread = gettid();
    atomic_store_explicit(&publisher->board->alive, (uint32_t)publisher->thread, memory_order_release);
}

void cbm_publisher_die(cbm_publisher *publisher)
{
    atomic_store_explicit(&publisher->board->alive, 0, memory_order_release);
    if (publisher->thread && publisher->thread == gettid())
        (void)syscall(SYS_set_robust_list, publisher->before, sizeof publisher->dies);
    publisher->thread = 0;
}

uint64_t cbm_publisher_put(cbm_publisher *publisher, uint32_t slot, uint64_t word, int64_t aux)
{
    const cbm_slot *at = &publisher->board->slots[slot];
    uint64_t before = atomic_load_explicit(&at->word, memory_order_relaxed);

    if (before != word || atomic_load_explicit(&at->aux, memory_order_relaxed) != aux)
        cbm_board_write(publisher->board, slot, word, aux);
    return before;
}
