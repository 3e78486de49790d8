/*
 * The extension module cbm._cbm: libcbm-client for Python, on the stable ABI of Python 3.9.
 *
 * It holds what has to be fast, calls and their outcomes, and what converts structs of cbm.h; the face that users see is
 * written in Python on top of it. All state of the module is an interpreter's own.
 *
 * Who holds the interpreter's lock (the GIL): whatever may have to wait for the broker's answer is done without it, between
 * client_release and client_acquire. What cannot wait is done under it, as cbm_call_try_begin and _try_report tell. Giving
 * it up for them as well was measured: a call of an empty function takes 126 ns instead of 72, and beside a thread that
 * computes 50 to 100 us instead of 0.13, as that thread keeps the lock for its whole turn once it has got it.
 */
#ifndef CBM_PYTHON_MODULE_H
#define CBM_PYTHON_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

#include "cbm.h"

/* In the stable ABI since 3.10; 3.9 has the same flag and calling convention, but its headers keep it for themselves. */
#ifndef METH_FASTCALL
#define METH_FASTCALL 0x0080
#endif

typedef struct module_state {
    PyTypeObject *client_type;
    PyTypeObject *breaker_type;
    PyTypeObject *permit_type;
    PyObject *coroutine_type;
    PyObject *make_error; /* cbm._errors.make_error: the exception for a cbm_error */
    PyObject *str_name;   /* names of arguments, interned, so that comparing pointers mostly suffices */
    PyObject *str_func;
    PyObject *str_correlation_id;
} module_state;

/* ---- Client ----------------------------------------------------------------------------------------------------- */

typedef struct client_object {
    PyObject ob_base;
    module_state *state;
    cbm_client *client;
    PyObject *breakers; /* name -> breaker_object: one of each name, as the spec's get() gives them */
    unsigned users;     /* threads inside libcbm-client without the GIL */
    bool closed;        /* nobody may begin anything; freed when the last of them leaves */
    bool singleton;     /* the library's own, never closed */
    bool in_process;    /* `local:`: nothing ever waits */
} client_object;

extern PyType_Spec client_spec;

/* 0, or -1 with an exception when the client is closed or was never opened. */
int client_check(client_object *self);
/* What stands between them is done without the GIL, and the client is not freed meanwhile. */
PyThreadState *client_release(client_object *self);
void client_acquire(client_object *self, PyThreadState *thread);
/* The breaker of that name, made when there is none, without a message. A new reference. */
PyObject *client_breaker(client_object *self, PyObject *name);

/* ---- Breaker and permit ----------------------------------------------------------------------------------------- */

typedef struct breaker_object {
    PyObject ob_base;
    module_state *state;
    client_object *client; /* NULL: not bound yet */
    cbm_breaker *handle;   /* NULL: not used yet */
    PyObject *name;
    PyObject *name_bytes; /* the same in UTF-8 */
    cbm_policy policy;
    bool has_policy;
    bool timed;       /* each call's duration is measured and reported */
    PyObject *ignore; /* each of these: an exception class, a tuple of them, or a predicate; NULL: none */
    PyObject *success_on;
    PyObject *timeout_on;
    PyObject *failure_on;
    PyObject
        *open_for; /* attribute's name, or function, that tells an exception's retry-after in seconds; NULL: none */
    PyObject *error_text; /* function that describes an exception to the broker; NULL: its class's name */
} breaker_object;

typedef struct permit_object {
    PyObject ob_base;
    breaker_object *breaker;
    PyObject *correlation_id; /* bytes, or NULL */
    cbm_permit permit;
    int64_t begun_ns; /* of a timed breaker */
    bool reported;
} permit_object;

extern PyType_Spec breaker_spec;
extern PyType_Spec permit_spec;

typedef enum waiting {
    MAY_WAIT,
    MAY_NOT_WAIT, /* an event loop's thread: do nothing rather than send a message */
} waiting;

enum { WOULD_WAIT = 1 }; /* beside 0 and -1: a message is needed */

/* 0 with a permit, -1 with an exception, or WOULD_WAIT. `correlation_id`: NULL for none. *begun_ns: 0 unless it is timed. */
int breaker_begin(breaker_object *self, const char *correlation_id, waiting may, cbm_permit *permit, int64_t *begun_ns);
/*
 * How a call went: NULL for a success, else what it raised. A report that could not be delivered is nobody's error: the call itself
 * has its result. Called without an exception set, sets none. 0 or WOULD_WAIT.
 */
int breaker_finish(breaker_object *self, const char *correlation_id, waiting may, cbm_permit *permit, int64_t begun_ns,
                   PyObject *raised);
/* 0 when the client is open and the breaker has its handle, or -1 with an exception. */
int breaker_find_handle(breaker_object *self);
/* Reports; a cbm_error. `options`: NULL for none. */
int breaker_report(breaker_object *self, cbm_permit *permit, cbm_outcome outcome, const cbm_report_options *options);
/* Begin, call the function with the arguments, finish. `named`: NULL, or keyword arguments. */
PyObject *breaker_run(breaker_object *self, PyObject *function, PyObject *correlation_id, PyObject *const *arguments,
                      Py_ssize_t count, PyObject *named);
PyObject *permit_begin(breaker_object *breaker, PyObject *correlation_id,
                       waiting may); /* None: it would have to wait */
/* outcome, duration (seconds), error_text, open_for (seconds): what report() of breakers and permits takes. */
typedef struct report_arguments {
    cbm_outcome outcome;
    cbm_report_options options;
    PyObject *text; /* to be released */
} report_arguments;
int report_arguments_read(PyObject *arguments, PyObject *named, const char *format, report_arguments *report);
int64_t monotonic_ns(void);

/* ---- Outcomes (outcome.c) ---------------------------------------------------------------------------------------- */

/* What an exception means for the breaker. */
typedef struct verdict {
    cbm_outcome outcome;
    uint32_t open_for_ms;
    PyObject *text; /* bytes, or NULL */
} verdict;

void verdict_of(const breaker_object *breaker, PyObject *raised, verdict *found); /* never fails */
int outcome_read(PyObject *word, cbm_outcome *outcome);              /* "failure", or -1 with an exception */
int seconds_read(PyObject *seconds, const char *what, uint32_t *ms); /* None: 0. -1 with an exception */

/* ---- Conversions ------------------------------------------------------------------------------------------------ */

/* -1, with the exception of that cbm_error. `name`: NULL or the breaker's. `retry_after_ms`: as cbm.h has it, 0 not known. */
int raise_error(const module_state *state, int error, int64_t retry_after_ms, PyObject *name);
/* UTF-8 of a str without NUL as bytes; *bytes NULL for None. -1 with an exception. */
int text_read(PyObject *object, const char *what, PyObject **bytes);
const char *text_chars(PyObject *bytes); /* NULL for NULL */
/* A policy from a dict of fields as the wire has them, and `timeout` in seconds; None values are left out. -1 with an exception. */
int policy_read(PyObject *fields, cbm_policy *policy, bool *given);
PyObject *policy_dict(const cbm_policy *policy);
PyObject *states_dict(const cbm_states_result *states);
PyObject *stats_dict(const cbm_stats_result *stats);
PyObject *none(void); /* None, as a method returns it */
/* dict[name] = value, which is taken over; NULL is the exception already set. 0 or -1. */
int dict_take(PyObject *dict, const char *name, PyObject *value);
int same_name(PyObject *name, PyObject *interned);

#endif
