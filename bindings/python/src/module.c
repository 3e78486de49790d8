/* The module itself: its types and what it takes from Python. */
#include "module.h"

static int add_type(PyObject *module, const char *name, PyType_Spec *spec, PyTypeObject **type)
{
    *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    if (!*type)
        return -1;
    return PyObject_SetAttrString(module, name, (PyObject *)*type);
}

static PyObject *import_from(const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *object = module ? PyObject_GetAttrString(module, name) : NULL;

    Py_XDECREF(module);
    return object;
}

static int intern(PyObject **string, const char *text)
{
    *string = PyUnicode_InternFromString(text);
    return *string ? 0 : -1;
}

static int execute_module(PyObject *module)
{
    module_state *state = PyModule_GetState(module);

    if (add_type(module, "Client", &client_spec, &state->client_type) < 0 ||
        add_type(module, "Breaker", &breaker_spec, &state->breaker_type) < 0 ||
        add_type(module, "Permit", &permit_spec, &state->permit_type) < 0)
        return -1;
    state->make_error = import_from("cbm._errors", "make_error");
    state->coroutine_type = import_from("types", "CoroutineType");
    if (!state->make_error || !state->coroutine_type)
        return -1;
    if (intern(&state->str_name, "name") < 0 || intern(&state->str_func, "func") < 0 ||
        intern(&state->str_correlation_id, "correlation_id") < 0)
        return -1;
    return PyModule_AddStringConstant(module, "version", cbm_version());
}

static int traverse_module(PyObject *module, visitproc visit, void *arg)
{
    module_state *state = PyModule_GetState(module);

    Py_VISIT(state->client_type);
    Py_VISIT(state->breaker_type);
    Py_VISIT(state->permit_type);
    Py_VISIT(state->coroutine_type);
    Py_VISIT(state->make_error);
    return 0;
}

static int clear_module(PyObject *module)
{
    module_state *state = PyModule_GetState(module);

    Py_CLEAR(state->client_type);
    Py_CLEAR(state->breaker_type);
    Py_CLEAR(state->permit_type);
    Py_CLEAR(state->coroutine_type);
    Py_CLEAR(state->make_error);
    Py_CLEAR(state->str_name);
    Py_CLEAR(state->str_func);
    Py_CLEAR(state->str_correlation_id);
    return 0;
}

static void free_module(void *module)
{
    clear_module(module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, execute_module},
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "cbm._cbm",
    .m_doc = "libcbm-client for Python: what the package cbm is built on.",
    .m_size = sizeof(module_state),
    .m_slots = module_slots,
    .m_traverse = traverse_module,
    .m_clear = clear_module,
    .m_free = free_module,
};

PyMODINIT_FUNC PyInit__cbm(void);

PyMODINIT_FUNC PyInit__cbm(void)
{
    return PyModuleDef_Init(&module_definition);
}
