/*
 * Building the blocking tree. Points are sessions, prepared transactions and blockers that cannot be seen;
 * who waits stands below the first that blocks it. Waits may run in a circle for deadlock_timeout: the one
 * that waits longest is then taken as the root.
 */
#include "backends/postgres/locks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/locks_internal.h"

enum { NOBODY = -1 };

struct point {
    enum lock_node_kind kind;
    int pid;
    const struct session *session;
    const struct prepared_fact *prepared;
    const struct lock_fact *wants; /* NULL: does not wait */
    int *blockers;                 /* points that it waits for */
    size_t blocker_count;
    int *waiters; /* points that wait for it, in the order in which they go */
    size_t waiter_count;
    double waited_s;
    int last_waiter; /* whose edge to it was added last, counted from 1 */
    bool placed;
    int root, depth;
    uint64_t *behind; /* set of points */
};

struct graph {
    const struct locks_facts *facts;
    struct point *points;
    size_t count, session_count, room;
    int *order; /* points as they are drawn */
    size_t placed;
    size_t words;                  /* of a set */
    const struct lock_fact **held; /* what is granted, by pid */
    size_t held_count;
};

bool locks_conflict(const char *held, const char *wanted)
{
    static const struct {
        const char *mode;
        unsigned conflicts; /* bit n: mode number n of this table; PostgreSQL manual, table 13.2 */
    } modes[] = {
        {"AccessShare", 1u << 7},
        {"RowShare", 1u << 6 | 1u << 7},
        {"RowExclusive", 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7},
        {"ShareUpdateExclusive", 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7},
        {"Share", 1u << 2 | 1u << 3 | 1u << 5 | 1u << 6 | 1u << 7},
        {"ShareRowExclusive", 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7},
        {"Exclusive", 0xfeu},
        {"AccessExclusive", 0xffu},
    };
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        for (size_t j = 0; j < sizeof modes / sizeof *modes; j++)
            if (strcmp(modes[i].mode, held) == 0 && strcmp(modes[j].mode, wanted) == 0)
                return modes[i].conflicts >> j & 1;
    return true; /* a mode of a newer version: rather one too many */
}

/* ---- points and edges ---- */

static int compare_pids(const void *a, const void *b)
{
    int left = ((const struct point *)a)->pid, right = ((const struct point *)b)->pid;
    return (left > right) - (left < right);
}

static int find_session(const struct graph *g, int pid)
{
    struct point wanted = {.pid = pid};
    const struct point *found =
        bsearch(&wanted, g->points, g->session_count, sizeof *g->points, compare_pids);
    return found ? (int)(found - g->points) : NOBODY;
}

static int add_point(struct graph *g, struct point point)
{
    if (g->count == g->room) {
        g->room = g->room ? 2 * g->room : 64;
        g->points = talloc_realloc(g, g->points, struct point, g->room);
        if (!g->points)
            abort();
    }
    g->points[g->count] = point;
    return (int)g->count++;
}

static int find_or_add(struct graph *g, enum lock_node_kind kind, int pid,
                       const struct prepared_fact *prepared)
{
    for (size_t i = g->session_count; i < g->count; i++)
        if (g->points[i].kind == kind && g->points[i].pid == pid && g->points[i].prepared == prepared)
            return (int)i;
    return add_point(g, (struct point){.kind = kind, .pid = pid, .prepared = prepared, .waited_s = NAN});
}

static void add_sessions(struct graph *g)
{
    const struct activity_snapshot *activity = g->facts->activity;
    for (size_t i = 0; i < activity->count; i++)
        add_point(g, (struct point){.kind = LOCK_SESSION,
                                    .pid = activity->sessions[i].pid,
                                    .session = &activity->sessions[i],
                                    .waited_s = NAN});
    g->session_count = g->count;
    if (g->count)
        qsort(g->points, g->count, sizeof *g->points, compare_pids);
    for (size_t i = 0; i < g->facts->lock_count; i++) {
        const struct lock_fact *lock = &g->facts->locks[i];
        int at = lock->granted ? NOBODY : find_session(g, lock->pid);
        if (at == NOBODY || g->points[at].wants)
            continue;
        g->points[at].wants = lock;
        /* Before 14 nobody says since when: at most as long as the statement runs. */
        g->points[at].waited_s = isnan(lock->waited_s) ? g->points[at].session->statement_s : lock->waited_s;
    }
}

/* All edges of one waiter are added before those of the next. */
static void add_edge(struct graph *g, int waiter, int blocker)
{
    struct point *point = &g->points[waiter];
    if (blocker == waiter || g->points[blocker].last_waiter == waiter + 1)
        return;
    g->points[blocker].last_waiter = waiter + 1;
    if (!(point->blocker_count & (point->blocker_count + 1)))
        point->blockers = talloc_realloc(g, point->blockers, int, 2 * point->blocker_count + 2);
    point->blockers[point->blocker_count++] = blocker;
}

/* The xid of the prepared transaction that a lock without a pid belongs to. */
static const struct prepared_fact *owner_of(const struct locks_facts *facts, const struct lock_fact *lock)
{
    for (size_t i = 0; i < facts->lock_count; i++) {
        const struct lock_fact *own = &facts->locks[i];
        if (own->pid || !own->granted || !own->xid || strcmp(own->transaction, lock->transaction) != 0)
            continue;
        for (size_t j = 0; j < facts->prepared_count; j++)
            if (facts->prepared[j].xid == own->xid)
                return &facts->prepared[j];
    }
    return NULL;
}

/* pg_blocking_pids calls every prepared transaction 0: which one is found by what it holds. */
static bool add_prepared_edges(struct graph *g, int waiter)
{
    const struct locks_facts *facts = g->facts;
    const struct lock_fact *wants = g->points[waiter].wants;
    bool found = false;
    for (size_t i = 0; wants && i < facts->lock_count; i++) {
        const struct lock_fact *lock = &facts->locks[i];
        if (lock->pid || !lock->granted || strcmp(lock->key, wants->key) != 0 ||
            !locks_conflict(lock->mode, wants->mode))
            continue;
        const struct prepared_fact *prepared = owner_of(facts, lock);
        if (!prepared)
            continue;
        add_edge(g, waiter, find_or_add(g, LOCK_PREPARED, 0, prepared));
        found = true;
    }
    return found;
}

static void add_edges(struct graph *g)
{
    for (size_t i = 0; i < g->session_count; i++) {
        const struct session *session = g->points[i].session;
        for (size_t j = 0; j < session->blocked_by_count; j++) {
            int pid = (int)session->blocked_by[j];
            int blocker = pid ? find_session(g, pid) : NOBODY;
            if (blocker != NOBODY)
                add_edge(g, (int)i, blocker);
            else if (pid || !add_prepared_edges(g, (int)i))
                add_edge(g, (int)i, find_or_add(g, LOCK_INVISIBLE, pid, NULL));
        }
        /* Between the two answers a lock may just have been granted; one that lasts is a red state. */
        const struct point *point = &g->points[i];
        if (point->wants && !session->blocked_by_count && point->wants->waited_s > 1)
            add_edge(g, (int)i, find_or_add(g, LOCK_INVISIBLE, 0, NULL));
    }
}

static int compare_waits(const void *a, const void *b, void *data)
{
    const struct graph *g = data;
    const struct point *left = &g->points[*(const int *)a], *right = &g->points[*(const int *)b];
    double l = isnan(left->waited_s) ? 0 : left->waited_s, r = isnan(right->waited_s) ? 0 : right->waited_s;
    if (l != r)
        return l > r ? -1 : 1;
    return (left->pid > right->pid) - (left->pid < right->pid);
}

static void add_waiters(struct graph *g)
{
    for (size_t i = 0; i < g->count; i++)
        for (size_t j = 0; j < g->points[i].blocker_count; j++)
            g->points[g->points[i].blockers[j]].waiter_count++;
    for (size_t i = 0; i < g->count; i++) {
        g->points[i].waiters = talloc_array(g, int, g->points[i].waiter_count + 1);
        g->points[i].waiter_count = 0;
    }
    for (size_t i = 0; i < g->count; i++)
        for (size_t j = 0; j < g->points[i].blocker_count; j++) {
            struct point *blocker = &g->points[g->points[i].blockers[j]];
            blocker->waiters[blocker->waiter_count++] = (int)i;
        }
    for (size_t i = 0; i < g->count; i++)
        qsort_r(g->points[i].waiters, g->points[i].waiter_count, sizeof(int), compare_waits, g);
}

/* ---- how many are behind ---- */

static bool absorb(struct graph *g, struct point *point)
{
    bool grown = false;
    for (size_t i = 0; i < point->waiter_count; i++) {
        int waiter = point->waiters[i];
        const uint64_t *more = g->points[waiter].behind;
        uint64_t own = 1ull << (waiter % 64);
        for (size_t w = 0; w < g->words; w++) {
            uint64_t fresh = point->behind[w] | more[w] | (w == (size_t)waiter / 64 ? own : 0);
            grown |= fresh != point->behind[w];
            point->behind[w] = fresh;
        }
    }
    return grown;
}

/* From the leaves up; more than one round only where waits run across the tree or in a circle. */
static void count_behind(struct graph *g)
{
    g->words = (g->count + 63) / 64;
    for (size_t i = 0; i < g->count; i++)
        g->points[i].behind = talloc_zero_array(g, uint64_t, g->words);
    bool grown = true;
    for (size_t round = 0; grown && round <= g->count; round++) {
        grown = false;
        for (size_t i = g->placed; i-- > 0;)
            grown |= absorb(g, &g->points[g->order[i]]);
    }
}

static int size_behind(const struct graph *g, int at)
{
    int size = 0;
    for (size_t w = 0; w < g->words; w++)
        size += __builtin_popcountll(g->points[at].behind[w]);
    return size - (int)(g->points[at].behind[at / 64] >> (at % 64) & 1);
}

/* ---- the order in which they are drawn ---- */

static void place(struct graph *g, int at, int root, int depth)
{
    struct point *point = &g->points[at];
    point->placed = true;
    point->root = root;
    point->depth = depth;
    g->order[g->placed++] = at;
    for (size_t i = 0; i < point->waiter_count; i++) {
        const struct point *waiter = &g->points[point->waiters[i]];
        if (!waiter->placed && waiter->blockers[0] == at)
            place(g, point->waiters[i], root, depth + 1);
    }
}

static int longest_unplaced(const struct graph *g)
{
    int longest = NOBODY;
    for (size_t i = 0; i < g->count; i++) {
        if (g->points[i].placed || !g->points[i].blocker_count)
            continue;
        int at = (int)i;
        if (longest == NOBODY || compare_waits(&at, &longest, (void *)g) < 0)
            longest = at;
    }
    return longest;
}

static void place_all(struct graph *g)
{
    g->order = talloc_array(g, int, g->count + 1);
    for (size_t i = 0; i < g->count; i++)
        if (!g->points[i].blocker_count && g->points[i].waiter_count)
            place(g, (int)i, (int)i, 0);
    for (int at; (at = longest_unplaced(g)) != NOBODY;)
        place(g, at, at, 0);
}

struct tree {
    size_t first, length;
    int behind, root;
};

static int compare_trees(const void *a, const void *b)
{
    const struct tree *left = a, *right = b;
    if (left->behind != right->behind)
        return left->behind > right->behind ? -1 : 1;
    return (left->root > right->root) - (left->root < right->root);
}

/* Whole trees, those with the most behind them first. */
static void sort_trees(struct graph *g)
{
    struct tree *trees = talloc_zero_array(g, struct tree, g->placed + 1);
    int *sorted = talloc_array(g, int, g->placed + 1);
    size_t count = 0, at = 0;
    for (size_t i = 0; i < g->placed; i++) {
        if (g->points[g->order[i]].depth == 0)
            trees[count++] =
                (struct tree){.first = i, .root = g->order[i], .behind = size_behind(g, g->order[i])};
        trees[count - 1].length++;
    }
    qsort(trees, count, sizeof *trees, compare_trees);
    for (size_t i = 0; i < count; i++) {
        memcpy(&sorted[at], &g->order[trees[i].first], trees[i].length * sizeof *sorted);
        at += trees[i].length;
    }
    g->order = sorted;
}

/* ---- nodes ---- */

static int compare_holders(const void *a, const void *b)
{
    const struct lock_fact *left = *(const struct lock_fact *const *)a;
    const struct lock_fact *right = *(const struct lock_fact *const *)b;
    if (left->pid != right->pid)
        return left->pid > right->pid ? 1 : -1;
    return (left > right) - (left < right);
}

static void sort_held(struct graph *g)
{
    const struct locks_facts *facts = g->facts;
    g->held = talloc_array(g, const struct lock_fact *, facts->lock_count + 1);
    for (size_t i = 0; i < facts->lock_count; i++)
        if (facts->locks[i].granted)
            g->held[g->held_count++] = &facts->locks[i];
    qsort(g->held, g->held_count, sizeof *g->held, compare_holders);
}

/* The first lock of a pid; held_count when it holds none. */
static size_t first_held(const struct graph *g, int pid)
{
    size_t low = 0, high = g->held_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (g->held[middle]->pid < pid)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* What the point holds of what those directly behind it want; the first of them decides. Only its own locks
 * are gone through: hundreds of sessions may queue for one row, each blocked by all before it. */
static const struct lock_fact *held_by(const struct graph *g, const struct point *point)
{
    size_t first = first_held(g, point->pid);
    for (size_t i = 0; i < point->waiter_count; i++) {
        const struct lock_fact *wants = g->points[point->waiters[i]].wants;
        for (size_t j = first; wants && j < g->held_count && g->held[j]->pid == point->pid; j++) {
            const struct lock_fact *lock = g->held[j];
            if (strcmp(lock->key, wants->key) == 0 && locks_conflict(lock->mode, wants->mode) &&
                (point->kind == LOCK_SESSION || owner_of(g->facts, lock) == point->prepared))
                return lock;
        }
    }
    return NULL;
}

static void fill_node(struct lock_node *node, const struct graph *g, int at, int unseen)
{
    const struct point *point = &g->points[at];
    const struct lock_fact *holds = point->kind == LOCK_INVISIBLE ? NULL : held_by(g, point);
    const void *context = node->snapshot;
    *node = (struct lock_node){
        .kind = point->kind,
        .pid = point->pid,
        .root = g->points[point->root].pid,
        .depth = point->depth,
        .waited_s = point->wants ? point->waited_s : NAN,
        .mode = point->wants ? talloc_strdup(context, point->wants->mode) : NULL,
        .relation = point->wants ? talloc_strdup(context, point->wants->on) : NULL,
        .holds = holds ? talloc_asprintf(context, "%s %s", holds->mode, holds->on) : NULL,
        .advisory = holds && strcmp(holds->type, "advisory") == 0,
        .behind = size_behind(g, at),
        .prepared_s = point->kind == LOCK_PREPARED ? point->prepared->age_s : NAN,
        .session = point->session,
        .snapshot = node->snapshot,
    };
    if (point->kind == LOCK_SESSION) {
        node->id = talloc_strdup(context, point->session->id);
    } else if (point->kind == LOCK_PREPARED) {
        node->gid = talloc_strdup(context, point->prepared->gid);
        node->owner = talloc_strdup(context, point->prepared->owner);
        node->id = talloc_asprintf(context, "prepared %s", node->gid);
    } else {
        node->id = talloc_asprintf(context, "?%d", unseen);
    }
}

static int on_free(struct locks_snapshot **keeper)
{
    snapshot_release((*keeper)->activity);
    return 0;
}

struct locks_snapshot *locks_build(struct locks_facts *facts, const char *server)
{
    struct graph *g = talloc_zero(NULL, struct graph);
    struct locks_snapshot *snapshot = SNAPSHOT_NEW(struct locks_snapshot);
    if (!g)
        abort();
    g->facts = facts;
    sort_held(g);
    add_sessions(g);
    add_edges(g);
    add_waiters(g);
    place_all(g);
    count_behind(g);
    sort_trees(g);
    snapshot->server = server;
    snapshot->nodes = talloc_zero_array(snapshot, struct lock_node, g->placed);
    int unseen = 0;
    for (size_t i = 0; i < g->placed; i++) {
        const struct point *point = &g->points[g->order[i]];
        unseen += point->kind == LOCK_INVISIBLE;
        snapshot->waiting += point->blocker_count > 0;
        snapshot->nodes[i].snapshot = snapshot;
        fill_node(&snapshot->nodes[i], g, g->order[i], unseen);
    }
    snapshot->count = g->placed;
    snapshot->activity = facts->activity;
    facts->activity = NULL;
    /* The sessions live as long as the nodes that point to them. */
    struct locks_snapshot **keeper = talloc(snapshot, struct locks_snapshot *);
    *keeper = snapshot;
    talloc_set_destructor(keeper, on_free);
    talloc_free(g);
    return snapshot;
}

const struct lock_node *locks_find(const struct locks_snapshot *snapshot, const char *id)
{
    for (size_t i = 0; snapshot && i < snapshot->count; i++)
        if (strcmp(snapshot->nodes[i].id, id) == 0)
            return &snapshot->nodes[i];
    return NULL;
}

/* Who still waits for somebody else does not go. */
const struct lock_node *locks_next(const struct locks_snapshot *snapshot, const struct lock_node *node)
{
    const struct lock_node *end = snapshot->nodes + snapshot->count;
    for (const struct lock_node *n = node + 1; n < end && n->depth > node->depth; n++)
        if (n->depth == node->depth + 1 && n->session && n->session->blocked_by_count == 1)
            return n;
    return NULL;
}
