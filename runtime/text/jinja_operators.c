/* jinja_operators.c: arithmetic, comparison and slices with Python's meaning. Integers have 64 bits: what leaves them
 * is an error, not a wrong number. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text/jinja.h"

static const char *const names[] = {
    "+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "in", "not in"};

static _Noreturn void fail_types(struct ci_jinja_run *run, enum ci_jinja_operation operation,
                                 struct ci_jinja_value left, struct ci_jinja_value right) {
    ci_jinja_refuse_undefined(run, left);
    ci_jinja_refuse_undefined(run, right);
    ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "%s %s %s is not possible", ci_jinja_kind_name(left),
                  names[operation], ci_jinja_kind_name(right));
}

static _Noreturn void fail_overflow(struct ci_jinja_run *run) {
    ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "an integer leaves 64 bits");
}

static int64_t power(struct ci_jinja_run *run, int64_t base, int64_t exponent) {
    int64_t result = 1;
    ci_jinja_spend(&run->heap, 5);
    for (; exponent > 0; exponent >>= 1) {
        if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) fail_overflow(run);
        if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) fail_overflow(run);
    }
    return result;
}

static struct ci_jinja_value integers(struct ci_jinja_run *run, enum ci_jinja_operation operation, int64_t left,
                                      int64_t right) {
    int64_t result = 0;
    bool overflow = false;
    switch (operation) {
    case CI_JINJA_ADD: overflow = __builtin_add_overflow(left, right, &result); break;
    case CI_JINJA_SUBTRACT: overflow = __builtin_sub_overflow(left, right, &result); break;
    case CI_JINJA_MULTIPLY: overflow = __builtin_mul_overflow(left, right, &result); break;
    case CI_JINJA_POWER:
        if (right < 0) return ci_jinja_float(pow((double)left, (double)right));
        return ci_jinja_integer(power(run, left, right));
    default:
        if (right == 0) ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "division by zero");
        if (operation == CI_JINJA_DIVIDE) return ci_jinja_float((double)left / (double)right);
        if (left == INT64_MIN && right == -1) {
            overflow = operation == CI_JINJA_FLOOR_DIVIDE;
            break;
        }
        /* Towards minus infinity: the remainder has the sign of the divisor. */
        result = left % right;
        bool adjust = result != 0 && (result < 0) != (right < 0);
        if (operation == CI_JINJA_MODULO)
            result += adjust ? right : 0;
        else
            result = left / right - adjust;
    }
    if (overflow) fail_overflow(run);
    return ci_jinja_integer(result);
}

static struct ci_jinja_value floats(struct ci_jinja_run *run, enum ci_jinja_operation operation, double left,
                                    double right) {
    /* Remainders are made bit by bit, and an exponent has 11 bits. */
    ci_jinja_spend(&run->heap, operation == CI_JINJA_MODULO || operation == CI_JINJA_FLOOR_DIVIDE ? 400 : 5);
    switch (operation) {
    case CI_JINJA_ADD: return ci_jinja_float(left + right);
    case CI_JINJA_SUBTRACT: return ci_jinja_float(left - right);
    case CI_JINJA_MULTIPLY: return ci_jinja_float(left * right);
    case CI_JINJA_POWER: return ci_jinja_float(pow(left, right));
    default: break;
    }
    if (right == 0) ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "division by zero");
    if (operation == CI_JINJA_DIVIDE) return ci_jinja_float(left / right);
    /* By the exact remainder, as Python does it: 1 // 0.1 is 9, though 1 / 0.1 rounds to 10. */
    double rest = fmod(left, right), quotient = (left - rest) / right;
    if (rest != 0 && (rest < 0) != (right < 0)) {
        rest += right;
        quotient -= 1;
    }
    if (operation == CI_JINJA_MODULO) return ci_jinja_float(rest != 0 ? rest : copysign(0, right));
    double whole = floor(quotient);
    if (quotient - whole > 0.5) whole += 1;
    return ci_jinja_float(quotient != 0 ? whole : copysign(0, left / right));
}

struct ci_jinja_value ci_jinja_escape(struct ci_jinja_run *run, struct ci_jinja_string text) {
    struct ci_jinja_buffer buffer = {0};
    for (size_t i = 0; i < text.length; i++) {
        const char *entity = NULL;
        switch (text.bytes[i]) {
        case '&': entity = "&amp;"; break;
        case '<': entity = "&lt;"; break;
        case '>': entity = "&gt;"; break;
        case '"': entity = "&#34;"; break;
        case '\'': entity = "&#39;"; break;
        default: break;
        }
        ci_jinja_append_like(run, &buffer, text, i, entity ? entity : text.bytes + i, entity ? strlen(entity) : 1);
    }
    struct ci_jinja_value escaped = ci_jinja_buffer_text(&buffer);
    escaped.safe = true;
    return escaped;
}

/* A template that marks one part as safe gets the others escaped, though nothing else is: that is what Python's Markup
 * does and what models were trained on. */
static struct ci_jinja_value join_texts(struct ci_jinja_run *run, struct ci_jinja_value left,
                                        struct ci_jinja_value right) {
    bool safe = left.safe || right.safe;
    if (safe && !left.safe) left = ci_jinja_escape(run, left.string);
    if (safe && !right.safe) right = ci_jinja_escape(run, right.string);
    struct ci_jinja_value joined = ci_jinja_text(ci_jinja_concat(run, left.string, right.string));
    joined.safe = safe;
    return joined;
}

static struct ci_jinja_value join_lists(struct ci_jinja_run *run, const struct ci_jinja_list *left,
                                        const struct ci_jinja_list *right) {
    size_t count = left->count + right->count;
    struct ci_jinja_value *items = ci_jinja_alloc(&run->heap, count, sizeof *items);
    if (left->count) memcpy(items, left->items, left->count * sizeof *items);
    if (right->count) memcpy(items + left->count, right->items, right->count * sizeof *items);
    return ci_jinja_list(run, left->shape, items, count);
}

/* text * n and list * n. */
static struct ci_jinja_value repeat(struct ci_jinja_run *run, struct ci_jinja_value value, int64_t times) {
    if (times < 0) times = 0;
    if (value.kind == CI_JINJA_IS_STRING) {
        struct ci_jinja_buffer buffer = {0};
        for (int64_t i = 0; i < times && value.string.length; i++) ci_jinja_append_string(run, &buffer, value.string);
        return ci_jinja_buffer_text(&buffer);
    }
    size_t once = value.list->count, count;
    if (__builtin_mul_overflow(once, (size_t)times, &count)) count = SIZE_MAX;
    struct ci_jinja_value *items = ci_jinja_alloc(&run->heap, count, sizeof *items);
    for (size_t i = 0, from = 0; i < count; i++, from = from + 1 == once ? 0 : from + 1) {
        ci_jinja_spend(&run->heap, 1);
        items[i] = value.list->items[from];
    }
    return ci_jinja_list(run, value.list->shape, items, count);
}

static bool is_whole(struct ci_jinja_value value) {
    return value.kind == CI_JINJA_IS_INTEGER || value.kind == CI_JINJA_IS_BOOLEAN;
}

static int64_t whole(struct ci_jinja_value value) {
    return value.kind == CI_JINJA_IS_BOOLEAN ? value.boolean : value.integer;
}

static bool is_indexed(struct ci_jinja_value value) {
    return value.kind == CI_JINJA_IS_LIST && value.list->shape <= CI_JINJA_SHAPE_TUPLE;
}

struct ci_jinja_value ci_jinja_binary(struct ci_jinja_run *run, enum ci_jinja_operation operation,
                                      struct ci_jinja_value left, struct ci_jinja_value right) {
    ci_jinja_spend(&run->heap, 1);
    if (is_whole(left) && is_whole(right)) return integers(run, operation, whole(left), whole(right));
    if (ci_jinja_is_number(left) && ci_jinja_is_number(right))
        return floats(run, operation, ci_jinja_as_float(left), ci_jinja_as_float(right));
    if (operation == CI_JINJA_ADD) {
        if (left.kind == CI_JINJA_IS_STRING && right.kind == CI_JINJA_IS_STRING) return join_texts(run, left, right);
        if (is_indexed(left) && is_indexed(right) && left.list->shape == right.list->shape)
            return join_lists(run, left.list, right.list);
    }
    if (operation == CI_JINJA_MULTIPLY) {
        if ((left.kind == CI_JINJA_IS_STRING || is_indexed(left)) && is_whole(right))
            return repeat(run, left, whole(right));
        if ((right.kind == CI_JINJA_IS_STRING || is_indexed(right)) && is_whole(left))
            return repeat(run, right, whole(left));
    }
    if (operation == CI_JINJA_MODULO && left.kind == CI_JINJA_IS_STRING) {
        bool several = right.kind == CI_JINJA_IS_LIST && right.list->shape == CI_JINJA_SHAPE_TUPLE;
        if (several) return ci_jinja_format_percent(run, left.string, right.list->items, right.list->count);
        /* Python lets what can be looked into by name go unused. */
        bool may_stay =
            right.kind == CI_JINJA_IS_LIST || right.kind == CI_JINJA_IS_DICT || right.kind == CI_JINJA_IS_UNDEFINED;
        ci_jinja_spend_bytes(&run->heap, left.string.length);
        if (may_stay && memchr(left.string.bytes, '%', left.string.length) == NULL) return left;
        return ci_jinja_format_percent(run, left.string, &right, 1);
    }
    fail_types(run, operation, left, right);
}

static bool contains(struct ci_jinja_run *run, struct ci_jinja_value item, struct ci_jinja_value in) {
    if (in.kind == CI_JINJA_IS_STRING) {
        if (item.kind != CI_JINJA_IS_STRING) fail_types(run, CI_JINJA_IN, item, in);
        return ci_jinja_find(&run->heap, in.string, item.string, 0) != SIZE_MAX;
    }
    if (in.kind == CI_JINJA_IS_DICT) return ci_jinja_dict_find(run, in.dict, item) != NULL;
    if (in.kind == CI_JINJA_IS_UNDEFINED) return false;
    if (in.kind != CI_JINJA_IS_LIST) fail_types(run, CI_JINJA_IN, item, in);
    for (size_t i = 0; i < in.list->count; i++)
        if (ci_jinja_equal(run, item, in.list->items[i])) return true;
    return false;
}

bool ci_jinja_compare(struct ci_jinja_run *run, enum ci_jinja_operation operation, struct ci_jinja_value left,
                      struct ci_jinja_value right) {
    switch (operation) {
    case CI_JINJA_EQUAL: return ci_jinja_equal(run, left, right);
    case CI_JINJA_NOT_EQUAL: return !ci_jinja_equal(run, left, right);
    case CI_JINJA_IN: return contains(run, left, right);
    case CI_JINJA_NOT_IN: return !contains(run, left, right);
    default: break;
    }
    if (left.kind == CI_JINJA_IS_UNDEFINED || right.kind == CI_JINJA_IS_UNDEFINED)
        fail_types(run, operation, left, right);
    int order = ci_jinja_order(run, left, right);
    /* NaN has no order: what is neither less, equal nor greater compares false. */
    if (order == 0 && !ci_jinja_equal(run, left, right)) return false;
    switch (operation) {
    case CI_JINJA_LESS: return order < 0;
    case CI_JINJA_LESS_EQUAL: return order <= 0;
    case CI_JINJA_GREATER: return order > 0;
    default: return order >= 0;
    }
}

/* ---- slices ---- */

/* A bound as Python clamps it: from the end when negative, never outside. */
static int64_t clamp(struct ci_jinja_run *run, struct ci_jinja_value bound, int64_t otherwise, int64_t length,
                     bool backwards) {
    if (bound.kind == CI_JINJA_IS_NONE) return otherwise;
    if (!is_whole(bound))
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "a slice is bounded by a value of type %s",
                      ci_jinja_kind_name(bound));
    int64_t at = whole(bound), low = backwards ? -1 : 0, high = backwards ? length - 1 : length;
    if (at < 0) at = at < -length ? low : at + length;
    return at > high ? high : at;
}

struct ci_jinja_value ci_jinja_slice(struct ci_jinja_run *run, struct ci_jinja_value object,
                                     const struct ci_jinja_value bounds[3]) {
    bool text = object.kind == CI_JINJA_IS_STRING;
    ci_jinja_refuse_undefined(run, object);
    if (!text && !is_indexed(object))
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "a value of type %s has no slices",
                      ci_jinja_kind_name(object));
    int64_t step = bounds[2].kind == CI_JINJA_IS_NONE ? 1 : is_whole(bounds[2]) ? whole(bounds[2]) : 0;
    if (step == 0) ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "the step of a slice is no number or zero");
    int64_t length = (int64_t)(text ? ci_jinja_characters(&run->heap, object.string) : object.list->count);
    int64_t begin = clamp(run, bounds[0], step < 0 ? length - 1 : 0, length, step < 0);
    int64_t end = clamp(run, bounds[1], step < 0 ? -1 : length, length, step < 0);
    if (text && step == 1) {
        if (end <= begin) return ci_jinja_text(CI_JINJA_STRING(""));
        size_t from = ci_jinja_offset(&run->heap, object.string, (size_t)begin);
        struct ci_jinja_string rest = ci_jinja_part(object.string, from, object.string.length);
        struct ci_jinja_value part =
            ci_jinja_text(ci_jinja_part(rest, 0, ci_jinja_offset(&run->heap, rest, (size_t)(end - begin))));
        part.safe = object.safe;
        return part;
    }
    const struct ci_jinja_list *list = ci_jinja_iterate(run, object);
    uint64_t distance =
        step > 0 ? (end > begin ? (uint64_t)(end - begin) : 0) : (begin > end ? (uint64_t)(begin - end) : 0);
    uint64_t stride = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
    size_t count = distance ? (size_t)((distance - 1) / stride + 1) : 0;
    struct ci_jinja_value *items = ci_jinja_alloc(&run->heap, count, sizeof *items);
    struct ci_jinja_buffer buffer = {0};
    for (size_t i = 0; i < count; i++) {
        ci_jinja_spend(&run->heap, 1);
        items[i] = list->items[step > 0 ? (uint64_t)begin + i * stride : (uint64_t)begin - i * stride];
        if (text) ci_jinja_append_string(run, &buffer, items[i].string);
    }
    return text ? ci_jinja_buffer_text(&buffer) : ci_jinja_list(run, object.list->shape, items, count);
}

/* ---- "%s %d" % values: the conversions that need no flags ---- */

struct ci_jinja_value ci_jinja_format_percent(struct ci_jinja_run *run, struct ci_jinja_string format,
                                              const struct ci_jinja_value *items, size_t count) {
    struct ci_jinja_buffer buffer = {0};
    size_t used = 0;
    for (size_t at = 0; at < format.length; at++) {
        char c = format.bytes[at];
        if (c != '%') {
            ci_jinja_append_like(run, &buffer, format, at, &c, 1);
            continue;
        }
        char conversion = ++at < format.length ? format.bytes[at] : 0;
        if (conversion == '%') {
            ci_jinja_append_like(run, &buffer, format, at, "%", 1);
            continue;
        }
        if (used == count) ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "'%%' has too few values to format");
        struct ci_jinja_value value = items[used++];
        if (conversion == 's') {
            ci_jinja_print(run, &buffer, value);
        } else if ((conversion == 'd' || conversion == 'i') && is_whole(value)) {
            ci_jinja_print(run, &buffer, ci_jinja_integer(whole(value)));
        } else if (conversion == 'f' && ci_jinja_is_number(value)) {
            ci_jinja_spend(&run->heap, 300);
            char text[400]; /* a double has at most 309 digits before the point */
            snprintf(text, sizeof text, "%f", ci_jinja_as_float(value));
            ci_jinja_append_text(run, &buffer, text);
        } else {
            ci_jinja_fail(&run->heap, CLINFER_UNSUPPORTED, "formatting a value of type %s with '%%%c' is not supported",
                          ci_jinja_kind_name(value), conversion >= ' ' && conversion < 0x7f ? conversion : '?');
        }
    }
    if (used < count) ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "'%%' has too many values to format");
    return ci_jinja_buffer_text(&buffer);
}
