#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "buffer.h"

#define QUEUE_MAX ((size_t)256 * 1024)

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static atomic_int log_level = CBM_LOG_INFO;
static int output = STDERR_FILENO;

static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static cbm_buffer queue = {.limit = QUEUE_MAX};
static cbm_buffer batch = {.limit = QUEUE_MAX}; /* being written, by the one thread that set `writing` */
static bool writing;
static uint64_t dropped; /* lines since the last that could be written */
static atomic_bool pending;

int cbm_log_level_parse(const char *name)
{
    for (int i = 0; i <= CBM_LOG_DEBUG; i++)
        if (strcmp(name, level_names[i]) == 0)
            return i;
    return -1;
}

void cbm_log_set_level(cbm_log_level level)
{
    atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
}

bool cbm_log_enabled(cbm_log_level level)
{
    return (int)level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

void cbm_log_set_output(int descriptor)
{
    output = descriptor;
}

/* One byte is kept free for the newline. */
static void append(cbm_log_line *line, const char *bytes, size_t size)
{
    if (size > sizeof line->text - 1 - line->size) {
        line->cut = true;
        return;
    }
    memcpy(line->text + line->size, bytes, size);
    line->size += size;
}

static void append_text(cbm_log_line *line, const char *text)
{
    append(line, text, strlen(text));
}

static bool must_quote(const char *value)
{
    const unsigned char *c = (const unsigned char *)value;

    if (!*c)
        return true;
    for (; *c; c++)
        if (*c <= ' ' || *c == '"' || *c == '=' || *c == '\\' || *c == 0x7f || (*c == 0xc2 && c[1] < 0xa0))
            return true;
    return false;
}

/* Control characters, C1 (c2 80 to c2 9f in UTF-8) among them, must reach no terminal as themselves. */
static void append_escaped(cbm_log_line *line, const unsigned char **at)
{
    const unsigned char *c = *at;
    char escaped[8];

    *at = c + 1;
    switch (*c) {
    case '"': append_text(line, "\\\""); return;
    case '\\': append_text(line, "\\\\"); return;
    case '\n': append_text(line, "\\n"); return;
    case '\r': append_text(line, "\\r"); return;
    case '\t': append_text(line, "\\t"); return;
    default: break;
    }
    if (*c < ' ' || *c == 0x7f) {
        snprintf(escaped, sizeof escaped, "\\u%04x", *c);
        append_text(line, escaped);
    } else if (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) {
        snprintf(escaped, sizeof escaped, "\\u%04x", c[1]);
        append_text(line, escaped);
        *at = c + 2;
    } else {
        append(line, (const char *)c, 1);
    }
}

static void append_quoted(cbm_log_line *line, const char *value)
{
    const unsigned char *at = (const unsigned char *)value;

    append_text(line, "\"");
    while (*at)
        append_escaped(line, &at);
    append_text(line, "\"");
}

static void append_field(cbm_log_line *line, const char *key, const char *value)
{
    size_t start = line->size;

    if (line->cut)
        return;
    if (start)
        append_text(line, " ");
    append_text(line, key);
    append_text(line, "=");
    if (must_quote(value))
        append_quoted(line, value);
    else
        append_text(line, value);
    if (line->cut)
        line->size = start;
}

void cbm_log_line_begin(cbm_log_line *line, cbm_log_level level, const char *event)
{
    struct timespec now;
    struct tm calendar;
    char text[40];
    size_t size;

    line->size = 0;
    line->cut = false;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &calendar);
    size = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &calendar);
    snprintf(text + size, sizeof text - size, ".%06ldZ", now.tv_nsec / 1000);
    append_field(line, "time", text);
    append_field(line, "level", level_names[level]);
    append_field(line, "event", event);
}

void cbm_log_line_string(cbm_log_line *line, const char *key, const char *value)
{
    append_field(line, key, value);
}

void cbm_log_line_int(cbm_log_line *line, const char *key, int64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRId64, value);
    append_field(line, key, text);
}

void cbm_log_line_uint(cbm_log_line *line, const char *key, uint64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRIu64, value);
    append_field(line, key, text);
}

void cbm_log_line_queue(cbm_log_line *line)
{
    line->text[line->size++] = '\n';
    pthread_mutex_lock(&queue_lock);
    if (cbm_buffer_append(&queue, line->text, line->size) != 0) {
        queue.error = 0;
        dropped++;
    }
    pthread_mutex_unlock(&queue_lock);
    atomic_store(&pending, true);
}

/* A pipe or socket that says it is writable takes a line of this size without waiting. */
static bool write_line(const char *text, size_t size)
{
    struct pollfd event = {.fd = output, .events = POLLOUT};
    ssize_t written;

    if (poll(&event, 1, 0) != 1 || !(event.revents & POLLOUT))
        return false;
    do
        written = write(output, text, size);
    while (written < 0 && errno == EINTR);
    return written >= 0;
}

static uint64_t write_dropped(uint64_t count)
{
    cbm_log_line line;

    cbm_log_line_begin(&line, CBM_LOG_WARN, "log_lines_dropped");
    cbm_log_line_uint(&line, "count", count);
    line.text[line.size++] = '\n';
    return write_line(line.text, line.size) ? 0 : count;
}

/* Writes the lines of the batch; returns how many could not be, those of before included. */
static uint64_t write_batch(uint64_t lost)
{
    const char *at = (const char *)batch.data;
    const char *end = at + batch.size;

    if (lost)
        lost = write_dropped(lost);
    while (at < end) {
        size_t size = (size_t)((const char *)memchr(at, '\n', (size_t)(end - at)) - at) + 1;

        if (!write_line(at, size))
            lost++;
        at += size;
    }
    return lost;
}

void cbm_log_flush(void)
{
    if (!atomic_load(&pending))
        return;
    pthread_mutex_lock(&queue_lock);
    if (writing) {
        pthread_mutex_unlock(&queue_lock);
        return;
    }
    writing = true;
    while (queue.size) {
        cbm_buffer swapped = batch;
        uint64_t lost = dropped;

        batch = queue;
        queue = swapped;
        cbm_buffer_clear(&queue);
        dropped = 0;
        atomic_store(&pending, false);
        pthread_mutex_unlock(&queue_lock);
        lost = write_batch(lost);
        pthread_mutex_lock(&queue_lock);
        dropped += lost;
    }
    writing = false;
    pthread_mutex_unlock(&queue_lock);
}

void cbm_log_line_end(cbm_log_line *line)
{
    cbm_log_line_queue(line);
    cbm_log_flush();
}

void cbm_log_message(cbm_log_level level, const char *event, const char *format, ...)
{
    cbm_log_line line;
    char text[1024];
    va_list arguments;

    if (!cbm_log_enabled(level))
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    cbm_log_line_begin(&line, level, event);
    cbm_log_line_string(&line, "message", text);
    cbm_log_line_end(&line);
}

void cbm_log_deinit(void)
{
    cbm_log_flush();
    cbm_buffer_deinit(&queue);
    cbm_buffer_deinit(&batch);
}
