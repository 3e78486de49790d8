/* Random bytes for ids: unlikely to be equal, not secret. */
#ifndef CBM_CLIENT_RANDOM_H
#define CBM_CLIENT_RANDOM_H

#include <stddef.h>

void cbm_random(void *bytes, size_t size);

#endif
