/* jinja_sequences.c: the filters on sequences. What Jinja makes lazily (map, select, unique, ...) is made at once here
 * and marked as a stream, which has no length and no indexes. */
#include <string.h>

#include "text/jinja.h"

#define FILTER(name)                                                                                                   \
    static struct ci_jinja_value filter_##name(struct ci_jinja_run *run, struct ci_jinja_value self,                   \
                                               const struct ci_jinja_arguments *arguments)

/* map, select and reject take what is false for empty: `none|map(...)` is no error. */
static const struct ci_jinja_list *iterate_if_true(struct ci_jinja_run *run, struct ci_jinja_value value) {
    static const struct ci_jinja_list nothing = {CI_JINJA_SHAPE_LIST, 0, NULL};
    return ci_jinja_truth(value) ? ci_jinja_iterate(run, value) : &nothing;
}

static struct ci_jinja_value stream(struct ci_jinja_run *run, const struct ci_jinja_value *items, size_t count) {
    return ci_jinja_list(run, CI_JINJA_SHAPE_STREAM, items, count);
}

/* "function.name", "0.text": attribute after attribute, items where it is a number. */
static struct ci_jinja_value attribute_path(struct ci_jinja_run *run, struct ci_jinja_value value,
                                            struct ci_jinja_value path) {
    if (path.kind == CI_JINJA_IS_INTEGER) return ci_jinja_item(run, value, path);
    struct ci_jinja_string text = ci_jinja_to_string(run, path);
    ci_jinja_spend_bytes(&run->heap, text.length);
    for (size_t at = 0; at <= text.length;) {
        ci_jinja_spend(&run->heap, 1);
        const char *dot = memchr(text.bytes + at, '.', text.length - at);
        size_t end = dot ? (size_t)(dot - text.bytes) : text.length;
        struct ci_jinja_string part = ci_jinja_part(text, at, end);
        int64_t number = 0;
        bool digits = part.length > 0 && part.length < 18;
        for (size_t i = 0; i < part.length && digits; i++) {
            digits = part.bytes[i] >= '0' && part.bytes[i] <= '9';
            number = number * 10 + (part.bytes[i] - '0');
        }
        value = ci_jinja_item(run, value, digits ? ci_jinja_integer(number) : ci_jinja_text(part));
        at = end + 1;
    }
    return value;
}

/* ---- ends, length, conversions ---- */

FILTER(length) {
    (void)arguments;
    return ci_jinja_integer((int64_t)ci_jinja_length(run, self));
}

FILTER(first) {
    (void)arguments;
    const struct ci_jinja_list *list = ci_jinja_iterate(run, self);
    return list->count ? list->items[0] : ci_jinja_undefined(CI_JINJA_STRING("the first item of nothing"));
}

FILTER(last) {
    (void)arguments;
    const struct ci_jinja_list *list = ci_jinja_iterate(run, self);
    return list->count ? list->items[list->count - 1] : ci_jinja_undefined(CI_JINJA_STRING("the last item of nothing"));
}

FILTER(list) {
    (void)arguments;
    const struct ci_jinja_list *list = ci_jinja_iterate(run, self);
    return ci_jinja_list(run, CI_JINJA_SHAPE_LIST, list->items, list->count);
}

FILTER(items) {
    (void)arguments;
    if (self.kind == CI_JINJA_IS_UNDEFINED) return stream(run, NULL, 0);
    if (self.kind != CI_JINJA_IS_DICT)
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "items: a value of type %s has no items",
                      ci_jinja_kind_name(self));
    const struct ci_jinja_arguments none = {0};
    struct ci_jinja_value items = ci_jinja_attribute(run, self, CI_JINJA_STRING("items"));
    items = ci_jinja_call_value(run, items, &none);
    return stream(run, items.list->items, items.list->count);
}

FILTER(join) {
    const struct ci_jinja_value *given = ci_jinja_argument(run, arguments, 0, "d");
    const struct ci_jinja_value *attribute = ci_jinja_argument(run, arguments, 1, "attribute");
    struct ci_jinja_string separator = given ? ci_jinja_to_string(run, *given) : CI_JINJA_STRING("");
    const struct ci_jinja_list *list = ci_jinja_iterate(run, self);
    struct ci_jinja_buffer buffer = {0};
    for (size_t i = 0; i < list->count; i++) {
        if (i) ci_jinja_append_string(run, &buffer, separator);
        ci_jinja_print(run, &buffer,
                       attribute && attribute->kind != CI_JINJA_IS_NONE
                           ? attribute_path(run, list->items[i], *attribute)
                           : list->items[i]);
    }
    return ci_jinja_buffer_text(&buffer);
}

FILTER(reverse) {
    (void)arguments;
    const struct ci_jinja_list *list = ci_jinja_iterate(run, self);
    ci_jinja_spend(&run->heap, list->count);
    struct ci_jinja_value *items = ci_jinja_alloc(&run->heap, list->count, sizeof *items);
    struct ci_jinja_buffer buffer = {0};
    for (size_t i = 0; i < list->count; i++) {
        items[i] = list->items[list->count - 1 - i];
        if (self.kind == CI_JINJA_IS_STRING) ci_jinja_append_string(run, &buffer, items[i].string);
    }
    return self.kind == CI_JINJA_IS_STRING ? ci_jinja_buffer_text(&buffer) : stream(run, items, list->count);
}

FILTER(sum) {
    const struct ci_jinja_value *attribute = ci_jinja_argument(run, arguments, 0, "attribute");
    struct ci_jinja_value sum = ci_jinja_integer(0);
    const struct ci_jinja_value *start = ci_jinja_argument(run, arguments, 1, "start");
    const struct ci_jinja_list *list = ci_jinja_iterate(run, self);
    if (start) sum = *start;
    bool by = attribute && attribute->kind != CI_JINJA_IS_NONE;
    for (size_t i = 0; i < list->count; i++)
        sum = ci_jinja_binary(run, CI_JINJA_ADD, sum,
                              by ? attribute_path(run, list->items[i], *attribute) : list->items[i]);
    return sum;
}

/* ---- order ---- */

struct keyed {
    struct ci_jinja_value key, value;
};

/* What to compare an item by: one of its attributes, text without its case. */
static struct ci_jinja_value sort_key(struct ci_jinja_run *run, struct ci_jinja_value value,
                                      const struct ci_jinja_value *attribute, bool case_sensitive) {
    if (attribute && attribute->kind != CI_JINJA_IS_NONE) value = attribute_path(run, value, *attribute);
    if (value.kind == CI_JINJA_IS_STRING && !case_sensitive)
        return ci_jinja_change_case(run, value.string, CI_JINJA_LOWER);
    return value;
}

/* Stable, bottom up, between two arrays. */
static struct keyed *merge_sort(struct ci_jinja_run *run, struct keyed *items, size_t count, bool descending) {
    struct keyed *other = ci_jinja_alloc(&run->heap, count, sizeof *other);
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t begin = 0; begin < count; begin += 2 * width) {
            size_t middle = begin + width < count ? begin + width : count;
            size_t end = begin + 2 * width < count ? begin + 2 * width : count;
            size_t left = begin, right = middle;
            for (size_t out = begin; out < end; out++) {
                ci_jinja_spend(&run->heap, 1);
                bool take_right = left == middle;
                if (left < middle && right < end) {
                    int order = ci_jinja_order(run, items[right].key, items[left].key);
                    take_right = descending ? order > 0 : order < 0;
                }
                other[out] = take_right ? items[right++] : items[left++];
            }
        }
        struct keyed *swap = items;
        items = other;
        other = swap;
    }
    return items;
}

static struct ci_jinja_value sorted(struct ci_jinja_run *run, const struct ci_jinja_list *list,
                                    const struct ci_jinja_value *attribute, bool case_sensitive, bool descending) {
    struct keyed *keyed = ci_jinja_alloc(&run->heap, list->count, sizeof *keyed);
    for (size_t i = 0; i < list->count; i++)
        keyed[i] = (struct keyed){sort_key(run, list->items[i], attribute, case_sensitive), list->items[i]};
    keyed = merge_sort(run, keyed, list->count, descending);
    struct ci_jinja_value *items = ci_jinja_alloc(&run->heap, list->count, sizeof *items);
    for (size_t i = 0; i < list->count; i++) items[i] = keyed[i].value;
    return ci_jinja_list(run, CI_JINJA_SHAPE_LIST, items, list->count);
}

/* sort(reverse=False, case_sensitive=False, attribute=None) */
FILTER(sort) {
    bool reverse = ci_jinja_argument_boolean(run, arguments, 0, "reverse", false);
    bool case_sensitive = ci_jinja_argument_boolean(run, arguments, 1, "case_sensitive", false);
    const struct ci_jinja_value *attribute = ci_jinja_argument(run, arguments, 2, "attribute");
    return sorted(run, ci_jinja_iterate(run, self), attribute, case_sensitive, reverse);
}

/* dictsort(case_sensitive=False, by='key', reverse=False) */
FILTER(dictsort) {
    bool case_sensitive = ci_jinja_argument_boolean(run, arguments, 0, "case_sensitive", false);
    const struct ci_jinja_value *by = ci_jinja_argument(run, arguments, 1, "by");
    bool reverse = ci_jinja_argument_boolean(run, arguments, 2, "reverse", false);
    bool by_value = by && by->kind == CI_JINJA_IS_STRING && ci_jinja_string_is(by->string, "value");
    const struct ci_jinja_arguments none = {0};
    ci_jinja_refuse_undefined(run, self);
    struct ci_jinja_value position = ci_jinja_integer(by_value), items = filter_items(run, self, &none);
    return sorted(run, items.list, &position, case_sensitive, reverse);
}

static struct ci_jinja_value extreme(struct ci_jinja_run *run, struct ci_jinja_value self,
                                     const struct ci_jinja_arguments *arguments, int sign) {
    bool case_sensitive = ci_jinja_argument_boolean(run, arguments, 0, "case_sensitive", false);
    const struct ci_jinja_value *attribute = ci_jinja_argument(run, arguments, 1, "attribute");
    const struct ci_jinja_list *list = ci_jinja_iterate(run, self);
    if (list->count == 0) return ci_jinja_undefined(CI_JINJA_STRING("the extreme of nothing"));
    struct ci_jinja_value best = list->items[0], key = sort_key(run, best, attribute, case_sensitive);
    for (size_t i = 1; i < list->count; i++) {
        struct ci_jinja_value other = sort_key(run, list->items[i], attribute, case_sensitive);
        if (ci_jinja_order(run, other, key) * sign <= 0) continue;
        best = list->items[i];
        key = other;
    }
    return best;
}

FILTER(min) { return extreme(run, self, arguments, -1); }

FILTER(max) { return extreme(run, self, arguments, 1); }

/* unique(case_sensitive=False, attribute=None): the first of each, by searching those before: sequences are short, and
 * the steps count. */
FILTER(unique) {
    bool case_sensitive = ci_jinja_argument_boolean(run, arguments, 0, "case_sensitive", false);
    const struct ci_jinja_value *attribute = ci_jinja_argument(run, arguments, 1, "attribute");
    const struct ci_jinja_list *list = ci_jinja_iterate(run, self);
    struct ci_jinja_value *items = ci_jinja_alloc(&run->heap, list->count, sizeof *items);
    struct ci_jinja_value *keys = ci_jinja_alloc(&run->heap, list->count, sizeof *keys);
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++) {
        struct ci_jinja_value key = sort_key(run, list->items[i], attribute, case_sensitive);
        ci_jinja_refuse_as_key(run, key);
        size_t same = 0;
        while (same < count && !ci_jinja_equal(run, keys[same], key)) same++;
        if (same < count) continue;
        keys[count] = key;
        items[count++] = list->items[i];
    }
    return stream(run, items, count);
}

/* ---- map, select, reject ---- */

static struct ci_jinja_arguments behind(const struct ci_jinja_arguments *arguments, size_t skip) {
    struct ci_jinja_arguments rest = *arguments;
    size_t skipped = skip < rest.count ? skip : rest.count;
    if (skipped > 0) rest.items += skipped;
    rest.count -= skipped;
    return rest;
}

/* map(attribute="a", default=x) or map("filter", arguments...) */
FILTER(map) {
    const struct ci_jinja_list *list = iterate_if_true(run, self);
    struct ci_jinja_value *items = ci_jinja_alloc(&run->heap, list->count, sizeof *items);
    const struct ci_jinja_value *attribute = ci_jinja_argument(run, arguments, SIZE_MAX, "attribute");
    const struct ci_jinja_value *otherwise = ci_jinja_argument(run, arguments, SIZE_MAX, "default");
    struct ci_jinja_arguments rest = behind(arguments, 1);
    for (size_t i = 0; i < list->count; i++) {
        if (arguments->count == 0 && attribute) {
            items[i] = attribute_path(run, list->items[i], *attribute);
            if (items[i].kind == CI_JINJA_IS_UNDEFINED && otherwise) items[i] = *otherwise;
        } else {
            struct ci_jinja_string name = ci_jinja_to_string(run, ci_jinja_need(run, arguments, 0, "filter"));
            items[i] = ci_jinja_apply_filter(run, name, list->items[i], &rest);
        }
    }
    return stream(run, items, list->count);
}

/* With `by_attribute` the first argument names what is tested; the next one names the test, without one it is truth. */
static struct ci_jinja_value choose(struct ci_jinja_run *run, struct ci_jinja_value self,
                                    const struct ci_jinja_arguments *arguments, bool by_attribute, bool wanted) {
    const struct ci_jinja_list *list = iterate_if_true(run, self);
    struct ci_jinja_value *items = ci_jinja_alloc(&run->heap, list->count, sizeof *items);
    struct ci_jinja_arguments rest = behind(arguments, by_attribute), test_arguments = behind(&rest, 1);
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++) {
        ci_jinja_spend(&run->heap, 1);
        struct ci_jinja_value value = list->items[i];
        if (by_attribute) value = attribute_path(run, value, ci_jinja_need(run, arguments, 0, "attribute"));
        bool holds = rest.count
                         ? ci_jinja_apply_test(run, ci_jinja_to_string(run, rest.items[0]), value, &test_arguments)
                         : ci_jinja_truth(value);
        if (holds == wanted) items[count++] = list->items[i];
    }
    return stream(run, items, count);
}

FILTER(select) { return choose(run, self, arguments, false, true); }

FILTER(reject) { return choose(run, self, arguments, false, false); }

FILTER(selectattr) { return choose(run, self, arguments, true, true); }

FILTER(rejectattr) { return choose(run, self, arguments, true, false); }

const struct ci_jinja_function *ci_jinja_find_sequence_filter(struct ci_jinja_string name) {
    static const struct ci_jinja_function table[] = {
        {"length", filter_length},
        {"count", filter_length},
        {"first", filter_first},
        {"last", filter_last},
        {"list", filter_list},
        {"items", filter_items},
        {"join", filter_join},
        {"reverse", filter_reverse},
        {"sum", filter_sum},
        {"sort", filter_sort},
        {"dictsort", filter_dictsort},
        {"min", filter_min},
        {"max", filter_max},
        {"unique", filter_unique},
        {"map", filter_map},
        {"select", filter_select},
        {"reject", filter_reject},
        {"selectattr", filter_selectattr},
        {"rejectattr", filter_rejectattr},
    };
    return ci_jinja_find_in(table, sizeof table / sizeof table[0], name);
}
