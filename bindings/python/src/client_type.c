/* The type Client: one way to the manager. */
#include "client.h"

static PyObject *client_address(PyObject *object, void *unused)
{
    (void)unused;
    if (client_check((client_object *)object) < 0)
        return NULL;
    return PyUnicode_FromString(cbm_address(((client_object *)object)->client));
}

static PyObject *client_connected(PyObject *object, void *unused)
{
    (void)unused;
    if (client_check((client_object *)object) < 0)
        return NULL;
    return PyBool_FromLong(cbm_connected(((client_object *)object)->client));
}

static PyObject *client_closed(PyObject *object, void *unused)
{
    client_object *self = (client_object *)object;

    (void)unused;
    return PyBool_FromLong(self->closed || !self->client);
}

static int client_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((client_object *)object)->breakers);
    return 0;
}

static int client_clear(PyObject *object)
{
    Py_CLEAR(((client_object *)object)->breakers);
    return 0;
}

static void client_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    PyObject_GC_UnTrack(object);
    client_free((client_object *)object);
    client_clear(object);
    release(object);
    Py_DECREF(type);
}

/* Their calling conventions differ: the cast by way of a function without arguments is what Python's own headers do. */
static PyMethodDef methods[] = {
    {"_open", (PyCFunction)(void (*)(void))client_open, METH_METHOD | METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_open_singleton", (PyCFunction)(void (*)(void))client_open_singleton, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     NULL},
    {"_breaker", client_breaker_method, METH_O, NULL},
    {"_get", (PyCFunction)(void (*)(void))client_get, METH_FASTCALL, NULL},
    {"_configure", (PyCFunction)(void (*)(void))client_configure, METH_FASTCALL, NULL},
    {"_control", (PyCFunction)(void (*)(void))client_control, METH_FASTCALL, NULL},
    {"_reset_breaker", client_reset_breaker, METH_O, NULL},
    {"_reset_all", client_reset_all, METH_NOARGS, NULL},
    {"_reset_manager", client_reset_manager, METH_NOARGS, NULL},
    {"_states", client_states, METH_O, NULL},
    {"_stats", client_stats, METH_NOARGS, NULL},
    {"_check_rate_limit", client_check_rate_limit, METH_NOARGS,
     PyDoc_STR("_check_rate_limit($self, /)\n--\n\n"
               "Whether the manager would take an operation now. Asking is none: call() and get() are limited by "
               "themselves.")},
    {"call", (PyCFunction)(void (*)(void))client_call, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "call($self, /, name, func, correlation_id=None, *args, **kwargs)\n--\n\n"
         "func(*args, **kwargs) under the protection of the breaker `name`, which is made when there is none.\n\n"
         "Returns what func returns and raises what it raises; CircuitOpenError or RateLimitedError when it is not\n"
         "called. One call is one operation of the manager.")},
    {"remove", client_remove, METH_O,
     PyDoc_STR("remove($self, pattern, /)\n--\n\n"
               "Removes the breakers whose names match the glob, and tells how many they were.")},
    {"ping", client_ping, METH_NOARGS,
     PyDoc_STR("ping($self, /)\n--\n\nReturns when the broker answers, else raises why it does not.")},
    {"command", client_command, METH_O,
     PyDoc_STR("command($self, text, /)\n--\n\n"
               "A text command as nngcat would send it (\"states ha_*\"); the answer is one line of JSON, also when it "
               "is that\n"
               "the command failed.")},
    {"close", client_close, METH_NOARGS,
     PyDoc_STR(
         "close($self, /)\n--\n\n"
         "Leaves the manager. Breakers of this client cannot be used any more; calls that are under way go on, but\n"
         "their outcomes are not reported.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef members[] = {
    {"address", client_address, NULL, PyDoc_STR("The address in use, for messages to people."), NULL},
    {"connected", client_connected, NULL,
     PyDoc_STR("Whether the broker answered last time it was asked; always true of `local:`. Asks nobody."), NULL},
    {"closed", client_closed, NULL, PyDoc_STR("Whether close() was called."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc,
     (void *)PyDoc_STR("One way to the manager; shared by all threads of a process, and good after a fork.")},
    {Py_tp_methods, methods},
    {Py_tp_getset, members},
    {Py_tp_traverse, client_traverse},
    {Py_tp_clear, client_clear},
    {Py_tp_dealloc, client_dealloc},
    {0, NULL},
};

PyType_Spec client_spec = {
    .name = "cbm._cbm.Client",
    .basicsize = sizeof(client_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};
