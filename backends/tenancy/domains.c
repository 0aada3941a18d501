#include "backends/tenancy/domains.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/connection.h"

enum { CONNECT_S = 5, DEADLINE_S = 10 };

struct tenancy_domains {
    struct loop *loop;
    struct pg_connection *connection;
    ev_timer later;
    char *label;
    char **domains;
    size_t count;
    struct error error;
    void (*done)(void *data, const char *const *domains, size_t count, const struct error *error);
    void *data;
};

static int domains_free(struct tenancy_domains *self)
{
    self->done = NULL;
    ev_timer_stop(loop_ev(self->loop), &self->later);
    pg_connection_free(self->connection);
    return 0;
}

/* Outside of the connection's own handlers, so that done may free this. */
static void tell(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct tenancy_domains *self = timer->data;
    (void)ev;
    (void)events;
    bool failed = self->error.kind != ERROR_NONE;
    if (self->done)
        self->done(self->data, failed ? NULL : (const char *const *)self->domains, failed ? 0 : self->count,
                   failed ? &self->error : NULL);
}

static void take_rows(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct tenancy_domains *self = data;
    (void)index;
    if (error) {
        self->error = *error;
        return;
    }
    self->count = (size_t)pg_rows_count(rows);
    self->domains = talloc_zero_array(self, char *, self->count + 1);
    for (size_t i = 0; i < self->count; i++)
        self->domains[i] = talloc_strdup(self->domains, pg_rows_text(rows, (int)i, 0));
}

static void take_done(void *data, const struct error *error)
{
    struct tenancy_domains *self = data;
    if (error && self->error.kind == ERROR_NONE)
        self->error = *error;
    if (self->done)
        ev_timer_start(loop_ev(self->loop), &self->later);
}

struct tenancy_domains *tenancy_domains_read(
    const void *context, struct loop *loop, struct pg_server *server, size_t limit,
    void (*done)(void *data, const char *const *domains, size_t count, const struct error *error), void *data)
{
    const struct environment *environment = pg_server_environment(server);
    const struct environment_server *definition = pg_server_definition(server);
    struct tenancy_domains *self = talloc_zero(context, struct tenancy_domains);
    self->loop = loop;
    self->done = done;
    self->data = data;
    self->label = talloc_asprintf(self, "%s: %s as read", environment->name, definition->name);
    ev_timer_init(&self->later, tell, 0, 0);
    self->later.data = self;
    talloc_set_destructor(self, domains_free);
    if (!environment->tenancy.domains || !definition->read) {
        error_set(&self->error, ERROR_CONFIG, self->label, "the tenants' domains cannot be read",
                  "Name them in the environment's urls, or add tenancy.domains and a login named read.",
                  "%s is missing", definition->read ? "tenancy.domains" : "a login named read");
        ev_timer_start(loop_ev(loop), &self->later);
        return self;
    }
    self->connection =
        pg_connection_new(loop, &(struct pg_connection_options){
                                    .label = self->label,
                                    .dsn = definition->read,
                                    .route = pg_server_route(server),
                                    .application_name = "signalbox read",
                                    .settings = "SELECT set_config('default_transaction_read_only', 'on', "
                                                "false), set_config('statement_timeout', '5s', false)",
                                    .connect_timeout_s = CONNECT_S,
                                    .work = WORK_CONNECT});
    char number[24];
    snprintf(number, sizeof number, "%zu", limit);
    /* The file's reader let through SCHEMA.TABLE without quotes. to_jsonb, because not every table has
     * is_primary. */
    const char *table = environment->tenancy.domains, *dot = strchr(table, '.');
    const struct pg_statement statement = {
        .sql = talloc_asprintf(self,
                               "SELECT d.domain FROM \"%.*s\".\"%s\" AS d WHERE coalesce((to_jsonb(d) ->> "
                               "'is_primary')::boolean, true) ORDER BY 1 LIMIT $1",
                               (int)(dot - table), table, dot + 1),
        .parameter_count = 1,
        .parameters = {number}};
    pg_connection_send(self->connection, &statement, 1, DEADLINE_S,
                       (struct pg_handler){.rows = take_rows, .done = take_done, .data = self});
    return self;
}
