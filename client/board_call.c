#include "board_call.h"

#include "breaker.h"
#include "client.h"
#include "clock.h"
#include "failure.h"
#include "permit.h"
#include "threads.h"

#define COLD __attribute__((noinline, cold))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

#define PASSING_STATES (1U << CBM_CORE_CLOSED | 1U << CBM_CORE_DISABLED | 1U << CBM_CORE_METRICS_ONLY)
#define COARSE_NS (20 * CBM_NS_PER_MS)                      /* the coarse clock is behind by less */
#define KEEPS_PERMIT (CBM_WORD_PERMIT_MASK | CBM_WORD_FAST) /* while these stay, a success is where it belongs */

/* ---- Counting ---------------------------------------------------------------------------------------------------- */

static COLD void use_lane(cbm_ledger *ledger, uint32_t lanes)
{
    uint32_t used = atomic_load(&ledger->lanes_in_use);

    while (used < lanes && !atomic_compare_exchange_weak(&ledger->lanes_in_use, &used, lanes))
        continue;
}

/* This thread's counters of an entry. The broker must know of the lane before anything stands in it. */
static inline cbm_entry *entry_of(cbm_ledger *ledger, uint32_t entry)
{
    uint32_t lane = cbm_this_thread.lane;

    if (UNLIKELY(atomic_load_explicit(&ledger->lanes_in_use, memory_order_relaxed) <= lane))
        use_lane(ledger, lane + 1);
    return &ledger->entries[0][0] + lane * CBM_LEDGER_ENTRIES + entry;
}

/* One more, in a counter that nobody waits for: without a locked instruction where the lane is this thread's alone. */
static inline void count(_Atomic uint64_t *counter)
{
    if (cbm_this_thread.lane_is_shared)
        atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
    else
        atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1, memory_order_relaxed);
}

static void count_duration(cbm_ledger *ledger, uint32_t entry, cbm_entry *counters, int64_t duration_ns)
{
    uint32_t lane = cbm_this_thread.lane % CBM_LEDGER_HISTOGRAM_LANES;

    atomic_fetch_add_explicit(&ledger->histograms[lane][entry].counts[cbm_ledger_bucket(duration_ns)], 1,
                              memory_order_relaxed);
    count(&counters->timed);
}

/* ---- Begin -------------------------------------------------------------------------------------------------------- */

static inline uint64_t load_word(const cbm_board *board, uint64_t place)
{
    return atomic_load_explicit(&board->slots[cbm_place_slot(place)].word, memory_order_acquire);
}

/* Nanoseconds that are left, 0: none. Unless that time is near, the clock that is cheap to read is good enough. */
static int64_t left_until(int64_t at_ns)
{
    int64_t left_ns;

    if (at_ns == INT64_MAX)
        return INT64_MAX;
    left_ns = at_ns - cbm_clock_coarse_ns();
    if (left_ns < COARSE_NS)
        left_ns = at_ns - cbm_clock_ns();
    return left_ns > 0 ? left_ns : 0;
}

/* What is refused without a message, and how. CBM_BOARD_ASKS: nothing. */
static int refusal_of(uint64_t word, bool serves)
{
    switch (cbm_word_state(word)) {
    case CBM_CORE_OPEN: return serves && word & CBM_WORD_ASK ? CBM_BOARD_ASKS : CBM_E_OPEN;
    case CBM_CORE_FORCED_OPEN: return serves && word & CBM_WORD_ASK ? CBM_BOARD_ASKS : CBM_E_FORCED_OPEN;
    case CBM_CORE_HALF_OPEN:
        return serves && (word & (CBM_WORD_FULL | CBM_WORD_ASK)) == CBM_WORD_FULL ? CBM_E_HALF_OPEN_FULL
                                                                                  : CBM_BOARD_ASKS;
    default: return CBM_BOARD_ASKS;
    }
}

/*
 * OPEN and FORCED_OPEN hold until their time although the broker be dead. Without an entry a refusal could not be counted: then it
 * is the broker's, while there is one.
 */
static __attribute__((noinline)) int refuse(cbm_breaker *breaker, cbm_permit *permit, uint64_t place, bool serves)
{
    cbm_client *client = breaker->client;
    int64_t aux, left_ns;
    uint64_t word = cbm_board_read(client->board, cbm_place_slot(place), &aux);
    int error = cbm_place_is_good(place, word) ? refusal_of(word, serves) : CBM_BOARD_ASKS;
    uint32_t entry = cbm_place_entry(place);

    if (error == CBM_BOARD_ASKS || (entry == CBM_NO_ENTRY && serves))
        return CBM_BOARD_ASKS;
    left_ns = left_until(aux);
    if (!left_ns)
        return CBM_BOARD_ASKS;
    if (entry != CBM_NO_ENTRY) {
        cbm_entry *counters = entry_of(client->ledger, entry);

        count(error == CBM_E_HALF_OPEN_FULL ? &counters->half_open_rejected : &counters->rejected);
    }
    permit->cbm_private_breaker = breaker;
    permit->cbm_private_kind = CBM_PERMIT_REFUSED;
    permit->cbm_private_flags = 0;
    permit->cbm_private_retry_after_ms = left_ns == INT64_MAX ? -1 : cbm_ms_round_up(left_ns);
    return cbm_fail_silently(error);
}

/*
 * Whether the broker lives is looked at before the word: were it the other way round, a new board that is mapped in between could
 * vouch for the word of an old one.
 */
static inline int begin(cbm_breaker *breaker, cbm_permit *permit)
{
    const cbm_client *client = breaker->client;
    uint64_t place = atomic_load_explicit(&breaker->place, memory_order_acquire);
    cbm_board_permit of_board;
    uint64_t word;
    bool serves;

    if (UNLIKELY(place == CBM_PLACE_NONE))
        return CBM_BOARD_ASKS;
    serves = cbm_board_alive(client->board) && atomic_load_explicit(&client->answered, memory_order_relaxed);
    word = load_word(client->board, place);
    if (UNLIKELY(!cbm_place_is_good(place, word)))
        return CBM_BOARD_ASKS;
    if (!(PASSING_STATES >> cbm_word_state(word) & 1))
        return refuse(breaker, permit, place, serves);
    if (UNLIKELY(!serves || word & CBM_WORD_ASK))
        return CBM_BOARD_ASKS;
    of_board = (cbm_board_permit){word, place};
    permit->cbm_private_breaker = breaker;
    permit->cbm_private_begun_ns = UNLIKELY(word & CBM_WORD_TIMED) ? cbm_clock_ns() : 0;
    memcpy(permit->cbm_private_permit, &of_board, sizeof(of_board));
    permit->cbm_private_process = cbm_this_thread.process;
    permit->cbm_private_kind = CBM_PERMIT_BOARD;
    permit->cbm_private_flags = 0;
    return 0;
}

int cbm_board_begin(cbm_breaker *breaker, cbm_permit *permit)
{
    int answer = begin(breaker, permit);

    permit->cbm_private_process = cbm_process();
    return answer;
}

int cbm_call_begin(cbm_breaker *breaker, cbm_permit *permit)
{
    if (LIKELY(breaker && permit) && LIKELY(cbm_mark(breaker->client))) {
        int answer = begin(breaker, permit);

        if (LIKELY(answer != CBM_BOARD_ASKS)) {
            cbm_unmark();
            return answer;
        }
    }
    return cbm_begin_by_message(breaker, NULL, permit);
}

bool cbm_board_has(const cbm_breaker *breaker)
{
    uint64_t place = atomic_load_explicit(&breaker->place, memory_order_acquire);

    return place != CBM_PLACE_NONE && cbm_place_is_good(place, load_word(breaker->client->board, place));
}

/* ---- Success ------------------------------------------------------------------------------------------------------- */

/*
 * Adds to a counter that the broker reads in two steps: it says that nobody may add any more, then looks. Whoever added without
 * having seen that lets it look again: so nothing is missed. The order of all three is that of all sequentially consistent ones.
 */
static inline int add_success(const cbm_board *board, uint64_t place, uint64_t word, cbm_entry *counters)
{
    uint64_t again;

    atomic_fetch_add(&counters->successes[cbm_word_epoch(word) % CBM_LEDGER_EPOCHS], 1);
    again = atomic_load(&board->slots[cbm_place_slot(place)].word);
    return LIKELY(((again ^ word) & KEEPS_PERMIT) == 0) ? 0 : CBM_BOARD_PULLS;
}

int cbm_board_succeed(cbm_permit *permit, int64_t duration_ns)
{
    cbm_breaker *breaker = permit->cbm_private_breaker;
    cbm_client *client = breaker->client;
    cbm_board_permit of_board = cbm_permit_of_board(permit);
    uint32_t entry = cbm_place_entry(of_board.place);
    int64_t aux;
    uint64_t word = cbm_board_read(client->board, cbm_place_slot(of_board.place), &aux);
    bool late = ((word ^ of_board.word) & CBM_WORD_EPOCH_MASK) != 0;
    int answer = 0;
    cbm_entry *counters;

    if (!cbm_place_is_good(of_board.place, word) || entry == CBM_NO_ENTRY ||
        permit->cbm_private_flags & CBM_PERMIT_COUNTED || !(late || word & CBM_WORD_FAST))
        return CBM_BOARD_ASKS;
    if (duration_ns > (word & CBM_WORD_TIMED ? aux : atomic_load_explicit(&breaker->slow_ns, memory_order_relaxed)))
        return CBM_BOARD_ASKS;
    counters = entry_of(client->ledger, entry);
    if (duration_ns >= 0)
        count_duration(client->ledger, entry, counters, duration_ns);
    if (late)
        count(&counters->late);
    else
        answer = add_success(client->board, of_board.place, word, counters);
    permit->cbm_private_kind = CBM_PERMIT_REPORTED;
    return answer;
}

static __attribute__((noinline)) int succeed_timed(cbm_permit *permit)
{
    int64_t duration_ns = permit->cbm_private_begun_ns ? cbm_clock_ns() - permit->cbm_private_begun_ns : -1;

    return cbm_board_succeed(permit, duration_ns);
}

/* What is usual: no duration, no change since begin. */
static inline int succeed(cbm_permit *permit)
{
    const cbm_client *client = permit->cbm_private_breaker->client;
    cbm_board_permit of_board = cbm_permit_of_board(permit);
    uint32_t entry = cbm_place_entry(of_board.place);
    uint64_t word = load_word(client->board, of_board.place);
    int answer;

    if (UNLIKELY(permit->cbm_private_begun_ns || permit->cbm_private_flags || entry == CBM_NO_ENTRY) ||
        UNLIKELY(((word ^ of_board.word) & CBM_WORD_PERMIT_MASK) != 0 || !(word & CBM_WORD_FAST)))
        return succeed_timed(permit);
    answer = add_success(client->board, of_board.place, word, entry_of(client->ledger, entry));
    permit->cbm_private_kind = CBM_PERMIT_REPORTED;
    return answer;
}

int cbm_call_report(cbm_permit *permit, cbm_outcome outcome)
{
    if (LIKELY(permit && permit->cbm_private_kind == CBM_PERMIT_BOARD && outcome == CBM_SUCCESS) &&
        LIKELY(permit->cbm_private_process == cbm_this_thread.process) &&
        LIKELY(cbm_mark(permit->cbm_private_breaker->client))) {
        int answer = succeed(permit);

        if (LIKELY(answer == 0)) {
            cbm_unmark();
            return 0;
        }
        if (answer == CBM_BOARD_PULLS)
            return cbm_report_by_pull(permit->cbm_private_breaker);
    }
    return cbm_report_by_message(permit, outcome, NULL);
}
