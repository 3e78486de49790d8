/* Unix sockets by path: the three lines that every peer needs. */
#ifndef CBM_BENCH_UNIX_SOCKET_H
#define CBM_BENCH_UNIX_SOCKET_H

int bench_unix_connect(const char *path); /* a blocking stream socket, or -1 */
int bench_unix_listen(const char *path);  /* likewise, listening */

#endif
