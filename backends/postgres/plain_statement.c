/*
 * What a statement is made of, by libpg_query's parse tree: which functions, operators, types and relations
 * it names, where its parameters stand, and whether its form is that of a plain read. Fails closed: a node
 * that is not in the list of known ones is refused.
 */
#include <ctype.h>
#include <json-c/json.h>
#include <pg_query.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "backends/postgres/plain_read.h"

/* The parser's own limit of nesting is far below. */
enum { JSON_DEPTH = 20000, TEXT_LIMIT = 1024 * 1024 };

struct reading {
    struct plain_statement *statement;
    struct plain_name *names;
    struct plain_place *places;
    const char **ctes;
};

static const char *const known_nodes[] = {
    "A_ArrayExpr",
    "A_Const",
    "A_Expr",
    "A_Indices",
    "A_Indirection",
    "A_Star",
    "Alias",
    "BitString",
    "BoolExpr",
    "Boolean",
    "BooleanTest",
    "CTECycleClause",
    "CaseExpr",
    "CaseWhen",
    "CoalesceExpr",
    "CollateClause",
    "ColumnDef",
    "ColumnRef",
    "CTESearchClause",
    "CommonTableExpr",
    "Float",
    "FuncCall",
    "GroupingFunc",
    "GroupingSet",
    "Integer",
    "JoinExpr",
    "List",
    "MinMaxExpr",
    "NamedArgExpr",
    "NullTest",
    "ParamRef",
    "RangeFunction",
    "RangeSubselect",
    "RangeTableFunc",
    "RangeTableFuncCol",
    "RangeTableSample",
    "RangeVar",
    "ResTarget",
    "RowExpr",
    "SQLValueFunction",
    "SelectStmt",
    "SortBy",
    "String",
    "SubLink",
    "TypeCast",
    "TypeName",
    "WindowDef",
    "WithClause",
    "XmlExpr",
    "XmlSerialize",
};

static void *must(void *pointer)
{
    if (!pointer)
        abort();
    return pointer;
}

static void refuse(struct reading *r, const char *format, const char *what)
{
    if (r->statement->refusal.kind != ERROR_NONE)
        return;
    char why[256];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(why, sizeof why, format, what);
#pragma GCC diagnostic pop
    error_set(&r->statement->refusal, ERROR_INTERLOCK, NULL, "not a plain read, so it is not measured",
              "The plan without measuring can be had.", "%s", why);
}

static const char *copy(struct reading *r, const char *text)
{
    return text ? must(talloc_strdup(r->statement, text)) : NULL;
}

static const char *member_text(struct json_object *object, const char *key)
{
    struct json_object *value;
    return json_object_object_get_ex(object, key, &value) && json_object_is_type(value, json_type_string)
               ? json_object_get_string(value)
               : NULL;
}

static struct json_object *member(struct json_object *object, const char *key)
{
    struct json_object *value;
    return object && json_object_is_type(object, json_type_object) &&
                   json_object_object_get_ex(object, key, &value)
               ? value
               : NULL;
}

static struct json_object *member_list(struct json_object *object, const char *key)
{
    struct json_object *value = member(object, key);
    return value && json_object_is_type(value, json_type_array) ? value : NULL;
}

/* ---- names ---- */

static void add_name(struct reading *r, enum plain_name_kind kind, const char *schema, const char *name,
                     const char *alias)
{
    struct plain_statement *s = r->statement;
    for (size_t i = 0; kind != PLAIN_RELATION && i < s->name_count; i++)
        if (r->names[i].kind == kind && strcmp(r->names[i].name, name) == 0 &&
            !r->names[i].schema == !schema && (!schema || strcmp(r->names[i].schema, schema) == 0))
            return;
    r->names = must(talloc_realloc(s, r->names, struct plain_name, s->name_count + 1));
    r->names[s->name_count++] = (struct plain_name){
        .kind = kind, .schema = copy(r, schema), .name = copy(r, name), .alias = copy(r, alias)};
    s->names = r->names;
}

/* The text of a String node; NULL when the item is another node (A_Star, A_Indices). */
static const char *string_item(struct json_object *list, size_t i)
{
    struct json_object *node = member(json_object_array_get_idx(list, i), "String");
    const char *text = node ? member_text(node, "sval") : NULL;
    return node ? (text ? text : "") : NULL;
}

/* [name], [schema, name] or [catalog, schema, name]. */
static void add_qualified(struct reading *r, enum plain_name_kind kind, struct json_object *list)
{
    size_t count = list ? json_object_array_length(list) : 0;
    if (!count)
        return;
    const char *name = string_item(list, count - 1),
               *schema = count > 1 ? string_item(list, count - 2) : NULL;
    if (!name || (count > 1 && !schema))
        refuse(r, "it has a name that is not understood%s", "");
    else
        add_name(r, kind, schema, name, NULL);
}

static void note_relation(struct reading *r, struct json_object *object)
{
    const char *name = member_text(object, "relname");
    struct json_object *alias = member(object, "alias");
    const char *alias_name = alias ? member_text(alias, "aliasname") : NULL;
    if (name)
        add_name(r, PLAIN_RELATION, member_text(object, "schemaname"), name, alias_name ? alias_name : name);
}

static void note_members(struct reading *r, struct json_object *list, size_t first)
{
    for (size_t i = first; list && i < json_object_array_length(list); i++) {
        const char *name = string_item(list, i);
        if (name)
            add_name(r, PLAIN_MEMBER, NULL, name, NULL);
    }
}

static void note_operators(struct reading *r, struct json_object *object)
{
    const char *kind = member_text(object, "kind");
    add_qualified(r, PLAIN_OPERATOR, member_list(object, "operName"));
    add_qualified(r, PLAIN_OPERATOR, member_list(object, "useOp"));
    if (kind && strncmp(kind, "AEXPR_", 6) == 0) {
        if (strstr(kind, "BETWEEN")) {
            const char *const names[] = {"<", "<=", ">", ">="};
            for (size_t i = 0; i < 4; i++)
                add_name(r, PLAIN_OPERATOR, NULL, names[i], NULL);
        } else {
            add_qualified(r, PLAIN_OPERATOR, member_list(object, "name"));
        }
    }
    /* Comparisons that are not written down. */
    if (member(object, "usingClause") || member(object, "isNatural") || member(object, "subselect") ||
        member(object, "groupClause") || member(object, "distinctClause") ||
        member(object, "partitionClause") || member(object, "larg") || member_text(object, "op"))
        add_name(r, PLAIN_OPERATOR, NULL, "=", NULL);
    if (member(object, "sortby_dir") || member(object, "orderClause")) {
        add_name(r, PLAIN_OPERATOR, NULL, "<", NULL);
        add_name(r, PLAIN_OPERATOR, NULL, ">", NULL);
    }
}

static void note_sample(struct reading *r, struct json_object *object)
{
    struct json_object *list = member_list(object, "method");
    size_t count = list ? json_object_array_length(list) : 0;
    const char *name = count ? string_item(list, count - 1) : NULL;
    bool builtin = name && (strcmp(name, "bernoulli") == 0 || strcmp(name, "system") == 0) &&
                   (count == 1 || (string_item(list, 0) && strcmp(string_item(list, 0), "pg_catalog") == 0));
    if (list && !builtin)
        refuse(r, "it samples a table with the method %s", name ? name : "of an unknown name");
}

/* ---- parameters ---- */

static int parameter_of(struct json_object *node)
{
    struct json_object *cast = member(node, "TypeCast");
    struct json_object *reference = member(cast ? member(cast, "arg") : node, "ParamRef");
    return reference ? json_object_get_int(member(reference, "number")) : 0;
}

static void add_place(struct reading *r, enum plain_place_kind kind, int parameter,
                      struct json_object *column)
{
    struct plain_statement *s = r->statement;
    struct json_object *cast = member(column, "TypeCast");
    struct json_object *fields =
        member_list(member(cast ? member(cast, "arg") : column, "ColumnRef"), "fields");
    size_t count = fields ? json_object_array_length(fields) : 0;
    const char *name = count ? string_item(fields, count - 1) : NULL;
    if (parameter < 1 || (kind < PLAIN_LIMIT && !name))
        return;
    r->places = must(talloc_realloc(s, r->places, struct plain_place, s->place_count + 1));
    r->places[s->place_count++] =
        (struct plain_place){.kind = kind,
                             .parameter = parameter,
                             .qualifier = copy(r, count > 1 ? string_item(fields, count - 2) : NULL),
                             .column = copy(r, name)};
    s->places = r->places;
}

static void note_comparison(struct reading *r, struct json_object *object)
{
    const char *kind = member_text(object, "kind");
    struct json_object *left = member(object, "lexpr"), *right = member(object, "rexpr");
    struct json_object *names = member_list(object, "name");
    const char *name = names ? string_item(names, json_object_array_length(names) - 1) : NULL;
    if (!kind || !name || !left || !right)
        return;
    enum plain_place_kind place = *name == '<' || *name == '>' ? PLAIN_RANGE : PLAIN_EQUAL;
    if (strcmp(name, "<>") == 0 || (*name != '<' && *name != '>' && *name != '=' && *name != '~'))
        place = PLAIN_EQUAL;
    if (strcmp(kind, "AEXPR_OP_ANY") == 0 || strcmp(kind, "AEXPR_OP_ALL") == 0)
        place = PLAIN_ANY;
    if (strstr(kind, "BETWEEN"))
        place = PLAIN_RANGE;
    if (strcmp(kind, "AEXPR_OP") == 0 && !strchr("<>=~", *name))
        return; /* arithmetic: the column's values say nothing */
    add_place(r, place, parameter_of(right), left);
    add_place(r, place, parameter_of(left), right);
    struct json_object *items = member_list(member(right, "List"), "items");
    for (size_t i = 0; items && i < json_object_array_length(items); i++)
        add_place(r, place, parameter_of(json_object_array_get_idx(items, i)), left);
}

static void note_parameters(struct reading *r, struct json_object *object)
{
    struct json_object *number = member(object, "number");
    if (number && json_object_get_int(number) > r->statement->parameters)
        r->statement->parameters = json_object_get_int(number);
    if (member(object, "lexpr"))
        note_comparison(r, object);
    add_place(r, PLAIN_LIMIT, parameter_of(member(object, "limitCount")), NULL);
    add_place(r, PLAIN_OFFSET, parameter_of(member(object, "limitOffset")), NULL);
}

static void note_cte(struct reading *r, struct json_object *object)
{
    const char *name = member_text(object, "ctename");
    struct plain_statement *s = r->statement;
    if (!name)
        return;
    r->ctes = must(talloc_realloc(s, r->ctes, const char *, s->cte_count + 1));
    r->ctes[s->cte_count++] = copy(r, name);
    s->ctes = r->ctes;
}

/* ---- the walk ---- */

/* "CreateTableAsStmt" -> "CREATE TABLE AS". */
static void statement_words(char *words, size_t size, const char *node)
{
    size_t length = strlen(node), used = 0;
    if (length > 4 && strcmp(node + length - 4, "Stmt") == 0)
        length -= 4;
    if (strcmp(node, "VariableSetStmt") == 0) {
        snprintf(words, size, "SET");
        return;
    }
    for (size_t i = 0; i < length && used + 3 < size; i++) {
        if (i && isupper((unsigned char)node[i]))
            words[used++] = ' ';
        words[used++] = (char)toupper((unsigned char)node[i]);
    }
    words[used] = '\0';
}

static void check_node(struct reading *r, const char *node)
{
    for (size_t i = 0; i < sizeof known_nodes / sizeof *known_nodes; i++)
        if (strcmp(known_nodes[i], node) == 0)
            return;
    char words[64];
    statement_words(words, sizeof words, node);
    if (strcmp(node, "LockingClause") == 0)
        refuse(r, "it locks rows (FOR UPDATE or FOR SHARE)%s", "");
    else if (strstr(node, "Stmt"))
        refuse(r, "it holds the statement %s", words);
    else
        refuse(r, "it holds something that is not known here: %s", node);
}

static void note_object(struct reading *r, const char *key, struct json_object *object)
{
    if (member(object, "intoClause"))
        refuse(r, "it makes a table (SELECT INTO)%s", "");
    if (member(object, "lockingClause"))
        refuse(r, "it locks rows (FOR UPDATE or FOR SHARE)%s", "");
    add_qualified(r, PLAIN_FUNCTION, member_list(object, "funcname"));
    if (strcmp(key, "TypeName") == 0 || strcmp(key, "typeName") == 0)
        add_qualified(r, PLAIN_TYPE, member_list(object, "names"));
    note_relation(r, object);
    note_operators(r, object);
    note_sample(r, object);
    note_members(r, member_list(object, "fields"), 1);
    note_members(r, member_list(object, "indirection"), 0);
    note_parameters(r, object);
    note_cte(r, object);
}

static void walk(struct reading *r, const char *key, struct json_object *node)
{
    if (json_object_is_type(node, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(node); i++)
            walk(r, "", json_object_array_get_idx(node, i));
    } else if (json_object_is_type(node, json_type_object)) {
        note_object(r, key, node);
        json_object_object_foreach(node, name, value)
        {
            if (isupper((unsigned char)*name))
                check_node(r, name);
            walk(r, name, value);
        }
    }
}

static void read_tree(struct reading *r, struct json_object *tree)
{
    struct plain_statement *s = r->statement;
    struct json_object *statements = member_list(tree, "stmts");
    size_t count = statements ? json_object_array_length(statements) : 0;
    struct json_object *top = count ? member(json_object_array_get_idx(statements, 0), "stmt") : NULL;
    s->parsed = true;
    s->explainable = false;
    if (!top)
        refuse(r, "it is empty%s", "");
    else if (count > 1)
        refuse(r, "it is more than one statement%s", "");
    else {
        static const char *const explainable[] = {"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt",
                                                  "MergeStmt"};
        for (size_t i = 0; i < sizeof explainable / sizeof *explainable; i++)
            s->explainable |= member(top, explainable[i]) != NULL;
        walk(r, "", top);
    }
}

/* ---- interval $1 ---- */

/* The end of a quoted text, a quoted name, a comment or a dollar-quoted text that begins here; else here. */
static const char *skip_quoted(const char *at)
{
    if (*at == '\'' || *at == '"') {
        const char *end = strchr(at + 1, *at);
        return end ? end + 1 : at + strlen(at);
    }
    if (at[0] == '-' && at[1] == '-')
        return at + strcspn(at, "\n");
    if (at[0] == '/' && at[1] == '*') {
        const char *end = strstr(at + 2, "*/");
        return end ? end + 2 : at + strlen(at);
    }
    if (at[0] == '$' && !isdigit((unsigned char)at[1])) {
        size_t tag = 1;
        while (isalnum((unsigned char)at[tag]) || at[tag] == '_')
            tag++;
        if (at[tag] != '$')
            return at;
        char mark[64];
        if (tag + 2 > sizeof mark)
            return at + strlen(at);
        snprintf(mark, tag + 2, "%s", at);
        const char *end = strstr(at + tag + 1, mark);
        return end ? end + tag + 1 : at + strlen(at);
    }
    return at;
}

/* The length of a word at `at` that is a type which takes a literal behind it; 0 when it is none. */
static size_t typed_literal(const char *at)
{
    static const char *const words[] = {"timestamp with time zone",
                                        "timestamp without time zone",
                                        "timestamptz",
                                        "timestamp",
                                        "interval",
                                        "date",
                                        "time"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t length = strlen(words[i]);
        if (strncasecmp(at, words[i], length) == 0 && isspace((unsigned char)at[length]))
            return length;
    }
    return 0;
}

/* Statement texts of pg_stat_statements hold `interval $1` where the application wrote interval '1 day'; no
 * server takes that. */
static char *rewrite_literals(const void *context, const char *sql, bool *rewritten)
{
    char *out = must(talloc_strdup(context, ""));
    const char *from = sql;
    for (const char *at = sql; *at;) {
        const char *past = skip_quoted(at);
        if (past != at) {
            at = past;
            continue;
        }
        bool starts = at == sql || !(isalnum((unsigned char)at[-1]) || strchr("_.$", at[-1]) || at[-1] < 0);
        size_t length = starts && strchr("tTiIdD", *at) ? typed_literal(at) : 0;
        const char *parameter = at + length + strspn(at + length, " \t\r\n");
        size_t digits = *parameter == '$' ? strspn(parameter + 1, "0123456789") : 0;
        if (!length || !digits) {
            at++;
            continue;
        }
        out = must(talloc_asprintf_append_buffer(out, "%.*s%.*s::%.*s", (int)(at - from), from,
                                                 (int)digits + 1, parameter, (int)length, at));
        at = from = parameter + digits + 1;
        *rewritten = true;
    }
    return must(talloc_strdup_append_buffer(out, from));
}

static void read_parsed(struct reading *r, const char *json)
{
    struct json_tokener *tokener = must(json_tokener_new_ex(JSON_DEPTH));
    struct json_object *tree = json_tokener_parse_ex(tokener, json, (int)strlen(json) + 1);
    if (tree)
        read_tree(r, tree);
    else
        refuse(r, "it is nested too deeply%s", "");
    json_object_put(tree);
    json_tokener_free(tokener);
}

struct plain_statement *plain_statement_read(const void *context, const char *sql)
{
    struct plain_statement *s = must(talloc_zero(context, struct plain_statement));
    struct reading r = {.statement = s};
    s->explainable = true;
    if (strlen(sql) > TEXT_LIMIT) {
        s->sql = copy(&r, sql);
        refuse(&r, "its text is longer than 1 MB%s", "");
        return s;
    }
    s->sql = rewrite_literals(s, sql, &s->rewritten);
    PgQueryParseResult result = pg_query_parse(s->sql);
    if (result.error)
        refuse(&r, "the grammar of PostgreSQL 15 does not take it: %s", result.error->message);
    else
        read_parsed(&r, result.parse_tree);
    pg_query_free_parse_result(result);
    return s;
}

char *plain_statement_names(const void *context, const struct plain_statement *statement, unsigned kinds)
{
    static const char *const words[] = {"function", "operator", "type", "relation", "member"};
    struct json_object *list = must(json_object_new_array());
    for (size_t i = 0; i < statement->name_count; i++) {
        const struct plain_name *name = &statement->names[i];
        if (!(kinds & 1u << name->kind))
            continue;
        struct json_object *item = must(json_object_new_object());
        json_object_object_add(item, "kind", json_object_new_string(words[name->kind]));
        json_object_object_add(item, "schema", name->schema ? json_object_new_string(name->schema) : NULL);
        json_object_object_add(item, "name", json_object_new_string(name->name));
        json_object_object_add(item, "alias", name->alias ? json_object_new_string(name->alias) : NULL);
        json_object_array_add(list, item);
    }
    for (size_t i = 0; kinds & PLAIN_CTES && i < statement->cte_count; i++) {
        struct json_object *item = must(json_object_new_object());
        json_object_object_add(item, "kind", json_object_new_string("cte"));
        json_object_object_add(item, "name", json_object_new_string(statement->ctes[i]));
        json_object_array_add(list, item);
    }
    char *text = must(talloc_strdup(context, json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN)));
    json_object_put(list);
    return text;
}
