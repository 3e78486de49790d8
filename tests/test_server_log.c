/* The log's lines: logfmt, whatever stands in the values, and never a wait for whoever reads them. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

TestSuite(server_log, .timeout = 30);

static int pipe_ends[2];

static void log_to_pipe(void)
{
    cr_assert_eq(pipe2(pipe_ends, O_NONBLOCK | O_CLOEXEC), 0);
    cbm_log_set_output(pipe_ends[1]);
}

/* Everything that was written so far. */
static const char *logged(void)
{
    static char text[1 << 20];
    size_t size = 0;
    ssize_t got;

    while ((got = read(pipe_ends[0], text + size, sizeof text - 1 - size)) > 0)
        size += (size_t)got;
    text[size] = '\0';
    return text;
}

static void log_value(const char *value)
{
    cbm_log_line line;

    cbm_log_line_begin(&line, CBM_LOG_INFO, "test");
    cbm_log_line_string(&line, "value", value);
    cbm_log_line_end(&line);
}

/* What stands behind ` value=`, without the newline. */
static const char *value_of(const char *value)
{
    static char text[8192];
    const char *found;

    log_value(value);
    found = strstr(logged(), " value=");
    cr_assert_not_null(found);
    snprintf(text, sizeof text, "%s", found + strlen(" value="));
    cr_assert_eq(text[strlen(text) - 1], '\n');
    text[strlen(text) - 1] = '\0';
    return text;
}

Test(server_log, a_line_has_time_level_event_and_fields, .init = log_to_pipe)
{
    cbm_log_line line;
    char rest[128];
    int year, month, day, hour, minute, second, microseconds;

    cbm_log_line_begin(&line, CBM_LOG_WARN, "transition");
    cbm_log_line_string(&line, "breaker", "ha_api");
    cbm_log_line_int(&line, "retry_after_ms", -1);
    cbm_log_line_uint(&line, "count", UINT64_MAX);
    cbm_log_line_end(&line);
    cr_assert_eq(sscanf(logged(), "time=%4d-%2d-%2dT%2d:%2d:%2d.%6dZ %127[^\n]", &year, &month, &day, &hour, &minute,
                        &second, &microseconds, rest),
                 8);
    cr_assert_str_eq(rest, "level=warn event=transition breaker=ha_api retry_after_ms=-1 count=18446744073709551615");
    cbm_log_deinit();
}

Test(server_log, plain_values_stand_as_they_are_and_others_in_quotes, .init = log_to_pipe)
{
    cr_assert_str_eq(value_of("ha_api"), "ha_api");
    cr_assert_str_eq(value_of("ipc:///run/cbm/cbm.sock"), "ipc:///run/cbm/cbm.sock");
    cr_assert_str_eq(value_of("z\xc3\xbcrich"), "z\xc3\xbcrich");
    cr_assert_str_eq(value_of(""), "\"\"");
    cr_assert_str_eq(value_of("two words"), "\"two words\"");
    cr_assert_str_eq(value_of("a=b"), "\"a=b\"");
    cr_assert_str_eq(value_of("say \"hi\" \\o/"), "\"say \\\"hi\\\" \\\\o/\"");
    cbm_log_deinit();
}

Test(server_log, no_control_character_reaches_the_reader, .init = log_to_pipe)
{
    cr_assert_str_eq(value_of("a\nlevel=error"), "\"a\\nlevel=error\"");
    cr_assert_str_eq(value_of("\x1b[2J\x7f\r\t"), "\"\\u001b[2J\\u007f\\r\\t\"");
    cr_assert_str_eq(value_of("\xc2\x9b"), "\"\\u009b\"", "a terminal takes U+009B for an escape");
    cbm_log_deinit();
}

Test(server_log, a_line_ends_at_its_limit_with_whole_fields, .init = log_to_pipe)
{
    static char large[4000];
    cbm_log_line line;
    const char *text;

    memset(large, 'x', sizeof large - 1);
    cbm_log_line_begin(&line, CBM_LOG_INFO, "test");
    cbm_log_line_string(&line, "first", "1");
    cbm_log_line_string(&line, "large", large);
    cbm_log_line_string(&line, "after", "2");
    cbm_log_line_end(&line);
    text = logged();
    cr_assert_not_null(strstr(text, " first=1\n"), "%s", text);
    cbm_log_deinit();
}

Test(server_log, levels_parse_and_filter)
{
    cr_assert_eq(cbm_log_level_parse("error"), CBM_LOG_ERROR);
    cr_assert_eq(cbm_log_level_parse("debug"), CBM_LOG_DEBUG);
    cr_assert_eq(cbm_log_level_parse("verbose"), -1);
    cr_assert_eq(cbm_log_level_parse(""), -1);
    cbm_log_set_level(CBM_LOG_WARN);
    cr_assert(cbm_log_enabled(CBM_LOG_ERROR));
    cr_assert(cbm_log_enabled(CBM_LOG_WARN));
    cr_assert_not(cbm_log_enabled(CBM_LOG_INFO));
}

static int in_pipe_mode_blocking(void)
{
    return fcntl(pipe_ends[1], F_SETFL, fcntl(pipe_ends[1], F_GETFL) & ~O_NONBLOCK);
}

Test(server_log, nobody_waits_for_a_reader_that_does_not_read_and_the_loss_is_told, .init = log_to_pipe)
{
    const char *text;
    long lost;

    cr_assert_eq(in_pipe_mode_blocking(), 0);
    for (int i = 0; i < 5000; i++)
        log_value("a line that somebody should have read");
    logged();
    log_value("the first to be read again");
    text = logged();
    cr_assert_not_null(strstr(text, "event=log_lines_dropped"), "%s", text);
    lost = strtol(strstr(text, " count=") + strlen(" count="), NULL, 10);
    cr_assert_gt(lost, 1000);
    cr_assert_lt(lost, 5000);
    cr_assert_not_null(strstr(text, "the first to be read again"));
    cbm_log_deinit();
}

Test(server_log, a_closed_reader_is_no_fault, .init = log_to_pipe)
{
    signal(SIGPIPE, SIG_IGN);
    close(pipe_ends[0]);
    for (int i = 0; i < 10; i++)
        log_value("for nobody");
    cbm_log_deinit();
}

static void *log_numbers(void *argument)
{
    for (int i = 0; i < 200; i++) {
        cbm_log_line line;

        cbm_log_line_begin(&line, CBM_LOG_INFO, "test");
        cbm_log_line_string(&line, "thread", argument);
        cbm_log_line_int(&line, "number", i);
        cbm_log_line_end(&line);
    }
    return NULL;
}

Test(server_log, lines_of_threads_come_whole_and_each_threads_in_order, .init = log_to_pipe)
{
    pthread_t threads[4];
    static char names[4][2] = {"a", "b", "c", "d"};
    int next[4] = {0};
    int lines = 0;

    cr_assert_gt(fcntl(pipe_ends[1], F_SETPIPE_SZ, 1 << 20), 0);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, log_numbers, names[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    cbm_log_flush();
    for (const char *at = logged(); *at; at = strchr(at, '\n') + 1, lines++) {
        char thread;
        int number;

        cr_assert_eq(sscanf(at, "time=%*s level=info event=test thread=%c number=%d", &thread, &number), 2, "%s", at);
        cr_assert_eq(number, next[thread - 'a']++);
    }
    cr_assert_eq(lines, 800);
    cbm_log_deinit();
}
