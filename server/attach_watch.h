/*
 * The processes whose ledgers are attached, until they end. For the one thread that waits for them, but for
 * cbm_attach_watch_ended.
 */
#ifndef CBM_SERVER_ATTACH_WATCH_H
#define CBM_SERVER_ATTACH_WATCH_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What an event of the epoll set is of: the first member of what its data points to. */
typedef enum cbm_attach_source {
    CBM_ATTACH_LISTENER,
    CBM_ATTACH_WAKE,
    CBM_ATTACH_PEER,
    CBM_ATTACH_PROCESS,
} cbm_attach_source;

typedef struct cbm_attach_process {
    cbm_attach_source source;
    int descriptor; /* pidfd: readable when the process has ended */
    uint64_t holder;
    struct cbm_attach_process *next; /* of the same bucket */
} cbm_attach_process;

#define CBM_ATTACH_BUCKETS 1024

typedef struct cbm_attach_watch {
    int epoll;
    int wake; /* eventfd, to which cbm_attach_watch_ended writes */
    cbm_attach_process *buckets[CBM_ATTACH_BUCKETS];
    pthread_mutex_t lock; /* of what follows */
    uint64_t *ended;
    size_t ended_count, ended_capacity;
} cbm_attach_watch;

void cbm_attach_watch_init(cbm_attach_watch *watch, int epoll, int wake);
void cbm_attach_watch_deinit(cbm_attach_watch *watch);

/*
 * Has a process watched whose ledger is about to be attached; takes the pidfd over with 0. Then one of the next two. CBM_PROTO_E_NOMEM.
 */
int cbm_attach_watch_begin(cbm_attach_watch *watch, int descriptor, cbm_attach_process **process);
/* Its ledger is attached: takes the place of another process of that holder, which was the same. */
void cbm_attach_watch_keep(cbm_attach_watch *watch, cbm_attach_process *process, uint64_t holder);
/* It is not, or it has ended. */
void cbm_attach_watch_end(cbm_attach_watch *watch, cbm_attach_process *process);

/* By any thread: that ledger needs no watch any more. Without memory for that the watch lasts as long as the process. */
void cbm_attach_watch_ended(cbm_attach_watch *watch, uint64_t holder);
/* Ends the watch over those. */
void cbm_attach_watch_forget(cbm_attach_watch *watch);

#endif
