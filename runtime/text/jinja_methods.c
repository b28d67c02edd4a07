/* jinja_methods.c: the methods of Python's str, dict, list and tuple that templates call. Methods that would change a
 * value do not exist, as in transformers' immutable sandbox. */
#include <string.h>

#include "text/jinja.h"

#define METHOD(name)                                                                                                   \
    static struct ci_jinja_value method_##name(struct ci_jinja_run *run, struct ci_jinja_value self,                   \
                                               const struct ci_jinja_arguments *arguments)

static struct ci_jinja_string need_text(struct ci_jinja_run *run, const struct ci_jinja_arguments *arguments,
                                        size_t position, const char *name) {
    struct ci_jinja_value value = ci_jinja_need(run, arguments, position, name);
    if (value.kind != CI_JINJA_IS_STRING)
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "the argument '%s' is of type %s, not string", name,
                      ci_jinja_kind_name(value));
    return value.string;
}

/* ---- strip, case ---- */

static struct ci_jinja_value strip(struct ci_jinja_run *run, struct ci_jinja_value self,
                                   const struct ci_jinja_arguments *arguments, bool left, bool right) {
    const struct ci_jinja_value *characters = ci_jinja_argument(run, arguments, 0, "chars");
    if (characters == NULL || characters->kind == CI_JINJA_IS_NONE)
        return ci_jinja_text(ci_jinja_strip(&run->heap, self.string, left, right));
    struct ci_jinja_string set = need_text(run, arguments, 0, "chars");
    return ci_jinja_text(ci_jinja_strip_characters(&run->heap, self.string, set, left, right));
}

METHOD(strip) { return strip(run, self, arguments, true, true); }

METHOD(lstrip) { return strip(run, self, arguments, true, false); }

METHOD(rstrip) { return strip(run, self, arguments, false, true); }

METHOD(upper) {
    (void)arguments;
    return ci_jinja_change_case(run, self.string, CI_JINJA_UPPER);
}

METHOD(lower) {
    (void)arguments;
    return ci_jinja_change_case(run, self.string, CI_JINJA_LOWER);
}

METHOD(capitalize) {
    (void)arguments;
    return ci_jinja_change_case(run, self.string, CI_JINJA_CAPITALIZED);
}

/* str.title() starts a word behind everything that is no letter, unlike the filter. */
METHOD(title) {
    (void)arguments;
    struct ci_jinja_buffer buffer = {0};
    bool start = true;
    for (size_t at = 0; at < self.string.length;) {
        size_t bytes = ci_jinja_character_bytes(self.string, at);
        struct ci_jinja_string one = ci_jinja_part(self.string, at, at + bytes);
        uint32_t c = ci_jinja_code_point(self.string, at);
        struct ci_jinja_value changed = ci_jinja_change_case(run, one, start ? CI_JINJA_UPPER : CI_JINJA_LOWER);
        ci_jinja_append_string(run, &buffer, changed.string);
        start = ci_jinja_upper(c) == ci_jinja_lower(c);
        at += bytes;
    }
    return ci_jinja_buffer_text(&buffer);
}

/* ---- searching ---- */

typedef bool part_test(struct ci_jinja_heap *heap, struct ci_jinja_string string, struct ci_jinja_string part);

static bool begins(struct ci_jinja_heap *heap, struct ci_jinja_string string, struct ci_jinja_string part) {
    return part.length <= string.length && ci_jinja_same(heap, ci_jinja_part(string, 0, part.length), part);
}

static bool ends(struct ci_jinja_heap *heap, struct ci_jinja_string string, struct ci_jinja_string part) {
    return part.length <= string.length &&
           ci_jinja_same(heap, ci_jinja_part(string, string.length - part.length, string.length), part);
}

static struct ci_jinja_value any_of(struct ci_jinja_run *run, struct ci_jinja_value self,
                                    const struct ci_jinja_arguments *arguments, part_test *holds) {
    struct ci_jinja_value part = ci_jinja_need(run, arguments, 0, "prefix");
    if (part.kind != CI_JINJA_IS_LIST || part.list->shape != CI_JINJA_SHAPE_TUPLE)
        return ci_jinja_boolean(holds(&run->heap, self.string, need_text(run, arguments, 0, "prefix")));
    for (size_t i = 0; i < part.list->count; i++) {
        ci_jinja_spend(&run->heap, 1);
        struct ci_jinja_value item = part.list->items[i];
        if (item.kind == CI_JINJA_IS_STRING && holds(&run->heap, self.string, item.string))
            return ci_jinja_boolean(true);
    }
    return ci_jinja_boolean(false);
}

METHOD(startswith) { return any_of(run, self, arguments, begins); }

METHOD(endswith) { return any_of(run, self, arguments, ends); }

METHOD(removeprefix) {
    struct ci_jinja_string part = need_text(run, arguments, 0, "prefix");
    return begins(&run->heap, self.string, part)
               ? ci_jinja_text(ci_jinja_part(self.string, part.length, self.string.length))
               : self;
}

METHOD(removesuffix) {
    struct ci_jinja_string part = need_text(run, arguments, 0, "suffix");
    return ends(&run->heap, self.string, part)
               ? ci_jinja_text(ci_jinja_part(self.string, 0, self.string.length - part.length))
               : self;
}

static size_t find_last(struct ci_jinja_run *run, struct ci_jinja_string string, struct ci_jinja_string part,
                        size_t end) {
    if (part.length > end) return SIZE_MAX;
    for (size_t at = end - part.length;; at--) {
        ci_jinja_spend_bytes(&run->heap, part.length);
        if (part.length == 0 || memcmp(string.bytes + at, part.bytes, part.length) == 0) return at;
        if (at == 0) return SIZE_MAX;
    }
}

/* Bytes to characters. */
static int64_t place(struct ci_jinja_run *run, struct ci_jinja_string string, size_t at) {
    if (at == SIZE_MAX) return -1;
    return (int64_t)ci_jinja_characters(&run->heap, ci_jinja_part(string, 0, at));
}

METHOD(find) {
    struct ci_jinja_string part = need_text(run, arguments, 0, "sub");
    int64_t from = ci_jinja_argument_integer(run, arguments, 1, "start", 0);
    if (from < 0) from += (int64_t)ci_jinja_length(run, self);
    size_t start = ci_jinja_offset(&run->heap, self.string, from < 0 ? 0 : (size_t)from);
    return ci_jinja_integer(place(run, self.string, ci_jinja_find(&run->heap, self.string, part, start)));
}

METHOD(rfind) {
    struct ci_jinja_string part = need_text(run, arguments, 0, "sub");
    return ci_jinja_integer(place(run, self.string, find_last(run, self.string, part, self.string.length)));
}

METHOD(index) {
    if (self.kind == CI_JINJA_IS_STRING) {
        struct ci_jinja_value found = method_find(run, self, arguments);
        if (found.integer >= 0) return found;
    } else {
        struct ci_jinja_value item = ci_jinja_need(run, arguments, 0, "value");
        for (size_t i = 0; i < self.list->count; i++)
            if (ci_jinja_equal(run, self.list->items[i], item)) return ci_jinja_integer((int64_t)i);
    }
    ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "index(): there is no such value");
}

METHOD(count) {
    int64_t count = 0;
    if (self.kind == CI_JINJA_IS_STRING) {
        struct ci_jinja_string part = need_text(run, arguments, 0, "sub");
        if (part.length == 0) return ci_jinja_integer((int64_t)ci_jinja_length(run, self) + 1);
        for (size_t at = 0; (at = ci_jinja_find(&run->heap, self.string, part, at)) != SIZE_MAX; at += part.length)
            count++;
    } else {
        struct ci_jinja_value item = ci_jinja_need(run, arguments, 0, "value");
        for (size_t i = 0; i < self.list->count; i++) count += ci_jinja_equal(run, self.list->items[i], item);
    }
    return ci_jinja_integer(count);
}

METHOD(replace) {
    struct ci_jinja_string old = need_text(run, arguments, 0, "old"), new = need_text(run, arguments, 1, "new");
    return ci_jinja_replace(run, self.string, old, new, ci_jinja_argument_integer(run, arguments, 2, "count", -1));
}

/* ---- cutting and joining ---- */

/* Parts as they are found, from the left or from the right. */
struct parts {
    struct ci_jinja_value *items;
    size_t count, capacity;
};

static void add_part(struct ci_jinja_run *run, struct parts *parts, struct ci_jinja_string part) {
    ci_jinja_spend(&run->heap, 1);
    if (parts->count == parts->capacity) {
        parts->capacity = parts->capacity ? parts->capacity * 2 : 8;
        struct ci_jinja_value *items = ci_jinja_alloc(&run->heap, parts->capacity, sizeof *items);
        if (parts->count) memcpy(items, parts->items, parts->count * sizeof *items);
        parts->items = items;
    }
    parts->items[parts->count++] = ci_jinja_text(part);
}

static void split_left(struct ci_jinja_run *run, struct ci_jinja_string string, const struct ci_jinja_string *separator,
                       int64_t most, struct parts *parts) {
    size_t at = 0;
    while (separator && most-- != 0) {
        size_t found = ci_jinja_find(&run->heap, string, *separator, at);
        if (found == SIZE_MAX) break;
        add_part(run, parts, ci_jinja_part(string, at, found));
        at = found + separator->length;
    }
    while (!separator) {
        struct ci_jinja_string rest = ci_jinja_strip(&run->heap, ci_jinja_part(string, at, string.length), true, false);
        if (rest.length == 0) return;
        at = string.length - rest.length;
        if (most-- == 0) break;
        size_t end = at;
        while (end < string.length && !ci_jinja_is_space(ci_jinja_code_point(string, end))) {
            ci_jinja_spend(&run->heap, 1);
            end += ci_jinja_character_bytes(string, end);
        }
        add_part(run, parts, ci_jinja_part(string, at, end));
        at = end;
    }
    add_part(run, parts, ci_jinja_part(string, at, string.length));
}

static void split_right(struct ci_jinja_run *run, struct ci_jinja_string string, struct ci_jinja_string separator,
                        int64_t most, struct parts *parts) {
    size_t end = string.length;
    while (most-- != 0) {
        size_t found = find_last(run, string, separator, end);
        if (found == SIZE_MAX) break;
        add_part(run, parts, ci_jinja_part(string, found + separator.length, end));
        end = found;
    }
    add_part(run, parts, ci_jinja_part(string, 0, end));
    for (size_t i = 0; i < parts->count / 2; i++) {
        struct ci_jinja_value swap = parts->items[i];
        parts->items[i] = parts->items[parts->count - 1 - i];
        parts->items[parts->count - 1 - i] = swap;
    }
}

static struct ci_jinja_value split(struct ci_jinja_run *run, struct ci_jinja_value self,
                                   const struct ci_jinja_arguments *arguments, bool from_right) {
    const struct ci_jinja_value *given = ci_jinja_argument(run, arguments, 0, "sep");
    int64_t most = ci_jinja_argument_integer(run, arguments, 1, "maxsplit", -1);
    bool by_space = given == NULL || given->kind == CI_JINJA_IS_NONE;
    struct ci_jinja_string separator = by_space ? CI_JINJA_STRING("") : need_text(run, arguments, 0, "sep");
    struct parts parts = {0};
    if (!by_space && separator.length == 0)
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "split() with an empty separator");
    if (by_space && from_right && most >= 0)
        ci_jinja_fail(&run->heap, CLINFER_UNSUPPORTED, "rsplit() by white space with a limit is not supported");
    if (from_right && !by_space)
        split_right(run, self.string, separator, most, &parts);
    else
        split_left(run, self.string, by_space ? NULL : &separator, most, &parts);
    return ci_jinja_list(run, CI_JINJA_SHAPE_LIST, parts.items, parts.count);
}

METHOD(split) { return split(run, self, arguments, false); }

METHOD(rsplit) { return split(run, self, arguments, true); }

METHOD(splitlines) {
    bool keep = ci_jinja_argument_boolean(run, arguments, 0, "keepends", false);
    struct parts parts = {0};
    struct ci_jinja_string line;
    size_t at = 0;
    for (size_t begin = 0; ci_jinja_next_line(&run->heap, self.string, &at, &line); begin = at)
        add_part(run, &parts, keep ? ci_jinja_part(self.string, begin, at) : line);
    return ci_jinja_list(run, CI_JINJA_SHAPE_LIST, parts.items, parts.count);
}

METHOD(join) {
    const struct ci_jinja_list *list = ci_jinja_iterate(run, ci_jinja_need(run, arguments, 0, "iterable"));
    struct ci_jinja_buffer buffer = {0};
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].kind != CI_JINJA_IS_STRING)
            ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "join(): item %zu is of type %s, not string", i,
                          ci_jinja_kind_name(list->items[i]));
        if (i) ci_jinja_append_string(run, &buffer, self.string);
        ci_jinja_append_string(run, &buffer, list->items[i].string);
    }
    return ci_jinja_buffer_text(&buffer);
}

/* "{} {0} {name}".format(...): without conversions and format specifications. */
METHOD(format) {
    struct ci_jinja_string text = self.string;
    struct ci_jinja_buffer buffer = {0};
    size_t next = 0;
    for (size_t at = 0; at < text.length; at++) {
        char c = text.bytes[at];
        bool twice = at + 1 < text.length && text.bytes[at + 1] == c;
        if ((c != '{' && c != '}') || twice) {
            ci_jinja_append_like(run, &buffer, text, at, &c, 1);
            at += twice && (c == '{' || c == '}');
            continue;
        }
        ci_jinja_spend(&run->heap, arguments->named_count + 1);
        const char *close = c == '{' ? memchr(text.bytes + at, '}', text.length - at) : NULL;
        if (close == NULL) ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "format(): a lone '%c'", c);
        struct ci_jinja_string field = ci_jinja_part(text, at + 1, (size_t)(close - text.bytes));
        ci_jinja_spend_characters(&run->heap, field.length);
        size_t number = field.length ? 0 : next++;
        bool digits = field.length < 6;
        for (size_t i = 0; i < field.length; i++) {
            char digit = field.bytes[i];
            if (memchr(":!.[", digit, 4))
                ci_jinja_fail(&run->heap, CLINFER_UNSUPPORTED, "format() with '%c' in a field is not supported", digit);
            digits &= digit >= '0' && digit <= '9';
            if (digits) number = number * 10 + (size_t)(digit - '0');
        }
        const struct ci_jinja_value *value = NULL;
        if (digits && number < arguments->count) value = &arguments->items[number];
        for (size_t i = 0; !digits && i < arguments->named_count; i++)
            if (ci_jinja_same(&run->heap, arguments->named[i].name, field)) value = &arguments->named[i].value;
        if (value == NULL) ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "format(): a field has no value");
        ci_jinja_print(run, &buffer, *value);
        at = (size_t)(close - text.bytes);
    }
    return ci_jinja_buffer_text(&buffer);
}

/* ---- what kind of characters ---- */

static bool is_digit(uint32_t c) { return c >= '0' && c <= '9'; }

/* Letters outside ASCII are taken for letters: good enough for names. */
static bool is_letter(uint32_t c) {
    return c < 0x80 ? (c | 32) >= 'a' && (c | 32) <= 'z' : !ci_jinja_is_space(c) && c >= 0xaa;
}

static bool is_letter_or_digit(uint32_t c) { return is_digit(c) || is_letter(c); }

static struct ci_jinja_value all_are(struct ci_jinja_run *run, struct ci_jinja_value self, bool (*holds)(uint32_t)) {
    ci_jinja_spend_characters(&run->heap, 2 * self.string.length);
    for (size_t at = 0; at < self.string.length; at += ci_jinja_character_bytes(self.string, at))
        if (!holds(ci_jinja_code_point(self.string, at))) return ci_jinja_boolean(false);
    return ci_jinja_boolean(self.string.length > 0);
}

METHOD(isdigit) {
    (void)arguments;
    return all_are(run, self, is_digit);
}

METHOD(isalpha) {
    (void)arguments;
    return all_are(run, self, is_letter);
}

METHOD(isalnum) {
    (void)arguments;
    return all_are(run, self, is_letter_or_digit);
}

METHOD(isspace) {
    (void)arguments;
    return all_are(run, self, ci_jinja_is_space);
}

METHOD(isupper) { return ci_jinja_boolean(ci_jinja_apply_test(run, CI_JINJA_STRING("upper"), self, arguments)); }

METHOD(islower) { return ci_jinja_boolean(ci_jinja_apply_test(run, CI_JINJA_STRING("lower"), self, arguments)); }

/* ---- dict ---- */

METHOD(get) {
    struct ci_jinja_value key = ci_jinja_need(run, arguments, 0, "key");
    const struct ci_jinja_value *found = ci_jinja_dict_find(run, self.dict, key);
    const struct ci_jinja_value *otherwise = ci_jinja_argument(run, arguments, 1, "default");
    return found ? *found : otherwise ? *otherwise : ci_jinja_none();
}

METHOD(items) {
    (void)arguments;
    const struct ci_jinja_dict *dict = self.dict;
    ci_jinja_spend(&run->heap, dict->count);
    struct ci_jinja_value *items = ci_jinja_alloc(&run->heap, dict->count, sizeof *items);
    for (size_t i = 0; i < dict->count; i++) {
        struct ci_jinja_value *pair = ci_jinja_alloc(&run->heap, 2, sizeof *pair);
        pair[0] = dict->pairs[i].key;
        pair[1] = dict->pairs[i].value;
        items[i] = ci_jinja_list(run, CI_JINJA_SHAPE_TUPLE, pair, 2);
    }
    return ci_jinja_list(run, CI_JINJA_SHAPE_VIEW, items, dict->count);
}

static struct ci_jinja_value half(struct ci_jinja_run *run, struct ci_jinja_value self, bool keys) {
    const struct ci_jinja_dict *dict = self.dict;
    ci_jinja_spend(&run->heap, dict->count);
    struct ci_jinja_value *items = ci_jinja_alloc(&run->heap, dict->count, sizeof *items);
    for (size_t i = 0; i < dict->count; i++) items[i] = keys ? dict->pairs[i].key : dict->pairs[i].value;
    return ci_jinja_list(run, CI_JINJA_SHAPE_VIEW, items, dict->count);
}

METHOD(keys) {
    (void)arguments;
    return half(run, self, true);
}

METHOD(values) {
    (void)arguments;
    return half(run, self, false);
}

METHOD(copy) {
    (void)run, (void)arguments;
    return self;
}

METHOD(refuse) {
    (void)self, (void)arguments;
    ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "values cannot be changed: only namespace() attributes can");
}

const struct ci_jinja_function *ci_jinja_find_method(struct ci_jinja_value object, struct ci_jinja_string name) {
    static const struct ci_jinja_function strings[] = {
        {"strip", method_strip},
        {"lstrip", method_lstrip},
        {"rstrip", method_rstrip},
        {"upper", method_upper},
        {"lower", method_lower},
        {"capitalize", method_capitalize},
        {"title", method_title},
        {"startswith", method_startswith},
        {"endswith", method_endswith},
        {"removeprefix", method_removeprefix},
        {"removesuffix", method_removesuffix},
        {"find", method_find},
        {"rfind", method_rfind},
        {"index", method_index},
        {"count", method_count},
        {"replace", method_replace},
        {"split", method_split},
        {"rsplit", method_rsplit},
        {"splitlines", method_splitlines},
        {"join", method_join},
        {"format", method_format},
        {"isdigit", method_isdigit},
        {"isdecimal", method_isdigit},
        {"isnumeric", method_isdigit},
        {"isalpha", method_isalpha},
        {"isalnum", method_isalnum},
        {"isspace", method_isspace},
        {"isupper", method_isupper},
        {"islower", method_islower},
    };
    static const struct ci_jinja_function dicts[] = {
        {"get", method_get},           {"items", method_items},   {"keys", method_keys},      {"values", method_values},
        {"copy", method_copy},         {"pop", method_refuse},    {"popitem", method_refuse}, {"clear", method_refuse},
        {"setdefault", method_refuse}, {"update", method_refuse},
    };
    static const struct ci_jinja_function lists[] = {
        {"index", method_index},    {"count", method_count},   {"copy", method_copy},    {"append", method_refuse},
        {"extend", method_refuse},  {"insert", method_refuse}, {"pop", method_refuse},   {"remove", method_refuse},
        {"reverse", method_refuse}, {"sort", method_refuse},   {"clear", method_refuse},
    };
#define FIND(table) ci_jinja_find_in(table, sizeof table / sizeof table[0], name)
    switch (object.kind) {
    case CI_JINJA_IS_STRING: return FIND(strings);
    case CI_JINJA_IS_DICT: return FIND(dicts);
    case CI_JINJA_IS_LIST: return object.list->shape <= CI_JINJA_SHAPE_TUPLE ? FIND(lists) : NULL;
    default: return NULL;
    }
#undef FIND
}
