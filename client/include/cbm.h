/*
 * libcbm-client: circuit breakers shared by the processes of one host.
 *
 * "The spec" is the description of a circuit-breaker manager in Python that this follows: get, call, get_all_states, reset_all,
 * get_stats and reset of one manager, the singleton of get_circuit_breaker_manager().
 *
 * A broker, cbmd, owns the breakers; this library asks it over a Unix socket. It starts no thread, installs no signal
 * handler, never raises SIGPIPE and never waits longer than the deadlines of cbm_open_options.
 *
 * Results: 0, or a negative cbm_error. Threads: every function may be called from any thread at any time, but for cbm_close,
 * which says what becomes of the others. A permit is for one thread at a time. A thread that is cancelled while it waits here
 * finishes the call first. Signals: not async-signal-safe. Fork: a client goes on working in the child, which connects and shares
 * memory for itself at its next call, and writes nothing of its parent's; a permit taken by the parent is the parent's alone
 * (CBM_E_INHERITED).
 *
 * What a call costs: broker and client share memory, a page that the broker writes and one that the client does. While a
 * breaker's circuit is closed, cbm_call_begin and the cbm_call_report of a success need no message, no system call and no lock:
 * some nanoseconds, and two readings of the clock where the rule takes durations. A begin that is refused costs no more. A
 * message to the broker (two context switches) is needed for: the first call of a breaker in a process; failures, timeouts, slow and
 * ignored calls; half-open circuits; successes that could decide something (window rules near a threshold); reports beyond
 * 255 breakers of one process; all of it where the broker's rate limit counts calls, and where no memory can be shared.
 *
 *     cbm_client *client;
 *     cbm_breaker *breaker;
 *     cbm_permit permit;
 *     if (cbm_open(&client, NULL, NULL) == 0 && cbm_get(client, "ha_api", NULL, &breaker) == 0) {
 *         if (cbm_call_begin(breaker, &permit) == 0)
 *             cbm_call_report(&permit, ask_the_api() == 0 ? CBM_SUCCESS : CBM_FAILURE);
 *         cbm_close(client);
 *     }
 */
#ifndef CBM_H
#define CBM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CBM_API __attribute__((visibility("default")))
#else
#define CBM_API
#endif

typedef enum cbm_error {
    CBM_OK = 0,
    CBM_E_INVALID = -1,        /* an argument, name or policy that is not valid; cbm_last_message() says which */
    CBM_E_NOMEM = -2,          /* out of memory, here or in the broker */
    CBM_E_NOT_FOUND = -3,      /* no breaker of that name */
    CBM_E_FULL = -4,           /* the manager holds as many breakers as it may */
    CBM_E_OPEN = -5,           /* the circuit is open */
    CBM_E_HALF_OPEN_FULL = -6, /* the circuit is half-open and all its permits are out */
    CBM_E_FORCED_OPEN = -7,    /* the circuit was opened by hand */
    CBM_E_RATE_LIMITED = -8,   /* the manager's rate limit is exceeded */
    CBM_E_UNKNOWN_OP = -20,    /* the broker is too old for that */
    CBM_E_DENIED = -21,        /* not allowed to this user: by the broker, or connecting to its socket */
    CBM_E_TOO_LARGE = -22,     /* a request over 64 KiB, or an answer over 1 MiB */
    CBM_E_UNSUPPORTED = -23,   /* not offered by this broker, or not in local mode */
    CBM_E_INTERNAL = -24,      /* the broker failed to answer */
    CBM_E_AWAY = -40,          /* the broker cannot be reached, or missed its deadline */
    CBM_E_UNTRUSTED = -41,     /* the socket's peer is not root, this user, or the owner of its directory */
    CBM_E_INHERITED = -42,     /* the permit was taken by the parent process */
    CBM_E_PROTOCOL = -43,      /* the broker's answer was not understood */
    CBM_E_ADDRESS = -44,       /* the address is not one of a Unix socket */
} cbm_error;

enum {
    CBM_WOULD_WAIT = 1, /* no error: what cbm_call_try_begin and _try_report answer when they did nothing */
};

typedef enum cbm_state {
    CBM_CLOSED = 0,
    CBM_OPEN = 1,
    CBM_HALF_OPEN = 2,
    CBM_FORCED_OPEN = 3,
    CBM_DISABLED = 4,
    CBM_METRICS_ONLY = 5,
} cbm_state;

typedef enum cbm_outcome {
    CBM_SUCCESS = 0,
    CBM_FAILURE = 1,
    CBM_TIMEOUT = 2, /* a failure with a counter of its own */
    CBM_IGNORED = 3, /* gives the permit back, no effect on the rule */
} cbm_outcome;

typedef enum cbm_rule {
    CBM_RULE_DEFAULT = 0,
    CBM_RULE_CONSECUTIVE = 1,  /* failure_threshold failures in a row */
    CBM_RULE_FAILURES = 2,     /* failure_threshold failures within window_s seconds */
    CBM_RULE_COUNT_WINDOW = 3, /* rates over the last window_size outcomes */
    CBM_RULE_TIME_WINDOW = 4,  /* rates over the last window_s seconds */
} cbm_rule;

typedef enum cbm_on_abandon {
    CBM_ABANDON_DEFAULT = 0,
    CBM_ABANDON_FAILURE = 1, /* a permit whose holder died counts as a failure */
    CBM_ABANDON_RELEASE = 2, /* ... is given back, nothing counted */
} cbm_on_abandon;

#define CBM_NEVER UINT32_MAX /* for fields where 0 on the wire means none, never or no end, and is not the default */

/*
 * What a breaker is to be told at its creation. Set `size` (CBM_POLICY_INIT does), leave what shall have its default at 0.
 * Defaults and ranges are those of `cbmctl get --help`.
 */
typedef struct cbm_policy {
    size_t size; /* sizeof(cbm_policy) */
    cbm_rule rule;
    uint32_t failure_threshold;
    uint32_t window_size;
    uint32_t window_s;
    uint32_t minimum_calls;
    uint32_t slow_call_duration_ms;
    double failure_rate;   /* percent, in tenths */
    double slow_call_rate; /* percent, in tenths */
    uint32_t timeout_ms;   /* how long OPEN lasts; the spec's `timeout` is in seconds */
    uint32_t timeout_max_ms;
    double backoff_multiplier;
    double jitter;
    uint32_t success_threshold;
    uint32_t half_open_calls;
    uint32_t half_open_max_wait_ms;
    uint32_t permit_lease_ms; /* CBM_NEVER: as long as the holder lives */
    cbm_on_abandon on_abandon;
    uint32_t failure_spacing_ms;
    uint32_t open_for_max_ms;
    uint32_t expire_after_s; /* CBM_NEVER: never */
    uint32_t policy_version;
} cbm_policy;
/* clang-format off */
#define CBM_POLICY_INIT { .size = sizeof(cbm_policy) }
/* clang-format on */

typedef enum cbm_when_away {
    CBM_FAIL_OPEN = 0,   /* calls pass; cbm_permit_unprotected() tells */
    CBM_FAIL_CLOSED = 1, /* calls are refused with CBM_E_AWAY or CBM_E_DENIED */
    CBM_LOCAL = 2,       /* an in-process manager goes on from the last known states; counts go over later */
} cbm_when_away;

enum {
    /* Messages alone, share no memory with the broker: for processes that make few calls, as it saves them some set-up, and for
       whoever wants every refusal in the broker's log. */
    CBM_OPEN_NO_SHM = 1,
};

typedef struct cbm_open_options {
    size_t size; /* sizeof(cbm_open_options) */
    cbm_when_away when_away;
    uint32_t call_timeout_ms; /* deadline of begin and report; 0: 100 */
    uint32_t timeout_ms;      /* deadline of everything else; 0: 1000 */
    uint32_t flags;           /* CBM_OPEN_* */
} cbm_open_options;
/* clang-format off */
#define CBM_OPEN_OPTIONS_INIT { .size = sizeof(cbm_open_options) }
/* clang-format on */

typedef struct cbm_client cbm_client;   /* one process's way to the manager; shared by all its threads */
typedef struct cbm_breaker cbm_breaker; /* handle of one breaker; owned by the client, good until cbm_close */

/* Lives on the caller's stack; fields are private. Needs no clean-up, but a permit of HALF_OPEN that is never reported is
 * missed by the others until its lease ends. */
typedef struct cbm_permit {
    cbm_breaker *cbm_private_breaker;
    int64_t cbm_private_begun_ns;
    uint8_t cbm_private_permit[32];
    uint32_t cbm_private_process;
    uint8_t cbm_private_size;
    uint8_t cbm_private_kind;
    uint16_t cbm_private_flags;
    int64_t cbm_private_retry_after_ns;
} cbm_permit;

/* ---- Opening and closing -------------------------------------------------------------------------------------- */

/*
 * `address`: ipc:///path, unix:///path, a path, abstract://name (Linux), or `local:` for a manager inside this process alone. NULL:
 * $CBM_ADDRESS (not when set-user-ID), else $XDG_RUNTIME_DIR/cbm/cbm.sock if a broker accepts there, else
 * /run/cbm/cbm.sock. Succeeds without a broker under fail-open and local: the client attaches when one appears. Under
 * fail-closed CBM_E_AWAY, or CBM_E_DENIED when this user may not connect to the socket, which counts as no broker in the other
 * modes too; cbm_last_message() tells which socket and who may. CBM_E_ADDRESS, CBM_E_UNTRUSTED (in every mode: a stranger on
 * the socket is not an absent broker), CBM_E_NOMEM, CBM_E_INVALID. On failure *client is NULL.
 */
CBM_API int cbm_open(cbm_client **client, const char *address, const cbm_open_options *options);
/*
 * NULL is fine. No handle or permit of the client may be used afterwards, and it is an error of the program when other threads are
 * still in calls: cbm_close then waits for those, which end by their deadlines; calls that begin meanwhile, or after it while no
 * other client was opened, answer CBM_E_INVALID. What the calls counted is the broker's when it returns, if that can be reached
 * within 0.2 s.
 */
CBM_API void cbm_close(cbm_client *client);
/* The address in use, for messages to people. Good until cbm_close. */
CBM_API const char *cbm_address(const cbm_client *client);
/* 1: the broker answered when it was last asked, and has not died since (always 1 for `local:`); 0: it is away. Asks nobody. */
CBM_API int cbm_connected(cbm_client *client);
/*
 * The process's singleton: the spec's get_circuit_breaker_manager(). Opened at first use with the default address under
 * CBM_LOCAL, so that it works without a broker as the spec's in-process singleton does. Never NULL: when there is no memory for it,
 * or $CBM_ADDRESS is no address, a client in static storage answers CBM_E_NOMEM or CBM_E_ADDRESS to everything. Not to be closed.
 */
CBM_API cbm_client *cbm_manager(void);

/* ---- The calls ------------------------------------------------------------------------------------------------ */

typedef struct cbm_get_options {
    size_t size;
    const char *correlation_id; /* up to 128 bytes, for the broker's log; NULL: none */
} cbm_get_options;

/*
 * The spec's get(): the breaker `name`, created with `policy` (NULL: defaults) when there is none; an existing one is
 * returned unchanged. One handle a name: asking again gives the same. Under fail-open and local it succeeds without a broker and the
 * handle attaches later, with this policy. CBM_E_INVALID, CBM_E_RATE_LIMITED, CBM_E_FULL, CBM_E_NOMEM, CBM_E_AWAY and
 * CBM_E_DENIED (fail-closed). When the broker refuses, *breaker is NULL.
 */
CBM_API int cbm_get(cbm_client *client, const char *name, const cbm_policy *policy, cbm_breaker **breaker);
CBM_API int cbm_get_with(cbm_client *client, const char *name, const cbm_policy *policy, const cbm_get_options *options,
                         cbm_breaker **breaker);
/*
 * The same handle without asking anybody: the breaker itself is created at the first call, with this policy, unless there is one
 * then. For what is set up before there is anything to call. CBM_E_INVALID, CBM_E_NOMEM.
 */
CBM_API int cbm_handle(cbm_client *client, const char *name, const cbm_policy *policy, cbm_breaker **breaker);
CBM_API const char *cbm_breaker_name(const cbm_breaker *breaker);

typedef struct cbm_begin_options {
    size_t size;
    const char *correlation_id;
    uint32_t lease_ms; /* of a permit in HALF_OPEN; 0: the policy's; CBM_NEVER: as long as this process lives */
    uint32_t timed;    /* 1: the call's duration is wanted, also where its rule has no use for it */
} cbm_begin_options;

/*
 * May the call be made? 0 with a permit, which one cbm_call_report gives back; or CBM_E_OPEN, CBM_E_HALF_OPEN_FULL,
 * CBM_E_FORCED_OPEN, CBM_E_RATE_LIMITED; then cbm_permit_retry_after_ms() tells when to try again. When the broker cannot be
 * asked, has died, or its answer is not understood, when_away decides: a permit without its word, CBM_E_AWAY (CBM_E_DENIED when
 * this user may not connect to its socket, CBM_E_PROTOCOL), or the in-process manager; but what is known to be open stays so until
 * its time is over. CBM_E_UNTRUSTED in every mode. A breaker that is gone, or not known to a new broker, is created again with the
 * policy of its handle. Waits at most call_timeout_ms. Allocates nothing, as a report does not: no more than the buffers of a first
 * connection, and under CBM_LOCAL and `local:` what the in-process manager keeps of a breaker.
 */
CBM_API int cbm_call_begin(cbm_breaker *breaker, cbm_permit *permit);
CBM_API int cbm_call_begin_with(cbm_breaker *breaker, const cbm_begin_options *options, cbm_permit *permit);
/*
 * The same for those who must not wait, as the thread of an event loop: CBM_WOULD_WAIT when a message is needed. Nothing was
 * done then; any thread may ask cbm_call_begin instead. Of `local:` nothing ever waits.
 */
CBM_API int cbm_call_try_begin(cbm_breaker *breaker, cbm_permit *permit);
/* After a refusal: milliseconds until a call may be let through, a few more at most; -1: until somebody enables it; 0: not known. */
CBM_API int64_t cbm_permit_retry_after_ms(const cbm_permit *permit);
/* 1: the permit was given without the broker's word, as it is away (fail-open): right after begin cbm_last_message() tells why */
CBM_API int cbm_permit_unprotected(const cbm_permit *permit);
/* 1: the permit is a probe of HALF_OPEN: its outcome decides for everybody */
CBM_API int cbm_permit_probe(const cbm_permit *permit);

typedef struct cbm_report_options {
    size_t size;
    const char *correlation_id;
    const char *error_text; /* kept as last_error_text; cut at 256 bytes; NULL: none */
    /* 0: measured since begin, if the rule takes durations or the begin was `timed` (or a message); -1: not to be recorded */
    int64_t duration_ns;
    uint32_t open_for_ms; /* a 429's Retry-After: opens at once for that long; 0: none */
} cbm_report_options;

/*
 * How the call went. 0 when the broker has it, or finds a success in shared memory, where it is kept for the next one should it
 * die: if this report opened the breaker, no cbm_call_begin that starts after this
 * returns, in any process, is let through. CBM_E_AWAY: not delivered after one more try on a new connection; the outcome is not
 * queued (under CBM_LOCAL the in-process manager takes it, and it is 0); CBM_E_DENIED likewise. CBM_E_NOT_FOUND: the breaker was
 * removed meanwhile. After any of these the permit is spent. CBM_E_INHERITED, CBM_E_INVALID (no permit, reported already, or
 * options that are not valid: those leave the permit as it was).
 */
CBM_API int cbm_call_report(cbm_permit *permit, cbm_outcome outcome);
CBM_API int cbm_call_report_with(cbm_permit *permit, cbm_outcome outcome, const cbm_report_options *options);
/* CBM_WOULD_WAIT when a message is needed: then cbm_call_report_with, with the same outcome and options, is still to be called. */
CBM_API int cbm_call_try_report(cbm_permit *permit, cbm_outcome outcome, const cbm_report_options *options);
/* An outcome observed elsewhere, without a permit: counts in CLOSED, is statistics only otherwise. duration_ns 0: none. */
CBM_API int cbm_report(cbm_breaker *breaker, cbm_outcome outcome, const cbm_report_options *options);

typedef int cbm_function(void *argument);
/*
 * The spec's call(): begin, function(argument), report. 0 from the function is a success, all else a failure; *result is what it
 * returned (result may be NULL). Returns 0 when the function ran, whether or not its outcome could be reported
 * (cbm_connected() tells), else why it did not run.
 */
CBM_API int cbm_call(cbm_client *client, const char *name, cbm_function *function, void *argument, int *result);
CBM_API int cbm_call_with(cbm_client *client, const char *name, const char *correlation_id, cbm_function *function,
                          void *argument, int *result);

/* ---- Looking and resetting ------------------------------------------------------------------------------------ */

typedef struct cbm_statistics {
    uint64_t total_calls; /* successful + failed + ignored */
    uint64_t successful_calls;
    uint64_t failed_calls; /* timeouts included */
    uint64_t timeout_calls;
    uint64_t ignored_calls;
    uint64_t slow_calls;
    uint64_t rejected_calls;
    uint64_t half_open_rejected_calls;
    uint64_t late_reports;
    uint64_t lumped_failures;
    uint64_t leases_expired;
    uint64_t abandoned;
    uint64_t state_transitions;
    double p50_ms, p90_ms, p99_ms; /* -1: no duration was given yet */
    uint64_t transitions[6][6];    /* by cbm_state: [from][to] */
    uint64_t time_in_state_ms[6];  /* by cbm_state */
} cbm_statistics;

/* A breaker's state dict. Strings belong to what it was read from. New members are added at the end only. */
typedef struct cbm_breaker_state {
    const char *name;
    cbm_state state;
    uint32_t failures;
    uint32_t threshold;
    uint32_t timeout_ms;
    int64_t retry_after_ms; /* -1: until somebody enables it; 0: a call would be tried now */
    int due;                /* OPEN, but a probe would be let through */
    double failure_rate;    /* percent; -1 below the minimum and under rules without a window */
    double slow_call_rate;
    uint64_t calls;
    int would_open;
    uint32_t epoch;
    uint32_t permits_out;
    const char *reason;          /* "" when none */
    int64_t last_failure_ms_ago; /* -1: never */
    const char *last_error_text; /* "" when none */
    const char *policy_source;   /* "created" or "config" */
    const cbm_policy *policy;    /* all fields in force; CBM_NEVER where the wire has 0 for none */
    cbm_statistics statistics;
} cbm_breaker_state;

typedef struct cbm_states_result cbm_states_result;
typedef struct cbm_stats_result cbm_stats_result;

/*
 * The spec's get_all_states(): every breaker whose name matches the glob (NULL: all), in the order of names. Pages are put
 * together here, each with a deadline of its own; a breaker that is created meanwhile may be missing. Free with cbm_states_free.
 */
CBM_API int cbm_states(cbm_client *client, const char *pattern, cbm_states_result **states);
CBM_API size_t cbm_states_count(const cbm_states_result *states);
CBM_API const cbm_breaker_state *cbm_states_at(const cbm_states_result *states, size_t index);       /* NULL: no such */
CBM_API const cbm_breaker_state *cbm_states_find(const cbm_states_result *states, const char *name); /* NULL: no such */
CBM_API void cbm_states_free(cbm_states_result *states);

/* The fields of the spec's get_stats(), under its names. */
typedef struct cbm_manager_stats {
    uint64_t total_operations;
    uint64_t breakers_count;
    uint64_t rate_limited_count;
    uint64_t rate_limit_window_ms;
    uint64_t current_rate_limit_size;
    uint64_t max_rate_limit;
    uint64_t max_breakers;
    uint64_t breakers_created;
    uint64_t breakers_removed;
} cbm_manager_stats;

CBM_API int cbm_stats(cbm_client *client, cbm_stats_result **stats);
CBM_API const cbm_manager_stats *cbm_stats_manager(const cbm_stats_result *stats);
CBM_API const cbm_states_result *cbm_stats_breakers(const cbm_stats_result *stats); /* belongs to stats */
CBM_API void cbm_stats_free(cbm_stats_result *stats);

/* reset() of one breaker: CLOSED, failures cleared; statistics stay. CBM_E_NOT_FOUND. */
CBM_API int cbm_reset(cbm_client *client, const char *name);
CBM_API int cbm_reset_all(cbm_client *client);
/* The spec's manager.reset(): no breakers, counters zero. CBM_E_RATE_LIMITED is the spec's false. Handles stay good: their
 * breakers are created again, with their policies, at the next call. */
CBM_API int cbm_reset_manager(cbm_client *client);

/* ---- Steering by hand ------------------------------------------------------------------------------------------- */

/* Changes the fields that are not 0; state and counts are kept. */
CBM_API int cbm_configure(cbm_client *client, const char *name, const cbm_policy *policy);
/* Removes the breakers that match the glob; *removed may be NULL. Handles stay good, as with cbm_reset_manager. */
CBM_API int cbm_remove(cbm_client *client, const char *pattern, uint64_t *removed);
/* reason: up to 256 bytes, shown in states, or NULL. for_ms: ends by itself; 0: until cbm_enable. */
CBM_API int cbm_force_open(cbm_client *client, const char *name, const char *reason, uint32_t for_ms);
CBM_API int cbm_disable(cbm_client *client, const char *name, const char *reason, uint32_t for_ms);
CBM_API int cbm_metrics_only(cbm_client *client, const char *name, const char *reason, uint32_t for_ms);
CBM_API int cbm_enable(cbm_client *client, const char *name);

/* ---- The broker itself ------------------------------------------------------------------------------------------ */

CBM_API int cbm_ping(cbm_client *client); /* 0: it answers. CBM_E_UNSUPPORTED for `local:` */
/*
 * A text command as nngcat would send it ("states ha_*"), answered as one JSON line: for tools and debugging. *json is freed with
 * cbm_free, and set also when the operation failed and the broker said why, else NULL. CBM_E_UNSUPPORTED for `local:`.
 */
CBM_API int cbm_command(cbm_client *client, const char *command, char **json);
CBM_API void cbm_free(void *memory);

CBM_API const char *cbm_strerror(int error);         /* a sentence; never NULL */
CBM_API const char *cbm_error_name(int error);       /* the wire's word: "open" */
CBM_API const char *cbm_state_name(cbm_state state); /* "CLOSED" */
/* What the broker said about this thread's last failed call, or the sentence of the error. Good until the thread's next call. */
CBM_API const char *cbm_last_message(void);
CBM_API const char *cbm_version(void);

#ifdef __cplusplus
}
#endif
#endif
