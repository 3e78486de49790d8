/* A client: opened, closed, and its breakers by name. */
#include "client.h"

#include <string.h>

int client_check(client_object *self)
{
    if (self->client && !self->closed)
        return 0;
    PyErr_SetString(PyExc_ValueError, self->closed ? "the client is closed" : "the client is not open");
    return -1;
}

PyThreadState *client_release(client_object *self)
{
    self->users++;
    return PyEval_SaveThread();
}

/* cbm_close may wait for counts to be handed over. */
void client_free(client_object *self)
{
    cbm_client *client = self->client;
    PyThreadState *thread;

    self->client = NULL;
    if (!client || self->singleton)
        return;
    thread = PyEval_SaveThread();
    cbm_close(client);
    PyEval_RestoreThread(thread);
}

void client_acquire(client_object *self, PyThreadState *thread)
{
    PyEval_RestoreThread(thread);
    self->users--;
    if (self->closed && self->users == 0)
        client_free(self);
}

PyObject *client_close(PyObject *object, PyObject *unused)
{
    client_object *self = (client_object *)object;

    (void)unused;
    if (self->singleton) {
        PyErr_SetString(PyExc_ValueError, "the manager of the process is not to be closed");
        return NULL;
    }
    self->closed = true;
    if (self->users == 0)
        client_free(self);
    return none();
}

/* ---- Opening ---------------------------------------------------------------------------------------------------- */

/* METH_METHOD: a class of Python's that derives from Client finds the module by the class that defines the method. */
static int enter_module(client_object *self, PyTypeObject *defining_class)
{
    if (self->client || self->closed) {
        PyErr_SetString(PyExc_ValueError, "the client is open already");
        return -1;
    }
    self->state = PyType_GetModuleState(defining_class);
    if (!self->state)
        return -1;
    if (!self->breakers)
        self->breakers = PyDict_New();
    return self->breakers ? 0 : -1;
}

static int open_options_read(PyObject *const *arguments, cbm_open_options *options)
{
    unsigned long numbers[4];

    for (int i = 0; i < 4; i++) {
        numbers[i] = PyLong_AsUnsignedLong(arguments[i]);
        if (numbers[i] == (unsigned long)-1 && PyErr_Occurred())
            return -1;
        if (numbers[i] > UINT32_MAX) {
            PyErr_SetString(PyExc_OverflowError, "an option of the client is too large");
            return -1;
        }
    }
    options->when_away = (cbm_when_away)numbers[0];
    options->call_timeout_ms = (uint32_t)numbers[1];
    options->timeout_ms = (uint32_t)numbers[2];
    options->flags = (uint32_t)numbers[3];
    return 0;
}

/* _open(address, when_away, call_timeout_ms, timeout_ms, flags) */
PyObject *client_open(PyObject *object, PyTypeObject *defining_class, PyObject *const *arguments, Py_ssize_t count,
                      PyObject *names)
{
    client_object *self = (client_object *)object;
    cbm_open_options options = CBM_OPEN_OPTIONS_INIT;
    PyThreadState *thread;
    PyObject *address;
    cbm_client *client;
    int error;

    (void)names;
    if (count != 5) {
        PyErr_SetString(PyExc_TypeError, "_open takes five arguments");
        return NULL;
    }
    if (enter_module(self, defining_class) < 0 || open_options_read(&arguments[1], &options) < 0 ||
        text_read(arguments[0], "address", &address) < 0)
        return NULL;
    thread = PyEval_SaveThread();
    error = cbm_open(&client, text_chars(address), &options);
    PyEval_RestoreThread(thread);
    Py_XDECREF(address);
    if (error) {
        raise_error(self->state, error, 0, NULL);
        return NULL;
    }
    self->client = client;
    self->in_process = strcmp(cbm_address(client), "local:") == 0;
    return none();
}

/* _open_singleton(): the manager of this process, shared with whatever else in it uses libcbm-client. */
PyObject *client_open_singleton(PyObject *object, PyTypeObject *defining_class, PyObject *const *arguments,
                                Py_ssize_t count, PyObject *names)
{
    client_object *self = (client_object *)object;

    (void)arguments, (void)count, (void)names;
    if (enter_module(self, defining_class) < 0)
        return NULL;
    self->client = cbm_manager();
    self->singleton = true;
    self->in_process = strcmp(cbm_address(self->client), "local:") == 0;
    return none();
}

/* ---- Breakers by name ------------------------------------------------------------------------------------------- */

/* `self._new_breaker(name)`, which the class written in Python has. */
static PyObject *make_breaker(client_object *self, PyObject *name)
{
    PyObject *breaker = PyObject_CallMethod((PyObject *)self, "_new_breaker", "O", name);

    if (breaker && !PyObject_TypeCheck(breaker, self->state->breaker_type)) {
        PyErr_SetString(PyExc_TypeError, "_new_breaker is to make a Breaker");
        Py_CLEAR(breaker);
    }
    if (breaker && PyDict_SetItem(self->breakers, name, breaker) < 0)
        Py_CLEAR(breaker);
    return breaker;
}

PyObject *client_breaker(client_object *self, PyObject *name)
{
    PyObject *breaker;

    if (client_check(self) < 0)
        return NULL;
    breaker = PyDict_GetItemWithError(self->breakers, name);
    if (breaker) {
        Py_INCREF(breaker);
        return breaker;
    }
    return PyErr_Occurred() ? NULL : make_breaker(self, name);
}

PyObject *client_breaker_method(PyObject *object, PyObject *name)
{
    return client_breaker((client_object *)object, name);
}

/* ---- call() ----------------------------------------------------------------------------------------------------- */

typedef struct call_arguments {
    PyObject *name; /* all borrowed */
    PyObject *function;
    PyObject *correlation_id;
    PyObject *named; /* a new reference, or NULL: keyword arguments for the function */
} call_arguments;

/* The parameter that this keyword argument is for, or NULL: the function's own. */
static PyObject **parameter(const module_state *state, call_arguments *call, PyObject *keyword)
{
    if (same_name(keyword, state->str_name))
        return &call->name;
    if (same_name(keyword, state->str_func))
        return &call->function;
    if (same_name(keyword, state->str_correlation_id))
        return &call->correlation_id;
    return NULL;
}

static int take_keyword(const module_state *state, call_arguments *call, PyObject *keyword, PyObject *value)
{
    PyObject **known = parameter(state, call, keyword);

    if (known && *known) {
        PyErr_Format(PyExc_TypeError, "call() got multiple values for argument %R", keyword);
        return -1;
    }
    if (known) {
        *known = value;
        return 0;
    }
    if (!call->named)
        call->named = PyDict_New();
    return call->named ? PyDict_SetItem(call->named, keyword, value) : -1;
}

static int read_call(const module_state *state, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords,
                     call_arguments *call)
{
    Py_ssize_t named = keywords ? PyTuple_Size(keywords) : 0;

    *call = (call_arguments){
        .name = count > 0 ? arguments[0] : NULL,
        .function = count > 1 ? arguments[1] : NULL,
        .correlation_id = count > 2 ? arguments[2] : NULL,
    };
    for (Py_ssize_t i = 0; i < named; i++)
        if (take_keyword(state, call, PyTuple_GetItem(keywords, i), arguments[count + i]) < 0)
            return -1;
    if (!call->name || !call->function) {
        PyErr_Format(PyExc_TypeError, "call() is missing its argument '%s'", call->name ? "func" : "name");
        return -1;
    }
    return 0;
}

/* call(name, func, correlation_id=None, *args, **kwargs) */
PyObject *client_call(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
    client_object *self = (client_object *)object;
    call_arguments call;
    PyObject *breaker;
    PyObject *result = NULL;

    if (client_check(self) < 0)
        return NULL;
    if (read_call(self->state, arguments, count, keywords, &call) == 0) {
        breaker = client_breaker(self, call.name);
        if (breaker)
            result = breaker_run((breaker_object *)breaker, call.function, call.correlation_id, arguments + 3,
                                 count > 3 ? count - 3 : 0, call.named);
        Py_XDECREF(breaker);
    }
    Py_XDECREF(call.named);
    return result;
}
