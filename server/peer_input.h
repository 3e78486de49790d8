/* What a peer has sent and is not dealt with yet: small as long as requests are, and charged to its user beyond that. */
#ifndef CBM_SERVER_PEER_INPUT_H
#define CBM_SERVER_PEER_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quota.h"

#define CBM_PEER_INPUT_SMALL ((size_t)1024) /* holds the common requests; an idle peer keeps no more */

typedef struct cbm_peer_input {
    uint8_t *bytes; /* `small`, or larger while a frame needs it */
    size_t size;
    size_t capacity;
    cbm_quota *quota;
    uint64_t uid;
    uint8_t small[CBM_PEER_INPUT_SMALL];
} cbm_peer_input;

void cbm_peer_input_init(cbm_peer_input *input, cbm_quota *quota, uint64_t uid); /* it must not be moved from now on */
void cbm_peer_input_deinit(cbm_peer_input *input);
/* There is room behind the bytes. False: no memory, or more than its user may have. */
bool cbm_peer_input_make_room(cbm_peer_input *input);
/* The first `size` bytes are dealt with. */
void cbm_peer_input_consume(cbm_peer_input *input, size_t size);

#endif
