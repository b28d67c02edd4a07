/* jinja_parser.c: the parser of statements: recursive descent, one function per tag. Nesting of tags and expressions is
 * counted together against CI_JINJA_NESTING. */
#include "text/jinja_parser.h"

#include <string.h>

#include "base/hash.h"
#include "base/narrow.h"

/* ---- shared with jinja_expression.c ---- */

/* What it takes to try all that could stand where a node begins. */
enum { NODE_STEPS = 20 };

struct ci_jinja_node *ci_jinja_node_create(struct ci_jinja_parser *parser, enum ci_jinja_node_kind kind) {
    ci_jinja_spend(parser->heap, NODE_STEPS);
    struct ci_jinja_node *node = ci_jinja_alloc(parser->heap, 1, sizeof *node);
    node->kind = kind;
    node->line = parser->token->line;
    return node;
}

void ci_jinja_node_list_add(struct ci_jinja_parser *parser, struct ci_jinja_node_list *list,
                            const struct ci_jinja_node *node) {
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? list->capacity * 2 : 4;
        const struct ci_jinja_node **items = ci_jinja_alloc(parser->heap, list->capacity, sizeof *items);
        if (list->count) memcpy(items, list->items, list->count * sizeof *items);
        list->items = items;
    }
    list->items[list->count++] = node;
}

_Noreturn void ci_jinja_parser_fail(struct ci_jinja_parser *parser, const char *expected) {
    const struct ci_jinja_token *token = parser->token;
    parser->heap->line = token->line;
    ci_jinja_fail(parser->heap, CLINFER_BAD_FILE, "expected %s, but found '%.*s'", expected,
                  ci_shown(token->text.length, 40), token->text.bytes);
}

void ci_jinja_nest(struct ci_jinja_parser *parser) {
    parser->heap->line = parser->token->line;
    ci_jinja_enter(parser->heap);
}

bool ci_jinja_next_is(const struct ci_jinja_parser *parser, enum ci_jinja_token_kind kind, const char *text) {
    return parser->token->kind == kind && ci_jinja_string_is(parser->token->text, text);
}

bool ci_jinja_skip_if(struct ci_jinja_parser *parser, enum ci_jinja_token_kind kind, const char *text) {
    bool is = ci_jinja_next_is(parser, kind, text);
    parser->token += is;
    return is;
}

void ci_jinja_expect_operator(struct ci_jinja_parser *parser, const char *text) {
    if (ci_jinja_skip_operator(parser, text)) return;
    char quoted[8] = "''";
    memcpy(quoted + 1, text, strlen(text));
    quoted[strlen(text) + 1] = '\'';
    ci_jinja_parser_fail(parser, quoted);
}

struct ci_jinja_string ci_jinja_expect_name(struct ci_jinja_parser *parser) {
    if (parser->token->kind != CI_JINJA_NAME) ci_jinja_parser_fail(parser, "a name");
    return (parser->token++)->text;
}

static void grow_names(struct ci_jinja_parser *parser) {
    int capacity = parser->name_capacity ? parser->name_capacity * 2 : 64;
    struct ci_jinja_string *names = ci_jinja_alloc(parser->heap, (size_t)capacity, sizeof *names);
    if (parser->name_count) memcpy(names, parser->names, (size_t)parser->name_count * sizeof *names);
    parser->names = names;
    parser->name_capacity = capacity;
    parser->name_slot_mask = (size_t)capacity * 2 - 1;
    parser->name_slots = ci_jinja_alloc(parser->heap, parser->name_slot_mask + 1, sizeof *parser->name_slots);
    for (int i = 0; i < parser->name_count; i++) {
        ci_jinja_spend_characters(parser->heap, names[i].length);
        size_t at = ci_hash(CI_HASH_START, names[i].bytes, names[i].length) & parser->name_slot_mask;
        for (; parser->name_slots[at]; at = (at + 1) & parser->name_slot_mask) ci_jinja_spend(parser->heap, 1);
        parser->name_slots[at] = i + 1;
    }
}

int ci_jinja_name_number(struct ci_jinja_parser *parser, struct ci_jinja_string name) {
    if (parser->name_count == parser->name_capacity) grow_names(parser);
    ci_jinja_spend_characters(parser->heap, name.length);
    size_t at = ci_hash(CI_HASH_START, name.bytes, name.length) & parser->name_slot_mask;
    for (; parser->name_slots[at]; at = (at + 1) & parser->name_slot_mask) {
        int number = parser->name_slots[at] - 1;
        if (ci_jinja_same(parser->heap, parser->names[number], name)) return number;
    }
    parser->names[parser->name_count] = name;
    parser->name_slots[at] = ++parser->name_count;
    return parser->name_count - 1;
}

/* ---- statements ---- */

static void expect_block_end(struct ci_jinja_parser *parser) {
    if (parser->token->kind != CI_JINJA_BLOCK_END) ci_jinja_parser_fail(parser, "'%}'");
    parser->token++;
}

static bool at_tag(const struct ci_jinja_parser *parser, const char *name) {
    return parser->token->kind == CI_JINJA_BLOCK_BEGIN && parser->token[1].kind == CI_JINJA_NAME &&
           ci_jinja_string_is(parser->token[1].text, name);
}

/* `%}`, statements up to one of the tags, which is passed with its name; returns which one it was. */
static int parse_body(struct ci_jinja_parser *parser, const char *const *ends, const struct ci_jinja_node **body);

static const struct ci_jinja_node *parse_simple_body(struct ci_jinja_parser *parser, const char *end) {
    const char *const ends[] = {end, NULL};
    const struct ci_jinja_node *body;
    parse_body(parser, ends, &body);
    expect_block_end(parser);
    return body;
}

static const struct ci_jinja_node *parse_if(struct ci_jinja_parser *parser) {
    static const char *const ends[] = {"elif", "else", "endif", NULL}, *const last[] = {"endif", NULL};
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_IF);
    struct ci_jinja_node_list items = {0};
    int end;
    do {
        const struct ci_jinja_node *body;
        ci_jinja_node_list_add(parser, &items, ci_jinja_parse_tuple(parser, false));
        end = parse_body(parser, ends, &body);
        ci_jinja_node_list_add(parser, &items, body);
    } while (end == 0);
    if (end == 1) parse_body(parser, last, &node->c);
    expect_block_end(parser);
    node->items = items.items;
    node->count = items.count;
    return node;
}

static const struct ci_jinja_node *parse_for(struct ci_jinja_parser *parser) {
    static const char *const ends[] = {"endfor", "else", NULL}, *const last[] = {"endfor", NULL};
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_FOR);
    node->a = ci_jinja_parse_target(parser, false);
    if (!ci_jinja_skip_name(parser, "in")) ci_jinja_parser_fail(parser, "'in'");
    node->b = ci_jinja_parse_tuple(parser, false);
    struct ci_jinja_node_list filter = {0};
    ci_jinja_node_list_add(parser, &filter,
                           ci_jinja_skip_name(parser, "if") ? ci_jinja_parse_expression(parser, true) : NULL);
    node->items = filter.items;
    if (ci_jinja_next_is_name(parser, "recursive")) {
        parser->heap->line = parser->token->line;
        ci_jinja_fail(parser->heap, CLINFER_UNSUPPORTED, "recursive loops are not supported");
    }
    if (parse_body(parser, ends, &node->body) == 1) parse_body(parser, last, &node->c);
    expect_block_end(parser);
    return node;
}

static const struct ci_jinja_node *parse_set(struct ci_jinja_parser *parser) {
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_SET);
    node->a = ci_jinja_parse_target(parser, true);
    if (ci_jinja_skip_operator(parser, "=")) {
        node->b = ci_jinja_parse_tuple(parser, true);
        expect_block_end(parser);
        return node;
    }
    node->kind = CI_JINJA_SET_BLOCK;
    node->b = ci_jinja_parse_filters(parser, NULL, false);
    node->body = parse_simple_body(parser, "endset");
    return node;
}

/* (a, b=1): names, and defaults in items, NULL where there is none. */
static void parse_signature(struct ci_jinja_parser *parser, struct ci_jinja_node *node) {
    struct ci_jinja_node_list defaults = {0};
    int *names = NULL;
    size_t capacity = 0;
    ci_jinja_expect_operator(parser, "(");
    while (!ci_jinja_skip_operator(parser, ")")) {
        if (defaults.count) ci_jinja_expect_operator(parser, ",");
        if (ci_jinja_skip_operator(parser, ")")) break;
        if (defaults.count == capacity) {
            capacity = capacity ? capacity * 2 : 4;
            int *grown = ci_jinja_alloc(parser->heap, capacity, sizeof *grown);
            if (defaults.count) memcpy(grown, names, defaults.count * sizeof *grown);
            names = grown;
        }
        names[defaults.count] = ci_jinja_name_number(parser, ci_jinja_expect_name(parser));
        const struct ci_jinja_node *value =
            ci_jinja_skip_operator(parser, "=") ? ci_jinja_parse_expression(parser, true) : NULL;
        if (value == NULL && defaults.count && defaults.items[defaults.count - 1])
            ci_jinja_parser_fail(parser, "a default, as the parameter before has one");
        ci_jinja_node_list_add(parser, &defaults, value);
    }
    node->names = names;
    node->items = defaults.items;
    node->count = defaults.count;
}

static const struct ci_jinja_node *parse_macro(struct ci_jinja_parser *parser) {
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_MACRO);
    node->text = ci_jinja_expect_name(parser);
    node->name = ci_jinja_name_number(parser, node->text);
    parse_signature(parser, node);
    node->body = parse_simple_body(parser, "endmacro");
    return node;
}

static const struct ci_jinja_node *parse_call_block(struct ci_jinja_parser *parser) {
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_CALL_BLOCK);
    struct ci_jinja_node *caller = ci_jinja_node_create(parser, CI_JINJA_MACRO);
    caller->text = CI_JINJA_STRING("caller");
    caller->name = ci_jinja_name_number(parser, caller->text);
    if (ci_jinja_next_is_operator(parser, "(")) parse_signature(parser, caller);
    node->a = ci_jinja_parse_expression(parser, true);
    if (node->a->kind != CI_JINJA_CALL) ci_jinja_parser_fail(parser, "a call behind 'call'");
    caller->body = parse_simple_body(parser, "endcall");
    node->b = caller;
    return node;
}

static const struct ci_jinja_node *parse_filter_block(struct ci_jinja_parser *parser) {
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_FILTER_BLOCK);
    node->a = ci_jinja_parse_filters(parser, NULL, true);
    node->body = parse_simple_body(parser, "endfilter");
    return node;
}

static const struct ci_jinja_node *parse_with(struct ci_jinja_parser *parser) {
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_WITH);
    struct ci_jinja_node_list items = {0};
    while (parser->token->kind != CI_JINJA_BLOCK_END) {
        if (items.count) ci_jinja_expect_operator(parser, ",");
        ci_jinja_node_list_add(parser, &items, ci_jinja_parse_target(parser, false));
        ci_jinja_expect_operator(parser, "=");
        ci_jinja_node_list_add(parser, &items, ci_jinja_parse_expression(parser, true));
    }
    node->items = items.items;
    node->count = items.count;
    node->body = parse_simple_body(parser, "endwith");
    return node;
}

/* Marks what the assistant said, for training: here it is only a scope. */
static const struct ci_jinja_node *parse_generation(struct ci_jinja_parser *parser) {
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_SCOPE);
    node->body = parse_simple_body(parser, "endgeneration");
    return node;
}

static const struct ci_jinja_node *parse_break(struct ci_jinja_parser *parser) {
    const struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_BREAK);
    expect_block_end(parser);
    return node;
}

static const struct ci_jinja_node *parse_continue(struct ci_jinja_parser *parser) {
    const struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_CONTINUE);
    expect_block_end(parser);
    return node;
}

static const struct {
    const char *name;
    const struct ci_jinja_node *(*parse)(struct ci_jinja_parser *parser);
} statements[] = {
    {"if", parse_if},           {"for", parse_for},
    {"set", parse_set},         {"macro", parse_macro},
    {"call", parse_call_block}, {"filter", parse_filter_block},
    {"with", parse_with},       {"generation", parse_generation},
    {"break", parse_break},     {"continue", parse_continue},
};

static const struct ci_jinja_node *parse_statement(struct ci_jinja_parser *parser) {
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
        if (ci_jinja_skip_name(parser, statements[i].name)) return statements[i].parse(parser);
    static const char *const refused[] = {"include", "import", "from", "extends", "block", "do", "autoescape", "print"};
    struct ci_jinja_string name = parser->token->text;
    parser->heap->line = parser->token->line;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (ci_jinja_next_is_name(parser, refused[i]))
            ci_jinja_fail(parser->heap, CLINFER_UNSUPPORTED, "the tag '%s' is not supported", refused[i]);
    ci_jinja_fail(parser->heap, CLINFER_BAD_FILE, "'%.*s' is not a tag that fits here", ci_shown(name.length, 40),
                  name.bytes);
}

static const struct ci_jinja_node *parse_output(struct ci_jinja_parser *parser) {
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_OUTPUT);
    parser->token++;
    node->a = ci_jinja_parse_tuple(parser, true);
    if (parser->token->kind != CI_JINJA_VARIABLE_END) ci_jinja_parser_fail(parser, "'}}'");
    parser->token++;
    return node;
}

/* Statements up to one of `ends` or, without, the end of the template; -1 then. */
static int parse_statements(struct ci_jinja_parser *parser, const char *const *ends,
                            const struct ci_jinja_node **body) {
    struct ci_jinja_node *block = ci_jinja_node_create(parser, CI_JINJA_BLOCK);
    struct ci_jinja_node_list items = {0};
    int end = -1;
    ci_jinja_nest(parser);
    while (end < 0 && parser->token->kind != CI_JINJA_END) {
        for (int i = 0; end < 0 && ends && ends[i]; i++)
            if (at_tag(parser, ends[i])) end = i;
        if (end >= 0) {
            parser->token += 2;
        } else if (parser->token->kind == CI_JINJA_TEXT) {
            struct ci_jinja_node *text = ci_jinja_node_create(parser, CI_JINJA_LITERAL);
            text->text = (parser->token++)->text;
            ci_jinja_node_list_add(parser, &items, text);
        } else if (parser->token->kind == CI_JINJA_VARIABLE_BEGIN) {
            ci_jinja_node_list_add(parser, &items, parse_output(parser));
        } else {
            parser->token++;
            if (parser->token->kind != CI_JINJA_NAME) ci_jinja_parser_fail(parser, "the name of a tag");
            ci_jinja_node_list_add(parser, &items, parse_statement(parser));
        }
    }
    ci_jinja_unnest(parser);
    block->items = items.items;
    block->count = items.count;
    *body = block;
    return end;
}

static int parse_body(struct ci_jinja_parser *parser, const char *const *ends, const struct ci_jinja_node **body) {
    int line = parser->token->line;
    expect_block_end(parser);
    int end = parse_statements(parser, ends, body);
    if (end >= 0) return end;
    parser->heap->line = line;
    ci_jinja_fail(parser->heap, CLINFER_BAD_FILE, "the tag that begins here has no '%s'", ends[0]);
}

struct ci_jinja_tree ci_jinja_parse(struct ci_jinja_heap *heap, struct ci_jinja_token *tokens) {
    struct ci_jinja_parser parser = {.heap = heap, .token = tokens};
    struct ci_jinja_tree tree = {0};
    tree.loop_name = ci_jinja_name_number(&parser, CI_JINJA_STRING("loop"));
    tree.caller_name = ci_jinja_name_number(&parser, CI_JINJA_STRING("caller"));
    parse_statements(&parser, NULL, &tree.root);
    tree.names = parser.names;
    tree.name_count = parser.name_count;
    return tree;
}
