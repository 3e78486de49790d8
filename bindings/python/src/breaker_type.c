/* The type Breaker: one breaker as this part of a program uses it. */
#include "client.h"

/* NULL for None, else a new reference. */
static PyObject *unless_none(PyObject *object)
{
    if (object == Py_None)
        return NULL;
    Py_INCREF(object);
    return object;
}

static int bind_mapping(breaker_object *self, PyObject *const *arguments)
{
    int timed;

    self->failure_on = unless_none(arguments[0]);
    self->timeout_on = unless_none(arguments[1]);
    self->success_on = unless_none(arguments[2]);
    self->ignore = unless_none(arguments[3]);
    self->open_for = unless_none(arguments[4]);
    self->error_text = unless_none(arguments[5]);
    timed = PyObject_IsTrue(arguments[6]);
    self->timed = timed > 0;
    return timed < 0 ? -1 : 0;
}

static int bind_name(breaker_object *self, PyObject *name)
{
    if (!PyUnicode_Check(name)) {
        PyErr_SetString(PyExc_TypeError, "name: a str is needed");
        return -1;
    }
    if (text_read(name, "name", &self->name_bytes) < 0)
        return -1;
    Py_INCREF(name);
    self->name = name;
    return 0;
}

/* _bind(client, name, policy, failure_on, timeout_on, success_on, ignore, open_for, error_text, timed) */
static PyObject *breaker_bind(PyObject *object, PyTypeObject *defining_class, PyObject *const *arguments,
                              Py_ssize_t count, PyObject *names)
{
    breaker_object *self = (breaker_object *)object;
    module_state *state = PyType_GetModuleState(defining_class);

    (void)names;
    if (!state)
        return NULL;
    if (count != 10 || self->state || !PyObject_TypeCheck(arguments[0], state->client_type) ||
        !PyDict_Check(arguments[2])) {
        PyErr_SetString(PyExc_TypeError, "_bind takes a client, a name, a dict and seven more, once");
        return NULL;
    }
    if (policy_read(arguments[2], &self->policy, &self->has_policy) < 0)
        return NULL;
    self->state = state;
    if (bind_name(self, arguments[1]) < 0 || bind_mapping(self, &arguments[3]) < 0)
        return NULL;
    Py_INCREF(arguments[0]);
    self->client = (client_object *)arguments[0];
    return none();
}

static PyObject *breaker_begin_method(PyObject *object, PyObject *correlation_id)
{
    return permit_begin((breaker_object *)object, correlation_id, MAY_WAIT);
}

static PyObject *breaker_begin_now(PyObject *object, PyObject *correlation_id)
{
    return permit_begin((breaker_object *)object, correlation_id, MAY_NOT_WAIT);
}

/* The spec's manager calls breaker.call(func, self._check_rate_limit, correlation_id, ...): no function wants that argument. */
static bool is_rate_limit_check(PyObject *argument)
{
    return PyCFunction_CheckExact(argument) &&
           PyCFunction_GetFunction(argument) == (PyCFunction)client_check_rate_limit;
}

/* call(func, *args, **kwargs) */
static PyObject *breaker_call(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
    breaker_object *self = (breaker_object *)object;
    Py_ssize_t named_count = keywords ? PyTuple_Size(keywords) : 0;
    Py_ssize_t taken = 1;
    PyObject *named = NULL;
    PyObject *result = NULL;

    if (count < 1) {
        PyErr_SetString(PyExc_TypeError, "call() is missing its argument 'func'");
        return NULL;
    }
    if (count >= 2 && is_rate_limit_check(arguments[1]))
        taken = count >= 3 ? 3 : 2;
    if (named_count > 0 && !(named = PyDict_New()))
        return NULL;
    for (Py_ssize_t i = 0; i < named_count; i++)
        if (PyDict_SetItem(named, PyTuple_GetItem(keywords, i), arguments[count + i]) < 0)
            goto out;
    result = breaker_run(self, arguments[0], taken == 3 ? arguments[2] : NULL, arguments + taken, count - taken, named);
out:
    Py_XDECREF(named);
    return result;
}

static PyObject *breaker_report_method(PyObject *object, PyObject *arguments, PyObject *named)
{
    breaker_object *self = (breaker_object *)object;
    report_arguments report;
    PyThreadState *thread;
    int error;

    if (breaker_find_handle(self) < 0 || report_arguments_read(arguments, named, "O|$OOO:report", &report) < 0)
        return NULL;
    thread = client_release(self->client);
    error = cbm_report(self->handle, report.outcome, &report.options);
    client_acquire(self->client, thread);
    Py_XDECREF(report.text);
    if (error) {
        raise_error(self->state, error, 0, self->name);
        return NULL;
    }
    return none();
}

/* ---- The type ------------------------------------------------------------------------------------------------------ */

static PyObject *breaker_name(PyObject *object, void *unused)
{
    PyObject *name = ((breaker_object *)object)->name;

    (void)unused;
    if (!name)
        name = Py_None;
    Py_INCREF(name);
    return name;
}

static PyObject *breaker_client(PyObject *object, void *unused)
{
    PyObject *client = (PyObject *)((breaker_object *)object)->client;

    (void)unused;
    if (!client)
        client = Py_None;
    Py_INCREF(client);
    return client;
}

static int breaker_traverse(PyObject *object, visitproc visit, void *arg)
{
    breaker_object *self = (breaker_object *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->client);
    Py_VISIT(self->ignore);
    Py_VISIT(self->success_on);
    Py_VISIT(self->timeout_on);
    Py_VISIT(self->failure_on);
    Py_VISIT(self->open_for);
    Py_VISIT(self->error_text);
    return 0;
}

/* Its client is kept until the end: permits that are still out look there. */
static int breaker_clear(PyObject *object)
{
    breaker_object *self = (breaker_object *)object;

    Py_CLEAR(self->ignore);
    Py_CLEAR(self->success_on);
    Py_CLEAR(self->timeout_on);
    Py_CLEAR(self->failure_on);
    Py_CLEAR(self->open_for);
    Py_CLEAR(self->error_text);
    return 0;
}

static void breaker_dealloc(PyObject *object)
{
    breaker_object *self = (breaker_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    PyObject_GC_UnTrack(object);
    breaker_clear(object);
    Py_XDECREF(self->client);
    Py_XDECREF(self->name);
    Py_XDECREF(self->name_bytes);
    release(object);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"_bind", (PyCFunction)(void (*)(void))breaker_bind, METH_METHOD | METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_begin", breaker_begin_method, METH_O, NULL},
    {"_begin_now", breaker_begin_now, METH_O, NULL},
    {"report", (PyCFunction)(void (*)(void))breaker_report_method, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("report($self, /, outcome, *, duration=None, error_text=None, open_for=None)\n--\n\n"
               "An outcome seen elsewhere, without a permit: it counts in CLOSED, and is statistics only otherwise.\n"
               "duration and open_for are in seconds.")},
    {"call", (PyCFunction)(void (*)(void))breaker_call, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "call($self, func, /, *args, **kwargs)\n--\n\n"
         "func(*args, **kwargs) under the protection of this breaker.\n\n"
         "Returns what func returns and raises what it raises; CircuitOpenError or RateLimitedError when it is not\n"
         "called.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef members[] = {
    {"name", breaker_name, NULL, PyDoc_STR("The breaker's name, the same for all processes."), NULL},
    {"client", breaker_client, NULL, PyDoc_STR("Whose breaker it is."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("One breaker, with what its user counts as a failure.")},
    {Py_tp_methods, methods},
    {Py_tp_getset, members},
    {Py_tp_traverse, breaker_traverse},
    {Py_tp_clear, breaker_clear},
    {Py_tp_dealloc, breaker_dealloc},
    {0, NULL},
};

PyType_Spec breaker_spec = {
    .name = "cbm._cbm.Breaker",
    .basicsize = sizeof(breaker_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};
