#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "exit_codes.h"
#include "output.h"
#include "table.h"
#include "verdict.h"

#define EXITED(status) ((status) << 8)
#define KILLED(number) (number)

static sigset_t none(void)
{
    sigset_t set;
    sigemptyset(&set);
    return set;
}

static sigset_t only(int number)
{
    sigset_t set = none();
    sigaddset(&set, number);
    return set;
}

static run_verdict judge(child_result result, sigset_t seen)
{
    static const status_list success = {.holds = {[3] = true, [200] = true}};
    static const status_list ignore = {.holds = {[4] = true, [128 + SIGHUP] = true}};
    return verdict_of(&result, &seen, &success, &ignore);
}

static void is(run_verdict verdict, cbm_outcome outcome, int exit_code, const char *error_text)
{
    cr_assert_eq(verdict.outcome, outcome);
    cr_assert_eq(verdict.exit_code, exit_code);
    cr_assert_str_eq(verdict.error_text, error_text);
}

Test(cbmctl_verdict, zero_is_a_success_and_any_other_status_a_failure)
{
    is(judge((child_result){.status = EXITED(0)}, none()), CBM_SUCCESS, 0, "");
    is(judge((child_result){.status = EXITED(7)}, none()), CBM_FAILURE, 7, "exit status 7");
    is(judge((child_result){.status = EXITED(255)}, none()), CBM_FAILURE, 255, "exit status 255");
}

Test(cbmctl_verdict, the_lists_say_which_statuses_are_successes_or_nothing)
{
    is(judge((child_result){.status = EXITED(3)}, none()), CBM_SUCCESS, 3, "");
    is(judge((child_result){.status = EXITED(200)}, none()), CBM_SUCCESS, 200, "");
    is(judge((child_result){.status = EXITED(4)}, none()), CBM_IGNORED, 4, "");
    is(judge((child_result){.status = KILLED(SIGHUP)}, none()), CBM_IGNORED, 128 + SIGHUP, "");
}

Test(cbmctl_verdict, a_command_killed_by_a_signal_of_its_own_has_failed)
{
    is(judge((child_result){.status = KILLED(SIGSEGV)}, none()), CBM_FAILURE, 128 + SIGSEGV, "killed by signal 11");
    is(judge((child_result){.status = KILLED(SIGKILL)}, only(SIGTERM)), CBM_FAILURE, 137, "killed by signal 9");
}

Test(cbmctl_verdict, a_command_ended_by_a_signal_that_came_through_us_says_nothing)
{
    is(judge((child_result){.status = KILLED(SIGTERM)}, only(SIGTERM)), CBM_IGNORED, 143, "");
    is(judge((child_result){.status = KILLED(SIGINT)}, only(SIGINT)), CBM_IGNORED, 130, "");
    is(judge((child_result){.status = EXITED(130)}, only(SIGINT)), CBM_IGNORED, 130, "");
    is(judge((child_result){.status = EXITED(130)}, none()), CBM_FAILURE, 130, "exit status 130");
    is(judge((child_result){.status = EXITED(1)}, only(SIGINT)), CBM_FAILURE, 1, "exit status 1");
}

Test(cbmctl_verdict, a_timeout_is_a_timeout_however_the_command_ended)
{
    int64_t duration_ns = INT64_C(2500000000);
    is(judge((child_result){.status = KILLED(SIGTERM), .timed_out = true, .duration_ns = duration_ns}, only(SIGTERM)),
       CBM_TIMEOUT, 124, "timed out after 2.5 s");
    is(judge((child_result){.status = EXITED(0), .timed_out = true, .duration_ns = duration_ns}, none()), CBM_TIMEOUT,
       124, "timed out after 2.5 s");
}

Test(cbmctl_verdict, what_could_not_be_executed_is_no_failure_of_the_dependency)
{
    is(judge((child_result){.exec_error = ENOENT, .status = EXITED(127)}, none()), CBM_IGNORED, 127, "");
    is(judge((child_result){.exec_error = EACCES, .status = EXITED(127)}, none()), CBM_IGNORED, 126, "");
    is(judge((child_result){.fork_error = EAGAIN}, none()), CBM_IGNORED, 71, "");
}

Test(cbmctl_exit_codes, each_error_has_its_own_kind)
{
    cr_assert_eq(exit_code_of(0), 0);
    cr_assert_eq(exit_code_of(CBM_E_OPEN), 75);
    cr_assert_eq(exit_code_of(CBM_E_HALF_OPEN_FULL), 75);
    cr_assert_eq(exit_code_of(CBM_E_FORCED_OPEN), 75);
    cr_assert_eq(exit_code_of(CBM_E_RATE_LIMITED), 75);
    cr_assert_eq(exit_code_of(CBM_E_AWAY), 69);
    cr_assert_eq(exit_code_of(CBM_E_INVALID), 64);
    cr_assert_eq(exit_code_of(CBM_E_UNTRUSTED), 77);
    cr_assert_eq(exit_code_of(CBM_E_NOT_FOUND), 1);
}

/* What a table prints; owned by the caller. */
static char *printed(const text_table *table, bool colors)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    cr_assert(out != NULL);
    cr_assert(table_print(table, out, true, colors));
    fclose(out);
    return text;
}

Test(cbmctl_table, columns_are_aligned_by_characters_and_no_line_ends_in_spaces)
{
    static const table_column columns[] = {{"NAME"}, {"N", true}, {"NOTE"}};
    text_table table;
    table_init(&table, columns, 3);
    table_cell_add(&table, "", "h\xc3\xbcgel");
    table_cell_add(&table, "", "%d", 5);
    table_cell_add(&table, "", "%s", "");
    table_cell_add(&table, "\033[31m", "a");
    table_cell_add(&table, "", "%d", 12345);
    table_cell_add(&table, "", "last");
    char *plain = printed(&table, false), *colored = printed(&table, true);
    cr_assert_str_eq(plain, "NAME       N  NOTE\n"
                            "h\xc3\xbcgel      5\n"
                            "a      12345  last\n");
    cr_assert(strstr(colored, "\033[31ma\033[0m      12345  last\n") != NULL);
    free(plain);
    free(colored);
    table_deinit(&table);
}

Test(cbmctl_output, colours_are_for_those_who_asked_when_there_is_no_terminal)
{
    cli_options options = {.color = COLOR_ALWAYS};
    cr_assert(output_colors(&options));
    options.color = COLOR_NEVER;
    cr_assert(!output_colors(&options));
}

static void says(long long retry_after_ms, const char *state, const char *expected)
{
    char text[64];
    retry_text(retry_after_ms, state, text, sizeof(text));
    cr_assert_str_eq(text, expected);
}

Test(cbmctl_output, says_when_to_try_again)
{
    says(12345, "OPEN", "try again in 12.3 s");
    says(-1, "FORCED_OPEN", "until somebody enables it");
    says(-1, "HALF_OPEN", "try again when its probe is over");
    says(0, "OPEN", "try again");
}
