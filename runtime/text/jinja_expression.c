/* jinja_expression.c: the parser of expressions. Binary operators go by a table of precedence; what Jinja does
 * differently from Python is kept: `**` groups to the left, `-a|f` filters the negated value, tests bind as tightly as
 * filters. */
#include <string.h>

#include "text/jinja_parser.h"

/* Lowest first; `not` stands between LEVEL_AND and LEVEL_COMPARE. */
enum { LEVEL_OR, LEVEL_AND, LEVEL_COMPARE, LEVEL_ADD, LEVEL_CONCAT, LEVEL_MULTIPLY, LEVEL_POWER, LEVEL_UNARY };

static const struct {
    const char *text;
    int level;
    enum ci_jinja_node_kind kind;
    enum ci_jinja_operation operation;
} operators[] = {
    {"+", LEVEL_ADD, CI_JINJA_BINARY, CI_JINJA_ADD},
    {"-", LEVEL_ADD, CI_JINJA_BINARY, CI_JINJA_SUBTRACT},
    {"~", LEVEL_CONCAT, CI_JINJA_CONCAT, 0},
    {"*", LEVEL_MULTIPLY, CI_JINJA_BINARY, CI_JINJA_MULTIPLY},
    {"/", LEVEL_MULTIPLY, CI_JINJA_BINARY, CI_JINJA_DIVIDE},
    {"//", LEVEL_MULTIPLY, CI_JINJA_BINARY, CI_JINJA_FLOOR_DIVIDE},
    {"%", LEVEL_MULTIPLY, CI_JINJA_BINARY, CI_JINJA_MODULO},
    {"**", LEVEL_POWER, CI_JINJA_BINARY, CI_JINJA_POWER},
    {"==", LEVEL_COMPARE, CI_JINJA_COMPARE, CI_JINJA_EQUAL},
    {"!=", LEVEL_COMPARE, CI_JINJA_COMPARE, CI_JINJA_NOT_EQUAL},
    {"<", LEVEL_COMPARE, CI_JINJA_COMPARE, CI_JINJA_LESS},
    {"<=", LEVEL_COMPARE, CI_JINJA_COMPARE, CI_JINJA_LESS_EQUAL},
    {">", LEVEL_COMPARE, CI_JINJA_COMPARE, CI_JINJA_GREATER},
    {">=", LEVEL_COMPARE, CI_JINJA_COMPARE, CI_JINJA_GREATER_EQUAL},
};

static const struct ci_jinja_node *constant(struct ci_jinja_parser *parser, struct ci_jinja_value value) {
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_CONSTANT);
    node->value = value;
    return node;
}

static void set_items(struct ci_jinja_node *node, const struct ci_jinja_node_list *list) {
    node->items = list->items;
    node->count = list->count;
}

/* ---- the smallest parts ---- */

static const struct ci_jinja_node *parse_list(struct ci_jinja_parser *parser) {
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_LIST);
    struct ci_jinja_node_list items = {0};
    while (!ci_jinja_skip_operator(parser, "]")) {
        if (items.count) ci_jinja_expect_operator(parser, ",");
        if (ci_jinja_skip_operator(parser, "]")) break;
        ci_jinja_node_list_add(parser, &items, ci_jinja_parse_expression(parser, true));
    }
    set_items(node, &items);
    return node;
}

static const struct ci_jinja_node *parse_dict(struct ci_jinja_parser *parser) {
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_DICT);
    struct ci_jinja_node_list items = {0};
    while (!ci_jinja_skip_operator(parser, "}")) {
        if (items.count) ci_jinja_expect_operator(parser, ",");
        if (ci_jinja_skip_operator(parser, "}")) break;
        ci_jinja_node_list_add(parser, &items, ci_jinja_parse_expression(parser, true));
        ci_jinja_expect_operator(parser, ":");
        ci_jinja_node_list_add(parser, &items, ci_jinja_parse_expression(parser, true));
    }
    set_items(node, &items);
    return node;
}

static const struct ci_jinja_node *parse_strings(struct ci_jinja_parser *parser) {
    struct ci_jinja_string text = parser->token->text;
    const struct ci_jinja_node *node = NULL;
    size_t total = 0, count = 0;
    for (; parser->token[count].kind == CI_JINJA_STRING_LITERAL; count++) total += parser->token[count].text.length;
    if (count > 1) {
        char *joined = ci_jinja_alloc(parser->heap, total + 1, 1);
        size_t at = 0;
        for (size_t i = 0; i < count; i++) {
            memcpy(joined + at, parser->token[i].text.bytes, parser->token[i].text.length);
            at += parser->token[i].text.length;
        }
        text = ci_jinja_template_string(joined, total);
    }
    node = constant(parser, ci_jinja_text(text));
    parser->token += count;
    return node;
}

static const struct ci_jinja_node *parse_name(struct ci_jinja_parser *parser) {
    static const struct {
        const char *name;
        struct ci_jinja_value value;
    } constants[] = {{"true", {.kind = CI_JINJA_IS_BOOLEAN, .boolean = true}},
                     {"True", {.kind = CI_JINJA_IS_BOOLEAN, .boolean = true}},
                     {"false", {.kind = CI_JINJA_IS_BOOLEAN}},
                     {"False", {.kind = CI_JINJA_IS_BOOLEAN}},
                     {"none", {.kind = CI_JINJA_IS_NONE}},
                     {"None", {.kind = CI_JINJA_IS_NONE}}};
    for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++)
        if (ci_jinja_next_is_name(parser, constants[i].name)) {
            const struct ci_jinja_node *node = constant(parser, constants[i].value);
            parser->token++;
            return node;
        }
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_VARIABLE);
    node->name = ci_jinja_name_number(parser, parser->token->text);
    node->text = parser->token->text;
    parser->token++;
    return node;
}

static const struct ci_jinja_node *parse_primary(struct ci_jinja_parser *parser) {
    const struct ci_jinja_token *token = parser->token;
    const struct ci_jinja_node *node;
    switch (token->kind) {
    case CI_JINJA_NAME: return parse_name(parser);
    case CI_JINJA_STRING_LITERAL: return parse_strings(parser);
    case CI_JINJA_INTEGER_LITERAL:
        node = constant(parser, ci_jinja_integer(token->integer));
        parser->token++;
        return node;
    case CI_JINJA_FLOAT_LITERAL:
        node = constant(parser, ci_jinja_float(token->number));
        parser->token++;
        return node;
    default: break;
    }
    if (ci_jinja_skip_operator(parser, "[")) return parse_list(parser);
    if (ci_jinja_skip_operator(parser, "{")) return parse_dict(parser);
    if (!ci_jinja_skip_operator(parser, "(")) ci_jinja_parser_fail(parser, "an expression");
    if (ci_jinja_skip_operator(parser, ")")) return ci_jinja_node_create(parser, CI_JINJA_TUPLE);
    node = ci_jinja_parse_tuple(parser, true);
    ci_jinja_expect_operator(parser, ")");
    return node;
}

/* ---- what follows a value: calls, attributes, items, filters, tests ---- */

/* Behind `(`. */
static void parse_arguments(struct ci_jinja_parser *parser, struct ci_jinja_node *node) {
    struct ci_jinja_node_list items = {0};
    struct ci_jinja_named_node *named = NULL;
    size_t named_count = 0, capacity = 0;
    bool first = true;
    while (!ci_jinja_skip_operator(parser, ")")) {
        if (!first) ci_jinja_expect_operator(parser, ",");
        if (ci_jinja_skip_operator(parser, ")")) break;
        first = false;
        if (ci_jinja_next_is_operator(parser, "*") || ci_jinja_next_is_operator(parser, "**")) {
            parser->heap->line = parser->token->line;
            ci_jinja_fail(parser->heap, CLINFER_UNSUPPORTED, "'*' and '**' arguments are not supported");
        }
        const struct ci_jinja_token *next = parser->token + 1;
        if (parser->token->kind != CI_JINJA_NAME || next->kind != CI_JINJA_OPERATOR ||
            !ci_jinja_string_is(next->text, "=")) {
            if (named_count) ci_jinja_parser_fail(parser, "name=value behind another one");
            ci_jinja_node_list_add(parser, &items, ci_jinja_parse_expression(parser, true));
            continue;
        }
        if (named_count == capacity) {
            capacity = capacity ? capacity * 2 : 4;
            struct ci_jinja_named_node *grown = ci_jinja_alloc(parser->heap, capacity, sizeof *grown);
            if (named_count) memcpy(grown, named, named_count * sizeof *grown);
            named = grown;
        }
        struct ci_jinja_string name = parser->token->text;
        parser->token += 2;
        named[named_count++] = (struct ci_jinja_named_node){name, ci_jinja_parse_expression(parser, true)};
    }
    set_items(node, &items);
    node->named = named;
    node->named_count = named_count;
}

/* Behind `[`: an index, a tuple of them as one key, or a slice. */
static const struct ci_jinja_node *parse_item(struct ci_jinja_parser *parser, const struct ci_jinja_node *object) {
    const struct ci_jinja_node *bounds[3] = {NULL, NULL, NULL};
    int part = 0;
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_ITEM);
    node->a = object;
    while (!ci_jinja_skip_operator(parser, "]")) {
        if (part < 2 && ci_jinja_skip_operator(parser, ":")) {
            part++;
            continue;
        }
        if (bounds[part]) ci_jinja_parser_fail(parser, "']'");
        bounds[part] = ci_jinja_parse_expression(parser, true);
    }
    if (part == 0) {
        if (bounds[0] == NULL) ci_jinja_parser_fail(parser, "an index in '[]'");
        node->b = bounds[0];
        return node;
    }
    node->kind = CI_JINJA_SLICE;
    struct ci_jinja_node_list items = {0};
    for (int i = 0; i < 3; i++) ci_jinja_node_list_add(parser, &items, bounds[i]);
    set_items(node, &items);
    return node;
}

static const struct ci_jinja_node *parse_postfix(struct ci_jinja_parser *parser, const struct ci_jinja_node *object) {
    for (;;) {
        struct ci_jinja_node *node;
        if (ci_jinja_skip_operator(parser, "(")) {
            node = ci_jinja_node_create(parser, CI_JINJA_CALL);
            node->a = object;
            parse_arguments(parser, node);
            object = node;
        } else if (ci_jinja_skip_operator(parser, "[")) {
            object = parse_item(parser, object);
        } else if (ci_jinja_skip_operator(parser, ".")) {
            node = ci_jinja_node_create(parser, CI_JINJA_ATTRIBUTE);
            node->a = object;
            if (parser->token->kind == CI_JINJA_INTEGER_LITERAL) {
                node->kind = CI_JINJA_ITEM;
                node->b = constant(parser, ci_jinja_integer(parser->token->integer));
                parser->token++;
            } else {
                node->text = ci_jinja_expect_name(parser);
            }
            object = node;
        } else {
            return object;
        }
    }
}

static const struct ci_jinja_node *parse_filter(struct ci_jinja_parser *parser, const struct ci_jinja_node *value) {
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_FILTER);
    node->a = value;
    node->text = ci_jinja_expect_name(parser);
    if (ci_jinja_skip_operator(parser, "(")) parse_arguments(parser, node);
    return node;
}

const struct ci_jinja_node *ci_jinja_parse_filters(struct ci_jinja_parser *parser, const struct ci_jinja_node *node,
                                                   bool first) {
    if (first) node = parse_filter(parser, node);
    while (ci_jinja_skip_operator(parser, "|")) node = parse_filter(parser, node);
    return node;
}

/* A test's argument needs no parentheses: "x is divisibleby 3". */
static bool starts_argument(const struct ci_jinja_parser *parser) {
    switch (parser->token->kind) {
    case CI_JINJA_STRING_LITERAL:
    case CI_JINJA_INTEGER_LITERAL:
    case CI_JINJA_FLOAT_LITERAL: return true;
    case CI_JINJA_OPERATOR: return ci_jinja_next_is_operator(parser, "[") || ci_jinja_next_is_operator(parser, "{");
    case CI_JINJA_NAME:
        /* Jinja also takes `if` and the like here and fails later; leaving them gives "x is defined if y". */
        return !ci_jinja_next_is_name(parser, "else") && !ci_jinja_next_is_name(parser, "or") &&
               !ci_jinja_next_is_name(parser, "and") && !ci_jinja_next_is_name(parser, "is") &&
               !ci_jinja_next_is_name(parser, "if") && !ci_jinja_next_is_name(parser, "not") &&
               !ci_jinja_next_is_name(parser, "recursive");
    default: return false;
    }
}

static const struct ci_jinja_node *parse_test(struct ci_jinja_parser *parser, const struct ci_jinja_node *value) {
    bool negated = ci_jinja_skip_name(parser, "not");
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_TEST);
    node->a = value;
    node->text = ci_jinja_expect_name(parser);
    if (ci_jinja_skip_operator(parser, "(")) {
        parse_arguments(parser, node);
    } else if (starts_argument(parser)) {
        struct ci_jinja_node_list items = {0};
        ci_jinja_node_list_add(parser, &items, parse_postfix(parser, parse_primary(parser)));
        set_items(node, &items);
    }
    if (!negated) return node;
    struct ci_jinja_node *negation = ci_jinja_node_create(parser, CI_JINJA_NOT);
    negation->a = node;
    return negation;
}

static const struct ci_jinja_node *parse_unary(struct ci_jinja_parser *parser, bool filters) {
    const struct ci_jinja_node *node;
    ci_jinja_nest(parser);
    if (ci_jinja_next_is_operator(parser, "-") || ci_jinja_next_is_operator(parser, "+")) {
        bool minus = ci_jinja_next_is_operator(parser, "-");
        struct ci_jinja_node *sign = ci_jinja_node_create(parser, minus ? CI_JINJA_NEGATIVE : CI_JINJA_POSITIVE);
        parser->token++;
        sign->a = parse_unary(parser, false);
        node = sign;
    } else {
        node = parse_primary(parser);
    }
    node = parse_postfix(parser, node);
    while (filters) {
        if (ci_jinja_next_is_operator(parser, "|"))
            node = ci_jinja_parse_filters(parser, node, false);
        else if (ci_jinja_skip_name(parser, "is"))
            node = parse_test(parser, node);
        else if (ci_jinja_next_is_operator(parser, "("))
            node = parse_postfix(parser, node);
        else
            break;
    }
    ci_jinja_unnest(parser);
    return node;
}

/* ---- operators ---- */

/* The table's line for the next token at `level`; -1. */
static int operator_here(const struct ci_jinja_parser *parser, int level) {
    for (int i = 0; (size_t)i < sizeof operators / sizeof operators[0]; i++)
        if (operators[i].level == level && ci_jinja_next_is_operator(parser, operators[i].text)) return i;
    return -1;
}

static const struct ci_jinja_node *parse_level(struct ci_jinja_parser *parser, int level);

static bool skip_comparison(struct ci_jinja_parser *parser, enum ci_jinja_operation *operation) {
    int found = operator_here(parser, LEVEL_COMPARE);
    if (found >= 0) {
        *operation = operators[found].operation;
        parser->token++;
        return true;
    }
    *operation = CI_JINJA_IN;
    if (ci_jinja_skip_name(parser, "in")) return true;
    if (!ci_jinja_next_is_name(parser, "not") || parser->token[1].kind != CI_JINJA_NAME ||
        !ci_jinja_string_is(parser->token[1].text, "in"))
        return false;
    *operation = CI_JINJA_NOT_IN;
    parser->token += 2;
    return true;
}

/* a < b < c is one node with all its operands. */
static const struct ci_jinja_node *parse_compare(struct ci_jinja_parser *parser) {
    const struct ci_jinja_node *left = parse_level(parser, LEVEL_ADD);
    struct ci_jinja_node_list items = {0};
    enum ci_jinja_operation *operations = NULL, operation;
    size_t capacity = 0;
    while (skip_comparison(parser, &operation)) {
        if (items.count == capacity) {
            capacity = capacity ? capacity * 2 : 1;
            enum ci_jinja_operation *grown = ci_jinja_alloc(parser->heap, capacity, sizeof *grown);
            if (items.count) memcpy(grown, operations, items.count * sizeof *grown);
            operations = grown;
        }
        operations[items.count] = operation;
        ci_jinja_node_list_add(parser, &items, parse_level(parser, LEVEL_ADD));
    }
    if (items.count == 0) return left;
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_COMPARE);
    node->a = left;
    node->operations = operations;
    set_items(node, &items);
    return node;
}

static const struct ci_jinja_node *parse_not(struct ci_jinja_parser *parser) {
    if (!ci_jinja_skip_name(parser, "not")) return parse_compare(parser);
    ci_jinja_nest(parser);
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_NOT);
    node->a = parse_not(parser);
    ci_jinja_unnest(parser);
    return node;
}

static const struct ci_jinja_node *parse_logic(struct ci_jinja_parser *parser, int level) {
    const struct ci_jinja_node *left = level == LEVEL_OR ? parse_logic(parser, LEVEL_AND) : parse_not(parser);
    while (ci_jinja_skip_name(parser, level == LEVEL_OR ? "or" : "and")) {
        struct ci_jinja_node *node = ci_jinja_node_create(parser, level == LEVEL_OR ? CI_JINJA_OR : CI_JINJA_AND);
        node->a = left;
        node->b = level == LEVEL_OR ? parse_logic(parser, LEVEL_AND) : parse_not(parser);
        left = node;
    }
    return left;
}

/* From LEVEL_ADD up; all of them group to the left. */
static const struct ci_jinja_node *parse_level(struct ci_jinja_parser *parser, int level) {
    if (level == LEVEL_UNARY) return parse_unary(parser, true);
    const struct ci_jinja_node *left = parse_level(parser, level + 1);
    for (int found; (found = operator_here(parser, level)) >= 0;) {
        struct ci_jinja_node *node = ci_jinja_node_create(parser, operators[found].kind);
        parser->token++;
        node->operation = operators[found].operation;
        node->a = left;
        node->b = parse_level(parser, level + 1);
        left = node;
    }
    return left;
}

const struct ci_jinja_node *ci_jinja_parse_expression(struct ci_jinja_parser *parser, bool conditions) {
    ci_jinja_nest(parser);
    const struct ci_jinja_node *value = parse_logic(parser, LEVEL_OR);
    while (conditions && ci_jinja_skip_name(parser, "if")) {
        struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_CONDITION);
        node->a = value;
        node->b = parse_logic(parser, LEVEL_OR);
        if (ci_jinja_skip_name(parser, "else")) node->c = ci_jinja_parse_expression(parser, true);
        value = node;
    }
    ci_jinja_unnest(parser);
    return value;
}

static bool at_tuple_end(const struct ci_jinja_parser *parser) {
    return parser->token->kind == CI_JINJA_BLOCK_END || parser->token->kind == CI_JINJA_VARIABLE_END ||
           parser->token->kind == CI_JINJA_END || ci_jinja_next_is_operator(parser, ")") ||
           ci_jinja_next_is_operator(parser, "=") || ci_jinja_next_is_name(parser, "in");
}

const struct ci_jinja_node *ci_jinja_parse_tuple(struct ci_jinja_parser *parser, bool conditions) {
    const struct ci_jinja_node *first = ci_jinja_parse_expression(parser, conditions);
    if (!ci_jinja_next_is_operator(parser, ",")) return first;
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_TUPLE);
    struct ci_jinja_node_list items = {0};
    ci_jinja_node_list_add(parser, &items, first);
    while (ci_jinja_skip_operator(parser, ",") && !at_tuple_end(parser))
        ci_jinja_node_list_add(parser, &items, ci_jinja_parse_expression(parser, conditions));
    set_items(node, &items);
    return node;
}

static const struct ci_jinja_node *parse_one_target(struct ci_jinja_parser *parser, bool attributes) {
    if (ci_jinja_skip_operator(parser, "(")) {
        ci_jinja_nest(parser);
        const struct ci_jinja_node *inner = ci_jinja_parse_target(parser, attributes);
        ci_jinja_expect_operator(parser, ")");
        ci_jinja_unnest(parser);
        return inner;
    }
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_VARIABLE);
    node->text = ci_jinja_expect_name(parser);
    node->name = ci_jinja_name_number(parser, node->text);
    if (attributes && ci_jinja_skip_operator(parser, ".")) {
        node->kind = CI_JINJA_NAMESPACE_TARGET;
        node->text = ci_jinja_expect_name(parser);
    }
    return node;
}

const struct ci_jinja_node *ci_jinja_parse_target(struct ci_jinja_parser *parser, bool attributes) {
    const struct ci_jinja_node *first = parse_one_target(parser, attributes);
    if (!ci_jinja_next_is_operator(parser, ",")) return first;
    struct ci_jinja_node *node = ci_jinja_node_create(parser, CI_JINJA_TUPLE);
    struct ci_jinja_node_list items = {0};
    ci_jinja_node_list_add(parser, &items, first);
    while (ci_jinja_skip_operator(parser, ",") && !at_tuple_end(parser))
        ci_jinja_node_list_add(parser, &items, parse_one_target(parser, attributes));
    set_items(node, &items);
    return node;
}
