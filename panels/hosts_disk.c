#include "panels/hosts_disk.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/disk.h"
#include "core/clock.h"
#include "core/text.h"
#include "core/units.h"
#include "panels/console.h"
#include "panels/hosts_acts.h"
#include "panels/hosts_place.h"

/* Hidden space and rounding: below this share of a mount nothing is said about it. */
#define UNSEEN_SHARE 0.05
enum { NOTES_MAX = 5, DEPTH_MAX = 32 };

enum row_kind { ROW_TITLE, ROW_FOLDER, ROW_FILE, ROW_REST, ROW_SAVING };

struct disk_row {
    enum row_kind kind;
    const char *path; /* of folders and files */
    char *text;
    double bytes, share, grown_bytes, since_s;
    bool measured;
    const struct disk_saving *saving;
};

struct disk_layer {
    struct layer layer;
    struct disk *disk;
    struct host *host;
    void *frame; /* rows of now */
    size_t count;
    bool dirty;
    char *crumb;
};

/* The mounts that were looked at: their measurements are what the next ones are compared with. */
struct disk_store {
    struct disk **disks;
    size_t count;
};

#define ROW(row) ((const struct disk_row *)(row))

static struct value real_or_blank(double real)
{
    return isnan(real) ? value_blank() : value_real(real);
}
static struct value value_of_bytes(const void *row)
{
    if (isnan(ROW(row)->bytes))
        return ROW(row)->kind == ROW_TITLE ? value_blank() : value_unknown();
    return value_real(ROW(row)->bytes);
}
static struct value value_of_share(const void *row)
{
    return real_or_blank(ROW(row)->share);
}
static struct value value_of_grown(const void *row)
{
    struct value value = real_or_blank(ROW(row)->grown_bytes);
    if (ROW(row)->grown_bytes > 0)
        value.severity = SEVERITY_WARNING;
    return value;
}
static struct value value_of_rate(const void *row)
{
    double rate = ROW(row)->grown_bytes * 3600 / ROW(row)->since_s;
    return isnan(rate) || isinf(rate) || rate == 0 ? value_blank() : value_real(rate);
}
static struct value value_of_what(const void *row)
{
    return value_text(ROW(row)->text);
}

static const struct column columns[] = {
    {"bytes", "size", "what it takes on the disk, all below it counted, other mounts not", UNIT_BYTES, 9, 0,
     0, value_of_bytes, NULL},
    {"share", "share", "its part of what is used on the mount", UNIT_SHARE, 14, 1, 0, value_of_share, NULL},
    {"grown_bytes", "grown", "since the measurement before it; measure it again to see what grows",
     UNIT_BYTES, 10, 2, 0, value_of_grown, NULL},
    {"grown_bytes_per_h", "per hour", "the same as a rate", UNIT_BYTES, 10, 3, 0, value_of_rate, NULL},
    {"what", "what", "folders and large files; what is safe to remove", UNIT_NONE, 0, 0, COLUMN_TREE,
     value_of_what, NULL},
};

/* ---- the store ---- */

static struct disk *find_disk(struct app *app, struct host *host, const char *mount)
{
    if (!app->disk_store)
        app->disk_store = talloc_zero(app, struct disk_store);
    struct disk_store *store = app->disk_store;
    for (size_t i = 0; i < store->count; i++)
        if (strcmp(disk_host(store->disks[i]), host_name(host)) == 0 &&
            strcmp(disk_mount(store->disks[i]), mount) == 0)
            return store->disks[i];
    store->disks = talloc_realloc(store, store->disks, struct disk *, store->count + 1);
    if (!store->disks)
        abort();
    void *context = talloc_new(NULL);
    struct host_place place = hosts_place(app, context, host);
    struct disk *disk = disk_new(store, &place, mount, NULL, NULL);
    talloc_free(context);
    store->disks[store->count++] = disk;
    return disk;
}

/* ---- rows ---- */

static const struct host_mount *find_mount(const struct disk_layer *self)
{
    const struct host_snapshot *snapshot = host_latest(self->host);
    for (size_t i = 0; snapshot && i < snapshot->mount_count; i++)
        if (strcmp(snapshot->mounts[i].mount, disk_mount(self->disk)) == 0)
            return &snapshot->mounts[i];
    return NULL;
}

struct rows {
    struct row_list *list;
    const struct disk *disk;
    double whole; /* what 100 % is; NAN: unknown */
};

static void add_row(struct rows *rows, const char *id, int depth, enum severity severity,
                    struct disk_row made)
{
    struct disk_row *row = talloc(rows->list, struct disk_row);
    *row = made;
    row->share = made.kind == ROW_SAVING || made.kind == ROW_TITLE ? NAN : 100 * row->bytes / rows->whole;
    row_list_add(
        rows->list,
        (struct table_row){
            .data = row, .id = id, .depth = depth, .severity = severity, .dim = made.kind == ROW_REST});
}

static void add_level(struct rows *rows, const struct disk_level *level, int depth)
{
    double seen = 0;
    for (size_t i = 0; i < level->count; i++) {
        const struct disk_entry *entry = &level->entries[i];
        const struct disk_level *below =
            entry->folder && depth < DEPTH_MAX ? disk_find(rows->disk, entry->path) : NULL;
        char *id = talloc_strdup(rows->list, entry->path);
        seen += entry->bytes;
        add_row(rows, id, depth, SEVERITY_NONE,
                (struct disk_row){
                    .kind = entry->folder ? ROW_FOLDER : ROW_FILE,
                    .path = id,
                    .text = talloc_asprintf(rows->list, "%s%s", entry->name, entry->folder ? "/" : ""),
                    .bytes = entry->bytes,
                    .grown_bytes = entry->grown_bytes,
                    .since_s = level->since_s,
                    .measured = below != NULL});
        if (below)
            add_level(rows, below, depth + 1);
    }
    if (level->bytes - seen > 4096)
        add_row(rows, talloc_asprintf(rows->list, "%s/.", level->path), depth, SEVERITY_NONE,
                (struct disk_row){.kind = ROW_REST,
                                  .text = "(smaller files)",
                                  .bytes = level->bytes - seen,
                                  .grown_bytes = NAN,
                                  .since_s = NAN});
}

static void add_savings(struct rows *rows)
{
    size_t count;
    const struct disk_saving *savings = disk_savings(rows->disk, &count);
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += isnan(savings[i].bytes) ? 0 : savings[i].bytes;
    add_row(rows, "safe to remove", 0, SEVERITY_NONE,
            (struct disk_row){.kind = ROW_TITLE,
                              .text = !savings ? "safe to remove: looking …"
                                      : count  ? "safe to remove, on whatever mount of this host it lies"
                                               : "safe to remove: nothing was found",
                              .bytes = count ? sum : NAN,
                              .grown_bytes = NAN});
    for (size_t i = 0; i < count; i++)
        add_row(rows, talloc_asprintf(rows->list, "saving %d %s", savings[i].kind, savings[i].what), 1,
                SEVERITY_NONE,
                (struct disk_row){.kind = ROW_SAVING,
                                  .text = talloc_asprintf(rows->list, "%s%s%s", savings[i].what,
                                                          savings[i].todo ? ": " : "",
                                                          savings[i].todo ? savings[i].todo : ""),
                                  .bytes = savings[i].bytes,
                                  .grown_bytes = NAN,
                                  .since_s = NAN,
                                  .saving = &savings[i]});
}

static void make_rows(struct disk_layer *self)
{
    const struct host_mount *mount = find_mount(self);
    const struct disk_level *level = disk_find(self->disk, disk_mount(self->disk));
    struct row_list *list = row_list_new(self);
    struct rows rows = {.list = list, .disk = self->disk, .whole = mount ? mount->used_bytes : NAN};
    if (isnan(rows.whole) && level)
        rows.whole = level->bytes;
    char *id = talloc_strdup(list, disk_mount(self->disk));
    add_row(&rows, id, 0, SEVERITY_NONE,
            (struct disk_row){.kind = level ? ROW_FOLDER : ROW_TITLE,
                              .path = id,
                              .text = id,
                              .bytes = level ? level->bytes : NAN,
                              .grown_bytes = level ? level->grown_bytes : NAN,
                              .since_s = level ? level->since_s : NAN,
                              .measured = level != NULL});
    if (level)
        add_level(&rows, level, 1);
    add_savings(&rows);
    table_set_rows(self->layer.table, list->rows, list->count);
    talloc_free(self->frame);
    self->frame = list;
    self->dirty = false;
}

static void changed(void *data)
{
    struct disk_layer *self = data;
    self->dirty = true;
    self->layer.app->changed(self->layer.app);
}

/* ---- drawing ---- */

/* What must be known beside the figures, each on a line. */
static size_t make_notes(const struct disk_layer *self, const void *context, char *notes[NOTES_MAX])
{
    const struct disk_level *level = disk_find(self->disk, disk_mount(self->disk));
    const struct host_mount *mount = find_mount(self);
    const struct error *error = disk_error(self->disk);
    char text[1400], age[32], unseen[32];
    size_t count = 0;
    if (error->kind != ERROR_NONE) {
        error_format(error, text, sizeof text);
        notes[count++] = talloc_strdup(context, text);
    }
    if (level && level->partial)
        notes[count++] = talloc_asprintf(context,
                                         "! stopped after %d s: folders are missing, and sizes are at least "
                                         "these. Enter measures one folder",
                                         DISK_SECONDS);
    if (level && level->denied)
        notes[count++] = talloc_asprintf(
            context, "! %zu folders are not permitted and not counted · " DISK_SUDOERS, level->denied);
    if (level && mount && !level->partial && !level->denied &&
        mount->used_bytes - level->bytes > UNSEEN_SHARE * mount->size_bytes)
        notes[count++] = talloc_asprintf(
            context,
            "! %s are used that no folder shows: deleted files held open, or files below a mount point",
            format_bytes(unseen, sizeof unseen, mount->used_bytes - level->bytes));
    if (level && !isnan(level->since_s))
        notes[count++] = talloc_asprintf(context, "grown: since the measurement %s before",
                                         format_s(age, sizeof age, level->since_s));
    return count;
}

static void draw_summary(const struct disk_layer *self, struct screen *screen, int row, int columns_wide)
{
    const struct host_mount *mount = find_mount(self);
    const struct disk_level *level = disk_find(self->disk, disk_mount(self->disk));
    double since;
    const char *measuring = disk_measuring(self->disk, &since);
    char used[32], size[32], age[32], path[256], state[400] = "not measured yet";
    char *shown = safe_text_new(NULL, disk_mount(self->disk));
    if (measuring) {
        safe_text(path, sizeof path, measuring, (size_t)-1);
        snprintf(state, sizeof state, "measuring %s · %s · at most %d s · Ctrl-C gives up", path,
                 format_s(age, sizeof age, floor(clock_monotonic() - since)), DISK_SECONDS);
    } else if (level) {
        snprintf(state, sizeof state, "measured %s ago",
                 format_s(age, sizeof age, floor(clock_wall() - level->at)));
    }
    if (mount)
        screen_format(screen, row, 1, columns_wide - 1, STYLE_NORMAL, "%s on %s · %s of %s used · %s", shown,
                      host_name(self->host), format_bytes(used, sizeof used, mount->used_bytes),
                      format_bytes(size, sizeof size, mount->size_bytes), state);
    else
        screen_format(screen, row, 1, columns_wide - 1, STYLE_NORMAL, "%s on %s · %s", shown,
                      host_name(self->host), state);
    talloc_free(shown);
}

static void draw(struct layer *layer, struct screen *screen, int top, int rows, int columns_wide)
{
    struct disk_layer *self = (struct disk_layer *)layer;
    void *context = talloc_new(NULL);
    char *notes[NOTES_MAX];
    size_t count = make_notes(self, context, notes);
    if (self->dirty)
        make_rows(self);
    draw_summary(self, screen, top, columns_wide);
    int used = 1;
    for (size_t i = 0; i < count && used < rows / 2; i++)
        screen_put(screen, top + used++, 1, columns_wide - 1, notes[i][0] == '!' ? STYLE_WARNING : STYLE_DIM,
                   notes[i]);
    table_draw(layer->table, screen, top + used, 0, rows - used, columns_wide);
    talloc_free(context);
}

/* ---- actions ---- */

static void measure(struct disk_layer *self, const char *path)
{
    if (!disk_measure(self->disk, path))
        console_say(self->layer.app->console, SEVERITY_NONE, "one folder at a time: %s is being measured",
                    disk_measuring(self->disk, NULL));
    self->dirty = true;
}

static void remove_saving(struct disk_layer *self, const struct disk_saving *saving)
{
    struct app *app = self->layer.app;
    struct error error = {0};
    void *context = talloc_new(NULL);
    struct host_place place = hosts_place(app, context, self->host);
    struct change *change = disk_saving_change(&place, saving, disk_mount(self->disk), &error);
    if (change)
        console_change(app->console, change);
    else
        console_say_error(app->console, &error);
    talloc_free(context);
}

static void enter(struct disk_layer *self)
{
    const struct table_row *selected = table_selected(self->layer.table);
    const struct disk_row *row = selected ? selected->data : NULL;
    if (!row)
        return;
    if (row->saving)
        remove_saving(self, row->saving);
    else if (row->kind == ROW_FOLDER && row->measured)
        table_act(self->layer.table, "table.fold");
    else if (row->path && row->kind != ROW_FILE)
        measure(self, row->path);
    else
        console_say(self->layer.app->console, SEVERITY_NONE, "a file · F9 rotates or truncates a log");
}

static void act_on(struct disk_layer *self)
{
    struct app *app = self->layer.app;
    const struct table_row *selected = table_selected(self->layer.table);
    const struct disk_row *row = selected ? selected->data : NULL;
    if (row && row->saving)
        remove_saving(self, row->saving);
    else if (row && row->kind == ROW_FILE)
        hosts_acts_choose(app, &self->host, 1,
                          &(struct hosts_target){.kind = TARGET_LOG, .name = row->path, .started = NAN});
    else
        console_say(app->console, SEVERITY_NONE, "folders are not removed here: s opens a shell on the host");
}

/* Measures again what is selected, else the mount. */
static void measure_again(struct disk_layer *self)
{
    const struct table_row *selected = table_selected(self->layer.table);
    const struct disk_row *row = selected ? selected->data : NULL;
    disk_look_savings(self->disk);
    measure(self, row && row->kind == ROW_FOLDER && row->measured ? row->path : disk_mount(self->disk));
}

static bool act(struct layer *layer, const char *action)
{
    struct disk_layer *self = (struct disk_layer *)layer;
    if (strcmp(action, "table.enter") == 0)
        enter(self);
    else if (strcmp(action, "disk.act") == 0)
        act_on(self);
    else if (strcmp(action, "global.refresh") == 0)
        measure_again(self);
    else if (strcmp(action, "global.cancel") == 0 && disk_measuring(self->disk, NULL))
        disk_cancel(self->disk);
    else
        return false;
    return true;
}

static const char *crumb(struct layer *layer)
{
    return ((struct disk_layer *)layer)->crumb;
}

static void free_layer(struct layer *layer)
{
    struct disk_layer *self = (struct disk_layer *)layer;
    disk_cancel(self->disk);
    disk_set_changed(self->disk, NULL, NULL);
}

void hosts_disk_open(struct app *app, struct host *host, const char *mount)
{
    static const char *const contexts[] = {"disk", "table", NULL};
    static const struct layer_ops ops = {
        .contexts = contexts, .crumb = crumb, .draw = draw, .act = act, .free = free_layer};
    struct disk_layer *self = talloc_zero(NULL, struct disk_layer);
    self->layer.ops = &ops;
    self->layer.app = app;
    self->host = host;
    self->disk = find_disk(app, host, mount);
    self->crumb = talloc_asprintf(self, "%s %s", host_name(host), mount);
    self->layer.table = table_new(self, columns, sizeof columns / sizeof *columns);
    self->dirty = true;
    disk_set_changed(self->disk, changed, self);
    if (!disk_find(self->disk, mount))
        disk_measure(self->disk, mount);
    disk_look_savings(self->disk);
    console_push(app->console, &self->layer);
}
