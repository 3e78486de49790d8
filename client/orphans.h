/*
 * Begins that missed their deadline. When the permit of one turns up after all, nobody is left to make the call: a probe is then
 * given back at once, or HALF_OPEN would wait for it until its lease ends.
 */
#ifndef CBM_CLIENT_ORPHANS_H
#define CBM_CLIENT_ORPHANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

#define CBM_ORPHANS 8 /* of one connection; what is beyond them waits for its lease */

typedef struct cbm_orphan {
    uint32_t id; /* of the request; 0: a free entry */
    char name[CBM_CORE_NAME_MAX + 1];
    uint8_t permit[CBM_PERMIT_MAX];
    size_t permit_size; /* 0: not arrived */
} cbm_orphan;

typedef struct cbm_orphans {
    cbm_orphan entries[CBM_ORPHANS];
} cbm_orphans;

/* The connection has ended: the broker knows that their holder is gone. */
void cbm_orphans_forget(cbm_orphans *orphans);
/* Nobody waits any more for the answer to the begin `id`. */
void cbm_orphans_expect(cbm_orphans *orphans, uint32_t id, const char *name);
/* An answer that nobody waits for. */
void cbm_orphans_arrive(cbm_orphans *orphans, uint32_t id, const uint8_t *body, size_t size);
/* Takes out a permit to be given back, as the report that does it. False: there is none. */
bool cbm_orphans_take(cbm_orphans *orphans, cbm_report_message *report);

#endif
