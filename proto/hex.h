/* Hex digits, of which text commands write bin values and URLs of sockets odd bytes. */
#ifndef CBM_PROTO_HEX_H
#define CBM_PROTO_HEX_H

/* 0 to 15; -1: not a hex digit. */
static inline int cbm_hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

#endif
