#include "scratch.h"

#include <pthread.h>
#include <stdlib.h>

#include "sp.h"

#define KEEP_MAX ((size_t)32 * 1024)

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static int key_error;

static void scratch_free(void *memory)
{
    cbm_scratch *scratch = memory;

    cbm_buffer_deinit(&scratch->out);
    cbm_buffer_deinit(&scratch->body);
    cbm_buffer_deinit(&scratch->unstored);
    cbm_buffer_deinit(&scratch->request);
    cbm_buffer_deinit(&scratch->reply);
    free(scratch);
}

static void make_key(void)
{
    key_error = pthread_key_create(&key, scratch_free);
}

cbm_scratch *cbm_scratch_get(void)
{
    cbm_scratch *scratch;

    pthread_once(&once, make_key);
    if (key_error)
        return NULL;
    scratch = pthread_getspecific(key);
    if (scratch)
        return scratch;
    scratch = calloc(1, sizeof *scratch);
    if (!scratch)
        return NULL;
    /* A frame's payload is body and backtrace; `out` ends when it holds one frame of the largest kind beside small ones. */
    cbm_buffer_init(&scratch->out, 2 * CBM_REPLY_MAX);
    cbm_buffer_init(&scratch->body, CBM_REPLY_MAX - CBM_SP_BACKTRACE_MAX);
    cbm_buffer_init(&scratch->unstored, CBM_REPLY_MAX - CBM_SP_BACKTRACE_MAX);
    cbm_buffer_init(&scratch->request, CBM_REQUEST_MAX);
    cbm_buffer_init(&scratch->reply, CBM_REPLY_MAX - CBM_SP_BACKTRACE_MAX);
    if (pthread_setspecific(key, scratch) != 0) {
        free(scratch);
        return NULL;
    }
    return scratch;
}

static void trim(cbm_buffer *buffer)
{
    if (buffer->capacity > KEEP_MAX)
        cbm_buffer_deinit(buffer);
}

void cbm_scratch_trim(cbm_scratch *scratch)
{
    trim(&scratch->out);
    trim(&scratch->body);
    trim(&scratch->unstored);
    trim(&scratch->request);
    trim(&scratch->reply);
}
