#include "memory.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "board.h"
#include "client.h"
#include "ledger.h"
#include "random.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define BOARD_RANGE (CBM_BOARD_HEADER_SIZE + (size_t)CBM_BOARD_SLOTS_MAX * sizeof(cbm_slot))
#define BOARD_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE)
#define LEDGER_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define ZEROS (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define UNSEEN_BY_SANITIZER
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define UNSEEN_BY_SANITIZER
#endif

/*
 * In place of what is there, while others read it. ThreadSanitizer takes a mapping for a write of every byte, by which those would be
 * in a race; the kernel changes a page as a whole, and they check what they read.
 */
static void *map_over(void *at, size_t size, int protection, int flags, int fd)
{
#ifdef UNSEEN_BY_SANITIZER
    return (void *)syscall(SYS_mmap, at, size, protection, flags | MAP_FIXED, fd, 0);
#else
    return mmap(at, size, protection, flags | MAP_FIXED, fd, 0);
#endif
}

static bool map_zeros(void *at, size_t size, int protection)
{
    return map_over(at, size, protection, ZEROS, -1) != MAP_FAILED;
}

/* Whether the descriptor still is what was opened. */
static bool is_ours(const cbm_memory *memory)
{
    struct stat status;

    return memory->ledger_fd >= 0 && fstat(memory->ledger_fd, &status) == 0 && status.st_dev == memory->ledger_device &&
           status.st_ino == memory->ledger_inode;
}

static bool reserve(cbm_client *client)
{
    void *board = mmap(NULL, BOARD_RANGE, PROT_READ, ZEROS, -1, 0);
    void *ledger = mmap(NULL, CBM_LEDGER_SIZE, PROT_READ | PROT_WRITE, ZEROS, -1, 0);

    if (board == MAP_FAILED || ledger == MAP_FAILED) {
        if (board != MAP_FAILED)
            munmap(board, BOARD_RANGE);
        if (ledger != MAP_FAILED)
            munmap(ledger, CBM_LEDGER_SIZE);
        return false;
    }
    client->board = board;
    client->ledger = ledger;
    return true;
}

void cbm_memory_init(cbm_client *client)
{
    client->memory.ledger_fd = -1;
    client->shares_memory = client->board || reserve(client);
}

void cbm_memory_renew(cbm_client *client)
{
    if (!client->shares_memory)
        return;
    map_zeros((void *)(uintptr_t)client->board, BOARD_RANGE, PROT_READ);
    map_zeros(client->ledger, CBM_LEDGER_SIZE, PROT_READ | PROT_WRITE);
    cbm_memory_end_ledger(client);
}

void cbm_memory_release(cbm_client *client)
{
    cbm_memory_renew(client);
}

/* ---- The ledger -------------------------------------------------------------------------------------------------- */

/* Never a standard descriptor: what a program that has closed them writes there would go into the ledger. */
static int new_memfd(void)
{
    int fd = memfd_create("cbm-ledger", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    int higher;

    if (fd < 0)
        fd = memfd_create("cbm-ledger", MFD_CLOEXEC | MFD_ALLOW_SEALING); /* before Linux 6.3 */
    if (fd < 0 || fd > STDERR_FILENO)
        return fd;
    higher = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    close(fd);
    return higher;
}

/* A process that makes a file larger than it may gets a signal that ends it, and a memfd is a file. */
static bool may_be_so_large(size_t size)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_FSIZE, &limit) == 0 && (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= size);
}

/* Maps it in place of the zeros, or of a ledger whose descriptor the program has closed. */
static bool map_ledger(cbm_client *client, int fd, const uint8_t id[CBM_ID_SIZE])
{
    struct stat status;
    cbm_ledger *ledger;

    if (ftruncate(fd, CBM_LEDGER_SIZE) || fcntl(fd, F_ADD_SEALS, LEDGER_SEALS) || fstat(fd, &status))
        return false;
    ledger = map_over(client->ledger, CBM_LEDGER_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
    if (ledger == MAP_FAILED)
        return false;
    cbm_ledger_init(ledger, id);
    client->memory.ledger_device = status.st_dev;
    client->memory.ledger_inode = status.st_ino;
    return true;
}

void cbm_memory_end_ledger(cbm_client *client)
{
    if (is_ours(&client->memory))
        close(client->memory.ledger_fd);
    client->memory.ledger_fd = -1;
}

int cbm_memory_ledger(cbm_client *client)
{
    cbm_memory *memory = &client->memory;
    int fd;

    if (is_ours(memory))
        return memory->ledger_fd;
    memory->ledger_fd = -1;
    if (!may_be_so_large(CBM_LEDGER_SIZE))
        return -1;
    fd = new_memfd();
    if (fd < 0)
        return -1;
    cbm_random(memory->ledger_id, sizeof(memory->ledger_id));
    if (!map_ledger(client, fd, memory->ledger_id)) {
        close(fd);
        return -1;
    }
    memory->ledger_fd = fd;
    return fd;
}

/* ---- The board --------------------------------------------------------------------------------------------------- */

bool cbm_memory_check_board(int fd, uint64_t size, const uint8_t incarnation[CBM_ID_SIZE])
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct statfs system;
    struct stat status;
    const cbm_board *board;
    bool good;

    if (seals < 0 || (seals & BOARD_SEALS) != BOARD_SEALS || size < CBM_BOARD_HEADER_SIZE || size > BOARD_RANGE)
        return false;
    if (fstatfs(fd, &system) || system.f_type != TMPFS_MAGIC) /* where pages are huge, reading one can fault */
        return false;
    if (fstat(fd, &status) || (uint64_t)status.st_size != size)
        return false;
    board = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (board == MAP_FAILED)
        return false;
    good = cbm_board_valid(board, size) && memcmp(board->incarnation, incarnation, CBM_ID_SIZE) == 0;
    munmap((void *)(uintptr_t)board, size);
    return good;
}

bool cbm_memory_map_board(cbm_client *client, int fd, uint64_t size)
{
    void *range = (void *)(uintptr_t)client->board;

    /* The last one goes first, with all its slots: the head of this one, which may be smaller, is not to vouch for any of them. */
    if (!map_zeros(range, BOARD_RANGE, PROT_READ))
        return false;
    if (map_over(range, size, PROT_READ, MAP_SHARED, fd) != MAP_FAILED)
        return true;
    map_zeros(range, BOARD_RANGE, PROT_READ); /* it may have left a hole */
    return false;
}
