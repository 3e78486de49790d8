/* States and statistics as dicts, with the keys of the broker's JSON. */
#include "module.h"

static PyObject *unsigned_number(uint64_t number)
{
    return PyLong_FromUnsignedLongLong(number);
}

/* Seconds, whole ones as an int: the spec's `timeout` is one. */
static PyObject *seconds(uint32_t ms)
{
    return ms % 1000 ? PyFloat_FromDouble(ms / 1000.0) : PyLong_FromUnsignedLong(ms / 1000);
}

/* Only those that happened: of 36 pairs few ever do. */
static PyObject *transitions(const cbm_statistics *from)
{
    PyObject *dict = PyDict_New();
    char key[64];

    for (int i = 0; dict && i < 36; i++) {
        uint64_t number = from->transitions[i / 6][i % 6];

        if (number == 0)
            continue;
        PyOS_snprintf(key, sizeof(key), "%s->%s", cbm_state_name((cbm_state)(i / 6)),
                      cbm_state_name((cbm_state)(i % 6)));
        if (dict_take(dict, key, unsigned_number(number)) < 0)
            Py_CLEAR(dict);
    }
    return dict;
}

static PyObject *time_in_state(const cbm_statistics *from)
{
    PyObject *dict = PyDict_New();

    for (int i = 0; dict && i < 6; i++)
        if (dict_take(dict, cbm_state_name((cbm_state)i), unsigned_number(from->time_in_state_ms[i])) < 0)
            Py_CLEAR(dict);
    return dict;
}

static PyObject *statistics(const cbm_statistics *from)
{
    const struct {
        const char *name;
        uint64_t number;
    } counts[] = {
        {"total_calls", from->total_calls},
        {"successful_calls", from->successful_calls},
        {"failed_calls", from->failed_calls},
        {"timeout_calls", from->timeout_calls},
        {"ignored_calls", from->ignored_calls},
        {"slow_calls", from->slow_calls},
        {"rejected_calls", from->rejected_calls},
        {"half_open_rejected_calls", from->half_open_rejected_calls},
        {"late_reports", from->late_reports},
        {"lumped_failures", from->lumped_failures},
        {"leases_expired", from->leases_expired},
        {"abandoned", from->abandoned},
        {"state_transitions", from->state_transitions},
    };
    PyObject *dict = PyDict_New();
    int error = dict ? 0 : -1;

    for (size_t i = 0; !error && i < sizeof(counts) / sizeof(counts[0]); i++)
        error = dict_take(dict, counts[i].name, unsigned_number(counts[i].number));
    if (error || dict_take(dict, "p50_ms", PyFloat_FromDouble(from->p50_ms)) < 0 ||
        dict_take(dict, "p90_ms", PyFloat_FromDouble(from->p90_ms)) < 0 ||
        dict_take(dict, "p99_ms", PyFloat_FromDouble(from->p99_ms)) < 0 ||
        dict_take(dict, "transitions", transitions(from)) < 0 ||
        dict_take(dict, "time_in_state_ms", time_in_state(from)) < 0)
        Py_CLEAR(dict);
    return dict;
}

/* What the spec's state dicts have, and how it stands. */
static int add_standing(PyObject *dict, const cbm_breaker_state *from)
{
    if (dict_take(dict, "name", PyUnicode_FromString(from->name)) < 0 ||
        dict_take(dict, "state", PyUnicode_FromString(cbm_state_name(from->state))) < 0 ||
        dict_take(dict, "failures", unsigned_number(from->failures)) < 0 ||
        dict_take(dict, "threshold", unsigned_number(from->threshold)) < 0 ||
        dict_take(dict, "timeout", seconds(from->timeout_ms)) < 0 ||
        dict_take(dict, "timeout_ms", unsigned_number(from->timeout_ms)) < 0 ||
        dict_take(dict, "retry_after_ms", PyLong_FromLongLong(from->retry_after_ms)) < 0 ||
        dict_take(dict, "due", PyBool_FromLong(from->due)) < 0 ||
        dict_take(dict, "failure_rate", PyFloat_FromDouble(from->failure_rate)) < 0 ||
        dict_take(dict, "slow_call_rate", PyFloat_FromDouble(from->slow_call_rate)) < 0)
        return -1;
    return 0;
}

static int add_details(PyObject *dict, const cbm_breaker_state *from)
{
    if (dict_take(dict, "calls", unsigned_number(from->calls)) < 0 ||
        dict_take(dict, "would_open", PyBool_FromLong(from->would_open)) < 0 ||
        dict_take(dict, "epoch", unsigned_number(from->epoch)) < 0 ||
        dict_take(dict, "permits_out", unsigned_number(from->permits_out)) < 0 ||
        dict_take(dict, "reason", PyUnicode_FromString(from->reason)) < 0 ||
        dict_take(dict, "last_failure_ms_ago", PyLong_FromLongLong(from->last_failure_ms_ago)) < 0 ||
        dict_take(dict, "last_error_text", PyUnicode_FromString(from->last_error_text)) < 0 ||
        dict_take(dict, "policy_source", PyUnicode_FromString(from->policy_source)) < 0 ||
        dict_take(dict, "policy", policy_dict(from->policy)) < 0 ||
        dict_take(dict, "statistics", statistics(&from->statistics)) < 0)
        return -1;
    return 0;
}

static PyObject *state_dict(const cbm_breaker_state *from)
{
    PyObject *dict = PyDict_New();

    if (dict && (add_standing(dict, from) < 0 || add_details(dict, from) < 0))
        Py_CLEAR(dict);
    return dict;
}

PyObject *states_dict(const cbm_states_result *states)
{
    PyObject *dict = PyDict_New();
    size_t count = cbm_states_count(states);

    for (size_t i = 0; dict && i < count; i++) {
        const cbm_breaker_state *state = cbm_states_at(states, i);

        if (dict_take(dict, state->name, state_dict(state)) < 0)
            Py_CLEAR(dict);
    }
    return dict;
}

PyObject *stats_dict(const cbm_stats_result *stats)
{
    const cbm_manager_stats *from = cbm_stats_manager(stats);
    PyObject *dict = PyDict_New();

    if (dict && (dict_take(dict, "total_operations", unsigned_number(from->total_operations)) < 0 ||
                 dict_take(dict, "breakers_count", unsigned_number(from->breakers_count)) < 0 ||
                 dict_take(dict, "rate_limited_count", unsigned_number(from->rate_limited_count)) < 0 ||
                 dict_take(dict, "rate_limit_window_ms", unsigned_number(from->rate_limit_window_ms)) < 0 ||
                 dict_take(dict, "current_rate_limit_size", unsigned_number(from->current_rate_limit_size)) < 0 ||
                 dict_take(dict, "max_rate_limit", unsigned_number(from->max_rate_limit)) < 0 ||
                 dict_take(dict, "max_breakers", unsigned_number(from->max_breakers)) < 0 ||
                 dict_take(dict, "breakers_created", unsigned_number(from->breakers_created)) < 0 ||
                 dict_take(dict, "breakers_removed", unsigned_number(from->breakers_removed)) < 0 ||
                 dict_take(dict, "breakers", states_dict(cbm_stats_breakers(stats))) < 0))
        Py_CLEAR(dict);
    return dict;
}
