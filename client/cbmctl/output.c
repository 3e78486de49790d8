#include "output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "duration.h"
#include "say.h"

void output_json(const json_t *data)
{
    /* 15 digits print 33.3 as 33.3, and are more than any figure here has */
    if (data == NULL || json_dumpf(data, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15)) != 0)
        fputs("null", stdout);
    fputc('\n', stdout);
}

bool output_colors(const cli_options *options)
{
    if (options->color != COLOR_AUTO)
        return options->color == COLOR_ALWAYS;
    const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");
    if (no_color != NULL && *no_color != '\0')
        return false;
    return isatty(STDOUT_FILENO) && terminal != NULL && strcmp(terminal, "dumb") != 0;
}

bool output_finish(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    say("the output could not be written: %s", strerror(errno));
    return false;
}

/* ---- reading state dicts ------------------------------------------------------------------------------------------- */

static const char *string_of(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value != NULL ? value : "";
}

static json_int_t integer_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static const char *color_of(const char *state)
{
    static const struct {
        const char *state, *color;
    } colors[] = {{"CLOSED", "\033[32m"},    {"OPEN", "\033[31m"},
                  {"HALF_OPEN", "\033[33m"}, {"FORCED_OPEN", OUTPUT_COLOR_BAD},
                  {"DISABLED", "\033[36m"},  {"METRICS_ONLY", "\033[36m"}};
    for (size_t i = 0; i < sizeof(colors) / sizeof(colors[0]); i++) {
        if (strcmp(colors[i].state, state) == 0)
            return colors[i].color;
    }
    return "";
}

void retry_text(long long retry_after_ms, const char *state, char *text, size_t size)
{
    char duration[DURATION_TEXT_MAX];
    if (retry_after_ms > 0) {
        duration_format(retry_after_ms, duration);
        snprintf(text, size, "try again in %s", duration);
    } else if (retry_after_ms < 0 && strcmp(state, "HALF_OPEN") == 0) {
        snprintf(text, size, "try again when its probe is over");
    } else if (retry_after_ms < 0) {
        snprintf(text, size, "until somebody enables it");
    } else {
        snprintf(text, size, "try again");
    }
}

static void add_retry(text_table *table, const json_t *state)
{
    char text[DURATION_TEXT_MAX];
    json_int_t retry = integer_of(state, "retry_after_ms");
    if (json_is_true(json_object_get(state, "due")))
        table_cell_add(table, "", "due");
    else if (retry < 0)
        table_cell_add(table, "", strcmp(string_of(state, "state"), "HALF_OPEN") == 0 ? "probing" : "by hand");
    else if (retry == 0)
        table_cell_add(table, "", "-");
    else {
        duration_format(retry, text);
        table_cell_add(table, "", "%s", text);
    }
}

const char *state_note(const json_t *state)
{
    const char *reason = string_of(state, "reason");
    return *reason != '\0' ? reason : string_of(state, "last_error_text");
}

void output_table(text_table *table, bool heading, const cli_options *options)
{
    if (!table_print(table, stdout, heading, output_colors(options)))
        say("out of memory");
    table_deinit(table);
}

void output_states(const json_t *states, const cli_options *options)
{
    static const table_column columns[] = {{"NAME"},           {"STATE"},       {"FAILURES", true},
                                           {"RETRY", true},    {"CALLS", true}, {"FAILED", true},
                                           {"REJECTED", true}, {"P99", true},   {"REASON OR LAST ERROR"}};
    const char *name;
    json_t *state;
    text_table table;
    table_init(&table, columns, sizeof(columns) / sizeof(columns[0]));
    json_object_foreach((json_t *)(uintptr_t)states, name, state)
    {
        const json_t *statistics = json_object_get(state, "statistics");
        double p99 = json_number_value(json_object_get(statistics, "p99_ms"));
        table_cell_add(&table, "", "%s", name);
        table_cell_add(&table, color_of(string_of(state, "state")), "%s", string_of(state, "state"));
        table_cell_add(&table, "", "%lld/%lld", (long long)integer_of(state, "failures"),
                       (long long)integer_of(state, "threshold"));
        add_retry(&table, state);
        table_cell_add(&table, "", "%lld", (long long)integer_of(statistics, "total_calls"));
        table_cell_add(&table, "", "%lld", (long long)integer_of(statistics, "failed_calls"));
        table_cell_add(&table, "", "%lld", (long long)integer_of(statistics, "rejected_calls"));
        if (p99 < 0 || statistics == NULL)
            table_cell_add(&table, "", "-");
        else
            table_cell_add(&table, "", "%.*f ms", p99 < 10 ? 1 : 0, p99);
        table_cell_add(&table, "", "%s", state_note(state));
    }
    output_table(&table, true, options);
}

/* ---- dictionaries -------------------------------------------------------------------------------------------------- */

static char *list_text(const json_t *list)
{
    char *text = NULL;
    size_t size = 0, index;
    json_t *item;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL)
        return NULL;
    json_array_foreach(list, index, item)
    {
        char *other = json_is_string(item) ? NULL : json_dumps(item, JSON_ENCODE_ANY);
        fprintf(out, "%s%s", index > 0 ? ", " : "", json_is_string(item) ? json_string_value(item) : other);
        free(other);
    }
    return fclose(out) == 0 ? text : NULL;
}

static void add_value(text_table *table, const char *key, const json_t *value)
{
    const char *color = strcmp(key, "state") == 0 && json_is_string(value) ? color_of(json_string_value(value)) : "";
    if (json_is_string(value)) {
        table_cell_add(table, color, "%s", json_string_value(value));
    } else if (json_is_number(value) && json_number_value(value) == -1) {
        table_cell_add(table, color, "-"); /* the wire's word for what is not known, or has no end */
    } else {
        char *text =
            json_is_array(value) ? list_text(value) : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
        table_cell_add(table, color, "%s", text != NULL ? text : "?");
        free(text);
    }
}

static bool is_empty(const json_t *value)
{
    return (json_is_string(value) && json_string_length(value) == 0) ||
           (!json_is_string(value) && (json_is_object(value) || json_is_array(value)) &&
            json_object_size(value) + json_array_size(value) == 0);
}

const table_column output_member_columns[OUTPUT_MEMBER_COLUMNS] = {{""}, {""}};

/* Members of a nested dictionary follow those beside it, indented below its name. */
static void add_members(text_table *table, const json_t *object, bool nested, int depth)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (json_is_object(value) != nested || is_empty(value))
            continue;
        table_cell_add(table, "", "%*s%s", 2 * depth, "", key);
        if (!nested) {
            add_value(table, key, value);
            continue;
        }
        table_cell_add(table, "", "%s", "");
        add_members(table, value, false, depth + 1);
        add_members(table, value, true, depth + 1);
    }
}

void output_members(text_table *table, const json_t *object)
{
    add_members(table, object, false, 0);
}

void output_dictionary(const json_t *dictionary, const cli_options *options)
{
    text_table table;
    table_init(&table, output_member_columns, OUTPUT_MEMBER_COLUMNS);
    add_members(&table, dictionary, false, 0);
    add_members(&table, dictionary, true, 0);
    output_table(&table, false, options);
}
