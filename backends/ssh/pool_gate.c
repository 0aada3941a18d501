/* Who may shake hands: a few at a time for each server or bastion, so that MaxStartups drops nobody. */
#include <stdlib.h>
#include <string.h>

#include "backends/ssh/pool.h"

/* A server that drops who comes eleventh counts some of those that are in already: it is told late. */
enum { BASTION_MAX = 8, SERVER_MAX = 6 };

struct gate {
    char *key;
    int in_flight;
    struct ssh_host *first, **last; /* who waits */
    UT_hash_handle hh;
};

/* Behind a bastion it is the bastion that counts. */
static char *gate_key(const struct ssh_host *host)
{
    const struct ssh_settings *s = host->settings;
    if (s->hop_count)
        return talloc_asprintf(NULL, "via %s", s->hops[0].destination);
    return talloc_asprintf(NULL, "%s:%d", s->hostname, s->port);
}

bool gate_enter(struct ssh_host *host)
{
    struct ssh_pool *pool = host->pool;
    char *key = gate_key(host);
    struct gate *gate;
    HASH_FIND_STR(pool->gates, key, gate);
    if (!gate) {
        gate = talloc_zero(NULL, struct gate);
        gate->key = talloc_steal(gate, key);
        gate->last = &gate->first;
        HASH_ADD_KEYPTR(hh, pool->gates, gate->key, strlen(gate->key), gate);
    } else {
        talloc_free(key);
    }
    host->gate = gate;
    host->next_at_gate = NULL;
    host->at_gate = gate->in_flight >= (host->settings->hop_count ? BASTION_MAX : SERVER_MAX);
    if (host->at_gate) {
        *gate->last = host;
        gate->last = &host->next_at_gate;
    } else {
        gate->in_flight++;
    }
    return !host->at_gate;
}

static void leave_queue(struct gate *gate, struct ssh_host *host)
{
    for (struct ssh_host **at = &gate->first; *at; at = &(*at)->next_at_gate) {
        if (*at != host)
            continue;
        *at = host->next_at_gate;
        if (!*at)
            gate->last = at;
        break;
    }
    host->at_gate = false;
}

void gate_leave(struct ssh_host *host)
{
    struct gate *gate = host->gate;
    if (!gate)
        return;
    host->gate = NULL;
    if (host->at_gate) {
        leave_queue(gate, host);
    } else {
        gate->in_flight--;
        struct ssh_host *next = gate->first;
        if (next && !host->pool->doomed) {
            leave_queue(gate, next);
            gate->in_flight++;
            gate_opened(next);
            return;
        }
    }
    if (gate->in_flight == 0 && !gate->first) {
        HASH_DEL(host->pool->gates, gate);
        talloc_free(gate);
    }
}

void gates_free(struct ssh_pool *pool)
{
    struct gate *gate, *following;
    HASH_ITER(hh, pool->gates, gate, following)
    {
        HASH_DEL(pool->gates, gate);
        talloc_free(gate);
    }
}
