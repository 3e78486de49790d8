#include "verdict.h"

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>

#include "duration.h"
#include "exit_codes.h"

static bool ended_by_us(int status, const sigset_t *seen)
{
    /* A shell whose command was killed by a signal exits with 128 + n itself. */
    int number = status - CBMCTL_SIGNALLED;
    return number > 0 && number < NSIG && sigismember(seen, number) == 1;
}

run_verdict verdict_of(const child_result *result, const sigset_t *seen, const status_list *success,
                       const status_list *ignore)
{
    run_verdict verdict = {.outcome = CBM_IGNORED};
    if (result->fork_error != 0) {
        verdict.exit_code = CBMCTL_OS;
        return verdict;
    }
    if (result->exec_error != 0) {
        verdict.exit_code = result->exec_error == ENOENT ? CBMCTL_NO_COMMAND : CBMCTL_NOT_EXECUTABLE;
        return verdict;
    }
    if (result->timed_out) {
        char duration[DURATION_TEXT_MAX];
        duration_format(result->duration_ns / 1000000, duration);
        snprintf(verdict.error_text, sizeof(verdict.error_text), "timed out after %s", duration);
        verdict.outcome = CBM_TIMEOUT;
        verdict.exit_code = CBMCTL_TIMED_OUT;
        return verdict;
    }
    bool signalled = WIFSIGNALED(result->status);
    int status = signalled ? CBMCTL_SIGNALLED + WTERMSIG(result->status) : WEXITSTATUS(result->status);
    verdict.exit_code = status;
    if (status < STATUS_COUNT && ignore->holds[status])
        verdict.outcome = CBM_IGNORED;
    else if (status == 0 || (status < STATUS_COUNT && success->holds[status]))
        verdict.outcome = CBM_SUCCESS;
    else if (ended_by_us(status, seen))
        verdict.outcome = CBM_IGNORED;
    else {
        verdict.outcome = CBM_FAILURE;
        snprintf(verdict.error_text, sizeof(verdict.error_text), signalled ? "killed by signal %d" : "exit status %d",
                 signalled ? WTERMSIG(result->status) : status);
    }
    return verdict;
}
