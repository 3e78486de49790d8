#include "policy_member.h"

#include <stddef.h>
#include <string.h>

typedef struct policy_member {
    const char *name;
    size_t offset;
} policy_member;

#define MEMBER(name)                                                                                                   \
    {                                                                                                                  \
#name, offsetof(cbm_policy, name)                                                                              \
    }
static const policy_member members[] = {
    MEMBER(rule),
    MEMBER(failure_threshold),
    MEMBER(window_size),
    MEMBER(window_s),
    MEMBER(minimum_calls),
    MEMBER(failure_rate),
    MEMBER(slow_call_rate),
    MEMBER(slow_call_duration_ms),
    MEMBER(timeout_ms),
    MEMBER(timeout_max_ms),
    MEMBER(backoff_multiplier),
    MEMBER(jitter),
    MEMBER(success_threshold),
    MEMBER(half_open_calls),
    MEMBER(half_open_max_wait_ms),
    MEMBER(permit_lease_ms),
    MEMBER(on_abandon),
    MEMBER(failure_spacing_ms),
    MEMBER(open_for_max_ms),
    MEMBER(expire_after_s),
    MEMBER(policy_version),
};

bool policy_member_set(cbm_policy *policy, const cbm_core_policy_field *row, uint32_t value)
{
    const policy_member *found = NULL;
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        if (strcmp(members[i].name, row->name) == 0)
            found = &members[i];
    }
    if (found == NULL)
        return false;
    char *at = (char *)policy + found->offset;
    if (row->kind == CBM_CORE_FIELD_NUMBER) {
        double number = (double)value / row->scale;
        memcpy(at, &number, sizeof(number));
        return true;
    }
    uint32_t number = value;
    if (row->kind == CBM_CORE_FIELD_WORD)
        number = value + 1; /* cbm.h's enumerations have the default at 0 */
    else if (value == 0 && row->default_value != 0)
        number = CBM_NEVER; /* 0 would ask for the default */
    memcpy(at, &number, sizeof(number));
    return true;
}
