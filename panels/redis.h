/* The panel of one Redis: how it is, who is connected, what was slow, what fills it. It lies on another panel
 * (redis_open), and is the command `redis`. */
#ifndef PANELS_REDIS_H
#define PANELS_REDIS_H

#include "backends/redis/look.h"
#include "panels/panel.h"

extern const struct panel_ops panel_redis;
extern const struct view redis_overview_view, redis_keyspace_view, redis_firsts_view, redis_bigkeys_view,
    redis_clients_view, redis_slowlog_view, redis_latency_view, redis_streams_view, redis_channels_view;

/* Opens the panel of a server of the app's on top of the view. */
void redis_open(struct app *app, struct redis_server *server);
/* `signalbox redis`. */
int redis_command(const struct options *options);

/* The panel's own state. */
struct redis_state {
    struct redis_look **looks; /* one for each server of the app, made when first looked at */
    size_t count;
    struct redis_server *focus; /* what the panel is about; NULL: all servers */
};
struct redis_state *redis_state(struct app *app);

/* A row: an item of a snapshot and where it is from. */
struct redis_row {
    const char *server; /* "cache", "cache 10.0.0.5:6379" in a Cluster */
    const void *item;
};
#define REDIS_ITEM(type, row) ((const struct redis_##type *)((const struct redis_row *)(row))->item)
struct value redis_row_server(const void *row);
#define REDIS_SERVER_COLUMN                                                                                  \
    {                                                                                                        \
        "server", "server", "its name in the environment; in a Cluster with the master", UNIT_NONE, 12, 8,   \
            0, redis_row_server, NULL                                                                        \
    }

/* Calls `each` with the latest snapshot of a part of each server that is shown; the list holds them. */
void redis_part_rows(struct app *app, enum redis_part part, struct row_list *list,
                     void (*each)(struct row_list *list, const char *server, const void *snapshot));
/* One row; `id` is allocated under the list. */
void redis_row_add(struct row_list *list, const char *server, const char *node, const void *item,
                   const char *id);
/* The first snapshot of a part that is shown, or NULL; for notes. */
const void *redis_part_first(struct app *app, enum redis_part part);

void redis_part_want(struct app *app, enum redis_part part, bool wanted);
void redis_part_sources(struct app *app, enum redis_part part, struct source_list *list);
uint64_t redis_part_version(struct app *app, enum redis_part part);
/* All columns of a row as a page. */
void redis_detail(const struct column *columns, size_t count, const struct table_row *row, struct page *page);

/* A part's want, sources and version as a view needs them. */
#define REDIS_PART(name, part)                                                                               \
    static void name##_want(struct app *app, bool wanted)                                                    \
    {                                                                                                        \
        redis_part_want(app, part, wanted);                                                                  \
    }                                                                                                        \
    static void name##_sources(struct app *app, struct source_list *list)                                    \
    {                                                                                                        \
        redis_part_sources(app, part, list);                                                                 \
    }                                                                                                        \
    static uint64_t name##_version(struct app *app)                                                          \
    {                                                                                                        \
        return redis_part_version(app, part);                                                                \
    }
#define REDIS_VIEW(name) .want = name##_want, .sources = name##_sources, .version = name##_version
/* The rows of a part, and all columns of a row as a page. */
#define REDIS_ROWS(name, part, each)                                                                         \
    static void name##_rows(struct app *app, struct row_list *list)                                          \
    {                                                                                                        \
        redis_part_rows(app, part, list, each);                                                              \
    }
#define REDIS_DETAIL(name, columns)                                                                          \
    static void name##_detail_page(struct app *app, const struct table_row *row, struct page *page)          \
    {                                                                                                        \
        (void)app;                                                                                           \
        redis_detail(columns, sizeof(columns) / sizeof *(columns), row, page);                               \
    }

/* Values of a member of an item: NULL is blank, NAN and negative counts are unknown. */
#define REDIS_TEXT(type, name, member)                                                                       \
    static struct value type##_##name(const void *row)                                                       \
    {                                                                                                        \
        return value_text(REDIS_ITEM(type, row)->member);                                                    \
    }
#define REDIS_REAL(type, name, member)                                                                       \
    static struct value type##_##name(const void *row)                                                       \
    {                                                                                                        \
        double real = REDIS_ITEM(type, row)->member;                                                         \
        return isnan(real) ? value_unknown() : value_real(real);                                             \
    }
#define REDIS_COUNT(type, name, member)                                                                      \
    static struct value type##_##name(const void *row)                                                       \
    {                                                                                                        \
        int64_t count = REDIS_ITEM(type, row)->member;                                                       \
        return count < 0 ? value_unknown() : value_integer(count);                                           \
    }
#define REDIS_TIME(type, name, member)                                                                       \
    static struct value type##_##name(const void *row)                                                       \
    {                                                                                                        \
        double time = REDIS_ITEM(type, row)->member;                                                         \
        return time > 0 ? value_real(time) : value_blank();                                                  \
    }

#endif
