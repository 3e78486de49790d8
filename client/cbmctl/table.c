#include "table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define COLOR_HEADING "\033[1m"
#define COLOR_END "\033[0m"

void table_init(text_table *table, const table_column *columns, size_t column_count)
{
    *table = (text_table){.columns = columns, .column_count = column_count};
}

void table_deinit(text_table *table)
{
    for (size_t i = 0; i < table->cell_count; i++)
        free(table->cells[i].text);
    free(table->cells);
    *table = (text_table){0};
}

void table_cell_add(text_table *table, const char *color, const char *format, ...)
{
    if (table->cell_count == table->cell_capacity) {
        size_t capacity = table->cell_capacity > 0 ? 2 * table->cell_capacity : 64;
        table_cell *cells = realloc(table->cells, capacity * sizeof(*cells));
        if (cells == NULL) {
            table->failed = true;
            return;
        }
        table->cells = cells;
        table->cell_capacity = capacity;
    }
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0) {
        text = NULL;
        table->failed = true;
    }
    va_end(arguments);
    if (text != NULL)
        table->cells[table->cell_count++] = (table_cell){.text = text, .color = color};
}

size_t text_width(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

/* Spaces wait until there is something to print behind them, so that no line ends in any. */
static void print_cell(FILE *out, const char *text, const char *color, size_t width, bool right, size_t *spaces)
{
    size_t padding = width - text_width(text);
    if (right)
        *spaces += padding;
    if (*text != '\0') {
        fprintf(out, "%*s%s%s%s", (int)*spaces, "", color, text, *color != '\0' ? COLOR_END : "");
        *spaces = 0;
    }
    if (!right)
        *spaces += padding;
    *spaces += 2;
}

static void end_row(FILE *out, size_t *spaces)
{
    fputc('\n', out);
    *spaces = 0;
}

bool table_print(const text_table *table, FILE *out, bool heading, bool colors)
{
    size_t columns = table->column_count, *widths = calloc(columns, sizeof(*widths));
    if (widths == NULL || table->failed) {
        free(widths);
        return false;
    }
    for (size_t i = 0; heading && i < columns; i++)
        widths[i] = text_width(table->columns[i].title);
    for (size_t i = 0; i < table->cell_count; i++) {
        size_t width = text_width(table->cells[i].text);
        if (width > widths[i % columns])
            widths[i % columns] = width;
    }
    size_t spaces = 0;
    for (size_t i = 0; heading && i < columns; i++)
        print_cell(out, table->columns[i].title, colors ? COLOR_HEADING : "", widths[i], table->columns[i].right,
                   &spaces);
    if (heading)
        end_row(out, &spaces);
    for (size_t i = 0; i < table->cell_count; i++) {
        const table_cell *cell = &table->cells[i];
        size_t column = i % columns;
        print_cell(out, cell->text, colors ? cell->color : "", widths[column], table->columns[column].right, &spaces);
        if (column + 1 == columns)
            end_row(out, &spaces);
    }
    free(widths);
    return true;
}
