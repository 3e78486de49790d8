/* Ledgers as they come and go: attached, named by get, detached, ended with their processes, given up. */
#include "engine_inner.h"

#include <stdlib.h>
#include <string.h>

#include "engine_store.h"
#include "error.h"
#include "log.h"

/* All lanes of it: a ledger of which every entry is handed out is charged as a whole. */
#define ENTRY_BYTES (CBM_LEDGER_LANES * sizeof(cbm_entry) + CBM_LEDGER_HISTOGRAM_LANES * sizeof(cbm_ledger_histogram))

struct cbm_publisher *cbm_engine_publisher(cbm_engine *engine)
{
    return engine->shared.publisher;
}

struct cbm_tokens *cbm_engine_tokens(cbm_engine *engine)
{
    return engine->shared.tokens;
}

void cbm_engine_on_ledger_ended(cbm_engine *engine, void (*ended)(void *context, uint64_t holder), void *context)
{
    cbm_engine_enter(engine, NULL);
    engine->shared.ended = ended;
    engine->shared.ended_context = context;
    cbm_engine_leave(engine);
}

bool cbm_engine_shares_memory(cbm_engine *engine)
{
    bool shares;

    cbm_engine_enter(engine, NULL);
    shares = engine->shared.publisher && engine->shared.ended;
    cbm_engine_leave(engine);
    return shares;
}

/* ---- Their ends ---------------------------------------------------------------------------------------------------- */

/* The breakers that it holds are published anew: one without holders needs no ticks. */
static void let_go(cbm_engine *engine, cbm_mapped_ledger *ledger, bool pull)
{
    for (uint32_t i = 0; i < ledger->entry_count; i++) {
        uint32_t slot = ledger->entries[i].slot;

        if (ledger->entries[i].state != CBM_ENTRY_BOUND)
            continue;
        if (pull)
            cbm_engine_pull_entry(engine, ledger, i, engine->now_ns);
        cbm_ledgers_unbind(&engine->shared.ledgers, ledger, i);
        cbm_shared_change(&engine->shared, slot);
    }
}

static void discharge(cbm_engine *engine, const cbm_mapped_ledger *ledger)
{
    if (!engine->options.quota)
        return;
    cbm_quota_discharge(engine->options.quota, ledger->owner.uid, CBM_QUOTA_LEDGERS, 1);
    cbm_quota_discharge(engine->options.quota, ledger->owner.uid, CBM_QUOTA_LEDGER_BYTES, ledger->charged);
}

static void end(cbm_engine *engine, cbm_mapped_ledger *ledger, bool tell)
{
    uint64_t holder = ledger->holder;
    const cbm_ledger *page;

    let_go(engine, ledger, true);
    cbm_engine_store_ledger_ended(engine, ledger->id);
    discharge(engine, ledger);
    page = cbm_ledgers_remove(&engine->shared.ledgers, ledger);
    if (page)
        cbm_shared_unmap(&engine->shared, page);
    cbm_core_holder_gone(engine->manager, holder, engine->now_ns);
    if (tell && engine->shared.ended)
        engine->shared.ended(engine->shared.ended_context, holder);
}

/* Its process lives, and so do its permits: they end with it. It goes on by message. */
void cbm_engine_give_up_ledger(cbm_engine *engine, cbm_mapped_ledger *ledger)
{
    cbm_log_line line;

    let_go(engine, ledger, false);
    if (ledger->page)
        cbm_shared_unmap(&engine->shared, ledger->page);
    ledger->page = NULL;
    if (!cbm_log_enabled(CBM_LOG_WARN))
        return;
    cbm_log_line_begin(&line, CBM_LOG_WARN, "ledger_given_up");
    cbm_log_line_uint(&line, "uid", ledger->owner.uid);
    cbm_log_line_int(&line, "pid", ledger->owner.pid);
    cbm_log_line_string(&line, "reason", "its counters make no sense");
    cbm_log_line_queue(&line);
}

void cbm_engine_ledger_end(cbm_engine *engine, uint64_t holder)
{
    cbm_mapped_ledger *ledger;

    cbm_engine_enter(engine, NULL);
    ledger = cbm_ledgers_of_holder(&engine->shared.ledgers, holder);
    if (ledger)
        end(engine, ledger, false);
    cbm_engine_leave(engine);
}

/* ---- Processes without a pid: their connection is all that is seen of their life ------------------------------------- */

static bool nameless_find(const cbm_shared *shared, uint64_t connection, uint32_t *at)
{
    for (*at = 0; *at < shared->nameless_count; ++*at)
        if (shared->nameless[*at] == connection)
            return true;
    return false;
}

static int nameless_add(cbm_shared *shared, uint64_t connection)
{
    uint32_t at;

    if (nameless_find(shared, connection, &at))
        return 0;
    if (shared->nameless_count == shared->nameless_capacity) {
        uint32_t capacity = shared->nameless_capacity ? 2 * shared->nameless_capacity : 4;
        uint64_t *nameless = realloc(shared->nameless, capacity * sizeof *nameless);

        if (!nameless)
            return CBM_PROTO_E_NOMEM;
        shared->nameless = nameless;
        shared->nameless_capacity = capacity;
    }
    shared->nameless[shared->nameless_count++] = connection;
    return 0;
}

void cbm_engine_end_nameless(cbm_engine *engine, uint64_t connection)
{
    cbm_shared *shared = &engine->shared;
    uint32_t at;

    if (!nameless_find(shared, connection, &at))
        return;
    if (!shared->ended) /* the broker stops: they come again to the next one, which is to know what was taken of them */
        return;
    shared->nameless[at] = shared->nameless[--shared->nameless_count];
    for (uint32_t i = 0; i < shared->ledgers.capacity; i++) {
        cbm_mapped_ledger *ledger = shared->ledgers.all[i];

        if (ledger && ledger->owner.pid == 0 && ledger->owner.connection == connection)
            end(engine, ledger, true);
    }
}

/* ---- Coming -------------------------------------------------------------------------------------------------------- */

int cbm_engine_attach(cbm_engine *engine, cbm_caller *caller, uint8_t token[CBM_ID_SIZE], int64_t *now_ns)
{
    cbm_token_owner owner = {.uid = caller->uid, .pid = caller->pid, .connection = caller->connection};
    int error = 0;
    bool shares;

    *now_ns = cbm_engine_enter(engine, caller);
    shares = engine->shared.publisher && engine->shared.ended;
    if (shares && caller->pid == 0) {
        error = nameless_add(&engine->shared, caller->connection);
        caller->holds = true; /* so that the engine hears of the connection's end */
    }
    cbm_engine_leave(engine);
    if (!shares)
        return CBM_PROTO_E_UNSUPPORTED;
    return error ? error : cbm_tokens_issue(engine->shared.tokens, &owner, *now_ns, token);
}

/* The same ledger again: its process has lost its connection, or given up waiting. Nothing ends by that. */
static int take_over(cbm_engine *engine, cbm_mapped_ledger *ledger, const cbm_ledger *page,
                     const cbm_ledger_owner *owner)
{
    const cbm_ledger *old;

    if (ledger->owner.uid != owner->uid || ledger->owner.pid != owner->pid)
        return CBM_PROTO_E_DENIED;
    for (uint32_t i = 0; i < ledger->entry_count; i++)
        if (ledger->entries[i].state == CBM_ENTRY_BOUND)
            cbm_engine_pull_entry(engine, ledger, i, engine->now_ns);
    old = cbm_ledgers_remap(&engine->shared.ledgers, ledger, page);
    if (old)
        cbm_shared_unmap(&engine->shared, old);
    ledger->owner = *owner;
    return 0;
}

static int add(cbm_engine *engine, const uint8_t id[CBM_ID_SIZE], const cbm_ledger *page, const cbm_ledger_owner *owner,
               cbm_mapped_ledger **ledger)
{
    cbm_quota *quota = engine->options.quota;
    int error;

    if (quota && !cbm_quota_charge(quota, owner->uid, CBM_QUOTA_LEDGERS, 1))
        return CBM_PROTO_E_FULL;
    error = cbm_ledgers_add(&engine->shared.ledgers, id, page, owner, ledger);
    if (error && quota)
        cbm_quota_discharge(quota, owner->uid, CBM_QUOTA_LEDGERS, 1);
    return error;
}

int cbm_engine_ledger_attach(cbm_engine *engine, const cbm_ledger *page, const cbm_ledger_owner *owner,
                             uint64_t *holder)
{
    uint8_t id[CBM_ID_SIZE];
    cbm_mapped_ledger *ledger;
    uint32_t at;
    int error = 0;

    memcpy(id, page->id, sizeof id);
    if (!cbm_ledger_valid(page, CBM_LEDGER_SIZE))
        return CBM_PROTO_E_INVALID;
    cbm_engine_enter(engine, NULL);
    ledger = cbm_ledgers_find(&engine->shared.ledgers, id);
    if (owner->pid == 0 && !nameless_find(&engine->shared, owner->connection, &at))
        error = CBM_PROTO_E_DENIED; /* its connection has ended meanwhile */
    else if (ledger)
        error = take_over(engine, ledger, page, owner);
    else
        error = add(engine, id, page, owner, &ledger);
    if (error == 0)
        *holder = ledger->holder;
    cbm_engine_leave(engine);
    return error;
}

/* ---- The operations ------------------------------------------------------------------------------------------------ */

/* NULL: there is none, or it is somebody else's. */
static cbm_mapped_ledger *ledger_of(cbm_engine *engine, const cbm_caller *caller, const uint8_t id[CBM_ID_SIZE])
{
    cbm_mapped_ledger *ledger = cbm_ledgers_find(&engine->shared.ledgers, id);

    if (!ledger || ledger->owner.uid != caller->uid || ledger->owner.pid != caller->pid)
        return NULL;
    return caller->pid == 0 && ledger->owner.connection != caller->connection ? NULL : ledger;
}

int cbm_engine_detach(cbm_engine *engine, const cbm_caller *caller, const uint8_t id[CBM_ID_SIZE])
{
    cbm_mapped_ledger *ledger;

    cbm_engine_enter(engine, caller);
    ledger = ledger_of(engine, caller, id);
    if (ledger)
        end(engine, ledger, true);
    cbm_engine_leave(engine);
    return ledger ? 0 : CBM_PROTO_E_NOT_FOUND;
}

int cbm_engine_pull(cbm_engine *engine, const cbm_caller *caller, const char *name)
{
    int64_t now_ns = cbm_engine_enter(engine, caller);
    uint32_t slot;
    int error = cbm_core_find(engine->manager, name, &slot);

    if (error == 0)
        cbm_engine_pull_slot(engine, slot, CBM_LEDGER_SUCCESSES, now_ns);
    cbm_engine_leave(engine);
    return error;
}

/* False: its user has no room for one more entry that the broker reads. */
static bool charge_entry(cbm_engine *engine, cbm_mapped_ledger *ledger, uint32_t entry)
{
    cbm_quota *quota = engine->options.quota;

    if (ledger->entries[entry].charged || !quota)
        return true;
    if (!cbm_quota_charge(quota, ledger->owner.uid, CBM_QUOTA_LEDGER_BYTES, ENTRY_BYTES))
        return false;
    ledger->entries[entry].charged = true;
    ledger->charged += ENTRY_BYTES;
    return true;
}

void cbm_engine_claim(cbm_engine *engine, cbm_caller *caller, cbm_ledger_claim *claim, cbm_core_status *status)
{
    cbm_mapped_ledger *ledger = ledger_of(engine, caller, claim->ledger);
    cbm_ledger_news before;

    if (!ledger)
        return;
    if (caller->holder)
        caller->holder = ledger->holder;
    claim->entry =
        cbm_ledgers_bind(&engine->shared.ledgers, ledger, status->slot, status->name, claim->wanted, &before);
    cbm_shared_change(&engine->shared, status->slot);
    if (claim->entry >= 0 && !charge_entry(engine, ledger, (uint32_t)claim->entry)) {
        cbm_ledgers_unbind(&engine->shared.ledgers, ledger, (uint32_t)claim->entry);
        claim->entry = -1;
    }
    if (claim->entry >= 0 && cbm_engine_record_before(engine, status->slot, &before))
        (void)cbm_core_state_of(engine->manager, status->name, engine->now_ns, status);
}

uint64_t cbm_engine_holder_of(cbm_engine *engine, cbm_caller *caller)
{
    if (cbm_ledgers_is_number(caller->holder) && !cbm_ledgers_of_holder(&engine->shared.ledgers, caller->holder))
        caller->holder = caller->connection;
    return caller->holder;
}
