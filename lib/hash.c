#include "hash.h"

#include <string.h>

static uint64_t rotate(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

uint32_t core_hash(uint64_t key, const void *bytes, size_t length)
{
    const unsigned char *byte = bytes;
    uint64_t second_key = rotate(key, 29) ^ 0x9e3779b97f4a7c15u;
    uint64_t v[4] = {key ^ 0x736f6d6570736575u, second_key ^ 0x646f72616e646f6du, key ^ 0x6c7967656e657261u,
                     second_key ^ 0x7465646279746573u};
    uint64_t word = 0;
    size_t left = length;

    for (; left >= 8; left -= 8, byte += 8) {
        memcpy(&word, byte, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    word = 0;
    memcpy(&word, byte, left);
    word ^= (uint64_t)length << 56;
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) {
        sip_round(v);
    }
    word = v[0] ^ v[1] ^ v[2] ^ v[3];
    return (uint32_t)(word ^ word >> 32);
}

uint64_t core_random(uint64_t *state)
{
    uint64_t value = *state += 0x9e3779b97f4a7c15u;

    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
    value = (value ^ value >> 27) * 0x94d049bb133111ebu;
    return value ^ value >> 31;
}
