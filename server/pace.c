#include "pace.h"

#include "cbm_core.h"

#define REQUEST_COST_NS 4000 /* of a small one: decoded, handled, answered */
#define BYTE_COST_NS 10
#define HEAVY_NS 100000 /* a round that is expected to cost more is a heavy one: some 25 requests, or 10 kB */
#define SLOWER_THAN_EXPECTED 64
#define HEAVY_SHARE 5 /* of the time heavy rounds have one part in so many */
#define HEAVY_MEMORY_NS                                                                                                \
    (100 * CBM_CORE_NS_PER_MS)                  /* for so long after a heavy round a peer is one that asks for much */
#define LIGHT_MEMORY_NS (3 * CBM_CORE_NS_PER_S) /* who asked for little so long ago may ask again */
#define HEAVY_BURST_NS CBM_CORE_NS_PER_MS       /* turns so near are not waited for: sleeps are in milliseconds */
#define REQUESTS_BURST_NS (250 * CBM_CORE_NS_PER_MS) /* requests may come together so far ahead of their rate */

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t expected_cost_ns(const cbm_pace_round *round)
{
    return (int64_t)round->requests * REQUEST_COST_NS + (int64_t)round->bytes * BYTE_COST_NS +
           (int64_t)round->parts * CBM_PART_NS;
}

/* What it took, within reason: a thread that was not scheduled for a while has not worked all that time. */
static int64_t cost_ns(const cbm_pace_round *round)
{
    int64_t most_ns = SLOWER_THAN_EXPECTED * expected_cost_ns(round), took_ns = round->ended_ns - round->begun_ns;

    return took_ns < most_ns ? took_ns : most_ns;
}

static bool was_heavy(const cbm_pace_peer *peer, int64_t now_ns)
{
    return peer->heavy_ns && now_ns - peer->heavy_ns < HEAVY_MEMORY_NS;
}

/* Of who sends many requests at once, also what is left over for a small round. */
bool cbm_pace_is_heavy(const cbm_pace_peer *peer, const cbm_pace_round *round)
{
    return expected_cost_ns(round) >= HEAVY_NS || (round->requests > 1 && was_heavy(peer, round->ended_ns));
}

int64_t cbm_pace_requests(int64_t *due_ns, uint32_t requests, uint32_t rate, int64_t now_ns)
{
    if (!rate)
        return now_ns;
    *due_ns = later(*due_ns, now_ns) + (int64_t)requests * CBM_CORE_NS_PER_S / rate;
    return *due_ns - REQUESTS_BURST_NS;
}

/* Whether another connection asked for little just now. */
static bool others_ask(const cbm_pace *pace, const cbm_pace_round *round)
{
    int64_t other_ns = cbm_last_two_other_ns(&pace->light, round->connection);

    return other_ns && round->ended_ns - other_ns < LIGHT_MEMORY_NS;
}

int64_t cbm_pace_weight(cbm_pace *pace, cbm_pace_user *user, cbm_pace_peer *peer, const cbm_pace_round *round,
                        uint32_t users)
{
    int64_t now_ns = round->ended_ns;
    int64_t share;

    if (!cbm_pace_is_heavy(peer, round)) {
        if (!was_heavy(peer, now_ns))
            cbm_last_two_note(&pace->light, round->connection, now_ns);
        return now_ns;
    }
    share = others_ask(pace, round) ? HEAVY_SHARE : 1;
    user->heavy_until_ns = later(user->heavy_until_ns, round->begun_ns) + cost_ns(round) * share * users;
    peer->heavy_ns = later(user->heavy_until_ns, now_ns);
    return user->heavy_until_ns - HEAVY_BURST_NS;
}
