/* The traces of other breakers, which stand in traces/ (README.md there). */
#ifndef CBM_TEST_TRACE_FILES_H
#define CBM_TEST_TRACE_FILES_H

#include <jansson.h>

/* `where` names file and trace, for whoever reads a failure. */
typedef void trace_function(const char *where, json_t *trace, void *context);

/* Calls the function with each of the file's traces, of which there must be 60. */
void trace_file_each(const char *file, trace_function *function, void *context);

#endif
