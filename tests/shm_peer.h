/*
 * The other end of proto/handshake.h, made of plain socket calls, so that it can say and pass whatever it likes. Nothing here
 * checks or waits for more than it is told to; descriptors are the caller's to close.
 */
#ifndef CBM_TEST_SHM_PEER_H
#define CBM_TEST_SHM_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handshake.h"

/* What the broker said. */
typedef enum shm_answer {
    SHM_REPLY,   /* a whole cbm_attach_reply */
    SHM_END,     /* end of file */
    SHM_RESET,   /* the connection is gone: EPIPE, ECONNRESET */
    SHM_SILENCE, /* nothing until the deadline */
} shm_answer;

/* Connected to the socket beside `path` ("@name": an abstract one); -1 with errno. */
int shm_connect(const char *path);
/* A memfd of `size` bytes with those seals and the header of a ledger of that id, as far as it fits. */
int shm_make_ledger(const uint8_t id[CBM_ID_SIZE], size_t size, int seals, unsigned more_flags);
/* One that is as it should be, of a random id. */
int shm_good_ledger(uint8_t id[CBM_ID_SIZE]);

bool shm_send(int fd, const void *bytes, size_t size, const int *descriptors, size_t count);
/* A request that is as it should be. */
bool shm_request(int fd, const uint8_t token[CBM_ID_SIZE], int ledger);
bool shm_acknowledge(int fd);
/* *board (NULL: closed unseen) becomes the descriptor that came with it, or -1. */
shm_answer shm_receive(int fd, cbm_attach_reply *reply, int *board, int deadline_ms);

/* The whole of it: the reply's result, or that of the second one; 1 when the broker hung up without one. */
int shm_attach(const char *path, const uint8_t token[CBM_ID_SIZE], int ledger, int *board);

#endif
