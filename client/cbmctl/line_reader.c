#include "line_reader.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void line_reader_init(line_reader *reader, int fd)
{
    reader->fd = fd;
    reader->ended = false;
    reader->number = 0;
    reader->start = reader->end = reader->searched = 0;
}

line_status line_reader_take(line_reader *reader, const char **line, size_t *length)
{
    const char *newline = memchr(reader->bytes + reader->searched, '\n', reader->end - reader->searched);
    if (newline == NULL) {
        reader->searched = reader->end;
        if (reader->ended && reader->start == reader->end)
            return LINE_END;
        if (!reader->ended && reader->end - reader->start < sizeof(reader->bytes))
            return LINE_NEEDS_MORE;
        if (!reader->ended) {
            reader->number++;
            return LINE_TOO_LONG;
        }
    }
    size_t end = newline != NULL ? (size_t)(newline - reader->bytes) : reader->end;
    *line = reader->bytes + reader->start;
    *length = end - reader->start;
    reader->start = reader->searched = newline != NULL ? end + 1 : end;
    reader->number++;
    return LINE_TAKEN;
}

bool line_reader_fill(line_reader *reader)
{
    size_t rest = reader->end - reader->start;
    memmove(reader->bytes, reader->bytes + reader->start, rest);
    reader->searched -= reader->start;
    reader->start = 0;
    reader->end = rest;
    ssize_t size;
    do {
        size = read(reader->fd, reader->bytes + rest, sizeof(reader->bytes) - rest);
    } while (size < 0 && errno == EINTR);
    if (size < 0)
        return false;
    reader->end += (size_t)size;
    reader->ended = size == 0;
    return true;
}
