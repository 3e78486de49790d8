/* Memory that a thread uses for one request after the other, so that none of them allocates. */
#ifndef CBM_SERVER_SCRATCH_H
#define CBM_SERVER_SCRATCH_H

#include "buffer.h"

typedef struct cbm_scratch {
    cbm_buffer out;      /* frames to be sent, of all requests that came together */
    cbm_buffer body;     /* the body of one reply */
    cbm_buffer unstored; /* the same for when what it tells of could not be stored in time */
    cbm_buffer request;  /* a text command as msgpack */
    cbm_buffer reply;    /* the msgpack reply to a text command, before it becomes JSON */
} cbm_scratch;

/* This thread's, freed at its end. NULL: no memory. */
cbm_scratch *cbm_scratch_get(void);
/* Gives back what a large reply has made it take. */
void cbm_scratch_trim(cbm_scratch *scratch);

#endif
