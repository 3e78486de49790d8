#include "fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int cbm_fault_set(cbm_fault *fault, int error, const char *field, const char *format, ...)
{
    char message[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    fault->error = error;
    cbm_core_text_copy(fault->message, sizeof(fault->message), message, strlen(message));
    snprintf(fault->field, sizeof(fault->field), "%s", field ? field : "");
    return error;
}
