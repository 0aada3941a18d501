/* All locks of a session, added to its page when the server has answered. */
#include <math.h>
#include <talloc.h>

#include "core/units.h"
#include "panels/queries.h"

/* A question under way. The page may be closed before the answer comes. */
struct lock_fetch {
    struct app *app;
    struct page *page; /* NULL: closed */
    struct page_guard *guard;
};
/* Lives under the page, and tells the question that it is closed. */
struct page_guard {
    struct lock_fetch *fetch;
};

static int guard_free(struct page_guard *guard)
{
    if (guard->fetch)
        guard->fetch->page = NULL;
    return 0;
}

static void add_lock(struct page *page, const struct held_lock *lock)
{
    char waited[32] = "";
    if (!lock->granted && !isnan(lock->waited_s))
        format_s(waited, sizeof waited, lock->waited_s);
    page_pair_format(page, lock->mode, lock->granted ? STYLE_NORMAL : STYLE_WARNING, "%s%s%s%s%s", lock->type,
                     lock->relation ? " " : "", lock->relation ? lock->relation : "",
                     lock->granted ? "" : "  waits ", waited);
}

static void locks_done(void *data, const struct held_lock *locks, size_t count, const struct error *error)
{
    struct lock_fetch *fetch = data;
    if (fetch->page) {
        page_section(fetch->page, "All locks of the session");
        if (error) {
            char text[1400];
            error_format(error, text, sizeof text);
            page_text(fetch->page, STYLE_CRITICAL, 0, text);
        } else if (!count) {
            page_text(fetch->page, STYLE_DIM, 0, "none");
        }
        for (size_t i = 0; !error && i < count; i++)
            add_lock(fetch->page, &locks[i]);
        if (fetch->app->changed)
            fetch->app->changed(fetch->app);
        fetch->guard->fetch = NULL;
    }
    talloc_free(fetch);
}

void queries_held_locks(struct app *app, struct page *page, const struct session *session)
{
    struct pg_server *server = app_server(app, session->snapshot->server);
    if (!server || !app->console)
        return;
    struct lock_fetch *fetch = talloc_zero(NULL, struct lock_fetch);
    struct page_guard *guard = talloc_zero(page, struct page_guard);
    fetch->app = app;
    fetch->page = page;
    guard->fetch = fetch;
    fetch->guard = guard;
    talloc_set_destructor(guard, guard_free);
    pg_server_fetch_locks(server, session->pid, locks_done, fetch);
}
