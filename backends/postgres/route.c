#include "backends/postgres/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/route_plan.h"
#include "backends/ssh/tunnel.h"
#include "core/clock.h"

/* One tunnel a target and kind of local end. */
struct passage {
    struct passage *next;
    char *target;
    struct ssh_tunnel *tunnel;
};

struct pg_route {
    struct loop *loop;
    struct ssh_host *host;
    char *where;
    void (*came_up)(void *data);
    void *data;
    struct passage *passages;
    struct pg_route_request *requests;
    ev_timer soon; /* the state is looked at in a turn of its own */
    bool up;
    bool tls; /* the server demands TLS where the DSN leaves it open */
};

struct pg_route_request {
    struct pg_route *route; /* NULL: forsaken while the worker has it */
    struct pg_route_request *next, **place;
    char *dsn, *where; /* for the worker: malloc'd */
    struct route_plan *plan;
    bool planned;
    void (*done)(void *owner, const char *dsn, const char *place, const struct error *error);
    void *owner;
};

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

/* ---- tunnels ---- */

static struct ssh_tunnel *find_tunnel(struct pg_route *route, const struct route_target *target,
                                      enum ssh_tunnel_end end, struct error *error)
{
    char name[32];
    char *key = target->path ? must(talloc_asprintf(NULL, "%d %s", end, target->path))
                             : must(talloc_asprintf(NULL, "%d %s %d", end, target->address, target->port));
    struct passage *passage = route->passages;
    while (passage && strcmp(passage->target, key) != 0)
        passage = passage->next;
    if (!passage) {
        struct ssh_tunnel_target far = {
            .address = target->address, .port = target->port, .path = target->path};
        snprintf(name, sizeof name, ".s.PGSQL.%d", target->port);
        struct ssh_tunnel *tunnel = ssh_tunnel_new(route->loop, route->host, &far, end, name, error);
        if (tunnel) {
            passage = must(talloc_zero(route, struct passage));
            passage->target = talloc_steal(passage, key);
            passage->tunnel = tunnel;
            passage->next = route->passages;
            route->passages = passage;
            return tunnel;
        }
    }
    talloc_free(key);
    return passage ? passage->tunnel : NULL;
}

/* The DSN through tunnels, and where the first one leads. NULL with error. */
static char *make_dsn(const void *context, struct pg_route *route, const struct route_plan *plan,
                      const char **place, struct error *error)
{
    struct route_local locals[ROUTE_HOSTS_MAX];
    bool tls = plan->tls == ROUTE_TLS_ALWAYS || (plan->tls == ROUTE_TLS_IF_NEEDED && route->tls);
    enum ssh_tunnel_end end = tls ? SSH_TUNNEL_LOOPBACK : SSH_TUNNEL_SOCKET;
    for (size_t i = 0; i < plan->count; i++) {
        const struct ssh_tunnel *tunnel = find_tunnel(route, &plan->targets[i], end, error);
        if (!tunnel) {
            snprintf(error->where, sizeof error->where, "%s", route->where);
            return NULL;
        }
        locals[i] = (struct route_local){.folder = ssh_tunnel_folder(tunnel),
                                         .port = tls ? ssh_tunnel_port(tunnel) : plan->targets[i].port};
        if (i == 0)
            *place = ssh_tunnel_place(tunnel);
    }
    return route_plan_dsn(context, plan, locals);
}

/* ---- requests ---- */

static void free_request(struct pg_route_request *request)
{
    if (request->plan && request->plan->password)
        explicit_bzero(request->plan->password, strlen(request->plan->password));
    talloc_free(request->plan);
    free(request->dsn);
    free(request->where);
    free(request);
}

static void unlink_request(struct pg_route_request *request)
{
    *request->place = request->next;
    if (request->next) /* it is in the list, so it lives. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
        request->next->place = request->place;
}

static void finish(struct pg_route_request *request, const struct error *error)
{
    struct pg_route *route = request->route;
    struct error wrong = {0};
    const char *place = "";
    unlink_request(request);
    char *dsn = error ? NULL : make_dsn(NULL, route, request->plan, &place, &wrong);
    if (!error && !dsn)
        error = &wrong;
    struct error copy = error ? *error : wrong;
    request->done(request->owner, dsn, place, dsn ? NULL : &copy);
    if (dsn)
        explicit_bzero(dsn, strlen(dsn));
    talloc_free(dsn);
    free_request(request);
}

/* What a request waits for is decided by the host's state. False: it goes on waiting. */
static bool proceed(struct pg_route_request *request)
{
    const struct ssh_host *host = request->route->host;
    if (!request->planned)
        return false;
    if (request->plan->error.kind != ERROR_NONE) {
        finish(request, &request->plan->error);
        return true;
    }
    switch (ssh_host_state(host)) {
    case CONNECTION_UP:
        finish(request, NULL);
        return true;
    case CONNECTION_DOWN:
        finish(request, ssh_host_error(host));
        return true;
    case CONNECTION_IDLE:
    case CONNECTION_CONNECTING:
        break;
    }
    return false;
}

static void plan_in_worker(void *data)
{
    struct pg_route_request *request = data;
    request->plan = route_plan_new(request->dsn, request->where);
}

static void planned(void *data)
{
    struct pg_route_request *request = data;
    request->planned = true;
    if (!request->route)
        free_request(request);
    else
        proceed(request);
}

static void drop_request(void *data)
{
    free_request(data);
}

struct pg_route_request *pg_route_ask(struct pg_route *route, const char *dsn, enum work_kind work,
                                      void (*done)(void *owner, const char *dsn, const char *place,
                                                   const struct error *error),
                                      void *owner)
{
    struct pg_route_request *request = must(calloc(1, sizeof *request));
    request->route = route;
    request->dsn = must(strdup(dsn));
    request->where = must(strdup(route->where));
    request->done = done;
    request->owner = owner;
    request->next = route->requests;
    request->place = &route->requests;
    if (request->next)
        request->next->place = &request->next;
    route->requests = request;
    loop_work_or_drop(route->loop, work, plan_in_worker, planned, drop_request, request);
    return request;
}

void pg_route_forsake(struct pg_route_request *request)
{
    unlink_request(request);
    request->route = NULL;
    if (request->planned)
        free_request(request);
}

char *pg_route_dsn(const void *context, struct pg_route *route, const char *dsn, struct error *error)
{
    struct route_plan *plan = route_plan_new(dsn, route->where);
    const char *place;
    char *made = NULL;
    if (plan->error.kind != ERROR_NONE)
        *error = plan->error;
    else if (ssh_host_state(route->host) == CONNECTION_DOWN)
        *error = *ssh_host_error(route->host);
    else
        made = make_dsn(context, route, plan, &place, error);
    talloc_free(plan);
    return made;
}

/* ---- the host's state ---- */

static void on_soon(struct ev_loop *ev, ev_timer *watcher, int events)
{
    struct pg_route *route = watcher->data;
    (void)ev, (void)events;
    bool up = ssh_host_state(route->host) == CONNECTION_UP;
    bool came = up && !route->up;
    route->up = up;
    /* Whoever is told may ask anew, which is put in front. */
    for (struct pg_route_request *request = route->requests; request;) {
        /* What is freed has left the list before. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
        struct pg_route_request *next = request->next;
        request = proceed(request) ? route->requests : next;
    }
    if (came)
        route->came_up(route->data);
}

void pg_route_changed(struct pg_route *route)
{
    if (ev_is_active(&route->soon))
        return;
    ev_timer_set(&route->soon, 0, 0);
    ev_timer_start(loop_ev(route->loop), &route->soon);
}

struct pg_route *pg_route_new(struct loop *loop, struct ssh_host *host, const char *where,
                              void (*came_up)(void *data), void *data)
{
    struct pg_route *route = must(talloc_zero(NULL, struct pg_route));
    route->loop = loop;
    route->host = host;
    route->where = must(talloc_strdup(route, where));
    route->came_up = came_up;
    route->data = data;
    ev_init(&route->soon, on_soon);
    route->soon.data = route;
    ssh_host_want(host, true);
    return route;
}

void pg_route_free(struct pg_route *route)
{
    if (!route)
        return;
    ev_timer_stop(loop_ev(route->loop), &route->soon);
    while (route->requests) /* the same. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
        pg_route_forsake(route->requests);
    for (struct passage *passage = route->passages; passage; passage = passage->next)
        ssh_tunnel_free(passage->tunnel);
    ssh_host_want(route->host, false);
    talloc_free(route);
}

/* ---- what went wrong ---- */

const struct error *pg_route_error(const struct pg_route *route, double since)
{
    double at;
    if (ssh_host_state(route->host) == CONNECTION_DOWN)
        return ssh_host_error(route->host);
    for (const struct passage *passage = route->passages; passage; passage = passage->next) {
        const struct error *error = ssh_tunnel_error(passage->tunnel, &at);
        if (error->kind != ERROR_NONE && at >= since)
            return error;
    }
    return NULL;
}

bool pg_route_refused(struct pg_route *route, const struct error *error)
{
    /* PostgreSQL 15: "..., no encryption"; before: "..., SSL off". */
    bool demands = strstr(error->why, "no pg_hba.conf entry") &&
                   (strstr(error->why, "no encryption") || strstr(error->why, "SSL off"));
    route->tls |= demands;
    return demands;
}
