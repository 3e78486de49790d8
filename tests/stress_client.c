/*
 * Threads share clients of every mode, with shared memory and without, while their broker goes and comes back, hangs up, changes
 * its board, and the process forks. A plain program, so that it can run under ThreadSanitizer too. Seconds to run as the first argument (3).
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cbm.h"
#include "fake_board.h"
#include "sanitizers.h"

#define THREADS 6
#define NAMES 20
#define CALL_TIMEOUT_MS 200
#define LATE_MS 5000 /* what no call may take, however busy the machine is */

#define MUST(condition)                                                                                                \
    ((condition) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition), abort()))

enum { CLIENTS = 6 };

typedef struct stress {
    cbm_client *clients[CLIENTS]; /* one of each mode, one in-process, and two without shared memory */
    atomic_bool stop;
    atomic_uint_fast64_t calls, protected_calls, refused, lost;
    atomic_int started;
} stress;

static cbm_client *open_mode(const char *address, cbm_when_away when_away, uint32_t flags)
{
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    cbm_client *client;

    options.when_away = when_away;
    options.flags = flags;
    options.call_timeout_ms = CALL_TIMEOUT_MS;
    MUST(cbm_open(&client, address, &options) == 0);
    return client;
}

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1103515245 + 12345;
    return *seed >> 16;
}

static void call(stress *s, cbm_client *client, const char *name, cbm_outcome outcome)
{
    cbm_breaker *breaker;
    cbm_permit permit;
    int error = cbm_get(client, name, NULL, &breaker);

    if (error == 0)
        error = cbm_call_begin(breaker, &permit);
    if (error) {
        MUST(error == CBM_E_AWAY || error == CBM_E_OPEN || error == CBM_E_HALF_OPEN_FULL ||
             error == CBM_E_RATE_LIMITED || error == CBM_E_FORCED_OPEN);
        s->refused++;
        return;
    }
    s->calls++;
    s->protected_calls += !cbm_permit_unprotected(&permit);
    error = cbm_call_report(&permit, outcome);
    MUST(error == 0 || error == CBM_E_AWAY);
    s->lost += error != 0;
}

static void look(cbm_client *client)
{
    cbm_stats_result *stats;
    int error = cbm_stats(client, &stats);

    MUST(error == 0 || error == CBM_E_AWAY);
    cbm_stats_free(stats);
    error = cbm_reset_all(client);
    MUST(error == 0 || error == CBM_E_AWAY);
    (void)cbm_connected(client);
    MUST(cbm_address(client)[0]);
}

static void *work(void *context)
{
    stress *s = context;
    unsigned seed = (unsigned)atomic_fetch_add(&s->started, 1) * 7919 + 1;

    while (!s->stop) {
        cbm_client *client = s->clients[next_random(&seed) % CLIENTS];
        int64_t begun_ms = test_clock_ms();
        char name[16];

        snprintf(name, sizeof(name), "b%u", next_random(&seed) % NAMES);
        if (next_random(&seed) % 50 == 0)
            look(client);
        else
            call(s, client, name, next_random(&seed) % 4 ? CBM_SUCCESS : CBM_FAILURE);
        MUST(test_clock_ms() - begun_ms < LATE_MS);
    }
    return NULL;
}

/* A state here, another one there, and a breaker that is gone. */
static void change_board(fake_board *board, unsigned round)
{
    struct timespec now;
    uint32_t slot = round % NAMES;

    clock_gettime(CLOCK_MONOTONIC, &now);
    switch (round % 5) {
    case 0:
        fake_board_put(board, slot, fake_board_word(board, CBM_CORE_OPEN, 0, round), now.tv_sec * 1000000000L);
        break;
    case 1: fake_board_put(board, slot, fake_board_word(board, CBM_CORE_CLOSED, 0, round), 0); break;
    case 2: fake_board_renew_slot(board, slot); break;
    case 3: fake_board_put(board, slot, fake_board_word(board, CBM_CORE_FORCED_OPEN, 0, round), INT64_MAX); break;
    default: fake_board_put(board, slot, fake_board_word(board, CBM_CORE_CLOSED, CBM_WORD_FAST, round), 0);
    }
}

static void fork_once(stress *s)
{
    int status;
    pid_t pid = fork();

    MUST(pid >= 0);
    if (pid == 0) {
        alarm(20);
        for (int i = 0; i < CLIENTS; i++) {
            call(s, s->clients[i], "b0", CBM_SUCCESS);
            cbm_close(s->clients[i]);
        }
        _exit(0);
    }
    MUST(waitpid(pid, &status, 0) == pid && status == 0);
}

int main(int argc, char **argv)
{
    int64_t end_ms = test_clock_ms() + 1000 * (argc > 1 ? atoi(argv[1]) : 3);
    fake_board *board = fake_board_start(FAKE_ATTACH_WELL);
    fake_broker *broker = fake_board_broker(board);
    stress s = {0};
    pthread_t threads[THREADS];
    int rounds = 0;

    s.clients[0] = open_mode(fake_board_address(board), CBM_FAIL_OPEN, 0);
    s.clients[1] = open_mode(fake_board_address(board), CBM_FAIL_CLOSED, 0);
    s.clients[2] = open_mode(fake_board_address(board), CBM_LOCAL, 0);
    s.clients[3] = open_mode("local:", CBM_FAIL_OPEN, 0);
    s.clients[4] = open_mode(fake_board_address(board), CBM_FAIL_CLOSED, CBM_OPEN_NO_SHM);
    s.clients[5] = open_mode(fake_board_address(board), CBM_LOCAL, CBM_OPEN_NO_SHM);
    for (int i = 0; i < THREADS; i++)
        MUST(pthread_create(&threads[i], NULL, work, &s) == 0);
    for (; test_clock_ms() < end_ms; rounds++) {
        struct timespec pause = {.tv_nsec = 20000000};

        nanosleep(&pause, NULL);
        if (TEST_FORKS_AMONG_THREADS)
            fork_once(&s);
        change_board(board, (unsigned)rounds);
        if (rounds % 3 == 1)
            fake_broker_hang_up(broker);
        if (rounds % 10 == 5) {
            fake_board_die(board);
            nanosleep(&pause, NULL);
            fake_board_restart(board);
        }
    }
    s.stop = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < CLIENTS; i++)
        cbm_close(s.clients[i]);
    printf("%d rounds, %lu calls, %lu of them protected, %lu refused, %lu reports lost\n", rounds,
           (unsigned long)s.calls, (unsigned long)s.protected_calls, (unsigned long)s.refused, (unsigned long)s.lost);
    MUST(s.protected_calls > 0 && rounds > 3);
    fake_board_stop(board);
    return 0;
}
