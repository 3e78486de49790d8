/* Permits of HALF_OPEN that are out: who holds them and when their leases end. One pool for all breakers of a manager. */
#ifndef CORE_PERMITS_H
#define CORE_PERMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "cbm_core.h"

struct core_breaker;

#define CORE_NO_PERMIT UINT32_MAX

typedef struct core_permit_record {
    uint64_t id;                /* 0: unused; else a serial number above, the record's index below */
    struct core_holder *holder; /* NULL: nobody's */
    int64_t lease_end_ns;
    uint64_t account; /* to which it is charged */
    struct core_breaker *breaker;
    uint32_t earlier, later;               /* in the breaker's list, by the end of the lease */
    uint32_t holder_previous, holder_next; /* in the holder's list, by age; an unused record: the next unused one */
} core_permit_record;

typedef struct core_holder core_holder;

typedef struct core_permits {
    core_permit_record *records;
    uint32_t capacity;
    uint32_t first_unused;
    uint32_t serial;
    core_holder *holders;    /* by id */
    cbm_core_charge *charge; /* NULL: nobody counts */
    void *charge_context;
    uint64_t account; /* to which the next ones are charged */
} core_permits;

/* A breaker's permits that are out, the one whose lease ends first in front. */
typedef struct core_permit_list {
    uint32_t first, last;
    uint32_t count;
} core_permit_list;

void core_permits_init(core_permits *permits);
void core_permits_deinit(core_permits *permits);
void core_permit_list_init(core_permit_list *list);

/* Gives one out. *id is its name. CBM_CORE_E_NOMEM; CBM_CORE_E_FULL: the account may have no more. */
int core_permits_give(core_permits *permits, core_permit_list *list, struct core_breaker *breaker, uint64_t holder,
                      int64_t lease_end_ns, uint64_t *id);
/* The record of an id, CORE_NO_PERMIT when it is not out (any more) from that breaker. */
uint32_t core_permits_find(const core_permits *permits, const struct core_breaker *breaker, uint64_t id);
void core_permits_take_back(core_permits *permits, core_permit_list *list, uint32_t index);
void core_permits_take_back_all(core_permits *permits, core_permit_list *list);
/* The end of the lease that ends first; CBM_CORE_NEVER_NS when none does. */
int64_t core_permits_first_end(const core_permits *permits, const core_permit_list *list);
/* The oldest permit of a holder, or CORE_NO_PERMIT. */
uint32_t core_permits_of_holder(const core_permits *permits, uint64_t holder);

#endif
