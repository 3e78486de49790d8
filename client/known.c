#include "known.h"

#include <string.h>

#include "client.h"
#include "clock.h"
#include "error.h"
#include "policy.h"

#define RETRY_LONGEST_MS                                                                                               \
    INT64_C(2592000000) /* the longest timeout_ms of a policy: what a broker says beyond it is no time */
#define RETRY_LONGEST_NS (RETRY_LONGEST_MS * CBM_NS_PER_MS)

/* retry_after_ns -1: until somebody enables it. */
static void set_state(cbm_known *known, cbm_core_state state, int64_t retry_after_ns, int64_t now_ns)
{
    if (retry_after_ns > RETRY_LONGEST_NS)
        retry_after_ns = RETRY_LONGEST_NS;
    known->state_known = true;
    known->state = state;
    known->retry_at_ns = retry_after_ns < 0 ? INT64_MAX : now_ns + retry_after_ns;
}

static void learn_status(cbm_known *known, const cbm_core_status *status, int64_t now_ns)
{
    known->policy_known = true;
    known->policy = status->policy;
    set_state(known, status->state, status->retry_after_ns, now_ns);
}

/* Whether that very state is known already, and until when. */
static bool is_known_until(const cbm_known *known, cbm_core_state state, int64_t now_ns)
{
    return known->state_known && known->state == state && known->retry_at_ns > now_ns;
}

/* A report answers the state alone: how long it stays OPEN is then the policy's, if it became so just now. */
static void learn_report(cbm_known *known, cbm_core_state state, int64_t now_ns)
{
    cbm_core_policy_request none = {0};
    cbm_core_policy policy;

    if ((state == CBM_CORE_OPEN || state == CBM_CORE_FORCED_OPEN) && is_known_until(known, state, now_ns))
        return;
    if (state != CBM_CORE_OPEN) {
        set_state(known, state, state == CBM_CORE_FORCED_OPEN ? -1 : 0, now_ns);
        return;
    }
    if (known->policy_known)
        policy = known->policy;
    else if (cbm_core_policy_resolve(&none, &policy, NULL))
        return;
    set_state(known, CBM_CORE_OPEN, (int64_t)policy.timeout_ms * CBM_NS_PER_MS, now_ns);
}

static void learn_refusal(cbm_known *known, const cbm_reply *reply, int64_t now_ns)
{
    int64_t retry_after_ms = reply->has_retry_after && reply->retry_after_ms > 0 ? reply->retry_after_ms : 0;

    if (retry_after_ms > RETRY_LONGEST_MS)
        retry_after_ms = RETRY_LONGEST_MS;
    switch (reply->error) {
    case CBM_PROTO_E_OPEN: set_state(known, CBM_CORE_OPEN, retry_after_ms * CBM_NS_PER_MS, now_ns); break;
    case CBM_PROTO_E_FORCED_OPEN:
        set_state(known, CBM_CORE_FORCED_OPEN, retry_after_ms ? retry_after_ms * CBM_NS_PER_MS : -1, now_ns);
        break;
    case CBM_PROTO_E_HALF_OPEN_FULL: set_state(known, CBM_CORE_HALF_OPEN, 0, now_ns); break;
    default: break;
    }
}

static void learn_reset_all(cbm_client *client, int64_t now_ns)
{
    for (cbm_breaker *breaker = client->registry.first; breaker; breaker = breaker->following)
        set_state(&breaker->known, CBM_CORE_CLOSED, 0, now_ns);
}

/* Breakers are gone (pattern NULL: all): those of the handles are to be made again, with their policies, and start anew. */
static void learn_removal(cbm_client *client, const char *pattern)
{
    for (cbm_breaker *breaker = client->registry.first; breaker; breaker = breaker->following) {
        if (pattern && !cbm_core_name_matches(pattern, breaker->name))
            continue;
        breaker->attached = 0;
        breaker->known = (cbm_known){0};
    }
}

void cbm_known_learn(cbm_client *client, cbm_breaker *breaker, const cbm_request *request, const cbm_reply *reply)
{
    int64_t now_ns = cbm_clock_ns();

    /* Only the local manager goes on from states; that breakers are gone concerns everybody. */
    if (client->when_away != CBM_LOCAL && request->op != CBM_OP_RESET_MANAGER && request->op != CBM_OP_REMOVE)
        return;
    pthread_mutex_lock(&client->lock);
    if (!breaker && reply->kind == CBM_REPLY_STATUS)
        breaker = cbm_registry_find(&client->registry, request->name);
    if (reply->error) {
        if (breaker)
            learn_refusal(&breaker->known, reply, now_ns);
    } else if (request->op == CBM_OP_RESET_ALL) {
        learn_reset_all(client, now_ns);
    } else if (request->op == CBM_OP_RESET_MANAGER || request->op == CBM_OP_REMOVE) {
        learn_removal(client, request->op == CBM_OP_REMOVE ? request->pattern : NULL);
    } else if (breaker) {
        switch (reply->kind) {
        case CBM_REPLY_STATUS: learn_status(&breaker->known, &reply->data.status, now_ns); break;
        case CBM_REPLY_GET: learn_status(&breaker->known, &reply->data.get.status, now_ns); break;
        case CBM_REPLY_BEGIN: set_state(&breaker->known, reply->data.begin.state, 0, now_ns); break;
        case CBM_REPLY_REPORT: learn_report(&breaker->known, reply->data.report.state, now_ns); break;
        default: break;
        }
    }
    pthread_mutex_unlock(&client->lock);
}

void cbm_known_look(const cbm_client *client, cbm_breaker *breaker)
{
    uint64_t place = atomic_load_explicit(&breaker->place, memory_order_acquire);
    uint64_t word;
    int64_t aux;

    if (place == CBM_PLACE_NONE)
        return;
    word = cbm_board_read(client->board, cbm_place_slot(place), &aux);
    if (!cbm_place_is_good(place, word))
        return;
    breaker->known.state_known = true;
    breaker->known.state = cbm_word_state(word);
    breaker->known.retry_at_ns =
        breaker->known.state == CBM_CORE_OPEN || breaker->known.state == CBM_CORE_FORCED_OPEN ? aux : 0;
}

/* Without memory for it the local manager makes the breaker at its first use: with defaults, CLOSED. */
static void adopt(cbm_client *client, const cbm_breaker *breaker, int64_t now_ns)
{
    const cbm_known *known = &breaker->known;
    cbm_core_policy_request policy = breaker->policy;
    cbm_core_state state = known->state_known ? known->state : CBM_CORE_CLOSED;
    int64_t retry_after_ns = 0;

    if (known->policy_known)
        cbm_policy_request_all(&known->policy, &policy);
    if (known->state_known && known->retry_at_ns == INT64_MAX)
        retry_after_ns = -1;
    else if (known->state_known && known->retry_at_ns > now_ns)
        retry_after_ns = known->retry_at_ns - now_ns;
    else if (state == CBM_CORE_FORCED_OPEN)
        state = CBM_CORE_CLOSED; /* it was so for a time, which is over */
    cbm_core_adopt(client->local.manager, breaker->name, &policy, state, retry_after_ns, now_ns);
}

void cbm_known_prepare(cbm_client *client, cbm_breaker *breaker, int64_t now_ns)
{
    if (client->backend == &cbm_local_backend || breaker->adopted == client->absence)
        return;
    cbm_known_look(client, breaker);
    adopt(client, breaker, now_ns);
    breaker->adopted = client->absence;
}

void cbm_known_prepare_all(cbm_client *client, int64_t now_ns)
{
    for (cbm_breaker *breaker = client->registry.first; breaker; breaker = breaker->following)
        cbm_known_prepare(client, breaker, now_ns);
}
