/*
 * A store without a broker: it collects from breakers that the test makes up, by a clock that the test turns. Criterion runs each
 * test in a process of its own, so these are globals.
 */
#ifndef CBM_TEST_STORE_FIXTURE_H
#define CBM_TEST_STORE_FIXTURE_H

#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"
#include "log.h"
#include "store.h"
#include "store_inner.h"

#define BREAKERS 64
#define DEADLINE_NS (20 * CBM_CORE_NS_PER_S)

extern cbm_core_snapshot breakers[BREAKERS]; /* what is collected; name "": there is none in that slot */
extern cbm_core_totals totals;
extern uint64_t watermark; /* of entry 5 of the ledger, in the statistics of slot 0; 0: none */
extern const uint8_t ledger[CBM_ID_SIZE];
extern atomic_int told_stored, told_not_stored; /* how often the store has told its source */
void put(uint32_t slot, const char *name, cbm_core_state state);

extern int64_t wall_ms, monotonic_ns;
extern char boot[64];

extern char directory[64];
extern cbm_store *store;
extern char message[512];
void make_directory(void);   /* for .init */
void remove_directory(void); /* for .fini */

cbm_store_error try_open(void);
void open_store(void); /* and restores, into what follows */
void start_store(void);
void close_store(void);
/* As after kill -9: what is in memory only is gone. */
void killed_and_opened(void);

extern cbm_core_snapshot restored[BREAKERS]; /* as they came */
extern int64_t elapsed[BREAKERS];
extern uint32_t restored_count;
extern cbm_store_restored restored_how;
const cbm_core_snapshot *restored_as(const char *name); /* which must be there */

bool wait_committed(uint64_t ticket);
/* Returns the ticket. */
uint64_t transition(uint32_t slot, cbm_core_state from, cbm_core_state to);

#endif
