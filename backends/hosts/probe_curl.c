/* libcurl's multi interface on libev, as its documentation describes for event loops
 * (curl_multi_socket_action). */
#include "backends/hosts/probe_curl.h"

#include <curl/curl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

enum { BODY_MAX = 1 << 20 };

struct request;

struct probe_curl {
    struct loop *loop;
    CURLM *multi;
    ev_timer timer;
    struct request *requests;
};

struct request {
    struct probe_curl *curl;
    struct request *next, **link;
    CURL *easy;
    struct curl_slist *connect;
    size_t received;
    bool untrusted; /* asked again without checking the certificate, to tell more */
    char message[CURL_ERROR_SIZE];
    char *url;
    double deadline_s;
    void (*done)(void *data, const struct probe_answer *answer);
    void *data;
};

/* A socket that libcurl wants watched. */
struct watch {
    struct probe_curl *curl;
    ev_io io;
};

static int request_free(struct request *request)
{
    if (request->link) {
        *request->link = request->next;
        if (request->next)
            request->next->link = request->link;
    }
    curl_multi_remove_handle(request->curl->multi, request->easy);
    curl_easy_cleanup(request->easy);
    curl_slist_free_all(request->connect);
    return 0;
}

/* As libcurl wants it. NOLINTNEXTLINE(readability-non-const-parameter) */
static size_t take_body(char *bytes, size_t size, size_t count, void *data)
{
    struct request *request = data;
    (void)bytes;
    request->received += size * count;
    return request->received > BODY_MAX ? 0 : size * count;
}

/* ---- answers ---- */

static double milliseconds(CURL *easy, CURLINFO what)
{
    curl_off_t microseconds = 0;
    curl_easy_getinfo(easy, what, &microseconds);
    return microseconds > 0 ? (double)microseconds / 1000 : NAN;
}

/* "Expire date:Nov 26 10:00:00 2026 GMT" of the server's own certificate, the first of the chain. */
static double certificate_until(CURL *easy)
{
    struct curl_certinfo *chain = NULL;
    if (curl_easy_getinfo(easy, CURLINFO_CERTINFO, &chain) != CURLE_OK || !chain || chain->num_of_certs < 1)
        return NAN;
    for (const struct curl_slist *line = chain->certinfo[0]; line; line = line->next)
        if (strncmp(line->data, "Expire date:", 12) == 0) {
            time_t until = curl_getdate(line->data + 12, NULL);
            return until < 0 ? NAN : (double)until;
        }
    return NAN;
}

static enum error_kind kind_of(CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return ERROR_NAME;
    case CURLE_COULDNT_CONNECT:
        return ERROR_REFUSED;
    case CURLE_OPERATION_TIMEDOUT:
        return ERROR_TIMEOUT;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CACERT_BADFILE:
        return ERROR_TLS;
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
        return ERROR_LOST;
    default:
        return ERROR_SERVER;
    }
}

static void answer_request(struct request *request, CURLcode code)
{
    struct probe_answer answer = {.certificate_until = certificate_until(request->easy)};
    long status = 0;
    curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
    answer.status = (int)status;
    answer.name_ms = milliseconds(request->easy, CURLINFO_NAMELOOKUP_TIME_T);
    answer.connect_ms = milliseconds(request->easy, CURLINFO_CONNECT_TIME_T);
    answer.tls_ms = milliseconds(request->easy, CURLINFO_APPCONNECT_TIME_T);
    answer.first_byte_ms = milliseconds(request->easy, CURLINFO_STARTTRANSFER_TIME_T);
    answer.total_ms = milliseconds(request->easy, CURLINFO_TOTAL_TIME_T);
    const char *why = request->message[0] ? request->message : curl_easy_strerror(code);
    /* A body that is too long was an answer. */
    if (code != CURLE_OK && !(code == CURLE_WRITE_ERROR && request->received > BODY_MAX))
        error_set(&answer.error, kind_of(code), request->url, "no answer",
                  kind_of(code) == ERROR_TIMEOUT ? "Look at the web server: Hosts, Services." : NULL, "%s",
                  why);
    else if (request->untrusted)
        error_set(&answer.error, ERROR_TLS, request->url, "users see a warning",
                  "Renew it, or name the file of your own authority (ca) in the environment's urls.",
                  "the certificate is not trusted");
    request->done(request->data, &answer);
    talloc_free(request);
}

/* A certificate that is not trusted still says until when it is, and the server behind it still answers. */
static bool ask_again(struct request *request, CURLcode code)
{
    if (code != CURLE_PEER_FAILED_VERIFICATION || request->untrusted)
        return false;
    request->untrusted = true;
    curl_multi_remove_handle(request->curl->multi, request->easy);
    curl_easy_setopt(request->easy, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(request->easy, CURLOPT_SSL_VERIFYHOST, 0L);
    return curl_multi_add_handle(request->curl->multi, request->easy) == CURLM_OK;
}

static void take_answers(struct probe_curl *curl)
{
    int left;
    CURLMsg *message;
    while ((message = curl_multi_info_read(curl->multi, &left))) {
        struct request *request = NULL;
        CURLcode code = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&request);
        if (message->msg == CURLMSG_DONE && request && !ask_again(request, code))
            answer_request(request, code);
    }
}

/* ---- the loop ---- */

static void on_socket(struct ev_loop *ev, ev_io *io, int events)
{
    struct probe_curl *curl = ((struct watch *)io->data)->curl;
    int running, what = (events & EV_READ ? CURL_CSELECT_IN : 0) | (events & EV_WRITE ? CURL_CSELECT_OUT : 0);
    (void)ev;
    curl_multi_socket_action(curl->multi, io->fd, what, &running);
    take_answers(curl);
}

static void on_timer(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct probe_curl *curl = timer->data;
    int running;
    (void)ev;
    (void)events;
    curl_multi_socket_action(curl->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    take_answers(curl);
}

static int watch_free(struct watch *watch)
{
    ev_io_stop(loop_ev(watch->curl->loop), &watch->io);
    return 0;
}

static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *data, void *socket_data)
{
    struct probe_curl *curl = data;
    struct watch *watch = socket_data;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        curl_multi_assign(curl->multi, fd, NULL);
        talloc_free(watch);
        return 0;
    }
    if (!watch) {
        watch = talloc_zero(curl, struct watch);
        watch->curl = curl;
        watch->io.data = watch;
        talloc_set_destructor(watch, watch_free);
        curl_multi_assign(curl->multi, fd, watch);
    }
    /* The same number may be another socket by now. */
    ev_io_stop(loop_ev(curl->loop), &watch->io);
    ev_io_init(&watch->io, on_socket, fd,
               (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
    watch->io.data = watch;
    ev_io_start(loop_ev(curl->loop), &watch->io);
    return 0;
}

static int timer_wanted(CURLM *multi, long milliseconds_left, void *data)
{
    struct probe_curl *curl = data;
    (void)multi;
    ev_timer_stop(loop_ev(curl->loop), &curl->timer);
    if (milliseconds_left >= 0) {
        ev_timer_set(&curl->timer, (double)milliseconds_left / 1000, 0);
        ev_timer_start(loop_ev(curl->loop), &curl->timer);
    }
    return 0;
}

struct probe_curl *probe_curl_new(struct loop *loop)
{
    struct probe_curl *curl = talloc_zero(NULL, struct probe_curl);
    curl->loop = loop;
    curl->multi = curl_multi_init();
    if (!curl->multi)
        abort();
    ev_timer_init(&curl->timer, on_timer, 0, 0);
    curl->timer.data = curl;
    curl_multi_setopt(curl->multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    curl_multi_setopt(curl->multi, CURLMOPT_SOCKETDATA, curl);
    curl_multi_setopt(curl->multi, CURLMOPT_TIMERFUNCTION, timer_wanted);
    curl_multi_setopt(curl->multi, CURLMOPT_TIMERDATA, curl);
    curl_multi_setopt(curl->multi, CURLMOPT_MAXCONNECTS, 0L);
    return curl;
}

void probe_curl_free(struct probe_curl *curl)
{
    if (!curl)
        return;
    while (curl->requests)
        talloc_free(curl->requests);
    curl_multi_cleanup(curl->multi);
    ev_timer_stop(loop_ev(curl->loop), &curl->timer);
    talloc_free(curl);
}

/* What a probe may do: GET over HTTP, nothing kept from one to the next, so that the times are those of a new
 * user. */
static void set_options(struct request *request, const char *connect, const char *ca)
{
    CURL *easy = request->easy;
    curl_easy_setopt(easy, CURLOPT_URL, request->url);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*"); /* users have no proxy of ours */
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_CERTINFO, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "signalbox/" SIGNALBOX_VERSION);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(request->deadline_s * 1000));
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->message);
    if (ca)
        curl_easy_setopt(easy, CURLOPT_CAINFO, ca);
    if (connect) {
        char *target = talloc_asprintf(request, "::%s", connect);
        request->connect = curl_slist_append(NULL, target);
        curl_easy_setopt(easy, CURLOPT_CONNECT_TO, request->connect);
    }
}

void probe_curl_get(struct probe_curl *curl, const char *url, const char *connect, const char *ca,
                    double deadline_s, void (*done)(void *data, const struct probe_answer *answer),
                    void *data)
{
    struct request *request = talloc_zero(curl, struct request);
    *request = (struct request){.curl = curl, .done = done, .data = data, .deadline_s = deadline_s};
    request->url = talloc_strdup(request, url);
    request->easy = curl_easy_init();
    if (!request->easy)
        abort();
    request->next = curl->requests;
    request->link = &curl->requests;
    if (request->next)
        request->next->link = &request->next;
    curl->requests = request;
    talloc_set_destructor(request, request_free);
    set_options(request, connect, ca);
    /* Adding starts a timer of 0 s: nothing is answered within this call. */
    curl_multi_add_handle(curl->multi, request->easy);
}
