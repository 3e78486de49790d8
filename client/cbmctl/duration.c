#include "duration.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct duration_unit {
    const char *name;
    uint64_t ms;
} duration_unit;

static const duration_unit units[] = {
    {"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {"d", 24 * 3600 * 1000},
};

static const duration_unit *unit_find(const char *name)
{
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(units[i].name, name) == 0)
            return &units[i];
    }
    return NULL;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* strtod would take "inf", "0x10" and, in some locales, no decimal point. Nanounits are enough for any unit in milliseconds. */
bool duration_parse(const char *text, uint64_t maximum_ms, uint64_t *ms)
{
    const uint64_t whole_max = UINT64_C(1) << 36; /* times a day in milliseconds fits */
    uint64_t whole = 0, fraction = 0, step = UINT64_C(1000000000);
    bool digits = false, rest = false;
    for (; is_digit(*text); text++, digits = true) {
        whole = whole * 10 + (uint64_t)(*text - '0');
        if (whole > whole_max)
            return false;
    }
    if (*text == '.') {
        for (text++; is_digit(*text); text++, digits = true) {
            step /= 10;
            fraction += step * (uint64_t)(*text - '0');
            rest = rest || (step == 0 && *text != '0');
        }
    }
    const duration_unit *unit = unit_find(text);
    if (!digits || unit == NULL)
        return false;
    uint64_t scaled = fraction * (unit->ms / 1000 > 0 ? unit->ms / 1000 : 1); /* at most 86,400 * 10^9 */
    uint64_t per_ms = unit->ms >= 1000 ? UINT64_C(1000000) : UINT64_C(1000000000);
    uint64_t result = whole * unit->ms + scaled / per_ms;
    if (result == 0 && (scaled > 0 || rest))
        result = 1; /* 0 means something else than very short */
    if (result > maximum_ms)
        return false;
    *ms = result;
    return true;
}

static void two_units(char text[DURATION_TEXT_MAX], int64_t large, const char *large_name, int64_t small,
                      const char *small_name)
{
    if (small == 0)
        snprintf(text, DURATION_TEXT_MAX, "%" PRId64 " %s", large, large_name);
    else
        snprintf(text, DURATION_TEXT_MAX, "%" PRId64 " %s %" PRId64 " %s", large, large_name, small, small_name);
}

void duration_format(int64_t ms, char text[DURATION_TEXT_MAX])
{
    const int64_t minute = 60 * 1000, hour = 60 * minute, day = 24 * hour;
    if (ms < 0)
        ms = 0;
    if (ms < 1000)
        snprintf(text, DURATION_TEXT_MAX, "%" PRId64 " ms", ms);
    else if (ms < minute && ms % 1000 == 0)
        snprintf(text, DURATION_TEXT_MAX, "%" PRId64 " s", ms / 1000);
    else if (ms < minute)
        snprintf(text, DURATION_TEXT_MAX, "%" PRId64 ".%" PRId64 " s", ms / 1000, ms % 1000 / 100);
    else if (ms < hour)
        two_units(text, ms / minute, "min", ms % minute / 1000, "s");
    else if (ms < day)
        two_units(text, ms / hour, "h", ms % hour / minute, "min");
    else
        two_units(text, ms / day, "d", ms % day / hour, "h");
}
