#include "policy_options.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "duration.h"
#include "exit_codes.h"
#include "expects.h"
#include "policy_member.h"
#include "wrap.h"

enum { KEY_FIELD = 0x10000, KEY_TIMEOUT_ALIAS = KEY_FIELD + CBM_CORE_POLICY_FIELDS };

static char why_text[256];

static const char *because(const char *format, ...) __attribute__((format(printf, 1, 2)));
static const char *because(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why_text, sizeof(why_text), format, arguments);
    va_end(arguments);
    return why_text;
}

/* ---- text ---------------------------------------------------------------------------------------------------- */

static void grouped(uint32_t value, char text[POLICY_TEXT_MAX])
{
    char digits[16];
    int length = snprintf(digits, sizeof(digits), "%" PRIu32, value);
    char *to = text;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
}

void policy_value_text(const cbm_core_policy_field *row, uint32_t value, char text[POLICY_TEXT_MAX])
{
    if (row->kind == CBM_CORE_FIELD_WORD) {
        snprintf(text, POLICY_TEXT_MAX, "%s", row->words[value]);
        return;
    }
    uint32_t scale = row->scale > 0 ? row->scale : 1;
    int decimals = scale == 1 ? 0 : scale == 10 ? 1 : 3;
    snprintf(text, POLICY_TEXT_MAX, "%.*f", decimals, (double)value / scale);
    if (strchr(text, '.') != NULL) {
        char *end = text + strlen(text);
        while (end[-1] == '0')
            *--end = '\0';
        if (end[-1] == '.')
            end[-1] = '\0';
    }
}

static void limit_text(const cbm_core_policy_field *row, uint32_t value, char text[POLICY_TEXT_MAX])
{
    if (row->kind == CBM_CORE_FIELD_UINT)
        grouped(value, text);
    else
        policy_value_text(row, value, text);
}

void policy_range_text(const cbm_core_policy_field *row, char *text, size_t size)
{
    if (row->kind == CBM_CORE_FIELD_WORD) {
        size_t used = 0;
        text[0] = '\0';
        for (const char *const *word = row->words; *word != NULL && used < size; word++)
            used += (size_t)snprintf(text + used, size - used, "%s%s", used > 0 ? ", " : "", *word);
        return;
    }
    char minimum[POLICY_TEXT_MAX], maximum[POLICY_TEXT_MAX];
    limit_text(row, row->zero_allowed && row->minimum == 1 ? 0 : row->minimum, minimum);
    limit_text(row, row->maximum, maximum);
    snprintf(text, size, "%s%s to %s", row->zero_allowed && row->minimum > 1 ? "0, " : "", minimum, maximum);
}

/* ---- one field ------------------------------------------------------------------------------------------------- */

static bool set_field(policy_options *policy, int field, const char *value, const char **why)
{
    const cbm_core_policy_field *row = &cbm_core_policy_table()[field];
    if (strcmp(row->name, "timeout_ms") == 0 && policy->alias_given) {
        *why = because("timeout and timeout_ms are the same: give one of them");
        return false;
    }
    if (cbm_core_policy_parse(&policy->request, field, value, strlen(value)) == 0)
        return true;
    char expects[160], shown[CBM_SHOWN_MAX];
    cbm_policy_field_expects(field, expects, sizeof(expects));
    *why = because("%s must be %s, not %s", row->name, expects, cbm_text_shown(value, strlen(value), shown));
    return false;
}

/* The spec's `timeout`: OPEN's duration in seconds, or with a unit. */
static bool set_timeout_alias(policy_options *policy, const char *value, const char **why)
{
    int field = cbm_core_policy_find("timeout_ms", strlen("timeout_ms"));
    const cbm_core_policy_field *row = &cbm_core_policy_table()[field];
    uint64_t ms;
    char text[POLICY_TEXT_MAX];
    if ((policy->request.given & (UINT32_C(1) << field)) != 0 && !policy->alias_given) {
        *why = because("timeout and timeout_ms are the same: give one of them");
        return false;
    }
    if (!duration_parse(value, row->maximum, &ms) || ms == 0) {
        char shown[CBM_SHOWN_MAX];
        *why = because("timeout must be a duration (" DURATION_FORMS ") from 1ms to 30d, not %s",
                       cbm_text_shown(value, strlen(value), shown));
        return false;
    }
    policy->alias_given = false;
    snprintf(text, sizeof(text), "%" PRIu64, ms);
    if (!set_field(policy, field, text, why))
        return false;
    policy->alias_given = true;
    return true;
}

bool policy_word(const char *word)
{
    size_t length = strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return length > 0 && word[length] == '=';
}

bool policy_options_word(policy_options *policy, const char *word, const char **why)
{
    const char *equals = strchr(word, '=');
    if (equals == NULL || equals == word) {
        char shown[CBM_SHOWN_MAX];
        *why = because("%s is not field=value", cbm_text_shown(word, strlen(word), shown));
        return false;
    }
    char name[64];
    size_t length = (size_t)(equals - word);
    if (length >= sizeof(name))
        length = sizeof(name) - 1;
    for (size_t i = 0; i < length; i++)
        name[i] = word[i] == '-' ? '_' : word[i];
    name[length] = '\0';
    if (strcmp(name, "timeout") == 0) {
        if (!policy->no_timeout_alias)
            return set_timeout_alias(policy, equals + 1, why);
        *why = "timeout= could mean two things here: --timeout ends the command, timeout_ms= is how long the circuit "
               "stays open";
        return false;
    }
    int field = cbm_core_policy_find(name, length);
    if (field < 0) {
        *why = because("there is no policy field '%s'", name);
        return false;
    }
    return set_field(policy, field, equals + 1, why);
}

/* ---- argp ------------------------------------------------------------------------------------------------------ */

static error_t parse_option(int key, char *value, struct argp_state *state)
{
    policy_options *policy = state->input;
    const char *why = "";
    if (key == KEY_TIMEOUT_ALIAS) {
        if (!set_timeout_alias(policy, value, &why))
            argp_failure(state, CBMCTL_USAGE, 0, "%s", why);
        return 0;
    }
    if (key < KEY_FIELD || key >= KEY_FIELD + CBM_CORE_POLICY_FIELDS)
        return ARGP_ERR_UNKNOWN;
    if (!set_field(policy, key - KEY_FIELD, value, &why))
        argp_failure(state, CBMCTL_USAGE, 0, "%s", why);
    return 0;
}

static char *dashed(const char *name)
{
    char *copy = strdup(name);
    for (char *c = copy; c != NULL && *c != '\0'; c++) {
        if (*c == '_')
            *c = '-';
    }
    return copy;
}

void policy_options_help(FILE *out, const policy_options *policy)
{
    const cbm_core_policy_field *table = cbm_core_policy_table();
    fputs("Policy fields, each as field=value or --field=value:\n", out);
    for (int field = 0; field < CBM_CORE_POLICY_FIELDS; field++) {
        char range[160], line[256];
        policy_range_text(&table[field], range, sizeof(range));
        snprintf(line, sizeof(line), "%s (%s; default %s)", table[field].name, range, table[field].default_text);
        fputs("  ", out);
        wrap_text(out, line, 2, 4);
        fputs("      ", out);
        wrap_text(out, table[field].help, 6, 6);
    }
    if (!policy->no_timeout_alias) {
        fputs("  timeout (1ms to 30d)\n      ", out);
        wrap_text(out, "The same as timeout_ms, in seconds or with a unit: 30, 30s, 500ms, 5m.", 6, 6);
    }
}

/* They are explained by policy_options_help, in the order of the table, which argp would lose. */
static struct argp_option hidden(const char *name, int key)
{
    return (struct argp_option){.name = name, .key = key, .arg = "VALUE", .flags = OPTION_HIDDEN};
}

bool policy_options_argp(policy_options *policy, struct argp *argp)
{
    const cbm_core_policy_field *table = cbm_core_policy_table();
    struct argp_option *options = calloc(2 * CBM_CORE_POLICY_FIELDS + 2, sizeof(*options)), *next = options;
    if (options == NULL)
        return false;
    policy->options = options;
    for (int field = 0; field < CBM_CORE_POLICY_FIELDS; field++) {
        *next++ = hidden(table[field].name, KEY_FIELD + field);
        if (strchr(table[field].name, '_') == NULL)
            continue;
        char *with_dashes = dashed(table[field].name);
        if (with_dashes == NULL)
            return false;
        *next++ = hidden(with_dashes, KEY_FIELD + field);
    }
    if (!policy->no_timeout_alias)
        *next++ = hidden("timeout", KEY_TIMEOUT_ALIAS);
    *argp = (struct argp){.options = options, .parser = parse_option};
    return true;
}

/* Names with dashes are our own copies, the others are the table's. */
void policy_options_deinit(policy_options *policy)
{
    for (struct argp_option *option = policy->options; option != NULL && option->name != NULL; option++) {
        if (strchr(option->name, '-') != NULL)
            free((char *)(uintptr_t)option->name);
    }
    free(policy->options);
    policy->options = NULL;
}

/* ---- for the client library -------------------------------------------------------------------------------------- */

void policy_options_to_client(const policy_options *policy, cbm_policy *client_policy)
{
    const cbm_core_policy_field *table = cbm_core_policy_table();
    *client_policy = (cbm_policy)CBM_POLICY_INIT;
    for (int field = 0; field < CBM_CORE_POLICY_FIELDS; field++) {
        if ((policy->request.given & (UINT32_C(1) << field)) != 0)
            policy_member_set(client_policy, &table[field], cbm_core_policy_value(&policy->request.values, field));
    }
}
