/* Calls of those who must not wait: an event loop's thread, or whoever holds a lock of an interpreter. */
#include "board_call.h"
#include "breaker.h"
#include "client.h"
#include "clock.h"
#include "fork.h"
#include "permit.h"
#include "structs.h"

static bool is_in_process(const cbm_client *client)
{
    return client->backend == &cbm_local_backend;
}

int cbm_call_try_begin(cbm_breaker *breaker, cbm_permit *permit)
{
    int answer;

    if (!breaker || !permit || is_in_process(breaker->client))
        return cbm_call_begin(breaker, permit);
    answer = cbm_board_begin(breaker, permit);
    if (answer != CBM_BOARD_ASKS)
        return answer;
    *permit = (cbm_permit){0};
    return CBM_WOULD_WAIT;
}

/* Whether it says no more than a ledger can hold. */
static bool is_plain(const cbm_report_options *options)
{
    return !options->open_for_ms && !(options->error_text && *options->error_text);
}

/* -1: none. One that is too long for the wire is too slow for the ledger as well. */
static int64_t duration_of(const cbm_permit *permit, int64_t given_ns)
{
    if (given_ns)
        return given_ns;
    return cbm_permit_is_timed(permit) ? cbm_clock_ns() - permit->cbm_private_begun_ns : -1;
}

int cbm_call_try_report(cbm_permit *permit, cbm_outcome outcome, const cbm_report_options *given)
{
    cbm_report_options options;
    int answer;

    if (!permit || permit->cbm_private_kind != CBM_PERMIT_BOARD)
        return permit && permit->cbm_private_breaker && !is_in_process(permit->cbm_private_breaker->client)
                   ? CBM_WOULD_WAIT
                   : cbm_call_report_with(permit, outcome, given);
    if (outcome != CBM_SUCCESS || permit->cbm_private_process != cbm_process() ||
        !cbm_struct_read(&options, sizeof(options), given) || !is_plain(&options) || options.duration_ns < -1)
        return CBM_WOULD_WAIT; /* whatever is wrong with it, cbm_call_report_with says so */
    answer = cbm_board_succeed(permit, duration_of(permit, options.duration_ns));
    if (answer == CBM_BOARD_PULLS)
        permit->cbm_private_kind = CBM_PERMIT_PULLS;
    return answer ? CBM_WOULD_WAIT : 0;
}
