/* jinja_text.c: strings as Python sees them: indexes count code points, white space and case are Unicode's.
 *
 * Case mapping covers ASCII, Latin-1, Latin Extended-A, Greek, Cyrillic and Armenian, one to one: templates change the
 * case of roles and type names, so the rest of Unicode stays as it is. */
#define _GNU_SOURCE
#include <string.h>

#include "text/jinja.h"
#include "text/utf8.h"

/* Input is UTF-8 from JSON, but a template may hold any byte: one that starts no character is one by itself. */
size_t ci_jinja_character_bytes(struct ci_jinja_string string, size_t at) {
    size_t bytes = ci_utf8_character(string.bytes + at, string.length - at);
    return bytes ? bytes : 1;
}

uint32_t ci_jinja_code_point(struct ci_jinja_string string, size_t at) {
    size_t bytes = ci_utf8_character(string.bytes + at, string.length - at);
    return bytes ? ci_utf8_decode(string.bytes + at, bytes) : 0xfffd;
}

size_t ci_jinja_characters(struct ci_jinja_heap *heap, struct ci_jinja_string string) {
    size_t count = 0;
    ci_jinja_spend_characters(heap, string.length);
    for (size_t at = 0; at < string.length; at += ci_jinja_character_bytes(string, at)) count++;
    return count;
}

size_t ci_jinja_offset(struct ci_jinja_heap *heap, struct ci_jinja_string string, size_t characters) {
    size_t at = 0;
    ci_jinja_spend_characters(heap, characters < string.length ? characters : string.length);
    while (characters-- > 0 && at < string.length) at += ci_jinja_character_bytes(string, at);
    return at;
}

/* str.isspace() */
bool ci_jinja_is_space(uint32_t c) {
    if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

struct range {
    uint32_t first, last; /* of the capitals */
    int32_t to_lower;     /* 0: capitals and small letters alternate, a capital first */
};

static const struct range ranges[] = {
    {'A', 'Z', 32},     {0xc0, 0xd6, 32},   {0xd8, 0xde, 32},     {0x100, 0x12e, 0},  {0x132, 0x136, 0},
    {0x139, 0x147, 0},  {0x14a, 0x176, 0},  {0x178, 0x178, -121}, {0x179, 0x17d, 0},  {0x386, 0x386, 38},
    {0x388, 0x38a, 37}, {0x38c, 0x38c, 64}, {0x38e, 0x38f, 63},   {0x391, 0x3a1, 32}, {0x3a3, 0x3ab, 32},
    {0x400, 0x40f, 80}, {0x410, 0x42f, 32}, {0x460, 0x480, 0},    {0x48a, 0x4be, 0},  {0x4d0, 0x52e, 0},
    {0x531, 0x556, 48},
};

static const struct range *range_of(uint32_t c, bool capital) {
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        const struct range *range = &ranges[i];
        uint32_t first = capital ? range->first : range->first + (uint32_t)(range->to_lower ? range->to_lower : 1);
        uint32_t last = capital ? range->last : range->last + (uint32_t)(range->to_lower ? range->to_lower : 1);
        if (c < first || c > last) continue;
        if (range->to_lower != 0 || (c - first) % 2 == 0) return range;
    }
    return NULL;
}

uint32_t ci_jinja_lower(uint32_t c) {
    const struct range *range = range_of(c, true);
    return range ? c + (uint32_t)(range->to_lower ? range->to_lower : 1) : c;
}

uint32_t ci_jinja_upper(uint32_t c) {
    if (c == 0x3c2) return 0x3a3; /* final sigma */
    const struct range *range = range_of(c, false);
    return range ? c - (uint32_t)(range->to_lower ? range->to_lower : 1) : c;
}

/* ---- strip ---- */

/* The characters to be stripped: those of ASCII by a table, so that a long set costs no more than a short one. */
struct set {
    bool ascii[128];
    bool spaces;                   /* Unicode's, and nothing else */
    struct ci_jinja_string others; /* the text they stand in; empty when all are ASCII */
};

static bool is_in(struct ci_jinja_heap *heap, const struct set *set, uint32_t code_point) {
    ci_jinja_spend(heap, 1);
    if (set->spaces) return ci_jinja_is_space(code_point);
    if (code_point < 128) return set->ascii[code_point];
    for (size_t at = 0; at < set->others.length; at += ci_jinja_character_bytes(set->others, at)) {
        ci_jinja_spend(heap, 1);
        if (ci_jinja_code_point(set->others, at) == code_point) return true;
    }
    return false;
}

static struct ci_jinja_string strip(struct ci_jinja_heap *heap, struct ci_jinja_string string, const struct set *set,
                                    bool left, bool right) {
    size_t begin = 0, end = string.length;
    while (left && begin < end && is_in(heap, set, ci_jinja_code_point(string, begin)))
        begin += ci_jinja_character_bytes(string, begin);
    while (right && end > begin) {
        size_t last = end - 1;
        while (last > begin && end - last < 4 && ((unsigned char)string.bytes[last] & 0xc0) == 0x80) last--;
        if (ci_utf8_character(string.bytes + last, end - last) != end - last) last = end - 1;
        if (!is_in(heap, set, ci_jinja_code_point(ci_jinja_part(string, 0, end), last))) break;
        end = last;
    }
    return ci_jinja_part(string, begin, end);
}

struct ci_jinja_string ci_jinja_strip(struct ci_jinja_heap *heap, struct ci_jinja_string string, bool left,
                                      bool right) {
    const struct set spaces = {.spaces = true};
    return strip(heap, string, &spaces, left, right);
}

struct ci_jinja_string ci_jinja_strip_characters(struct ci_jinja_heap *heap, struct ci_jinja_string string,
                                                 struct ci_jinja_string characters, bool left, bool right) {
    struct set set = {.others = {0}};
    bool others = false;
    ci_jinja_spend_characters(heap, characters.length);
    for (size_t i = 0; i < characters.length; i++) {
        unsigned char byte = (unsigned char)characters.bytes[i];
        others |= byte >= 128;
        set.ascii[byte % 128] |= byte < 128;
    }
    if (others) set.others = characters;
    return strip(heap, string, &set, left, right);
}

/* ---- finding, replacing ---- */

/* In windows that grow, each paid for by itself: what is found early is cheap. memmem() is linear. */
size_t ci_jinja_find(struct ci_jinja_heap *heap, struct ci_jinja_string string, struct ci_jinja_string part,
                     size_t start) {
    if (start > string.length || part.length > string.length - start) return SIZE_MAX;
    if (part.length == 0) return start;
    size_t window = part.length + 15;
    for (size_t at = start;; at += window, window *= 2) {
        size_t rest = string.length - at, length = window + part.length - 1; /* to the end of what begins in it */
        if (length > rest) length = rest;
        ci_jinja_spend_characters(heap, length);
        const char *found = memmem(string.bytes + at, length, part.bytes, part.length);
        if (found) return (size_t)(found - string.bytes);
        if (length == rest) return SIZE_MAX;
    }
}

struct ci_jinja_value ci_jinja_replace(struct ci_jinja_run *run, struct ci_jinja_string string,
                                       struct ci_jinja_string old, struct ci_jinja_string new, int64_t count) {
    struct ci_jinja_buffer buffer = {0};
    size_t at = 0;
    while (count != 0) {
        size_t found = ci_jinja_find(&run->heap, string, old, at);
        if (found == SIZE_MAX) break;
        /* An empty text is found before every character and at the end. */
        ci_jinja_append_string(run, &buffer, ci_jinja_part(string, at, found));
        ci_jinja_append_string(run, &buffer, new);
        at = found + old.length;
        if (old.length == 0) {
            if (at == string.length) {
                at++;
                break;
            }
            size_t bytes = ci_jinja_character_bytes(string, at);
            ci_jinja_append_string(run, &buffer, ci_jinja_part(string, at, at + bytes));
            at += bytes;
        }
        if (count > 0) count--;
    }
    if (at < string.length) ci_jinja_append_string(run, &buffer, ci_jinja_part(string, at, string.length));
    return ci_jinja_buffer_text(&buffer);
}

static bool starts_word(uint32_t previous) { return previous < 0x80 && strchr("-({[<", (int)previous) != NULL; }

struct ci_jinja_value ci_jinja_change_case(struct ci_jinja_run *run, struct ci_jinja_string string,
                                           enum ci_jinja_case to) {
    struct ci_jinja_buffer buffer = {0};
    bool start = true;
    for (size_t at = 0; at < string.length;) {
        ci_jinja_spend(&run->heap, 2); /* and what it is appended for */
        size_t bytes = ci_jinja_character_bytes(string, at);
        uint32_t c = ci_jinja_code_point(string, at);
        bool upper = to == CI_JINJA_UPPER || (to != CI_JINJA_LOWER && start);
        uint32_t changed = upper ? ci_jinja_upper(c) : ci_jinja_lower(c);
        char out[4];
        if (changed == c)
            ci_jinja_append_string(run, &buffer, ci_jinja_part(string, at, at + bytes));
        else
            ci_jinja_append_like(run, &buffer, string, at, out, ci_utf8_encode(changed, out));
        start = to == CI_JINJA_TITLE && (ci_jinja_is_space(c) || (c != 0 && starts_word(c)));
        at += bytes;
    }
    return ci_jinja_buffer_text(&buffer);
}

/* The ends that str.splitlines() knows. */
bool ci_jinja_next_line(struct ci_jinja_heap *heap, struct ci_jinja_string string, size_t *at,
                        struct ci_jinja_string *line) {
    if (*at >= string.length) return false;
    size_t begin = *at, end = begin, bytes = 0;
    for (; end < string.length; end += bytes) {
        ci_jinja_spend(heap, 1);
        bytes = ci_jinja_character_bytes(string, end);
        uint32_t c = ci_jinja_code_point(string, end);
        if ((c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029) {
            if (c == '\r' && end + 1 < string.length && string.bytes[end + 1] == '\n') bytes = 2;
            break;
        }
    }
    *line = ci_jinja_part(string, begin, end);
    *at = end < string.length ? end + bytes : end;
    return true;
}
