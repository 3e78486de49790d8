/*
 * Nobody has to pass descriptors on the broker's own socket, and whoever does can make the broker wait: the kernel closes what NNG
 * does not take, in the thread that reads, and a TCP socket with SO_LINGER takes its time to close.
 */
#ifndef CBM_SERVER_PASS_RIGHTS_H
#define CBM_SERVER_PASS_RIGHTS_H

/* Connections to any stream socket on which this process listens by now cannot pass any. Before Linux 6.16 nothing comes of it. */
void cbm_pass_rights_refuse(void);

#endif
