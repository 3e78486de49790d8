/* Time's work: the boundaries of seconds, at which ledgers of time windows are pulled, and what is due in the core. */
#include <stdlib.h>

#include "engine_inner.h"

#define AT_ONCE_NS CBM_CORE_NS_PER_MS /* of time's work; then the others have their turn */

/* ---- The list of those with a tick ------------------------------------------------------------------------------ */

static void tick_add(cbm_shared *shared, uint32_t slot, int64_t now_ns)
{
    cbm_second_ticks *ticks = &shared->ticks;

    if (ticks->count == ticks->capacity) {
        uint32_t capacity = ticks->capacity ? 2 * ticks->capacity : 16;
        uint32_t *slots = realloc(ticks->slots, capacity * sizeof *slots);

        if (!slots)
            return; /* tried again at its next change; until then its successes count when they are pulled */
        ticks->slots = slots;
        ticks->capacity = capacity;
    }
    if (!ticks->count)
        ticks->next_ns = (now_ns / CBM_CORE_NS_PER_S + 1) * CBM_CORE_NS_PER_S;
    ticks->slots[ticks->count++] = slot;
    shared->slots[slot].tick = ticks->count;
    shared->slots[slot].second = now_ns / CBM_CORE_NS_PER_S;
}

/* The last one takes its place. Should that be worked off a second time, it has nothing to do. */
static void tick_remove(cbm_shared *shared, uint32_t slot)
{
    cbm_second_ticks *ticks = &shared->ticks;
    uint32_t last = ticks->slots[--ticks->count];

    ticks->slots[shared->slots[slot].tick - 1] = last;
    shared->slots[last].tick = shared->slots[slot].tick;
    shared->slots[slot].tick = 0;
    if (ticks->left > ticks->count)
        ticks->left = ticks->count;
    if (!ticks->count)
        ticks->next_ns = CBM_CORE_NEVER_NS;
}

void cbm_shared_tick_as_needed(cbm_shared *shared, uint32_t slot, const cbm_core_glance *glance, int64_t now_ns)
{
    bool needed = glance->by_seconds && cbm_ledgers_holders(&shared->ledgers, slot);

    if (needed && !shared->slots[slot].tick)
        tick_add(shared, slot, now_ns);
    else if (!needed && shared->slots[slot].tick)
        tick_remove(shared, slot);
}

/* ---- What time brings ------------------------------------------------------------------------------------------- */

int64_t cbm_engine_next_deadline(const cbm_engine *engine)
{
    int64_t deadline_ns = cbm_core_next_deadline(engine->manager);
    int64_t tick_ns = engine->shared.ticks.left ? 0 : engine->shared.ticks.next_ns;

    return tick_ns < deadline_ns ? tick_ns : deadline_ns;
}

static bool stays_fast(cbm_engine *engine, uint32_t slot, int64_t now_ns)
{
    cbm_core_glance glance;

    return cbm_core_glance_at(engine->manager, slot, now_ns, &glance) == 0 && glance.fast;
}

static bool tick_seconds(cbm_engine *engine, int64_t now_ns, int64_t end_ns)
{
    cbm_second_ticks *ticks = &engine->shared.ticks;

    if (now_ns >= ticks->next_ns) {
        ticks->lateness_last_ns = now_ns - ticks->next_ns;
        if (ticks->lateness_last_ns > ticks->lateness_max_ns)
            ticks->lateness_max_ns = ticks->lateness_last_ns;
        ticks->left = ticks->count;
        ticks->next_ns = (now_ns / CBM_CORE_NS_PER_S + 1) * CBM_CORE_NS_PER_S;
    }
    while (ticks->left) {
        uint32_t slot = ticks->slots[--ticks->left];

        cbm_shared_change(&engine->shared, slot); /* as the window moves, successes may stay in ledgers again, or not */
        if (engine->shared.slots[slot].fast && engine->shared.slots[slot].second < now_ns / CBM_CORE_NS_PER_S) {
            cbm_engine_pull_slot(engine, slot, CBM_LEDGER_SUCCESSES, now_ns);
            if (!stays_fast(engine, slot, now_ns))
                cbm_engine_hold(engine, slot, now_ns);
        }
        cbm_engine_publish(engine);
        if (cbm_clock_ns() >= end_ns)
            return true;
    }
    return false;
}

bool cbm_engine_tick_deadlines(cbm_engine *engine, int64_t now_ns, int64_t end_ns)
{
    uint32_t slot;

    while (cbm_core_next_due(engine->manager, now_ns, &slot)) {
        uint32_t again;

        cbm_engine_hold(engine, slot, now_ns);
        cbm_engine_pull_slot(engine, slot, CBM_LEDGER_SUCCESSES, now_ns);
        if (cbm_core_next_due(engine->manager, now_ns, &again) && again == slot)
            (void)cbm_core_tick(engine->manager, now_ns, 1); /* else its calls in ledgers have put it off */
        cbm_shared_change(&engine->shared, slot);
        cbm_engine_publish(engine);
        if (cbm_clock_ns() >= end_ns)
            return true;
    }
    return false;
}

bool cbm_engine_tick(cbm_engine *engine, int64_t now_ns)
{
    int64_t end_ns = now_ns + AT_ONCE_NS;

    return tick_seconds(engine, now_ns, end_ns) || cbm_engine_tick_deadlines(engine, now_ns, end_ns);
}
