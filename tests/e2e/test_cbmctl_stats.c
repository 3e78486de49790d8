/* What `cbmctl stats` tells people beside the table of breakers: what the store does, and what each user uses. */
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cbmctl_program.h"
#include "kept.h"

TestSuite(cbmctl_stats, .timeout = 100);

static program_result stats_of(const broker *b)
{
    program_result result;
    cbmctl_run(&result, b->address, ARGS("stats"));
    cr_assert_eq(result.status, 0);
    return result;
}

/* The words of the line that begins with that word, with one space between them. */
static char *words_of(program_result *result, const char *first)
{
    static char words[1024];
    char *lines[64], *copy = strdup(result->out), *save = NULL;
    size_t count = lines_of(copy, lines, 64);
    *words = '\0';
    for (size_t i = 0; i < count; i++) {
        if (strncmp(lines[i], first, strlen(first)) != 0 || lines[i][strlen(first)] != ' ')
            continue;
        for (char *word = strtok_r(lines[i], " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
            strcat(words, *words != '\0' ? " " : "");
            strcat(words, word);
        }
        break;
    }
    free(copy);
    return words;
}

static bool fails(void *context)
{
    broker *b = context;
    program_result result = stats_of(b);
    bool failing = strncmp(words_of(&result, "store"), "store FAILING: ", 15) == 0;
    if (failing)
        cr_assert_not_null(strstr(result.err, "store is failing"), "it is said to whoever throws stdout away, too");
    else
        cr_assert_str_eq(words_of(&result, "store"), "store ok");
    program_result_deinit(&result);
    return failing;
}

Test(cbmctl_stats, a_store_that_fails_is_said_loudly)
{
    kept k = kept_new();
    const struct rlimit none = {0, RLIM_INFINITY};
    cr_assert_not(fails(k.broker));
    cr_assert_eq(prlimit(k.broker->pid, RLIMIT_FSIZE, &none, NULL), 0);
    TELL(&k, "get a failure_threshold=1");
    TELL(&k, "call_report a outcome=failure");
    cr_assert(wait_until(fails, k.broker, HARNESS_DEADLINE_MS));
    broker_kill(k.broker); /* it could not stop cleanly */
    kept_end(&k);
}

Test(cbmctl_stats, without_a_store_it_says_that_nothing_is_kept)
{
    broker *b = broker_start(&(broker_options){.arguments = {"--no-store"}});
    program_result result = stats_of(b);
    cr_assert_str_eq(words_of(&result, "store"), "store off: nothing outlives the broker");
    cr_assert_str_eq(result.err, "");
    program_result_deinit(&result);
    broker_free(b);
}

Test(cbmctl_stats, what_a_user_uses_stands_beside_what_it_may_use)
{
    broker *b =
        broker_start(&(broker_options){.arguments = {"--no-store", "--max-clients", "7", "--max-pending-mib", "2",
                                                     "--max-breakers-per-user", "5", "--max-permits-per-user", "9"}});
    cr_assert_eq(cbmctl_status(b->address, ARGS("get", "a")), 0);
    cr_assert_eq(cbmctl_status(b->address, ARGS("get", "b")), 0);
    program_result result = stats_of(b);
    const struct passwd *user = getpwuid(geteuid());
    cr_assert_not_null(user);
    const char *words = words_of(&result, user->pw_name);
    cr_assert_not_null(strstr(words, " 2/5 0/9 0/7 0/512 MiB 0/1 MiB "), "%s", words);
    cr_assert_str_eq(strrchr(words, ' '), " 0", "nothing was refused");
    cr_assert_str_eq(words_of(&result, "USER"),
                     "USER CONNECTIONS BREAKERS PERMITS LEDGERS LEDGER BYTES PENDING BYTES REQUESTS PACED REFUSED");
    program_result_deinit(&result);
    broker_free(b);
}
