/*
 * A broker that a test writes: it listens on a Unix socket in a directory of its own, and each connection is served, in a
 * thread of its own, by a function of the test that may misbehave as it likes. What cannot go on aborts the test.
 */
#ifndef CBM_FAKE_BROKER_H
#define CBM_FAKE_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

typedef struct fake_broker fake_broker;

typedef struct fake_peer {
    fake_broker *broker;
    int fd;
    int number; /* 1 for the first connection of the broker */
    int slot;
    uint32_t id;         /* of the request received last */
    cbm_request request; /* the request received last; op CBM_OP_COUNT when it was none that can be decoded */
    uint8_t in[256 * 1024];
    size_t in_size, taken;
} fake_peer;

typedef void fake_serve(fake_peer *peer);

/* `serve` returns when the connection is to be closed. */
fake_broker *fake_broker_start(fake_serve *serve, void *context);
void fake_broker_stop(fake_broker *broker); /* connections are closed, the socket is gone */
/* Stops listening and closes all connections, then serves again at the same address, as another incarnation. */
void fake_broker_restart(fake_broker *broker, fake_serve *serve);
/* The first half of that: nobody listens at the address. */
void fake_broker_go_away(fake_broker *broker);

/* Closes all connections and goes on listening: the same incarnation. */
void fake_broker_hang_up(fake_broker *broker);

const char *fake_broker_address(const fake_broker *broker);
int fake_broker_incarnation(const fake_broker *broker); /* each of its bytes is this: 1, and one more at each restart */
void *fake_broker_context(const fake_broker *broker);
int fake_broker_connections(fake_broker *broker);             /* so far */
int fake_broker_open_connections(fake_broker *broker);        /* now */
int fake_broker_count(fake_broker *broker, cbm_operation op); /* requests received so far */
/* A copy of the last request of that operation received. */
cbm_request fake_broker_last(fake_broker *broker, cbm_operation op);
/* Outcomes handed over by late reports, as their counts add up; a repeated sequence counts once. */
uint64_t fake_broker_late(fake_broker *broker, cbm_core_outcome outcome);

/* ---- For serve ---- */

bool fake_read_greeting(fake_peer *peer);
bool fake_greet(fake_peer *peer);   /* reads the client's greeting and answers as REP; false: it hung up */
bool fake_receive(fake_peer *peer); /* the next request; false: the client hung up, or the broker stops */
/* The answer of a broker that finds every breaker CLOSED. */
void fake_answer(fake_peer *peer);
void fake_answer_to(fake_peer *peer, uint32_t id, const cbm_reply *reply);
/* The bytes of that answer's frame; returns their count. */
size_t fake_frame(const fake_peer *peer, uint32_t id, const cbm_reply *reply, uint8_t *frame, size_t size);
void fake_ordinary(const fake_peer *peer, cbm_reply *reply);
void fake_send(fake_peer *peer, const void *bytes, size_t size);
/* Waits until the client hangs up, or the broker stops. */
void fake_wait_for_the_end(fake_peer *peer);

/* Greets and answers everything as it should. */
fake_serve fake_serve_well;

/* ---- Sockets without a broker behind them ---- */

/* A Unix socket in a new directory that is bound but does not listen: connections are refused. Owned by the caller. */
char *fake_refusing_address(void);
/* One that listens but never accepts, with a full backlog. */
char *fake_full_address(void);
/* Removes the socket and its directory, and frees the address. */
void fake_address_remove(char *address);

int64_t test_clock_ms(void);

#endif
