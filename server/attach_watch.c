#include "attach_watch.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "error.h"

void cbm_attach_watch_init(cbm_attach_watch *watch, int epoll, int wake)
{
    *watch = (cbm_attach_watch){.epoll = epoll, .wake = wake};
    pthread_mutex_init(&watch->lock, NULL);
}

void cbm_attach_watch_deinit(cbm_attach_watch *watch)
{
    for (size_t i = 0; i < CBM_ATTACH_BUCKETS; i++)
        while (watch->buckets[i])
            cbm_attach_watch_end(watch, watch->buckets[i]);
    free(watch->ended);
    pthread_mutex_destroy(&watch->lock);
}

/* Multiplied by the golden ratio, so that every bit of the number counts. */
static cbm_attach_process **bucket_of(cbm_attach_watch *watch, uint64_t holder)
{
    return &watch->buckets[holder * UINT64_C(0x9e3779b97f4a7c15) >> 32 & (CBM_ATTACH_BUCKETS - 1)];
}

static cbm_attach_process *find(cbm_attach_watch *watch, uint64_t holder)
{
    cbm_attach_process *process = *bucket_of(watch, holder);

    while (process && process->holder != holder)
        process = process->next;
    return process;
}

int cbm_attach_watch_begin(cbm_attach_watch *watch, int descriptor, cbm_attach_process **process_out)
{
    cbm_attach_process *process = calloc(1, sizeof *process);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = process};

    *process_out = process;
    if (!process)
        return CBM_PROTO_E_NOMEM;
    process->source = CBM_ATTACH_PROCESS;
    process->descriptor = descriptor;
    if (epoll_ctl(watch->epoll, EPOLL_CTL_ADD, descriptor, &event) == 0)
        return 0;
    free(process);
    *process_out = NULL;
    return CBM_PROTO_E_NOMEM;
}

void cbm_attach_watch_keep(cbm_attach_watch *watch, cbm_attach_process *process, uint64_t holder)
{
    cbm_attach_process *before = find(watch, holder);
    cbm_attach_process **bucket = bucket_of(watch, holder);

    if (before)
        cbm_attach_watch_end(watch, before);
    process->holder = holder;
    process->next = *bucket;
    *bucket = process;
}

void cbm_attach_watch_end(cbm_attach_watch *watch, cbm_attach_process *process)
{
    cbm_attach_process **at = bucket_of(watch, process->holder);

    while (*at && *at != process)
        at = &(*at)->next;
    if (*at)
        *at = process->next;
    epoll_ctl(watch->epoll, EPOLL_CTL_DEL, process->descriptor, NULL);
    close(process->descriptor);
    free(process);
}

void cbm_attach_watch_ended(cbm_attach_watch *watch, uint64_t holder)
{
    pthread_mutex_lock(&watch->lock);
    if (watch->ended_count == watch->ended_capacity) {
        size_t capacity = watch->ended_capacity ? 2 * watch->ended_capacity : 16;
        uint64_t *ended = realloc(watch->ended, capacity * sizeof *ended);

        if (ended) {
            watch->ended = ended;
            watch->ended_capacity = capacity;
        }
    }
    if (watch->ended_count < watch->ended_capacity) {
        watch->ended[watch->ended_count++] = holder;
        (void)eventfd_write(watch->wake, 1);
    }
    pthread_mutex_unlock(&watch->lock);
}

void cbm_attach_watch_forget(cbm_attach_watch *watch)
{
    pthread_mutex_lock(&watch->lock);
    while (watch->ended_count) {
        cbm_attach_process *process = find(watch, watch->ended[--watch->ended_count]);

        if (process)
            cbm_attach_watch_end(watch, process);
    }
    pthread_mutex_unlock(&watch->lock);
}
