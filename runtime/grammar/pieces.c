#include "grammar/pieces.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/status.h"
#include "grammar/schema_place.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

enum { MOST_TOKEN = 64, MOST_MARK = 128 };

struct pieces {
    struct ci_schema_compiler *compiler;
    const struct ci_tokenizer *tokenizer;
    int marks; /* so many have rules */
};

static ci_grammar_node wrong(struct pieces *pieces, uint32_t place) {
    ci_schema_fail(pieces->compiler, place, NULL, CLINFER_INVALID_ARGUMENT, "it is no piece");
    return CI_GRAMMAR_NONE;
}

/* ---- texts ---- */

/* The control token at the beginning of text[length]; -1: there is none. */
static int32_t find_token(const struct pieces *pieces, const char *text, size_t length, size_t *bytes) {
    unsigned char first = (unsigned char)*text;
    if (!pieces->tokenizer || (first != '<' && first != '[' && first < 0x80)) return -1;
    for (*bytes = length < MOST_TOKEN ? length : MOST_TOKEN; *bytes > 1; (*bytes)--) {
        int32_t token = ci_tokenizer_find(pieces->tokenizer, text, *bytes);
        if (token >= 0 && ci_tokenizer_is_control(pieces->tokenizer, token)) return token;
    }
    return -1;
}

static ci_grammar_node make_text(struct pieces *pieces, const char *text, size_t length, bool *has_token) {
    struct ci_grammar_maker *maker = pieces->compiler->maker;
    struct ci_schema_nodes nodes = {0};
    size_t plain = 0, bytes;
    *has_token = false;
    for (size_t at = 0; at < length;) {
        int32_t token = find_token(pieces, text + at, length - at, &bytes);
        if (token < 0) {
            at++;
            continue;
        }
        if (at > plain) ci_schema_put(pieces->compiler, &nodes, ci_grammar_text(maker, text + plain, at - plain));
        ci_schema_put(pieces->compiler, &nodes, ci_grammar_token(maker, token, false));
        *has_token = true;
        at += bytes;
        plain = at;
    }
    if (length > plain || !length)
        ci_schema_put(pieces->compiler, &nodes, ci_grammar_text(maker, text + plain, length - plain));
    return ci_schema_end_sequence(pieces->compiler, &nodes);
}

/* ---- free text up to a mark ---- */

/* A mark's code points, and how many of the first ones the last of each beginning are (Knuth, Morris and Pratt). */
struct mark {
    uint32_t codes[MOST_MARK];
    size_t back[MOST_MARK], count;
    int rules[MOST_MARK];
};

static bool read_mark(struct mark *mark, const char *text, size_t length) {
    for (size_t at = 0, bytes; at < length; at += bytes) {
        for (bytes = 1; at + bytes < length && ((unsigned char)text[at + bytes] & 0xc0) == 0x80;) bytes++;
        if (mark->count == MOST_MARK) return false;
        mark->codes[mark->count++] = ci_utf8_decode(text + at, bytes);
    }
    for (size_t i = 1, same = 0; i < mark->count; i++) {
        while (same && mark->codes[i] != mark->codes[same]) same = mark->back[same - 1];
        same += mark->codes[i] == mark->codes[same];
        mark->back[i] = same;
    }
    return mark->count > 0;
}

/* Characters of the mark that are there when this one comes behind `state` of them. */
static size_t step(const struct mark *mark, size_t state, uint32_t code) {
    while (state && mark->codes[state] != code) state = mark->back[state - 1];
    return state + (mark->codes[state] == code);
}

static ci_grammar_node make_state(struct pieces *pieces, const struct mark *mark, size_t state) {
    struct ci_grammar_maker *maker = pieces->compiler->maker;
    struct ci_schema_nodes nodes = {0};
    struct ci_grammar_range known[MOST_MARK + 1];
    size_t count = 0;
    for (size_t i = 0; i < mark->count; i++) {
        uint32_t code = mark->codes[i];
        bool seen = false;
        for (size_t k = 0; k < count; k++) seen = seen || known[k].first == code;
        if (seen) continue;
        known[count++] = (struct ci_grammar_range){code, code};
        size_t next = step(mark, state, code);
        const ci_grammar_node both[] = {ci_grammar_set(maker, &known[count - 1], 1, false),
                                        next < mark->count ? ci_grammar_call(maker, mark->rules[next]) : 0};
        ci_schema_put(pieces->compiler, &nodes, next < mark->count ? ci_grammar_sequence(maker, both, 2) : both[0]);
    }
    known[count++] = (struct ci_grammar_range){0, 0};
    const ci_grammar_node others[] = {ci_grammar_set(maker, known, count, true),
                                      ci_grammar_call(maker, mark->rules[0])};
    ci_schema_put(pieces->compiler, &nodes, ci_grammar_sequence(maker, others, 2));
    return ci_schema_end_choice(pieces->compiler, &nodes);
}

/* A token is no text, so nothing has to be kept away from a mark that has one. */
static ci_grammar_node make_until_token(struct pieces *pieces, ci_grammar_node end) {
    struct ci_grammar_maker *maker = pieces->compiler->maker;
    const struct ci_grammar_range zero = {0, 0};
    const ci_grammar_node both[] = {
        ci_grammar_repeat(maker, ci_grammar_set(maker, &zero, 1, true), 0, CI_GRAMMAR_NO_END), end};
    return ci_grammar_sequence(maker, both, 2);
}

static ci_grammar_node make_until(struct pieces *pieces, uint32_t place, const char *text, size_t length) {
    struct ci_grammar_maker *maker = pieces->compiler->maker;
    struct mark mark = {.count = 0};
    char name[32];
    bool has_token;
    ci_grammar_node end = make_text(pieces, text, length, &has_token);
    if (has_token) return make_until_token(pieces, end);
    if (!read_mark(&mark, text, length)) return wrong(pieces, place);
    for (size_t i = 0; i < mark.count; i++) {
        int bytes = snprintf(name, sizeof name, "~until %d %zu", pieces->marks, i);
        mark.rules[i] = ci_grammar_rule(maker, name, (size_t)bytes);
        if (mark.rules[i] < 0) return CI_GRAMMAR_NONE;
    }
    pieces->marks++;
    for (size_t i = 0; i < mark.count; i++) ci_grammar_define(maker, mark.rules[i], make_state(pieces, &mark, i));
    return ci_grammar_call(maker, mark.rules[0]);
}

/* ---- pieces ---- */

static ci_grammar_node make_all(struct pieces *pieces, uint32_t place);

static ci_grammar_node make_any(struct pieces *pieces, uint32_t place) {
    struct ci_schema_nodes nodes = {0};
    size_t count = json_array_size(pieces->compiler->places[place].schema);
    for (size_t i = 0; i < count; i++)
        ci_schema_put(pieces->compiler, &nodes, make_all(pieces, ci_schema_element(pieces->compiler, place, i)));
    return ci_schema_end_choice(pieces->compiler, &nodes);
}

static ci_grammar_node make_many(struct pieces *pieces, uint32_t place, const json_t *between) {
    struct ci_grammar_maker *maker = pieces->compiler->maker;
    bool has_token;
    ci_grammar_node one = make_all(pieces, place);
    const char *text = json_string_value(between) ? json_string_value(between) : "";
    const ci_grammar_node more[] = {make_text(pieces, text, strlen(text), &has_token), one};
    const ci_grammar_node all[] = {one,
                                   ci_grammar_repeat(maker, ci_grammar_sequence(maker, more, 2), 0, CI_GRAMMAR_NO_END)};
    return ci_grammar_sequence(maker, all, 2);
}

static ci_grammar_node make_piece(struct pieces *pieces, uint32_t place) {
    static const char *const kinds[] = {"schema", "until", "any", "maybe", "many"};
    struct ci_schema_compiler *compiler = pieces->compiler;
    const json_t *piece = compiler->places[place].schema;
    struct ci_schema_set set = {0};
    bool has_token;
    size_t kind = 0;
    if (json_is_string(piece))
        return make_text(pieces, json_string_value(piece), json_string_length(piece), &has_token);
    while (kind < sizeof kinds / sizeof *kinds && !json_object_get(piece, kinds[kind])) kind++;
    if (kind == sizeof kinds / sizeof *kinds) return wrong(pieces, place);
    uint32_t inner = ci_schema_child(compiler, place, kinds[kind]);
    const json_t *value = json_object_get(piece, kinds[kind]);
    switch (kind) {
    case 0: ci_schema_add(compiler, &set, inner); return ci_schema_value(compiler, &set);
    case 1:
        if (!json_is_string(value)) return wrong(pieces, inner);
        return make_until(pieces, inner, json_string_value(value), json_string_length(value));
    case 2: return make_any(pieces, inner);
    case 3: return ci_grammar_repeat(compiler->maker, make_all(pieces, inner), 0, 1);
    default: return make_many(pieces, inner, json_object_get(piece, "between"));
    }
}

static ci_grammar_node make_all(struct pieces *pieces, uint32_t place) {
    struct ci_schema_nodes nodes = {0};
    const json_t *list = pieces->compiler->places[place].schema;
    if (!json_is_array(list)) return wrong(pieces, place);
    for (size_t i = 0; i < json_array_size(list) && pieces->compiler->status == CLINFER_OK; i++)
        ci_schema_put(pieces->compiler, &nodes, make_piece(pieces, ci_schema_element(pieces->compiler, place, i)));
    return ci_schema_end_sequence(pieces->compiler, &nodes);
}

static ci_grammar_node make_root(struct ci_schema_compiler *compiler, const void *tokenizer) {
    struct pieces pieces = {.compiler = compiler, .tokenizer = tokenizer};
    uint32_t root = ci_schema_root(compiler);
    if (!json_object_get(compiler->places[root].schema, "root")) return wrong(&pieces, root);
    return make_all(&pieces, ci_schema_child(compiler, root, "root"));
}

enum clinfer_status ci_pieces_compile(const char *name, const char *text, size_t length,
                                      const struct ci_tokenizer *tokenizer, struct ci_grammar **grammar) {
    return ci_schema_compile_root(name, text, length, make_root, tokenizer, grammar);
}
