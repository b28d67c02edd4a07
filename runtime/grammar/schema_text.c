/* schema_text.c: strings. Patterns, formats and lengths that hold at once are one deterministic automaton, of which
 * each state becomes a rule; the call of the next state is the last thing in each, so they take no stack. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "grammar/formats.h"
#include "grammar/regex.h"
#include "grammar/schema_private.h"

/* ---- automata as rules ---- */

struct ranges {
    struct ci_grammar_range *items;
    size_t count;
};

/* The characters of a range as they stand in JSON. */
static void put_characters(struct ci_schema_compiler *compiler, struct ci_schema_nodes *nodes, struct ranges *plain,
                           uint32_t first, uint32_t last) {
    static const struct ci_grammar_range unescaped[] = {{0x20, 0x21}, {0x23, 0x5b}, {0x5d, 0x7e}, {0x80, 0x10FFFF}};
    static const struct {
        uint32_t code;
        const char *text;
    } escaped[] = {{'"', "\\\""}, {'\\', "\\\\"}, {'\b', "\\b"}, {'\f', "\\f"},
                   {'\n', "\\n"}, {'\r', "\\r"},  {'\t', "\\t"}};
    for (size_t i = 0; i < sizeof unescaped / sizeof *unescaped; i++) {
        struct ci_grammar_range range = unescaped[i];
        if (range.first < first) range.first = first;
        if (range.last > last) range.last = last;
        if (range.first <= range.last) plain->items[plain->count++] = range;
    }
    for (size_t i = 0; i < sizeof escaped / sizeof *escaped; i++)
        if (escaped[i].code >= first && escaped[i].code <= last)
            ci_schema_put(compiler, nodes, ci_schema_text(compiler, escaped[i].text));
}

static int rule_of_state(struct ci_schema_compiler *compiler, size_t automaton, size_t state) {
    char name[48];
    int length = snprintf(name, sizeof name, "~%zu.%zu", automaton, state);
    return ci_grammar_rule(compiler->maker, name, (size_t)length);
}

/* All edges of a state that lead to the same one are one set. */
static void put_edges(struct ci_schema_compiler *compiler, const struct ci_automaton *automaton, size_t number,
                      const struct ci_automaton_state *state, struct ci_schema_nodes *choices, struct ranges *plain) {
    const struct ci_automaton_edge *edges = automaton->edges + state->first;
    for (uint32_t i = 0; i < state->count; i++) {
        struct ci_schema_nodes nodes = {0};
        bool done = false;
        for (uint32_t k = 0; k < i && !done; k++) done = edges[k].to == edges[i].to;
        if (done || !ci_schema_step(compiler, state->count)) continue;
        plain->count = 0;
        for (uint32_t k = i; k < state->count; k++)
            if (edges[k].to == edges[i].to) put_characters(compiler, &nodes, plain, edges[k].first, edges[k].last);
        if (plain->count > 0)
            ci_schema_put(compiler, &nodes, ci_grammar_set(compiler->maker, plain->items, plain->count, false));
        ci_grammar_node step[2] = {ci_schema_end_choice(compiler, &nodes)};
        step[1] = ci_grammar_call(compiler->maker, rule_of_state(compiler, number, edges[i].to));
        ci_schema_put(compiler, choices, ci_grammar_sequence(compiler->maker, step, 2));
    }
}

ci_grammar_node ci_schema_automaton(struct ci_schema_compiler *compiler, const struct ci_automaton *automaton,
                                    uint64_t mask, uint64_t bits) {
    size_t number = compiler->automata++;
    struct ranges plain = {malloc((automaton->edge_count + 1) * 4 * sizeof *plain.items), 0};
    if (!plain.items) ci_schema_no_memory(compiler);
    for (size_t i = 0; i < automaton->state_count && ci_schema_step(compiler, 1); i++) {
        const struct ci_automaton_state *state = &automaton->states[i];
        struct ci_schema_nodes choices = {0};
        if ((state->bits & mask) == bits) ci_schema_put(compiler, &choices, ci_schema_text(compiler, "\""));
        put_edges(compiler, automaton, number, state, &choices, &plain);
        ci_grammar_define(compiler->maker, rule_of_state(compiler, number, i),
                          ci_schema_end_choice(compiler, &choices));
    }
    free(plain.items);
    ci_grammar_node whole[2] = {ci_schema_text(compiler, "\""),
                                ci_grammar_call(compiler->maker, rule_of_state(compiler, number, 0))};
    return ci_grammar_sequence(compiler->maker, whole, 2);
}

/* ---- strings ---- */

struct text {
    struct ci_regex *regex;
    unsigned bits;
    uint32_t least, most, place; /* of the last pattern */
};

static void add_pattern(struct ci_schema_compiler *compiler, struct text *text, uint32_t place, const char *keyword,
                        const char *pattern) {
    enum clinfer_status status = CLINFER_OK;
    if (text->bits + 1 >= CI_REGEX_MOST_BITS) {
        ci_schema_fail(compiler, place, keyword, CLINFER_UNSUPPORTED, "more than %d patterns at once",
                       CI_REGEX_MOST_BITS - 2);
        return;
    }
    if (!text->regex) status = ci_regex_create(&text->regex);
    if (status == CLINFER_OK) status = ci_regex_add(text->regex, pattern, strlen(pattern), text->bits++);
    if (status != CLINFER_OK) ci_schema_fail(compiler, place, keyword, status, "%s", clinfer_error());
    text->place = place;
}

static void gather(struct ci_schema_compiler *compiler, const struct ci_schema_set *set, struct text *text) {
    size_t at = 0;
    uint32_t place, bound;
    const json_t *schema;
    while (ci_schema_next(compiler, set, &at, &place, &schema) && compiler->status == CLINFER_OK) {
        const char *pattern = json_string_value(json_object_get(schema, "pattern"));
        const char *format = json_string_value(json_object_get(schema, "format"));
        if (ci_schema_count(compiler, place, "minLength", &bound) && bound > text->least) text->least = bound;
        if (ci_schema_count(compiler, place, "maxLength", &bound) && bound < text->most) text->most = bound;
        if (pattern) add_pattern(compiler, text, place, "pattern", pattern);
        if (!format) continue;
        if (ci_format_pattern(format))
            add_pattern(compiler, text, place, "format", ci_format_pattern(format));
        else
            ci_schema_fail(compiler, place, "format", CLINFER_UNSUPPORTED, "only these are held: %s", ci_format_names);
    }
}

static ci_grammar_node make_plain(struct ci_schema_compiler *compiler, const struct text *text) {
    ci_grammar_node quote = ci_schema_text(compiler, "\""), character = ci_schema_character(compiler);
    ci_grammar_node characters = ci_grammar_repeat(compiler->maker, character, text->least, text->most);
    return ci_grammar_sequence(compiler->maker, (const ci_grammar_node[]){quote, characters, quote}, 3);
}

/* Its bits are the lowest `bits` ones; NULL: a failure. */
static struct ci_automaton *determine(struct ci_schema_compiler *compiler, struct text *text) {
    struct ci_automaton *automaton = NULL;
    size_t before = CI_SCHEMA_MOST_STEPS - compiler->steps, budget = before;
    enum clinfer_status status = CLINFER_OK;
    if (compiler->status != CLINFER_OK) return NULL;
    if (text->least > 0 || text->most != CI_REGEX_NO_END)
        status = ci_regex_add_length(text->regex, text->least, text->most, text->bits++);
    if (status == CLINFER_OK) status = ci_regex_determine(text->regex, &budget, &automaton);
    if (status != CLINFER_OK)
        ci_schema_fail(compiler, text->place, NULL, status, "its pattern, format and lengths: %s", clinfer_error());
    ci_schema_step(compiler, before - budget);
    return automaton;
}

static uint64_t all_bits(const struct text *text) { return (UINT64_C(1) << text->bits) - 1; }

static ci_grammar_node make_pattern(struct ci_schema_compiler *compiler, struct text *text) {
    struct ci_automaton *automaton = determine(compiler, text);
    ci_grammar_node node =
        automaton ? ci_schema_automaton(compiler, automaton, all_bits(text), all_bits(text)) : CI_GRAMMAR_NONE;
    ci_automaton_destroy(automaton);
    return node;
}

bool ci_schema_strings_exclude(struct ci_schema_compiler *compiler, const struct ci_schema_set *made,
                               const struct ci_schema_set *allowed) {
    struct text text = {.most = CI_REGEX_NO_END};
    gather(compiler, made, &text);
    gather(compiler, allowed, &text);
    bool excluded = text.least > text.most;
    if (text.regex && !excluded) {
        struct ci_automaton *automaton = determine(compiler, &text);
        excluded = automaton != NULL;
        for (size_t i = 0; automaton && i < automaton->state_count; i++)
            if (automaton->states[i].bits == all_bits(&text)) excluded = false;
        ci_automaton_destroy(automaton);
    }
    ci_regex_destroy(text.regex);
    return excluded;
}

ci_grammar_node ci_schema_string(struct ci_schema_compiler *compiler, const struct ci_schema_set *set) {
    struct text text = {.most = CI_REGEX_NO_END};
    ci_grammar_node node = CI_GRAMMAR_NONE;
    gather(compiler, set, &text);
    if (compiler->status == CLINFER_OK) {
        if (text.least > text.most)
            node = ci_schema_contradicts(compiler, set);
        else if (text.regex)
            node = make_pattern(compiler, &text);
        else if (text.least > 0 || text.most != CI_REGEX_NO_END)
            node = make_plain(compiler, &text);
        else
            node = ci_schema_any_string(compiler);
    }
    ci_regex_destroy(text.regex);
    return node;
}
