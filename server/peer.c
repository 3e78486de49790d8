#include "peer.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "engine_store.h"
#include "log.h"
#include "peer_input.h"
#include "sp.h"
#include "turns.h"

#define ROUND_FRAMES 32                  /* requests of one peer before others have their turn */
#define ROUND_OUTPUT ((size_t)64 * 1024) /* bytes of replies, likewise */
#define STORE_TIMEOUT_MS 50              /* a reply waits for the disk no longer */
#define SEND_TIMEOUT_MS 30000            /* a peer that takes nothing of its replies for so long is dropped */

typedef enum peer_waits_for {
    WAITS_FOR_BYTES,
    WAITS_FOR_ROOM, /* back-pressure: nothing more is read before the peer took its replies */
    WAITS_FOR_TURN,
    WAITS_TO_READ,   /* for its turn as well */
    WAITS_FOR_STORE, /* its reply tells of something that is being stored */
    WAITS_FOR_PACE,  /* it asked for much, and is not read for a while */
} peer_waits_for;

typedef struct cbm_peer {
    cbm_registry_entry entry;
    cbm_registry *registry;
    cbm_engine *engine;
    cbm_quota *quota;
    cbm_caller caller;
    nng_stream *stream;
    nng_aio *aio;      /* what the peer waits for; its callback is the peer's only thread of control */
    nng_aio *send_now; /* without a callback: done in its caller, or not at all */
    peer_waits_for waits_for;
    uint16_t protocol; /* 0: has not greeted */
    bool counted;      /* among its user's connections */
    cbm_pace_peer pace;
    cbm_turn turn;
    uint32_t rest_ms; /* that it is to rest before it is read again */

    uint8_t *rest; /* of replies, while it waits for room, or for the store */
    size_t rest_size;
    size_t rest_sent;
    size_t rest_charged; /* to its user */
    uint64_t ticket;     /* of the store: what the last reply tells of; 0: it tells of nothing that is stored at once */
    size_t stored_at;    /* where that reply stands among the others, in the one wording, ... */
    size_t unstored_at;  /* ... and behind it in the other: one of both is sent */
    cbm_store_waiter waiter;
    cbm_peer_input input;
} cbm_peer;

static void drop_rest(cbm_peer *peer);

/* ---- Life ------------------------------------------------------------------------------------------------------- */

static void log_peer(const cbm_peer *peer, const char *event, const char *reason)
{
    cbm_log_line line;

    if (!cbm_log_enabled(CBM_LOG_DEBUG))
        return;
    cbm_log_line_begin(&line, CBM_LOG_DEBUG, event);
    cbm_log_line_uint(&line, "peer", peer->caller.holder);
    cbm_log_line_uint(&line, "uid", peer->caller.uid);
    cbm_log_line_int(&line, "pid", peer->caller.pid);
    if (reason)
        cbm_log_line_string(&line, "reason", reason);
    cbm_log_line_end(&line);
}

/* In the peer's callback only. NNG frees an aio whose callback is this one when the callback is over. */
static void end(cbm_peer *peer, const char *reason)
{
    cbm_registry *registry = peer->registry;

    log_peer(peer, "peer_gone", reason);
    cbm_registry_remove(registry, &peer->entry);
    if (peer->caller.holds)
        cbm_engine_caller_gone(peer->engine, &peer->caller);
    nng_stream_close(peer->stream);
    nng_stream_free(peer->stream);
    nng_aio_free(peer->send_now);
    nng_aio_reap(peer->aio);
    drop_rest(peer);
    cbm_turns_leave(&peer->turn);
    cbm_peer_input_deinit(&peer->input);
    if (peer->counted)
        cbm_quota_discharge(peer->quota, peer->caller.uid, CBM_QUOTA_CONNECTIONS, 1);
    free(peer);
    cbm_registry_release(registry);
}

static void give_bytes(const cbm_peer *peer, size_t size)
{
    if (size)
        cbm_quota_discharge(peer->quota, peer->caller.uid, CBM_QUOTA_BYTES, size);
}

/* ---- Input and output --------------------------------------------------------------------------------------------- */

/* After this the peer may be gone. */
static void receive(cbm_peer *peer)
{
    nng_iov space;

    if (!cbm_peer_input_make_room(&peer->input)) {
        end(peer, "no memory");
        return;
    }
    space = (nng_iov){peer->input.bytes + peer->input.size, peer->input.capacity - peer->input.size};
    peer->waits_for = WAITS_FOR_BYTES;
    nng_aio_set_timeout(peer->aio, NNG_DURATION_INFINITE);
    nng_aio_set_iov(peer->aio, 1, &space);
    nng_stream_recv(peer->stream, peer->aio);
}

/* Sends what the socket takes at once. An aio without a callback completes in its caller, so this is no hop to another thread. */
static int send_now(cbm_peer *peer, const cbm_buffer *out, size_t *sent)
{
    nng_iov bytes = {out->data, out->size};
    int result;

    nng_aio_set_iov(peer->send_now, 1, &bytes);
    nng_stream_send(peer->stream, peer->send_now);
    nng_aio_abort(peer->send_now, NNG_ECANCELED); /* does nothing to one that is complete */
    nng_aio_wait(peer->send_now);
    result = nng_aio_result(peer->send_now);
    *sent = result == 0 ? nng_aio_count(peer->send_now) : 0;
    return result == NNG_ECANCELED ? 0 : result;
}

/* After this the peer may be gone. */
static void send_rest(cbm_peer *peer)
{
    nng_iov bytes = {peer->rest + peer->rest_sent, peer->rest_size - peer->rest_sent};

    peer->waits_for = WAITS_FOR_ROOM;
    nng_aio_set_timeout(peer->aio, SEND_TIMEOUT_MS);
    nng_aio_set_iov(peer->aio, 1, &bytes);
    nng_stream_send(peer->stream, peer->aio);
}

static bool keep_rest(cbm_peer *peer, const cbm_buffer *out, size_t sent)
{
    size_t size = out->size - sent;

    if (!cbm_quota_charge(peer->quota, peer->caller.uid, CBM_QUOTA_BYTES, size))
        return false;
    peer->rest = malloc(size);
    if (!peer->rest) {
        give_bytes(peer, size);
        return false;
    }
    peer->rest_size = peer->rest_charged = size;
    peer->rest_sent = 0;
    memcpy(peer->rest, out->data + sent, peer->rest_size);
    return true;
}

static void drop_rest(cbm_peer *peer)
{
    give_bytes(peer, peer->rest_charged);
    free(peer->rest);
    peer->rest = NULL;
    peer->rest_size = peer->rest_sent = peer->rest_charged = 0;
}

/* ---- Requests --------------------------------------------------------------------------------------------------- */

typedef enum peer_step {
    STEP_RECEIVE, /* all whole frames are answered */
    STEP_YIELD,   /* there are more, but it is others' turn */
    STEP_BROKEN,  /* not a peer of ours */
    STEP_TOO_MANY,
    STEP_NO_MEMORY,
} peer_step;

static const char *step_reason(peer_step step)
{
    switch (step) {
    case STEP_BROKEN: return "not understood";
    case STEP_TOO_MANY: return "its user has as many connections as it may";
    default: return "no memory";
    }
}

static peer_step greet(cbm_peer *peer, cbm_scratch *scratch)
{
    size_t size = peer->input.size < CBM_SP_GREETING_SIZE ? peer->input.size : CBM_SP_GREETING_SIZE;
    uint8_t greeting[CBM_SP_GREETING_SIZE];
    uint16_t protocol;

    if (!cbm_sp_greeting_plausible(peer->input.bytes, size))
        return STEP_BROKEN;
    if (size < CBM_SP_GREETING_SIZE)
        return STEP_RECEIVE;
    protocol = cbm_sp_greeting_protocol(peer->input.bytes);
    if (protocol != CBM_SP_REQ && protocol != CBM_SP_SUB)
        return STEP_BROKEN;
    if (!cbm_registry_greeted(peer->registry, &peer->entry))
        return STEP_BROKEN;
    peer->counted = cbm_quota_charge(peer->quota, peer->caller.uid, CBM_QUOTA_CONNECTIONS, 1);
    if (!peer->counted)
        return STEP_TOO_MANY;
    if (!cbm_turns_join(&peer->registry->turns, &peer->turn, peer->caller.uid, peer->aio))
        return STEP_NO_MEMORY;
    peer->protocol = protocol;
    cbm_sp_greeting_write(greeting, protocol == CBM_SP_REQ ? CBM_SP_REP : CBM_SP_PUB);
    cbm_peer_input_consume(&peer->input, CBM_SP_GREETING_SIZE);
    log_peer(peer, "peer_greeted", NULL);
    return cbm_buffer_append(&scratch->out, greeting, sizeof greeting) == 0 ? STEP_RECEIVE : STEP_NO_MEMORY;
}

static bool append_reply(const cbm_sp_frame *frame, const cbm_buffer *body, cbm_scratch *scratch)
{
    uint8_t header[CBM_SP_PREFIX_SIZE + CBM_SP_BACKTRACE_MAX];
    size_t header_size;

    header_size = cbm_sp_frame_write(header, frame->backtrace, frame->backtrace_size, body->size);
    /* For both: what is in `out` is sent, also when the peer ends, so half a frame must not be in it. */
    if (cbm_buffer_reserve(&scratch->out, header_size + body->size) != 0)
        return false;
    cbm_buffer_append(&scratch->out, header, header_size);
    return cbm_buffer_append(&scratch->out, body->data, body->size) == 0;
}

/* Of what is answered next. That of the parts so far is the whole request's. */
static void begin_ticket(cbm_peer *peer)
{
    if (!peer->caller.next_part)
        peer->ticket = 0;
}

static bool answer(cbm_peer *peer, const cbm_sp_frame *frame, cbm_scratch *scratch)
{
    begin_ticket(peer);
    if (!cbm_dispatch(peer->engine, &peer->caller, frame->body, frame->body_size, scratch))
        return false;
    if (peer->caller.next_part)
        return true;
    peer->stored_at = scratch->out.size;
    if (!append_reply(frame, &scratch->body, scratch))
        return false;
    peer->unstored_at = scratch->out.size;
    return peer->ticket == 0 || append_reply(frame, &scratch->unstored, scratch);
}

static peer_step serve_frames(cbm_peer *peer, cbm_scratch *scratch, cbm_pace_round *round)
{
    size_t at = 0, needed;
    cbm_sp_frame frame;
    peer_step step = STEP_YIELD;

    for (int frames = 0; frames < ROUND_FRAMES && scratch->out.size < ROUND_OUTPUT; frames++) {
        cbm_sp_result result =
            cbm_sp_frame_read(peer->input.bytes + at, peer->input.size - at, CBM_REQUEST_MAX, &frame, &needed);

        if (result != CBM_SP_FRAME) {
            step = result == CBM_SP_MORE ? STEP_RECEIVE : STEP_BROKEN;
            break;
        }
        if (!answer(peer, &frame, scratch)) {
            step = STEP_NO_MEMORY;
            break;
        }
        if (peer->caller.next_part) {
            round->parts++;
            break;
        }
        at += frame.size;
        round->requests++;
        if (peer->ticket)
            break;
    }
    round->bytes = at + scratch->out.size;
    cbm_peer_input_consume(&peer->input, at);
    return step;
}

/* What there is to be done with the bytes at hand; replies are in scratch->out. */
static peer_step serve(cbm_peer *peer, cbm_scratch *scratch, cbm_pace_round *round)
{
    peer_step step = STEP_RECEIVE;

    if (peer->protocol == 0)
        step = greet(peer, scratch);
    if (step != STEP_RECEIVE || peer->protocol == 0)
        return step;
    /* A subscriber says nothing: subscriptions are filtered on its side. It is kept until it closes. */
    if (peer->protocol == CBM_SP_SUB)
        return peer->input.size ? STEP_BROKEN : STEP_RECEIVE;
    return serve_frames(peer, scratch, round);
}

/* ---- The thread of control: each of these ends in waiting for one thing, or in the peer's end ------------------------ */

static void yield(cbm_peer *peer)
{
    peer->waits_for = WAITS_FOR_TURN;
    if (!nng_aio_begin(peer->aio)) {
        end(peer, "stopped");
        return;
    }
    nng_aio_finish(peer->aio, 0); /* to the tail of the queue of callbacks */
}

/* What there is to be read waits where it is: in the socket, until its sender has to wait too. */
static void rest(cbm_peer *peer)
{
    nng_duration rest_ms = (nng_duration)peer->rest_ms;

    peer->waits_for = WAITS_FOR_PACE;
    peer->rest_ms = 0;
    nng_aio_set_timeout(peer->aio, NNG_DURATION_INFINITE); /* that of sending would cut it short, as an error */
    nng_sleep_aio(rest_ms, peer->aio);
}

static void read_on(cbm_peer *peer)
{
    peer->waits_for = WAITS_TO_READ;
    nng_aio_set_timeout(peer->aio, NNG_DURATION_INFINITE); /* as in rest() */
    if (peer->protocol != CBM_SP_REQ || cbm_turns_take_to_read(&peer->turn))
        receive(peer);
}

static void go_on(cbm_peer *peer, peer_step step)
{
    if (step != STEP_RECEIVE && step != STEP_YIELD)
        end(peer, step_reason(step));
    else if (peer->rest_ms)
        rest(peer);
    else if (step == STEP_RECEIVE)
        read_on(peer);
    else
        yield(peer);
}

static void account(cbm_peer *peer, cbm_pace_round *round)
{
    if (!round->requests && !round->parts)
        return;
    round->ended_ns = cbm_clock_ns();
    peer->rest_ms = cbm_quota_round(peer->quota, peer->caller.uid, &peer->pace, round);
}

/* The wording that came true goes out. */
static void on_stored(cbm_peer *peer)
{
    bool stored = cbm_store_is_committed(cbm_engine_store_waits(peer->engine), peer->ticket);

    if (stored) {
        peer->rest_size = peer->unstored_at;
    } else {
        memmove(peer->rest + peer->stored_at, peer->rest + peer->unstored_at, peer->rest_size - peer->unstored_at);
        peer->rest_size -= peer->unstored_at - peer->stored_at;
    }
    send_rest(peer);
}

/* What made the next step is still in the input, and is found again. */
static void await_store(cbm_peer *peer, cbm_scratch *scratch)
{
    bool kept = keep_rest(peer, &scratch->out, 0);

    cbm_scratch_trim(scratch);
    if (!kept) {
        end(peer, "no memory");
        return;
    }
    peer->waits_for = WAITS_FOR_STORE;
    if (!cbm_store_wait(cbm_engine_store_waits(peer->engine), &peer->waiter, peer->aio, peer->ticket, STORE_TIMEOUT_MS))
        on_stored(peer);
}

static void on_store(cbm_peer *peer, int result)
{
    cbm_store_wait_over(cbm_engine_store_waits(peer->engine), &peer->waiter);
    if (result == 0 || result == NNG_ECANCELED || result == NNG_ETIMEDOUT)
        on_stored(peer);
    else
        end(peer, nng_strerror(result));
}

static void work(cbm_peer *peer)
{
    cbm_scratch *scratch = cbm_scratch_get();
    cbm_pace_round round = {.connection = peer->caller.holder, .begun_ns = cbm_clock_ns()};
    size_t sent = 0;
    peer_step step;
    bool whole;

    if (!scratch || cbm_registry_is_stopping(peer->registry)) {
        end(peer, scratch ? "stopping" : "no memory");
        return;
    }
    cbm_buffer_clear(&scratch->out);
    begin_ticket(peer);
    step = serve(peer, scratch, &round);
    if (step == STEP_NO_MEMORY) { /* its request is in the input still, and must not be handled a second time */
        if (!peer->ticket && scratch->out.size)
            (void)send_now(peer, &scratch->out, &sent);
        end(peer, step_reason(step));
        return;
    }
    if (peer->ticket && !peer->caller.next_part) {
        account(peer, &round);
        await_store(peer, scratch);
        return;
    }
    if (scratch->out.size && send_now(peer, &scratch->out, &sent) != 0) {
        end(peer, "closed");
        return;
    }
    account(peer, &round);
    whole = sent == scratch->out.size || keep_rest(peer, &scratch->out, sent);
    cbm_scratch_trim(scratch);
    if (!whole)
        end(peer, "no memory");
    else if (peer->rest)
        send_rest(peer); /* what made `step` is still in the input, and is found again */
    else
        go_on(peer, step);
}

static void on_bytes(cbm_peer *peer, int result)
{
    /* A timeout set for an earlier wait of the same aio may strike late (seen in NNG's source): nothing is lost. */
    if (result == NNG_ETIMEDOUT) {
        receive(peer);
        return;
    }
    if (result != 0) {
        end(peer, nng_strerror(result));
        return;
    }
    peer->input.size += nng_aio_count(peer->aio);
    peer->waits_for = WAITS_FOR_TURN;
    if (peer->protocol != CBM_SP_REQ || cbm_turns_take(&peer->turn, cbm_clock_ns()))
        work(peer);
}

static void on_room(cbm_peer *peer, int result)
{
    if (result != 0) {
        end(peer, result == NNG_ETIMEDOUT ? "takes no replies" : nng_strerror(result));
        return;
    }
    peer->rest_sent += nng_aio_count(peer->aio);
    if (peer->rest_sent < peer->rest_size) {
        send_rest(peer);
        return;
    }
    drop_rest(peer);
    if (peer->rest_ms)
        rest(peer);
    else
        work(peer);
}

static void on_turn(cbm_peer *peer, int result)
{
    if (result != 0)
        end(peer, nng_strerror(result));
    else if (peer->waits_for == WAITS_TO_READ)
        receive(peer);
    else
        work(peer);
}

static void on_complete(void *argument)
{
    cbm_peer *peer = argument;
    int result = nng_aio_result(peer->aio);

    switch (peer->waits_for) {
    case WAITS_FOR_BYTES: on_bytes(peer, result); break;
    case WAITS_FOR_ROOM: on_room(peer, result); break;
    case WAITS_FOR_STORE: on_store(peer, result); break;
    case WAITS_FOR_TURN:
    case WAITS_TO_READ:
    case WAITS_FOR_PACE: on_turn(peer, result); break;
    }
}

void cbm_peer_start(nng_stream *stream, const cbm_caller *caller, cbm_engine *engine, cbm_registry *registry,
                    cbm_quota *quota)
{
    cbm_peer *peer = malloc(sizeof *peer);

    if (!peer)
        goto no_peer;
    memset(peer, 0, offsetof(cbm_peer, input));
    peer->registry = registry;
    peer->engine = engine;
    peer->quota = quota;
    peer->caller = *caller;
    peer->caller.ticket = &peer->ticket;
    peer->stream = stream;
    cbm_peer_input_init(&peer->input, quota, caller->uid);
    if (nng_aio_alloc(&peer->aio, on_complete, peer) != 0)
        goto no_aio;
    if (nng_aio_alloc(&peer->send_now, NULL, NULL) != 0)
        goto no_send_now;
    peer->entry.aio = peer->aio;
    cbm_registry_add(registry, &peer->entry);
    receive(peer);
    return;

no_send_now:
    nng_aio_free(peer->aio);
no_aio:
    free(peer);
no_peer:
    nng_stream_close(stream);
    nng_stream_free(stream);
}
