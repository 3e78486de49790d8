/* Workers that do the same thing at once, as threads of this process or as processes of their own. */
#ifndef CBM_BENCH_CREW_H
#define CBM_BENCH_CREW_H

#include <stdbool.h>

#define BENCH_CREW_MAX 64
#define BENCH_CREW_FIGURES 4

typedef enum bench_crew_kind { BENCH_THREADS, BENCH_PROCESSES } bench_crew_kind;

typedef struct bench_crew_task {
    /* NULL: it cannot; nobody works then. `context` is shared by threads and a copy in each process. */
    void *(*prepare)(void *context, int index, bench_crew_kind kind);
    /* Begins in all workers at once. */
    bool (*work)(void *own, double figures[BENCH_CREW_FIGURES]);
    void (*finish)(void *own);
} bench_crew_task;

/* figures[i]: what worker i found. */
bool bench_crew_run(bench_crew_kind kind, int workers, const bench_crew_task *task, void *context,
                    double figures[][BENCH_CREW_FIGURES]);

/* Calls `batch` again and again for so long; the median of what a call took in a batch, in ns. */
typedef void bench_batch(void *own, long calls);
long bench_calls_a_batch(bench_batch *batch, void *own, bool quick); /* warms up, too */
double bench_call_ns(bench_batch *batch, void *own, long calls, bool quick);

#endif
