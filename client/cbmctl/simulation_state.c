/* The state after a step as a line of JSON, written by hand: a trace has millions of them. */
#include "simulation.h"

#include <string.h>

static char *put(char *to, const char *text)
{
    size_t length = strlen(text);
    memcpy(to, text, length);
    return to + length;
}

/* At least `width` digits. */
static char *put_number(char *to, uint64_t number, int width)
{
    char digits[20];
    int count = 0;
    for (; number > 0 || count < width; number /= 10)
        digits[count++] = (char)('0' + number % 10);
    while (count > 0)
        *to++ = digits[--count];
    return to;
}

/*
 * A percentage, in single precision and with as few digits as tell it from its neighbours, as traces of other libraries
 * have it. Each power of ten times such a number is exact in double precision.
 */
static char *put_rate(char *to, double rate)
{
    enum { DECIMALS_MAX = 12 };
    float single = (float)rate;
    double power = 1;
    uint64_t power_integer = 1, scaled = 0;
    int decimals = 0;
    if (rate < 0)
        return put(to, "-1");
    for (;; decimals++, power *= 10, power_integer *= 10) {
        scaled = (uint64_t)(single * power + 0.5);
        if ((float)((double)scaled / power) == single || decimals == DECIMALS_MAX)
            break;
    }
    to = put_number(to, scaled / power_integer, 1);
    if (decimals == 0)
        return to;
    *to++ = '.';
    return put_number(to, scaled % power_integer, decimals);
}

static bool shows_rates(const cbm_core_status *status)
{
    bool window = status->policy.rule == CBM_CORE_RULE_COUNT_WINDOW || status->policy.rule == CBM_CORE_RULE_TIME_WINDOW;
    return window && (status->state == CBM_CORE_CLOSED || status->state == CBM_CORE_HALF_OPEN ||
                      status->state == CBM_CORE_METRICS_ONLY);
}

bool simulation_shows_rule(const cbm_core_status *status)
{
    return shows_rates(status) || status->state == CBM_CORE_METRICS_ONLY;
}

size_t simulation_state_line(const simulation *s, char to[SIMULATION_STATE_MAX])
{
    const cbm_core_status *status = &s->status;
    char *at = put(to, "{\"state\":\"");
    at = put(at, cbm_core_state_name(status->state));
    at = put(at, "\"");
    if (s->is_acquire)
        at = put(at, s->permitted ? ",\"permitted\":true" : ",\"permitted\":false");
    if (shows_rates(status)) {
        at = put_rate(put(at, ",\"failure_rate\":"), status->failure_rate);
        at = put_number(put(at, ",\"calls\":"), status->calls, 1);
    }
    if (status->state == CBM_CORE_METRICS_ONLY)
        at = put(at, status->would_open ? ",\"would_open\":true" : ",\"would_open\":false");
    at = put(at, "}\n");
    return (size_t)(at - to);
}
