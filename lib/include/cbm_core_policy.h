/* Policies: what a breaker is told. Part of cbm_core.h, which see for results and errors. */
#ifndef CBM_CORE_POLICY_H
#define CBM_CORE_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define CBM_CORE_API __attribute__((visibility("default")))
#else
#define CBM_CORE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cbm_core_rule {
    CBM_CORE_RULE_CONSECUTIVE = 0,  /* failure_threshold failures in a row */
    CBM_CORE_RULE_FAILURES = 1,     /* failure_threshold failures within the last window_s seconds */
    CBM_CORE_RULE_COUNT_WINDOW = 2, /* rates over the last window_size outcomes */
    CBM_CORE_RULE_TIME_WINDOW = 3,  /* rates over the current whole second and the window_s - 1 before it */
} cbm_core_rule;

typedef enum cbm_core_on_abandon {
    CBM_CORE_ABANDON_FAILURE = 0, /* a permit whose holder is gone counts as a failure */
    CBM_CORE_ABANDON_RELEASE = 1, /* ... is given back, nothing counted */
} cbm_core_on_abandon;

/* A policy in force: every field has its effective value. All members are uint32_t, in the order of the table. */
typedef struct cbm_core_policy {
    uint32_t rule;              /* cbm_core_rule */
    uint32_t failure_threshold; /* failures */
    uint32_t window_size;       /* outcomes */
    uint32_t window_s;
    uint32_t minimum_calls;
    uint32_t failure_rate_tenths;   /* tenths of a percent: 500 is 50 % */
    uint32_t slow_call_rate_tenths; /* tenths of a percent */
    uint32_t slow_call_duration_ms;
    uint32_t timeout_ms; /* how long OPEN lasts */
    uint32_t timeout_max_ms;
    uint32_t backoff_multiplier_thousandths; /* 1000 is 1 */
    uint32_t jitter_thousandths;             /* 0 to 1000 */
    uint32_t success_threshold;
    uint32_t half_open_calls;
    uint32_t half_open_max_wait_ms; /* 0: no limit */
    uint32_t permit_lease_ms;       /* 0: as long as the holder lives */
    uint32_t on_abandon;            /* cbm_core_on_abandon */
    uint32_t failure_spacing_ms;    /* 0: none */
    uint32_t open_for_max_ms;
    uint32_t expire_after_s; /* 0: never */
    uint32_t policy_version; /* 0: none */
} cbm_core_policy;

typedef enum cbm_core_field_kind {
    CBM_CORE_FIELD_UINT = 0, /* an unsigned integer, scale 1 */
    CBM_CORE_FIELD_NUMBER,   /* a number with `scale` steps to one: 10 for a percentage, 1000 for a factor */
    CBM_CORE_FIELD_WORD,     /* one of `words` */
} cbm_core_field_kind;

/*
 * One row of the table of policy fields. The wire, the text commands, the config file, the command line and the
 * man page are all read from it; a new field is a row here (lib/policy.c) and a member above.
 * Minimum, maximum and default are in steps of 1/scale. `default_value` is that of the default rule where it depends on
 * others; `default_text` says how.
 */
typedef struct cbm_core_policy_field {
    const char *name; /* as on the wire */
    cbm_core_field_kind kind;
    uint32_t scale;
    uint32_t minimum;
    uint32_t maximum;
    bool zero_allowed; /* 0 is a value of its own (none, never) although it is below the minimum */
    uint32_t default_value;
    const char *default_text; /* "5", "timeout_ms", "1; windows 10" */
    const char *const *words; /* NULL-terminated, for CBM_CORE_FIELD_WORD: the value is the index */
    const char *help;         /* one sentence */
} cbm_core_policy_field;

#define CBM_CORE_POLICY_FIELDS 21 /* rows of the table, members of cbm_core_policy; bit i of `given` is row i */

CBM_CORE_API const cbm_core_policy_field *cbm_core_policy_table(void);
/* Row of `name` (`length` bytes), or -1. */
CBM_CORE_API int cbm_core_policy_find(const char *name, size_t length);
/* The value of row `field` in a policy, in steps of 1/scale. */
CBM_CORE_API uint32_t cbm_core_policy_value(const cbm_core_policy *policy, int field);

/* What somebody asks for: only the fields whose bit is set in `given`. Zero-initialised: nothing asked for. */
typedef struct cbm_core_policy_request {
    uint32_t given;
    cbm_core_policy values;
} cbm_core_policy_request;

/*
 * Set one field. CBM_CORE_E_INVALID for a value outside the row's range, of another kind, or between two steps
 * (33.33 %), and nothing is set. _number takes UINT fields too when the number is whole; _parse takes the text form
 * of any kind (decimal number or word).
 */
CBM_CORE_API int cbm_core_policy_set_number(cbm_core_policy_request *request, int field, double value);
CBM_CORE_API int cbm_core_policy_set_word(cbm_core_policy_request *request, int field, const char *word, size_t length);
CBM_CORE_API int cbm_core_policy_parse(cbm_core_policy_request *request, int field, const char *text, size_t length);
/*
 * The effective policy of a request: fields that are not given get their defaults (half_open_calls 1, or 10 under the
 * window rules; permit_lease_ms = timeout_ms; timeout_max_ms the larger of timeout_ms and 3,600,000; minimum_calls at most
 * window_size in a count window). Contradictions are CBM_CORE_E_INVALID, with the row of the field to blame in *bad_field:
 * timeout_max_ms < timeout_ms; rule failures without window_s or with failure_threshold over 10,000; window_s over
 * 3,600 under another rule than failures.
 */
CBM_CORE_API int cbm_core_policy_resolve(const cbm_core_policy_request *request, cbm_core_policy *policy,
                                         int *bad_field);

#ifdef __cplusplus
}
#endif
#endif
