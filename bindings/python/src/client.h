/* The methods of Client: client.c, and client_operations.c where they ask the manager. */
#ifndef CBM_PYTHON_CLIENT_H
#define CBM_PYTHON_CLIENT_H

#include "module.h"

void client_free(client_object *self);

PyObject *client_open(PyObject *object, PyTypeObject *defining_class, PyObject *const *arguments, Py_ssize_t count,
                      PyObject *names);
PyObject *client_open_singleton(PyObject *object, PyTypeObject *defining_class, PyObject *const *arguments,
                                Py_ssize_t count, PyObject *names);
PyObject *client_close(PyObject *object, PyObject *unused);
PyObject *client_breaker_method(PyObject *object, PyObject *name);
PyObject *client_call(PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords);

PyObject *client_get(PyObject *object, PyObject *const *arguments, Py_ssize_t count);
PyObject *client_configure(PyObject *object, PyObject *const *arguments, Py_ssize_t count);
PyObject *client_control(PyObject *object, PyObject *const *arguments, Py_ssize_t count);
PyObject *client_reset_breaker(PyObject *object, PyObject *name);
PyObject *client_reset_all(PyObject *object, PyObject *unused);
PyObject *client_reset_manager(PyObject *object, PyObject *unused);
PyObject *client_states(PyObject *object, PyObject *pattern);
PyObject *client_stats(PyObject *object, PyObject *unused);
PyObject *client_check_rate_limit(PyObject *object, PyObject *unused);
PyObject *client_remove(PyObject *object, PyObject *pattern);
PyObject *client_ping(PyObject *object, PyObject *unused);
PyObject *client_command(PyObject *object, PyObject *command);

#endif
