/* What an exception means for the breaker. */
#include "module.h"

#include <math.h>
#include <time.h>

int64_t monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int outcome_read(PyObject *word, cbm_outcome *outcome)
{
    static const char *const words[] = {"success", "failure", "timeout", "ignored"};

    if (PyUnicode_Check(word))
        for (int i = 0; i < 4; i++)
            if (PyUnicode_CompareWithASCIIString(word, words[i]) == 0) {
                *outcome = (cbm_outcome)i;
                return 0;
            }
    PyErr_Format(PyExc_ValueError, "outcome: %R is none of success, failure, timeout, ignored", word);
    return -1;
}

int seconds_read(PyObject *given, const char *what, uint32_t *ms)
{
    double seconds;

    *ms = 0;
    if (!given || given == Py_None)
        return 0;
    seconds = PyFloat_AsDouble(given);
    if (seconds == -1 && PyErr_Occurred())
        return -1;
    if (!(seconds >= 0 && seconds < UINT32_MAX / 1000.0)) {
        PyErr_Format(PyExc_ValueError, "%s: the value is out of range", what);
        return -1;
    }
    *ms = (uint32_t)ceil(seconds * 1000 - 1e-6);
    return 0;
}

/* A predicate, an exception class, or a tuple of classes. One that fails itself is told to sys.unraisablehook, and says no. */
static bool matches(PyObject *what, PyObject *raised)
{
    PyObject *answer;
    int truth;

    if (!what)
        return false;
    if (PyType_Check(what) || PyTuple_Check(what))
        return PyErr_GivenExceptionMatches(raised, what);
    answer = PyObject_CallFunctionObjArgs(what, raised, NULL);
    truth = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    if (truth < 0)
        PyErr_WriteUnraisable(what);
    return truth > 0;
}

/*
 * What ends a process, a task or a generator from outside says nothing about the other side: KeyboardInterrupt, SystemExit,
 * GeneratorExit and CancelledError are no Exceptions, and so not among the failures by default.
 */
static cbm_outcome outcome_of(const breaker_object *breaker, PyObject *raised)
{
    if (matches(breaker->ignore, raised))
        return CBM_IGNORED;
    if (matches(breaker->success_on, raised))
        return CBM_SUCCESS;
    if (matches(breaker->timeout_on, raised))
        return CBM_TIMEOUT;
    return matches(breaker->failure_on, raised) ? CBM_FAILURE : CBM_IGNORED;
}

/* 0 as well when the exception does not say, or says nothing that is a time. */
static uint32_t open_for_ms(const breaker_object *breaker, PyObject *raised)
{
    PyObject *seconds;
    uint32_t ms = 0;

    if (!breaker->open_for)
        return 0;
    if (PyUnicode_Check(breaker->open_for)) {
        seconds = PyObject_GetAttr(raised, breaker->open_for);
        if (!seconds)
            PyErr_Clear();
    } else {
        seconds = PyObject_CallFunctionObjArgs(breaker->open_for, raised, NULL);
        if (!seconds)
            PyErr_WriteUnraisable(breaker->open_for);
    }
    if (seconds && seconds_read(seconds, "open_for", &ms) < 0)
        PyErr_Clear();
    Py_XDECREF(seconds);
    return ms;
}

/* By default the class's name alone: what an exception says may hold what is not for all who may read states. */
static PyObject *text_of(const breaker_object *breaker, PyObject *raised)
{
    PyObject *text = breaker->error_text ? PyObject_CallFunctionObjArgs(breaker->error_text, raised, NULL)
                                         : PyObject_GetAttrString((PyObject *)Py_TYPE(raised), "__name__");
    PyObject *bytes = NULL;

    if (!text || text_read(text, "error_text", &bytes) < 0)
        PyErr_WriteUnraisable(breaker->error_text);
    Py_XDECREF(text);
    return bytes;
}

void verdict_of(const breaker_object *breaker, PyObject *raised, verdict *found)
{
    *found = (verdict){.outcome = outcome_of(breaker, raised)};
    if (found->outcome == CBM_SUCCESS || found->outcome == CBM_IGNORED)
        return;
    found->open_for_ms = open_for_ms(breaker, raised);
    found->text = text_of(breaker, raised);
}
