/* Lines of a file or pipe, one after the other, without a copy. The caller learns before reading would have to wait. */
#ifndef CBMCTL_LINE_READER_H
#define CBMCTL_LINE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE_READER_MAX 65536 /* bytes of a line with its end */

typedef enum line_status {
    LINE_TAKEN,
    LINE_NEEDS_MORE, /* line_reader_fill first */
    LINE_END,
    LINE_TOO_LONG,
} line_status;

typedef struct line_reader {
    int fd;
    bool ended;
    uint64_t number; /* of the line taken last, from 1 */
    size_t start, end, searched;
    char bytes[LINE_READER_MAX];
} line_reader;

void line_reader_init(line_reader *reader, int fd);
/* The next line without its end, good until the next fill. */
line_status line_reader_take(line_reader *reader, const char **line, size_t *length);
/* Reads once. False: it failed, errno says why. */
bool line_reader_fill(line_reader *reader);

#endif
