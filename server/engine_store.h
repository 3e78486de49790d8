/* The engine and its store: what has changed is marked, and fetched by the store's thread; what was stored is put back. */
#ifndef CBM_SERVER_ENGINE_STORE_H
#define CBM_SERVER_ENGINE_STORE_H

#include "engine.h"
#include "store.h"

/*
 * Puts back what is stored, by the configuration as it stands, and has everything stored from then on, until
 * cbm_engine_store_stop. Before anybody is served. CBM_PROTO_E_INTERNAL: not all could be read, and `message` says so.
 */
int cbm_engine_restore(cbm_engine *engine, cbm_store *store, char *message, size_t message_size);
/* All is stored, as far as that is possible, and nothing more will be. When nobody is served any more. */
void cbm_engine_store_stop(cbm_engine *engine);
/* NULL: there is none. */
cbm_store *cbm_engine_store(const cbm_engine *engine);
/* How the store is, for `stats`. */
void cbm_engine_store_tell(const cbm_engine *engine, cbm_page_reply *page);
/* What a caller whose ticket was raised may wait for: then there is a store. */
cbm_store_waits *cbm_engine_store_waits(const cbm_engine *engine);

/* ---- Under the engine's lock, with or without a store ---- */

void cbm_engine_store_event(cbm_engine *engine, const cbm_core_event *event);
/* Something else was counted of a breaker. */
void cbm_engine_store_mark(cbm_engine *engine, uint32_t slot);
void cbm_engine_store_mark_name(cbm_engine *engine, const char *name);
/* The caller is told again of something that may be on its way to the disk still: its ticket is raised to the last one there is. */
void cbm_engine_store_wait_for_all(cbm_engine *engine);
/* A ledger is in nobody's hands any more. */
void cbm_engine_store_ledger_ended(cbm_engine *engine, const uint8_t ledger[CBM_ID_SIZE]);

#endif
