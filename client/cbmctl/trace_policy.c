#include "trace_policy.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "expects.h"

/* What traces of other libraries call it. */
static const struct {
    const char *name, *field;
} aliases[] = {
    {"type", "rule"},
    {"window", "window_size"},
    {"min_calls", "minimum_calls"},
    {"slow_rate", "slow_call_rate"},
    {"slow_ms", "slow_call_duration_ms"},
    {"open_ms", "timeout_ms"},
    {"half_open_permits", "half_open_calls"},
    {"half_open_successes", "success_threshold"},
};

/* The policy's own name for it, which may be that very one. */
static const char *own_name(const char *name)
{
    for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++) {
        if (strcmp(aliases[i].name, name) == 0)
            return aliases[i].field;
    }
    return name;
}

static int field_of(const char *name)
{
    return cbm_core_policy_find(name, strlen(name));
}

static bool is_given(const cbm_core_policy_request *request, int field)
{
    return (request->given & (UINT32_C(1) << field)) != 0;
}

static void value_text(const trace_member *member, char text[CBM_SHOWN_MAX])
{
    if (member->kind == TRACE_TEXT)
        cbm_text_shown(member->text, member->text_length, text);
    else if (member->kind == TRACE_OTHER)
        snprintf(text, CBM_SHOWN_MAX, "what stands there");
    else
        snprintf(text, CBM_SHOWN_MAX, "%.15g", member->number);
}

static bool is_number(const trace_member *member)
{
    return member->kind == TRACE_INTEGER || member->kind == TRACE_NUMBER;
}

/* `timeout` is the one field with a unit of its own: seconds, of which timeout_ms has the milliseconds. */
static int set_seconds(cbm_core_policy_request *request, int field, const trace_member *member)
{
    double ms = is_number(member) ? nearbyint(member->number * 1000) : -1;
    if (!is_number(member) || ms / 1000 != member->number)
        return CBM_CORE_E_INVALID;
    return cbm_core_policy_set_number(request, field, ms);
}

static int set_value(cbm_core_policy_request *request, int field, const trace_member *member)
{
    if (member->kind == TRACE_TEXT)
        return cbm_core_policy_set_word(request, field, member->text, member->text_length);
    return is_number(member) ? cbm_core_policy_set_number(request, field, member->number) : CBM_CORE_E_INVALID;
}

static bool read_member(cbm_core_policy_request *request, const trace_member *member, char why[TRACE_WHY_MAX])
{
    char name[64], value[CBM_SHOWN_MAX], expects[160];
    snprintf(name, sizeof(name), "%.*s", (int)(member->key_length < 60 ? member->key_length : 60), member->key);
    bool seconds = strcmp(name, "timeout") == 0;
    int field = field_of(seconds ? "timeout_ms" : own_name(name));
    if (field < 0) {
        snprintf(why, TRACE_WHY_MAX, "no \"op\", so a config: there is no policy field '%s'", name);
        return false;
    }
    const cbm_core_policy_field *row = &cbm_core_policy_table()[field];
    if (is_given(request, field)) {
        snprintf(why, TRACE_WHY_MAX, "%s: %s is given already", name, row->name);
        return false;
    }
    if ((seconds ? set_seconds : set_value)(request, field, member) == 0)
        return true;
    value_text(member, value);
    if (seconds)
        snprintf(expects, sizeof(expects), "a number of seconds from 0.001 to %" PRIu32 ", in whole milliseconds",
                 row->maximum / 1000);
    else
        cbm_policy_field_expects(field, expects, sizeof(expects));
    snprintf(why, TRACE_WHY_MAX, "%s must be %s, not %s", name, expects, value);
    return false;
}

bool trace_policy_read(const trace_line *line, cbm_core_policy_request *request, char why[TRACE_WHY_MAX])
{
    *request = (cbm_core_policy_request){0};
    for (size_t i = 0; i < line->count; i++) {
        if (!read_member(request, &line->members[i], why))
            return false;
    }
    bool of_time = request->values.rule == CBM_CORE_RULE_TIME_WINDOW || request->values.rule == CBM_CORE_RULE_FAILURES;
    if (of_time && trace_line_find(line, "window") != NULL) {
        snprintf(why, TRACE_WHY_MAX, "window: is a number of outcomes; this rule takes window_s");
        return false;
    }
    /* A trace says itself when its calls end. */
    int lease = field_of("permit_lease_ms");
    return is_given(request, lease) || cbm_core_policy_set_number(request, lease, 0) == 0;
}

static bool take_word(policy_options *policy, const char *word, size_t length, char why[TRACE_WHY_MAX])
{
    char name[64] = "", text[160];
    const char *reason = "", *equals = memchr(word, '=', length);
    size_t name_length = equals != NULL ? (size_t)(equals - word) : length;
    if (name_length < sizeof(name))
        memcpy(name, word, name_length);
    const char *own = own_name(name);
    int printed = snprintf(text, sizeof(text), "%.*s%.*s", own != name ? (int)strlen(own) : (int)name_length,
                           own != name ? own : word, (int)(length - name_length), word + name_length);
    if (printed >= 0 && (size_t)printed < sizeof(text) && policy_options_word(policy, text, &reason))
        return true;
    snprintf(why, TRACE_WHY_MAX, "%s", *reason != '\0' ? reason : "too long for a policy field");
    return false;
}

bool trace_policy_words(policy_options *policy, const char *words, char why[TRACE_WHY_MAX])
{
    for (;;) {
        size_t length = strcspn(words, ",");
        if (!take_word(policy, words, length, why))
            return false;
        if (words[length] == '\0')
            return true;
        words += length + 1;
    }
}

void trace_policy_override(cbm_core_policy_request *request, const cbm_core_policy_request *instead)
{
    const cbm_core_policy_field *table = cbm_core_policy_table();
    for (int field = 0; field < CBM_CORE_POLICY_FIELDS; field++) {
        if (!is_given(instead, field))
            continue;
        uint32_t value = cbm_core_policy_value(&instead->values, field);
        if (table[field].kind == CBM_CORE_FIELD_WORD)
            (void)cbm_core_policy_set_word(request, field, table[field].words[value],
                                           strlen(table[field].words[value]));
        else
            (void)cbm_core_policy_set_number(request, field, (double)value / table[field].scale);
    }
}
