/*
 * Forks. A child is noticed without a system call: a page that the kernel wipes in every child says whose process this is. The
 * child connects for itself, takes no lock that a thread of the parent may have held, and inherits no permit.
 */
#ifndef CBM_CLIENT_FORK_H
#define CBM_CLIENT_FORK_H

#include <stdatomic.h>
#include <stdint.h>

/* In a page of its own; all 0 in a new child. */
typedef struct cbm_process_mark {
    _Atomic uint32_t state;
} cbm_process_mark;

enum { CBM_MARK_WIPED = 0, CBM_MARK_RENEWING = 1, CBM_MARK_READY = 2 };

extern cbm_process_mark *cbm_process_mark_page;
/* How many forks this process is away from the first one that loaded the library, plus 1. */
extern uint32_t cbm_process_generation;

void cbm_process_renew(void);

/* The number of this process, for permits. First in every call: makes what was inherited this process's own. */
static inline uint32_t cbm_process(void)
{
    if (atomic_load_explicit(&cbm_process_mark_page->state, memory_order_acquire) != CBM_MARK_READY)
        cbm_process_renew();
    return cbm_process_generation;
}

#endif
