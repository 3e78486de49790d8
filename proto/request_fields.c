#include "request_fields.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define DURATION_MS_MAX UINT64_C(86400000)
#define COUNT_MAX (UINT64_C(1) << 40)

static_assert(sizeof(cbm_core_outcome) == sizeof(uint32_t), "CBM_TYPE_WORD stores 4 bytes");

static const char *outcome_word(uint32_t outcome)
{
    return cbm_core_outcome_name((cbm_core_outcome)outcome);
}

#define AT(member) .offset = offsetof(cbm_request, member)
#define SIZED(member) AT(member), .size = sizeof(((cbm_request *)0)->member)

const cbm_field_row cbm_request_rows[CBM_REQUEST_NONE] = {
    [CBM_REQUEST_NAME] = {"name", CBM_TYPE_NAME, SIZED(name)},
    [CBM_REQUEST_CORRELATION_ID] = {"correlation_id", CBM_TYPE_TEXT, SIZED(correlation_id)},
    [CBM_REQUEST_LEDGER] = {"ledger", CBM_TYPE_BIN, SIZED(ledger)},
    [CBM_REQUEST_ENTRY] = {"entry", CBM_TYPE_U32, AT(entry), .maximum = UINT32_MAX},
    [CBM_REQUEST_LEASE_MS] = {"lease_ms", CBM_TYPE_U32, AT(lease_ms), .maximum = CBM_TIME_MS_MAX},
    [CBM_REQUEST_PATTERN] = {"pattern", CBM_TYPE_GLOB, SIZED(pattern)},
    [CBM_REQUEST_AFTER] = {"after", CBM_TYPE_GLOB, SIZED(after)},
    [CBM_REQUEST_LIMIT] = {"limit", CBM_TYPE_U32, AT(limit), .minimum = 1, .maximum = CBM_PAGE_MAX},
    [CBM_REQUEST_REASON] = {"reason", CBM_TYPE_TEXT, SIZED(reason)},
    [CBM_REQUEST_FOR_MS] = {"for_ms", CBM_TYPE_U32, AT(for_ms), .maximum = CBM_TIME_MS_MAX},
};

#undef AT
#undef SIZED
#define AT(member) .offset = offsetof(cbm_report_message, member)
#define SIZED(member) AT(member), .size = sizeof(((cbm_report_message *)0)->member)

const cbm_field_row cbm_report_rows[CBM_REPORT_FIELDS] = {
    [CBM_REPORT_NAME] = {"name", CBM_TYPE_NAME, SIZED(name)},
    [CBM_REPORT_PERMIT] = {"permit", CBM_TYPE_BIN_UPTO, SIZED(permit),
                           .length_offset = offsetof(cbm_report_message, permit_size)},
    [CBM_REPORT_OUTCOME] = {"outcome", CBM_TYPE_WORD, AT(outcome), .maximum = CBM_CORE_IGNORED, .word = outcome_word},
    [CBM_REPORT_DURATION_MS] = {"duration_ms", CBM_TYPE_DURATION, AT(duration_ns), .maximum = DURATION_MS_MAX},
    [CBM_REPORT_ERROR_TEXT] = {"error_text", CBM_TYPE_TEXT, SIZED(error_text)},
    [CBM_REPORT_OPEN_FOR_MS] = {"open_for_ms", CBM_TYPE_U32, AT(open_for_ms), .minimum = 1, .maximum = UINT32_MAX},
    [CBM_REPORT_CLIENT] = {"client", CBM_TYPE_BIN, SIZED(client)},
    [CBM_REPORT_SEQUENCE] = {"sequence", CBM_TYPE_U64, AT(sequence), .minimum = 1, .maximum = UINT64_MAX},
    [CBM_REPORT_INCARNATION] = {"incarnation", CBM_TYPE_BIN, SIZED(incarnation)},
    [CBM_REPORT_LATE] = {"late", CBM_TYPE_BOOL, AT(late)},
    [CBM_REPORT_COUNT] = {"count", CBM_TYPE_U64, AT(count), .minimum = 1, .maximum = COUNT_MAX},
};

int cbm_policy_timeout_field(void)
{
    return cbm_core_policy_find("timeout_ms", strlen("timeout_ms"));
}

double cbm_timeout_ms_of(double seconds)
{
    double ms = nearbyint(seconds * 1000);

    /* 0.3 s is not a whole number of milliseconds in binary; but it is the nearest double to one that is. */
    return ms / 1000 == seconds ? ms : -1;
}
