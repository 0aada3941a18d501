/*
 * A small tree from a YAML text, in which every node knows its line and column, and the list of what is
 * wrong with it. Only what a configuration needs: one document of mappings, lists and scalars. Tags, anchors
 * and aliases are errors (an alias can stand for a billion nodes), and so is anything that is too large.
 */
#ifndef BACKENDS_YAML_H
#define BACKENDS_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error_list.h"

enum { YAML_SIZE_MAX = 512 * 1024, YAML_DEPTH_MAX = 16, YAML_NODES_MAX = 60000, YAML_ENTRIES_MAX = 10000 };

enum yaml_kind { YAML_NULL, YAML_SCALAR, YAML_LIST, YAML_MAPPING };

struct yaml_node {
    enum yaml_kind kind;
    int line, column;       /* counted from 1; of a null value: those of its key */
    const char *text;       /* of a scalar: UTF-8, perhaps with control characters (escapes) */
    bool plain;             /* of a scalar: written without quotes */
    struct yaml_node *key;  /* in a mapping: the key of this value; always a scalar */
    struct yaml_node *next; /* the next value of the same list or mapping */
    struct yaml_node *first, *last;
    size_t count;     /* of values */
    unsigned *hashes; /* of a mapping: of the keys of its values, so that duplicates are found quickly */
};

struct yaml_problem {
    int line, column;
    struct error error;
};

struct yaml_document {
    const char *path;
    struct yaml_node *root; /* NULL for an empty document */
    bool complete;          /* false when the parser gave up: what is missing may be behind that point */
    struct yaml_problem *problems;
    size_t problem_count;
};

/* Never NULL. Syntax errors and duplicate keys are already among its problems. */
struct yaml_document *yaml_parse(const void *context, const char *path, const char *text, size_t length);

/* Adds a problem at a place of the document. */
void yaml_complain(struct yaml_document *document, int line, int column, const char *what, const char *todo,
                   const char *why_format, ...) __attribute__((format(printf, 6, 7)));

/* Adds all problems to `errors`, in the order of the file. True when there are none. */
bool yaml_report(const struct yaml_document *document, struct error_list *errors);

/* "a mapping (key: value)", "a list", "a text", "nothing": for messages. */
const char *yaml_kind_name(enum yaml_kind kind);

#endif
