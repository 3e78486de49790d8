/* The type Permit: a call that may be made, until it is reported. */
#include "module.h"

PyObject *permit_begin(breaker_object *breaker, PyObject *correlation_id, waiting may)
{
    permit_object *self;
    PyObject *bytes;
    int begun;

    if (text_read(correlation_id, "correlation_id", &bytes) < 0)
        return NULL;
    if (!breaker->state) {
        Py_XDECREF(bytes);
        PyErr_SetString(PyExc_ValueError, "the breaker belongs to no client");
        return NULL;
    }
    self = (permit_object *)PyType_GenericAlloc(breaker->state->permit_type, 0);
    if (!self) {
        Py_XDECREF(bytes);
        return NULL;
    }
    self->correlation_id = bytes;
    self->reported = true; /* nothing to be given back, should it not be begun */
    Py_INCREF(breaker);
    self->breaker = breaker;
    begun = breaker_begin(breaker, text_chars(bytes), may, &self->permit, &self->begun_ns);
    self->reported = begun != 0;
    if (begun == 0)
        return (PyObject *)self;
    Py_DECREF(self);
    if (begun < 0)
        return NULL;
    return none();
}

/* ---- Reporting ---------------------------------------------------------------------------------------------------- */

static int duration_read(PyObject *given, int64_t *duration_ns)
{
    double seconds;

    if (!given || given == Py_None)
        return 0;
    seconds = PyFloat_AsDouble(given);
    if (seconds == -1 && PyErr_Occurred())
        return -1;
    if (!(seconds >= 0 && seconds < 1e9)) {
        PyErr_SetString(PyExc_ValueError, "duration: the value is out of range");
        return -1;
    }
    *duration_ns = (int64_t)(seconds * 1e9);
    if (*duration_ns == 0)
        *duration_ns = 1; /* 0 is no duration to the library */
    return 0;
}

int report_arguments_read(PyObject *arguments, PyObject *named, const char *format, report_arguments *report)
{
    static char *names[] = {"outcome", "duration", "error_text", "open_for", NULL};
    PyObject *outcome = NULL;
    PyObject *duration = NULL;
    PyObject *text = NULL;
    PyObject *open_for = NULL;

    *report = (report_arguments){.options = {.size = sizeof(report->options)}};
    if (!PyArg_ParseTupleAndKeywords(arguments, named, format, names, &outcome, &duration, &text, &open_for))
        return -1;
    if ((outcome && outcome_read(outcome, &report->outcome) < 0) ||
        seconds_read(open_for, "open_for", &report->options.open_for_ms) < 0 ||
        duration_read(duration, &report->options.duration_ns) < 0 || text_read(text, "error_text", &report->text) < 0)
        return -1;
    report->options.error_text = text_chars(report->text);
    return 0;
}

static int check_unreported(permit_object *self)
{
    if (!self->reported)
        return client_check(self->breaker->client);
    PyErr_SetString(PyExc_ValueError, "the permit is reported already");
    return -1;
}

static PyObject *permit_report(PyObject *object, PyObject *arguments, PyObject *named)
{
    permit_object *self = (permit_object *)object;
    report_arguments report;
    int error;

    if (check_unreported(self) < 0 || report_arguments_read(arguments, named, "|O$OOO:report", &report) < 0)
        return NULL;
    report.options.correlation_id = text_chars(self->correlation_id);
    if (!report.options.duration_ns && self->begun_ns)
        report.options.duration_ns = monotonic_ns() - self->begun_ns + 1;
    self->reported = true;
    error = breaker_report(self->breaker, &self->permit, report.outcome, &report.options);
    Py_XDECREF(report.text);
    if (error) {
        raise_error(self->breaker->state, error, 0, self->breaker->name);
        return NULL;
    }
    return none();
}

/* False: a message is needed, and `may` says no. */
static PyObject *finish(permit_object *self, PyObject *raised, waiting may)
{
    if (self->reported)
        return PyBool_FromLong(1);
    self->reported = true; /* first of all: while it waits, another thread must not report it again */
    if (breaker_finish(self->breaker, text_chars(self->correlation_id), may, &self->permit, self->begun_ns,
                       raised == Py_None ? NULL : raised) == 0)
        return PyBool_FromLong(1);
    self->reported = false;
    return PyBool_FromLong(0);
}

static PyObject *permit_finish(PyObject *object, PyObject *raised)
{
    return finish((permit_object *)object, raised, MAY_WAIT);
}

static PyObject *permit_finish_now(PyObject *object, PyObject *raised)
{
    return finish((permit_object *)object, raised, MAY_NOT_WAIT);
}

static PyObject *permit_enter(PyObject *object, PyObject *unused)
{
    (void)unused;
    Py_INCREF(object);
    return object;
}

static PyObject *permit_exit(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *finished;

    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "__exit__ takes three arguments");
        return NULL;
    }
    finished = finish((permit_object *)object, arguments[1], MAY_WAIT);
    Py_XDECREF(finished);
    return PyBool_FromLong(0); /* what was raised goes on */
}

/* ---- The type ------------------------------------------------------------------------------------------------------ */

static PyObject *permit_probe(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(cbm_permit_probe(&((permit_object *)object)->permit));
}

static PyObject *permit_unprotected(PyObject *object, void *unused)
{
    permit_object *self = (permit_object *)object;

    (void)unused;
    return PyBool_FromLong(!self->reported && cbm_permit_unprotected(&self->permit));
}

static PyObject *permit_reported(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((permit_object *)object)->reported);
}

/* A forgotten probe would keep everybody else waiting until its lease ends; one of CLOSED nobody waits for. */
static void give_back(permit_object *self)
{
    PyObject *type;
    PyObject *value;
    PyObject *traceback;

    if (self->reported || !cbm_permit_probe(&self->permit) || self->breaker->client->closed)
        return;
    PyErr_Fetch(&type, &value, &traceback);
    breaker_report(self->breaker, &self->permit, CBM_IGNORED, NULL);
    PyErr_Restore(type, value, traceback);
}

static void permit_dealloc(PyObject *object)
{
    permit_object *self = (permit_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    give_back(self);
    Py_XDECREF(self->correlation_id);
    Py_XDECREF(self->breaker);
    release(object);
    Py_DECREF(type);
}

static PyObject *permit_refuse_new(PyTypeObject *type, PyObject *arguments, PyObject *named)
{
    (void)type, (void)arguments, (void)named;
    PyErr_SetString(PyExc_TypeError, "a permit is what begin() of a breaker returns");
    return NULL;
}

static PyMethodDef methods[] = {
    {"report", (PyCFunction)(void (*)(void))permit_report, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR(
         "report($self, /, outcome='success', *, duration=None, error_text=None, open_for=None)\n--\n\n"
         "How the call went. duration and open_for are in seconds: open_for opens the circuit at once for that long.\n"
         "Raises why it could not be delivered; the permit is spent then too.")},
    {"_finish", permit_finish, METH_O, NULL},
    {"_finish_now", permit_finish_now, METH_O, NULL},
    {"__enter__", permit_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))permit_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef members[] = {
    {"probe", permit_probe, NULL, PyDoc_STR("Whether this call is the one that decides, for everybody, in HALF_OPEN."),
     NULL},
    {"unprotected", permit_unprotected, NULL,
     PyDoc_STR("Whether it was given without the broker's word, as that is away."), NULL},
    {"reported", permit_reported, NULL, PyDoc_STR("Whether its outcome was reported."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("A call that may be made, to be reported once, by any thread of this process.")},
    {Py_tp_new, permit_refuse_new},
    {Py_tp_methods, methods},
    {Py_tp_getset, members},
    {Py_tp_dealloc, permit_dealloc},
    {0, NULL},
};

PyType_Spec permit_spec = {
    .name = "cbm._cbm.Permit",
    .basicsize = sizeof(permit_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};
