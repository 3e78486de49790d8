/*
 * libcbm-core: the circuit-breaker manager as a pure engine. "The spec" is the description of such a manager in Python that
 * it follows; where it decides otherwise, the function concerned says so.
 *
 * No I/O, no thread, no lock, no clock of its own: every call takes `now_ns`, CLOCK_MONOTONIC or any other
 * clock that counts nanoseconds and never runs backwards (an earlier value than one seen before is taken as that one).
 * One manager is for one thread at a time; whoever shares it puts one lock around it. Different managers are
 * independent, except for cbm_core_singleton().
 *
 * Functions return 0 or a negative cbm_core_error. A function that fails has changed nothing but the counters that
 * count refusals. Names are UTF-8, 1 to 128 bytes, without control characters. Pointers passed in are not kept.
 */
#ifndef CBM_CORE_H
#define CBM_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbm_core_policy.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CBM_CORE_NAME_MAX 128 /* bytes of a breaker's name, without the end */
#define CBM_CORE_TEXT_MAX 256 /* bytes of an error text or a reason; longer ones are cut at a character */
#define CBM_CORE_NS_PER_MS INT64_C(1000000)
#define CBM_CORE_NS_PER_S INT64_C(1000000000)
#define CBM_CORE_NEVER_NS INT64_MAX /* a deadline that does not exist */

/* The numbers are those of proto/error.h and cbm.h; a static assertion there keeps them equal. */
typedef enum cbm_core_error {
    CBM_CORE_OK = 0,
    CBM_CORE_E_INVALID = -1,        /* a name, text or value that the contract does not allow; nothing changed */
    CBM_CORE_E_NOMEM = -2,          /* no memory; nothing changed */
    CBM_CORE_E_NOT_FOUND = -3,      /* no breaker of that name */
    CBM_CORE_E_FULL = -4,           /* max_breakers reached; nothing is ever evicted to make room */
    CBM_CORE_E_OPEN = -5,           /* refused: OPEN */
    CBM_CORE_E_HALF_OPEN_FULL = -6, /* refused: HALF_OPEN and all its permits are out */
    CBM_CORE_E_FORCED_OPEN = -7,    /* refused: FORCED_OPEN by hand */
    CBM_CORE_E_RATE_LIMITED = -8,   /* refused by the manager's rate limiter */
} cbm_core_error;

typedef enum cbm_core_state {
    CBM_CORE_CLOSED = 0,
    CBM_CORE_OPEN = 1,
    CBM_CORE_HALF_OPEN = 2,
    CBM_CORE_FORCED_OPEN = 3,  /* by hand: nothing passes */
    CBM_CORE_DISABLED = 4,     /* by hand: everything passes, statistics only */
    CBM_CORE_METRICS_ONLY = 5, /* by hand: everything passes, the rule is evaluated and shown, nothing opens */
} cbm_core_state;
#define CBM_CORE_STATES 6

typedef enum cbm_core_outcome {
    CBM_CORE_SUCCESS = 0,
    CBM_CORE_FAILURE = 1,
    CBM_CORE_TIMEOUT = 2, /* a failure with a counter of its own */
    CBM_CORE_IGNORED = 3, /* gives the permit back, no effect on the rule */
} cbm_core_outcome;

CBM_CORE_API const char *cbm_core_state_name(cbm_core_state state);       /* "CLOSED" ...; "?" for no state */
CBM_CORE_API const char *cbm_core_outcome_name(cbm_core_outcome outcome); /* "success" ... */

/*
 * Epochs are counted modulo 2^22, so that state, flags and epoch of a breaker fit into 32 bits of shared memory. A permit would
 * have to be kept for four million changes of its breaker to be taken for a new one.
 */
#define CBM_CORE_EPOCH_BITS 22
#define CBM_CORE_EPOCH_MASK ((UINT64_C(1) << CBM_CORE_EPOCH_BITS) - 1)

/* ---- What can be read of a breaker and of the manager ------------------------------------------------------- */

typedef enum cbm_core_policy_source {
    CBM_CORE_SOURCE_CREATED = 0,  /* by the request that created the breaker (or replaced its policy) */
    CBM_CORE_SOURCE_EXISTING = 1, /* answered by get only: the breaker was there, its policy stands */
    CBM_CORE_SOURCE_CONFIG = 2,   /* a section of the config file, which always wins */
} cbm_core_policy_source;

/*
 * total_calls = successful + failed (timeouts included) + ignored; rejected calls and calls in flight are not in it. A probe
 * whose lease ran out, or whose holder died under on_abandon failure, is a failed call; should it be reported after
 * all, that report is another one, late.
 */
typedef struct cbm_core_statistics {
    uint64_t total_calls;
    uint64_t successful_calls;
    uint64_t failed_calls; /* timeouts included */
    uint64_t timeout_calls;
    uint64_t ignored_calls;
    uint64_t slow_calls;
    uint64_t rejected_calls;           /* refused in OPEN, HALF_OPEN and FORCED_OPEN */
    uint64_t half_open_rejected_calls; /* those of them that found HALF_OPEN full */
    uint64_t late_reports;             /* of an older epoch: counted above, decided nothing */
    uint64_t lumped_failures;          /* within failure_spacing_ms of the last counted one */
    uint64_t leases_expired;
    uint64_t abandoned; /* permits whose holder was gone */
    uint64_t state_transitions;
    uint64_t transitions[CBM_CORE_STATES][CBM_CORE_STATES]; /* [from][to] */
    int64_t time_in_state_ns[CBM_CORE_STATES];
    double p50_ms, p90_ms, p99_ms; /* of the durations given, from a log-scale histogram; -1: none given yet */
} cbm_core_statistics;

/* A breaker as it stands: the state dict of the wire. A copy; nothing in it is to be freed. */
typedef struct cbm_core_status {
    char name[CBM_CORE_NAME_MAX + 1];
    cbm_core_state state;
    uint32_t failures;  /* that count now; OPEN, HALF_OPEN: the number that opened it; FORCED_OPEN, DISABLED: 0 */
    uint32_t threshold; /* failures that open; windows: the least number that would at the present count of calls (at
                               minimum_calls while there are fewer); OPEN, HALF_OPEN: as it was when it opened */
    int64_t retry_after_ns; /* OPEN, and HALF_OPEN without a permit to give: until a call may pass; -1: until enabled */
    bool due;               /* OPEN, but a probe would be let through */
    double failure_rate;    /* percent; -1 below the minimum, and under the rules without a window; OPEN: as it was when
                               it opened; HALF_OPEN: of the probes */
    double slow_call_rate;  /* likewise */
    uint64_t calls;         /* that the rates are over; 0 under the rules without a window */
    bool would_open;        /* METRICS_ONLY: the rule would have opened it, at some outcome since metrics_only */
    uint32_t epoch;         /* raised by each state change, reset and manual control; modulo 2^22 */
    uint32_t slot;          /* index, below max_breakers */
    uint32_t slot_generation;
    uint32_t permits_out; /* HALF_OPEN */
    cbm_core_policy policy;
    cbm_core_policy_source policy_source;
    char reason[CBM_CORE_TEXT_MAX + 1];          /* of the manual control, "" when none */
    int64_t control_ends_ns;                     /* time left of a control with for_ms; 0: none or without end */
    int64_t last_failure_ns_ago;                 /* -1: never */
    char last_error_text[CBM_CORE_TEXT_MAX + 1]; /* "" when none */
    cbm_core_statistics statistics;
} cbm_core_status;

/* The first six are the spec's get_stats() under the spec's names. */
typedef struct cbm_core_stats {
    uint64_t total_operations; /* get and call_begin that passed the limiter: one call is one operation */
    uint64_t breakers_count;
    uint64_t rate_limited_count;
    uint64_t rate_limit_window_ms;
    uint64_t current_rate_limit_size; /* operations in the window now */
    uint64_t max_rate_limit;          /* 0: off */
    uint64_t max_breakers;
    uint64_t breakers_created;
    uint64_t breakers_removed; /* by remove, expiry or reset_manager */
} cbm_core_stats;

/* ---- The manager --------------------------------------------------------------------------------------------- */

typedef struct cbm_core_manager cbm_core_manager;

/*
 * What happened, told as it happens: the one place where every transition and refusal passes. The callback must
 * not call into the manager; strings live for the call.
 */
typedef enum cbm_core_event_type {
    CBM_CORE_EVENT_CREATED,
    CBM_CORE_EVENT_REMOVED,    /* remove, expiry or reset_manager */
    CBM_CORE_EVENT_TRANSITION, /* from, to, cause; from == to when a control or adopt only renewed a state: a new epoch */
    CBM_CORE_EVENT_RESET,      /* reset, enable or adopt of a breaker that was CLOSED already */
    CBM_CORE_EVENT_REJECTED,   /* error, retry_after_ns */
    CBM_CORE_EVENT_RATE_LIMITED,
    CBM_CORE_EVENT_LEASE_EXPIRED,
    CBM_CORE_EVENT_ABANDONED,
    CBM_CORE_EVENT_DIFFERS,        /* differing: once a breaker and set of fields */
    CBM_CORE_EVENT_POLICY_CHANGED, /* configure, higher policy_version, reload */
} cbm_core_event_type;

typedef enum cbm_core_cause {
    CBM_CORE_CAUSE_NONE = 0,
    CBM_CORE_CAUSE_RULE,          /* the rule opened it */
    CBM_CORE_CAUSE_OPEN_FOR,      /* a report carried open_for_ms */
    CBM_CORE_CAUSE_TIMEOUT_OVER,  /* OPEN was over and a call came */
    CBM_CORE_CAUSE_PROBES,        /* HALF_OPEN was decided by its outcomes */
    CBM_CORE_CAUSE_LEASE,         /* ... by a lease that ran out */
    CBM_CORE_CAUSE_ABANDONED,     /* ... by a holder that died */
    CBM_CORE_CAUSE_MAX_WAIT,      /* half_open_max_wait_ms was over */
    CBM_CORE_CAUSE_CONTROL,       /* by hand */
    CBM_CORE_CAUSE_CONTROL_ENDED, /* for_ms was over */
    CBM_CORE_CAUSE_RESET,
    CBM_CORE_CAUSE_ADOPTED, /* cbm_core_adopt */
} cbm_core_cause;
CBM_CORE_API const char *cbm_core_cause_name(cbm_core_cause cause); /* "rule", "open_for", ... */

typedef struct cbm_core_event {
    cbm_core_event_type type;
    const char *name; /* breaker; "" for RATE_LIMITED of reset_manager */
    uint32_t slot;
    cbm_core_state from, to; /* TRANSITION; else both the present state */
    cbm_core_cause cause;
    int error;              /* REJECTED, RATE_LIMITED: what the caller was answered */
    int64_t retry_after_ns; /* REJECTED; TRANSITION to OPEN: how long */
    uint32_t failures;      /* TRANSITION: the failures that counted */
    uint32_t differing;     /* DIFFERS: bits of the policy fields */
    int64_t now_ns;
} cbm_core_event;

/* What is charged to the account of whoever caused it (cbm_core_on_behalf). */
typedef enum cbm_core_charge_kind {
    CBM_CORE_CHARGE_BREAKER, /* +1 before one is created, -1 when that failed; told of their end by CBM_CORE_EVENT_REMOVED */
    CBM_CORE_CHARGE_PERMIT, /* of HALF_OPEN: +1 before it is given out, -1 when it is back */
} cbm_core_charge_kind;
/* change 1: whether the account may have one more. change -1: it has one less; the result counts for nothing. */
typedef bool cbm_core_charge(void *context, uint64_t account, cbm_core_charge_kind kind, int change);

typedef struct cbm_core_options {
    uint32_t max_breakers;         /* 0: 65,536 */
    bool no_rate_limit;            /* no limiter at all */
    uint32_t max_rate_limit;       /* 0: 1000; at most 1,000,000 */
    uint32_t rate_limit_window_ms; /* 0: 1000 */
    uint64_t seed;                 /* of the jitter */
    uint32_t first_epoch;          /* epochs (modulo 2^22) and slot generations of new slots start here; 0: at 1 */
    void (*on_event)(void *context, const cbm_core_event *event);
    void *event_context;
    /*
     * The config file's word on breakers. `configured`: true and fills `request` (given zero-initialised) when a section
     * matches `name`: the fields it gives win over what anybody asks for. `policy_defaults` (NULL: none; must stay valid) are for
     * the fields that neither a section nor the one who creates the breaker gives. Both are asked when a breaker is
     * created and by cbm_core_reload. What contradicts the rest is left out: the defaults, or else what was asked for, or else
     * both. A section that makes sense with neither is left out too.
     */
    const cbm_core_policy_request *policy_defaults;
    bool (*configured)(void *context, const char *name, cbm_core_policy_request *request);
    void *configured_context;
    /*
     * For a manager with many users: what they make it hold is charged, and the limiter has fair shares, by account, then by
     * connection. What is refused is CBM_CORE_E_FULL, and nothing has changed. NULL: neither.
     */
    cbm_core_charge *charge;
    void *charge_context;
} cbm_core_options;

CBM_CORE_API int cbm_core_manager_new(cbm_core_manager **manager, const cbm_core_options *options); /* NULL: defaults */
CBM_CORE_API void cbm_core_manager_free(cbm_core_manager *manager);                                 /* NULL is fine */

/*
 * The spec's get_circuit_breaker_manager() inside one process: one manager with default options, made at first use and
 * kept to the end of the process; NULL only without memory. Like all of lib it takes no lock (the spec's "no
 * threading"): a process with threads calls it once before it starts them, or uses cbm_manager() of cbm.h.
 */
CBM_CORE_API cbm_core_manager *cbm_core_singleton(void);

typedef struct cbm_core_get_result {
    bool created;
    cbm_core_policy_source policy_source;
    uint32_t differing; /* bits of the fields that were asked for and are not in force, neither as given nor as
                           cbm_core_policy_resolve makes them (minimum_calls: at most window_size) */
    int bad_field;      /* with CBM_CORE_E_INVALID: the row to blame, -1: the name */
    cbm_core_status status;
} cbm_core_get_result;

/*
 * The spec's get(): the breaker of that name, created with `policy` (NULL: defaults) when there is none. One operation of
 * the limiter. An existing breaker is returned unchanged, as the spec says, and the result tells what differs; a policy with
 * a higher policy_version than the one in force replaces it, state and counts kept; a section of the config file always wins.
 * Decision on the spec: a policy that contradicts itself is refused (the spec takes anything).
 */
CBM_CORE_API int cbm_core_get(cbm_core_manager *manager, const char *name, const cbm_core_policy_request *policy,
                              int64_t now_ns, cbm_core_get_result *result);

/* A permit, to be given back by exactly one report. Plain data: may be copied, stored, sent. */
typedef struct cbm_core_permit {
    uint32_t slot;
    uint32_t slot_generation;
    uint32_t epoch;
    uint32_t flags; /* CBM_CORE_PERMIT_UNCOUNTED, or 0 */
    uint64_t id;    /* 0: given in CLOSED, DISABLED or METRICS_ONLY: no holder, no lease */
} cbm_core_permit;
/* Nobody asked the manager for it: it was taken from what cbm_core_glance_at tells. Its report counts the operation. */
#define CBM_CORE_PERMIT_UNCOUNTED UINT32_C(1)

typedef struct cbm_core_begin {
    uint64_t holder;   /* whose death gives the permit back (cbm_core_holder_gone); 0: nobody's, the lease alone */
    bool lease_given;  /* lease_ms stands instead of the policy's permit_lease_ms */
    uint32_t lease_ms; /* 0: as long as the holder lives */
    const cbm_core_policy_request *policy; /* of a breaker that this begin creates; NULL: defaults */
} cbm_core_begin;

typedef struct cbm_core_decision {
    cbm_core_permit permit; /* with 0 */
    cbm_core_state state;   /* after the decision */
    bool probe;             /* the permit is one of HALF_OPEN */
    /* With a refusal: when to try again, -1: until somebody enables it. HALF_OPEN: the end of the earliest lease, or -1
       when none of them ends by itself. */
    int64_t retry_after_ns;
} cbm_core_decision;

/*
 * First half of the spec's call(): may the call be made? Creates an unknown name with begin->policy. Returns 0 with a permit,
 * or CBM_CORE_E_RATE_LIMITED, _OPEN, _HALF_OPEN_FULL, _FORCED_OPEN, _FULL, _NOMEM, _INVALID. The first begin at or after the
 * end of OPEN moves the breaker to HALF_OPEN and gets a permit there. A holder of 0 together with lease 0 gets the
 * policy's timeout_ms as its lease: no state lasts for ever because a caller vanished.
 * Decision on the spec: its call() passes the limiter three times and counts two operations for one call (itself, its
 * get(), the breaker's); ours passes once and counts one.
 */
CBM_CORE_API int cbm_core_call_begin(cbm_core_manager *manager, const char *name, const cbm_core_begin *begin,
                                     int64_t now_ns, cbm_core_decision *decision);
/* The same by slot, as a status or permit names it: CBM_CORE_E_NOT_FOUND when that generation is gone. */
CBM_CORE_API int cbm_core_call_begin_at(cbm_core_manager *manager, uint32_t slot, uint32_t slot_generation,
                                        const cbm_core_begin *begin, int64_t now_ns, cbm_core_decision *decision);

typedef struct cbm_core_report {
    cbm_core_outcome outcome;
    int64_t duration_ns;  /* -1: not known */
    const char *text;     /* error text, UTF-8; NULL: none; kept of failures and timeouts */
    uint32_t open_for_ms; /* 0: none. A 429's Retry-After, see cbm_core_call_report */
    bool late;            /* to be taken as statistics only: from an older incarnation, or handed over */
    uint64_t count;       /* with late: so many equal outcomes at once; 0 and 1: one */
} cbm_core_report;

/*
 * Second half of the spec's call(). `permit` NULL: an outcome observed elsewhere; it counts in CLOSED and is statistics
 * only otherwise, and creates an unknown name with defaults; with a permit an unknown name is CBM_CORE_E_NOT_FOUND. A permit
 * that belongs to another name is CBM_CORE_E_INVALID; one of an older epoch or slot generation is late, and so is one of
 * HALF_OPEN already reported: statistics only (nobody remembers the permits of CLOSED). open_for_ms opens at once from
 * CLOSED or HALF_OPEN whatever the rule says, for that long (at most open_for_max_ms); while OPEN it may lengthen, never
 * shorten; the backoff step is untouched; also a late or permitless report does that. *state: the state after it (may
 * be NULL). Never limited.
 */
CBM_CORE_API int cbm_core_call_report(cbm_core_manager *manager, const char *name, const cbm_core_permit *permit,
                                      const cbm_core_report *report, int64_t now_ns, cbm_core_state *state);
CBM_CORE_API int cbm_core_call_report_at(cbm_core_manager *manager, const cbm_core_permit *permit,
                                         const cbm_core_report *report, int64_t now_ns, cbm_core_state *state);

/*
 * The spec's call() in one: begin, function(argument), report. 0 from the function is a success, all else a failure; *result
 * is what it returned (result may be NULL). Returns 0 when the function ran, else why it did not. `clock` is asked
 * before and after the function. The function may call the manager.
 */
CBM_CORE_API int cbm_core_call(cbm_core_manager *manager, const char *name, int (*function)(void *argument),
                               void *argument, int64_t (*clock)(void *context), void *clock_context, int *result);

/* State dict of one breaker. CBM_CORE_E_NOT_FOUND. Not an operation of the limiter. */
CBM_CORE_API int cbm_core_state_of(cbm_core_manager *manager, const char *name, int64_t now_ns,
                                   cbm_core_status *status);

/*
 * The spec's get_all_states(), a page at a time in the order of names (bytewise): up to `limit` breakers after the name
 * `after` (NULL or "": from the start) whose name matches the glob `pattern` (NULL or "": all; * ? [a-z] and [!a-z], as fnmatch
 * without flags). Returns how many were written; *more says that calling again with `next` as `after` may find more
 * (a page also ends after 4096 names looked at, and earlier where the pattern is hard to match, so that one which matches
 * nothing holds nobody up). `next` and `after` may
 * be the same array.
 */
CBM_CORE_API size_t cbm_core_states(cbm_core_manager *manager, const char *pattern, const char *after, size_t limit,
                                    int64_t now_ns, cbm_core_status *statuses, char next[CBM_CORE_NAME_MAX + 1],
                                    bool *more);

/* The spec's get_stats(), without the breakers (cbm_core_states has those). Not an operation of the limiter. */
CBM_CORE_API void cbm_core_stats_get(cbm_core_manager *manager, int64_t now_ns, cbm_core_stats *stats);

/* reset() of one breaker: CLOSED, failures cleared, manual control lifted, epoch raised; statistics kept. */
CBM_CORE_API int cbm_core_reset(cbm_core_manager *manager, const char *name, int64_t now_ns);
/* The spec's reset_all(): reset() of every breaker. Statistics and breakers stay. */
CBM_CORE_API void cbm_core_reset_all(cbm_core_manager *manager, int64_t now_ns);
/* The same a part at a time, for who shares the manager: `most` slots from *next (0 at first) on. Returns whether more are left. */
CBM_CORE_API bool cbm_core_reset_part(cbm_core_manager *manager, uint32_t *next, uint32_t most, int64_t now_ns);
/*
 * The spec's manager.reset(): all breakers gone, counters 0, limiter empty. CBM_CORE_E_RATE_LIMITED (the spec's false) when
 * the limiter is full. It passes the limiter but is no operation of total_operations. Slot generations go on.
 */
CBM_CORE_API int cbm_core_reset_manager(cbm_core_manager *manager, int64_t now_ns);

typedef enum cbm_core_control {
    CBM_CORE_CONTROL_FORCE_OPEN,
    CBM_CORE_CONTROL_DISABLE,
    CBM_CORE_CONTROL_METRICS_ONLY,
    CBM_CORE_CONTROL_ENABLE, /* CLOSED, as reset */
} cbm_core_control;

/*
 * Manual control; each raises the epoch, also when the state stays. `reason` (NULL: none) is shown in states. for_ms: the
 * control ends by itself (CLOSED, as reset); 0: until enabled. What the rule had counted is forgotten: METRICS_ONLY looks at what
 * comes from then on. CBM_CORE_E_NOT_FOUND.
 */
CBM_CORE_API int cbm_core_control_set(cbm_core_manager *manager, const char *name, cbm_core_control control,
                                      const char *reason, uint32_t for_ms, int64_t now_ns);
/*
 * Changes the given fields of a breaker's policy, state and counts kept (another rule starts with none). *bad_field as in
 * cbm_core_policy_resolve; a field that the section of the config file gives is CBM_CORE_E_INVALID too: the file always wins.
 * Fields whose defaults depend on others follow them (permit_lease_ms follows timeout_ms unless it was given).
 */
CBM_CORE_API int cbm_core_configure(cbm_core_manager *manager, const char *name, const cbm_core_policy_request *policy,
                                    int64_t now_ns, int *bad_field);
/*
 * Asks options.configured and reads options.policy_defaults again for every breaker and puts what they say in force, state
 * and counts kept. What was asked for at creation, by a higher policy_version or by configure stands beneath a section and above the
 * defaults; a breaker that has lost its section goes back to it.
 */
CBM_CORE_API void cbm_core_reload(cbm_core_manager *manager, int64_t now_ns);
/* The same a part at a time, for who shares the manager: `most` slots from *next (0 at first) on. Returns whether more are left. */
CBM_CORE_API bool cbm_core_reload_part(cbm_core_manager *manager, uint32_t *next, uint32_t most, int64_t now_ns);
/*
 * Removes the breakers that match the glob; *removed says how many. Permits of theirs become late. 0 matches is 0, not an
 * error; an empty pattern, or one over 512 bytes, is CBM_CORE_E_INVALID.
 */
CBM_CORE_API int cbm_core_remove(cbm_core_manager *manager, const char *pattern, int64_t now_ns, uint64_t *removed);
/*
 * The same a part at a time, for who shares the manager: `most` slots from *next (0 at first) on; to *removed (0 at first) is
 * added how many. 1: more are left, 0: it is done, or CBM_CORE_E_INVALID. What is created meanwhile may stay.
 */
CBM_CORE_API int cbm_core_remove_part(cbm_core_manager *manager, const char *pattern, uint32_t *next, uint32_t most,
                                      int64_t now_ns, uint64_t *removed);

/* Who asks from now on: an account (a user), and one of its connections. Counts for managers with `charge` alone. */
CBM_CORE_API void cbm_core_on_behalf(cbm_core_manager *manager, uint64_t account, uint64_t connection);

/* `holder` is gone: each permit it holds is dealt with as its breaker's on_abandon says. */
CBM_CORE_API void cbm_core_holder_gone(cbm_core_manager *manager, uint64_t holder, int64_t now_ns);

/*
 * Time's own work: leases that ran out, half_open_max_wait_ms, controls that end, idle breakers that expire. Nothing depends
 * on it being called in time, since every call settles the breaker it touches first; it makes events prompt and memory
 * free. cbm_core_tick works off at most `most` breakers and returns whether more are due; cbm_core_next_deadline is the
 * time of the next one (CBM_CORE_NEVER_NS: none), or earlier for a breaker that was used since. What time does it does at its
 * deadline: a lease ending at t has run out at t, and what follows from it is dated t however late the tick comes. Idle
 * breakers expire in a tick only (or when a new breaker finds the manager full); until then a call finds them as they were.
 */
CBM_CORE_API int64_t cbm_core_next_deadline(const cbm_core_manager *manager);
CBM_CORE_API bool cbm_core_tick(cbm_core_manager *manager, int64_t now_ns, size_t most);

/*
 * Puts a breaker (created when unknown, no operation of the limiter) into a state known from elsewhere: CLOSED with an
 * empty rule, OPEN for another retry_after_ns, HALF_OPEN with no permit out, or a manual state (for another
 * retry_after_ns; 0 or less: until enabled). For a process that goes on alone from the last known state, and for a store.
 */
CBM_CORE_API int cbm_core_adopt(cbm_core_manager *manager, const char *name, const cbm_core_policy_request *policy,
                                cbm_core_state state, int64_t retry_after_ns, int64_t now_ns);

/* Whether `name` may name a breaker: 1 to 128 bytes of UTF-8 without control characters (C0, DEL, C1). */
CBM_CORE_API bool cbm_core_name_valid(const char *name, size_t length);
/* Whether a pattern as that of cbm_core_states means `name`. */
CBM_CORE_API bool cbm_core_name_matches(const char *pattern, const char *name);
/* Whether bytes are UTF-8: shortest forms only, no surrogates, nothing above U+10FFFF. No bytes (then `text` may be NULL) are. */
CBM_CORE_API bool cbm_core_text_valid(const char *text, size_t length);
/* Copies UTF-8 text into `to` (size bytes with the end), cut at a character; control characters become spaces. */
CBM_CORE_API void cbm_core_text_copy(char *to, size_t size, const char *from, size_t length);

#ifdef __cplusplus
}
#endif

#include "cbm_core_shared.h"

#endif
