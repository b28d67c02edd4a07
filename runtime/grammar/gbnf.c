#include "grammar/gbnf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/narrow.h"
#include "base/status.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

enum { MOST_GROUPS = 300, MOST_TOKEN = 512, MOST_NUMBER = 1000000 };

struct parser {
    const char *name, *text, *at, *end;
    const struct ci_tokenizer *tokenizer;
    struct ci_grammar_maker *maker;
    enum clinfer_status status;
    int groups;
};

struct nodes {
    ci_grammar_node *items;
    size_t count, capacity;
};

/* ---- failures ---- */

/* With line and column of `at`, and what stands there. */
static void fail_at(struct parser *parser, const char *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void fail_at(struct parser *parser, const char *at, const char *format, ...) {
    char what[256], found[48];
    size_t line = 1, column = 1, shown = 0;
    va_list arguments;
    if (parser->status != CLINFER_OK) return;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    for (const char *c = parser->text; c < at; c++) {
        column = *c == '\n' ? 1 : column + (((unsigned char)*c & 0xC0) != 0x80);
        line += *c == '\n';
    }
    while (at + shown < parser->end && shown < 20 && at[shown] != '\n' && at[shown] != '\r') shown++;
    snprintf(found, sizeof found,
             at == parser->end ? "the end"
             : shown           ? "'%.*s'"
                               : "the end of the line",
             ci_shown(shown, 20), at);
    parser->status = ci_fail(CLINFER_INVALID_ARGUMENT, "%s: line %zu, column %zu: %s; here stands %s", parser->name,
                             line, column, what, found);
}

static void no_memory(struct parser *parser) {
    if (parser->status == CLINFER_OK)
        parser->status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", parser->name);
}

static void add(struct parser *parser, struct nodes *nodes, ci_grammar_node node) {
    if (parser->status == CLINFER_OK && node == CI_GRAMMAR_NONE)
        parser->status = ci_grammar_maker_status(parser->maker);
    if (parser->status != CLINFER_OK) return;
    if (!ci_array_reserve(&nodes->items, &nodes->capacity, nodes->count))
        no_memory(parser);
    else
        nodes->items[nodes->count++] = node;
}

/* ---- characters ---- */

static bool is_at(const struct parser *parser, char wanted) {
    return parser->at < parser->end && *parser->at == wanted;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || is_digit(c); }

static void skip_space(struct parser *parser, bool lines) {
    for (; parser->at < parser->end; parser->at++) {
        const char c = *parser->at;
        bool line = c == '\r' || c == '\n';
        if (c == '#') {
            while (parser->at < parser->end && *parser->at != '\r' && *parser->at != '\n') parser->at++;
            if (!lines || parser->at == parser->end) return;
        } else if (c != ' ' && c != '\t' && !(line && lines)) {
            return;
        }
    }
}

static uint32_t read_hex(struct parser *parser, int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; i++, parser->at++) {
        const char c = parser->at < parser->end ? *parser->at : 0;
        uint32_t digit = is_digit(c)            ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit == 16) {
            fail_at(parser, parser->at, "%d hexadecimal digits are needed here", digits);
            return 0;
        }
        value = value << 4 | digit;
    }
    return value;
}

static uint32_t read_escape(struct parser *parser) {
    const char *at = parser->at++;
    const char c = parser->at < parser->end ? *parser->at++ : 0;
    switch (c) {
    case 'x': return read_hex(parser, 2);
    case 'u': return read_hex(parser, 4);
    case 'U': return read_hex(parser, 8);
    case 't': return '\t';
    case 'r': return '\r';
    case 'n': return '\n';
    case '\\':
    case '"':
    case '[':
    case ']':
    case '-': return (uint32_t)c;
    default:
        fail_at(parser, at, "this escape is not known; \\x, \\u, \\U, \\t, \\r, \\n, \\\\, \\\", \\[, \\], \\- are");
    }
    return 0;
}

/* One character of a literal or a set. */
static uint32_t read_character(struct parser *parser) {
    const char *at = parser->at;
    if (at == parser->end) {
        fail_at(parser, at, "the text ends before its closing sign");
        return 0;
    }
    uint32_t code;
    if (*at == '\\') {
        code = read_escape(parser);
    } else {
        size_t length = ci_utf8_character(at, (size_t)(parser->end - at));
        if (length == 0) fail_at(parser, at, "this is no UTF-8");
        if (length == 0) return 0;
        code = ci_utf8_decode(at, length);
        parser->at += length;
    }
    if (parser->status == CLINFER_OK && (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)))
        fail_at(parser, at, "U+%04X is no character", code);
    return code;
}

/* ---- items ---- */

static ci_grammar_node parse_literal(struct parser *parser) {
    char *bytes = malloc((size_t)(parser->end - parser->at) + 4); /* no sign grows */
    size_t length = 0;
    if (!bytes) no_memory(parser);
    parser->at++;
    while (parser->status == CLINFER_OK && !is_at(parser, '"'))
        length += ci_utf8_encode(read_character(parser), bytes + length);
    ci_grammar_node node =
        parser->status == CLINFER_OK ? ci_grammar_text(parser->maker, bytes, length) : CI_GRAMMAR_NONE;
    free(bytes);
    if (parser->status == CLINFER_OK) parser->at++;
    return node;
}

static ci_grammar_node parse_set(struct parser *parser) {
    const char *begin = parser->at++;
    struct ci_grammar_range *ranges = NULL;
    size_t count = 0, capacity = 0;
    bool negated = is_at(parser, '^');
    if (negated) parser->at++;
    while (parser->status == CLINFER_OK && !is_at(parser, ']')) {
        const char *at = parser->at;
        struct ci_grammar_range range = {.first = read_character(parser)};
        range.last = range.first;
        if (is_at(parser, '-') && parser->at + 1 < parser->end && parser->at[1] != ']') {
            parser->at++;
            range.last = read_character(parser);
            if (range.last < range.first) fail_at(parser, at, "this range ends before it begins");
        }
        if (!ci_array_reserve(&ranges, &capacity, count))
            no_memory(parser);
        else
            ranges[count++] = range;
    }
    if (parser->status == CLINFER_OK && count == 0) fail_at(parser, begin, "this set has no characters");
    ci_grammar_node node =
        parser->status == CLINFER_OK ? ci_grammar_set(parser->maker, ranges, count, negated) : CI_GRAMMAR_NONE;
    free(ranges);
    if (parser->status == CLINFER_OK) parser->at++;
    return node;
}

static uint32_t parse_number(struct parser *parser) {
    const char *at = parser->at;
    uint32_t value = 0;
    if (at == parser->end || !is_digit(*at)) fail_at(parser, at, "a number is needed here");
    for (; parser->at < parser->end && is_digit(*parser->at); parser->at++)
        if (value <= MOST_NUMBER) value = value * 10 + (uint32_t)(*parser->at - '0');
    if (value > MOST_NUMBER) fail_at(parser, at, "%d is the most", MOST_NUMBER);
    return value;
}

/* <[7]>, or the text of one token. */
static ci_grammar_node parse_token(struct parser *parser) {
    const char *begin = parser->at;
    bool negated = is_at(parser, '!');
    int64_t token = -1;
    parser->at += negated;
    const char *at = parser->at;
    if (!is_at(parser, '<')) {
        fail_at(parser, at, "a token, <...>, is needed behind '!'");
        return CI_GRAMMAR_NONE;
    }
    if (at + 1 < parser->end && at[1] == '[') {
        parser->at += 2;
        token = parse_number(parser);
        if (parser->status == CLINFER_OK && (parser->end - parser->at < 2 || memcmp(parser->at, "]>", 2) != 0))
            fail_at(parser, parser->at, "']>' is needed here");
        parser->at += 2;
    } else {
        const char *end = memchr(at, '>', (size_t)(parser->end - at));
        if (!end) fail_at(parser, at, "'>' is missing behind this token");
        if (end && parser->tokenizer && end - at < MOST_TOKEN)
            token = ci_tokenizer_find(parser->tokenizer, at, (size_t)(end + 1 - at));
        parser->at = end ? end + 1 : at;
        if (token < 0) fail_at(parser, begin, "this is no token of the model");
    }
    if (parser->status == CLINFER_OK && parser->tokenizer && (uint64_t)token >= ci_tokenizer_size(parser->tokenizer))
        fail_at(parser, begin, "the model has %zu tokens", ci_tokenizer_size(parser->tokenizer));
    return parser->status == CLINFER_OK ? ci_grammar_token(parser->maker, ci_narrowed(token), negated)
                                        : CI_GRAMMAR_NONE;
}

static ci_grammar_node parse_alternatives(struct parser *parser, bool group);

static ci_grammar_node parse_group(struct parser *parser) {
    const char *begin = parser->at++;
    if (++parser->groups > MOST_GROUPS) fail_at(parser, begin, "groups in more than %d groups", MOST_GROUPS);
    skip_space(parser, true);
    ci_grammar_node node = parser->status == CLINFER_OK ? parse_alternatives(parser, true) : CI_GRAMMAR_NONE;
    if (parser->status == CLINFER_OK && !is_at(parser, ')')) fail_at(parser, parser->at, "')' is needed here");
    parser->at++;
    parser->groups--;
    return node;
}

static ci_grammar_node parse_call(struct parser *parser) {
    const char *begin = parser->at;
    while (parser->at < parser->end && is_word(*parser->at)) parser->at++;
    int rule = ci_grammar_rule(parser->maker, begin, (size_t)(parser->at - begin));
    return rule < 0 ? CI_GRAMMAR_NONE : ci_grammar_call(parser->maker, rule);
}

/* CI_GRAMMAR_NONE without a failure: there is no item any more. */
static ci_grammar_node parse_item(struct parser *parser) {
    if (parser->at == parser->end) return CI_GRAMMAR_NONE;
    switch (*parser->at) {
    case '"': return parse_literal(parser);
    case '[': return parse_set(parser);
    case '(': return parse_group(parser);
    case '<':
    case '!': return parse_token(parser);
    case '.': parser->at++; return ci_grammar_set(parser->maker, NULL, 0, true);
    default: return is_word(*parser->at) ? parse_call(parser) : CI_GRAMMAR_NONE;
    }
}

/* *, +, ?, {m}, {m,}, {m,n}; false: none of them is here. */
static bool parse_repetition(struct parser *parser, bool group, uint32_t *least, uint32_t *most) {
    const char c = parser->at < parser->end ? *parser->at : 0;
    if (c == 0 || !strchr("*+?{", c)) return false;
    *least = c == '+';
    *most = c == '?' ? 1 : CI_GRAMMAR_NO_END;
    parser->at++;
    if (c == '{') {
        skip_space(parser, group);
        *least = *most = parse_number(parser);
        skip_space(parser, group);
        if (is_at(parser, ',')) {
            parser->at++;
            skip_space(parser, group);
            *most = parser->at < parser->end && is_digit(*parser->at) ? parse_number(parser) : CI_GRAMMAR_NO_END;
            skip_space(parser, group);
        }
        if (parser->status == CLINFER_OK && !is_at(parser, '}')) fail_at(parser, parser->at, "'}' is needed here");
        if (parser->status == CLINFER_OK && *most < *least)
            fail_at(parser, parser->at, "at most %u, but at least %u", *most, *least);
        parser->at++;
    }
    return parser->status == CLINFER_OK;
}

static ci_grammar_node parse_sequence(struct parser *parser, bool group) {
    struct nodes nodes = {0};
    while (parser->status == CLINFER_OK) {
        uint32_t least, most;
        ci_grammar_node node = parse_item(parser);
        if (node == CI_GRAMMAR_NONE && parser->status == CLINFER_OK)
            parser->status = ci_grammar_maker_status(parser->maker);
        if (node == CI_GRAMMAR_NONE || parser->status != CLINFER_OK) break;
        skip_space(parser, group);
        while (parse_repetition(parser, group, &least, &most)) {
            node = ci_grammar_repeat(parser->maker, node, least, most);
            skip_space(parser, group);
        }
        add(parser, &nodes, node);
    }
    if (parser->status == CLINFER_OK && parser->at < parser->end && strchr("*+?{", *parser->at))
        fail_at(parser, parser->at, "there is nothing before this that could be repeated");
    ci_grammar_node node =
        parser->status == CLINFER_OK ? ci_grammar_sequence(parser->maker, nodes.items, nodes.count) : CI_GRAMMAR_NONE;
    free(nodes.items);
    return node;
}

static ci_grammar_node parse_alternatives(struct parser *parser, bool group) {
    struct nodes nodes = {0};
    add(parser, &nodes, parse_sequence(parser, group));
    while (parser->status == CLINFER_OK && is_at(parser, '|')) {
        parser->at++;
        skip_space(parser, true);
        add(parser, &nodes, parse_sequence(parser, group));
    }
    ci_grammar_node node =
        parser->status == CLINFER_OK ? ci_grammar_choice(parser->maker, nodes.items, nodes.count) : CI_GRAMMAR_NONE;
    free(nodes.items);
    return node;
}

/* ---- rules ---- */

static void parse_rule(struct parser *parser) {
    const char *begin = parser->at;
    while (parser->at < parser->end && is_word(*parser->at)) parser->at++;
    size_t length = (size_t)(parser->at - begin);
    if (length == 0) fail_at(parser, begin, "the name of a rule is needed here (letters, digits, '-')");
    skip_space(parser, false);
    if (parser->status == CLINFER_OK && (parser->end - parser->at < 3 || memcmp(parser->at, "::=", 3) != 0))
        fail_at(parser, parser->at, "'::=' is needed here");
    if (parser->status != CLINFER_OK) return;
    parser->at += 3;
    skip_space(parser, true);
    int rule = ci_grammar_rule(parser->maker, begin, length);
    ci_grammar_define(parser->maker, rule, parse_alternatives(parser, false));
    if (parser->status == CLINFER_OK && parser->at < parser->end && *parser->at != '\r' && *parser->at != '\n')
        fail_at(parser, parser->at, "the end of the line is needed here, or one of \" [ ( . | * + ? { or a name");
    if (parser->status == CLINFER_OK) parser->status = ci_grammar_maker_status(parser->maker);
    skip_space(parser, true);
}

enum clinfer_status ci_gbnf_parse(const char *name, const char *text, size_t length,
                                  const struct ci_tokenizer *tokenizer, struct ci_grammar **grammar) {
    struct parser parser = {.name = name, .text = text, .at = text, .end = text + length, .tokenizer = tokenizer};
    *grammar = NULL;
    parser.maker = ci_grammar_maker_create();
    if (!parser.maker) no_memory(&parser);
    skip_space(&parser, true);
    while (parser.status == CLINFER_OK && parser.at < parser.end) parse_rule(&parser);
    int root = parser.status == CLINFER_OK ? ci_grammar_rule(parser.maker, "root", 4) : -1;
    if (parser.status == CLINFER_OK && !ci_grammar_is_defined(parser.maker, root))
        parser.status =
            ci_fail(CLINFER_INVALID_ARGUMENT, "%s: there is no rule 'root', with which an answer begins", name);
    if (parser.status == CLINFER_OK) {
        parser.status = ci_grammar_finish(parser.maker, root, grammar);
        if (parser.status != CLINFER_OK) ci_fail_prefix(parser.status, "%s", name);
    }
    ci_grammar_maker_destroy(parser.maker);
    return parser.status;
}
