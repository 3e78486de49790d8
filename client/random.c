#include "random.h"

#include <stdint.h>
#include <sys/random.h>
#include <sys/types.h>
#include <unistd.h>

#include "clock.h"

/* Where the kernel has no randomness to give without waiting (early boot), time, process and address must do. */
static void make_do(unsigned char *bytes, size_t size)
{
    static _Atomic uint64_t calls;
    uint64_t x = (uint64_t)cbm_clock_ns() ^ (uint64_t)getpid() << 40 ^ (uint64_t)(uintptr_t)bytes ^ ++calls << 56;

    for (size_t i = 0; i < size; i++) {
        x += UINT64_C(0x9e3779b97f4a7c15);
        uint64_t z = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        bytes[i] = (unsigned char)(z >> 56);
    }
}

void cbm_random(void *bytes, size_t size)
{
    ssize_t got = getrandom(bytes, size, GRND_NONBLOCK);

    if (got < 0)
        got = 0;
    if ((size_t)got < size)
        make_do((unsigned char *)bytes + got, size - (size_t)got);
}
