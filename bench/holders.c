#include "holders.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker.h"
#include "process.h"

#define WARM_UP 3 /* calls on each breaker, after which all are on the board */

typedef struct holder {
    cbm_client *client;
    cbm_breaker *breakers[BENCH_HOLDER_BREAKERS]; /* NULL: does not hold that one */
} holder;

/* One process of them. */
typedef struct troop {
    const bench_holders_plan *plan;
    holder *all;
    int count;
    pthread_barrier_t turn; /* at the beginning and at the end of what they are told to do */
    _Atomic bool failed;
} troop;

static void call_all(troop *t)
{
    cbm_permit permit;

    for (int i = 0; i < t->count; i++) {
        for (int j = 0; j < t->plan->breakers; j++) {
            cbm_breaker *breaker = t->all[i].breakers[j];
            if (breaker && (cbm_call_begin(breaker, &permit) != 0 || cbm_call_report(&permit, CBM_SUCCESS) != 0))
                t->failed = true;
        }
    }
}

static void *obey(void *argument)
{
    troop *t = argument;

    for (;;) {
        pthread_barrier_wait(&t->turn);
        call_all(t);
        pthread_barrier_wait(&t->turn);
    }
    return NULL;
}

static void turn(troop *t)
{
    pthread_barrier_wait(&t->turn);
    call_all(t);
    pthread_barrier_wait(&t->turn);
}

static bool open_all(troop *t, int first)
{
    const bench_holders_plan *plan = t->plan;

    for (int i = 0; i < t->count; i++) {
        holder *h = &t->all[i];
        h->client = bench_open(plan->address, 0);
        if (!h->client)
            return false;
        for (int j = 0; j < plan->breakers; j++) {
            bool holds = first + i * BENCH_HOLDER_PROCESSES < plan->held[j].clients;
            if (holds && !(h->breakers[j] = bench_get(h->client, plan->held[j].name, plan->policy)))
                return false;
        }
    }
    return true;
}

static int serve(const bench_holders_plan *plan, int first, int in, int out)
{
    troop t = {.plan = plan};
    pthread_t thread;
    char byte;

    bench_raise_descriptor_limit();
    t.count = (plan->clients - first + BENCH_HOLDER_PROCESSES - 1) / BENCH_HOLDER_PROCESSES;
    t.all = calloc((size_t)t.count + 1, sizeof(*t.all));
    pthread_barrier_init(&t.turn, NULL, (unsigned)plan->lanes);
    if (!t.all || !open_all(&t, first))
        return 1;
    for (int i = 1; i < plan->lanes; i++)
        if (pthread_create(&thread, NULL, obey, &t) != 0)
            return 1;
    for (int i = 0; i < WARM_UP; i++)
        turn(&t);
    while (!t.failed && write(out, "", 1) == 1 && read(in, &byte, 1) == 1)
        turn(&t);
    if (t.failed)
        bench_complain("a holder's call");
    return t.failed;
}

static bool start_one(bench_holders *holders, const bench_holders_plan *plan, int first)
{
    int to[2], from[2];
    int i = holders->count;

    if (pipe(to) != 0)
        return false;
    if (pipe(from) != 0) {
        close(to[0]);
        close(to[1]);
        return false;
    }
    holders->processes[i] = bench_fork();
    if (holders->processes[i] == 0) {
        close(to[1]);
        close(from[0]);
        _exit(serve(plan, first, to[0], from[1]));
    }
    close(to[0]);
    close(from[1]);
    holders->to[i] = to[1];
    holders->from[i] = from[0];
    holders->count++;
    return holders->processes[i] > 0;
}

static bool await_all(const bench_holders *holders)
{
    char byte;

    for (int i = 0; i < holders->count; i++)
        if (read(holders->from[i], &byte, 1) != 1)
            return false;
    return true;
}

bool bench_holders_start(bench_holders *holders, const bench_holders_plan *plan)
{
    *holders = (bench_holders){0};
    for (int first = 0; first < BENCH_HOLDER_PROCESSES && first < plan->clients; first++)
        if (!start_one(holders, plan, first))
            return false;
    return await_all(holders);
}

bool bench_holders_call(bench_holders *holders)
{
    for (int i = 0; i < holders->count; i++)
        if (write(holders->to[i], "", 1) != 1)
            return false;
    return await_all(holders);
}

void bench_holders_stop(bench_holders *holders)
{
    for (int i = 0; i < holders->count; i++) {
        close(holders->to[i]);
        close(holders->from[i]);
        bench_end(holders->processes[i], SIGKILL);
    }
    holders->count = 0;
}
