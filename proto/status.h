/* The state dict. */
#ifndef CBM_PROTO_STATUS_H
#define CBM_PROTO_STATUS_H

#include "fields.h"

/* Pairs that cbm_status_write writes, for the head of a map that holds them. */
size_t cbm_status_pairs(void);
/* The pairs alone. */
void cbm_status_write(msgpack_packer *packer, const cbm_core_status *status);
int cbm_status_read(const msgpack_object *map, cbm_core_status *status, cbm_fault *fault);

/* For rows of type WORD. */
const char *cbm_state_word(uint32_t state);
const char *cbm_source_word(uint32_t source);

#endif
