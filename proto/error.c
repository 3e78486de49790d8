#include "error.h"

#include <assert.h>
#include <string.h>

#include "cbm_core.h"

/* A result of lib passes the wire without translation. */
static_assert((int)CBM_PROTO_OK == (int)CBM_CORE_OK, "ok");
static_assert((int)CBM_PROTO_E_INVALID == (int)CBM_CORE_E_INVALID, "invalid");
static_assert((int)CBM_PROTO_E_NOMEM == (int)CBM_CORE_E_NOMEM, "nomem");
static_assert((int)CBM_PROTO_E_NOT_FOUND == (int)CBM_CORE_E_NOT_FOUND, "not found");
static_assert((int)CBM_PROTO_E_FULL == (int)CBM_CORE_E_FULL, "full");
static_assert((int)CBM_PROTO_E_OPEN == (int)CBM_CORE_E_OPEN, "open");
static_assert((int)CBM_PROTO_E_HALF_OPEN_FULL == (int)CBM_CORE_E_HALF_OPEN_FULL, "half-open full");
static_assert((int)CBM_PROTO_E_FORCED_OPEN == (int)CBM_CORE_E_FORCED_OPEN, "forced open");
static_assert((int)CBM_PROTO_E_RATE_LIMITED == (int)CBM_CORE_E_RATE_LIMITED, "rate limited");

static const struct {
    int number;
    const char *name;
    const char *sentence;
} rows[] = {
#define X(symbol, number, name, sentence) {number, name, sentence},
    CBM_ERROR_TABLE(X)
#undef X
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

const char *cbm_proto_error_name(int error)
{
    if (error == CBM_PROTO_OK)
        return "ok";
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].number == error)
            return rows[i].name;
    return cbm_proto_error_name(CBM_PROTO_E_INTERNAL);
}

const char *cbm_proto_error_sentence(int error)
{
    if (error == CBM_PROTO_OK)
        return "success";
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].number == error)
            return rows[i].sentence;
    return cbm_proto_error_sentence(CBM_PROTO_E_INTERNAL);
}

int cbm_proto_error_number(const char *name, size_t length)
{
    for (size_t i = 0; i < ROWS; i++)
        if (strlen(rows[i].name) == length && memcmp(rows[i].name, name, length) == 0)
            return rows[i].number;
    return CBM_PROTO_E_INTERNAL;
}
