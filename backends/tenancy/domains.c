#include "backends/tenancy/domains.h"

#include <ctype.h>
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

/* Tenants choose their domains, and they become a part of URLs: nothing but a name may be in there. */
static bool is_host_name(const char *domain)
{
    size_t length = strlen(domain);
    bool name = length > 0 && length <= 253 && domain[0] != '-';
    for (const char *c = domain; *c && name; c++)
        name = isalnum((unsigned char)*c) || *c == '.' || *c == '-' || *c == '_' || (unsigned char)*c >= 0x80;
    return name;
}

static void take_rows(void *data, int index, const struct pg_rows *rows, const struct error *error)
{
    struct tenancy_domains *self = data;
    (void)index;
    if (error) {
        self->error = *error;
        return;
    }
    int count = pg_rows_count(rows);
    self->domains = talloc_zero_array(self, char *, (size_t)count + 1);
    for (int i = 0; i < count; i++) {
        const char *domain = pg_rows_text(rows, i, 0);
        if (domain && is_host_name(domain))
            self->domains[self->count++] = talloc_strdup(self->domains, domain);
    }
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
