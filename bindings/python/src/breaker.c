/* A call's two halves, and what stands between them. */
#include "module.h"

#include <string.h>

/* ---- Begin ------------------------------------------------------------------------------------------------------ */

static int check_usable(breaker_object *self)
{
    if (self->client)
        return client_check(self->client);
    PyErr_SetString(PyExc_ValueError, "the breaker belongs to no client");
    return -1;
}

int breaker_find_handle(breaker_object *self)
{
    client_object *client = self->client;
    cbm_breaker *handle;
    int error;

    if (check_usable(self) < 0)
        return -1;
    if (self->handle)
        return 0;
    error = cbm_handle(client->client, text_chars(self->name_bytes), self->has_policy ? &self->policy : NULL, &handle);
    if (error)
        return raise_error(self->state, error, 0, self->name);
    self->handle = handle;
    return 0;
}

static int begin(cbm_breaker *handle, const char *correlation_id, cbm_permit *permit)
{
    cbm_begin_options options = {.size = sizeof(options), .correlation_id = correlation_id};

    return correlation_id ? cbm_call_begin_with(handle, &options, permit) : cbm_call_begin(handle, permit);
}

static int begin_waiting(breaker_object *self, const char *correlation_id, cbm_permit *permit)
{
    PyThreadState *thread = client_release(self->client);
    int error = begin(self->handle, correlation_id, permit);

    client_acquire(self->client, thread);
    return error;
}

int breaker_begin(breaker_object *self, const char *correlation_id, waiting may, cbm_permit *permit, int64_t *begun_ns)
{
    int error;

    if (check_usable(self) < 0)
        return -1;
    if (!self->handle && breaker_find_handle(self) < 0)
        return -1;
    error = cbm_call_try_begin(self->handle, permit);
    if (error == CBM_WOULD_WAIT && may == MAY_NOT_WAIT)
        return WOULD_WAIT;
    if (error == CBM_WOULD_WAIT)
        error = begin_waiting(self, correlation_id, permit);
    if (error)
        return raise_error(self->state, error, cbm_permit_retry_after_ms(permit), self->name);
    *begun_ns = self->timed ? monotonic_ns() : 0;
    return 0;
}

/* ---- Finish ------------------------------------------------------------------------------------------------------ */

int breaker_report(breaker_object *self, cbm_permit *permit, cbm_outcome outcome, const cbm_report_options *options)
{
    int error = cbm_call_try_report(permit, outcome, options);
    PyThreadState *thread;

    if (error != CBM_WOULD_WAIT)
        return error;
    thread = client_release(self->client);
    error = cbm_call_report_with(permit, outcome, options);
    client_acquire(self->client, thread);
    return error;
}

/* A duration of 0 would mean "since begin" to the library: so the shortest there is. */
static int64_t duration_since(int64_t begun_ns)
{
    int64_t duration_ns = monotonic_ns() - begun_ns;

    return duration_ns > 0 ? duration_ns : 1;
}

/* A success has nothing to say that would need a message. 0 or WOULD_WAIT. */
static int finish_success(breaker_object *self, const cbm_report_options *options, waiting may, cbm_permit *permit)
{
    if (may == MAY_WAIT) {
        breaker_report(self, permit, CBM_SUCCESS, options);
        return 0;
    }
    return cbm_call_try_report(permit, CBM_SUCCESS, options) == CBM_WOULD_WAIT ? WOULD_WAIT : 0;
}

static void finish_raised(breaker_object *self, cbm_report_options *options, cbm_permit *permit, PyObject *raised)
{
    verdict found;

    verdict_of(self, raised, &found);
    options->open_for_ms = found.open_for_ms;
    options->error_text = text_chars(found.text);
    if (!self->client->closed) /* what verdict_of called may have closed it */
        breaker_report(self, permit, found.outcome, options);
    Py_XDECREF(found.text);
}

int breaker_finish(breaker_object *self, const char *correlation_id, waiting may, cbm_permit *permit, int64_t begun_ns,
                   PyObject *raised)
{
    cbm_report_options options = {.size = sizeof(options), .correlation_id = correlation_id};

    if (self->client->closed)
        return 0;
    if (begun_ns)
        options.duration_ns = duration_since(begun_ns);
    if (!raised)
        return finish_success(self, correlation_id || begun_ns ? &options : NULL, may, permit);
    if (may == MAY_NOT_WAIT && !self->client->in_process)
        return WOULD_WAIT;
    finish_raised(self, &options, permit, raised);
    return 0;
}

/* ---- Both around a function --------------------------------------------------------------------------------------- */

static PyObject *call_function(PyObject *function, PyObject *const *arguments, Py_ssize_t count, PyObject *named)
{
    PyObject *positional;
    PyObject *result;

    if (count == 0 && !named)
        return PyObject_CallNoArgs(function);
    positional = PyTuple_New(count);
    if (!positional)
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_INCREF(arguments[i]);
        PyTuple_SetItem(positional, i, arguments[i]);
    }
    result = PyObject_Call(function, positional, named);
    Py_DECREF(positional);
    return result;
}

/* The result of an `async def` has not run yet: as a success it would hide every failure. */
static void refuse_coroutine(PyObject *coroutine)
{
    PyObject *closed = PyObject_CallMethod(coroutine, "close", NULL);

    if (!closed)
        return;
    Py_DECREF(closed);
    PyErr_SetString(PyExc_TypeError, "func returned a coroutine, which has not run yet: await call_async() instead");
}

/* The exception that is set stays set; what reporting it does has none in its way. */
static void finish_error(breaker_object *self, const char *correlation_id, cbm_permit *permit, int64_t begun_ns)
{
    PyObject *type;
    PyObject *value;
    PyObject *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    breaker_finish(self, correlation_id, MAY_WAIT, permit, begun_ns, value);
    PyErr_Restore(type, value, traceback);
}

static PyObject *run(breaker_object *self, PyObject *function, const char *correlation_id, PyObject *const *arguments,
                     Py_ssize_t count, PyObject *named)
{
    cbm_permit permit; /* of this stack: nothing is allocated for a call */
    int64_t begun_ns;
    PyObject *result;

    if (breaker_begin(self, correlation_id, MAY_WAIT, &permit, &begun_ns) < 0)
        return NULL;
    result = call_function(function, arguments, count, named);
    if (result && (PyObject *)Py_TYPE(result) == self->state->coroutine_type) {
        if (!self->client->closed)
            breaker_report(self, &permit, CBM_IGNORED, NULL);
        refuse_coroutine(result);
        Py_DECREF(result);
        return NULL;
    }
    if (result)
        breaker_finish(self, correlation_id, MAY_WAIT, &permit, begun_ns, NULL);
    else
        finish_error(self, correlation_id, &permit, begun_ns);
    return result;
}

PyObject *breaker_run(breaker_object *self, PyObject *function, PyObject *correlation_id, PyObject *const *arguments,
                      Py_ssize_t count, PyObject *named)
{
    PyObject *bytes = NULL;
    PyObject *result;

    if (correlation_id && correlation_id != Py_None && text_read(correlation_id, "correlation_id", &bytes) < 0)
        return NULL;
    Py_INCREF(self); /* the function may drop the last other reference */
    result = run(self, function, text_chars(bytes), arguments, count, named);
    Py_DECREF(self);
    Py_XDECREF(bytes);
    return result;
}
