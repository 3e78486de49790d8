/*
 * kill -9 of the broker, alone and with a client in the same moment, at random moments of a load: no trip that somebody was told of
 * is lost, no permit of a half-open circuit stays out, and statistics fall back by no more than they may.
 */
#include "fault_load.h"
#include "kept.h"
#include "random.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(kills, .timeout = 1500);

enum {
    WINDOW_MS = 5000, /* what the broker has folded is stored within it */
    WRITING_MS = 400, /* on a busy machine */
    SAMPLES = 128,
    SAMPLE_MS = 100,
    LIFE_MS = 120,         /* at most, but for the long ones */
    LONG_LIFE_MS = 800,    /* beyond the window */
    LEFT_SLACK_MS = 300,   /* of the remaining time: what a busy machine may put between two readings of the clock */
    LEASE_SLACK_MS = 5000, /* until somebody asks again, on a busy machine */
    PATIENCE_MS = 20000,
};

enum { KILLS = 20, KILLS_OF_BOTH = 12, KILLS_SOAK = 400, SANITIZED_LESS = 6 };

/* What was counted by the broker at one moment, after all that the processes had done by then. */
typedef struct sample {
    int64_t at_ns; /* before it was asked for */
    uint64_t successes[LOAD_COUNTED], failures[LOAD_COUNTED];
    uint64_t fast[LOAD_PROCESSES][LOAD_COUNTED]; /* by the processes themselves, before */
} sample;

typedef struct trial {
    kept kept;
    load *load;
    sample samples[SAMPLES]; /* of this life of the broker */
    int sample_count;
    sample floor;                       /* what no kill may take away any more */
    uint64_t may_be_lost[LOAD_COUNTED]; /* with the ledgers of those that were killed with their broker */
    int kills, clients_killed, long_lives;
    uint64_t checked, fresh, lost, over_by_time, leaked, most_missing;
    int64_t longest_gap_ms;
} trial;

static trial begin(void)
{
    trial t = {.kept = kept_new()};

    random_seed_from_environment();
    t.load = load_new(t.kept.broker);
    /* So that all of them are kept. */
    cr_assert_eq(broker_stop(t.kept.broker, SIGTERM), 0);
    broker_restart(t.kept.broker);
    for (int i = 0; i < LOAD_PROCESSES; i++)
        load_start(t.load, i);
    cr_assert(wait_until(load_is_attached, t.load, PATIENCE_MS));
    return t;
}

/* ---- Trips ----------------------------------------------------------------------------------------------------------- */

typedef struct promise {
    bool told;
    int64_t asked_ns, told_ns;
} promise;

static promise promise_of(const load_trip *trip)
{
    promise p;

    p.told = atomic_load(&trip->phase) == LOAD_TOLD;
    p.asked_ns = atomic_load(&trip->asked_ns);
    p.told_ns = atomic_load(&trip->told_ns);
    return p;
}

/* Told before that broker was started, and asked to be closed by nobody until the states were read. */
static bool is_to_be_kept(promise before, promise after, int64_t started_ns)
{
    return before.told && after.told && before.told_ns == after.told_ns && before.told_ns < started_ns;
}

static void check_trip(trial *t, const char *name, promise p, uint32_t timeout_ms, const cbm_breaker_state *state,
                       int64_t asked_ms, int64_t answered_ms)
{
    int64_t least_ms = p.asked_ns / 1000000 + timeout_ms - answered_ms;
    int64_t most_ms = p.told_ns / 1000000 + 1 + timeout_ms - asked_ms;

    if (least_ms <= LEFT_SLACK_MS) {
        t->over_by_time++;
        return;
    }
    t->checked++;
    if (state == NULL || state->state != CBM_OPEN) {
        fprintf(stderr, "kill %d: %s was told to have opened, and is %s\n", t->kills, name,
                state == NULL ? "gone" : cbm_state_name(state->state));
        t->lost++;
        return;
    }
    cr_assert(state->retry_after_ms >= least_ms - LEFT_SLACK_MS && state->retry_after_ms <= most_ms + 1,
              "kill %d: %s is open for %" PRId64 " ms, of %" PRId64 " to %" PRId64, t->kills, name,
              state->retry_after_ms, least_ms, most_ms);
}

static void check_trips(trial *t, int64_t killed_ns, int64_t started_ns)
{
    promise before[LOAD_PROCESSES][LOAD_TRIPS];
    cbm_client *client = client_open(t->kept.broker->address, CBM_FAIL_CLOSED);
    cbm_states_result *states;
    int64_t asked_ms, answered_ms;

    for (int i = 0; i < LOAD_PROCESSES * LOAD_TRIPS; i++)
        before[i / LOAD_TRIPS][i % LOAD_TRIPS] = promise_of(&t->load->processes[i / LOAD_TRIPS].trips[i % LOAD_TRIPS]);
    asked_ms = clock_ms();
    cr_assert_eq(cbm_states(client, "trip_*", &states), 0, "%s", cbm_last_message());
    answered_ms = clock_ms() + 1;
    for (int process = 0; process < LOAD_PROCESSES; process++)
        for (int i = 0; i < LOAD_TRIPS; i++) {
            promise p = before[process][i];
            char name[32];

            if (!is_to_be_kept(p, promise_of(&t->load->processes[process].trips[i]), started_ns))
                continue;
            load_trip_name(process, i, name);
            check_trip(t, name, p, load_trip_timeout_ms(i), cbm_states_find(states, name), asked_ms, answered_ms);
            t->fresh += killed_ns - p.told_ns < 20000000;
        }
    cbm_states_free(states);
    cbm_close(client);
}

/* ---- Statistics -------------------------------------------------------------------------------------------------------- */

static sample take_sample(trial *t)
{
    cbm_client *client = client_open(t->kept.broker->address, CBM_FAIL_CLOSED);
    sample s = {.at_ns = clock_ns()};
    cbm_states_result *states;

    for (int i = 0; i < LOAD_PROCESSES * LOAD_COUNTED; i++)
        s.fast[i / LOAD_COUNTED][i % LOAD_COUNTED] =
            atomic_load(&t->load->processes[i / LOAD_COUNTED].counted[i % LOAD_COUNTED].fast);
    cr_assert_eq(cbm_states(client, "counted_*", &states), 0, "%s", cbm_last_message());
    for (int i = 0; i < LOAD_COUNTED; i++) {
        const cbm_breaker_state *state = cbm_states_find(states, load_counted_name(i));

        cr_assert_not_null(state, "%s", load_counted_name(i));
        cr_assert_eq(state->state, CBM_CLOSED, "nothing opens %s", load_counted_name(i));
        s.successes[i] = state->statistics.successful_calls;
        s.failures[i] = state->statistics.failed_calls;
    }
    cbm_states_free(states);
    cbm_close(client);
    return s;
}

static void raise_to(uint64_t *least, uint64_t value)
{
    if (*least < value)
        *least = value;
}

/* What had been counted a window before the kill is stored. */
static void raise_floor(trial *t, int64_t killed_ns)
{
    for (int i = 0; i < t->sample_count; i++) {
        const sample *s = &t->samples[i];

        if (s->at_ns > killed_ns - (WINDOW_MS + WRITING_MS) * INT64_C(1000000))
            break;
        for (int number = 0; number < LOAD_COUNTED; number++) {
            raise_to(&t->floor.successes[number], s->successes[number]);
            raise_to(&t->floor.failures[number], s->failures[number]);
            for (int process = 0; process < LOAD_PROCESSES; process++)
                raise_to(&t->floor.fast[process][number], s->fast[process][number]);
        }
    }
    t->sample_count = 0;
}

static void check_floor(const trial *t, const sample *now)
{
    for (int i = 0; i < LOAD_COUNTED; i++) {
        cr_assert_geq(now->successes[i], t->floor.successes[i], "%s: %" PRIu64 " successes, after %" PRIu64,
                      load_counted_name(i), now->successes[i], t->floor.successes[i]);
        cr_assert_geq(now->failures[i], t->floor.failures[i], "%s: %" PRIu64 " failures, after %" PRIu64,
                      load_counted_name(i), now->failures[i], t->floor.failures[i]);
    }
}

/*
 * With all ledgers of living clients attached nothing of them is missing, and nothing is in twice. A message that was under way
 * when its broker died is sent once more.
 */
static void check_totals(trial *t)
{
    load_tally before[LOAD_COUNTED];
    uint64_t twice = (uint64_t)t->kills * LOAD_PROCESSES;
    sample now;

    for (int i = 0; i < LOAD_COUNTED; i++)
        before[i] = load_sum(t->load, i);
    now = take_sample(t);
    check_floor(t, &now);
    for (int i = 0; i < LOAD_COUNTED; i++) {
        load_tally after = load_sum(t->load, i);

        cr_assert_geq(now.successes[i] + t->may_be_lost[i], before[i].fast,
                      "kill %d: %s: %" PRIu64 " successes counted, %" PRIu64 " in ledgers, %" PRIu64 " may be lost",
                      t->kills, load_counted_name(i), now.successes[i], before[i].fast, t->may_be_lost[i]);
        cr_assert_leq(now.successes[i], after.begun + twice, "kill %d: %s: %" PRIu64 " counted, %" PRIu64 " begun",
                      t->kills, load_counted_name(i), now.successes[i], after.begun);
        cr_assert_leq(now.failures[i], after.failing + twice, "kill %d: %s", t->kills, load_counted_name(i));
        if (before[i].fast > now.successes[i])
            raise_to(&t->most_missing, before[i].fast - now.successes[i]);
    }
}

/* ---- Permits ----------------------------------------------------------------------------------------------------------- */

typedef struct permitted {
    const load *load;
    int64_t since_ns;
} permitted;

static bool all_were_permitted(void *context)
{
    const permitted *p = context;

    for (int i = 0; i < LOAD_PROBED; i++)
        if (atomic_load(&p->load->permitted_ns[i]) <= p->since_ns)
            return false;
    return true;
}

/* Each probed breaker lets somebody through again before a lease is over that somebody might still hold. */
static void check_permits(trial *t)
{
    permitted p = {t->load, clock_ns()};

    int64_t gap_ms;

    t->leaked += !wait_until(all_were_permitted, &p, LOAD_LEASE_MS + LEASE_SLACK_MS);
    gap_ms = (clock_ns() - p.since_ns) / 1000000;
    if (t->longest_gap_ms < gap_ms)
        t->longest_gap_ms = gap_ms;
}

static bool no_permit_is_out(void *context)
{
    const trial *t = context;
    bool none = true;

    for (int i = 0; i < LOAD_PROBED; i++) {
        json_t *state = ask_state(t->kept.broker->address, load_probed_name(i));

        none = none && json_integer_value(json_object_get(state, "permits_out")) == 0;
        json_decref(state);
    }
    return none;
}

/* ---- Lives and deaths ---------------------------------------------------------------------------------------------------- */

static void live(trial *t, bool for_long)
{
    int64_t end_ms = clock_ms() + (for_long ? WINDOW_MS + LONG_LIFE_MS : random_below(LIFE_MS));

    t->long_lives += for_long;
    if (for_long)
        cr_assert(wait_until(load_is_attached, t->load, PATIENCE_MS));
    while (clock_ms() < end_ms) {
        if (for_long && t->sample_count < SAMPLES)
            t->samples[t->sample_count++] = take_sample(t);
        usleep(for_long ? SAMPLE_MS * 1000 : 1000);
    }
}

/* With the broker dead, what stood in its ledger and was not stored is nobody's any more. */
static void give_up_ledger(trial *t, int index)
{
    for (int i = 0; i < LOAD_COUNTED; i++) {
        uint64_t fast = atomic_load(&t->load->processes[index].counted[i].fast);

        t->may_be_lost[i] += fast - t->floor.fast[index][i];
        t->floor.fast[index][i] = fast; /* accounted for */
    }
}

/* In the same moment, as far as one processor after the other can. */
static void kill_both(trial *t, int index)
{
    bool client_first = random_below(2) == 0;

    kill(client_first ? t->load->pids[index] : t->kept.broker->pid, SIGKILL);
    kill(client_first ? t->kept.broker->pid : t->load->pids[index], SIGKILL);
    cr_assert_eq(process_wait(t->load->pids[index], PATIENCE_MS), 128 + SIGKILL);
    t->load->pids[index] = 0;
    t->clients_killed++;
}

static void kill_and_check(trial *t, bool with_client)
{
    int index = (int)random_below(LOAD_PROCESSES);
    int64_t killed_ns, started_ns;

    if (with_client)
        kill_both(t, index);
    broker_kill(t->kept.broker);
    killed_ns = clock_ns();
    t->kills++;
    raise_floor(t, killed_ns);
    if (with_client)
        give_up_ledger(t, index);
    atomic_fetch_add(&t->load->life, 1);
    usleep(random_below(3000));
    started_ns = clock_ns();
    broker_restart(t->kept.broker);
    check_trips(t, killed_ns, started_ns);
    if (with_client)
        load_start(t->load, index);
    if (random_below(2) == 0) /* else it may be killed while they attach */
        return;
    cr_assert(wait_until(load_is_attached, t->load, PATIENCE_MS), "kill %d", t->kills);
    check_totals(t);
    check_permits(t);
}

static void print_figures(const trial *t)
{
    uint64_t fast = 0, told = 0;

    for (int i = 0; i < LOAD_COUNTED; i++) {
        load_tally sum = load_sum(t->load, i);

        fast += sum.fast;
        told += sum.told;
    }
    fprintf(stderr,
            "figures: kills survived %d (%d with a client in the same moment; %d after more than %d s), trips told and "
            "checked %" PRIu64 " (%" PRIu64 " told within 20 ms before a kill), lost %" PRIu64
            "; permits leaked %" PRIu64 ", longest wait for one %" PRId64 " ms; %" PRIu64
            " successes in ledgers and %" PRIu64 " by message, missing "
            "%" PRIu64 "\n",
            t->kills, t->clients_killed, t->long_lives, WINDOW_MS / 1000, t->checked, t->fresh, t->lost, t->leaked,
            t->longest_gap_ms, fast, told, t->most_missing);
}

static void end(trial *t)
{
    cr_assert(wait_until(load_is_attached, t->load, PATIENCE_MS));
    check_totals(t);
    check_permits(t);
    load_stop(t->load);
    t->leaked += !wait_until(no_permit_is_out, t, LOAD_LEASE_MS + LEASE_SLACK_MS);
    check_totals(t);
    print_figures(t);
    cr_assert_eq(t->lost, 0);
    cr_assert_eq(t->leaked, 0);
    cr_assert_gt(t->checked, (uint64_t)t->kills, "too few to say anything");
}

static int ordinary(int kills)
{
    return broker_is_sanitized() ? kills - SANITIZED_LESS : kills;
}

static void free_trial(trial *t)
{
    load_free(t->load);
    kept_end(&t->kept);
}

Test(kills, of_the_broker_lose_no_trip_that_was_told_no_permit_and_nothing_in_a_ledger)
{
    trial t = begin();
    int count = rounds(ordinary(KILLS), KILLS_SOAK);

    for (int i = 0; i < count; i++) {
        live(&t, i % 40 == 3);
        kill_and_check(&t, false);
    }
    end(&t);
    cr_assert_eq(t.most_missing, 0);
    free_trial(&t);
}

Test(kills, of_the_broker_and_a_client_at_once_lose_no_more_than_was_not_stored)
{
    trial t = begin();
    int count = rounds(ordinary(KILLS_OF_BOTH), KILLS_SOAK);

    for (int i = 0; i < count; i++) {
        live(&t, i % 40 == 3);
        kill_and_check(&t, true);
    }
    end(&t);
    free_trial(&t);
}
