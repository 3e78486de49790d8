/*
 * What opens a breaker, and what its probes decide. Everything that depends on which rule a policy picks is behind these
 * functions: a new rule is a case in rule.c.
 */
#ifndef CORE_RULE_H
#define CORE_RULE_H

#include "cbm_core.h"

/* What a rule remembers in CLOSED and METRICS_ONLY. The member in use is that of policy->rule. */
typedef struct core_rule {
    union {
        struct core_failure_times *times;   /* failures */
        struct core_count_window *outcomes; /* count_window */
        struct core_time_window *seconds;   /* time_window */
        uint32_t in_a_row;                  /* consecutive */
    } memory;
    int64_t last_counted_ns; /* the last failure that failure_spacing_ms did not lump; -1: none */
} core_rule;

typedef struct core_window_totals {
    uint64_t calls;
    uint64_t failures;
    uint64_t slow;
} core_window_totals;

/* CBM_CORE_E_NOMEM. All memory that recording needs is taken here: no outcome is ever lost for want of it. */
int core_rule_init(core_rule *rule, const cbm_core_policy *policy);
void core_rule_deinit(core_rule *rule, const cbm_core_policy *policy);
void core_rule_clear(core_rule *rule, const cbm_core_policy *policy);
/*
 * Another policy, what counts at now_ns kept as far as it fits; another kind of rule starts empty. CBM_CORE_E_NOMEM: nothing
 * changed.
 */
int core_rule_change(core_rule *rule, const cbm_core_policy *from, const cbm_core_policy *to, int64_t now_ns);

/* Records one outcome, O(1). False when it is a failure that failure_spacing_ms lumps with the one before: nothing recorded. */
bool core_rule_record(core_rule *rule, const cbm_core_policy *policy, bool failure, bool slow, int64_t now_ns);
/* Records `count` fast successes at once, as that many _record would: O(1), count_window O(count / 64) and at most its size. */
void core_rule_record_successes(core_rule *rule, const cbm_core_policy *policy, uint64_t count, int64_t now_ns);
/*
 * Whether what is recorded opens the breaker, the last outcome being a failure or a success. Without a window a success
 * decides nothing, not even on failures that a change of policy left over the threshold.
 */
bool core_rule_opens(core_rule *rule, const cbm_core_policy *policy, bool failure, int64_t now_ns);
/*
 * Whether some number of fast successes within the second of now_ns could alone open the breaker (by making up
 * minimum_calls, or by evaluating what a change of policy or of the second left over the threshold). While not, they may be
 * recorded late, all at once. O(1).
 */
bool core_rule_successes_decide(core_rule *rule, const cbm_core_policy *policy, int64_t now_ns);

/*
 * Whether one more failure, or slow call, could open the breaker or let successes decide: never false when it could. As long as it
 * is, who began a call before or after it cannot tell when it was recorded. O(1).
 */
bool core_rule_failure_decides(core_rule *rule, const cbm_core_policy *policy, int64_t now_ns);

/* Whether the policy's rule takes rates, and so durations. */
bool core_rule_has_rates(const cbm_core_policy *policy);
/* The failures that count now, and how many open. */
uint32_t core_rule_failures(core_rule *rule, const cbm_core_policy *policy, int64_t now_ns);
uint32_t core_rule_threshold(core_rule *rule, const cbm_core_policy *policy, int64_t now_ns);
/* Whether the rule has rates, and what stands in its window. */
bool core_rule_totals(core_rule *rule, const cbm_core_policy *policy, int64_t now_ns, core_window_totals *totals);
/* From when on no failure counts if nothing more happens: 0: now already, CBM_CORE_NEVER_NS: time alone does not do it. */
int64_t core_rule_quiet_from(core_rule *rule, const cbm_core_policy *policy, int64_t now_ns);

/* Outcomes of the probes since HALF_OPEN began. */
typedef struct core_probes {
    uint32_t recorded;
    uint32_t failures;
    uint32_t slow;
} core_probes;

typedef enum core_verdict {
    CORE_VERDICT_NONE, /* more probes are needed */
    CORE_VERDICT_CLOSE,
    CORE_VERDICT_OPEN,
} core_verdict;

/* Whether one more probe may go out while `permits_out` are. */
bool core_probes_admit(const core_probes *probes, const cbm_core_policy *policy, uint32_t permits_out);
core_verdict core_probes_verdict(const core_probes *probes, const cbm_core_policy *policy);
/* What the rates of HALF_OPEN are taken over, and how many outcomes they need; false: the rule has no rates. */
bool core_probes_totals(const core_probes *probes, const cbm_core_policy *policy, core_window_totals *totals,
                        uint32_t *minimum);
#endif
