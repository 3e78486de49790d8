#include "crew.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "figures.h"
#include "process.h"

#define BATCH_NS INT64_C(1000000)
#define MEASURE_NS INT64_C(30000000)
#define QUICK_DIVISOR 20
#define BATCHES_MAX 256

/* In memory that processes share. */
typedef struct crew {
    pthread_barrier_t start;
    _Atomic int failed;
    double figures[BENCH_CREW_MAX][BENCH_CREW_FIGURES];
} crew;

typedef struct worker {
    crew *shared;
    const bench_crew_task *task;
    void *context;
    bench_crew_kind kind;
    int index;
} worker;

static void *run(void *argument)
{
    worker *w = argument;
    void *own;

    own = w->task->prepare(w->context, w->index, w->kind);
    if (!own)
        w->shared->failed = 1;
    pthread_barrier_wait(&w->shared->start);
    if (!w->shared->failed && !w->task->work(own, w->shared->figures[w->index]))
        w->shared->failed = 1;
    if (own)
        w->task->finish(own);
    return NULL;
}

static crew *crew_new(int workers)
{
    pthread_barrierattr_t attributes;
    crew *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (shared == MAP_FAILED)
        return NULL;
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&shared->start, &attributes, (unsigned)workers);
    pthread_barrierattr_destroy(&attributes);
    return shared;
}

/* A worker that cannot be started would leave the others waiting for it: there is nothing left to measure then. */
static void start_thread(pthread_t *thread, worker *w)
{
    if (pthread_create(thread, NULL, run, w) == 0)
        return;
    fprintf(stderr, "bench: no more threads\n");
    _exit(1);
}

static pid_t start_process(worker *w)
{
    pid_t pid = bench_fork();

    if (pid == 0) {
        run(w);
        _exit(0);
    }
    if (pid > 0)
        return pid;
    fprintf(stderr, "bench: no more processes\n");
    _exit(1);
}

bool bench_crew_run(bench_crew_kind kind, int workers, const bench_crew_task *task, void *context,
                    double figures[][BENCH_CREW_FIGURES])
{
    worker all[BENCH_CREW_MAX];
    pthread_t threads[BENCH_CREW_MAX];
    pid_t children[BENCH_CREW_MAX];
    crew *shared = crew_new(workers);
    bool good = shared != NULL;

    if (!good)
        return false;
    for (int i = 0; i < workers; i++) {
        all[i] = (worker){shared, task, context, kind, i};
        if (kind == BENCH_THREADS)
            start_thread(&threads[i], &all[i]);
        else
            children[i] = start_process(&all[i]);
    }
    for (int i = 0; i < workers; i++) {
        if (kind == BENCH_THREADS)
            pthread_join(threads[i], NULL);
        else if (!bench_end(children[i], 0))
            good = false;
        for (int j = 0; j < BENCH_CREW_FIGURES; j++)
            figures[i][j] = shared->figures[i][j];
    }
    good = good && !shared->failed;
    pthread_barrier_destroy(&shared->start);
    munmap(shared, sizeof(*shared));
    return good;
}

long bench_calls_a_batch(bench_batch *batch, void *own, bool quick)
{
    int64_t enough_ns = quick ? BATCH_NS / QUICK_DIVISOR : BATCH_NS;

    for (long calls = 16;; calls *= 2) {
        int64_t begun = bench_now_ns();
        batch(own, calls);
        if (bench_now_ns() - begun >= enough_ns)
            return calls;
    }
}

double bench_call_ns(bench_batch *batch, void *own, long calls, bool quick)
{
    double each[BATCHES_MAX];
    int64_t begun = bench_now_ns(), before = begun, now = begun;
    int64_t enough_ns = quick ? MEASURE_NS / QUICK_DIVISOR : MEASURE_NS;
    size_t count = 0;

    for (; count < BATCHES_MAX && now - begun < enough_ns; before = now) {
        batch(own, calls);
        now = bench_now_ns();
        each[count++] = (double)(now - before) / (double)calls;
    }
    return bench_median(each, count);
}
