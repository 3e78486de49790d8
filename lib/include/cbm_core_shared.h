/*
 * For a manager whose breakers are used by other processes, which count what they can by themselves, and outlive its own. Part of
 * cbm_core.h.
 */
#ifndef CBM_CORE_SHARED_H
#define CBM_CORE_SHARED_H

#include "cbm_core.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Counting in other processes ------------------------------------------------------------------------------- */

/*
 * For fast successes that are counted elsewhere and handed over together. _decide: whether some number of them within the
 * second of now_ns could alone open the breaker (or end HALF_OPEN). While not, holding them back until the next other outcome,
 * control or second boundary, and recording them first then, decides exactly as recording each at once. O(1). _record: `count` of
 * them, of permits of `epoch`, that happened at at_ns, which may lie before times seen already (they count in their own
 * second). Of an older epoch they are late; of one whose time is over, as nobody has noticed yet, they are not.
 * CBM_CORE_E_NOT_FOUND when that generation is gone.
 */
CBM_CORE_API bool cbm_core_successes_decide(cbm_core_manager *manager, uint32_t slot, uint32_t slot_generation,
                                            int64_t now_ns);
/*
 * Whether one more failure or slow call could open the breaker, show would_open, or make successes decide; true also in some
 * cases in which it could not. Before an outcome that may, whoever counts elsewhere is to be stopped from it, and what has been
 * counted recorded: else a success could be counted after that was recorded and before the outcome is seen to have opened, and
 * calls begun in between, which order nothing could explain. The same goes for controls.
 */
CBM_CORE_API bool cbm_core_failure_decides(cbm_core_manager *manager, uint32_t slot, uint32_t slot_generation,
                                           int64_t now_ns);
CBM_CORE_API int cbm_core_successes_record(cbm_core_manager *manager, uint32_t slot, uint32_t slot_generation,
                                           uint32_t epoch, uint64_t count, int64_t at_ns, cbm_core_state *state);

/*
 * What others need to know of a breaker to begin calls on it, and to be refused, by themselves. It is told as it stands, without
 * what time has done to it since (`due`); nothing is changed by looking.
 */
typedef struct cbm_core_glance {
    uint32_t slot_generation; /* of the breaker in that slot, or of the next one to get it */
    uint32_t epoch;
    cbm_core_state state;
    bool fast; /* CLOSED, METRICS_ONLY, DISABLED: successes may be held back (cbm_core_successes_decide is false) */
    bool full; /* HALF_OPEN, and no permit to give */
    bool due;  /* a deadline of it has come: the next operation on it, or cbm_core_tick, changes it */
    bool by_seconds; /* what is held back has to be recorded at each boundary of a second: a time window */
    /* OPEN, FORCED_OPEN, full: until then begins are refused; CBM_CORE_NEVER_NS: it has no end of its own */
    int64_t retry_at_ns;
    /* A success that took longer is slow and cannot be held back; -1: the rule takes no durations. */
    int64_t slow_call_ns;
} cbm_core_glance;

/* CBM_CORE_E_NOT_FOUND: the slot is empty, and of *glance slot_generation and epoch alone are told. O(1). */
CBM_CORE_API int cbm_core_glance_at(cbm_core_manager *manager, uint32_t slot, int64_t now_ns, cbm_core_glance *glance);
/* The slot of a name. CBM_CORE_E_NOT_FOUND. Changes nothing, not even what time has done. */
CBM_CORE_API int cbm_core_find(const cbm_core_manager *manager, const char *name, uint32_t *slot);
/* A breaker that cbm_core_tick would work off first, having reached its deadline. False: none is due. */
CBM_CORE_API bool cbm_core_next_due(const cbm_core_manager *manager, int64_t now_ns, uint32_t *slot);

/* What happened elsewhere and decides nothing: statistics alone. */
typedef struct cbm_core_counts {
    uint64_t late_successes; /* in successful_calls and late_reports */
    uint64_t rejected;       /* in OPEN and FORCED_OPEN */
    uint64_t half_open_rejected;
    uint64_t operations; /* begins that nobody asked the manager for; the limiter does not hear of them */
} cbm_core_counts;
/* CBM_CORE_E_NOT_FOUND when that generation is gone. */
CBM_CORE_API int cbm_core_counts_add(cbm_core_manager *manager, uint32_t slot, uint32_t slot_generation,
                                     const cbm_core_counts *counts);
/* `count` durations about as long as that, of successes that are recorded otherwise. Likewise. */
CBM_CORE_API int cbm_core_durations_add(cbm_core_manager *manager, uint32_t slot, uint32_t slot_generation,
                                        int64_t duration_ns, uint64_t count);

/* ---- Keeping breakers beyond the process ----------------------------------------------------------------------- */

#define CBM_CORE_DURATION_BUCKETS 280
#define CBM_CORE_KEPT_FAILURES 256 /* times of the rule `failures`: more of them are not kept */

/*
 * All of a breaker that outlives its manager. Times are durations that end, or began, when it was taken, so that any clock will
 * do afterwards. Not in it: what a window holds (it starts empty), permits that are out, and what [defaults] and sections of the
 * config file say: those speak anew.
 */
typedef struct cbm_core_snapshot {
    char name[CBM_CORE_NAME_MAX + 1];
    cbm_core_policy_request policy; /* what was asked for at creation, by a higher policy_version or by configure */
    cbm_core_state state;
    int64_t remaining_ns;                           /* of OPEN or a control; -1: no end of its own */
    uint32_t reopenings;                            /* in a row: the step of the backoff */
    uint32_t opened_failures;                       /* OPEN, HALF_OPEN: what opened it */
    uint32_t in_a_row;                              /* rule consecutive: the failures that count */
    uint32_t failure_count;                         /* rule failures: likewise, the newest of them */
    int64_t failure_ns_ago[CBM_CORE_KEPT_FAILURES]; /* oldest first */
    bool would_open;
    uint32_t epoch;
    uint32_t slot_generation;
    char reason[CBM_CORE_TEXT_MAX + 1];
    int64_t unused_ns;           /* since the last get, begin or report: a breaker expires by it */
    int64_t last_failure_ns_ago; /* -1: never */
    char last_error_text[CBM_CORE_TEXT_MAX + 1];
    cbm_core_statistics statistics;              /* but for the percentiles, which are made of the durations */
    int64_t least_duration_ns, most_duration_ns; /* -1: no duration was given */
    uint32_t durations[CBM_CORE_DURATION_BUCKETS];
} cbm_core_snapshot;

/* The breaker in a slot as it stands, without what time has done to it since. CBM_CORE_E_NOT_FOUND: the slot is empty. */
CBM_CORE_API int cbm_core_snapshot_at(const cbm_core_manager *manager, uint32_t slot, int64_t now_ns,
                                      cbm_core_snapshot *snapshot);
/*
 * Makes a breaker of a snapshot taken elapsed_ns ago (less than 0 counts as 0), with no permit out, and tells CREATED. Its epoch
 * goes on two further than the snapshot's, since that may have missed a change; its slot and slot generation are new ones:
 * options.first_epoch has to be beyond all generations of before. *slot: where it is. CBM_CORE_E_INVALID (no name, no
 * policy, no state, or the breaker is there already), _FULL, _NOMEM: nothing changed. Other values that make no sense are
 * cut down to those that do, and a policy that contradicts itself, or the config file, is left out as when one is created.
 */
CBM_CORE_API int cbm_core_restore(cbm_core_manager *manager, const cbm_core_snapshot *snapshot, int64_t elapsed_ns,
                                  int64_t now_ns, uint32_t *slot);

/* The manager's own counters, as cbm_core_stats_get tells them, from where they go on. */
typedef struct cbm_core_totals {
    uint64_t operations;
    uint64_t rate_limited;
    uint64_t created;
    uint64_t removed;
} cbm_core_totals;
CBM_CORE_API void cbm_core_totals_get(const cbm_core_manager *manager, cbm_core_totals *totals);
CBM_CORE_API void cbm_core_totals_set(cbm_core_manager *manager, const cbm_core_totals *totals);

#ifdef __cplusplus
}
#endif
#endif
