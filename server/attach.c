#include "attach.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "attach_peer.h"
#include "attach_socket.h"
#include "attach_watch.h"
#include "error.h"
#include "hurry.h"
#include "log.h"

#define REPLIED_OF_A_USER 4 /* descriptors under way are limited for all of this process's user together */
#define PEERS_OF_A_USER 64
#define PEERS_MAX 512
#define PEERS_MIN 16                             /* at most an eighth of the descriptors, but so many */
#define RETRY_NS (10 * CBM_CORE_NS_PER_S / 1000) /* accepting again at once, out of descriptors, would spin */
#define COMPLAINT_SPACING_NS CBM_CORE_NS_PER_S

/* Lines of the log that anybody could cause as often as he likes. */
typedef struct complaints {
    int64_t told_ns;
    uint64_t untold; /* since then */
} complaints;

struct cbm_attach {
    cbm_attach_source listener, waker; /* what events of the socket and of `wake` point to */
    cbm_engine *engine;
    const cbm_publisher *publisher;
    cbm_attach_socket socket;
    bool own_only; /* an abstract socket: for root and the broker's own user, as the broker's is */
    int epoll, wake;
    pthread_t thread;
    bool runs;
    atomic_bool stopping;
    /* What follows is the thread's. */
    cbm_attach_watch watch;
    cbm_attach_peer *first, *last; /* in the order in which they came */
    size_t count, most;
    int64_t paused_until_ns; /* 0: connections are accepted */
    complaints refusals, shortages;
    cbm_hurry hurry;
};

/* ---- The log ------------------------------------------------------------------------------------------------------- */

static bool may_tell(complaints *told, int64_t now_ns)
{
    if (told->told_ns && now_ns - told->told_ns < COMPLAINT_SPACING_NS) {
        told->untold++;
        return false;
    }
    told->told_ns = now_ns;
    return true;
}

static void end_line(cbm_log_line *line, complaints *told)
{
    if (told->untold)
        cbm_log_line_uint(line, "repeated", told->untold);
    told->untold = 0;
    cbm_log_line_end(line);
}

static void tell_refused(cbm_attach *attach, const cbm_attach_peer *peer, int error, const char *why)
{
    bool ours = error == CBM_PROTO_E_FULL || error == CBM_PROTO_E_NOMEM;
    complaints *told = ours ? &attach->shortages : &attach->refusals;
    cbm_log_level level = ours ? CBM_LOG_WARN : CBM_LOG_INFO;
    cbm_log_line line;

    if (!cbm_log_enabled(level) || !may_tell(told, cbm_clock_ns()))
        return;
    cbm_log_line_begin(&line, level, "attach_refused");
    cbm_log_line_uint(&line, "uid", peer->uid);
    cbm_log_line_int(&line, "pid", peer->pid);
    cbm_log_line_string(&line, "error", cbm_proto_error_name(error));
    if (why)
        cbm_log_line_string(&line, "reason", why);
    end_line(&line, told);
}

static void tell_attached(const cbm_attach_peer *peer)
{
    if (cbm_log_enabled(CBM_LOG_DEBUG))
        cbm_log_message(CBM_LOG_DEBUG, "attached", "uid %llu, pid %lld", (unsigned long long)peer->uid,
                        (long long)peer->pid);
}

/* ---- The peers ----------------------------------------------------------------------------------------------------- */

static void add(cbm_attach *attach, cbm_attach_peer *peer)
{
    peer->previous = attach->last;
    *(attach->last ? &attach->last->next : &attach->first) = peer;
    attach->last = peer;
    attach->count++;
}

static void drop(cbm_attach *attach, cbm_attach_peer *peer)
{
    *(peer->previous ? &peer->previous->next : &attach->first) = peer->next;
    *(peer->next ? &peer->next->previous : &attach->last) = peer->previous;
    attach->count--;
    cbm_attach_peer_free(peer);
}

static void refuse(cbm_attach *attach, cbm_attach_peer *peer, int error)
{
    tell_refused(attach, peer, error, peer->why);
    cbm_attach_peer_refuse(peer, error, cbm_engine_incarnation(attach->engine));
    drop(attach, peer);
}

static size_t count_of(const cbm_attach *attach, uint64_t uid, cbm_attach_stage from)
{
    size_t count = 0;

    for (const cbm_attach_peer *peer = attach->first; peer; peer = peer->next)
        count += peer->uid == uid && peer->stage >= from;
    return count;
}

/* The youngest of the user with the most, if that is more than the newcomer's has. */
static cbm_attach_peer *find_one_too_many(const cbm_attach *attach, uint64_t newcomer)
{
    size_t most = count_of(attach, newcomer, CBM_ATTACH_SILENT) + 1;
    cbm_attach_peer *found = NULL;

    for (cbm_attach_peer *peer = attach->last; peer; peer = peer->previous) {
        size_t count;

        if (found && peer->uid == found->uid)
            continue;
        count = count_of(attach, peer->uid, CBM_ATTACH_SILENT);
        if (count > most) {
            most = count;
            found = peer;
        }
    }
    return found;
}

static bool find_place(cbm_attach *attach, const cbm_attach_peer *newcomer)
{
    cbm_attach_peer *other;

    if (attach->own_only && newcomer->uid != 0 && newcomer->uid != geteuid())
        return false;
    if (count_of(attach, newcomer->uid, CBM_ATTACH_SILENT) >= PEERS_OF_A_USER)
        return false;
    if (attach->count < attach->most)
        return true;
    other = find_one_too_many(attach, newcomer->uid);
    if (other)
        drop(attach, other);
    return other != NULL;
}

static bool await(const cbm_attach *attach, int operation, int descriptor, uint32_t events, void *of)
{
    struct epoll_event event = {.events = events, .data.ptr = of};

    return epoll_ctl(attach->epoll, operation, descriptor, &event) == 0;
}

static void pause_accepting(cbm_attach *attach, int error)
{
    cbm_log_line line;

    attach->paused_until_ns = cbm_clock_ns() + RETRY_NS;
    await(attach, EPOLL_CTL_MOD, attach->socket.descriptor, 0, &attach->listener);
    if (!cbm_log_enabled(CBM_LOG_WARN) || !may_tell(&attach->shortages, cbm_clock_ns()))
        return;
    cbm_log_line_begin(&line, CBM_LOG_WARN, "cannot_accept");
    cbm_log_line_string(&line, "message", strerror(error));
    end_line(&line, &attach->shortages);
}

static void accept_one(cbm_attach *attach)
{
    int descriptor = accept4(attach->socket.descriptor, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    cbm_attach_peer *peer;

    if (descriptor < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            pause_accepting(attach, errno);
        return;
    }
    peer = cbm_attach_peer_new(descriptor, cbm_clock_ns());
    if (!peer)
        return;
    if (find_place(attach, peer) && await(attach, EPOLL_CTL_ADD, descriptor, EPOLLIN, peer))
        add(attach, peer);
    else
        cbm_attach_peer_free(peer);
}

/* ---- Their steps --------------------------------------------------------------------------------------------------- */

static void take_request(cbm_attach *attach, cbm_attach_peer *peer)
{
    int result = cbm_attach_peer_request(peer, cbm_engine_tokens(attach->engine), cbm_clock_ns());

    if (result < 0)
        refuse(attach, peer, result);
    else if (result == CBM_ATTACH_GONE)
        drop(attach, peer);
    else if (result == 0)
        await(attach, EPOLL_CTL_MOD, peer->descriptor, EPOLLRDHUP, peer);
}

static void give_turn(cbm_attach *attach, cbm_attach_peer *peer)
{
    int result = cbm_attach_peer_reply(peer, attach->publisher, cbm_engine_incarnation(attach->engine));

    if (result < 0)
        refuse(attach, peer, result);
    else if (result == CBM_ATTACH_GONE)
        drop(attach, peer);
    else
        await(attach, EPOLL_CTL_MOD, peer->descriptor, EPOLLIN, peer);
}

/* Whoever waits, in the order in which they came, as far as their users have room. */
static void give_turns(cbm_attach *attach)
{
    cbm_attach_peer *next;

    for (cbm_attach_peer *peer = attach->first; peer; peer = next) {
        next = peer->next;
        if (peer->stage == CBM_ATTACH_WAITING && count_of(attach, peer->uid, CBM_ATTACH_REPLIED) < REPLIED_OF_A_USER)
            give_turn(attach, peer);
    }
}

/* Watched before it is attached: afterwards nothing may fail. */
static int hand_over(cbm_attach *attach, cbm_attach_peer *peer)
{
    cbm_ledger_owner owner = {.uid = peer->uid, .pid = peer->pid, .connection = peer->owner.connection};
    cbm_attach_process *process = NULL;
    uint64_t holder;
    int error = 0;

    if (peer->process >= 0) {
        error = cbm_attach_watch_begin(&attach->watch, peer->process, &process);
        if (error)
            return error;
        peer->process = -1;
    }
    error = cbm_engine_ledger_attach(attach->engine, peer->ledger, &owner, &holder);
    if (error) {
        if (process)
            cbm_attach_watch_end(&attach->watch, process);
        return error;
    }
    peer->ledger = NULL;
    if (process)
        cbm_attach_watch_keep(&attach->watch, process, holder);
    return 0;
}

static void take_acknowledgement(cbm_attach *attach, cbm_attach_peer *peer)
{
    int result = cbm_attach_peer_acknowledgement(peer);

    if (result == CBM_ATTACH_NOTHING)
        return;
    if (result == 0)
        result = hand_over(attach, peer);
    if (result < 0) {
        refuse(attach, peer, result);
        return;
    }
    if (result == 0)
        tell_attached(peer);
    drop(attach, peer);
}

static void hear(cbm_attach *attach, cbm_attach_peer *peer)
{
    switch (peer->stage) {
    case CBM_ATTACH_SILENT: take_request(attach, peer); return;
    case CBM_ATTACH_WAITING: drop(attach, peer); return; /* only its end is waited for */
    case CBM_ATTACH_REPLIED: take_acknowledgement(attach, peer); return;
    }
}

static void end_process(cbm_attach *attach, cbm_attach_process *process)
{
    cbm_engine_ledger_end(attach->engine, process->holder);
    cbm_attach_watch_end(&attach->watch, process);
}

/* ---- The thread ---------------------------------------------------------------------------------------------------- */

static void expire(cbm_attach *attach)
{
    int64_t now_ns = cbm_clock_ns();
    cbm_attach_peer *next;

    for (cbm_attach_peer *peer = attach->first; peer; peer = next) {
        next = peer->next;
        if (peer->deadline_ns <= now_ns)
            drop(attach, peer);
    }
    if (attach->paused_until_ns && attach->paused_until_ns <= now_ns) {
        attach->paused_until_ns = 0;
        await(attach, EPOLL_CTL_MOD, attach->socket.descriptor, EPOLLIN, &attach->listener);
    }
}

/* Until the next thing that is due by time; -1: there is none. */
static int timeout_ms(const cbm_attach *attach)
{
    int64_t due_ns = attach->paused_until_ns ? attach->paused_until_ns : INT64_MAX, left_ns;

    for (const cbm_attach_peer *peer = attach->first; peer; peer = peer->next)
        if (peer->deadline_ns < due_ns)
            due_ns = peer->deadline_ns;
    if (due_ns == INT64_MAX)
        return -1;
    left_ns = due_ns - cbm_clock_ns();
    return left_ns < 0 ? 0 : (int)(left_ns / 1000000) + 1;
}

static void handle(cbm_attach *attach, void *of)
{
    eventfd_t count;

    switch (*(const cbm_attach_source *)of) {
    case CBM_ATTACH_LISTENER: accept_one(attach); return;
    case CBM_ATTACH_WAKE: (void)eventfd_read(attach->wake, &count); return;
    case CBM_ATTACH_PEER: hear(attach, of); return;
    case CBM_ATTACH_PROCESS: end_process(attach, of); return;
    }
}

static void *serve(void *context)
{
    cbm_attach *attach = context;

    struct epoll_event event;
    int events;

    cbm_hurry_init(&attach->hurry);
    while (!atomic_load(&attach->stopping)) {
        /* One at a time: what it does may end what another event would be of. */
        events = epoll_wait(attach->epoll, &event, 1, timeout_ms(attach));
        cbm_hurry_begin(&attach->hurry);
        if (events == 1)
            handle(attach, event.data.ptr);
        cbm_attach_watch_forget(&attach->watch);
        expire(attach);
        give_turns(attach);
        cbm_hurry_end(&attach->hurry);
    }
    cbm_hurry_begin(&attach->hurry);
    while (attach->first)
        drop(attach, attach->first);
    cbm_hurry_deinit(&attach->hurry);
    return NULL;
}

static void ledger_ended(void *context, uint64_t holder)
{
    cbm_attach *attach = context;

    cbm_attach_watch_ended(&attach->watch, holder);
}

/* ---- Its life ------------------------------------------------------------------------------------------------------ */

/* Without this the end of a process would not be seen. */
static bool can_watch_processes(void)
{
    int descriptor = pidfd_open(getpid(), 0);

    if (descriptor < 0)
        return false;
    close(descriptor);
    return true;
}

static size_t peers_for(void)
{
    struct rlimit limit;
    size_t most = PEERS_MAX;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 8 < most)
        most = (size_t)limit.rlim_cur / 8;
    return most > PEERS_MIN ? most : PEERS_MIN;
}

static bool set_up(cbm_attach *attach)
{
    attach->epoll = epoll_create1(EPOLL_CLOEXEC);
    attach->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    cbm_attach_watch_init(&attach->watch, attach->epoll, attach->wake);
    if (attach->epoll < 0 || attach->wake < 0 || !await(attach, EPOLL_CTL_ADD, attach->wake, EPOLLIN, &attach->waker) ||
        !await(attach, EPOLL_CTL_ADD, attach->socket.descriptor, EPOLLIN, &attach->listener))
        return false;
    errno = pthread_create(&attach->thread, NULL, serve, attach);
    attach->runs = errno == 0;
    return attach->runs;
}

bool cbm_attach_start(cbm_attach **attach_out, const cbm_address *address, cbm_engine *engine, char *message,
                      size_t message_size)
{
    cbm_attach *attach;

    *attach_out = NULL;
    if (!cbm_engine_publisher(engine) || !can_watch_processes()) {
        snprintf(message, message_size, "this system has no sealed memory to share, or no pidfds");
        return false;
    }
    attach = calloc(1, sizeof *attach);
    if (!attach) {
        snprintf(message, message_size, "out of memory");
        return false;
    }
    *attach = (cbm_attach){
        .listener = CBM_ATTACH_LISTENER,
        .waker = CBM_ATTACH_WAKE,
        .engine = engine,
        .publisher = cbm_engine_publisher(engine),
        .own_only = address->abstract,
        .most = peers_for(),
    };
    if (!cbm_attach_socket_open(&attach->socket, address, message, message_size)) {
        free(attach);
        return false;
    }
    if (!set_up(attach)) {
        snprintf(message, message_size, "cannot wait for ledgers: %s", strerror(errno));
        cbm_attach_stop(attach);
        return false;
    }
    cbm_engine_on_ledger_ended(engine, ledger_ended, attach);
    *attach_out = attach;
    return true;
}

void cbm_attach_stop(cbm_attach *attach)
{
    if (!attach)
        return;
    if (attach->runs) {
        cbm_engine_on_ledger_ended(attach->engine, NULL, NULL);
        atomic_store(&attach->stopping, true);
        (void)eventfd_write(attach->wake, 1);
        pthread_join(attach->thread, NULL);
    }
    cbm_attach_watch_deinit(&attach->watch);
    cbm_attach_socket_close(&attach->socket);
    if (attach->wake >= 0)
        close(attach->wake);
    if (attach->epoll >= 0)
        close(attach->epoll);
    free(attach);
}
