/*
 * A peer of the broker made of plain socket calls: for bytes that no library would send, and as an observer that shares no
 * code with the client library. Descriptors are the caller's to close.
 */
#ifndef CBM_E2E_RAW_PEER_H
#define CBM_E2E_RAW_PEER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAW_GREETING_REQ "\0SP\0\0\x30\0\0" /* 8 bytes */
#define RAW_GREETING_SUB "\0SP\0\0\x21\0\0"
#define RAW_REPLY_MAX (1024 * 1024)

/* A connected socket; ipc://, abstract:// . -1 with errno when refused; nonblocking: EAGAIN when the backlog is full. */
int raw_try_connect(const char *address, bool nonblocking);
int raw_connect(const char *address); /* must succeed */
bool raw_accepts(void *address);      /* for wait_until */
/* Connected and greeted as a REQ, the broker's greeting read and found right. */
int raw_greeted(const char *address);

/* Everything, or false: the peer is gone, or takes nothing within 10 s. */
bool raw_send(int fd, const void *bytes, size_t size);
/* The same bytes again and again, until the peer has taken nothing for 300 ms or `most` bytes are sent; returns how many were. */
size_t raw_send_until_blocked(int fd, const void *bytes, size_t size, size_t most);
/* Exactly so many bytes, or false: end of file, error, deadline. */
bool raw_receive(int fd, void *bytes, size_t size, int deadline_ms);
/* Reads away what comes, until the peer closes or resets the connection (true) or the deadline is over. */
bool raw_closed_within(int fd, int deadline_ms);

/* A request frame into `frame` (size + 13 bytes); returns its size. */
size_t raw_frame(uint8_t *frame, uint32_t id, const void *body, size_t size);
bool raw_request(int fd, uint32_t id, const void *body, size_t size);
/* The next reply's body with a zero byte behind it, owned by the caller; NULL: none within the deadline. */
char *raw_reply(int fd, uint32_t *id, size_t *size, int deadline_ms);

/* A text command over a connection of its own, and its answer: an object with `success`. json_decref it. */
json_t *ask(const char *address, const char *command);
/* The same over a greeted connection. */
json_t *ask_on(int fd, const char *command);
/* data.<key> of a `states NAME` answer: for one look at one breaker. NULL: there is no such breaker. json_decref it. */
json_t *ask_state(const char *address, const char *name);
/* Whether the breaker's state is that ("OPEN"). */
bool state_is(const char *address, const char *name, const char *state);
int64_t statistic(const char *address, const char *name, const char *counter);

/* A msgpack map of texts: key, value, key, value, ..., NULL. Returns its size; `bytes` has to be large enough. */
size_t pack_texts(uint8_t *bytes, size_t capacity, ...);

#endif
