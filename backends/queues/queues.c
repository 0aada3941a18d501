/* The board of job systems: where they are looked for, and the feeds of those that were found. */
#include "backends/queues/queues.h"

#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/clock.h"

#define SEARCH_AGAIN_S 30.0
#define INTERVAL_S 5.0
#define DEADLINE_S 10.0
#define SYSTEMS_MOST 256

/* One adapter at one place, looked at again and again. Not a talloc child: the last one who comes back frees
 * it. */
struct queue_search {
    struct queues *queues; /* NULL: forsaken */
    struct loop *loop;
    const struct environment *environment;
    const struct queue_adapter *adapter;
    struct queue_place place;
    char label[200];
    bool in_flight, answered;
    int memory;       /* the adapter's */
    struct feed feed; /* its last end; asked again by hand only, else by the timer of the board */
};

struct queues {
    struct loop *loop;
    struct queues_options options;
    struct queue_search **searches; /* those of settings first */
    size_t search_count, settings_count;
    struct queue_system **systems;
    size_t count;
    int wanted[QUEUE_PARTS];
    uint64_t version;
    ev_timer again;
    bool stopped;
};

static void told(struct queues *queues)
{
    queues->version++;
    if (queues->options.changed && !queues->stopped)
        queues->options.changed(queues->options.data);
}

/* ---- systems ---- */

static void on_feed_changed(void *data)
{
    struct queue_system *system = data;
    if (system->queues)
        told(system->queues);
}

static void on_feed_ask(struct feed *feed, void *data)
{
    struct queue_system *system = data;
    system->adapter->ask(system, (enum queue_part)(feed - system->feeds));
}

static bool part_wanted(const struct queue_system *system, enum queue_part part)
{
    return system->queues->wanted[part] > 0 && !queue_system_part_absent(system, part);
}

static void want_part(struct queue_system *system, enum queue_part part, bool wanted)
{
    if (system->adapter->want)
        system->adapter->want(system, part, wanted);
    feed_want(&system->feeds[part], wanted);
}

static int system_free(struct queue_system *system)
{
    for (int part = 0; part < QUEUE_PARTS; part++)
        snapshot_release(system->latest[part]);
    return 0;
}

void queue_system_publish(struct queue_system *system, enum queue_part part, void *snapshot)
{
    snapshot_publish(&system->latest[part], snapshot);
    system->answers[part]++;
    if (system->closed)
        return;
    if (system->feeds[part].in_flight)
        feed_answered(&system->feeds[part]);
    else
        told(system->queues);
}

void queue_system_failed(struct queue_system *system, enum queue_part part, const struct error *error)
{
    if (!system->closed && system->feeds[part].in_flight)
        feed_failed(&system->feeds[part], error);
}

void queue_system_changed(struct queue_system *system)
{
    if (!system->closed)
        told(system->queues);
}

/* ---- looking for them ---- */

void *queue_system_new(struct queue_search *search, const struct queue_adapter *adapter, size_t size)
{
    struct queue_system *system = talloc_zero_size(NULL, size);
    if (!system)
        abort();
    talloc_set_name_const(system, adapter->id);
    system->adapter = adapter;
    system->at = search->place;
    system->loop = search->loop;
    system->environment = search->environment;
    return system;
}

bool queue_search_alive(const struct queue_search *search)
{
    return search->queues != NULL;
}

struct loop *queue_search_loop(const struct queue_search *search)
{
    return search->loop;
}

struct redis_server *queue_search_redis(const struct queue_search *search, const char *name)
{
    const struct queues_options *options = search->queues ? &search->queues->options : NULL;
    for (size_t i = 0; options && i < options->redis_count; i++)
        if (strcmp(redis_server_name(options->redis[i]), name) == 0)
            return options->redis[i];
    return NULL;
}

int *queue_search_memory(struct queue_search *search)
{
    return &search->memory;
}

static const char *place_server(const struct queue_place *place)
{
    return place->redis      ? redis_server_name(place->redis)
           : place->postgres ? pg_server_name(place->postgres)
                             : host_name(place->host);
}

static bool is_known(const struct queues *queues, const struct queue_system *system)
{
    for (size_t i = 0; i < queues->count; i++)
        if (queues->systems[i]->adapter == system->adapter &&
            strcmp(queues->systems[i]->place, system->place) == 0)
            return true;
    return false;
}

/* In the order of adapters and places, whichever answers first. */
static void insert(struct queues *queues, struct queue_system *system)
{
    size_t at = queues->count;
    while (at > 0 && (queues->systems[at - 1]->adapter > system->adapter ||
                      (queues->systems[at - 1]->adapter == system->adapter &&
                       strcmp(queues->systems[at - 1]->place, system->place) > 0)))
        at--;
    queues->systems = talloc_realloc(queues, queues->systems, struct queue_system *, queues->count + 1);
    if (!queues->systems)
        abort();
    memmove(queues->systems + at + 1, queues->systems + at, (queues->count - at) * sizeof *queues->systems);
    queues->systems[at] = talloc_steal(queues, system);
    queues->count++;
}

void queue_search_found(struct queue_search *search, struct queue_system *system)
{
    struct queues *queues = search->queues;
    const struct queue_adapter *adapter = system->adapter;
    if (!queues || queues->stopped || is_known(queues, system) || queues->count >= SYSTEMS_MOST) {
        system->closed = true;
        talloc_free(system);
        return;
    }
    talloc_set_destructor(system, system_free);
    system->queues = queues;
    if (!system->name)
        system->name = search->place.settings ? search->place.settings->name : adapter->id;
    system->server = place_server(&search->place);
    system->id = talloc_asprintf(system, "%s@%s", system->name, system->place);
    for (int part = 0; part < QUEUE_PARTS; part++)
        feed_init(&system->feeds[part], queues->loop, queue_part_name(part),
                  adapter->intervals[part] > 0 ? adapter->intervals[part] : INTERVAL_S, DEADLINE_S,
                  on_feed_ask, on_feed_changed, system);
    insert(queues, system);
    for (int part = 0; part < QUEUE_PARTS; part++)
        if (part_wanted(system, part))
            want_part(system, part, true);
    told(queues);
}

static void start_searches(struct queues *queues);

void queue_search_done(struct queue_search *search, const struct error *error)
{
    struct queues *queues = search->queues;
    search->in_flight = false;
    if (!queues) {
        free(search);
        return;
    }
    search->answered = true;
    if (error)
        feed_failed(&search->feed, error);
    else
        feed_answered(&search->feed);
    start_searches(queues);
    told(queues);
}

static bool settings_answered(const struct queues *queues)
{
    for (size_t i = 0; i < queues->settings_count; i++)
        if (!queues->searches[i]->answered)
            return false;
    return true;
}

static void search_now(struct queue_search *search)
{
    search->in_flight = search->feed.in_flight = true;
    search->feed.asked_monotonic = clock_monotonic();
    search->adapter->search(search, &search->place);
}

static void on_search_ask(struct feed *feed, void *data)
{
    struct queue_search *search = data;
    (void)feed;
    if (!search->in_flight)
        search_now(search);
}

/* What the file names is found first: the same system is not found once more without its settings. */
static void start_searches(struct queues *queues)
{
    size_t count = settings_answered(queues) ? queues->search_count : queues->settings_count;
    for (size_t i = 0; i < count && !queues->stopped; i++) {
        struct queue_search *search = queues->searches[i];
        if (search->in_flight || search->answered)
            continue;
        search_now(search);
    }
}

static bool is_wanted(const struct queues *queues)
{
    for (int part = 0; part < QUEUE_PARTS; part++)
        if (queues->wanted[part] > 0)
            return true;
    return false;
}

static void on_again(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct queues *queues = timer->data;
    (void)loop, (void)events;
    if (!is_wanted(queues))
        return;
    for (size_t i = 0; i < queues->search_count; i++) {
        struct queue_search *search = queues->searches[i];
        if (!search->in_flight)
            search_now(search);
    }
}

static void add_search(struct queues *queues, const struct queue_adapter *adapter, struct queue_place place)
{
    struct queue_search *search = calloc(1, sizeof *search);
    queues->searches =
        talloc_realloc(queues, queues->searches, struct queue_search *, queues->search_count + 1);
    if (!search || !queues->searches)
        abort();
    search->queues = queues;
    search->loop = queues->loop;
    search->environment = queues->options.environment;
    search->adapter = adapter;
    search->place = place;
    snprintf(search->label, sizeof search->label, "%s on %s", adapter->title, place_server(&place));
    feed_init(&search->feed, queues->loop, "search", SEARCH_AGAIN_S, DEADLINE_S, on_search_ask, NULL, search);
    queues->searches[queues->search_count++] = search;
}

static const struct queue_adapter *find_adapter(const char *id)
{
    for (size_t i = 0; i < queue_adapter_count; i++)
        if (strcmp(queue_adapters[i]->id, id) == 0)
            return queue_adapters[i];
    return NULL;
}

static void add_settings(struct queues *queues, const struct environment_jobs *settings)
{
    const struct queues_options *options = &queues->options;
    const struct queue_adapter *adapter = find_adapter(settings->system);
    struct queue_place place = {.database = settings->database, .settings = settings};
    for (size_t i = 0; i < options->redis_count && settings->redis; i++)
        if (strcmp(redis_server_name(options->redis[i]), settings->redis) == 0)
            place.redis = options->redis[i];
    for (size_t i = 0; i < options->postgres_count && settings->postgres; i++)
        if (strcmp(pg_server_name(options->postgres[i]), settings->postgres) == 0)
            place.postgres = options->postgres[i];
    if (settings->host && options->fleet)
        place.host = fleet_find(options->fleet, settings->host);
    if (adapter && (place.redis || place.postgres || place.host))
        add_search(queues, adapter, place);
}

static void add_places(struct queues *queues, const struct queue_adapter *adapter)
{
    const struct queues_options *options = &queues->options;
    for (size_t i = 0; adapter->where == ON_REDIS && i < options->redis_count; i++)
        add_search(queues, adapter, (struct queue_place){.redis = options->redis[i], .database = -1});
    for (size_t i = 0; adapter->where == ON_POSTGRES && i < options->postgres_count; i++)
        add_search(queues, adapter, (struct queue_place){.postgres = options->postgres[i], .database = -1});
    for (size_t i = 0; adapter->where == ON_HOST && options->fleet && i < fleet_count(options->fleet); i++)
        add_search(queues, adapter,
                   (struct queue_place){.host = fleet_host(options->fleet, i), .database = -1});
}

/* ---- the board ---- */

struct queues *queues_new(struct loop *loop, const struct queues_options *options)
{
    struct queues *queues = talloc_zero(NULL, struct queues);
    if (!queues)
        abort();
    queues->loop = loop;
    queues->options = *options;
    ev_timer_init(&queues->again, on_again, SEARCH_AGAIN_S, SEARCH_AGAIN_S);
    queues->again.data = queues;
    for (size_t i = 0; i < options->environment->jobs_count; i++)
        add_settings(queues, &options->environment->jobs[i]);
    queues->settings_count = queues->search_count;
    for (size_t i = 0; i < queue_adapter_count; i++)
        add_places(queues, queue_adapters[i]);
    return queues;
}

void queues_stop(struct queues *queues)
{
    if (!queues || queues->stopped)
        return;
    queues->stopped = true;
    ev_timer_stop(loop_ev(queues->loop), &queues->again);
    for (size_t i = 0; i < queues->count; i++) {
        struct queue_system *system = queues->systems[i];
        for (int part = 0; part < QUEUE_PARTS; part++) {
            if (part_wanted(system, part) && system->adapter->want)
                system->adapter->want(system, part, false);
            feed_stop(&system->feeds[part]);
        }
        system->closed = true;
        if (system->adapter->close)
            system->adapter->close(system);
    }
    for (size_t i = 0; i < queues->search_count; i++) {
        feed_stop(&queues->searches[i]->feed);
        queues->searches[i]->queues = NULL;
        if (!queues->searches[i]->in_flight)
            free(queues->searches[i]);
    }
    queues->search_count = 0;
}

void queues_free(struct queues *queues)
{
    queues_stop(queues);
    talloc_free(queues);
}

size_t queues_count(const struct queues *queues)
{
    return queues->count;
}

struct queue_system *queues_system(struct queues *queues, size_t index)
{
    return queues->systems[index];
}

static bool has_name(const struct queue_system *system, const char *name)
{
    size_t length = strlen(system->name);
    if (strcmp(system->name, name) == 0 || strcmp(system->id, name) == 0)
        return true;
    return strncmp(system->name, name, length) == 0 && name[length] == '@' &&
           strcmp(name + length + 1, system->server) == 0;
}

struct queue_system *queues_find(struct queues *queues, const char *name, struct error *error)
{
    struct queue_system *found = NULL;
    char names[400] = "";
    size_t matches = 0, used = 0;
    for (size_t i = 0; i < queues->count; i++) {
        struct queue_system *system = queues->systems[i];
        bool fits = has_name(system, name);
        found = fits ? system : found;
        matches += fits;
        if (used < sizeof names)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? "; " : "", system->id);
    }
    if (matches == 1)
        return found;
    error_set(error, ERROR_USAGE, queues->options.environment->name,
              matches ? "several job systems have that name" : "no such job system", NULL,
              "\"%s\": there are: %s", name, *names ? names : "none");
    return NULL;
}

uint64_t queues_version(const struct queues *queues)
{
    return queues->version;
}

bool queues_searched(const struct queues *queues)
{
    for (size_t i = 0; i < queues->search_count; i++)
        if (!queues->searches[i]->answered)
            return false;
    return true;
}

size_t queues_search_count(const struct queues *queues)
{
    return queues->search_count;
}

const char *queues_search_place(const struct queues *queues, size_t index, const struct error **error)
{
    *error = &queues->searches[index]->feed.error;
    return queues->searches[index]->label;
}

struct feed *queues_search_feed(struct queues *queues, size_t index, const char **server)
{
    const struct queue_place *place = &queues->searches[index]->place;
    /* Nobody says that a host has a job system. */
    if (place->host && !place->settings)
        return NULL;
    *server = place_server(place);
    return &queues->searches[index]->feed;
}

void queues_want(struct queues *queues, enum queue_part part, bool wanted)
{
    bool was = is_wanted(queues);
    if (!wanted && queues->wanted[part] == 1)
        for (size_t i = 0; i < queues->count; i++)
            if (part_wanted(queues->systems[i], part))
                want_part(queues->systems[i], part, false);
    queues->wanted[part] += wanted ? 1 : -1;
    if (wanted && queues->wanted[part] == 1)
        for (size_t i = 0; i < queues->count; i++)
            if (part_wanted(queues->systems[i], part))
                want_part(queues->systems[i], part, true);
    if (!was && is_wanted(queues)) {
        start_searches(queues);
        ev_timer_again(loop_ev(queues->loop), &queues->again);
    } else if (!is_wanted(queues)) {
        ev_timer_stop(loop_ev(queues->loop), &queues->again);
    }
}

/* ---- one system ---- */

const struct queues_snapshot *queue_system_queues(const struct queue_system *system)
{
    return system->latest[PART_QUEUES];
}

const struct workers_snapshot *queue_system_workers(const struct queue_system *system)
{
    return system->latest[PART_WORKERS];
}

const struct failures_snapshot *queue_system_failures(const struct queue_system *system)
{
    return system->latest[PART_FAILURES];
}

const struct schedule_snapshot *queue_system_schedule(const struct queue_system *system)
{
    return system->latest[PART_SCHEDULE];
}

const struct aside_snapshot *queue_system_aside(const struct queue_system *system)
{
    return system->latest[PART_ASIDE];
}

struct feed *queue_system_feed(struct queue_system *system, enum queue_part part)
{
    return &system->feeds[part];
}

const char *queue_system_part_absent(const struct queue_system *system, enum queue_part part)
{
    return system->adapter->part_absent ? system->adapter->part_absent(system, part) : NULL;
}

const char *queue_system_act_absent(const struct queue_system *system, enum queue_act act)
{
    return system->adapter->act_absent ? system->adapter->act_absent(system, act) : "it is only looked at";
}

bool queue_system_can_act(struct queue_system *system, struct error *error)
{
    if (system->at.redis)
        return redis_server_can_act(system->at.redis, error);
    if (system->at.postgres) {
        if (pg_server_act(system->at.postgres))
            return true;
        return error_set(error, ERROR_INTERLOCK, pg_server_name(system->at.postgres), "cannot change jobs",
                         "Unlock the environment (:unlock), and name a login under act: in its file",
                         "no connection that may write is open");
    }
    return true;
}
