/* All outcomes that a rule was told, kept, so that what it says can be counted again from the beginning. */
#ifndef CBM_TEST_RULE_HISTORY_H
#define CBM_TEST_RULE_HISTORY_H

#include "cbm_core.h"
#include "rule.h"

enum { RULE_HISTORY_MAX = 20000 };

typedef struct rule_history {
    const cbm_core_policy *policy;
    int count;
    struct {
        int64_t at_ns;
        bool failure, slow;
    } outcomes[RULE_HISTORY_MAX];
} rule_history;

void rule_history_start(rule_history *history, const cbm_core_policy *policy);
void rule_history_add(rule_history *history, bool failure, bool slow, int64_t at_ns);
/* What stands in the window at now_ns after `more` further fast successes. */
core_window_totals rule_history_totals(const rule_history *history, uint64_t more, int64_t now_ns);
bool rule_history_opens(const rule_history *history, uint64_t more, int64_t now_ns);
/* Whether some number of fast successes, all of them now, would open: tried one by one. */
bool rule_history_successes_decide(const rule_history *history, int64_t now_ns);

/* The effective policy of "rule=... window_s=..."; fails the test when it is none. */
cbm_core_policy rule_policy(const char *words);

#endif
