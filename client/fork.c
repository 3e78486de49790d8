#include "fork.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clients.h"
#include "lane.h"

/* Stands in where no page could be had: then the handler of pthread_atfork alone notices forks. */
static cbm_process_mark fallback;

cbm_process_mark *cbm_process_mark_page = &fallback;
uint32_t cbm_process_generation = CBM_PROCESS_FIRST - 1;

/*
 * fork() runs the handler below, which renews at once, while the child has one thread. A child made in another way (clone, a
 * raw system call) comes here at its first call, perhaps with threads already: one of them renews, the others wait for it.
 */
uint32_t cbm_process_renew(void)
{
    uint32_t state = CBM_MARK_WIPED;

    if (atomic_compare_exchange_strong(&cbm_process_mark_page->state, &state, CBM_MARK_RENEWING)) {
        cbm_process_generation++;
        cbm_lanes_renew();
        cbm_clients_renew();
        atomic_store_explicit(&cbm_process_mark_page->state, cbm_process_generation, memory_order_release);
        return cbm_process_generation;
    }
    while ((state = atomic_load_explicit(&cbm_process_mark_page->state, memory_order_acquire)) < CBM_PROCESS_FIRST)
        sched_yield();
    return state;
}

static void after_fork_in_child(void)
{
    atomic_store_explicit(&cbm_process_mark_page->state, CBM_MARK_WIPED, memory_order_relaxed);
    cbm_process_renew();
}

__attribute__((constructor)) static void begin_process(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page != MAP_FAILED) {
        madvise(page, size, MADV_WIPEONFORK); /* a kernel that cannot leaves it to the handler */
        cbm_process_mark_page = page;
    }
    cbm_lanes_begin();
    pthread_atfork(cbm_clients_lock_all, cbm_clients_unlock_all, after_fork_in_child);
    cbm_process_renew();
}
