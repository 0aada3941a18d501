/* The form of a record: canonical JSON without loss, and the link to the record before it. */
#include <ctype.h>
#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "backends/audit_internal.h"
#include "core/clock.h"
#include "core/files.h"
#include "core/secret.h"
#include "core/width.h"

#define PREV ",\"prev\":\""
#define HASH ",\"hash\":\""
enum { PREV_SIZE = sizeof PREV - 1 + AUDIT_HASH + 1, HASH_SIZE = sizeof HASH - 1 + AUDIT_HASH + 2 };

void audit_hash(char *hash, const char *bytes, size_t length)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)bytes, length, digest);
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++)
        snprintf(hash + 2 * i, 3, "%02x", digest[i]);
}

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

char *audit_line(const char *body, struct audit_link *last)
{
    if (last->sequence == 0) {
        memset(last->hash, '0', AUDIT_HASH);
        last->hash[AUDIT_HASH] = '\0';
    }
    size_t size = strlen(body) + 64 + PREV_SIZE + HASH_SIZE;
    char *line = must(malloc(size));
    last->sequence++;
    memcpy(last->prev, last->hash, sizeof last->prev);
    int length =
        snprintf(line, size, "{\"sequence\":%" PRIu64 ",%s" PREV "%s\"", last->sequence, body, last->prev);
    audit_hash(last->hash, line, (size_t)length);
    snprintf(line + length, size - (size_t)length, HASH "%s\"}\n", last->hash);
    return line;
}

static bool hex_read(char *hash, const char *at)
{
    for (int i = 0; i < AUDIT_HASH; i++)
        if (!isdigit((unsigned char)at[i]) && (at[i] < 'a' || at[i] > 'f'))
            return false;
    memcpy(hash, at, AUDIT_HASH);
    hash[AUDIT_HASH] = '\0';
    return true;
}

bool audit_link_read(const char *line, size_t length, struct audit_link *link)
{
    static const char start[] = "{\"sequence\":";
    if (length < sizeof start + PREV_SIZE + HASH_SIZE || memcmp(line, start, sizeof start - 1) != 0)
        return false;
    const char *hash = line + length - HASH_SIZE;
    const char *prev = hash - PREV_SIZE;
    if (memcmp(hash, HASH, sizeof HASH - 1) != 0 || memcmp(line + length - 2, "\"}", 2) != 0 ||
        memcmp(prev, PREV, sizeof PREV - 1) != 0 || hash[-1] != '"')
        return false;
    if (!hex_read(link->hash, hash + sizeof HASH - 1) || !hex_read(link->prev, prev + sizeof PREV - 1))
        return false;
    link->sequence = 0;
    const char *digit = line + sizeof start - 1;
    for (int digits = 0; digit < prev && isdigit((unsigned char)*digit) && digits < 18; digits++)
        link->sequence = link->sequence * 10 + (uint64_t)(*digit++ - '0');
    char actual[AUDIT_HASH + 1];
    audit_hash(actual, line, (size_t)(hash - line));
    return link->sequence > 0 && *digit == ',' && !strcmp(actual, link->hash);
}

void audit_torn_detail(char *detail, size_t size, const char *bytes, size_t length)
{
    char hash[AUDIT_HASH + 1];
    audit_hash(hash, bytes, length);
    snprintf(detail, size, "the line before this one was never finished: %zu bytes, SHA-256 %s", length,
             hash);
}

struct writer {
    char *out;
    size_t used, room;
};

static void put(struct writer *writer, const char *bytes, size_t length)
{
    if (writer->used + length + 1 > writer->room) {
        writer->room = 2 * (writer->used + length + 1);
        writer->out = must(realloc(writer->out, writer->room));
    }
    memcpy(writer->out + writer->used, bytes, length);
    writer->used += length;
    writer->out[writer->used] = '\0';
}

static void put_text(struct writer *writer, const char *text)
{
    put(writer, text, strlen(text));
}

/* UTF-16, as JSON wants it. */
static void put_escape(struct writer *writer, uint32_t character)
{
    char escape[16];
    if (character >= 0x10000)
        snprintf(escape, sizeof escape, "\\u%04x\\u%04x", 0xD800 + ((character - 0x10000) >> 10),
                 0xDC00 + ((character - 0x10000) & 0x3FF));
    else
        snprintf(escape, sizeof escape, "\\u%04x", character);
    put_text(writer, escape);
}

static bool is_plain(uint32_t character)
{
    enum character_class class = character_class(character);
    return class != CHARACTER_HIDDEN && class != CHARACTER_JOINER && class != CHARACTER_SELECTOR &&
           class != CHARACTER_IDEOGRAPH_SELECTOR;
}

/* What could deceive an eye or a terminal is escaped, so that `cat` is safe and nothing is lost; bytes that
 * are not UTF-8 become the text \xNN. */
static void put_string(struct writer *writer, const char *text)
{
    size_t left = strlen(text);
    put_text(writer, "\"");
    while (left) {
        uint32_t character = 0;
        size_t size = utf8_decode(text, left, &character);
        if (size == 0) {
            char byte[8];
            snprintf(byte, sizeof byte, "\\\\x%02x", (unsigned char)*text);
            put_text(writer, byte);
            size = 1;
        } else if (character == '"' || character == '\\') {
            put(writer, "\\", 1);
            put(writer, text, 1);
        } else if (is_plain(character)) {
            put(writer, text, size);
        } else {
            put_escape(writer, character);
        }
        text += size;
        left -= size;
    }
    put_text(writer, "\"");
}

static void put_member(struct writer *writer, const char *name, const char *text)
{
    if (!text)
        return;
    put_text(writer, ",\"");
    put_text(writer, name);
    put_text(writer, "\":");
    put_string(writer, text);
}

/* Writes *** over [from, to). Returns where the text behind it is now. */
static char *blot(char **text, const char *from, const char *to)
{
    size_t start = (size_t)(from - *text);
    char *masked = must(talloc_asprintf(NULL, "%.*s***%s", (int)start, *text, to));
    talloc_free(*text);
    *text = masked;
    return masked + start + 3;
}

/* scheme://user:PASSWORD@host; passwords may hold nearly anything, so the last @ counts. */
static void mask_addresses(char **text)
{
    for (char *at = *text; (at = strstr(at, "://"));) {
        at += 3;
        char *end = at + strcspn(at, "/?# \t\r\n\"'"), *host = memrchr(at, '@', (size_t)(end - at));
        char *colon = host ? memchr(at, ':', (size_t)(host - at)) : NULL;
        if (colon)
            at = blot(text, colon + 1, host);
    }
}

/* password=WORD, as in connection strings; what SQL quotes is masked as a statement. */
static void mask_words(char **text)
{
    for (char *at = *text; (at = strcasestr(at, "password="));) {
        at += strlen("password=");
        size_t length = strcspn(at, "& \t\r\n\"'$");
        if (length)
            at = blot(text, at, at + length);
    }
}

/* Free text may hold a statement or a connection string: both are masked. */
static void put_masked(struct writer *writer, const char *name, const char *text)
{
    if (!text)
        return;
    char *masked = secret_mask_statement(NULL, text);
    mask_addresses(&masked);
    mask_words(&masked);
    put_member(writer, name, masked);
    talloc_free(masked);
}

char *audit_body(const char *environment, const struct audit_entry *entry)
{
    struct writer writer = {0};
    char text[64], host[256] = "";
    char *user = files_user(NULL);
    gethostname(host, sizeof host - 1);
    put_text(&writer, "\"time\":\"");
    put_text(&writer, clock_rfc3339(text, sizeof text, clock_wall()));
    put_text(&writer, "\"");
    put_member(&writer, "user", user);
    put_member(&writer, "host", host);
    snprintf(text, sizeof text, ",\"pid\":%ld", (long)getpid());
    put_text(&writer, text);
    put_member(&writer, "environment", environment);
    put_member(&writer, "event", entry->event);
    put_member(&writer, "change", entry->change);
    put_member(&writer, "server", entry->server);
    put_member(&writer, "hazard", entry->hazard);
    put_member(&writer, "verb", entry->verb);
    put_masked(&writer, "target", entry->target);
    put_masked(&writer, "command", entry->command);
    put_member(&writer, "role", entry->role);
    put_masked(&writer, "reason", entry->reason);
    put_member(&writer, "outcome", entry->outcome);
    put_masked(&writer, "detail", entry->detail);
    talloc_free(user);
    return writer.out;
}
