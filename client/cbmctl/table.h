/* A table of text in aligned columns. Numbers stand at the right of their column; the last column is not padded. */
#ifndef CBMCTL_TABLE_H
#define CBMCTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct table_column {
    const char *title;
    bool right;
} table_column;

typedef struct table_cell {
    char *text;        /* owned */
    const char *color; /* an escape sequence, or "" */
} table_cell;

typedef struct text_table {
    const table_column *columns;
    size_t column_count;
    table_cell *cells; /* row by row */
    size_t cell_count, cell_capacity;
    bool failed; /* no memory for a cell; table_print says so by returning false */
} text_table;

void table_init(text_table *table, const table_column *columns, size_t column_count);
void table_deinit(text_table *table);
/* The next cell of the current row, printf-like. */
void table_cell_add(text_table *table, const char *color, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* heading: print the titles. colors: use the cells' colours. */
bool table_print(const text_table *table, FILE *out, bool heading, bool colors);

/* Characters of UTF-8 text. */
size_t text_width(const char *text);

#endif
