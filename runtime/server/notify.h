/* notify.h: what systemd and a service tell each other (sd_notify(3), sd_listen_fds(3)), without its library: one
 * datagram to $NOTIFY_SOCKET, and open sockets from descriptor 3 on. Nothing where systemd is not there. */
#ifndef CI_SERVER_NOTIFY_H
#define CI_SERVER_NOTIFY_H

/* "READY=1", "STATUS=...", "STOPPING=1", "WATCHDOG=1"; several lines are one message. */
void ci_notify(const char *state);

/* Seconds between two WATCHDOG=1, half of what systemd waits for; 0: it does not. */
double ci_notify_watchdog(void);

/* The sockets that were handed over to this process, `most` at most; their count. Once: the environment forgets them.
 */
int ci_notify_sockets(int *sockets, int most);

#endif
