/* How the decoders say why bytes were refused. */
#ifndef CBM_PROTO_FAULT_H
#define CBM_PROTO_FAULT_H

#include "codec.h"

/* Fills *fault and returns the error. field NULL: none in particular. What stands in the message becomes valid UTF-8. */
int cbm_fault_set(cbm_fault *fault, int error, const char *field, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
