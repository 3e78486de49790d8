/* The parts of cbmctl simulate: lines of a trace, their policies, the calls under way, the lines that it writes. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "call_table.h"
#include "line_reader.h"
#include "random.h"
#include "simulation.h"
#include "trace_policy.h"

/* ---- lines of JSON ------------------------------------------------------------------------------------------------- */

static void same_member(const char *text, const trace_member *member, const char *key, const json_t *value)
{
    cr_assert(trace_member_is(member, key), "%s: %.*s", text, (int)member->key_length, member->key);
    if (json_is_string(value)) {
        cr_assert_eq(member->kind, TRACE_TEXT, "%s", text);
        cr_assert_eq(member->text_length, json_string_length(value), "%s", text);
        cr_assert_eq(memcmp(member->text, json_string_value(value), member->text_length), 0, "%s", text);
    } else if (json_is_integer(value)) {
        cr_assert_eq(member->kind, TRACE_INTEGER, "%s", text);
        cr_assert_eq(member->integer, json_integer_value(value), "%s", text);
        cr_assert_eq(member->number, json_number_value(value), "%s", text);
    } else if (json_is_real(value)) {
        cr_assert_eq(member->kind, TRACE_NUMBER, "%s", text);
        cr_assert_eq(member->number, json_real_value(value), "%s", text);
    } else {
        cr_assert_eq(member->kind, TRACE_OTHER, "%s", text);
    }
}

/* The line is read, or refused, as the JSON library has it. Returns whether it was plain. */
static bool read_as_json(const char *text)
{
    trace_line line;
    char why[TRACE_WHY_MAX] = "";
    json_t *expected = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *value;
    const char *key;
    size_t index = 0;
    bool taken = trace_line_read(&line, text, strlen(text), why);
    cr_assert_eq(taken, json_is_object(expected), "%s: %s", text, why);
    cr_assert_eq(*why != '\0', !taken, "%s", text);
    if (taken) {
        cr_assert_eq(line.count, json_object_size(expected), "%s", text);
        json_object_foreach(expected, key, value) same_member(text, &line.members[index++], key, value);
    }
    bool plain = taken && line.document == NULL;
    trace_line_deinit(&line);
    json_decref(expected);
    return plain;
}

static const char *const plain_lines[] = {
    "{\"op\":\"acquire\",\"id\":1}",
    "{\"op\":\"success\",\"id\":123456789012345,\"ms\":12}",
    " { \"op\" : \"failure\" ,\t\"id\" : 0, \"ms\" : 0.125 } \r",
    "{\"failure_rate\":33.3,\"jitter\":-0.1,\"a\":true,\"b\":false,\"c\":null,\"d\":\"\"}",
    "{\"x\":99999999.9999999,\"y\":-7,\"z\":-0}",
};

static const char *const other_lines[] = {
    "{}",
    "{\"op\":\"acqu\\u0069re\",\"id\":1}",
    "{\"id\":9223372036854775807,\"n\":1e3,\"m\":0.1234567890123456789}",
    "{\"name\":\"h\xc3\xbcgel\",\"list\":[1,{\"a\":2}],\"o\":{}}",
    "{\"a\":1,\"a\":2}",
    "{\"a\":01}",
    "{\"a\":1.}",
    "{\"a\":.5}",
    "{\"a\":-}",
    "{\"a\":+1}",
    "{\"a\":1,}",
    "{\"a\":1}}",
    "{\"a\":1} x",
    "{\"a\" 1}",
    "{a:1}",
    "{\"a\":\"\n\"}",
    "{\"a\":tru}",
    "{\"a\":truex}",
    "{\"a\":\"open",
    "{\"a\":9223372036854775808}",
    "{\"a\":\"\xff\"}",
    "[1]",
    "1",
    "\"op\"",
    "null",
    "x",
    "{",
};

Test(cbmctl_simulate, plain_lines_are_read_as_the_json_library_reads_them)
{
    for (size_t i = 0; i < sizeof(plain_lines) / sizeof(plain_lines[0]); i++)
        cr_assert(read_as_json(plain_lines[i]), "%s", plain_lines[i]);
}

Test(cbmctl_simulate, other_lines_are_left_to_it)
{
    for (size_t i = 0; i < sizeof(other_lines) / sizeof(other_lines[0]); i++)
        cr_assert(!read_as_json(other_lines[i]), "%s", other_lines[i]);
}

Test(cbmctl_simulate, lines_with_a_few_bytes_changed_are_read_as_the_json_library_reads_them)
{
    static const char bytes[] = "{}[]\":,.-+eE0123456789 \\tfn\x01\x7f\xc3\xbc";
    uint64_t seed = random_seed_from_environment(), sequences = random_test_number("SEQUENCES", 200000);
    (void)seed;
    for (uint64_t i = 0; i < sequences; i++) {
        char line[160];
        snprintf(line, sizeof(line), "%s", plain_lines[random_below(sizeof(plain_lines) / sizeof(plain_lines[0]))]);
        for (uint32_t changes = 1 + random_below(3); changes > 0; changes--)
            line[random_below((uint32_t)strlen(line))] = bytes[random_below(sizeof(bytes) - 1)];
        read_as_json(line);
    }
}

Test(cbmctl_simulate, a_line_has_at_most_32_members)
{
    char text[1024] = "{\"k0\":0", why[TRACE_WHY_MAX];
    trace_line line;
    for (int i = 1; i < TRACE_MEMBERS_MAX; i++)
        sprintf(text + strlen(text), ",\"k%d\":%d", i, i);
    size_t length = strlen(text);
    strcpy(text + length, "}");
    cr_assert(trace_line_read(&line, text, strlen(text), why));
    cr_assert_eq(line.count, TRACE_MEMBERS_MAX);
    trace_line_deinit(&line);
    strcpy(text + length, ",\"one\":1}");
    cr_assert_not(trace_line_read(&line, text, strlen(text), why));
    trace_line_deinit(&line);
}

/* ---- lines of a file ----------------------------------------------------------------------------------------------- */

static void expect_line(line_reader *reader, const char *expected, size_t expected_length)
{
    const char *line;
    size_t length;
    line_status status;
    while ((status = line_reader_take(reader, &line, &length)) == LINE_NEEDS_MORE)
        cr_assert(line_reader_fill(reader));
    cr_assert_eq(status, expected != NULL ? LINE_TAKEN : LINE_END);
    if (expected != NULL) {
        cr_assert_eq(length, expected_length, "line %d", (int)reader->number);
        cr_assert_eq(memcmp(line, expected, length), 0, "line %d", (int)reader->number);
    }
}

Test(cbmctl_simulate, lines_are_whole_wherever_reading_stops)
{
    enum { LINES = 500 };
    static line_reader reader;
    static char text[1000];
    size_t lengths[LINES];
    FILE *file = tmpfile();
    cr_assert_not_null(file);
    memset(text, 'x', sizeof(text));
    random_seed(1);
    for (int i = 0; i < LINES; i++) {
        lengths[i] = random_below(sizeof(text));
        fprintf(file, "%.*s%s", (int)lengths[i], text, i + 1 < LINES ? "\n" : ""); /* the last one has no end */
    }
    cr_assert_gt(lengths[LINES - 1], 0);
    rewind(file);
    line_reader_init(&reader, fileno(file));
    for (int i = 0; i < LINES; i++)
        expect_line(&reader, text, lengths[i]);
    expect_line(&reader, NULL, 0);
    cr_assert_eq(reader.number, LINES);
    fclose(file);
}

Test(cbmctl_simulate, a_line_longer_than_the_buffer_is_refused_and_one_that_fills_it_is_not)
{
    static line_reader reader;
    const char *line;
    size_t length;
    for (int longer = 0; longer <= 1; longer++) {
        FILE *file = tmpfile();
        cr_assert_not_null(file);
        fprintf(file, "%*s\nnext\n", LINE_READER_MAX - 1 + longer, "");
        rewind(file);
        line_reader_init(&reader, fileno(file));
        cr_assert_eq(line_reader_take(&reader, &line, &length), LINE_NEEDS_MORE);
        cr_assert(line_reader_fill(&reader));
        cr_assert_eq(line_reader_take(&reader, &line, &length), longer ? LINE_TOO_LONG : LINE_TAKEN);
        cr_assert_eq(reader.number, 1);
        if (!longer)
            expect_line(&reader, "next", 4);
        fclose(file);
    }
}

/* ---- policies ------------------------------------------------------------------------------------------------------ */

static cbm_core_policy policy_of(const char *config, const char *words)
{
    cbm_core_policy_request request;
    cbm_core_policy policy;
    policy_options instead = {0};
    trace_line line;
    char why[TRACE_WHY_MAX] = "";
    cr_assert(trace_line_read(&line, config, strlen(config), why), "%s: %s", config, why);
    cr_assert(trace_policy_read(&line, &request, why), "%s: %s", config, why);
    cr_assert(words == NULL || trace_policy_words(&instead, words, why), "%s: %s", words, why);
    trace_policy_override(&request, &instead.request);
    cr_assert_eq(cbm_core_policy_resolve(&request, &policy, NULL), 0, "%s", config);
    trace_line_deinit(&line);
    return policy;
}

static void same_policy(cbm_core_policy a, cbm_core_policy b)
{
    for (int field = 0; field < CBM_CORE_POLICY_FIELDS; field++)
        cr_assert_eq(cbm_core_policy_value(&a, field), cbm_core_policy_value(&b, field), "%s",
                     cbm_core_policy_table()[field].name);
}

Test(cbmctl_simulate, both_ways_of_naming_a_policy_mean_the_same)
{
    same_policy(policy_of("{\"type\":\"consecutive\",\"failure_threshold\":5,\"open_ms\":500,\"half_open_permits\":2,"
                          "\"half_open_successes\":3}",
                          NULL),
                policy_of("{\"rule\":\"consecutive\",\"failure_threshold\":5,\"timeout_ms\":500,\"half_open_calls\":2,"
                          "\"success_threshold\":3}",
                          NULL));
    same_policy(policy_of("{\"type\":\"count_window\",\"window\":20,\"min_calls\":10,\"failure_rate\":33.3,"
                          "\"slow_rate\":80,\"slow_ms\":100}",
                          NULL),
                policy_of("{\"rule\":\"count_window\",\"window_size\":20,\"minimum_calls\":10,\"failure_rate\":33.3,"
                          "\"slow_call_rate\":80,\"slow_call_duration_ms\":100}",
                          NULL));
    same_policy(policy_of("{\"timeout\":0.3}", NULL), policy_of("{\"open_ms\":300}", NULL));
}

Test(cbmctl_simulate, the_command_line_stands_instead_of_the_trace_under_all_names)
{
    static const char config[] = "{\"type\":\"consecutive\",\"failure_threshold\":5,\"open_ms\":500}";
    cbm_core_policy changed = policy_of(config, "open_ms=700,type=failures,window_s=9,failure_rate=12.5");
    cr_assert_eq(changed.timeout_ms, 700);
    cr_assert_eq(changed.rule, CBM_CORE_RULE_FAILURES);
    cr_assert_eq(changed.failure_rate_tenths, 125);
    cr_assert_eq(changed.failure_threshold, 5, "what was not named stays");
    same_policy(policy_of(config, "timeout=30s"), policy_of(config, "timeout_ms=30000"));
}

Test(cbmctl_simulate, probes_have_no_lease_unless_it_is_given)
{
    cr_assert_eq(policy_of("{\"open_ms\":500}", NULL).permit_lease_ms, 0);
    cr_assert_eq(policy_of("{\"permit_lease_ms\":70}", NULL).permit_lease_ms, 70);
    cr_assert_eq(policy_of("{}", "permit_lease_ms=80").permit_lease_ms, 80);
}

/* ---- calls under way ----------------------------------------------------------------------------------------------- */

Test(cbmctl_simulate, the_table_of_calls_knows_which_are_under_way)
{
    enum { IDS = 3000 };
    static bool there[IDS];
    call_table table = {0};
    size_t count = 0;
    uint64_t steps = random_test_number("SEQUENCES", 200000);
    random_seed_from_environment();
    for (uint64_t i = 0; i < steps; i++) {
        /* Now filling, now emptying; far apart and negative ones too. */
        uint32_t index = random_below(i / 10000 % 2 ? 100 : IDS);
        int64_t id = (int64_t)index * (index % 3 == 0 ? INT64_C(-4294967296) : 1);
        call_entry *entry = call_table_find(&table, id);
        cr_assert_eq(entry != NULL, there[index]);
        if (entry == NULL) {
            entry = call_table_add(&table, id);
            cr_assert_not_null(entry);
            entry->permit_id = index;
        } else {
            cr_assert_eq(entry->permit_id, index);
            call_table_remove(&table, entry);
        }
        there[index] = !there[index];
        count = there[index] ? count + 1 : count - 1;
        cr_assert_eq(table.count, count);
    }
    call_table_deinit(&table);
}

/* ---- what is written ----------------------------------------------------------------------------------------------- */

static size_t significant_digits(const char *text)
{
    size_t count = 0;
    for (bool begun = false; *text != '\0'; text++) {
        begun = begun || (*text >= '1' && *text <= '9');
        count += begun && *text != '.';
    }
    return count;
}

/* Of the shortest text that is that number in single precision. */
static size_t digits_needed(float number)
{
    char text[32];
    for (int digits = 1;; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, (double)number);
        if (strtof(text, NULL) == number)
            return (size_t)digits;
    }
}

Test(cbmctl_simulate, a_rate_has_the_digits_that_single_precision_needs_and_no_more)
{
    simulation s = {.status = {.policy = {.rule = CBM_CORE_RULE_COUNT_WINDOW}}};
    char line[SIMULATION_STATE_MAX], rate[32];
    for (unsigned calls = 1; calls < 700; calls++) {
        for (unsigned failures = 0; failures <= calls; failures++) {
            s.status.failure_rate = 100.0 * failures / calls;
            s.status.calls = calls;
            line[simulation_state_line(&s, line)] = '\0';
            unsigned calls_written = 0;
            int got =
                sscanf(line, "{\"state\":\"CLOSED\",\"failure_rate\":%31[0-9.],\"calls\":%u}\n", rate, &calls_written);
            cr_assert_eq(got, 2, "%s", line);
            cr_assert_eq(calls_written, calls);
            cr_assert_eq(strtof(rate, NULL), (float)s.status.failure_rate, "%u of %u: %s", failures, calls, rate);
            if (failures > 0 && failures < calls && strchr(rate, '.') != NULL)
                cr_assert_eq(significant_digits(rate), digits_needed((float)s.status.failure_rate), "%s", rate);
        }
    }
}

Test(cbmctl_simulate, a_line_shows_what_the_state_has)
{
    static const struct {
        cbm_core_status status;
        bool is_acquire, permitted;
        const char *line;
    } cases[] = {
        {{.state = CBM_CORE_CLOSED}, false, false, "{\"state\":\"CLOSED\"}\n"},
        {{.state = CBM_CORE_HALF_OPEN}, true, true, "{\"state\":\"HALF_OPEN\",\"permitted\":true}\n"},
        {{.state = CBM_CORE_OPEN}, true, false, "{\"state\":\"OPEN\",\"permitted\":false}\n"},
        {{.policy.rule = CBM_CORE_RULE_TIME_WINDOW, .failure_rate = -1, .calls = 7},
         true,
         true,
         "{\"state\":\"CLOSED\",\"permitted\":true,\"failure_rate\":-1,\"calls\":7}\n"},
        {{.state = CBM_CORE_HALF_OPEN,
          .policy.rule = CBM_CORE_RULE_COUNT_WINDOW,
          .failure_rate = 0.1,
          .calls = UINT64_MAX},
         false,
         false,
         "{\"state\":\"HALF_OPEN\",\"failure_rate\":0.1,\"calls\":18446744073709551615}\n"},
        {{.state = CBM_CORE_OPEN, .policy.rule = CBM_CORE_RULE_COUNT_WINDOW, .failure_rate = 50, .calls = 7},
         false,
         false,
         "{\"state\":\"OPEN\"}\n"},
        {{.state = CBM_CORE_METRICS_ONLY, .would_open = true},
         true,
         true,
         "{\"state\":\"METRICS_ONLY\",\"permitted\":true,\"would_open\":true}\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        simulation s = {.status = cases[i].status, .is_acquire = cases[i].is_acquire, .permitted = cases[i].permitted};
        char line[SIMULATION_STATE_MAX];
        line[simulation_state_line(&s, line)] = '\0';
        cr_assert_str_eq(line, cases[i].line);
    }
}
