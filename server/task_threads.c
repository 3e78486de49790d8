#include "task_threads.h"

#include <dirent.h>
#include <nng/nng.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TASK_THREAD "nng:task" /* as NNG names them */
#define HELD_MAX 64
#define PROBE_S 1
#define THREADS_MAX 16 /* that NNG makes, of two a processor */
#define NAMED_WITHIN_MS 100

struct cbm_task_threads {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool released;
    bool probed;
    size_t count;
    nng_aio *aios[HELD_MAX + 1]; /* one a thread that is held, and the probe's */
};

static bool is_task_thread(const char *number)
{
    char path[288], name[32] = "";
    FILE *file;

    snprintf(path, sizeof path, "/proc/self/task/%s/comm", number);
    file = fopen(path, "re");
    if (!file)
        return false;
    if (!fgets(name, sizeof name, file))
        name[0] = '\0';
    fclose(file);
    name[strcspn(name, "\n")] = '\0';
    return strcmp(name, TASK_THREAD) == 0;
}

static size_t count_task_threads(void)
{
    DIR *directory = opendir("/proc/self/task");
    const struct dirent *entry;
    size_t count = 0;

    if (!directory)
        return 0;
    while ((entry = readdir(directory)))
        count += entry->d_name[0] != '.' && is_task_thread(entry->d_name);
    closedir(directory);
    return count;
}

/* A thread has its name only when it runs: they are waited for, but not for ever, since another NNG may make fewer. */
static size_t await_task_threads(void)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    long expected = 2 * sysconf(_SC_NPROCESSORS_ONLN);
    size_t count = count_task_threads();

    if (expected > THREADS_MAX)
        expected = THREADS_MAX;
    for (int waited_ms = 0; count < (size_t)expected && waited_ms < NAMED_WITHIN_MS; waited_ms++) {
        nanosleep(&pause, NULL);
        count = count_task_threads();
    }
    return count;
}

static void stay(void *argument)
{
    cbm_task_threads *threads = argument;

    pthread_mutex_lock(&threads->lock);
    while (!threads->released)
        pthread_cond_wait(&threads->changed, &threads->lock);
    pthread_mutex_unlock(&threads->lock);
}

static void probe(void *argument)
{
    cbm_task_threads *threads = argument;

    pthread_mutex_lock(&threads->lock);
    threads->probed = true;
    pthread_cond_broadcast(&threads->changed);
    pthread_mutex_unlock(&threads->lock);
}

static bool run(cbm_task_threads *threads, void (*callback)(void *argument))
{
    nng_aio **aio = &threads->aios[threads->count];

    if (nng_aio_alloc(aio, callback, threads) != 0)
        return false;
    threads->count++;
    if (!nng_aio_begin(*aio))
        return false;
    nng_aio_finish(*aio, 0);
    return true;
}

/* Callbacks are taken in turn: when this one has run, one thread at least is free. */
static bool one_is_free(cbm_task_threads *threads)
{
    struct timespec end;
    bool probed;

    if (!run(threads, probe))
        return false;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += PROBE_S;
    pthread_mutex_lock(&threads->lock);
    while (!threads->probed && pthread_cond_timedwait(&threads->changed, &threads->lock, &end) == 0)
        continue;
    probed = threads->probed;
    pthread_mutex_unlock(&threads->lock);
    return probed;
}

static cbm_task_threads *threads_new(void)
{
    cbm_task_threads *threads = calloc(1, sizeof *threads);
    pthread_condattr_t attributes;

    if (!threads)
        return NULL;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&threads->lock, NULL);
    pthread_cond_init(&threads->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return threads;
}

cbm_task_threads *cbm_task_threads_hold(void)
{
    size_t surplus = await_task_threads();
    cbm_task_threads *threads;

    if (surplus < 2 || --surplus > HELD_MAX)
        return NULL;
    threads = threads_new();
    if (!threads)
        return NULL;
    for (size_t i = 0; i < surplus; i++)
        if (!run(threads, stay))
            break;
    if (one_is_free(threads))
        return threads;
    cbm_task_threads_release(threads);
    return NULL;
}

void cbm_task_threads_release(cbm_task_threads *threads)
{
    if (!threads)
        return;
    pthread_mutex_lock(&threads->lock);
    threads->released = true;
    pthread_cond_broadcast(&threads->changed);
    pthread_mutex_unlock(&threads->lock);
    for (size_t i = 0; i < threads->count; i++)
        nng_aio_free(threads->aios[i]); /* waits for its callback */
    pthread_cond_destroy(&threads->changed);
    pthread_mutex_destroy(&threads->lock);
    free(threads);
}
