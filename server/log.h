/*
 * The log: logfmt on stderr, one write(2) a line.
 *
 * A line is queued first and written by cbm_log_flush, so that it may be queued under any lock; lines come out in the order in
 * which they were queued. Nobody ever waits for whoever reads stderr: what it does not take is dropped, and counted in
 * a later line.
 */
#ifndef CBM_SERVER_LOG_H
#define CBM_SERVER_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum cbm_log_level {
    CBM_LOG_ERROR,
    CBM_LOG_WARN,
    CBM_LOG_INFO,
    CBM_LOG_DEBUG,
} cbm_log_level;

#define CBM_LOG_LINE_MAX 2048 /* bytes with the newline; below PIPE_BUF, so that lines of several writers never mix */

typedef struct cbm_log_line {
    size_t size;
    bool cut; /* a field did not fit: the later ones are left out */
    char text[CBM_LOG_LINE_MAX];
} cbm_log_line;

int cbm_log_level_parse(const char *name); /* -1: no such level */
void cbm_log_set_level(cbm_log_level level);
bool cbm_log_enabled(cbm_log_level level);
void cbm_log_set_output(int descriptor); /* 2 unless told */

/* time=... level=... event=... */
void cbm_log_line_begin(cbm_log_line *line, cbm_log_level level, const char *event);
void cbm_log_line_string(cbm_log_line *line, const char *key, const char *value); /* quoted where it must be */
void cbm_log_line_int(cbm_log_line *line, const char *key, int64_t value);
void cbm_log_line_uint(cbm_log_line *line, const char *key, uint64_t value);
void cbm_log_line_queue(cbm_log_line *line);
void cbm_log_flush(void);
void cbm_log_line_end(cbm_log_line *line); /* queue and flush */

/* A line with one sentence: event=`event` message="..." */
void cbm_log_message(cbm_log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

void cbm_log_deinit(void); /* writes what is queued and frees the queue */

#endif
