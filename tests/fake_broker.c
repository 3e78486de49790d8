#include "fake_broker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "codec.h"
#include "error.h"
#include "sp.h"

#define SLOTS 256 /* connections at a time */
#define MUST(condition)                                                                                                \
    ((condition) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition), abort()))

typedef struct fake_slot {
    pthread_t thread;
    bool used; /* there is a thread to be joined */
    int fd;    /* -1: closed, the thread is at its end */
} fake_slot;

struct fake_broker {
    fake_serve *serve;
    void *context;
    char directory[64];
    char path[96];
    char address[128];
    int listener;
    atomic_bool stop;
    pthread_t acceptor;

    pthread_mutex_t lock;
    int connections; /* so far */
    int incarnation;
    fake_slot slots[SLOTS];
    int counts[CBM_OP_COUNT + 1];
    cbm_request last[CBM_OP_COUNT + 1];
    uint64_t late[4];
    uint64_t late_sequence; /* the highest one seen */
};

int64_t test_clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct sockaddr_un socket_address(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    MUST(strlen(path) < sizeof(address.sun_path));
    strcpy(address.sun_path, path);
    return address;
}

static int bound_socket(const char *path)
{
    struct sockaddr_un address = socket_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    MUST(fd >= 0);
    unlink(path);
    MUST(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    return fd;
}

/* ---- Serving -------------------------------------------------------------------------------------------------------- */

/* False: the end, or the broker stops. */
static bool read_some(fake_peer *peer)
{
    ssize_t got;

    if (peer->taken > 0) {
        memmove(peer->in, peer->in + peer->taken, peer->in_size - peer->taken);
        peer->in_size -= peer->taken;
        peer->taken = 0;
    }
    MUST(peer->in_size < sizeof(peer->in));
    got = recv(peer->fd, peer->in + peer->in_size, sizeof(peer->in) - peer->in_size, 0);
    if (got <= 0)
        return false;
    peer->in_size += (size_t)got;
    return true;
}

bool fake_read_greeting(fake_peer *peer)
{
    while (peer->in_size - peer->taken < CBM_SP_GREETING_SIZE)
        if (!read_some(peer))
            return false;
    MUST(cbm_sp_greeting_plausible(peer->in + peer->taken, CBM_SP_GREETING_SIZE));
    MUST(cbm_sp_greeting_protocol(peer->in + peer->taken) == CBM_SP_REQ);
    peer->taken += CBM_SP_GREETING_SIZE;
    return true;
}

bool fake_greet(fake_peer *peer)
{
    uint8_t greeting[CBM_SP_GREETING_SIZE];

    if (!fake_read_greeting(peer))
        return false;
    cbm_sp_greeting_write(greeting, CBM_SP_REP);
    fake_send(peer, greeting, sizeof(greeting));
    return true;
}

static void note_late(fake_broker *broker, const cbm_request *request)
{
    for (size_t i = 0; i < request->report_count; i++) {
        const cbm_report_message *report = &request->reports[i];

        MUST(report->late && report->has_client);
        if (report->sequence > broker->late_sequence) {
            broker->late_sequence = report->sequence;
            broker->late[report->outcome] += report->count;
        }
    }
}

static void note(fake_peer *peer)
{
    fake_broker *broker = peer->broker;

    pthread_mutex_lock(&broker->lock);
    broker->counts[peer->request.op]++;
    broker->last[peer->request.op] = peer->request;
    note_late(broker, &peer->request);
    pthread_mutex_unlock(&broker->lock);
}

bool fake_receive(fake_peer *peer)
{
    cbm_sp_frame frame;
    cbm_fault fault;
    size_t needed;

    for (;;) {
        cbm_sp_result result =
            cbm_sp_frame_read(peer->in + peer->taken, peer->in_size - peer->taken, CBM_REQUEST_MAX, &frame, &needed);
        if (result == CBM_SP_FRAME)
            break;
        MUST(result == CBM_SP_MORE);
        if (!read_some(peer))
            return false;
    }
    MUST(frame.backtrace_size == CBM_SP_ID_SIZE && frame.id & CBM_SP_ID_BIT);
    peer->id = frame.id;
    if (cbm_request_decode(frame.body, frame.body_size, &peer->request, &fault))
        peer->request = (cbm_request){.op = CBM_OP_COUNT};
    peer->taken += frame.size;
    note(peer);
    cbm_request_deinit(&peer->request);
    return true;
}

void fake_send(fake_peer *peer, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;

    while (size > 0) {
        ssize_t sent = send(peer->fd, at, size, MSG_NOSIGNAL);

        if (sent <= 0)
            return; /* it hung up: the next receive says so */
        at += sent;
        size -= (size_t)sent;
    }
}

void fake_wait_for_the_end(fake_peer *peer)
{
    do {
        peer->taken = peer->in_size;
    } while (read_some(peer));
}

void fake_serve_well(fake_peer *peer)
{
    if (!fake_greet(peer))
        return;
    while (fake_receive(peer))
        fake_answer(peer);
}

static void *serve_connection(void *context)
{
    fake_peer *peer = context;
    fake_broker *broker = peer->broker;

    broker->serve(peer);
    shutdown(peer->fd, SHUT_RDWR); /* a child of the test may have inherited it */
    pthread_mutex_lock(&broker->lock);
    close(peer->fd);
    broker->slots[peer->slot].fd = -1;
    pthread_mutex_unlock(&broker->lock);
    free(peer);
    return NULL;
}

/* A slot for another connection; that of one that has ended is taken again. */
static int take_slot(fake_broker *broker)
{
    for (int i = 0; i < SLOTS; i++) {
        fake_slot *slot = &broker->slots[i];

        if (slot->used && slot->fd >= 0)
            continue;
        if (slot->used)
            pthread_join(slot->thread, NULL);
        slot->used = true;
        return i;
    }
    MUST(!"a free slot");
    return -1;
}

static void serve_in_a_thread(fake_broker *broker, int fd)
{
    fake_peer *peer = calloc(1, sizeof(*peer));

    MUST(peer);
    peer->broker = broker;
    peer->fd = fd;
    pthread_mutex_lock(&broker->lock);
    peer->number = ++broker->connections;
    peer->slot = take_slot(broker);
    broker->slots[peer->slot].fd = fd;
    MUST(pthread_create(&broker->slots[peer->slot].thread, NULL, serve_connection, peer) == 0);
    pthread_mutex_unlock(&broker->lock);
}

static void *accept_all(void *context)
{
    fake_broker *broker = context;
    int fd;

    while ((fd = accept4(broker->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0 || errno == EINTR) {
        if (fd < 0)
            continue;
        if (broker->stop) {
            close(fd);
            break;
        }
        serve_in_a_thread(broker, fd);
    }
    return NULL;
}

/* ---- Starting and stopping ------------------------------------------------------------------------------------------ */

static void listen_at(fake_broker *broker)
{
    sigset_t all, before;

    broker->listener = bound_socket(broker->path);
    broker->stop = false;
    broker->incarnation++;
    MUST(listen(broker->listener, 64) == 0);
    sigfillset(&all);
    MUST(pthread_sigmask(SIG_SETMASK, &all, &before) == 0); /* signals are for the client's threads */
    MUST(pthread_create(&broker->acceptor, NULL, accept_all, broker) == 0);
    MUST(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
}

fake_broker *fake_broker_start(fake_serve *serve, void *context)
{
    fake_broker *broker = calloc(1, sizeof(*broker));

    MUST(broker);
    broker->serve = serve;
    broker->context = context;
    strcpy(broker->directory, "/tmp/cbm-fake-XXXXXX");
    MUST(mkdtemp(broker->directory));
    snprintf(broker->path, sizeof(broker->path), "%s/cbm.sock", broker->directory);
    snprintf(broker->address, sizeof(broker->address), "ipc://%s", broker->path);
    pthread_mutex_init(&broker->lock, NULL);
    listen_at(broker);
    return broker;
}

void fake_broker_hang_up(fake_broker *broker)
{
    pthread_mutex_lock(&broker->lock);
    for (int i = 0; i < SLOTS; i++)
        if (broker->slots[i].used && broker->slots[i].fd >= 0)
            shutdown(broker->slots[i].fd, SHUT_RDWR);
    pthread_mutex_unlock(&broker->lock);
}

void fake_broker_go_away(fake_broker *broker)
{
    broker->stop = true;
    shutdown(broker->listener, SHUT_RDWR); /* ends accept */
    pthread_join(broker->acceptor, NULL);
    close(broker->listener);
    unlink(broker->path);
    fake_broker_hang_up(broker);
    for (int i = 0; i < SLOTS; i++)
        if (broker->slots[i].used)
            pthread_join(broker->slots[i].thread, NULL);
    memset(broker->slots, 0, sizeof(broker->slots));
}

void fake_broker_restart(fake_broker *broker, fake_serve *serve)
{
    if (!broker->stop)
        fake_broker_go_away(broker);
    broker->serve = serve;
    listen_at(broker);
}

void fake_broker_stop(fake_broker *broker)
{
    if (!broker->stop)
        fake_broker_go_away(broker);
    unlink(broker->path); /* of whoever took its place */
    rmdir(broker->directory);
    pthread_mutex_destroy(&broker->lock);
    free(broker);
}

const char *fake_broker_address(const fake_broker *broker)
{
    return broker->address;
}

int fake_broker_incarnation(const fake_broker *broker)
{
    return broker->incarnation;
}

void *fake_broker_context(const fake_broker *broker)
{
    return broker->context;
}

int fake_broker_connections(fake_broker *broker)
{
    int connections;

    pthread_mutex_lock(&broker->lock);
    connections = broker->connections;
    pthread_mutex_unlock(&broker->lock);
    return connections;
}

int fake_broker_open_connections(fake_broker *broker)
{
    int count = 0;

    pthread_mutex_lock(&broker->lock);
    for (int i = 0; i < SLOTS; i++)
        count += broker->slots[i].used && broker->slots[i].fd >= 0;
    pthread_mutex_unlock(&broker->lock);
    return count;
}

int fake_broker_count(fake_broker *broker, cbm_operation op)
{
    int count;

    pthread_mutex_lock(&broker->lock);
    count = broker->counts[op];
    pthread_mutex_unlock(&broker->lock);
    return count;
}

cbm_request fake_broker_last(fake_broker *broker, cbm_operation op)
{
    cbm_request request;

    pthread_mutex_lock(&broker->lock);
    request = broker->last[op];
    pthread_mutex_unlock(&broker->lock);
    return request;
}

uint64_t fake_broker_late(fake_broker *broker, cbm_core_outcome outcome)
{
    uint64_t count;

    pthread_mutex_lock(&broker->lock);
    count = broker->late[outcome];
    pthread_mutex_unlock(&broker->lock);
    return count;
}

/* ---- Sockets without a broker ---------------------------------------------------------------------------------------- */

static char *new_address(char path[96])
{
    char directory[] = "/tmp/cbm-fake-XXXXXX";
    char *address = malloc(128);

    MUST(address && mkdtemp(directory));
    snprintf(path, 96, "%s/cbm.sock", directory);
    snprintf(address, 128, "ipc://%s", path);
    return address;
}

char *fake_refusing_address(void)
{
    char path[96];
    char *address = new_address(path);

    bound_socket(path); /* left to the end of the process, as the next */
    return address;
}

char *fake_full_address(void)
{
    char path[96];
    char *address = new_address(path);
    struct sockaddr_un to = socket_address(path);
    int listener = bound_socket(path);
    int fd;

    MUST(listen(listener, 1) == 0);
    do {
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        MUST(fd >= 0);
    } while (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
    MUST(errno == EAGAIN);
    return address;
}

void fake_address_remove(char *address)
{
    char *path = address + strlen("ipc://");

    unlink(path);
    *strrchr(path, '/') = '\0';
    rmdir(path);
    free(address);
}
