/* A TCP proxy on loopback between the console and a server, whose faults are switched at run time. It runs in
 * a thread of its own; all calls may come from any thread and take effect at once, also for connections that
 * are open. */
#ifndef TESTS_HARNESS_PROXY_H
#define TESTS_HARNESS_PROXY_H

#include <stdbool.h>
#include <stddef.h>

struct proxy;

/* Forwards to 127.0.0.1:port. Aborts when there is no socket to have. Free with proxy_free. */
struct proxy *proxy_start(int port);
void proxy_free(struct proxy *p); /* NULL is fine */
/* Where to connect to instead of the server. */
int proxy_port(const struct proxy *p);

/* Delay of each way in milliseconds: a round trip takes twice as long. */
void proxy_latency(struct proxy *p, double milliseconds);
/* Bytes a second, each way of each connection; 0 is no limit. */
void proxy_bandwidth(struct proxy *p, double bytes_per_second);
/* Nothing is forwarded, in neither way, and nothing is closed; connections are still accepted. Off: all goes
 * on, nothing is lost. */
void proxy_hang(struct proxy *p, bool on);
/* Closes every connection with a reset, as a router that lost its state does. New ones are accepted. */
void proxy_cut(struct proxy *p);
/* Replaces every byte that comes from the server by a random one (always the same sequence). */
void proxy_garbage(struct proxy *p, bool on);
/* Connections are refused; open ones go on. The port stays the same. */
void proxy_refuse(struct proxy *p, bool on);

/* Connections open now, accepted ever, and bytes forwarded ever (to and from the server). */
int proxy_open(struct proxy *p);
int proxy_accepted(struct proxy *p);
size_t proxy_bytes(struct proxy *p, bool from_server);

#endif
