#include "fake_board.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "handshake.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define LEDGERS 64 /* that are kept; earlier ones go */
#define MUST(condition)                                                                                                \
    ((condition) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition), abort()))

struct fake_board {
    fake_broker *broker;
    fake_attach how;
    cbm_board *pages; /* of the present incarnation, writable */
    int fd;           /* what is handed out */
    int listener;
    pthread_t thread;
    atomic_bool hang;
    bool hides_pid;
    char path[128];

    pthread_mutex_t lock;
    char names[FAKE_SLOTS][CBM_CORE_NAME_MAX + 1];
    uint32_t name_count;
    uint32_t generations[FAKE_SLOTS];
    uint32_t entry_limit;
    uint32_t slow_call_duration_ms;
    const cbm_ledger *ledgers[LEDGERS];
    int attached;
};

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- The board ------------------------------------------------------------------------------------------------------- */

static void make_pages(fake_board *board, int incarnation)
{
    size_t size = cbm_board_size(FAKE_SLOTS);
    uint8_t id[CBM_ID_SIZE];

    memset(id, board->how == FAKE_ATTACH_OTHER_INCARNATION ? 99 : incarnation, sizeof(id));
    board->fd = memfd_create("fake-board", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    MUST(board->fd >= 0 && ftruncate(board->fd, (off_t)size) == 0);
    board->pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, board->fd, 0);
    MUST(board->pages != MAP_FAILED);
    cbm_board_init(board->pages, FAKE_SLOTS, id);
    if (board->how != FAKE_ATTACH_UNSEALED)
        MUST(fcntl(board->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0);
    for (uint32_t slot = 0; slot < FAKE_SLOTS; slot++) {
        board->generations[slot] = FAKE_GENERATION + 100 * (uint32_t)(incarnation - 1);
        cbm_board_write(board->pages, slot, cbm_word_make(CBM_CORE_CLOSED, CBM_WORD_FAST, 1, board->generations[slot]),
                        0);
    }
    fake_board_set_alive(board, true);
}

void fake_board_set_alive(fake_board *board, bool alive)
{
    atomic_store(&board->pages->alive, alive ? (uint32_t)getpid() : 0);
}

void fake_board_put(fake_board *board, uint32_t slot, uint64_t word, int64_t aux)
{
    cbm_board_write(board->pages, slot, word, aux);
}

uint64_t fake_board_word(fake_board *board, cbm_core_state state, uint64_t flags, uint32_t epoch)
{
    return cbm_word_make(state, flags, epoch, board->generations[0]);
}

void fake_board_renew_slot(fake_board *board, uint32_t slot)
{
    pthread_mutex_lock(&board->lock);
    board->generations[slot]++;
    cbm_board_write(board->pages, slot, cbm_word_make(CBM_CORE_CLOSED, CBM_WORD_FAST, 1, board->generations[slot]), 0);
    pthread_mutex_unlock(&board->lock);
}

/* ---- Requests -------------------------------------------------------------------------------------------------------- */

/* The slot of a name; a name that is new gets the next one. */
static uint32_t slot_of(fake_board *board, const char *name)
{
    uint32_t slot = 0;

    while (slot < board->name_count && strcmp(board->names[slot], name) != 0)
        slot++;
    MUST(slot < FAKE_SLOTS);
    if (slot == board->name_count)
        strcpy(board->names[board->name_count++], name);
    return slot;
}

static void place(fake_board *board, const cbm_request *request, cbm_get_reply *reply)
{
    const cbm_ledger *ledger = fake_board_ledger(board);
    uint32_t slot;

    pthread_mutex_lock(&board->lock);
    slot = slot_of(board, request->name);
    reply->status.slot = slot;
    reply->status.slot_generation = board->generations[slot];
    if (board->slow_call_duration_ms)
        reply->status.policy.slow_call_duration_ms = board->slow_call_duration_ms;
    if (request->given & CBM_FIELD(LEDGER) && ledger && memcmp(request->ledger, ledger->id, CBM_ID_SIZE) == 0 &&
        slot < board->entry_limit)
        reply->entry = slot;
    pthread_mutex_unlock(&board->lock);
}

static void answer(fake_peer *peer)
{
    fake_board *board = fake_broker_context(peer->broker);
    cbm_reply reply;

    fake_ordinary(peer, &reply);
    if (reply.kind == CBM_REPLY_ATTACH) {
        memset(reply.data.attach.token, 0x5a, CBM_ID_SIZE);
        reply.data.attach.now_ns = now_ns();
    }
    if (reply.kind == CBM_REPLY_INFO && board->hides_pid)
        reply.data.info.pid++;
    if (reply.kind == CBM_REPLY_GET && !reply.error)
        place(board, &peer->request, &reply.data.get);
    fake_answer_to(peer, peer->id, &reply);
    cbm_reply_deinit(&reply);
}

static void serve(fake_peer *peer)
{
    fake_board *board = fake_broker_context(peer->broker);

    if (!fake_greet(peer))
        return;
    while (fake_receive(peer))
        if (!board->hang)
            answer(peer);
}

/* ---- The handshake --------------------------------------------------------------------------------------------------- */

/* The ledger's descriptor. */
static int receive_request(int fd)
{
    cbm_attach_request request;
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {&request, sizeof(request)};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.bytes)};
    uint8_t token[CBM_ID_SIZE];
    int ledger_fd;

    memset(token, 0x5a, sizeof(token));
    if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC) != sizeof(request))
        return -1;
    MUST(request.magic == CBM_ATTACH_MAGIC && request.version == CBM_ATTACH_VERSION);
    MUST(memcmp(request.token, token, sizeof(token)) == 0);
    MUST(CMSG_FIRSTHDR(&message) && CMSG_FIRSTHDR(&message)->cmsg_type == SCM_RIGHTS);
    memcpy(&ledger_fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
    return ledger_fd;
}

static bool send_reply(fake_board *board, int fd)
{
    cbm_attach_reply reply = {
        .magic = CBM_ATTACH_MAGIC,
        .version = CBM_ATTACH_VERSION,
        .result = board->how == FAKE_ATTACH_REFUSED ? -21 : 0,
        .now_ns = board->how == FAKE_ATTACH_OTHER_TIME ? 1 : now_ns(),
        .board_size = cbm_board_size(FAKE_SLOTS) + (board->how == FAKE_ATTACH_SHORT ? 16 : 0),
        .ledger_size = CBM_LEDGER_SIZE,
    };
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {&reply, sizeof(reply)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    memcpy(reply.incarnation, board->pages->incarnation, CBM_ID_SIZE);
    if (board->how != FAKE_ATTACH_REFUSED && board->how != FAKE_ATTACH_NO_BOARD) {
        message.msg_control = &control;
        message.msg_controllen = sizeof(control.bytes);
        CMSG_FIRSTHDR(&message)->cmsg_level = SOL_SOCKET;
        CMSG_FIRSTHDR(&message)->cmsg_type = SCM_RIGHTS;
        CMSG_FIRSTHDR(&message)->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &board->fd, sizeof(int));
    }
    return sendmsg(fd, &message, MSG_NOSIGNAL) == sizeof(reply);
}

static void take_ledger(fake_board *board, int ledger_fd)
{
    int seals = fcntl(ledger_fd, F_GET_SEALS);
    const cbm_ledger *ledger = mmap(NULL, CBM_LEDGER_SIZE, PROT_READ, MAP_SHARED, ledger_fd, 0);

    MUST(seals >= 0 && seals & F_SEAL_SHRINK && seals & F_SEAL_GROW && seals & F_SEAL_SEAL);
    MUST(ledger != MAP_FAILED && cbm_ledger_valid(ledger, CBM_LEDGER_SIZE));
    pthread_mutex_lock(&board->lock);
    if (board->attached >= LEDGERS)
        munmap((void *)(uintptr_t)board->ledgers[board->attached % LEDGERS], CBM_LEDGER_SIZE);
    board->ledgers[board->attached++ % LEDGERS] = ledger;
    pthread_mutex_unlock(&board->lock);
}

static void wait_for_the_end(int fd)
{
    uint8_t bytes[64];

    while (recv(fd, bytes, sizeof(bytes), 0) > 0)
        continue;
}

static void shake_hands(fake_board *board, int fd)
{
    int ledger_fd = receive_request(fd);
    uint8_t byte = 0;

    if (ledger_fd < 0)
        return;
    if (board->how == FAKE_ATTACH_SILENT)
        wait_for_the_end(fd);
    else if (send_reply(board, fd) && recv(fd, &byte, 1, 0) == 1 && byte == CBM_ATTACH_ACKNOWLEDGE) {
        if (board->how == FAKE_ATTACH_HANGS_UP)
            wait_for_the_end(fd);
        else
            take_ledger(board, ledger_fd);
    }
    close(ledger_fd);
}

static void *accept_all(void *context)
{
    fake_board *board = context;
    int fd;

    while ((fd = accept4(board->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0 || errno == EINTR) {
        if (fd < 0)
            continue;
        shake_hands(board, fd);
        shutdown(fd, SHUT_RDWR); /* a child of the test may have inherited it */
        close(fd);
    }
    return NULL;
}

/* ---- Starting and stopping ------------------------------------------------------------------------------------------- */

static void open_board(fake_board *board, int incarnation)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    make_pages(board, incarnation);
    if (board->how == FAKE_ATTACH_NO_SOCKET)
        return;
    MUST((size_t)snprintf(board->path, sizeof(board->path), "%s%s",
                          fake_broker_address(board->broker) + strlen("ipc://"),
                          CBM_SHM_SUFFIX) < sizeof(address.sun_path));
    strcpy(address.sun_path, board->path);
    board->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    MUST(board->listener >= 0);
    unlink(board->path);
    MUST(bind(board->listener, (struct sockaddr *)&address, sizeof(address)) == 0);
    MUST(listen(board->listener, 64) == 0);
    MUST(pthread_create(&board->thread, NULL, accept_all, board) == 0);
}

static void close_board(fake_board *board)
{
    fake_board_set_alive(board, false);
    if (board->how != FAKE_ATTACH_NO_SOCKET) {
        shutdown(board->listener, SHUT_RDWR);
        pthread_join(board->thread, NULL);
        close(board->listener);
        unlink(board->path);
    }
    close(board->fd);
    munmap(board->pages, cbm_board_size(FAKE_SLOTS));
}

fake_board *fake_board_start(fake_attach how)
{
    fake_board *board = calloc(1, sizeof(*board));

    MUST(board);
    board->how = how;
    board->entry_limit = CBM_LEDGER_ENTRIES;
    pthread_mutex_init(&board->lock, NULL);
    board->broker = fake_broker_start(serve, board);
    open_board(board, fake_broker_incarnation(board->broker));
    return board;
}

void fake_board_stop(fake_board *board)
{
    if (board->pages)
        close_board(board);
    fake_broker_stop(board->broker);
    for (int i = 0; i < board->attached && i < LEDGERS; i++)
        munmap((void *)(uintptr_t)board->ledgers[i], CBM_LEDGER_SIZE);
    free(board);
}

void fake_board_die(fake_board *board)
{
    close_board(board);
    board->pages = NULL;
    fake_broker_go_away(board->broker);
}

void fake_board_restart(fake_board *board)
{
    if (board->pages)
        fake_board_die(board);
    open_board(board, fake_broker_incarnation(board->broker) + 1);
    fake_broker_restart(board->broker, serve);
}

void fake_board_hang(fake_board *board, bool hang)
{
    board->hang = hang;
}

void fake_board_hide_pid(fake_board *board)
{
    board->hides_pid = true;
}

void fake_board_limit_entries(fake_board *board, uint32_t count)
{
    board->entry_limit = count;
}

void fake_board_set_slow(fake_board *board, uint32_t slow_call_duration_ms)
{
    board->slow_call_duration_ms = slow_call_duration_ms;
}

fake_broker *fake_board_broker(fake_board *board)
{
    return board->broker;
}

const char *fake_board_address(fake_board *board)
{
    return fake_broker_address(board->broker);
}

/* ---- Looking --------------------------------------------------------------------------------------------------------- */

int fake_board_attached(fake_board *board)
{
    int attached;

    pthread_mutex_lock(&board->lock);
    attached = board->attached;
    pthread_mutex_unlock(&board->lock);
    return attached;
}

const cbm_ledger *fake_board_ledger(fake_board *board)
{
    const cbm_ledger *ledger;

    pthread_mutex_lock(&board->lock);
    ledger = board->attached ? board->ledgers[(board->attached - 1) % LEDGERS] : NULL;
    pthread_mutex_unlock(&board->lock);
    return ledger;
}

fake_counts fake_counts_of(const cbm_ledger *ledger, uint32_t entry)
{
    fake_counts counts = {0};

    for (uint32_t lane = 0; lane < atomic_load(&ledger->lanes_in_use); lane++) {
        const cbm_entry *read = &ledger->entries[lane][entry];

        for (int epoch = 0; epoch < CBM_LEDGER_EPOCHS; epoch++)
            counts.successes += atomic_load(&read->successes[epoch]);
        counts.late += atomic_load(&read->late);
        counts.rejected += atomic_load(&read->rejected);
        counts.half_open_rejected += atomic_load(&read->half_open_rejected);
        counts.timed += atomic_load(&read->timed);
    }
    for (uint32_t lane = 0; lane < CBM_LEDGER_HISTOGRAM_LANES; lane++)
        for (uint32_t bucket = 0; bucket < CBM_LEDGER_BUCKETS; bucket++)
            counts.histogram += atomic_load(&ledger->histograms[lane][entry].counts[bucket]);
    return counts;
}
