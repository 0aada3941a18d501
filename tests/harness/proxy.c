/* One thread, one poll loop. Each way of a connection is a queue of chunks that are due at a time. */
#include "tests/harness/proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PROXY_LINKS = 512, PROXY_CHUNK = 16384, PROXY_QUEUE = 1 << 20 };

struct proxy_chunk {
    struct proxy_chunk *next;
    double due; /* monotonic */
    size_t length, sent;
    unsigned char bytes[];
};

/* One way of a connection. */
struct proxy_way {
    int from, to;
    struct proxy_chunk *first, *last;
    size_t queued;
    double line_free; /* when the bandwidth allows the next byte */
    bool ended;       /* `from` will send no more */
    bool shut;        /* and `to` was told so */
};

struct proxy_link {
    struct proxy_way up, down; /* client to server, server to client */
};

struct proxy {
    pthread_t thread;
    pthread_mutex_t lock; /* guards all below, except while polling */
    pthread_cond_t turned;
    unsigned long turns; /* of the loop: a change is in force two turns later at most */
    int wake;
    int listener; /* -1 while refusing */
    int port, server_port;
    bool stop, cut, hang, garbage, refuse;
    double latency, bandwidth;
    uint64_t random;
    struct proxy_link *links[PROXY_LINKS];
    int count;
    int accepted;
    size_t bytes[2];
};

static double proxy_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void proxy_die(const char *what)
{
    fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
    abort();
}

static struct sockaddr_in proxy_address(int port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void proxy_listen(struct proxy *p)
{
    struct sockaddr_in address = proxy_address(p->port);
    socklen_t length = sizeof address;
    int on = 1;
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (p->listener < 0)
        proxy_die("socket");
    setsockopt(p->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(p->listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(p->listener, 128) != 0)
        proxy_die("listen");
    if (getsockname(p->listener, (struct sockaddr *)&address, &length) != 0)
        proxy_die("getsockname");
    p->port = ntohs(address.sin_port);
}

static void proxy_drop_chunk(struct proxy_way *way)
{
    struct proxy_chunk *chunk = way->first;
    way->first = chunk->next;
    way->queued -= chunk->length;
    if (!way->first)
        way->last = NULL;
    free(chunk);
}

static void proxy_close(struct proxy *p, int index, bool reset)
{
    struct proxy_link *link = p->links[index];
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    int ends[2] = {link->up.from, link->up.to};
    for (int i = 0; i < 2; i++) {
        if (reset)
            setsockopt(ends[i], SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        close(ends[i]);
    }
    while (link->up.first)
        proxy_drop_chunk(&link->up);
    while (link->down.first)
        proxy_drop_chunk(&link->down);
    free(link);
    p->links[index] = p->links[--p->count];
}

static void proxy_accept(struct proxy *p)
{
    int client, on = 1;
    while (p->count < PROXY_LINKS &&
           (client = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct sockaddr_in address = proxy_address(p->server_port);
        struct proxy_link *link = calloc(1, sizeof *link);
        if (server < 0 || !link)
            proxy_die("socket");
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        /* a refusal is seen by the first read */
        (void)!connect(server, (struct sockaddr *)&address, sizeof address);
        *link =
            (struct proxy_link){.up = {.from = client, .to = server}, .down = {.from = server, .to = client}};
        p->links[p->count++] = link;
        p->accepted++;
    }
}

static void proxy_scramble(struct proxy *p, unsigned char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        p->random ^= p->random << 13; /* xorshift64 */
        p->random ^= p->random >> 7;
        p->random ^= p->random << 17;
        bytes[i] = (unsigned char)(p->random >> 24);
    }
}

/* Reads once. False when the connection is broken. */
static bool proxy_read(struct proxy *p, struct proxy_way *way, bool from_server)
{
    size_t wanted = PROXY_CHUNK;
    if (p->bandwidth > 0 && p->bandwidth / 50 < (double)wanted)
        wanted = p->bandwidth < 50 ? 1 : (size_t)(p->bandwidth / 50);
    struct proxy_chunk *chunk = malloc(sizeof *chunk + wanted);
    if (!chunk)
        abort();
    ssize_t n = read(way->from, chunk->bytes, wanted);
    if (n <= 0) {
        free(chunk);
        way->ended |= n == 0;
        return n == 0 || errno == EAGAIN || errno == EINTR;
    }
    if (from_server && p->garbage)
        proxy_scramble(p, chunk->bytes, (size_t)n);
    double now = proxy_now();
    if (way->line_free < now)
        way->line_free = now;
    if (p->bandwidth > 0)
        way->line_free += (double)n / p->bandwidth;
    chunk->next = NULL;
    chunk->due = way->line_free + p->latency / 1000;
    chunk->length = (size_t)n;
    chunk->sent = 0;
    if (way->last)
        way->last->next = chunk;
    else
        way->first = chunk;
    way->last = chunk;
    way->queued += (size_t)n;
    return true;
}

/* Writes what is due. False when the connection is broken. */
static bool proxy_write(struct proxy *p, struct proxy_way *way, bool from_server)
{
    while (way->first && way->first->due <= proxy_now()) {
        struct proxy_chunk *chunk = way->first;
        ssize_t n = send(way->to, chunk->bytes + chunk->sent, chunk->length - chunk->sent, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        p->bytes[from_server] += (size_t)n;
        chunk->sent += (size_t)n;
        if (chunk->sent == chunk->length)
            proxy_drop_chunk(way);
    }
    if (way->ended && !way->first && !way->shut) {
        shutdown(way->to, SHUT_WR);
        way->shut = true;
    }
    return true;
}

/* What to wait for on the two sockets of a link; lowers the timeout to the next chunk that is due. */
static void proxy_interest(const struct proxy_way *way, struct pollfd *from, struct pollfd *to, double now,
                           double *timeout)
{
    if (!way->ended && way->queued < PROXY_QUEUE)
        from->events |= POLLIN;
    if (!way->first)
        return;
    if (way->first->due <= now)
        to->events |= POLLOUT;
    else if (way->first->due - now < *timeout)
        *timeout = way->first->due - now;
}

static int proxy_prepare(struct proxy *p, struct pollfd *fds, double *timeout)
{
    double now = proxy_now();
    *timeout = 3600;
    fds[0] = (struct pollfd){.fd = p->wake, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = p->listener, .events = p->count < PROXY_LINKS ? POLLIN : 0};
    for (int i = 0; i < p->count; i++) {
        struct pollfd *client = &fds[2 + 2 * i], *server = client + 1;
        *client = (struct pollfd){.fd = p->links[i]->up.from};
        *server = (struct pollfd){.fd = p->links[i]->up.to};
        if (p->hang) {
            client->fd = server->fd = -1;
            continue;
        }
        proxy_interest(&p->links[i]->up, client, server, now, timeout);
        proxy_interest(&p->links[i]->down, server, client, now, timeout);
        /* with nothing to wait for, a hang-up would be reported again and again */
        if (!client->events)
            client->fd = -1;
        if (!server->events)
            server->fd = -1;
    }
    return 2 + 2 * p->count;
}

static void proxy_forward(struct proxy *p, const struct pollfd *fds, int polled)
{
    /* from the last: proxy_close moves the last one to the closed one's place */
    for (int i = polled - 1; i >= 0; i--) {
        struct proxy_link *link = p->links[i];
        bool good = true;
        if (fds[2 + 2 * i].revents & (POLLIN | POLLHUP | POLLERR) && fds[2 + 2 * i].events & POLLIN)
            good = proxy_read(p, &link->up, false);
        if (good && fds[3 + 2 * i].revents & (POLLIN | POLLHUP | POLLERR) && fds[3 + 2 * i].events & POLLIN)
            good = proxy_read(p, &link->down, true);
        good = good && proxy_write(p, &link->up, false) && proxy_write(p, &link->down, true);
        if (!good || (link->up.shut && link->down.shut))
            proxy_close(p, i, !good);
    }
}

static void proxy_obey(struct proxy *p)
{
    if (p->cut) {
        while (p->count > 0)
            proxy_close(p, p->count - 1, true);
        p->cut = false;
    }
    if (p->refuse && p->listener >= 0) {
        close(p->listener);
        p->listener = -1;
    } else if (!p->refuse && p->listener < 0) {
        proxy_listen(p);
    }
}

static void *proxy_run(void *data)
{
    struct proxy *p = data;
    struct pollfd *fds = calloc(2 + 2 * PROXY_LINKS, sizeof *fds);
    if (!fds)
        abort();
    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        proxy_obey(p);
        p->turns++;
        pthread_cond_broadcast(&p->turned);
        double timeout;
        int count = proxy_prepare(p, fds, &timeout), polled = p->count;
        struct timespec wait = {.tv_sec = (time_t)timeout,
                                .tv_nsec = (long)((timeout - (double)(time_t)timeout) * 1e9)};
        pthread_mutex_unlock(&p->lock);
        ppoll(fds, (nfds_t)count, &wait, NULL);
        pthread_mutex_lock(&p->lock);
        uint64_t woken;
        if (fds[0].revents)
            (void)!read(p->wake, &woken, sizeof woken);
        if (!p->hang && !p->cut)
            proxy_forward(p, fds, polled);
        if (fds[1].revents & POLLIN && p->listener >= 0)
            proxy_accept(p);
    }
    pthread_mutex_unlock(&p->lock);
    free(fds);
    return NULL;
}

static void proxy_wake(struct proxy *p)
{
    uint64_t one = 1;
    (void)!write(p->wake, &one, sizeof one);
}

struct proxy *proxy_start(int port)
{
    struct proxy *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    p->server_port = port;
    p->random = 0x9e3779b97f4a7c15u;
    p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->turned, NULL);
    proxy_listen(p);
    sigset_t all, before; /* signals of the test are for its main thread */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&p->thread, NULL, proxy_run, p) != 0)
        proxy_die("pthread_create");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return p;
}

void proxy_free(struct proxy *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_mutex_unlock(&p->lock);
    proxy_wake(p);
    pthread_join(p->thread, NULL);
    while (p->count > 0)
        proxy_close(p, p->count - 1, true);
    if (p->listener >= 0)
        close(p->listener);
    close(p->wake);
    pthread_cond_destroy(&p->turned);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* Unlocks, and waits until the loop has seen the change. */
static void proxy_changed(struct proxy *p)
{
    unsigned long seen = p->turns;
    proxy_wake(p);
    while (p->turns == seen)
        pthread_cond_wait(&p->turned, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

void proxy_latency(struct proxy *p, double milliseconds)
{
    pthread_mutex_lock(&p->lock);
    p->latency = milliseconds;
    proxy_changed(p);
}

void proxy_bandwidth(struct proxy *p, double bytes_per_second)
{
    pthread_mutex_lock(&p->lock);
    p->bandwidth = bytes_per_second;
    proxy_changed(p);
}

void proxy_hang(struct proxy *p, bool on)
{
    pthread_mutex_lock(&p->lock);
    p->hang = on;
    proxy_changed(p);
}

void proxy_cut(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    p->cut = true;
    proxy_changed(p);
}

void proxy_garbage(struct proxy *p, bool on)
{
    pthread_mutex_lock(&p->lock);
    p->garbage = on;
    proxy_changed(p);
}

void proxy_refuse(struct proxy *p, bool on)
{
    pthread_mutex_lock(&p->lock);
    p->refuse = on;
    proxy_changed(p);
}

int proxy_port(const struct proxy *p)
{
    return p->port;
}

int proxy_open(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    int count = p->count;
    pthread_mutex_unlock(&p->lock);
    return count;
}

int proxy_accepted(struct proxy *p)
{
    pthread_mutex_lock(&p->lock);
    int count = p->accepted;
    pthread_mutex_unlock(&p->lock);
    return count;
}

size_t proxy_bytes(struct proxy *p, bool from_server)
{
    pthread_mutex_lock(&p->lock);
    size_t bytes = p->bytes[from_server];
    pthread_mutex_unlock(&p->lock);
    return bytes;
}
