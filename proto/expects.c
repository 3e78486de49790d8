#include "expects.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cbm_core.h"

#define SHOWN_BYTES 40 /* of a text; so many that the message around it is not cut */

static_assert(CBM_CORE_NAME_MAX == 128, "CBM_NAME_EXPECTS says so");

static void expects_words(const char *const *words, char *text, size_t size)
{
    size_t at = 0;

    for (size_t i = 0; words[i] && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%s", i == 0 ? "" : words[i + 1] ? ", " : " or ", words[i]);
}

void cbm_policy_field_expects(int field, char *text, size_t size)
{
    const cbm_core_policy_field *row = &cbm_core_policy_table()[field];

    if (row->kind == CBM_CORE_FIELD_WORD)
        expects_words(row->words, text, size);
    else if (row->kind == CBM_CORE_FIELD_UINT)
        snprintf(text, size, "an integer%sfrom %" PRIu32 " to %" PRIu32,
                 row->zero_allowed && row->minimum > 0 ? ", 0 or " : " ", row->minimum, row->maximum);
    else
        snprintf(text, size, "a number from %.15g to %.15g in steps of %.15g", (double)row->minimum / row->scale,
                 (double)row->maximum / row->scale, 1.0 / row->scale);
}

/* Each of cbm_core_policy_resolve's contradictions has its sentence; a field stands in one of them. */
const char *cbm_policy_field_beside(int field)
{
    static const struct {
        const char *name, *must;
    } fields[] = {
        {"window_s", "must be given with the rule failures, and be at most 3600 with the others"},
        {"failure_threshold", "must be at most 10000 with the rule failures"},
        {"timeout_max_ms", "must not be less than timeout_ms"},
    };

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (field >= 0 && strcmp(cbm_core_policy_table()[field].name, fields[i].name) == 0)
            return fields[i].must;
    return "contradicts the rest of the policy";
}

const char *cbm_text_shown(const char *text, size_t length, char shown[CBM_SHOWN_MAX])
{
    char copy[SHOWN_BYTES + 1];

    cbm_core_text_copy(copy, sizeof copy, text, length);
    if (length <= SHOWN_BYTES)
        snprintf(shown, CBM_SHOWN_MAX, "'%s'", copy);
    else
        snprintf(shown, CBM_SHOWN_MAX, "'%s...' (%zu bytes)", copy, length);
    return shown;
}
