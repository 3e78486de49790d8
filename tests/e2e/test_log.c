/* What the broker writes on stderr: logfmt, for what an operator wants to know. */
#include "clients.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(log, .timeout = 60);

static broker *start_with_level(const char *level)
{
    return broker_start(&(broker_options){.arguments = {"--rate-limit", "0", "--log-level", level}});
}

#define WAIT_LINE(b, ...) wait_line(b, (const char *const[]){__VA_ARGS__, NULL})

static void wait_line(const broker *b, const char *const *texts)
{
    char *line = broker_wait_log(b, texts, HARNESS_DEADLINE_MS);
    if (line == NULL)
        harness_fail("no line of the log has %s, ...; it is:\n%s", texts[0], broker_log(b));
    free(line);
}

static void command(const broker *b, const char *text)
{
    json_decref(ask(b->address, text));
}

/* ---- What is told ----------------------------------------------------------------------------------------------------- */

Test(log, creation_transition_and_rejection_have_the_correlation_id_of_the_request_that_caused_them)
{
    broker *b = start_with_level("info");
    command(b, "get ha_api failure_threshold=2 correlation_id=creator-1");
    command(b, "call_report ha_api outcome=failure correlation_id=first-2");
    command(b, "call_report ha_api outcome=failure correlation_id=opener-3");
    command(b, "call_begin ha_api correlation_id=refused-4");
    command(b, "reset ha_api correlation_id=operator-5");
    WAIT_LINE(b, "level=info", "event=created", "breaker=ha_api", "correlation_id=creator-1");
    WAIT_LINE(b, "event=transition", "breaker=ha_api", "from=CLOSED", "to=OPEN", "correlation_id=opener-3");
    WAIT_LINE(b, "event=rejected", "breaker=ha_api", "error=open", "retry_after_ms=", "correlation_id=refused-4");
    WAIT_LINE(b, "event=transition", "from=OPEN", "to=CLOSED", "correlation_id=operator-5");
    char *log = broker_log(b);
    cr_assert_null(strstr(log, "first-2"), "a report that changed nothing is no news");
    free(log);
    broker_free(b);
}

Test(log, the_correlation_id_of_a_client_of_the_library_arrives)
{
    broker *b = start_with_level("info");
    cbm_open_options options = {.size = sizeof options, .flags = CBM_OPEN_NO_SHM}; /* refusals are messages then */
    cbm_client *client;
    cr_assert_eq(cbm_open(&client, b->address, &options), 0);
    cbm_breaker *breaker;
    cbm_get_options get = {.size = sizeof get, .correlation_id = "from the library"};
    cr_assert_eq(cbm_get_with(client, "ha_api", NULL, &get, &breaker), 0);
    fail_calls(breaker, 5);
    cbm_begin_options begin = {.size = sizeof begin, .correlation_id = "refused=\"yes\""};
    cbm_permit permit;
    cr_assert_eq(cbm_call_begin_with(breaker, &begin, &permit), CBM_E_OPEN);
    WAIT_LINE(b, "event=created", "breaker=ha_api", "correlation_id=\"from the library\"");
    WAIT_LINE(b, "event=rejected", "correlation_id=\"refused=\\\"yes\\\"\"");
    cbm_close(client);
    broker_free(b);
}

Test(log, a_policy_that_differs_from_the_one_in_force_is_told_once)
{
    broker *b = start_with_level("info");
    command(b, "get ha_api failure_threshold=3");
    for (int i = 0; i < 3; i++)
        command(b, "get ha_api failure_threshold=4 timeout=30 correlation_id=differing");
    command(b, "get other");
    WAIT_LINE(b, "event=created", "breaker=other");
    WAIT_LINE(b, "event=differs", "breaker=ha_api", "failure_threshold", "timeout_ms", "correlation_id=differing");
    char *log = broker_log(b);
    char *first = strstr(log, "event=differs");
    cr_assert_null(strstr(first + 1, "event=differs"));
    free(log);
    broker_free(b);
}

Test(log, operations_over_the_rate_limit_are_told)
{
    broker *b = broker_start(&(broker_options){.arguments = {"--rate-limit", "1", "--rate-window-ms", "600000"}});
    command(b, "get ha_api");
    command(b, "get alexa_api correlation_id=too-many");
    WAIT_LINE(b, "event=rate_limited", "correlation_id=too-many");
    broker_free(b);
}

Test(log, debug_tells_every_operation_with_its_duration)
{
    broker *b = start_with_level("debug");
    command(b, "get ha_api");
    command(b, "call_begin ha_api correlation_id=request-17");
    command(b, "states");
    command(b, "reset unknown");
    command(b, "nonsense");
    WAIT_LINE(b, "level=debug", "op=get", "duration_us=");
    WAIT_LINE(b, "level=debug", "op=call_begin", "duration_us=", "correlation_id=request-17");
    WAIT_LINE(b, "level=debug", "op=states", "duration_us=");
    WAIT_LINE(b, "level=debug", "op=reset", "duration_us=", "not_found");
    WAIT_LINE(b, "level=debug", "duration_us=", "unknown_op");
    broker_free(b);
}

Test(log, levels_leave_out_what_is_below_them)
{
    broker *b = start_with_level("info");
    command(b, "get ha_api");
    WAIT_LINE(b, "event=created");
    char *log = broker_log(b);
    cr_assert_null(strstr(log, "level=debug"));
    free(log);
    broker_free(b);
    b = start_with_level("error");
    command(b, "get ha_api failure_threshold=1");
    command(b, "call_report ha_api outcome=failure");
    cr_assert_eq(broker_stop(b, SIGTERM), 0);
    log = broker_log(b);
    cr_assert_str_empty(log, "%s", log);
    free(log);
    broker_free(b);
}

/* ---- That it is logfmt ------------------------------------------------------------------------------------------------ */

/* The end of a value, or NULL when it is none. */
static const char *skip_value(const char *at)
{
    if (*at != '"') {
        while ((unsigned char)*at > ' ' && *at != '"' && *at != '=' && *at != 0x7f)
            at++;
        return at;
    }
    for (at++; *at != '"'; at++) {
        if (*at == '\\')
            at++;
        if ((unsigned char)*at < ' ')
            return NULL;
    }
    return at + 1;
}

/* key=value pairs with one space between them. */
static bool is_logfmt(const char *line)
{
    for (const char *at = line;; at++) {
        const char *key = at;
        while (islower((unsigned char)*at) || isdigit((unsigned char)*at) || *at == '_')
            at++;
        if (at == key || *at != '=' || (at = skip_value(at + 1)) == NULL)
            return false;
        if (*at == '\0')
            return true;
        if (*at != ' ')
            return false;
    }
}

Test(log, every_line_is_logfmt_whatever_people_call_their_things)
{
    broker *b = start_with_level("debug");
    command(b, "get \"a name with spaces\" correlation_id=\"level=fake \\\"quoted\\\" back\\\\slash\"");
    command(b, "get \"na\xc3\xafve\" correlation_id=\"=\"");
    command(b, "get \"equals=sign\" correlation_id=\"line\\nbreak level=fake\"");
    command(b, "get \"\\u001b[31mred\"");
    command(b, "nonsense \x7f");
    command(b, "force_open \"a name with spaces\" reason=\"so \\t that\"");
    int fd = raw_greeted(b->address);
    cr_assert(raw_request(fd, 1, "\xc1\n\n=", 4));
    free(raw_reply(fd, NULL, NULL, HARNESS_DEADLINE_MS));
    cr_assert(raw_send(fd, "not a frame at all", 18));
    cr_assert(raw_closed_within(fd, HARNESS_DEADLINE_MS));
    close(fd);
    WAIT_LINE(b, "breaker=\"a name with spaces\"");
    cr_assert_eq(broker_stop(b, SIGTERM), 0);
    char *log = broker_log(b), *rest = NULL;
    int lines = 0;
    for (char *line = strtok_r(log, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest), lines++) {
        cr_assert(is_logfmt(line), "%s", line);
        cr_assert_eq(strncmp(line, "time=20", 7), 0, "%s", line);
        cr_assert_not_null(strstr(line, " level="), "%s", line);
        cr_assert_null(strstr(line, " level=fake \"quoted"), "%s", line);
    }
    cr_assert_gt(lines, 8);
    free(log);
    broker_free(b);
}

Test(log, this_tests_own_reader_knows_logfmt_from_other_lines)
{
    cr_assert(is_logfmt("time=2025 level=info event=a message=\"b c\" d=\"e\\\"f\" g="));
    const char *others[] = {"", "word", "a=b c", "a=b  c=d", "a=\"b", "a=b c=d ", "a=b=c", "a=b\"c", "A=b"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        cr_assert_not(is_logfmt(others[i]), "%s", others[i]);
}

/* ---- That nobody waits for its reader ----------------------------------------------------------------------------------- */

Test(log, a_full_disk_stops_nobody)
{
    broker *b = start_with_level("debug"); /* for its directory */
    const char *argv[] = {
        "sh", "-c", "exec \"$0\" --no-store --listen \"$1\" --log-level debug 2>/dev/full", broker_program(),
        NULL, NULL};
    char address[160];
    snprintf(address, sizeof address, "ipc://%s/full.sock", b->directory);
    argv[4] = address;
    pid_t pid = process_fork();
    if (pid == 0) {
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    cr_assert(wait_until(raw_accepts, address, HARNESS_DEADLINE_MS));
    for (int i = 0; i < 200; i++)
        json_decref(ask(address, "ping"));
    kill(pid, SIGTERM);
    cr_assert_eq(process_wait(pid, HARNESS_DEADLINE_MS), 0);
    broker_free(b);
}
