/* One request to one reply: the table of operations, a handler for each. */
#ifndef CBM_SERVER_DISPATCH_H
#define CBM_SERVER_DISPATCH_H

#include <stddef.h>
#include <stdint.h>

#include "engine.h"
#include "scratch.h"

/*
 * Handles the body of one request, msgpack or a text command, and leaves the body of the reply in scratch->body: there always is one,
 * also for garbage. When *caller->ticket is not 0 afterwards, scratch->unstored holds another one, for when that ticket is not
 * committed in time. When caller->next_part is not 0 afterwards, that was a part of it: there is no reply yet, and the same request
 * is to be handed over again, when others have had their turn. False: not even that could be made, for want of memory; the peer is to be dropped.
 */
bool cbm_dispatch(cbm_engine *engine, cbm_caller *caller, const uint8_t *body, size_t size, cbm_scratch *scratch);

#endif
