/* A cbm_error as an exception, texts on their way to C, and other small things. */
#include "module.h"

#include <string.h>

int raise_error(const module_state *state, int error, int64_t retry_after_ms, PyObject *name)
{
    PyObject *exception = PyObject_CallFunction(state->make_error, "isLsO", error, cbm_error_name(error),
                                                (long long)retry_after_ms, cbm_last_message(), name ? name : Py_None);

    if (exception) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        Py_DECREF(exception);
    }
    return -1;
}

int text_read(PyObject *object, const char *what, PyObject **bytes)
{
    *bytes = NULL;
    if (!object || object == Py_None)
        return 0;
    if (!PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s: a str is needed", what);
        return -1;
    }
    *bytes = PyUnicode_AsUTF8String(object);
    if (!*bytes)
        return -1;
    if (strlen(PyBytes_AsString(*bytes)) != (size_t)PyBytes_Size(*bytes)) {
        Py_CLEAR(*bytes);
        PyErr_Format(PyExc_ValueError, "%s: a NUL character is not allowed", what);
        return -1;
    }
    return 0;
}

const char *text_chars(PyObject *bytes)
{
    return bytes ? PyBytes_AsString(bytes) : NULL;
}

int dict_take(PyObject *dict, const char *name, PyObject *value)
{
    int error = value ? PyDict_SetItemString(dict, name, value) : -1;

    Py_XDECREF(value);
    return error;
}

int same_name(PyObject *name, PyObject *interned)
{
    return name == interned || PyUnicode_Compare(name, interned) == 0;
}

PyObject *none(void)
{
    Py_INCREF(Py_None);
    return Py_None;
}
