#include "board_call.h"

#include "breaker.h"
#include "client.h"
#include "clock.h"
#include "failure.h"
#include "fork.h"
#include "lane.h"
#include "permit.h"

#define COLD __attribute__((noinline, cold))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

#define PASSING_STATES (1U << CBM_CORE_CLOSED | 1U << CBM_CORE_DISABLED | 1U << CBM_CORE_METRICS_ONLY)
#define COARSE_NS (20 * CBM_NS_PER_MS) /* the coarse clock is behind by less */
#define NOT_USUAL (CBM_WORD_STATE_MASK | CBM_WORD_ASK)
#define KEEPS_PERMIT (CBM_WORD_PERMIT_MASK | CBM_WORD_FAST) /* while these stay, a success is where it belongs */

/* ---- Counting ---------------------------------------------------------------------------------------------------- */

static inline bool has_lane(const cbm_ledger *ledger)
{
    return cbm_this_thread.lane < atomic_load_explicit(&ledger->lanes_in_use, memory_order_relaxed);
}

/* The broker is to know of a lane before anything stands in it. */
static COLD void use_lane(cbm_ledger *ledger)
{
    uint32_t used = atomic_load(&ledger->lanes_in_use);

    if (cbm_this_thread.lane == CBM_LANE_NONE)
        cbm_lane_take();
    while (used <= cbm_this_thread.lane &&
           !atomic_compare_exchange_weak(&ledger->lanes_in_use, &used, cbm_this_thread.lane + 1))
        continue;
}

/* The counters of an entry in this thread's lane. */
static inline cbm_entry *counters_of(cbm_ledger *ledger, uint32_t entry)
{
    return &ledger->entries[0][0] + cbm_this_thread.lane * CBM_LEDGER_ENTRIES + entry;
}

/*
 * One more, in a counter that nobody waits for: without a locked instruction where the lane is this thread's alone. Whoever sees it
 * sees what was counted before: a duration, which is looked for only if there is one more.
 */
static inline void count(_Atomic uint64_t *counter)
{
    if (UNLIKELY(cbm_this_thread.lane_is_shared))
        atomic_fetch_add_explicit(counter, 1, memory_order_release);
    else
        atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1, memory_order_release);
}

static void count_duration(cbm_ledger *ledger, uint32_t entry, int64_t duration_ns)
{
    uint32_t lane = cbm_this_thread.lane % CBM_LEDGER_HISTOGRAM_LANES;

    atomic_fetch_add_explicit(&ledger->histograms[lane][entry].counts[cbm_ledger_bucket(duration_ns)], 1,
                              memory_order_relaxed);
    count(&counters_of(ledger, entry)->timed);
}

/* ---- Begin -------------------------------------------------------------------------------------------------------- */

static inline uint64_t load_word(const cbm_board *board, uint64_t place)
{
    return atomic_load_explicit(&board->slots[cbm_place_slot(place)].word, memory_order_acquire);
}

/*
 * Whether permits may be taken from the board. To be looked at before the word: were it the other way round, a new board that is
 * mapped in between could vouch for the word of an old one.
 */
static inline bool serves(const cbm_client *client)
{
    return cbm_board_alive(client->board) && atomic_load_explicit(&client->answered, memory_order_relaxed);
}

static inline void permit_by_board(cbm_permit *permit, cbm_breaker *breaker, uint64_t word, uint64_t place,
                                   uint32_t process)
{
    cbm_board_permit of_board = {word, place};

    permit->cbm_private_breaker = breaker;
    memcpy(permit->cbm_private_permit, &of_board, sizeof(of_board));
    permit->cbm_private_process = process;
    permit->cbm_private_size = 0;
    permit->cbm_private_kind = CBM_PERMIT_BOARD;
    permit->cbm_private_flags = 0;
}

/* Nanoseconds that are left, 0: none. Unless that time is near, the clock that is cheap to read is good enough. */
static inline int64_t left_until(int64_t at_ns)
{
    int64_t left_ns;

    if (at_ns == INT64_MAX)
        return INT64_MAX;
    left_ns = at_ns - cbm_clock_coarse_ns();
    if (left_ns < COARSE_NS)
        left_ns = at_ns - cbm_clock_ns();
    return left_ns > 0 ? left_ns : 0;
}

/*
 * What is refused without a message, and how; CBM_BOARD_ASKS: nothing. OPEN and FORCED_OPEN hold until their time although the
 * broker be dead.
 */
static inline int refusal_of(uint64_t word, bool served)
{
    switch (cbm_word_state(word)) {
    case CBM_CORE_OPEN: return served && word & CBM_WORD_ASK ? CBM_BOARD_ASKS : CBM_E_OPEN;
    case CBM_CORE_FORCED_OPEN: return served && word & CBM_WORD_ASK ? CBM_BOARD_ASKS : CBM_E_FORCED_OPEN;
    case CBM_CORE_HALF_OPEN:
        return served && (word & (CBM_WORD_FULL | CBM_WORD_ASK)) == CBM_WORD_FULL ? CBM_E_HALF_OPEN_FULL
                                                                                  : CBM_BOARD_ASKS;
    default: return CBM_BOARD_ASKS;
    }
}

static void count_refusal(cbm_ledger *ledger, uint32_t entry, int error)
{
    cbm_entry *counters;

    if (UNLIKELY(!has_lane(ledger)))
        use_lane(ledger);
    counters = counters_of(ledger, entry);
    count(error == CBM_E_HALF_OPEN_FULL ? &counters->half_open_rejected : &counters->rejected);
}

/* Without an entry a refusal could not be counted: then it is the broker's, while there is one. */
static int refuse(cbm_breaker *breaker, cbm_permit *permit, uint64_t place, bool served)
{
    int64_t aux, left_ns;
    uint64_t word = cbm_board_read(breaker->client->board, cbm_place_slot(place), &aux);
    int error = cbm_place_is_good(place, word) ? refusal_of(word, served) : CBM_BOARD_ASKS;
    uint32_t entry = cbm_place_entry(place);

    if (error == CBM_BOARD_ASKS || (entry == CBM_NO_ENTRY && served))
        return CBM_BOARD_ASKS;
    left_ns = left_until(aux);
    if (!left_ns)
        return CBM_BOARD_ASKS;
    if (entry != CBM_NO_ENTRY)
        count_refusal(breaker->client->ledger, entry, error);
    permit->cbm_private_breaker = breaker;
    permit->cbm_private_kind = CBM_PERMIT_REFUSED;
    permit->cbm_private_flags = 0;
    permit->cbm_private_retry_after_ns = left_ns;
    return cbm_fail_silently(error);
}

static __attribute__((noinline)) int begin_timed(cbm_permit *permit)
{
    permit->cbm_private_flags = CBM_PERMIT_TIMED;
    permit->cbm_private_begun_ns = cbm_clock_ns();
    return 0;
}

int cbm_board_begin(cbm_breaker *breaker, cbm_permit *permit)
{
    uint32_t process = cbm_process();
    const cbm_client *client = breaker->client;
    uint64_t place = atomic_load_explicit(&breaker->place, memory_order_acquire);
    uint64_t word;
    bool served;

    if (place == CBM_PLACE_NONE)
        return CBM_BOARD_ASKS;
    served = serves(client);
    word = load_word(client->board, place);
    if (!cbm_place_is_good(place, word))
        return CBM_BOARD_ASKS;
    if (!(PASSING_STATES >> cbm_word_state(word) & 1))
        return refuse(breaker, permit, place, served);
    if (!served || word & CBM_WORD_ASK)
        return CBM_BOARD_ASKS;
    permit_by_board(permit, breaker, word, place, process);
    return word & CBM_WORD_TIMED ? begin_timed(permit) : 0;
}

static inline int or_by_message(int answer, cbm_breaker *breaker, cbm_permit *permit)
{
    return answer == CBM_BOARD_ASKS ? cbm_begin_by_message(breaker, NULL, permit) : answer;
}

/* Whatever cbm_call_begin has not dealt with. */
static __attribute__((noinline)) int begin_otherwise(cbm_breaker *breaker, cbm_permit *permit)
{
    return or_by_message(breaker && permit ? cbm_board_begin(breaker, permit) : CBM_BOARD_ASKS, breaker, permit);
}

/* What the board does not simply permit; mostly it refuses. */
static __attribute__((noinline)) int begin_unusual(cbm_breaker *breaker, cbm_permit *permit, uint64_t place,
                                                   uint64_t word)
{
    if (!cbm_place_is_good(place, word) || PASSING_STATES >> cbm_word_state(word) & 1)
        return begin_otherwise(breaker, permit);
    return or_by_message(refuse(breaker, permit, place, true), breaker, permit);
}

/* What is usual: CLOSED. Kept so short that it needs no register saved. */
int cbm_call_begin(cbm_breaker *breaker, cbm_permit *permit)
{
    uint32_t process = atomic_load_explicit(&cbm_process_mark_page->state, memory_order_acquire);
    const cbm_client *client;
    uint64_t place, word;

    if (UNLIKELY(!breaker || !permit || process < CBM_PROCESS_FIRST))
        return begin_otherwise(breaker, permit);
    client = breaker->client;
    place = atomic_load_explicit(&breaker->place, memory_order_acquire);
    if (UNLIKELY(place == CBM_PLACE_NONE || !serves(client)))
        return begin_otherwise(breaker, permit);
    word = load_word(client->board, place);
    if (UNLIKELY(!cbm_place_is_good(place, word) || word & NOT_USUAL))
        return begin_unusual(breaker, permit, place, word);
    permit_by_board(permit, breaker, word, place, process);
    return UNLIKELY(word & CBM_WORD_TIMED) ? begin_timed(permit) : 0;
}

bool cbm_board_has(const cbm_breaker *breaker)
{
    uint64_t place = atomic_load_explicit(&breaker->place, memory_order_acquire);

    return place != CBM_PLACE_NONE && cbm_place_is_good(place, load_word(breaker->client->board, place));
}

/* ---- Success ------------------------------------------------------------------------------------------------------- */

/* Whether a success of that permit belongs into the ledger, as far as that can be told from the word alone. */
static inline bool keeps(uint64_t word, uint64_t permit_word)
{
    return ((word ^ (permit_word | CBM_WORD_FAST)) & KEEPS_PERMIT) == 0;
}

/*
 * Adds to a counter that the broker reads in two steps: it says that nobody may add any more, then looks. Whoever added without
 * having seen that lets it look again: so nothing is missed. The order of all three is that of all sequentially consistent ones.
 */
static inline int add_success(cbm_client *client, const cbm_board_permit *permit)
{
    cbm_entry *counters = counters_of(client->ledger, cbm_place_entry(permit->place));

    atomic_fetch_add(&counters->successes[cbm_word_epoch(permit->word) % CBM_LEDGER_EPOCHS], 1);
    return LIKELY(keeps(atomic_load(&client->board->slots[cbm_place_slot(permit->place)].word), permit->word))
               ? 0
               : CBM_BOARD_PULLS;
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

    if (!cbm_place_is_good(of_board.place, word) || entry == CBM_NO_ENTRY ||
        permit->cbm_private_flags & CBM_PERMIT_COUNTED || !(late || word & CBM_WORD_FAST))
        return CBM_BOARD_ASKS;
    if (duration_ns > (word & CBM_WORD_TIMED ? aux : atomic_load_explicit(&breaker->slow_ns, memory_order_relaxed)))
        return CBM_BOARD_ASKS;
    if (UNLIKELY(!has_lane(client->ledger)))
        use_lane(client->ledger);
    if (duration_ns >= 0)
        count_duration(client->ledger, entry, duration_ns);
    if (late)
        count(&counters_of(client->ledger, entry)->late);
    else
        answer = add_success(client, &of_board);
    permit->cbm_private_kind = CBM_PERMIT_REPORTED;
    return answer;
}

/* Whatever cbm_call_report has not dealt with. */
static __attribute__((noinline)) int report_otherwise(cbm_permit *permit, cbm_outcome outcome)
{
    int answer = CBM_BOARD_ASKS;

    if (permit && permit->cbm_private_kind == CBM_PERMIT_BOARD && outcome == CBM_SUCCESS &&
        permit->cbm_private_process == cbm_process())
        answer =
            cbm_board_succeed(permit, cbm_permit_is_timed(permit) ? cbm_clock_ns() - permit->cbm_private_begun_ns : -1);
    if (answer == CBM_BOARD_PULLS)
        return cbm_report_by_pull(permit->cbm_private_breaker);
    return answer == CBM_BOARD_ASKS ? cbm_report_by_message(permit, outcome, NULL) : answer;
}

/* What is usual: a success of a permit that cbm_call_begin gave, and no change since. */
int cbm_call_report(cbm_permit *permit, cbm_outcome outcome)
{
    cbm_board_permit of_board;
    cbm_client *client;

    if (UNLIKELY(!permit || outcome != CBM_SUCCESS || permit->cbm_private_kind != CBM_PERMIT_BOARD ||
                 permit->cbm_private_flags) ||
        UNLIKELY(permit->cbm_private_process !=
                 atomic_load_explicit(&cbm_process_mark_page->state, memory_order_acquire)))
        return report_otherwise(permit, outcome);
    client = permit->cbm_private_breaker->client;
    of_board = cbm_permit_of_board(permit);
    if (UNLIKELY(!keeps(load_word(client->board, of_board.place), of_board.word) ||
                 cbm_place_entry(of_board.place) == CBM_NO_ENTRY || !has_lane(client->ledger)))
        return report_otherwise(permit, outcome);
    permit->cbm_private_kind = CBM_PERMIT_REPORTED;
    if (UNLIKELY(add_success(client, &of_board)))
        return cbm_report_by_pull(permit->cbm_private_breaker);
    return 0;
}
