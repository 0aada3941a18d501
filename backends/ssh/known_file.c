/* One known_hosts file: lines, names (hashed, wildcards), keys. */
#include "backends/ssh/known_file.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/ssh/base64.h"

enum { PROBLEMS_MAX = 20, SHA1_SIZE = 20, SHA1_BLOCK = 64 };

struct known_line {
    enum known_marker marker;
    int number;
    bool hashed;
    unsigned char salt[SHA1_SIZE], hash[SHA1_SIZE];
    const char *names; /* unless hashed; NUL-terminated, in the file's text */
    const char *type, *key;
};

struct problem {
    int line; /* 0: the file */
    const char *why;
};

struct known_file {
    char *path, *text;
    struct known_line *lines;
    size_t count, room;
    struct problem problems[PROBLEMS_MAX];
    size_t problem_count;
    bool unreadable;
};

static void *checked(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

/* ---- keys ---- */

/* A raw key begins with the length and the name of its type. */
static bool names_type(const unsigned char *key, size_t length, const char **name, size_t *name_length)
{
    if (length < 4)
        return false;
    size_t size = (size_t)key[0] << 24 | (size_t)key[1] << 16 | (size_t)key[2] << 8 | key[3];
    if (size == 0 || size > length - 4)
        return false;
    *name = (const char *)key + 4;
    *name_length = size;
    for (size_t i = 0; i < size; i++)
        if ((*name)[i] <= ' ' || (*name)[i] > '~')
            return false;
    return true;
}

char *ssh_key_type_name(const void *context, const unsigned char *key, size_t length)
{
    const char *name;
    size_t size;
    return names_type(key, length, &name, &size) ? checked(talloc_strndup(context, name, size)) : NULL;
}

const char *ssh_key_short_name(const char *type_name)
{
    static const char *const names[][2] = {
        {"ssh-ed25519", "ED25519"},       {"ecdsa-sha2-", "ECDSA"},  {"ssh-rsa", "RSA"},
        {"sk-ssh-ed25519", "ED25519-SK"}, {"sk-ecdsa-", "ECDSA-SK"}, {"ssh-dss", "DSA"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(type_name, names[i][0], strlen(names[i][0])) == 0)
            return names[i][1];
    return type_name;
}

char *ssh_key_fingerprint(const void *context, const unsigned char *key, size_t length)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (!EVP_Digest(key, length, digest, &size, EVP_sha256(), NULL))
        abort();
    char *text = base64_encode(NULL, digest, size, 0);
    char *fingerprint = checked(talloc_asprintf(context, "SHA256:%s", text));
    talloc_free(text);
    return fingerprint;
}

/* ---- names ---- */

/* HMAC-SHA1 (RFC 2104) with a key of the digest's size. One digest object serves thousands of lines. */
static void hash_name(EVP_MD_CTX *digest, const EVP_MD *sha1, const unsigned char *salt, const char *name,
                      unsigned char *hash)
{
    unsigned char block[SHA1_BLOCK];
    for (int i = 0; i < SHA1_BLOCK; i++)
        block[i] = (unsigned char)((i < SHA1_SIZE ? salt[i] : 0) ^ 0x36);
    bool done = EVP_DigestInit_ex(digest, sha1, NULL) && EVP_DigestUpdate(digest, block, sizeof block) &&
                EVP_DigestUpdate(digest, name, strlen(name)) && EVP_DigestFinal_ex(digest, hash, NULL);
    for (int i = 0; i < SHA1_BLOCK; i++)
        block[i] ^= 0x36 ^ 0x5c;
    done = done && EVP_DigestInit_ex(digest, sha1, NULL) && EVP_DigestUpdate(digest, block, sizeof block) &&
           EVP_DigestUpdate(digest, hash, SHA1_SIZE) && EVP_DigestFinal_ex(digest, hash, NULL);
    if (!done)
        abort();
}

static char lower(char letter)
{
    return letter >= 'A' && letter <= 'Z' ? (char)(letter | 0x20) : letter;
}

/* `*` and `?`. Goes back to the last star only, so that no pattern takes more than length times length. */
static bool matches(const char *name, const char *pattern, const char *end)
{
    const char *star = NULL, *again = NULL;
    while (*name) {
        if (pattern < end && *pattern == '*') {
            star = ++pattern;
            again = name;
        } else if (pattern < end && (*pattern == '?' || lower(*pattern) == *name)) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star;
            name = ++again;
        } else {
            return false;
        }
    }
    while (pattern < end && *pattern == '*')
        pattern++;
    return pattern == end;
}

/* A name that is denied counts more than all others. */
static bool list_matches(const char *name, const char *list)
{
    bool positive = false;
    while (*list) {
        bool denied = *list == '!';
        const char *begin = list + denied, *end = begin + strcspn(begin, ",");
        if (matches(name, begin, end)) {
            if (denied)
                return false;
            positive = true;
        }
        list = end + (*end == ',');
    }
    return positive;
}

/* ---- parsing ---- */

static void add_problem(struct known_file *file, int line, const char *why)
{
    if (file->problem_count < PROBLEMS_MAX)
        file->problems[file->problem_count] = (struct problem){line, why};
    file->problem_count++;
}

void known_file_set_problem(struct known_file *file, const char *why)
{
    add_problem(file, 0, checked(talloc_strdup(file, why)));
    file->unreadable = true;
}

bool known_file_unreadable(const struct known_file *file)
{
    return file->unreadable;
}

/* Cuts the next word off; empty at the end of the line. */
static char *next_word(char **rest)
{
    char *word = *rest + strspn(*rest, " \t");
    char *end = word + strcspn(word, " \t");
    *rest = end + (*end != '\0');
    *end = '\0';
    return word;
}

/* "|1|salt|hash" */
static bool read_hash(struct known_line *line, const char *text)
{
    size_t salt_length = 0, hash_length = 0;
    const char *bar = strchr(text + 3, '|');
    if (strncmp(text, "|1|", 3) != 0 || !bar)
        return false;
    unsigned char *salt = base64_decode(NULL, text + 3, (size_t)(bar - text - 3), &salt_length);
    unsigned char *hash = base64_decode(NULL, bar + 1, strlen(bar + 1), &hash_length);
    bool good = salt && hash && salt_length == SHA1_SIZE && hash_length == SHA1_SIZE;
    if (good) {
        memcpy(line->salt, salt, SHA1_SIZE);
        memcpy(line->hash, hash, SHA1_SIZE);
        line->hashed = true;
    }
    talloc_free(salt);
    talloc_free(hash);
    return good;
}

/* Why the line cannot be used; NULL: it can. */
static const char *read_line(struct known_line *line, char *text)
{
    char *names = next_word(&text);
    if (*names == '@') {
        if (strcmp(names, "@revoked") == 0)
            line->marker = KNOWN_REVOKED_KEY;
        else if (strcmp(names, "@cert-authority") == 0)
            line->marker = KNOWN_AUTHORITY;
        else
            return "its marker is neither @revoked nor @cert-authority";
        names = next_word(&text);
    }
    char *type = next_word(&text), *key = next_word(&text);
    size_t length = 0, type_length;
    const char *inside;
    if (!*names || !*type || *type == '#')
        return "it ends before the type of the key";
    if (!*key || *key == '#')
        return "it ends before the key";
    if (*names == '|' && !read_hash(line, names))
        return "its hashed name is damaged";
    line->names = names;
    line->type = type;
    line->key = key;
    if (strspn(type, "0123456789") == strlen(type))
        return "it is a key of SSH version 1";
    unsigned char *blob = base64_decode(NULL, key, strlen(key), &length);
    bool same = blob && names_type(blob, length, &inside, &type_length) && type_length == strlen(type) &&
                memcmp(inside, type, type_length) == 0;
    talloc_free(blob);
    return !blob ? "its key is not base64" : !same ? "its key is not of the type that it says" : NULL;
}

static void take_line(struct known_file *file, char *text, size_t length, int number)
{
    struct known_line line = {.number = number};
    if (memchr(text, '\0', length)) {
        add_problem(file, number, "it holds a NUL");
        return;
    }
    text += strspn(text, " \t");
    if (!*text || *text == '#')
        return;
    const char *wrong = read_line(&line, text);
    if (wrong) {
        add_problem(file, number, wrong);
        return;
    }
    if (file->count == file->room) {
        file->room = file->room ? 2 * file->room : 64;
        file->lines = checked(talloc_realloc(file, file->lines, struct known_line, file->room));
    }
    file->lines[file->count++] = line;
}

struct known_file *known_file_parse(const void *context, const char *path, const char *text, size_t length)
{
    struct known_file *file = checked(talloc_zero(context, struct known_file));
    file->path = checked(talloc_strdup(file, path));
    file->text = checked(talloc_size(file, length + 1));
    memcpy(file->text, text, length);
    file->text[length] = '\0';
    int number = 0;
    for (char *at = file->text, *end = at + length; at < end;) {
        char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        char *last = stop > at && stop[-1] == '\r' ? stop - 1 : stop;
        *stop = *last = '\0';
        take_line(file, at, (size_t)(last - at), ++number);
        at = stop + 1;
    }
    return file;
}

/* ---- looking up ---- */

static void add_entry(const struct known_file *file, const struct known_line *line, struct known_hosts *known)
{
    size_t length = 0;
    known->entries = checked(talloc_realloc(known, known->entries, struct known_entry, known->count + 1));
    unsigned char *blob = checked(base64_decode(known, line->key, strlen(line->key), &length));
    known->entries[known->count++] = (struct known_entry){.marker = line->marker,
                                                          .path = checked(talloc_strdup(known, file->path)),
                                                          .line = line->number,
                                                          .type = checked(talloc_strdup(known, line->type)),
                                                          .blob = blob,
                                                          .length = length};
}

static void add_problems(const struct known_file *file, struct known_hosts *known)
{
    for (size_t i = 0; i < file->problem_count && known->problem_count < PROBLEMS_MAX; i++) {
        const struct problem *problem = &file->problems[i < PROBLEMS_MAX ? i : PROBLEMS_MAX - 1];
        bool rest = known->problem_count + 1 == PROBLEMS_MAX && i + 1 < file->problem_count;
        char *where = problem->line && !rest ? talloc_asprintf(NULL, "%s:%d", file->path, problem->line)
                                             : talloc_strdup(NULL, file->path);
        known->problems =
            checked(talloc_realloc(known, known->problems, struct error, known->problem_count + 1));
        struct error *error = &known->problems[known->problem_count++];
        if (rest)
            error_set(error, ERROR_CONFIG, where, "lines are skipped", NULL, "%zu more",
                      file->problem_count - i);
        else
            error_set(error, problem->line ? ERROR_CONFIG : ERROR_SYSTEM, where,
                      problem->line ? "the line is skipped" : "cannot read the known hosts", NULL, "%s",
                      problem->why);
        talloc_free(where);
    }
}

void known_file_match(const struct known_file *file, struct known_hosts *known)
{
    EVP_MD_CTX *digest = checked(EVP_MD_CTX_new());
    EVP_MD *sha1 = checked(EVP_MD_fetch(NULL, "SHA1", NULL));
    for (size_t i = 0; i < file->count; i++) {
        const struct known_line *line = &file->lines[i];
        unsigned char hash[SHA1_SIZE] = {0};
        if (line->hashed)
            hash_name(digest, sha1, line->salt, known->name, hash);
        if (line->hashed ? memcmp(hash, line->hash, SHA1_SIZE) == 0 : list_matches(known->name, line->names))
            add_entry(file, line, known);
    }
    EVP_MD_free(sha1);
    EVP_MD_CTX_free(digest);
    add_problems(file, known);
}

/* ---- writing ---- */

static char *hashed_name(const void *context, const char *name)
{
    unsigned char salt[SHA1_SIZE], hash[SHA1_SIZE];
    EVP_MD_CTX *digest = checked(EVP_MD_CTX_new());
    if (RAND_bytes(salt, sizeof salt) != 1)
        abort();
    hash_name(digest, EVP_sha1(), salt, name, hash);
    EVP_MD_CTX_free(digest);
    char *salt_text = base64_encode(NULL, salt, sizeof salt, 1);
    char *hash_text = base64_encode(salt_text, hash, sizeof hash, 1);
    char *text = checked(talloc_asprintf(context, "|1|%s|%s", salt_text, hash_text));
    talloc_free(salt_text);
    return text;
}

char *known_hosts_line(const void *context, const char *name, bool hashed, const unsigned char *key,
                       size_t length)
{
    /* What would mean something else in a list of names. */
    bool strange = !*name || *name == '|' || *name == '@' || *name == '#' || strpbrk(name, "!*?,\"'\\");
    for (const char *c = name; *c && !strange; c++)
        strange = (unsigned char)*c <= ' ' || *c == 0x7f;
    char *type = strange ? NULL : ssh_key_type_name(NULL, key, length);
    if (!type)
        return NULL;
    const char *names = hashed ? hashed_name(type, name) : name;
    char *line =
        checked(talloc_asprintf(context, "%s %s %s", names, type, base64_encode(type, key, length, 1)));
    talloc_free(type);
    return line;
}
