#include "allocation.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

static _Thread_local long countdown; /* 0: none fails */
static _Thread_local bool failed;
static _Thread_local long live;

#define EVERYWHERE __attribute__((visibility("default")))

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

static bool fails(void)
{
    if (countdown == 0 || --countdown > 0)
        return false;
    failed = true;
    errno = ENOMEM;
    return true;
}

static void *counted(void *memory)
{
    live += memory != NULL;
    return memory;
}

EVERYWHERE void *malloc(size_t size)
{
    return fails() ? NULL : counted(__libc_malloc(size));
}

EVERYWHERE void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : counted(__libc_calloc(count, size));
}

EVERYWHERE void *realloc(void *memory, size_t size)
{
    if (fails())
        return NULL;
    return memory ? __libc_realloc(memory, size) : counted(__libc_realloc(NULL, size));
}

EVERYWHERE void *aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : counted(__libc_memalign(alignment, size));
}

EVERYWHERE int posix_memalign(void **memory, size_t alignment, size_t size)
{
    if (fails())
        return ENOMEM;
    *memory = counted(__libc_memalign(alignment, size));
    return *memory ? 0 : ENOMEM;
}

EVERYWHERE void free(void *memory)
{
    live -= memory != NULL;
    __libc_free(memory);
}

void allocation_fail_at(long n)
{
    countdown = n;
    failed = false;
}

bool allocation_has_failed(void)
{
    return failed;
}

long allocation_live(void)
{
    return live;
}
