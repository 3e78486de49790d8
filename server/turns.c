#include "turns.h"

#include <stdlib.h>
#include <utlist.h>

#include "cbm_core.h"
#include "error.h"
#include "hash_table.h"

#define ROUNDS_A_LAP 4              /* of one user */
#define ASKING_NS CBM_CORE_NS_PER_S /* who asked so long ago may ask again */

struct cbm_turns_user {
    uint64_t uid;
    size_t connections;
    uint64_t lap; /* of which `rounds` are */
    uint32_t rounds;
    cbm_turn *line;
    cbm_turns_user *next, *prev; /* among those who wait */
    UT_hash_handle hh;
};

/* ---- Joining and leaving ------------------------------------------------------------------------------------------- */

static cbm_turns_user *find_or_add(cbm_turns *turns, uint64_t uid)
{
    cbm_turns_user *user;

    HASH_FIND(hh, turns->users, &uid, sizeof uid, user);
    if (user)
        return user;
    user = calloc(1, sizeof *user);
    if (!user)
        return NULL;
    user->uid = uid;
    HASH_ADD(hh, turns->users, uid, sizeof user->uid, user);
    if (!user->hh.tbl) { /* the table had no memory for it */
        free(user);
        return NULL;
    }
    return user;
}

bool cbm_turns_join(cbm_turns *turns, cbm_turn *turn, uint64_t uid, nng_aio *aio)
{
    cbm_turns_user *user;

    pthread_mutex_lock(&turns->lock);
    user = find_or_add(turns, uid);
    if (user) {
        *turn = (cbm_turn){.turns = turns, .user = user, .aio = aio};
        user->connections++;
    }
    pthread_mutex_unlock(&turns->lock);
    return user;
}

void cbm_turns_leave(cbm_turn *turn)
{
    cbm_turns *turns = turn->turns;

    if (!turn->user)
        return;
    pthread_mutex_lock(&turns->lock);
    if (--turn->user->connections == 0) {
        HASH_DEL(turns->users, turn->user);
        free(turn->user);
    }
    turn->user = NULL;
    pthread_mutex_unlock(&turns->lock);
}

/* ---- The line -------------------------------------------------------------------------------------------------------- */

static void step_out(cbm_turns *turns, cbm_turn *turn)
{
    turn->waits = false;
    DL_DELETE2(turn->user->line, turn, previous, next);
    if (!turn->user->line)
        DL_DELETE(turns->waiting, turn->user);
}

static void on_abort(nng_aio *aio, void *argument, int error)
{
    cbm_turn *turn = argument;
    cbm_turns *turns = turn->turns;
    bool waits;

    pthread_mutex_lock(&turns->lock);
    waits = turn->waits;
    if (waits)
        step_out(turns, turn);
    pthread_mutex_unlock(&turns->lock);
    if (waits)
        nng_aio_finish(aio, error);
}

static void line_up(cbm_turns *turns, cbm_turn *turn)
{
    if (!turn->user->line)
        DL_APPEND(turns->waiting, turn->user);
    DL_APPEND2(turn->user->line, turn, previous, next);
    turn->waits = true;
    nng_aio_defer(turn->aio, on_abort, turn);
}

/* ---- Laps ------------------------------------------------------------------------------------------------------------- */

/* Whether one user alone asks. */
static bool is_quiet(const cbm_turns *turns)
{
    return turns->asked.ns[0] - turns->asked.ns[1] > ASKING_NS;
}

static bool has_round_left(const cbm_turns *turns, cbm_turns_user *user)
{
    if (user->lap != turns->number) {
        user->lap = turns->number;
        user->rounds = 0;
    }
    return user->rounds < ROUNDS_A_LAP;
}

static void run_lap(cbm_turns *turns)
{
    turns->running = nng_aio_begin(turns->lap);
    if (turns->running)
        nng_aio_finish(turns->lap, 0); /* to the tail of the queue of callbacks */
}

static void serve_line(cbm_turns *turns, cbm_turns_user *user)
{
    bool quiet = is_quiet(turns);

    while (user->line && (has_round_left(turns, user) || quiet)) {
        cbm_turn *turn = user->line;

        step_out(turns, turn);
        user->rounds++;
        turn->had_in = turns->number;
        nng_aio_finish(turn->aio, 0);
    }
}

static void on_lap(void *argument)
{
    cbm_turns *turns = argument;
    cbm_turns_user *user, *next;

    if (nng_aio_result(turns->lap) != 0)
        return;
    pthread_mutex_lock(&turns->lock);
    turns->number++;
    if (turns->waiting)
        turns->used = true;
    DL_FOREACH_SAFE(turns->waiting, user, next)
    serve_line(turns, user);
    if (turns->used)
        run_lap(turns);
    else
        turns->running = false;
    turns->used = false;
    pthread_mutex_unlock(&turns->lock);
}

/* Who had its turn to read has it still, if there was something to be read. */
static bool has_turn(const cbm_turns *turns, cbm_turn *turn)
{
    bool still = turn->had_in && turns->number - turn->had_in <= 1;

    turn->had_in = 0;
    return still;
}

bool cbm_turns_take(cbm_turn *turn, int64_t now_ns)
{
    cbm_turns *turns = turn->turns;
    cbm_turns_user *user = turn->user;
    bool quiet, now;

    pthread_mutex_lock(&turns->lock);
    cbm_last_two_note(&turns->asked, user->uid, now_ns);
    quiet = is_quiet(turns);
    now = has_turn(turns, turn) || (!user->line && (quiet || has_round_left(turns, user))) || !nng_aio_begin(turn->aio);
    if (!now) {
        line_up(turns, turn);
    } else if (!quiet) {
        user->rounds++;
        turns->used = true;
    }
    if (!turns->running && (!now || !quiet))
        run_lap(turns);
    pthread_mutex_unlock(&turns->lock);
    return now;
}

bool cbm_turns_take_to_read(cbm_turn *turn)
{
    cbm_turns *turns = turn->turns;
    bool now;

    pthread_mutex_lock(&turns->lock);
    turn->had_in = 0;
    now = !turn->user->line || !nng_aio_begin(turn->aio);
    if (!now)
        line_up(turns, turn);
    pthread_mutex_unlock(&turns->lock);
    return now;
}

/* ---- Life ------------------------------------------------------------------------------------------------------------- */

int cbm_turns_init(cbm_turns *turns)
{
    *turns = (cbm_turns){.number = 1};
    if (nng_aio_alloc(&turns->lap, on_lap, turns) != 0)
        return CBM_PROTO_E_NOMEM;
    pthread_mutex_init(&turns->lock, NULL);
    return 0;
}

void cbm_turns_stop(cbm_turns *turns)
{
    nng_aio_stop(turns->lap);
}

void cbm_turns_deinit(cbm_turns *turns)
{
    nng_aio_free(turns->lap);
    pthread_mutex_destroy(&turns->lock);
}
