/*
 * One connected peer: who it is, its bytes, its requests. It is made when its connection is accepted, waits for one thing at a
 * time, and frees itself when that fails.
 */
#ifndef CBM_SERVER_PEER_H
#define CBM_SERVER_PEER_H

#include <nng/nng.h>

#include "engine.h"
#include "quota.h"
#include "registry.h"

/* Takes the stream. Without memory for the peer it closes the connection. */
void cbm_peer_start(nng_stream *stream, const cbm_caller *caller, cbm_engine *engine, cbm_registry *registry,
                    cbm_quota *quota);

#endif
