#include "backends/hosts/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/hosts/lines.h"
#include "backends/hosts/probe_curl.h"
#include "backends/ssh/run.h"
#include "core/clock.h"

#define INTERVAL_S 30
#define DEADLINE_S 10
enum { IN_FLIGHT = 8, PROBES_MAX = 400 };

/* A probe with what is needed to ask it. */
struct asked {
    struct probe probe;
    struct probes *probes;
    const struct environment_url *definition;
    struct host *host; /* NULL: from here */
    struct ssh_run *run;
};

struct probes {
    struct loop *loop;
    const struct environment *environment;
    struct fleet *fleet;
    void (*changed)(void *data);
    void *data;
    struct feed feed;
    struct probe_curl *curl;
    void *items_context;
    struct asked **items;
    size_t count;
    size_t next, in_flight; /* of this round */
    bool waits;             /* for the tenants' domains */
    struct error no_domains;
};

/* ---- the list ---- */

static char *replace_domain(const void *context, const char *url, const char *domain)
{
    const char *at = strstr(url, "{domain}");
    if (!at || !domain)
        return talloc_strdup(context, url);
    return talloc_asprintf(context, "%.*s%s%s", (int)(at - url), url, domain, at + strlen("{domain}"));
}

static void add_probe(struct probes *probes, const struct environment_url *definition, const char *domain,
                      struct host *host)
{
    if (probes->count >= PROBES_MAX)
        return;
    struct asked *asked = talloc_zero(probes->items_context, struct asked);
    struct probe *probe = &asked->probe;
    *asked = (struct asked){.probes = probes, .definition = definition, .host = host};
    probe->name = definition->name;
    probe->domain = domain ? talloc_strdup(asked, domain) : NULL;
    probe->url = replace_domain(asked, definition->url, domain);
    probe->from = host ? host_name(host) : "here";
    probe->id = talloc_asprintf(asked, "%s/%s/%s", probe->name, domain ? domain : "", probe->from);
    probe->expect = definition->expect;
    probe->name_ms = probe->connect_ms = probe->tls_ms = probe->first_byte_ms = probe->total_ms = NAN;
    probe->certificate_until = NAN;
    probes->items = talloc_realloc(probes->items_context, probes->items, struct asked *, probes->count + 1);
    probes->items[probes->count++] = asked;
}

static void add_url(struct probes *probes, const struct environment_url *definition,
                    const char *const *domains, size_t domain_count)
{
    struct host *from = definition->from ? fleet_find(probes->fleet, definition->from) : NULL;
    bool by_domain = strstr(definition->url, "{domain}") != NULL;
    if (definition->domain_count) {
        domains = definition->domains;
        domain_count = definition->domain_count;
    }
    for (size_t d = 0; d < (by_domain ? domain_count : 1) && d < PROBE_DOMAINS; d++) {
        const char *domain = by_domain ? domains[d] : NULL;
        add_probe(probes, definition, domain, NULL);
        if (from)
            add_probe(probes, definition, domain, from);
    }
}

static void make_list(struct probes *probes, const char *const *domains, size_t domain_count)
{
    for (size_t i = 0; i < probes->count; i++)
        if (probes->items[i]->run)
            ssh_run_cancel(probes->items[i]->run);
    probe_curl_free(probes->curl);
    talloc_free(probes->items_context);
    probes->curl = probe_curl_new(probes->loop);
    probes->items_context = talloc_new(probes);
    probes->items = NULL;
    probes->count = probes->in_flight = 0;
    for (size_t i = 0; i < probes->environment->url_count; i++)
        add_url(probes, &probes->environment->urls[i], domains, domain_count);
    probes->next = probes->count;
}

bool probes_want_domains(const struct probes *probes)
{
    for (size_t i = 0; i < probes->environment->url_count; i++)
        if (strstr(probes->environment->urls[i].url, "{domain}") &&
            !probes->environment->urls[i].domain_count)
            return true;
    return false;
}

/* ---- asking ---- */

static void ask_more(struct probes *probes);

/* Wrong status and untrusted certificates are failures as well: a user cannot log in. */
static void judge(struct probe *probe)
{
    if (probe->error.kind == ERROR_NONE && probe->status != probe->expect)
        error_set(&probe->error, ERROR_SERVER, probe->url, "wrong answer",
                  "Look at the logs of the web server and of the application.", "status %d, not %d",
                  probe->status, probe->expect);
    if (!probe->status) /* how long nothing took says nothing */
        probe->first_byte_ms = probe->total_ms = NAN;
    if (probe->error.kind == ERROR_NONE)
        probe->failing_since = 0;
    else if (probe->failing_since <= 0)
        probe->failing_since = clock_wall();
}

static void round_over(struct probes *probes)
{
    if (probes->no_domains.kind != ERROR_NONE)
        feed_failed(&probes->feed, &probes->no_domains);
    else
        feed_answered(&probes->feed);
}

static void answered(struct asked *asked)
{
    struct probes *probes = asked->probes;
    asked->probe.answered_at = clock_wall();
    judge(&asked->probe);
    probes->in_flight--;
    ask_more(probes);
    if (probes->next >= probes->count && !probes->in_flight)
        round_over(probes);
    if (probes->changed)
        probes->changed(probes->data);
}

static void curl_done(void *data, const struct probe_answer *answer)
{
    struct asked *asked = data;
    struct probe *probe = &asked->probe;
    probe->status = answer->status;
    probe->name_ms = answer->name_ms;
    probe->connect_ms = answer->connect_ms;
    probe->tls_ms = answer->tls_ms;
    probe->first_byte_ms = answer->first_byte_ms;
    probe->total_ms = answer->total_ms;
    probe->certificate_until = answer->certificate_until;
    probe->error = answer->error;
    answered(asked);
}

/* What curl says with -w: seconds with six digits, and the status. */
static void run_done(void *data, const struct ssh_result *result)
{
    struct asked *asked = data;
    struct probe *probe = &asked->probe;
    double seconds[5] = {0};
    asked->run = NULL;
    probe->status = 0;
    error_clear(&probe->error);
    struct span rest = span_of(result->output), word;
    bool read = span_word(&rest, &word) && span_integer(word, 999, &probe->status);
    for (size_t i = 0; i < 5 && read; i++)
        read = span_word(&rest, &word) && span_real(word, false, &seconds[i]);
    double *const times[] = {&probe->name_ms, &probe->connect_ms, &probe->tls_ms, &probe->first_byte_ms,
                             &probe->total_ms};
    for (size_t i = 0; i < 5; i++)
        *times[i] = read && seconds[i] > 0 ? seconds[i] * 1000 : NAN;
    if (result->end.ending == SSH_EXITED && result->end.status == 127)
        error_set(&probe->error, ERROR_UNSUPPORTED, probe->from, "cannot ask from there",
                  "Install curl there, or take from: off this URL.", "curl is not installed");
    else if (result->end.ending != SSH_EXITED || result->end.status)
        ssh_result_ok(result, probe->from, probe->url, &probe->error);
    answered(asked);
}

/* The same request from a host; the certificate is checked there as curl does. */
static void ask_from_host(struct asked *asked)
{
    char *command = talloc_asprintf(
        asked, "curl -sS --globoff -o /dev/null --max-filesize 1048576 --noproxy '*' --max-time %d ",
        DEADLINE_S);
    if (asked->definition->connect)
        command = talloc_asprintf_append(
            command, "--connect-to %s ",
            ssh_quote(command, talloc_asprintf(command, "::%s", asked->definition->connect)));
    /* The authority's file is here, not there: the check is done from here. */
    command =
        talloc_asprintf_append(command,
                               "%s-w '%%{http_code} %%{time_namelookup} %%{time_connect} %%{time_appconnect} "
                               "%%{time_starttransfer} %%{time_total}' -- %s",
                               asked->definition->ca ? "-k " : "", ssh_quote(command, asked->probe.url));
    asked->run =
        ssh_run(host_ssh(asked->host), command, NULL,
                (struct ssh_run_limits){.deadline_s = DEADLINE_S + 5, .bytes = 4096}, run_done, asked);
    talloc_free(command);
}

static void ask_more(struct probes *probes)
{
    while (probes->in_flight < IN_FLIGHT && probes->next < probes->count) {
        struct asked *asked = probes->items[probes->next++];
        probes->in_flight++;
        asked->probe.asked_at = clock_wall();
        if (asked->host)
            ask_from_host(asked);
        else
            probe_curl_get(probes->curl, asked->probe.url, asked->definition->connect, asked->definition->ca,
                           DEADLINE_S, curl_done, asked);
    }
}

static void ask(struct feed *feed, void *data)
{
    struct probes *probes = data;
    /* Answered when they are known. */
    if (probes->waits)
        return;
    if (!probes->count) {
        round_over(probes);
        return;
    }
    (void)feed;
    /* What is still in flight of the last round is over before the next. */
    if (probes->in_flight)
        return;
    probes->next = 0;
    ask_more(probes);
}

static void feed_changed(void *data)
{
    struct probes *probes = data;
    if (probes->changed)
        probes->changed(probes->data);
}

/* ---- the outside ---- */

struct probes *probes_new(struct loop *loop, const struct environment *environment, struct fleet *fleet,
                          void (*changed)(void *data), void *data)
{
    struct probes *probes = talloc_zero(NULL, struct probes);
    probes->loop = loop;
    probes->environment = environment;
    probes->fleet = fleet;
    probes->changed = changed;
    probes->data = data;
    feed_init(&probes->feed, loop, "urls", INTERVAL_S, DEADLINE_S * 3, ask, feed_changed, probes);
    make_list(probes, NULL, 0);
    probes->waits = probes_want_domains(probes);
    return probes;
}

void probes_free(struct probes *probes)
{
    if (!probes)
        return;
    feed_stop(&probes->feed);
    for (size_t i = 0; i < probes->count; i++)
        if (probes->items[i]->run)
            ssh_run_cancel(probes->items[i]->run);
    probe_curl_free(probes->curl);
    talloc_free(probes);
}

/* The list is known now: what was asked before is asked at last, or a round begins anew. */
static void begin(struct probes *probes)
{
    probes->waits = false;
    if (probes->feed.in_flight)
        ask(&probes->feed, probes);
    else
        feed_refresh(&probes->feed);
}

void probes_set_domains(struct probes *probes, const char *const *domains, size_t count)
{
    make_list(probes, domains, count);
    error_clear(&probes->no_domains);
    begin(probes);
}

void probes_no_domains(struct probes *probes, const struct error *error)
{
    probes->no_domains = *error;
    begin(probes);
}

struct feed *probes_feed(struct probes *probes)
{
    return &probes->feed;
}

size_t probes_count(const struct probes *probes)
{
    return probes->count;
}

const struct probe *probes_item(const struct probes *probes, size_t index)
{
    return &probes->items[index]->probe;
}
