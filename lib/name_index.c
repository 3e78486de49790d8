#include "name_index.h"

#include "breaker.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_SIZE 126 /* a block is 1 KiB */

struct core_name_block {
    uint32_t count;
    struct core_breaker *breakers[BLOCK_SIZE];
};

/* The first place whose name is behind `name`, or, with `at_name`, not before it. */
static core_name_cursor place_of(const core_name_index *index, const char *name, bool at_name)
{
    int most = at_name ? -1 : 0; /* what a comparison may give for a name to be passed over */
    uint32_t low = 0;
    uint32_t high = index->count;
    core_name_cursor cursor;
    const core_name_block *block;

    while (low < high) { /* the first block whose last name is not passed over */
        uint32_t middle = low + (high - low) / 2;

        block = index->blocks[middle];
        if (strcmp(core_breaker_name(block->breakers[block->count - 1]), name) <= most) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    cursor.block = low;
    cursor.at = 0;
    if (low == index->count) {
        return cursor;
    }
    block = index->blocks[low];
    low = 0;
    high = block->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (strcmp(core_breaker_name(block->breakers[middle]), name) <= most) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    cursor.at = low;
    return cursor;
}

static core_name_block *insert_block(core_name_index *index, uint32_t at)
{
    core_name_block *block;

    if (index->count == index->capacity) {
        uint32_t capacity = index->capacity == 0 ? 4 : index->capacity * 2;
        core_name_block **blocks = realloc(index->blocks, capacity * sizeof(*blocks));

        if (blocks == NULL) {
            return NULL;
        }
        index->blocks = blocks;
        index->capacity = capacity;
    }
    block = malloc(sizeof(*block));
    if (block == NULL) {
        return NULL;
    }
    block->count = 0;
    memmove(&index->blocks[at + 1], &index->blocks[at], (index->count - at) * sizeof(*index->blocks));
    index->blocks[at] = block;
    index->count++;
    return block;
}

int core_name_index_add(core_name_index *index, struct core_breaker *breaker)
{
    core_name_cursor place = place_of(index, core_breaker_name(breaker), true);
    core_name_block *block;

    if (place.block == index->count && index->count > 0 && index->blocks[index->count - 1]->count < BLOCK_SIZE) {
        place.block--;
        place.at = index->blocks[place.block]->count;
    }
    if (place.block == index->count) {
        /* Behind all others: a fresh block, so that names that come in order fill their blocks. */
        if (insert_block(index, place.block) == NULL) {
            return CBM_CORE_E_NOMEM;
        }
    } else if (index->blocks[place.block]->count == BLOCK_SIZE) {
        core_name_block *full = index->blocks[place.block];
        core_name_block *upper = insert_block(index, place.block + 1);

        if (upper == NULL) {
            return CBM_CORE_E_NOMEM;
        }
        upper->count = BLOCK_SIZE / 2;
        full->count = BLOCK_SIZE - upper->count;
        memcpy(upper->breakers, &full->breakers[full->count], upper->count * sizeof(struct core_breaker *));
        if (place.at > full->count) {
            place.at -= full->count;
            place.block++;
        }
    }
    block = index->blocks[place.block];
    memmove(&block->breakers[place.at + 1], &block->breakers[place.at],
            (block->count - place.at) * sizeof(struct core_breaker *));
    block->breakers[place.at] = breaker;
    block->count++;
    return CBM_CORE_OK;
}

void core_name_index_remove(core_name_index *index, const struct core_breaker *breaker)
{
    core_name_cursor place = place_of(index, core_breaker_name(breaker), true);
    core_name_block *block = index->blocks[place.block];

    block->count--;
    memmove(&block->breakers[place.at], &block->breakers[place.at + 1],
            (block->count - place.at) * sizeof(struct core_breaker *));
    if (block->count == 0) {
        free(block);
        index->count--;
        memmove(&index->blocks[place.block], &index->blocks[place.block + 1],
                (index->count - place.block) * sizeof(*index->blocks));
    }
}

void core_name_index_clear(core_name_index *index)
{
    for (uint32_t i = 0; i < index->count; i++) {
        free(index->blocks[i]);
    }
    free(index->blocks);
    *index = (core_name_index){.count = 0};
}

core_name_cursor core_name_index_after(const core_name_index *index, const char *after)
{
    return place_of(index, after, false);
}

struct core_breaker *core_name_index_next(const core_name_index *index, core_name_cursor *cursor)
{
    const core_name_block *block;
    struct core_breaker *breaker;

    if (cursor->block >= index->count) {
        return NULL;
    }
    block = index->blocks[cursor->block];
    breaker = block->breakers[cursor->at++];
    if (cursor->at == block->count) {
        cursor->block++;
        cursor->at = 0;
    }
    return breaker;
}
