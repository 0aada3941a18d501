/* Shared by the files that read known_hosts: parsed files, and what of them stands for one host. */
#ifndef BACKENDS_SSH_KNOWN_FILE_H
#define BACKENDS_SSH_KNOWN_FILE_H

#include "backends/ssh/known_hosts.h"

enum known_marker { KNOWN_PLAIN, KNOWN_REVOKED_KEY, KNOWN_AUTHORITY };

struct known_entry {
    enum known_marker marker;
    const char *path;
    int line;
    const char *type; /* "ssh-ed25519" */
    const unsigned char *blob;
    size_t length;
};

struct known_hosts {
    char *name, *algorithms;
    char *files;   /* their names, for errors */
    bool portless; /* the entries are of the name without the port: another key there says nothing */
    struct known_entry *entries;
    size_t count;
    struct error *problems;
    size_t problem_count;
};

/* Adds what the file has of known->name, and the file's problems. Reads the file only. */
void known_file_match(const struct known_file *file, struct known_hosts *known);
/* The file as a whole cannot be read. */
void known_file_set_problem(struct known_file *file, const char *why);
bool known_file_unreadable(const struct known_file *file);

#endif
