/* libnng's own REP socket with 64 contexts, each answering canned bytes: what a broker on it could reach at best. */
#include <stdio.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>

#include "canned.h"
#include "peers.h"

#define CONTEXTS 64

typedef struct worker {
    nng_ctx context;
    nng_aio *aio;
    bool sending;
} worker;

static void step(void *argument)
{
    worker *w = argument;
    nng_msg *message;
    const uint8_t *reply;
    size_t size;

    if (w->sending || nng_aio_result(w->aio) != 0) {
        w->sending = false;
        nng_ctx_recv(w->context, w->aio);
        return;
    }
    message = nng_aio_get_msg(w->aio);
    reply = bench_canned_reply(nng_msg_body(message), nng_msg_len(message), &size);
    nng_msg_clear(message);
    if (nng_msg_append(message, reply, size) != 0) {
        nng_msg_free(message);
        nng_ctx_recv(w->context, w->aio);
        return;
    }
    w->sending = true;
    nng_aio_set_msg(w->aio, message);
    nng_ctx_send(w->context, w->aio);
}

int bench_rep_serve(const char *path)
{
    static worker workers[CONTEXTS];
    nng_socket socket;
    char url[160];

    snprintf(url, sizeof(url), "ipc://%s", path);
    if (nng_rep0_open(&socket) != 0)
        return -1;
    for (int i = 0; i < CONTEXTS; i++) {
        if (nng_aio_alloc(&workers[i].aio, step, &workers[i]) != 0 || nng_ctx_open(&workers[i].context, socket) != 0)
            return -1;
        nng_ctx_recv(workers[i].context, workers[i].aio);
    }
    if (nng_listen(socket, url, NULL, 0) != 0)
        return -1;
    for (;;)
        pause();
}
