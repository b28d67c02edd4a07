/* regex.c: the text of an expression becomes a tree, and the tree states, each made with the state behind it at hand.
 */
#include "grammar/regex.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/narrow.h"
#include "base/status.h"
#include "grammar/regex_private.h"
#include "text/utf8.h"

enum {
    MOST_GROUPS = 100,
    MOST_NODES = 100000,
    MOST_STATES = 200000,
    MOST_STEPS = 1000000,
    MOST_NUMBER = 1000000,
    LAST_CODE = 0x10FFFF
};

enum node_kind { NODE_SET, NODE_SEQUENCE, NODE_CHOICE, NODE_REPEAT, NODE_BEGIN, NODE_END };

struct node {
    enum node_kind kind;
    uint32_t first, count; /* SET: ranges; SEQUENCE and CHOICE: `children`; REPEAT: the child is `first` */
    uint32_t least, most;
};

struct parser {
    struct ci_regex *regex;
    const char *text, *at, *end;
    enum clinfer_status status;
    struct node *nodes;
    uint32_t *children;
    size_t node_count, node_capacity, child_count, child_capacity;
    int groups;
};

struct list {
    uint32_t *items;
    size_t count, capacity;
};

enum clinfer_status ci_regex_create(struct ci_regex **regex) {
    *regex = calloc(1, sizeof **regex);
    return *regex ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "regular expression: out of memory");
}

void ci_regex_destroy(struct ci_regex *regex) {
    if (!regex) return;
    free(regex->states);
    free(regex->ranges);
    free(regex->starts);
    free(regex);
}

/* ---- failures ---- */

static void no_memory(struct parser *parser) {
    if (parser->status == CLINFER_OK)
        parser->status = ci_fail(CLINFER_OUT_OF_MEMORY, "regular expression: out of memory");
}

static void fail_at(struct parser *parser, enum clinfer_status status, const char *at, const char *what) {
    size_t character = 1;
    if (parser->status != CLINFER_OK) return;
    for (const char *c = parser->text; c < at; c++) character += ((unsigned char)*c & 0xC0) != 0x80;
    parser->status = ci_fail(status, "character %zu: %s", character, what);
}

static void malformed(struct parser *parser, const char *at, const char *what) {
    fail_at(parser, CLINFER_INVALID_ARGUMENT, at, what);
}

static void unsupported(struct parser *parser, const char *at, const char *what) {
    fail_at(parser, CLINFER_UNSUPPORTED, at, what);
}

/* ---- the tree ---- */

static uint32_t add_node(struct parser *parser, struct node node) {
    if (parser->status != CLINFER_OK) return 0;
    if (parser->node_count >= MOST_NODES) {
        unsupported(parser, parser->at, "the expression is too large");
        return 0;
    }
    if (!ci_array_reserve(&parser->nodes, &parser->node_capacity, parser->node_count)) {
        no_memory(parser);
        return 0;
    }
    parser->nodes[parser->node_count] = node;
    return ci_narrowed_unsigned(parser->node_count++);
}

static void put(struct parser *parser, struct list *list, uint32_t item) {
    if (parser->status != CLINFER_OK) return;
    if (!ci_array_reserve(&list->items, &list->capacity, list->count))
        no_memory(parser);
    else
        list->items[list->count++] = item;
}

static uint32_t end_list(struct parser *parser, enum node_kind kind, struct list *list) {
    size_t first = parser->child_count;
    for (size_t i = 0; i < list->count && parser->status == CLINFER_OK; i++) {
        if (!ci_array_reserve(&parser->children, &parser->child_capacity, parser->child_count))
            no_memory(parser);
        else
            parser->children[parser->child_count++] = list->items[i];
    }
    struct node node = {.kind = kind, .first = ci_narrowed_unsigned(first), .count = ci_narrowed_unsigned(list->count)};
    free(list->items);
    return add_node(parser, node);
}

/* ---- sets of characters ---- */

static void add_range(struct parser *parser, uint32_t first, uint32_t last) {
    struct ci_regex *regex = parser->regex;
    if (parser->status != CLINFER_OK || first > last) return;
    if (regex->range_count >= MOST_STATES)
        unsupported(parser, parser->at, "the expression is too large");
    else if (!ci_array_reserve(&regex->ranges, &regex->range_capacity, regex->range_count))
        no_memory(parser);
    else
        regex->ranges[regex->range_count++] = (struct ci_regex_range){first, last};
}

static int by_first(const void *a, const void *b) {
    const struct ci_regex_range *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* The ranges from `from` on become sorted ones that do not touch, or all others. */
static void settle(struct parser *parser, size_t from, bool negated) {
    struct ci_regex *regex = parser->regex;
    size_t count = regex->range_count - from, kept = 0;
    if (parser->status != CLINFER_OK) return;
    if (count > 1) qsort(regex->ranges + from, count, sizeof *regex->ranges, by_first);
    for (size_t i = 0; i < count; i++) {
        struct ci_regex_range range = regex->ranges[from + i], *last = &regex->ranges[from + kept - (kept > 0)];
        if (kept > 0 && range.first <= last->last + 1) {
            if (range.last > last->last) last->last = range.last;
        } else {
            regex->ranges[from + kept++] = range;
        }
    }
    regex->range_count = from + kept;
    if (!negated) return;
    uint32_t next = 0;
    for (size_t i = 0; i < kept; i++) {
        const struct ci_regex_range range = regex->ranges[from + i];
        if (range.first > next) add_range(parser, next, range.first - 1);
        next = range.last + 1;
    }
    add_range(parser, next, LAST_CODE);
    if (parser->status != CLINFER_OK) return;
    memmove(regex->ranges + from, regex->ranges + from + kept,
            (regex->range_count - from - kept) * sizeof *regex->ranges);
    regex->range_count -= kept;
}

static uint32_t end_set(struct parser *parser, size_t from, bool negated) {
    settle(parser, from, negated);
    return add_node(parser, (struct node){.kind = NODE_SET,
                                          .first = ci_narrowed_unsigned(from),
                                          .count = ci_narrowed_unsigned(parser->regex->range_count - from)});
}

static uint32_t add_any(struct parser *parser) {
    size_t from = parser->regex->range_count;
    add_range(parser, 0, LAST_CODE);
    return end_set(parser, from, false);
}

/* \d \w \s (ECMA-262, CharacterClassEscape); false: it is none of them. */
static bool add_class(struct parser *parser, char name) {
    static const struct ci_regex_range digits[] = {{'0', '9'}},
                                       words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}},
                                       spaces[] = {{0x09, 0x0D},     {0x20, 0x20},     {0xA0, 0xA0},
                                                   {0x1680, 0x1680}, {0x2000, 0x200A}, {0x2028, 0x2029},
                                                   {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000},
                                                   {0xFEFF, 0xFEFF}};
    const struct ci_regex_range *ranges = NULL;
    size_t count = 0;
    switch (name | 0x20) {
    case 'd': ranges = digits, count = 1; break;
    case 'w': ranges = words, count = 4; break;
    case 's': ranges = spaces, count = sizeof spaces / sizeof *spaces; break;
    default: return false;
    }
    uint32_t next = 0;
    for (size_t i = 0; i < count; i++) {
        if (name & 0x20)
            add_range(parser, ranges[i].first, ranges[i].last);
        else
            add_range(parser, next, ranges[i].first - 1);
        next = ranges[i].last + 1;
    }
    if (!(name & 0x20)) add_range(parser, next, LAST_CODE);
    return true;
}

/* ---- characters ---- */

static bool is_at(const struct parser *parser, char c) { return parser->at < parser->end && *parser->at == c; }

static uint32_t read_plain(struct parser *parser) {
    size_t length = ci_utf8_character(parser->at, (size_t)(parser->end - parser->at));
    if (length == 0) {
        malformed(parser, parser->at, "this is not UTF-8");
        return 0;
    }
    uint32_t code = ci_utf8_decode(parser->at, length);
    parser->at += length;
    return code;
}

static uint32_t read_hex(struct parser *parser, int digits) {
    const char *begin = parser->at;
    uint32_t value = 0;
    for (int i = 0; i < digits; i++, parser->at++) {
        char c = parser->at < parser->end ? *parser->at : 0;
        int digit = c >= '0' && c <= '9'                     ? c - '0'
                    : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                             : -1;
        if (digit < 0) {
            malformed(parser, begin, "hexadecimal digits are needed here");
            return 0;
        }
        value = value * 16 + (uint32_t)digit;
    }
    return value;
}

/* Behind \u: XXXX, a pair of surrogates, or {X...}. */
static uint32_t read_unicode(struct parser *parser) {
    const char *begin = parser->at;
    if (is_at(parser, '{')) {
        const char *end = memchr(parser->at, '}', (size_t)(parser->end - parser->at));
        uint32_t value = 0;
        parser->at++;
        if (end && end - parser->at >= 1 && end - parser->at <= 6)
            value = read_hex(parser, ci_narrowed(end - parser->at));
        if (parser->status == CLINFER_OK && (parser->at != end || value > LAST_CODE))
            malformed(parser, begin, "this is no code point");
        parser->at += parser->status == CLINFER_OK;
        return value;
    }
    uint32_t value = read_hex(parser, 4);
    if (value >= 0xD800 && value < 0xDC00 && parser->end - parser->at >= 6 && memcmp(parser->at, "\\u", 2) == 0) {
        const char *before = parser->at;
        parser->at += 2;
        uint32_t low = read_hex(parser, 4);
        if (low >= 0xDC00 && low < 0xE000) return 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
        parser->at = before;
    }
    return value;
}

/* Behind a backslash: one character. */
static uint32_t read_escape(struct parser *parser, bool in_class) {
    const char *begin = parser->at - 1;
    if (parser->at == parser->end) {
        malformed(parser, begin, "something is needed behind '\\'");
        return 0;
    }
    char c = *parser->at;
    if ((unsigned char)c >= 0x80) return read_plain(parser);
    parser->at++;
    switch (c) {
    case 't': return '\t';
    case 'n': return '\n';
    case 'v': return '\v';
    case 'f': return '\f';
    case 'r': return '\r';
    case 'x': return read_hex(parser, 2);
    case 'u': return read_unicode(parser);
    case 'c':
        if (parser->at < parser->end && (*parser->at | 0x20) >= 'a' && (*parser->at | 0x20) <= 'z')
            return (uint32_t)(*parser->at++ & 0x1f);
        malformed(parser, begin, "a letter is needed behind '\\c'");
        return 0;
    case '0':
        if (!(parser->at < parser->end && *parser->at >= '0' && *parser->at <= '9')) return 0;
        malformed(parser, begin, "octal escapes are not known");
        return 0;
    case 'b':
        if (in_class) return '\b';
        unsupported(parser, begin, "word boundaries (\\b) are not held");
        return 0;
    default: break;
    }
    if (c == 'p' || c == 'P')
        unsupported(parser, begin, "classes of Unicode properties (\\p) are not held");
    else if (c == 'B')
        unsupported(parser, begin, "word boundaries (\\B) are not held");
    else if (c == 'k' || (c >= '1' && c <= '9'))
        unsupported(parser, begin, "back references are not regular, and not held");
    else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z')
        malformed(parser, begin, "this escape is not known");
    return (unsigned char)c;
}

/* ---- expressions ---- */

/* One character of a class; *set: it was a class of its own, such as \d, which is added. */
static uint32_t read_class_atom(struct parser *parser, bool *set) {
    *set = false;
    if (!is_at(parser, '\\')) return read_plain(parser);
    parser->at++;
    if (parser->at < parser->end && add_class(parser, *parser->at)) {
        parser->at++;
        *set = true;
        return 0;
    }
    return read_escape(parser, true);
}

static uint32_t parse_class(struct parser *parser) {
    const char *begin = parser->at++;
    bool negated = is_at(parser, '^'), set, other_set;
    size_t from = parser->regex->range_count;
    parser->at += negated;
    while (parser->status == CLINFER_OK && !is_at(parser, ']')) {
        if (parser->at == parser->end) {
            malformed(parser, begin, "']' is missing behind this class");
            break;
        }
        const char *at = parser->at;
        uint32_t first = read_class_atom(parser, &set), last = first;
        if (is_at(parser, '-') && parser->at + 1 < parser->end && parser->at[1] != ']') {
            parser->at++;
            last = read_class_atom(parser, &other_set);
            if (set || other_set) { /* no range: the hyphen stands for itself (ECMA-262, annex B) */
                add_range(parser, '-', '-');
                if (set && !other_set) first = last;
                set = set && other_set;
                last = first;
            } else if (last < first) {
                malformed(parser, at, "this range ends before it begins");
            }
        }
        if (!set) add_range(parser, first, last);
    }
    parser->at++;
    return end_set(parser, from, negated);
}

static uint32_t parse_choice(struct parser *parser);

static uint32_t parse_group(struct parser *parser) {
    const char *begin = parser->at++;
    if (is_at(parser, '?')) {
        size_t left = (size_t)(parser->end - parser->at);
        if (left >= 2 && parser->at[1] == ':') {
            parser->at += 2;
        } else if (left >= 3 && parser->at[1] == '<' && parser->at[2] != '=' && parser->at[2] != '!') {
            const char *end = memchr(parser->at, '>', left);
            if (!end) malformed(parser, begin, "'>' is missing behind the name of this group");
            parser->at = end ? end + 1 : parser->end;
        } else {
            unsupported(parser, begin, "only plain groups, (?:...) and (?<name>...) are held, no look-around");
        }
    }
    if (++parser->groups > MOST_GROUPS) unsupported(parser, begin, "too many groups in each other");
    uint32_t node = parser->status == CLINFER_OK ? parse_choice(parser) : 0;
    if (!is_at(parser, ')')) malformed(parser, begin, "')' is missing for this group");
    parser->at++;
    parser->groups--;
    return node;
}

static uint32_t parse_single(struct parser *parser, uint32_t code) {
    size_t from = parser->regex->range_count;
    add_range(parser, code, code);
    return end_set(parser, from, false);
}

static uint32_t parse_atom(struct parser *parser) {
    const char *begin = parser->at;
    size_t from = parser->regex->range_count;
    switch (*parser->at) {
    case '(': return parse_group(parser);
    case '[': return parse_class(parser);
    case '^': parser->at++; return add_node(parser, (struct node){.kind = NODE_BEGIN});
    case '$': parser->at++; return add_node(parser, (struct node){.kind = NODE_END});
    case '.':
        parser->at++;
        add_range(parser, '\n', '\n');
        add_range(parser, '\r', '\r');
        add_range(parser, 0x2028, 0x2029);
        return end_set(parser, from, true);
    case '*':
    case '+':
    case '?': malformed(parser, begin, "there is nothing before this that could be repeated"); return 0;
    case '\\':
        parser->at++;
        if (parser->at < parser->end && add_class(parser, *parser->at)) {
            parser->at++;
            return end_set(parser, from, false);
        }
        return parse_single(parser, read_escape(parser, false));
    default: return parse_single(parser, read_plain(parser));
    }
}

static bool read_number(struct parser *parser, uint32_t *number) {
    const char *begin = parser->at;
    *number = 0;
    for (; parser->at < parser->end && *parser->at >= '0' && *parser->at <= '9'; parser->at++)
        if (*number <= MOST_NUMBER) *number = *number * 10 + (uint32_t)(*parser->at - '0');
    if (*number > MOST_NUMBER) unsupported(parser, begin, "this is repeated too often");
    return parser->at > begin;
}

/* {m}, {m,}, {m,n}; otherwise the brace is a character. */
static bool parse_braces(struct parser *parser, uint32_t *least, uint32_t *most) {
    const char *begin = parser->at++;
    bool fine = read_number(parser, least);
    *most = *least;
    if (fine && is_at(parser, ',')) {
        parser->at++;
        if (!read_number(parser, most)) *most = CI_REGEX_NO_END;
    }
    if (!fine || !is_at(parser, '}')) {
        parser->at = begin;
        return false;
    }
    parser->at++;
    if (*most < *least) malformed(parser, begin, "it ends below where it begins");
    return true;
}

static bool parse_quantifier(struct parser *parser, uint32_t *least, uint32_t *most) {
    if (parser->at == parser->end || parser->status != CLINFER_OK) return false;
    char c = *parser->at;
    if (c == '{') {
        if (!parse_braces(parser, least, most)) return false;
    } else if (c == '*' || c == '+' || c == '?') {
        *least = c == '+';
        *most = c == '?' ? 1 : CI_REGEX_NO_END;
        parser->at++;
    } else {
        return false;
    }
    if (is_at(parser, '?')) parser->at++; /* lazy: the same texts */
    return true;
}

static uint32_t parse_sequence(struct parser *parser) {
    struct list list = {0};
    while (parser->status == CLINFER_OK && parser->at < parser->end && *parser->at != '|' && *parser->at != ')') {
        uint32_t least, most, node = parse_atom(parser);
        if (parse_quantifier(parser, &least, &most))
            node = add_node(parser, (struct node){.kind = NODE_REPEAT, .first = node, .least = least, .most = most});
        put(parser, &list, node);
    }
    return end_list(parser, NODE_SEQUENCE, &list);
}

static uint32_t parse_choice(struct parser *parser) {
    struct list list = {0};
    put(parser, &list, parse_sequence(parser));
    while (parser->status == CLINFER_OK && is_at(parser, '|')) {
        parser->at++;
        put(parser, &list, parse_sequence(parser));
    }
    return end_list(parser, NODE_CHOICE, &list);
}

/* ---- states ---- */

static uint32_t add_state(struct parser *parser, struct ci_regex_state state) {
    struct ci_regex *regex = parser->regex;
    if (parser->status != CLINFER_OK) return 0;
    if (regex->state_count >= MOST_STATES) {
        unsupported(parser, parser->end, "the expression is too large when its repetitions are written out");
        return 0;
    }
    if (!ci_array_reserve(&regex->states, &regex->state_capacity, regex->state_count)) {
        no_memory(parser);
        return 0;
    }
    regex->states[regex->state_count] = state;
    return ci_narrowed_unsigned(regex->state_count++);
}

static uint32_t add_split(struct parser *parser, uint32_t next, uint32_t other) {
    return add_state(parser, (struct ci_regex_state){.kind = CI_REGEX_SPLIT, .next = next, .other = other});
}

static uint32_t build(struct parser *parser, uint32_t index, uint32_t next);

static uint32_t build_repeat(struct parser *parser, const struct node node, uint32_t next) {
    uint32_t at = next;
    if (node.most == CI_REGEX_NO_END) {
        at = add_split(parser, 0, next);
        uint32_t body = build(parser, node.first, at);
        if (parser->status == CLINFER_OK) parser->regex->states[at].next = body;
    }
    for (uint32_t i = node.least; node.most != CI_REGEX_NO_END && i < node.most && parser->status == CLINFER_OK; i++)
        at = add_split(parser, build(parser, node.first, at), next);
    for (uint32_t i = 0; i < node.least && parser->status == CLINFER_OK; i++) at = build(parser, node.first, at);
    return at;
}

static uint32_t build(struct parser *parser, uint32_t index, uint32_t next) {
    if (parser->status != CLINFER_OK) return 0;
    const struct node node = parser->nodes[index];
    if (++parser->regex->steps > MOST_STEPS) {
        unsupported(parser, parser->end, "the expression is too large when its repetitions are written out");
        return 0;
    }
    switch (node.kind) {
    case NODE_SET:
        return add_state(parser, (struct ci_regex_state){
                                     .kind = CI_REGEX_SET, .first = node.first, .count = node.count, .next = next});
    case NODE_SEQUENCE:
        for (uint32_t i = node.count; i > 0; i--) next = build(parser, parser->children[node.first + i - 1], next);
        return next;
    case NODE_CHOICE: {
        uint32_t at = build(parser, parser->children[node.first + node.count - 1], next);
        for (uint32_t i = node.count - 1; i > 0; i--)
            at = add_split(parser, build(parser, parser->children[node.first + i - 1], next), at);
        return at;
    }
    case NODE_REPEAT: return build_repeat(parser, node, next);
    case NODE_BEGIN: return add_state(parser, (struct ci_regex_state){.kind = CI_REGEX_BEGIN, .next = next});
    case NODE_END: return add_state(parser, (struct ci_regex_state){.kind = CI_REGEX_END, .next = next});
    }
    return next;
}

/* Around `node` any text may stand where it is not held by anchors. */
static enum clinfer_status finish(struct parser *parser, uint32_t node, unsigned bit, bool search) {
    struct ci_regex *regex = parser->regex;
    uint32_t at = add_state(parser, (struct ci_regex_state){.kind = CI_REGEX_MATCH, .first = bit});
    uint32_t any =
        search ? add_node(parser, (struct node){.kind = NODE_REPEAT, .first = add_any(parser), .most = CI_REGEX_NO_END})
               : 0;
    if (search) at = build(parser, any, at);
    if (parser->status == CLINFER_OK) at = build(parser, node, at);
    if (search) at = build(parser, any, at);
    if (parser->status == CLINFER_OK) {
        if (!ci_array_reserve(&regex->starts, &regex->start_capacity, regex->start_count))
            no_memory(parser);
        else
            regex->starts[regex->start_count++] = at;
    }
    free(parser->nodes);
    free(parser->children);
    return parser->status;
}

enum clinfer_status ci_regex_add(struct ci_regex *regex, const char *pattern, size_t length, unsigned bit) {
    struct parser parser = {.regex = regex, .text = pattern, .at = pattern, .end = pattern + length};
    uint32_t node = parse_choice(&parser);
    if (parser.status == CLINFER_OK && parser.at < parser.end)
        malformed(&parser, parser.at, "there is no '(' for this ')'");
    return finish(&parser, node, bit, true);
}

enum clinfer_status ci_regex_add_text(struct ci_regex *regex, const char *text, size_t length, unsigned bit) {
    struct parser parser = {.regex = regex, .text = text, .at = text, .end = text + length};
    struct list list = {0};
    while (parser.status == CLINFER_OK && parser.at < parser.end)
        put(&parser, &list, parse_single(&parser, read_plain(&parser)));
    return finish(&parser, end_list(&parser, NODE_SEQUENCE, &list), bit, false);
}

enum clinfer_status ci_regex_add_length(struct ci_regex *regex, uint32_t least, uint32_t most, unsigned bit) {
    struct parser parser = {.regex = regex};
    uint32_t any = add_any(&parser);
    uint32_t node = add_node(&parser, (struct node){.kind = NODE_REPEAT, .first = any, .least = least, .most = most});
    return finish(&parser, node, bit, false);
}
