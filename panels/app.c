#include "panels/app.h"

#include <string.h>
#include <talloc.h>

#include "backends/hosts/host_store.h"
#include "core/clock.h"

#define TELL_BUSY_S 0.1 /* while sessions come and go */
#define TELL_CALM_S 0.5
#define CALM_AFTER_S 5.0

static void keep_sample(void *data, const char *host, double time, const float values[SERIES_COUNT])
{
    struct app *app = data;
    if (app->store)
        host_store_add(app->store, host, time, values);
}

static void ask(void *data, struct ssh_question *question)
{
    struct app *app = data;
    if (app->ask)
        app->ask(app, question);
    else
        ssh_answer(question, NULL);
}

static void server_changed(void *data)
{
    struct app *app = data;
    if (app->changed)
        app->changed(app);
}

static void tell(struct app *app)
{
    ev_timer_stop(loop_ev(app->loop), &app->tell_later);
    app->told = clock_monotonic();
    server_changed(app);
}

static void on_tell_later(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)events;
    tell(timer->data);
}

static void fleet_changed(void *data)
{
    struct app *app = data;
    double now = clock_monotonic();
    double wait = app->told + (now - app->stirred < CALM_AFTER_S ? TELL_BUSY_S : TELL_CALM_S) - now;
    if (!app->console || wait <= 0) {
        tell(app);
    } else if (!ev_is_active(&app->tell_later)) {
        ev_now_update(loop_ev(app->loop));
        ev_timer_set(&app->tell_later, wait, 0);
        ev_timer_start(loop_ev(app->loop), &app->tell_later);
    }
}

/* `act` connections are open exactly as long as the environment is not locked. */
static void access_changed(void *data, enum access_state state)
{
    struct app *app = data;
    for (size_t i = 0; i < app->server_count; i++) {
        if (state == ACCESS_LOCKED)
            pg_server_lock(app->servers[i]);
        else
            pg_server_unlock(app->servers[i]);
    }
    for (size_t i = 0; i < app->redis_count; i++) {
        if (state == ACCESS_LOCKED)
            redis_server_lock(app->redis[i]);
        else
            redis_server_unlock(app->redis[i]);
    }
    server_changed(app);
}

/* A host came up or went down: servers behind it connect, the screen shows it. */
static void ssh_changed(void *data)
{
    struct app *app = data;
    for (size_t i = 0; i < app->server_count; i++)
        pg_server_ssh_changed(app->servers[i]);
    for (size_t i = 0; i < app->redis_count; i++)
        redis_server_ssh_changed(app->redis[i]);
    app->stirred = clock_monotonic();
    fleet_changed(app);
}

static struct ssh_pool *make_pool(struct app *app)
{
    const struct environment_ssh *ssh = &app->environment->ssh;
    /* An environment of which only the name is known (audit) has none. */
    const char *name = ssh->transport ? ssh->transport : "auto";
    enum ssh_transport transport = strcmp(name, "system") == 0    ? SSH_TRANSPORT_SYSTEM
                                   : strcmp(name, "libssh2") == 0 ? SSH_TRANSPORT_LIBSSH2
                                                                  : SSH_TRANSPORT_AUTO;
    return ssh_pool_new(app->loop, &(struct ssh_pool_options){.environment = app->environment->name,
                                                              .transport = transport,
                                                              .config = ssh->config,
                                                              .changed = ssh_changed,
                                                              .ask = ask,
                                                              .data = app});
}

static struct environment *find_environment(const void *context, const struct options *options,
                                            struct error_list *errors)
{
    const struct environment_arguments arguments = {options->postgres, options->postgres_count,
                                                    options->ssh,      options->ssh_count,
                                                    options->redis,    options->redis_count};
    if (options->postgres_count || options->ssh_count || options->redis_count)
        return environment_from_arguments(context, &arguments, errors);
    if (options->environment)
        return environment_load(context, options->environment, errors);
    char *name = environment_choose(context, errors);
    if (name)
        return environment_load(context, name, errors);
    return errors->count ? NULL : environment_from_pg_variables(context, errors);
}

/* The server that --server names is one of the environment's. */
static bool check_server(const struct environment *environment, const char *name, struct error_list *errors)
{
    if (!name || environment_find_server(environment, name))
        return true;
    for (size_t i = 0; i < environment->redis_count; i++)
        if (strcmp(environment->redis[i].name, name) == 0)
            return true;
    char names[512] = "";
    for (size_t i = 0; i < environment->server_count; i++) {
        strncat(names, i ? ", " : "", sizeof names - strlen(names) - 1);
        strncat(names, environment->servers[i].name, sizeof names - strlen(names) - 1);
    }
    for (size_t i = 0; i < environment->redis_count; i++) {
        strncat(names, names[0] ? ", " : "", sizeof names - strlen(names) - 1);
        strncat(names, environment->redis[i].name, sizeof names - strlen(names) - 1);
    }
    return error_list_set(errors, ERROR_USAGE, environment->name, "no such server", NULL,
                          "\"%s\" is not one of: %s", name, names);
}

struct app *app_new(const struct options *options, struct error_list *errors)
{
    struct environment *environment = find_environment(NULL, options, errors);
    if (!environment)
        return NULL;
    if (!check_server(environment, options->server, errors)) {
        talloc_free(environment);
        return NULL;
    }
    return app_new_for(options, environment);
}

/* The Redis servers, and the job systems wherever they are. */
static void make_jobs(struct app *app)
{
    const struct environment *environment = app->environment;
    app->redis = talloc_zero_array(app, struct redis_server *, environment->redis_count + 1);
    for (size_t i = 0; i < environment->redis_count; i++) {
        struct redis_server *server =
            redis_server_new(app->loop, environment, &environment->redis[i], app->ssh, server_changed, app);
        app->redis[app->redis_count++] = server;
    }
    app->queues = queues_new(app->loop, &(struct queues_options){.environment = environment,
                                                                 .redis = app->redis,
                                                                 .redis_count = app->redis_count,
                                                                 .postgres = app->servers,
                                                                 .postgres_count = app->server_count,
                                                                 .fleet = app->fleet,
                                                                 .changed = server_changed,
                                                                 .data = app});
}

struct app *app_new_for(const struct options *options, struct environment *environment)
{
    struct app *app = talloc_zero(NULL, struct app);
    app->options = options;
    app->environment = talloc_steal(app, environment);
    app->loop = loop_new();
    ev_init(&app->tell_later, on_tell_later);
    app->tell_later.data = app;
    app->ssh = make_pool(app);
    app->store = options->no_state ? NULL : host_store_new(app->loop, app->environment->name);
    app->fleet = fleet_new(app->loop, app->environment, app->ssh, fleet_changed, app);
    fleet_set_sampled(app->fleet, keep_sample, app);
    app->servers = talloc_zero_array(app, struct pg_server *, environment->server_count);
    for (size_t i = 0; i < environment->server_count; i++) {
        struct pg_server *server =
            pg_server_new(app->loop, environment, &environment->servers[i], app->ssh, server_changed, app);
        /* Totals say something at once; deltas only after a while. */
        pg_server_statements_basis(server, options->interval_s > 0 ? BASIS_INTERVAL : BASIS_RESET);
        app->servers[app->server_count++] = server;
    }
    make_jobs(app);
    app->chosen = options->server ? app_server(app, options->server) : NULL;
    app->audit = audit_new(app->loop, environment->name, NULL);
    app->access = access_new(app->loop, environment, app->audit, access_changed, app);
    if (access_state(app->access) != ACCESS_LOCKED)
        access_changed(app, access_state(app->access));
    return app;
}

void app_free(struct app *app)
{
    if (!app)
        return;
    app->changed = NULL;
    TALLOC_FREE(app->audit_state);
    TALLOC_FREE(app->hosts_state);
    TALLOC_FREE(app->disk_store);
    TALLOC_FREE(app->jobs_state);
    TALLOC_FREE(app->redis_state);
    queues_stop(app->queues);
    access_free(app->access);
    for (size_t i = 0; i < app->redis_count; i++)
        redis_server_free(app->redis[i]);
    app->redis_count = 0;
    for (size_t i = 0; i < app->server_count; i++)
        pg_server_free(app->servers[i]);
    app->server_count = 0;
    fleet_free(app->fleet);
    queues_free(app->queues);
    host_store_free(app->store);
    ssh_pool_free(app->ssh);
    audit_free(app->audit);
    ev_timer_stop(loop_ev(app->loop), &app->tell_later);
    loop_free(app->loop);
    talloc_free(app);
}

struct pg_server *app_server(const struct app *app, const char *name)
{
    for (size_t i = 0; i < app->server_count; i++)
        if (strcmp(pg_server_name(app->servers[i]), name) == 0)
            return app->servers[i];
    return NULL;
}

bool app_shows(const struct app *app, const struct pg_server *server)
{
    return !app->chosen || app->chosen == server;
}
