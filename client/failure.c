#include "failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cbm.h"
#include "cbm_core.h"
#include "error.h"
#include "lane.h"

#define SAME(symbol) _Static_assert((int)CBM_E_##symbol == (int)CBM_PROTO_E_##symbol, "cbm.h repeats proto/error.h")
SAME(INVALID);
SAME(NOMEM);
SAME(NOT_FOUND);
SAME(FULL);
SAME(OPEN);
SAME(HALF_OPEN_FULL);
SAME(FORCED_OPEN);
SAME(RATE_LIMITED);
SAME(UNKNOWN_OP);
SAME(DENIED);
SAME(TOO_LARGE);
SAME(UNSUPPORTED);
SAME(INTERNAL);
SAME(AWAY);
SAME(UNTRUSTED);
SAME(INHERITED);
SAME(PROTOCOL);
SAME(ADDRESS);
#undef SAME

#define SAME(name) _Static_assert((int)CBM_##name == (int)CBM_CORE_##name, "cbm.h repeats cbm_core.h")
SAME(CLOSED);
SAME(OPEN);
SAME(HALF_OPEN);
SAME(FORCED_OPEN);
SAME(DISABLED);
SAME(METRICS_ONLY);
SAME(SUCCESS);
SAME(FAILURE);
SAME(TIMEOUT);
SAME(IGNORED);
#undef SAME

static _Thread_local char last_message[320];

int cbm_fail(int error, const char *message)
{
    cbm_this_thread.failure = 0;
    snprintf(last_message, sizeof(last_message), "%s", message && *message ? message : cbm_proto_error_sentence(error));
    return error;
}

int cbm_fail_with(int error, const char *format, ...)
{
    va_list arguments;

    cbm_this_thread.failure = 0;
    va_start(arguments, format);
    vsnprintf(last_message, sizeof(last_message), format, arguments);
    va_end(arguments);
    return error;
}

const char *cbm_last_message(void)
{
    return cbm_this_thread.failure ? cbm_proto_error_sentence(cbm_this_thread.failure) : last_message;
}

const char *cbm_strerror(int error)
{
    return cbm_proto_error_sentence(error);
}

const char *cbm_error_name(int error)
{
    return cbm_proto_error_name(error);
}

const char *cbm_state_name(cbm_state state)
{
    return cbm_core_state_name((cbm_core_state)state);
}
