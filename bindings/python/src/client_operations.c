/* What a client asks the manager, but for the calls. All of it may wait, so all of it is done without the GIL. */
#include "client.h"

#include <string.h>

/* Takes its result: None, or the exception of the error. */
static PyObject *none_or_error(client_object *self, int error, PyObject *name)
{
    if (error) {
        raise_error(self->state, error, 0, name);
        return NULL;
    }
    return none();
}

static int check_count(const char *method, Py_ssize_t count, Py_ssize_t wanted)
{
    if (count == wanted)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s takes %zd arguments", method, wanted);
    return -1;
}

/* The client is open, and `object` is None or a text. 0 or -1. */
static int begin_with_text(client_object *self, PyObject *object, const char *what, PyObject **bytes)
{
    *bytes = NULL;
    return client_check(self) < 0 ? -1 : text_read(object, what, bytes);
}

/* ---- get() ------------------------------------------------------------------------------------------------------- */

static int get_handle(client_object *self, const char *name, const cbm_policy *policy, const char *correlation_id,
                      cbm_breaker **handle)
{
    cbm_get_options options = {.size = sizeof(options), .correlation_id = correlation_id};
    PyThreadState *thread = client_release(self);
    int error = cbm_get_with(self->client, name, policy, &options, handle);

    client_acquire(self, thread);
    return error;
}

/* The one breaker object of that name, with its handle. */
static PyObject *breaker_with(client_object *self, PyObject *name, cbm_breaker *handle)
{
    PyObject *breaker = client_breaker(self, name);

    if (breaker)
        ((breaker_object *)breaker)->handle = handle;
    return breaker;
}

/* _get(name, fields, correlation_id): the spec's get() */
PyObject *client_get(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    client_object *self = (client_object *)object;
    PyObject *name = NULL;
    PyObject *correlation_id = NULL;
    PyObject *result = NULL;
    cbm_breaker *handle;
    cbm_policy policy;
    bool given;
    int error;

    if (check_count("_get", count, 3) < 0 || begin_with_text(self, arguments[0], "name", &name) < 0)
        return NULL;
    if (text_read(arguments[2], "correlation_id", &correlation_id) < 0 ||
        policy_read(arguments[1], &policy, &given) < 0)
        goto out;
    error = get_handle(self, text_chars(name), given ? &policy : NULL, text_chars(correlation_id), &handle);
    if (error)
        raise_error(self->state, error, 0, arguments[0]);
    else
        result = breaker_with(self, arguments[0], handle);
out:
    Py_XDECREF(name);
    Py_XDECREF(correlation_id);
    return result;
}

/* ---- One breaker by its name -------------------------------------------------------------------------------------- */

/* _configure(name, fields) */
PyObject *client_configure(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    client_object *self = (client_object *)object;
    PyThreadState *thread;
    cbm_policy policy;
    PyObject *name;
    bool given;
    int error;

    if (check_count("_configure", count, 2) < 0 || begin_with_text(self, arguments[0], "name", &name) < 0)
        return NULL;
    if (policy_read(arguments[1], &policy, &given) < 0) {
        Py_XDECREF(name);
        return NULL;
    }
    thread = client_release(self);
    error = cbm_configure(self->client, text_chars(name), &policy);
    client_acquire(self, thread);
    Py_XDECREF(name);
    return none_or_error(self, error, arguments[0]);
}

typedef int control_function(cbm_client *client, const char *name, const char *reason, uint32_t for_ms);

static int enable(cbm_client *client, const char *name, const char *reason, uint32_t for_ms)
{
    (void)reason, (void)for_ms;
    return cbm_enable(client, name);
}

static control_function *control_named(PyObject *word)
{
    static const struct {
        const char *word;
        control_function *function;
    } controls[] = {
        {"force_open", cbm_force_open},
        {"disable", cbm_disable},
        {"metrics_only", cbm_metrics_only},
        {"enable", enable},
    };

    for (size_t i = 0; i < sizeof(controls) / sizeof(controls[0]); i++)
        if (PyUnicode_CompareWithASCIIString(word, controls[i].word) == 0)
            return controls[i].function;
    PyErr_Format(PyExc_ValueError, "there is no control %R", word);
    return NULL;
}

/* _control(word, name, reason, for_seconds) */
PyObject *client_control(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    client_object *self = (client_object *)object;
    control_function *function;
    PyThreadState *thread;
    uint32_t for_ms = 0;
    PyObject *name = NULL;
    PyObject *reason = NULL;
    PyObject *result = NULL;
    int error;

    if (check_count("_control", count, 4) < 0 || begin_with_text(self, arguments[1], "name", &name) < 0)
        return NULL;
    function = control_named(arguments[0]);
    if (!function || text_read(arguments[2], "reason", &reason) < 0 ||
        seconds_read(arguments[3], "for_seconds", &for_ms) < 0)
        goto out;
    thread = client_release(self);
    error = function(self->client, text_chars(name), text_chars(reason), for_ms);
    client_acquire(self, thread);
    result = none_or_error(self, error, arguments[1]);
out:
    Py_XDECREF(name);
    Py_XDECREF(reason);
    return result;
}

PyObject *client_reset_breaker(PyObject *object, PyObject *name)
{
    client_object *self = (client_object *)object;
    PyThreadState *thread;
    PyObject *bytes;
    int error;

    if (begin_with_text(self, name, "name", &bytes) < 0)
        return NULL;
    thread = client_release(self);
    error = cbm_reset(self->client, text_chars(bytes));
    client_acquire(self, thread);
    Py_XDECREF(bytes);
    return none_or_error(self, error, name);
}

/* ---- All of them -------------------------------------------------------------------------------------------------- */

static PyObject *ask(PyObject *object, int (*function)(cbm_client *client))
{
    client_object *self = (client_object *)object;
    PyThreadState *thread;
    int error;

    if (client_check(self) < 0)
        return NULL;
    thread = client_release(self);
    error = function(self->client);
    client_acquire(self, thread);
    return none_or_error(self, error, NULL);
}

PyObject *client_reset_all(PyObject *object, PyObject *unused)
{
    (void)unused;
    return ask(object, cbm_reset_all);
}

PyObject *client_reset_manager(PyObject *object, PyObject *unused)
{
    (void)unused;
    return ask(object, cbm_reset_manager);
}

PyObject *client_ping(PyObject *object, PyObject *unused)
{
    (void)unused;
    return ask(object, cbm_ping);
}

PyObject *client_remove(PyObject *object, PyObject *pattern)
{
    client_object *self = (client_object *)object;
    PyThreadState *thread;
    uint64_t removed = 0;
    PyObject *bytes;
    int error;

    if (begin_with_text(self, pattern, "pattern", &bytes) < 0)
        return NULL;
    thread = client_release(self);
    error = cbm_remove(self->client, text_chars(bytes), &removed);
    client_acquire(self, thread);
    Py_XDECREF(bytes);
    if (error) {
        raise_error(self->state, error, 0, NULL);
        return NULL;
    }
    return PyLong_FromUnsignedLongLong(removed);
}

/* ---- Looking ------------------------------------------------------------------------------------------------------- */

PyObject *client_states(PyObject *object, PyObject *pattern)
{
    client_object *self = (client_object *)object;
    cbm_states_result *states = NULL;
    PyThreadState *thread;
    PyObject *result;
    PyObject *bytes;
    int error;

    if (begin_with_text(self, pattern, "pattern", &bytes) < 0)
        return NULL;
    thread = client_release(self);
    error = cbm_states(self->client, text_chars(bytes), &states);
    client_acquire(self, thread);
    Py_XDECREF(bytes);
    if (error) {
        raise_error(self->state, error, 0, NULL);
        return NULL;
    }
    result = states_dict(states);
    cbm_states_free(states);
    return result;
}

static cbm_stats_result *ask_for_stats(client_object *self)
{
    cbm_stats_result *stats = NULL;
    PyThreadState *thread;
    int error;

    if (client_check(self) < 0)
        return NULL;
    thread = client_release(self);
    error = cbm_stats(self->client, &stats);
    client_acquire(self, thread);
    if (error)
        raise_error(self->state, error, 0, NULL);
    return error ? NULL : stats;
}

PyObject *client_stats(PyObject *object, PyObject *unused)
{
    cbm_stats_result *stats = ask_for_stats((client_object *)object);
    PyObject *result;

    (void)unused;
    if (!stats)
        return NULL;
    result = stats_dict(stats);
    cbm_stats_free(stats);
    return result;
}

PyObject *client_check_rate_limit(PyObject *object, PyObject *unused)
{
    cbm_stats_result *stats = ask_for_stats((client_object *)object);
    const cbm_manager_stats *manager;
    bool allowed;

    (void)unused;
    if (!stats)
        return NULL;
    manager = cbm_stats_manager(stats);
    allowed = manager->max_rate_limit == 0 || manager->current_rate_limit_size < manager->max_rate_limit;
    cbm_stats_free(stats);
    return PyBool_FromLong(allowed);
}

PyObject *client_command(PyObject *object, PyObject *command)
{
    client_object *self = (client_object *)object;
    PyThreadState *thread;
    PyObject *result = NULL;
    PyObject *bytes;
    char *json = NULL;
    int error;

    if (begin_with_text(self, command, "command", &bytes) < 0)
        return NULL;
    thread = client_release(self);
    error = cbm_command(self->client, text_chars(bytes), &json);
    client_acquire(self, thread);
    Py_XDECREF(bytes);
    if (json)
        result = PyUnicode_FromString(json);
    else
        raise_error(self->state, error, 0, NULL);
    cbm_free(json);
    return result;
}
