/* Policies: keyword arguments to cbm_policy, and cbm_policy to a dict as the broker's JSON has it. */
#include "module.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

typedef enum field_kind {
    FIELD_UINT, /* 0 stands for none or never, as on the wire; cbm.h has CBM_NEVER for that */
    FIELD_NUMBER,
    FIELD_RULE,
    FIELD_ABANDON,
} field_kind;

typedef struct field {
    const char *name;
    field_kind kind;
    size_t offset;
} field;

static const field fields[] = {
    {"rule", FIELD_RULE, offsetof(cbm_policy, rule)},
    {"failure_threshold", FIELD_UINT, offsetof(cbm_policy, failure_threshold)},
    {"window_size", FIELD_UINT, offsetof(cbm_policy, window_size)},
    {"window_s", FIELD_UINT, offsetof(cbm_policy, window_s)},
    {"minimum_calls", FIELD_UINT, offsetof(cbm_policy, minimum_calls)},
    {"failure_rate", FIELD_NUMBER, offsetof(cbm_policy, failure_rate)},
    {"slow_call_rate", FIELD_NUMBER, offsetof(cbm_policy, slow_call_rate)},
    {"slow_call_duration_ms", FIELD_UINT, offsetof(cbm_policy, slow_call_duration_ms)},
    {"timeout_ms", FIELD_UINT, offsetof(cbm_policy, timeout_ms)},
    {"timeout_max_ms", FIELD_UINT, offsetof(cbm_policy, timeout_max_ms)},
    {"backoff_multiplier", FIELD_NUMBER, offsetof(cbm_policy, backoff_multiplier)},
    {"jitter", FIELD_NUMBER, offsetof(cbm_policy, jitter)},
    {"success_threshold", FIELD_UINT, offsetof(cbm_policy, success_threshold)},
    {"half_open_calls", FIELD_UINT, offsetof(cbm_policy, half_open_calls)},
    {"half_open_max_wait_ms", FIELD_UINT, offsetof(cbm_policy, half_open_max_wait_ms)},
    {"permit_lease_ms", FIELD_UINT, offsetof(cbm_policy, permit_lease_ms)},
    {"on_abandon", FIELD_ABANDON, offsetof(cbm_policy, on_abandon)},
    {"failure_spacing_ms", FIELD_UINT, offsetof(cbm_policy, failure_spacing_ms)},
    {"open_for_max_ms", FIELD_UINT, offsetof(cbm_policy, open_for_max_ms)},
    {"expire_after_s", FIELD_UINT, offsetof(cbm_policy, expire_after_s)},
    {"policy_version", FIELD_UINT, offsetof(cbm_policy, policy_version)},
};
#define FIELDS (sizeof(fields) / sizeof(fields[0]))

static const char *const rules[] = {"consecutive", "failures", "count_window", "time_window", NULL};
static const char *const on_abandon[] = {"failure", "release", NULL};

_Static_assert(sizeof(cbm_rule) == sizeof(uint32_t) && sizeof(cbm_on_abandon) == sizeof(uint32_t),
               "words are read and written as uint32_t");

static const char *const *words_of(field_kind kind)
{
    return kind == FIELD_RULE ? rules : on_abandon;
}

static int out_of_range(const char *name)
{
    PyErr_Format(PyExc_ValueError, "%s: the value is out of range", name);
    return -1;
}

/* -1 with an exception, else 0. Ranges are the library's to check; here it is seen to that what arrives there is what was meant. */
static int uint_read(const char *name, PyObject *value, uint32_t *number)
{
    long long wide;

    if (!PyLong_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s: an int is needed", name);
        return -1;
    }
    wide = PyLong_AsLongLong(value);
    if (wide == -1 && PyErr_Occurred())
        PyErr_Clear();
    if (wide < 0 || wide >= CBM_NEVER)
        return out_of_range(name);
    *number = wide == 0 ? CBM_NEVER : (uint32_t)wide;
    return 0;
}

static int number_read(const char *name, PyObject *value, double *number)
{
    *number = PyFloat_AsDouble(value);
    if (*number == -1 && PyErr_Occurred())
        return -1;
    /* 0 means the default in cbm.h, and is one only of jitter, where 0 is the default. */
    if (!isfinite(*number) || *number < 0 || (*number == 0 && strcmp(name, "jitter") != 0))
        return out_of_range(name);
    return 0;
}

static int word_read(const char *name, PyObject *value, const char *const *words, uint32_t *number)
{
    if (PyUnicode_Check(value))
        for (uint32_t i = 0; words[i]; i++)
            if (PyUnicode_CompareWithASCIIString(value, words[i]) == 0) {
                *number = i + 1;
                return 0;
            }
    PyErr_Format(PyExc_ValueError, "%s: %R is not one of its words", name, value);
    return -1;
}

static int field_read(const field *at, PyObject *value, cbm_policy *policy)
{
    void *into = (char *)policy + at->offset;
    uint32_t number = 0;
    double wide = 0;
    int error;

    switch (at->kind) {
    case FIELD_NUMBER:
        error = number_read(at->name, value, &wide);
        memcpy(into, &wide, sizeof(wide));
        return error;
    case FIELD_UINT: error = uint_read(at->name, value, &number); break;
    default: error = word_read(at->name, value, words_of(at->kind), &number); break;
    }
    memcpy(into, &number, sizeof(number));
    return error;
}

/* The spec's `timeout` is in seconds. */
static int timeout_read(PyObject *value, cbm_policy *policy)
{
    double seconds = PyFloat_AsDouble(value);

    if (seconds == -1 && PyErr_Occurred())
        return -1;
    if (policy->timeout_ms) {
        PyErr_SetString(PyExc_TypeError, "timeout and timeout_ms: one of them");
        return -1;
    }
    if (!(seconds > 0 && seconds < CBM_NEVER / 1000.0))
        return out_of_range("timeout");
    policy->timeout_ms = (uint32_t)ceil(seconds * 1000 - 1e-6);
    return 0;
}

static const field *field_named(PyObject *name)
{
    for (size_t i = 0; i < FIELDS; i++)
        if (PyUnicode_CompareWithASCIIString(name, fields[i].name) == 0)
            return &fields[i];
    return NULL;
}

int policy_read(PyObject *given_fields, cbm_policy *policy, bool *given)
{
    PyObject *name;
    PyObject *value;
    PyObject *timeout = NULL;
    Py_ssize_t position = 0;

    *policy = (cbm_policy)CBM_POLICY_INIT;
    *given = false;
    while (PyDict_Next(given_fields, &position, &name, &value)) {
        const field *at;

        if (value == Py_None)
            continue;
        *given = true;
        if (PyUnicode_CompareWithASCIIString(name, "timeout") == 0) {
            timeout = value;
            continue;
        }
        at = field_named(name);
        if (!at) {
            PyErr_Format(PyExc_TypeError, "there is no policy field %R", name);
            return -1;
        }
        if (field_read(at, value, policy) < 0)
            return -1;
    }
    return timeout ? timeout_read(timeout, policy) : 0;
}

static PyObject *field_value(const field *at, const cbm_policy *policy)
{
    const void *from = (const char *)policy + at->offset;
    uint32_t number;
    double wide;

    if (at->kind == FIELD_NUMBER) {
        memcpy(&wide, from, sizeof(wide));
        return PyFloat_FromDouble(wide);
    }
    memcpy(&number, from, sizeof(number));
    if (at->kind == FIELD_UINT)
        return PyLong_FromUnsignedLong(number == CBM_NEVER ? 0 : number);
    return PyUnicode_FromString(number ? words_of(at->kind)[number - 1] : "");
}

PyObject *policy_dict(const cbm_policy *policy)
{
    PyObject *dict = PyDict_New();

    for (size_t i = 0; dict && i < FIELDS; i++)
        if (dict_take(dict, fields[i].name, field_value(&fields[i], policy)) < 0)
            Py_CLEAR(dict);
    return dict;
}
