#include "policy.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "expects.h"
#include "failure.h"
#include "structs.h"

typedef enum member_kind { MEMBER_UINT, MEMBER_NUMBER, MEMBER_WORD } member_kind;

/* Where a field stands in cbm_policy. */
typedef struct member {
    member_kind kind;
    size_t offset;
} member;

_Static_assert(sizeof(cbm_rule) == sizeof(uint32_t) && sizeof(cbm_on_abandon) == sizeof(uint32_t),
               "words are read as uint32_t");

/* In the order of the core's table of fields: member i is row i. */
#define MEMBER(name, kind)                                                                                             \
    {                                                                                                                  \
        MEMBER_##kind, offsetof(cbm_policy, name)                                                                      \
    }
static const member members[] = {
    MEMBER(rule, WORD),
    MEMBER(failure_threshold, UINT),
    MEMBER(window_size, UINT),
    MEMBER(window_s, UINT),
    MEMBER(minimum_calls, UINT),
    MEMBER(failure_rate, NUMBER),
    MEMBER(slow_call_rate, NUMBER),
    MEMBER(slow_call_duration_ms, UINT),
    MEMBER(timeout_ms, UINT),
    MEMBER(timeout_max_ms, UINT),
    MEMBER(backoff_multiplier, NUMBER),
    MEMBER(jitter, NUMBER),
    MEMBER(success_threshold, UINT),
    MEMBER(half_open_calls, UINT),
    MEMBER(half_open_max_wait_ms, UINT),
    MEMBER(permit_lease_ms, UINT),
    MEMBER(on_abandon, WORD),
    MEMBER(failure_spacing_ms, UINT),
    MEMBER(open_for_max_ms, UINT),
    MEMBER(expire_after_s, UINT),
    MEMBER(policy_version, UINT),
};
#undef MEMBER
#define MEMBERS (int)(sizeof(members) / sizeof(members[0]))
_Static_assert(MEMBERS == CBM_CORE_POLICY_FIELDS, "every policy field has its member in cbm_policy");

static int set_uint(cbm_core_policy_request *request, int row, uint32_t value)
{
    if (value == 0)
        return 0;
    if (value != CBM_NEVER)
        return cbm_core_policy_set_number(request, row, value);
    if (!cbm_core_policy_table()[row].zero_allowed)
        return CBM_CORE_E_INVALID;
    return cbm_core_policy_set_number(request, row, 0);
}

/* The words of cbm.h start at 1, since 0 asks for the default. */
static int set_word(cbm_core_policy_request *request, int row, uint32_t value)
{
    const char *const *words = cbm_core_policy_table()[row].words;
    uint32_t count = 0;

    if (value == 0)
        return 0;
    while (words[count])
        count++;
    if (value > count)
        return CBM_CORE_E_INVALID;
    return cbm_core_policy_set_word(request, row, words[value - 1], strlen(words[value - 1]));
}

static int set_number(cbm_core_policy_request *request, int row, double value)
{
    return value == 0 ? 0 : cbm_core_policy_set_number(request, row, value);
}

static int set_member(cbm_core_policy_request *request, int row, const member *at, const cbm_policy *policy)
{
    const void *from = (const char *)policy + at->offset;
    uint32_t value;
    double number;

    if (at->kind == MEMBER_NUMBER) {
        memcpy(&number, from, sizeof(number));
        return set_number(request, row, number);
    }
    memcpy(&value, from, sizeof(value));
    return at->kind == MEMBER_WORD ? set_word(request, row, value) : set_uint(request, row, value);
}

static int refuse_member(int row, const member *at, const cbm_policy *policy)
{
    const void *from = (const char *)policy + at->offset;
    const char *name = cbm_core_policy_table()[row].name;
    char expects[96];
    uint32_t value;
    double number;

    cbm_policy_field_expects(row, expects, sizeof(expects));
    if (at->kind == MEMBER_NUMBER) {
        memcpy(&number, from, sizeof(number));
        return cbm_fail_with(CBM_E_INVALID, "%s must be %s, not %.15g", name, expects, number);
    }
    memcpy(&value, from, sizeof(value));
    if (value == CBM_NEVER)
        return cbm_fail_with(CBM_E_INVALID, "%s must be %s, not 0 (CBM_NEVER)", name, expects);
    return cbm_fail_with(CBM_E_INVALID, "%s must be %s, not %" PRIu32, name, expects, value);
}

int cbm_policy_read(const cbm_policy *policy, bool whole, cbm_core_policy_request *request)
{
    cbm_core_policy effective;
    cbm_policy known;
    int field;

    memset(request, 0, sizeof(*request));
    if (!cbm_struct_read(&known, sizeof(known), policy))
        return cbm_fail(CBM_E_INVALID, "cbm_policy: its size is not one that this library knows");
    for (int row = 0; row < MEMBERS; row++)
        if (set_member(request, row, &members[row], &known))
            return refuse_member(row, &members[row], &known);
    if (whole && cbm_core_policy_resolve(request, &effective, &field))
        return cbm_fail_with(CBM_E_INVALID, "%s %s", cbm_core_policy_table()[field].name,
                             cbm_policy_field_beside(field));
    return 0;
}

static void write_member(cbm_policy *to, const member *at, const cbm_core_policy_field *row, uint32_t value)
{
    void *into = (char *)to + at->offset;

    if (at->kind == MEMBER_NUMBER) {
        double number = (double)value / row->scale;
        memcpy(into, &number, sizeof(number));
        return;
    }
    if (at->kind == MEMBER_WORD)
        value++;
    else if (value == 0 && row->zero_allowed)
        value = CBM_NEVER;
    memcpy(into, &value, sizeof(value));
}

void cbm_policy_write(const cbm_core_policy *from, cbm_policy *to)
{
    memset(to, 0, sizeof(*to));
    to->size = sizeof(*to);
    for (int row = 0; row < MEMBERS; row++)
        write_member(to, &members[row], &cbm_core_policy_table()[row], cbm_core_policy_value(from, row));
}

void cbm_policy_request_all(const cbm_core_policy *policy, cbm_core_policy_request *request)
{
    request->given = (UINT32_C(1) << CBM_CORE_POLICY_FIELDS) - 1;
    request->values = *policy;
}
