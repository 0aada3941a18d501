/* Stands in until explain.c lands, so that the console can be linked and tried: says that there is no plan
 * yet. Delete it then. */
#include <talloc.h>

#include "backends/postgres/explain.h"

struct explain {
    struct error error;
};

struct explain *explain_new(struct loop *loop, struct pg_server *server, struct audit *audit,
                            const struct explain_request *request,
                            void (*changed)(void *data, struct explain *explain), void *data)
{
    (void)loop, (void)audit, (void)request, (void)changed, (void)data;
    struct explain *explain = talloc_zero(NULL, struct explain);
    error_set(&explain->error, ERROR_UNSUPPORTED, pg_server_name(server), "no plan", NULL, "not built yet");
    return explain;
}
void explain_free(struct explain *explain)
{
    talloc_free(explain);
}
void explain_cancel(struct explain *explain)
{
    (void)explain;
}
enum explain_phase explain_phase(const struct explain *explain)
{
    (void)explain;
    return EXPLAIN_FAILED;
}
double explain_elapsed_s(const struct explain *explain)
{
    (void)explain;
    return 0;
}
const struct error *explain_error(const struct explain *explain)
{
    return &explain->error;
}
const struct plan *explain_plan(const struct explain *explain)
{
    (void)explain;
    return NULL;
}
const char *explain_note(const struct explain *explain)
{
    (void)explain;
    return NULL;
}
void explain_check(struct loop *loop, struct pg_server *server, const struct explain_request *request,
                   void (*done)(void *data, const struct explain_check *check, const struct error *error),
                   void *data)
{
    struct error error;
    (void)loop, (void)request;
    error_set(&error, ERROR_UNSUPPORTED, pg_server_name(server), "no plan", NULL, "not built yet");
    done(data, NULL, &error);
}
void explain_schemas(struct loop *loop, struct pg_server *server, const struct explain_request *request,
                     void (*done)(void *data, const struct explain_schema *schemas, size_t count,
                                  const struct error *error),
                     void *data)
{
    struct error error;
    (void)loop, (void)request;
    error_set(&error, ERROR_UNSUPPORTED, pg_server_name(server), "no plan", NULL, "not built yet");
    done(data, NULL, 0, &error);
}
