#include "backends/yaml.h"

#include <libfyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "core/text.h"

struct frame {
    struct yaml_node *node;
    struct yaml_node *key; /* of a mapping: the key that waits for its value */
};

struct builder {
    struct yaml_document *document;
    struct frame stack[YAML_DEPTH_MAX];
    int depth;
    size_t nodes;
    int documents;
};

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

const char *yaml_kind_name(enum yaml_kind kind)
{
    static const char *const names[] = {
        [YAML_NULL] = "nothing",
        [YAML_SCALAR] = "a text",
        [YAML_LIST] = "a list",
        [YAML_MAPPING] = "a mapping (key: value)",
    };
    return names[kind];
}

void yaml_complain(struct yaml_document *document, int line, int column, const char *what, const char *todo,
                   const char *why_format, ...)
{
    /* A hostile file can be wrong in every byte. */
    if (document->problem_count > 2 * ERROR_LIST_MAX)
        return;
    char why[1024];
    va_list arguments;
    va_start(arguments, why_format);
    vsnprintf(why, sizeof why, why_format, arguments);
    va_end(arguments);
    document->problems =
        must(talloc_realloc(document, document->problems, struct yaml_problem, document->problem_count + 1));
    struct yaml_problem *problem = &document->problems[document->problem_count++];
    *problem = (struct yaml_problem){.line = line, .column = column};
    error_set(&problem->error, ERROR_CONFIG, NULL, what, todo, "%s", why);
}

bool yaml_report(const struct yaml_document *document, struct error_list *errors)
{
    /* Insertion sort: stable, and the problems come nearly in order. */
    struct yaml_problem *problems = document->problems;
    for (size_t i = 1; i < document->problem_count; i++) {
        struct yaml_problem moved = problems[i];
        size_t j = i;
        for (; j && (problems[j - 1].line > moved.line ||
                     (problems[j - 1].line == moved.line && problems[j - 1].column > moved.column));
             j--)
            problems[j] = problems[j - 1];
        problems[j] = moved;
    }
    for (size_t i = 0; i < document->problem_count; i++) {
        const struct error *error = &problems[i].error;
        error_list_at(errors, document->path, problems[i].line, problems[i].column, error->what, error->todo,
                      "%s", error->why);
    }
    return document->problem_count == 0;
}

/* The length of the well-formed UTF-8 character at text, or 0. */
static size_t character_length(const unsigned char *text, size_t left)
{
    unsigned char c = text[0];
    if (c < 0x80)
        return 1;
    size_t length = c >= 0xc2 && c <= 0xdf ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
    if (!length || length > left)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xe0 && text[1] < 0xa0) || (c == 0xed && text[1] > 0x9f) || (c == 0xf0 && text[1] < 0x90) ||
        (c == 0xf4 && text[1] > 0x8f))
        return 0;
    return length;
}

/* libfyaml stops silently at a NUL and gives empty texts for broken UTF-8, so that is looked at first. */
static bool check_bytes(struct yaml_document *document, const char *text, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)text;
    int line = 1, column = 1, bad_line = 0;
    size_t i = length >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (i < length) {
        size_t step = character_length(bytes + i, length - i);
        bool control = (bytes[i] < 0x20 && !strchr("\t\n\r", bytes[i])) || bytes[i] == 0 || bytes[i] == 0x7f;
        /* Once a line: a binary file would be nothing but errors. */
        if ((!step || control) && bad_line != line) {
            bad_line = line;
            yaml_complain(document, line, column, "this line",
                          step ? "Remove it" : "Save the file as UTF-8 without this byte",
                          step ? "control character 0x%02x" : "byte 0x%02x is not UTF-8", bytes[i]);
        }
        if (bytes[i] == '\n') {
            line++;
            column = 1;
        } else {
            column++;
        }
        i += step ? step : 1;
    }
    return bad_line == 0;
}

static struct yaml_node *new_node(struct builder *builder, enum yaml_kind kind, const struct fy_mark *mark)
{
    struct yaml_node *node = must(talloc_zero(builder->document, struct yaml_node));
    node->kind = kind;
    const struct frame *frame = builder->depth ? &builder->stack[builder->depth - 1] : NULL;
    /* An empty value has no place of its own. */
    const struct yaml_node *near = !frame ? NULL : frame->key ? frame->key : frame->node;
    node->line = mark ? mark->line + 1 : near ? near->line : 1;
    node->column = mark ? mark->column + 1 : near ? near->column : 1;
    builder->nodes++;
    return node;
}

static void complain_at(struct builder *builder, const struct yaml_node *node, const char *what,
                        const char *todo, const char *why)
{
    yaml_complain(builder->document, node->line, node->column, what, todo, "%s", why);
}

static unsigned hash_text(const char *text)
{
    unsigned hash = 2166136261u; /* FNV-1a */
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 16777619u;
    return hash;
}

/* Is the key there already? Else it is noted: it will be the next value's. */
static bool is_duplicate(struct builder *builder, struct yaml_node *mapping, const struct yaml_node *key)
{
    unsigned hash = hash_text(key->text);
    const struct yaml_node *other = NULL;
    bool likely = false;
    for (size_t i = 0; i < mapping->count; i++)
        likely |= mapping->hashes[i] == hash;
    for (other = likely ? mapping->first : NULL; other; other = other->next)
        if (strcmp(other->key->text, key->text) == 0) {
            yaml_complain(builder->document, key->line, key->column, key->text, "Keep one of the two",
                          "this key is given twice, first in line %d", other->key->line);
            return true;
        }
    if (mapping->count == talloc_array_length(mapping->hashes))
        mapping->hashes = must(talloc_realloc(mapping, mapping->hashes, unsigned, 2 * mapping->count + 8));
    mapping->hashes[mapping->count] = hash;
    return false;
}

/* Puts a node where it belongs: as the root, a list's value, a mapping's key or a mapping's value. False
 * when the file is not worth reading on. */
static bool attach(struct builder *builder, struct yaml_node *node)
{
    if (!builder->depth) {
        builder->document->root = node;
        return true;
    }
    struct frame *frame = &builder->stack[builder->depth - 1];
    struct yaml_node *parent = frame->node;
    /* A frame always has its node. NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
    if (parent->kind == YAML_MAPPING && !frame->key) {
        frame->key = node;
        if (node->kind == YAML_LIST || node->kind == YAML_MAPPING)
            complain_at(builder, node, "this key", "Write a plain word",
                        "a key cannot be a list or a mapping");
        return true;
    }
    node->key = frame->key;
    frame->key = NULL;
    /* An empty key has no place of its own. */
    if (node->key && node->key->kind == YAML_NULL)
        complain_at(builder, node, "this key", "Write a word in front of the colon", "the key is empty");
    if (node->key && (node->key->kind != YAML_SCALAR || is_duplicate(builder, parent, node->key)))
        return true;
    if (parent->count == YAML_ENTRIES_MAX) {
        complain_at(builder, node, "this entry", "Split it", "more than 10,000 entries in one place");
        return false;
    }
    if (parent->last)
        parent->last->next = node;
    else
        parent->first = node;
    parent->last = node;
    parent->count++;
    return true;
}

static bool open_collection(struct builder *builder, struct yaml_node *node)
{
    if (!attach(builder, node))
        return false;
    if (builder->depth == YAML_DEPTH_MAX) {
        complain_at(builder, node, "this value", "Write it flatter", "nested more than 16 deep");
        return false;
    }
    builder->stack[builder->depth++] = (struct frame){.node = node};
    return true;
}

static bool read_scalar(struct builder *builder, struct fy_token *value, const struct fy_mark *mark)
{
    size_t length = 0;
    const char *text = fy_token_get_text(value, &length);
    enum fy_scalar_style style = fy_token_scalar_style(value);
    bool plain = style == FYSS_PLAIN;
    /* The mark of a block of lines is somewhere in it: its key says more. */
    bool block = style == FYSS_LITERAL || style == FYSS_FOLDED;
    struct yaml_node *node = new_node(builder, YAML_SCALAR, block ? NULL : mark);
    node->plain = plain;
    node->text = must(talloc_strndup(node, text ? text : "", text ? length : 0));
    if (plain && (!*node->text || strcmp(node->text, "~") == 0 || strcasecmp(node->text, "null") == 0))
        node->kind = YAML_NULL;
    /* The mark is behind the opening quote. */
    if (mark && !plain && !block)
        node->column--;
    /* An escape ("\0") must not cut the text short in silence. */
    if (text && memchr(text, 0, length))
        complain_at(builder, node, "this text", "Remove it", "control character 0x00");
    return attach(builder, node);
}

static void refuse_extras(struct builder *builder, struct fy_token *anchor, struct fy_token *tag)
{
    struct fy_token *extras[] = {anchor, tag};
    static const char *const names[] = {"anchor", "tag"};
    for (size_t i = 0; i < 2; i++) {
        /* The mark of an anchor is behind the ampersand. */
        const struct fy_mark *mark = extras[i] ? fy_token_start_mark(extras[i]) : NULL;
        if (mark)
            yaml_complain(builder->document, mark->line + 1, mark->column + 1, names[i],
                          "Write the value out", "anchors, aliases and tags are not read here");
    }
}

static bool take_event(struct builder *builder, struct fy_event *event)
{
    const struct fy_mark *mark = fy_event_start_mark(event);
    switch (event->type) {
    case FYET_DOCUMENT_START:
        if (++builder->documents == 1)
            return true;
        yaml_complain(builder->document, mark ? mark->line + 1 : 1, 1, "second document",
                      "Put it into a file of its own", "one file describes one environment");
        return false;
    case FYET_MAPPING_START:
        refuse_extras(builder, event->mapping_start.anchor, event->mapping_start.tag);
        return open_collection(builder, new_node(builder, YAML_MAPPING, mark));
    case FYET_SEQUENCE_START:
        refuse_extras(builder, event->sequence_start.anchor, event->sequence_start.tag);
        return open_collection(builder, new_node(builder, YAML_LIST, mark));
    case FYET_MAPPING_END:
    case FYET_SEQUENCE_END:
        builder->depth--;
        return true;
    case FYET_SCALAR:
        refuse_extras(builder, event->scalar.anchor, event->scalar.tag);
        return read_scalar(builder, event->scalar.value, mark);
    case FYET_ALIAS: {
        struct yaml_node *node = new_node(builder, YAML_NULL, mark);
        node->column -= mark != NULL; /* the mark is behind the asterisk */
        complain_at(builder, node, "alias", "Write the value out",
                    "anchors, aliases and tags are not read here");
        return attach(builder, node);
    }
    default:
        return true;
    }
}

static void run_parser(struct builder *builder, struct fy_parser *parser, struct fy_diag *diag)
{
    struct yaml_document *document = builder->document;
    struct fy_event *event;
    bool going = true;
    while (going && (event = fy_parser_parse(parser))) {
        going = take_event(builder, event);
        if (builder->nodes > YAML_NODES_MAX) {
            const struct fy_mark *mark = fy_event_start_mark(event);
            yaml_complain(document, mark ? mark->line + 1 : 1, mark ? mark->column + 1 : 1, "this value",
                          "Split the file", "more than 60,000 values in one file");
            going = false;
        }
        fy_parser_event_free(parser, event);
    }
    document->complete = going && !fy_parser_get_stream_error(parser);
    if (!going || document->complete)
        return;
    void *position = NULL;
    struct fy_diag_error *error, *first = NULL;
    while ((error = fy_diag_errors_iterate(diag, &position)))
        if (!first && error->msg)
            first = error;
    /* Later ones only follow from the first. */
    yaml_complain(document, first && first->line > 0 ? first->line : 1,
                  first && first->column > 0 ? first->column : 1, "not YAML",
                  "Check colons, indentation, quotes and brackets here and in the line before", "%s",
                  first ? first->msg : "the parser gave up");
}

struct yaml_document *yaml_parse(const void *context, const char *path, const char *text, size_t length)
{
    struct yaml_document *document = must(talloc_zero(context, struct yaml_document));
    document->path = must(talloc_strdup(document, path));
    if (length > YAML_SIZE_MAX) {
        yaml_complain(document, 1, 1, "this file", "Split it", "larger than 512 kB");
        return document;
    }
    if (!check_bytes(document, text, length))
        return document;
    struct fy_diag_cfg diag_config;
    fy_diag_cfg_default(&diag_config);
    diag_config.fp = NULL;
    struct fy_diag *diag = must(fy_diag_create(&diag_config));
    fy_diag_set_collect_errors(diag, true);
    struct fy_parse_cfg config = {
        .flags = FYPCF_QUIET | FYPCF_JSON_NONE | FYPCF_ALLOW_DUPLICATE_KEYS,
        .diag = diag,
    };
    struct fy_parser *parser = must(fy_parser_create(&config));
    struct builder builder = {.document = document};
    document->complete = true;
    if (length && fy_parser_set_string(parser, text, length) != 0)
        abort();
    if (length)
        run_parser(&builder, parser, diag);
    fy_parser_destroy(parser);
    fy_diag_destroy(diag);
    return document;
}
