#include "link.h"

#include <string.h>

#include "cbm.h"
#include "clock.h"
#include "codec.h"
#include "sp.h"

#define AWAY_FIRST_NS (100 * CBM_NS_PER_MS)
#define AWAY_LONGEST_NS (5 * CBM_NS_PER_S)
#define OUT_USUAL ((size_t)4096) /* a begin and a report with all that they may carry fit */

static int init_gate(cbm_link *link)
{
    pthread_condattr_t attributes;
    int error;

    if (pthread_condattr_init(&attributes))
        return CBM_E_NOMEM;
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    error = pthread_cond_init(&link->freed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (error)
        return CBM_E_NOMEM;
    if (pthread_mutex_init(&link->lock, NULL)) {
        pthread_cond_destroy(&link->freed);
        return CBM_E_NOMEM;
    }
    link->busy = false;
    return 0;
}

static void take_late_reply(void *context, uint32_t id, const uint8_t *body, size_t size)
{
    cbm_link *link = context;

    cbm_orphans_arrive(&link->orphans, id, body, size);
}

int cbm_link_init(cbm_link *link, atomic_bool *answered)
{
    link->answered = answered;
    cbm_transport_init(&link->transport, take_late_reply, link);
    cbm_buffer_init(&link->out, CBM_REQUEST_MAX);
    return init_gate(link);
}

void cbm_link_deinit(cbm_link *link)
{
    cbm_transport_deinit(&link->transport);
    cbm_buffer_deinit(&link->out);
    pthread_mutex_destroy(&link->lock);
    pthread_cond_destroy(&link->freed);
}

void cbm_link_renew(cbm_link *link)
{
    bool idle = !link->busy;

    init_gate(link);
    cbm_transport_abandon(&link->transport, idle);
    if (!idle)
        cbm_buffer_init(&link->out, CBM_REQUEST_MAX);
    link->hello_id = 0;
    cbm_orphans_forget(&link->orphans);
}

int cbm_link_enter(cbm_link *link, int64_t deadline_ns)
{
    struct timespec deadline = cbm_clock_timespec(deadline_ns);
    int cancel_state;
    int error = 0;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    pthread_mutex_lock(&link->lock);
    for (;;) {
        if (link->away_step_ns && cbm_clock_ns() < link->away_until_ns) {
            error = link->away_error;
            break;
        }
        if (!link->busy) {
            link->busy = true;
            break;
        }
        if (pthread_cond_timedwait(&link->freed, &link->lock, &deadline) && cbm_clock_ns() >= deadline_ns) {
            error = CBM_E_AWAY;
            break;
        }
    }
    /* This thread may have taken a wake-up that it has no use for. */
    if (error && !link->busy)
        pthread_cond_signal(&link->freed);
    pthread_mutex_unlock(&link->lock);
    if (error)
        pthread_setcancelstate(cancel_state, NULL);
    else
        link->cancel_state = cancel_state;
    return error;
}

void cbm_link_leave(cbm_link *link)
{
    int cancel_state = link->cancel_state;

    pthread_mutex_lock(&link->lock);
    link->busy = false;
    pthread_cond_signal(&link->freed);
    pthread_mutex_unlock(&link->lock);
    pthread_setcancelstate(cancel_state, NULL);
}

/* Every call reads it: its line of cache is left alone while it says that already. */
static void set_answered(cbm_link *link, bool answered)
{
    if (atomic_load_explicit(link->answered, memory_order_relaxed) != answered)
        atomic_store_explicit(link->answered, answered, memory_order_relaxed);
}

static void note_answer(cbm_link *link)
{
    set_answered(link, true);
    if (!link->away_step_ns)
        return;
    pthread_mutex_lock(&link->lock);
    link->away_step_ns = 0;
    pthread_mutex_unlock(&link->lock);
}

/* For a while nobody waits for this broker; each time in a row twice as long. */
static int note_away(cbm_link *link, int error)
{
    set_answered(link, false);
    pthread_mutex_lock(&link->lock);
    link->away_step_ns = link->away_step_ns ? link->away_step_ns * 2 : AWAY_FIRST_NS;
    if (link->away_step_ns > AWAY_LONGEST_NS)
        link->away_step_ns = AWAY_LONGEST_NS;
    link->away_until_ns = cbm_clock_ns() + link->away_step_ns;
    link->away_error = error;
    pthread_mutex_unlock(&link->lock);
    return error;
}

static int note_failure(cbm_link *link, cbm_transport_result result)
{
    switch (result) {
    case CBM_TRANSPORT_NOMEM: return CBM_E_NOMEM;
    case CBM_TRANSPORT_DENIED: return note_away(link, CBM_E_DENIED);
    case CBM_TRANSPORT_UNTRUSTED: return note_away(link, CBM_E_UNTRUSTED);
    case CBM_TRANSPORT_BROKEN: return note_away(link, CBM_E_PROTOCOL);
    default: return note_away(link, CBM_E_AWAY);
    }
}

/*
 * The incarnation is asked for once a connection, by an `info` in the same write as the greeting: it costs no round trip, as the
 * broker's greeting has to be waited for anyway.
 */
static int encode_hello(cbm_link *link)
{
    cbm_request request = {.op = CBM_OP_INFO};

    cbm_buffer_clear(&link->out);
    cbm_buffer_reserve(&link->out, OUT_USUAL); /* the calls on this connection then allocate nothing */
    return cbm_request_encode(&request, &link->out);
}

/*
 * Tries the addresses in turn while there is nobody at them or this user is not let in, and stays with the first that ever
 * answers. When none does, one where the user was not let in says more than one where nobody is.
 */
static cbm_transport_result dial(cbm_link *link, int64_t deadline_ns)
{
    cbm_transport_result result = CBM_TRANSPORT_UNREACHABLE;
    size_t from = link->settled ? link->endpoint : 0;
    size_t to = link->settled ? link->endpoint + 1 : link->endpoint_count;
    size_t denied = to;

    for (size_t i = from; i < to; i++) {
        link->endpoint = i;
        result = cbm_transport_open(&link->transport, &link->endpoints[i], link->out.data, link->out.size, deadline_ns,
                                    &link->hello_id);
        if (result == CBM_TRANSPORT_DENIED)
            denied = i;
        else if (result != CBM_TRANSPORT_UNREACHABLE)
            return result;
    }
    if (denied == to)
        return result;
    link->endpoint = denied;
    return CBM_TRANSPORT_DENIED;
}

/* A peer that speaks SP but knows no `info` is taken as one without an incarnation. */
static void learn_broker(cbm_link *link, const uint8_t *body, size_t size)
{
    cbm_reply reply;
    cbm_fault fault;
    bool known = false;

    if (cbm_reply_decode(body, size, CBM_REPLY_INFO, &reply, &fault) == 0) {
        if (!reply.error) {
            known = link->has_incarnation && memcmp(link->incarnation, reply.data.info.incarnation, CBM_ID_SIZE) == 0;
            memcpy(link->incarnation, reply.data.info.incarnation, CBM_ID_SIZE);
            link->has_incarnation = true;
            link->sees_peers = reply.data.info.pid == cbm_transport_peer(&link->transport);
            link->limits_calls = reply.data.info.rate_limit_calls;
        } else {
            link->has_incarnation = false;
        }
        cbm_reply_deinit(&reply);
    } else {
        link->has_incarnation = false;
    }
    if (!known)
        link->life++;
}

/* Waits for the greeting and the reply to `info`. */
static cbm_transport_result await_hello(cbm_link *link, int64_t deadline_ns)
{
    const uint8_t *body;
    size_t size;
    cbm_transport_result result = cbm_transport_receive(&link->transport, link->hello_id, deadline_ns, &body, &size);

    if (result)
        return result;
    link->hello_id = 0;
    link->settled = true;
    link->connections++;
    learn_broker(link, body, size);
    note_answer(link);
    return CBM_TRANSPORT_OK;
}

int cbm_link_connect(cbm_link *link, int64_t deadline_ns)
{
    cbm_transport_result result;

    if (cbm_transport_is_open(&link->transport)) {
        if (!link->hello_id)
            return 0;
        /* Left waiting at an earlier deadline. When the peer has hung up since, there may be a new broker. */
        result = await_hello(link, deadline_ns);
        if (result != CBM_TRANSPORT_LOST)
            return result ? note_failure(link, result) : 0;
    }
    if (encode_hello(link))
        return CBM_E_NOMEM;
    link->hello_id = 0;
    cbm_orphans_forget(&link->orphans);
    result = dial(link, deadline_ns);
    if (!result)
        result = await_hello(link, deadline_ns);
    return result ? note_failure(link, result) : 0;
}

int cbm_link_request(cbm_link *link, int64_t deadline_ns, cbm_link_reply *reply)
{
    cbm_transport_result result;

    *reply = (cbm_link_reply){0};
    result = cbm_transport_send(&link->transport, link->out.data, link->out.size, deadline_ns, &reply->id);
    if (result == CBM_TRANSPORT_OK) {
        reply->sent = true;
        result = cbm_transport_receive(&link->transport, reply->id, deadline_ns, &reply->body, &reply->size);
    }
    if (result == CBM_TRANSPORT_OK) {
        note_answer(link);
        return 0;
    }
    if (result != CBM_TRANSPORT_LOST)
        return note_failure(link, result);
    /* A connection that ended says nothing yet about the broker: the next attempt to connect does. */
    reply->lost = true;
    set_answered(link, false);
    return CBM_E_AWAY;
}

int cbm_link_reject(cbm_link *link)
{
    cbm_transport_close(&link->transport);
    return note_away(link, CBM_E_PROTOCOL);
}
