/*
 * Forks. A child is noticed without a system call: a page that the kernel wipes in every child says whose process this is. The
 * child connects for itself, takes no lock that a thread of the parent may have held, and inherits no permit.
 */
#ifndef CBM_CLIENT_FORK_H
#define CBM_CLIENT_FORK_H

#include <stdatomic.h>
#include <stdint.h>

enum { CBM_MARK_WIPED = 0, CBM_MARK_RENEWING = 1, CBM_PROCESS_FIRST = 2 };

/* In a page of its own; all 0 in a new child. */
typedef struct cbm_process_mark {
    _Atomic uint32_t state; /* the number of this process, or one of CBM_MARK_* */
} cbm_process_mark;

extern cbm_process_mark *cbm_process_mark_page;
/* How many forks this process is away from the first one that loaded the library, plus CBM_PROCESS_FIRST. */
extern uint32_t cbm_process_generation;

uint32_t cbm_process_renew(void);

/* The number of this process, for permits. First in every call: makes what was inherited this process's own. */
static inline uint32_t cbm_process(void)
{
    uint32_t state = atomic_load_explicit(&cbm_process_mark_page->state, memory_order_acquire);

    return state >= CBM_PROCESS_FIRST ? state : cbm_process_renew();
}

#endif
