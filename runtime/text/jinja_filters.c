/* jinja_filters.c: the filters on one value: text and numbers. Those on sequences are in jinja_sequences.c. Autoescape
 * is off, as in transformers, so `safe` matters only to `+`. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "text/jinja.h"

#define FILTER(name)                                                                                                   \
    static struct ci_jinja_value filter_##name(struct ci_jinja_run *run, struct ci_jinja_value self,                   \
                                               const struct ci_jinja_arguments *arguments)

/* ---- text ---- */

static struct ci_jinja_value as_safe_as(struct ci_jinja_value from, struct ci_jinja_value text) {
    text.safe = from.safe && text.kind == CI_JINJA_IS_STRING;
    return text;
}

FILTER(string) {
    (void)arguments;
    return as_safe_as(self, ci_jinja_text(ci_jinja_to_string(run, self)));
}

FILTER(safe) {
    (void)arguments;
    struct ci_jinja_value text = ci_jinja_text(ci_jinja_to_string(run, self));
    text.safe = true;
    return text;
}

FILTER(trim) {
    const struct ci_jinja_value *characters = ci_jinja_argument(run, arguments, 0, "chars");
    struct ci_jinja_string text = ci_jinja_to_string(run, self);
    if (characters && characters->kind == CI_JINJA_IS_STRING)
        return as_safe_as(self,
                          ci_jinja_text(ci_jinja_strip_characters(&run->heap, text, characters->string, true, true)));
    return as_safe_as(self, ci_jinja_text(ci_jinja_strip(&run->heap, text, true, true)));
}

FILTER(upper) {
    (void)arguments;
    return as_safe_as(self, ci_jinja_change_case(run, ci_jinja_to_string(run, self), CI_JINJA_UPPER));
}

FILTER(lower) {
    (void)arguments;
    return as_safe_as(self, ci_jinja_change_case(run, ci_jinja_to_string(run, self), CI_JINJA_LOWER));
}

FILTER(capitalize) {
    (void)arguments;
    return as_safe_as(self, ci_jinja_change_case(run, ci_jinja_to_string(run, self), CI_JINJA_CAPITALIZED));
}

FILTER(title) {
    (void)arguments;
    return ci_jinja_change_case(run, ci_jinja_to_string(run, self), CI_JINJA_TITLE);
}

FILTER(replace) {
    struct ci_jinja_string old = ci_jinja_to_string(run, ci_jinja_need(run, arguments, 0, "old"));
    struct ci_jinja_string new = ci_jinja_to_string(run, ci_jinja_need(run, arguments, 1, "new"));
    int64_t count = ci_jinja_argument_integer(run, arguments, 2, "count", -1);
    return ci_jinja_replace(run, ci_jinja_to_string(run, self), old, new, count);
}

FILTER(indent) {
    if (self.kind != CI_JINJA_IS_STRING)
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "indent: a value of type %s is no text",
                      ci_jinja_kind_name(self));
    struct ci_jinja_string text = self.string, line;
    struct ci_jinja_buffer unit = {0}, buffer = {0};
    const struct ci_jinja_value *width = ci_jinja_argument(run, arguments, 0, "width");
    if (width && width->kind == CI_JINJA_IS_STRING) {
        ci_jinja_append_string(run, &unit, width->string);
    } else {
        int64_t spaces = ci_jinja_argument_integer(run, arguments, 0, "width", 4);
        for (int64_t i = 0; i < spaces; i++) ci_jinja_append_text(run, &unit, " ");
    }
    bool first = ci_jinja_argument_boolean(run, arguments, 1, "first", false);
    bool blank = ci_jinja_argument_boolean(run, arguments, 2, "blank", false);
    struct ci_jinja_string all = ci_jinja_concat(run, text, CI_JINJA_STRING("\n"));
    size_t at = 0;
    for (size_t number = 0; ci_jinja_next_line(&run->heap, all, &at, &line); number++) {
        if (number) ci_jinja_append_text(run, &buffer, "\n");
        if (number ? blank || line.length : first)
            ci_jinja_append_string(run, &buffer, ci_jinja_buffer_text(&unit).string);
        ci_jinja_append_string(run, &buffer, line);
    }
    return ci_jinja_buffer_text(&buffer);
}

FILTER(escape) {
    (void)arguments;
    return self.safe ? self : ci_jinja_escape(run, ci_jinja_to_string(run, self));
}

FILTER(format) {
    return ci_jinja_format_percent(run, ci_jinja_to_string(run, self), arguments->items, arguments->count);
}

FILTER(wordcount) {
    (void)arguments;
    struct ci_jinja_string text = ci_jinja_to_string(run, self);
    int64_t words = 0;
    bool inside = false;
    ci_jinja_spend_characters(&run->heap, 2 * text.length);
    for (size_t at = 0; at < text.length; at += ci_jinja_character_bytes(text, at)) {
        uint32_t c = ci_jinja_code_point(text, at);
        bool letter = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_' ||
                      (c >= 0xaa && !ci_jinja_is_space(c));
        words += letter && !inside;
        inside = letter;
    }
    return ci_jinja_integer(words);
}

/* jansson goes as deep as the text says, so this looks first. */
static void refuse_deep_json(struct ci_jinja_run *run, struct ci_jinja_string text) {
    int depth = 0;
    bool quoted = false;
    ci_jinja_spend_characters(&run->heap, text.length);
    for (size_t i = 0; i < text.length; i++) {
        char c = text.bytes[i];
        if (c == '"') quoted = !quoted;
        if (quoted && c == '\\') i++;
        if (quoted) continue;
        depth += (c == '[' || c == '{') - (c == ']' || c == '}');
        if (depth > CI_JINJA_DATA_DEPTH)
            ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "from_json: a text nested deeper than %d levels",
                          CI_JINJA_DATA_DEPTH);
    }
}

/* An extension: transformers has only the way there. */
FILTER(from_json) {
    (void)arguments;
    /* By far the most that jansson makes of a byte of text: "{}," is a hash table. */
    enum { MAXIMUM_JSON = 1 << 20, BYTES_EACH = 120, STEPS_EACH = 5 };
    struct ci_jinja_string text = ci_jinja_to_string(run, self);
    if (text.length > MAXIMUM_JSON)
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "from_json: a text above %d bytes", MAXIMUM_JSON);
    refuse_deep_json(run, text);
    ci_jinja_spend(&run->heap, text.length * STEPS_EACH);
    ci_jinja_reserve(&run->heap, text.length, BYTES_EACH);
    json_error_t error;
    json_t *json = json_loadb(text.bytes, text.length, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (json == NULL) ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "from_json: %s", error.text);
    if (run->parsed == NULL) run->parsed = json_array();
    if (json_array_append_new(run->parsed, json) != 0)
        ci_jinja_fail(&run->heap, CLINFER_OUT_OF_MEMORY, "out of memory");
    return ci_jinja_from_json(run, json, text.origins ? CI_JINJA_OF_INPUT : CI_JINJA_OF_TEMPLATE);
}

/* ---- any value ---- */

FILTER(default) {
    const struct ci_jinja_value *value = ci_jinja_argument(run, arguments, 0, "default_value");
    bool also_false = ci_jinja_argument_boolean(run, arguments, 1, "boolean", false);
    bool replace = self.kind == CI_JINJA_IS_UNDEFINED || (also_false && !ci_jinja_truth(self));
    if (!replace) return self;
    return value ? *value : ci_jinja_text(CI_JINJA_STRING(""));
}

FILTER(attr) {
    struct ci_jinja_value name = ci_jinja_need(run, arguments, 0, "name");
    if (self.kind == CI_JINJA_IS_DICT || name.kind != CI_JINJA_IS_STRING)
        return ci_jinja_undefined(CI_JINJA_STRING("an attribute of a dict"));
    return ci_jinja_attribute(run, self, name.string);
}

/* ---- numbers ---- */

/* What the C library takes for one conversion between text and number. */
enum { NUMBER_STEPS = 20, LONG_NUMBER_STEPS = 300 };

/* Text with white space around it and single underscores inside goes zero-terminated to out; false: too long. */
static bool number_text(struct ci_jinja_heap *heap, struct ci_jinja_string text, char out[64]) {
    ci_jinja_spend(heap, NUMBER_STEPS);
    text = ci_jinja_strip(heap, text, true, true);
    size_t count = 0;
    for (size_t i = 0; i < text.length; i++) {
        bool inside = i > 0 && i + 1 < text.length && text.bytes[i - 1] != '_';
        if (text.bytes[i] == '_' && inside) continue;
        if (count == 63 || text.bytes[i] == 0) return false;
        out[count++] = text.bytes[i];
    }
    out[count] = 0;
    return count > 0;
}

static bool parse_float(struct ci_jinja_heap *heap, struct ci_jinja_string string, double *number) {
    char text[64], *end;
    if (!number_text(heap, string, text) || strpbrk(text, "xX(")) return false;
    *number = strtod(text, &end);
    return *end == 0;
}

static bool parse_integer(struct ci_jinja_heap *heap, struct ci_jinja_string string, int base, int64_t *integer) {
    char text[64], *end;
    if (!number_text(heap, string, text)) return false;
    errno = 0;
    *integer = strtoll(text, &end, base);
    return *end == 0 && errno == 0;
}

FILTER(int) {
    const struct ci_jinja_value *given = ci_jinja_argument(run, arguments, 0, "default");
    struct ci_jinja_value otherwise = given ? *given : ci_jinja_integer(0);
    int64_t base = ci_jinja_argument_integer(run, arguments, 1, "base", 10), integer;
    double number;
    if (base != 0 && (base < 2 || base > 36)) return otherwise;
    ci_jinja_refuse_undefined(run, self);
    if (self.kind == CI_JINJA_IS_INTEGER) return self;
    if (self.kind == CI_JINJA_IS_BOOLEAN) return ci_jinja_integer(self.boolean);
    if (self.kind == CI_JINJA_IS_STRING) {
        if (parse_integer(&run->heap, self.string, ci_narrowed(base), &integer)) return ci_jinja_integer(integer);
        if (!parse_float(&run->heap, self.string, &number)) return otherwise;
    } else if (self.kind == CI_JINJA_IS_FLOAT) {
        number = self.number;
    } else {
        return otherwise;
    }
    if (!(fabs(number) < 9.2e18)) return otherwise;
    return ci_jinja_integer((int64_t)number);
}

FILTER(float) {
    const struct ci_jinja_value *given = ci_jinja_argument(run, arguments, 0, "default");
    double number;
    ci_jinja_refuse_undefined(run, self);
    if (ci_jinja_is_number(self)) return ci_jinja_float(ci_jinja_as_float(self));
    if (self.kind == CI_JINJA_IS_STRING && parse_float(&run->heap, self.string, &number)) return ci_jinja_float(number);
    return given ? *given : ci_jinja_float(0);
}

static _Noreturn void fail_number(struct ci_jinja_run *run, const char *filter, struct ci_jinja_value value) {
    ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "%s: a value of type %s is no number", filter,
                  ci_jinja_kind_name(value));
}

FILTER(abs) {
    (void)arguments;
    if (!ci_jinja_is_number(self)) fail_number(run, "abs", self);
    if (self.kind == CI_JINJA_IS_FLOAT) return ci_jinja_float(fabs(self.number));
    struct ci_jinja_value zero = ci_jinja_integer(0);
    return ci_jinja_order(run, self, zero) < 0 ? ci_jinja_binary(run, CI_JINJA_SUBTRACT, zero, self)
                                               : ci_jinja_binary(run, CI_JINJA_ADD, zero, self);
}

FILTER(round) {
    const struct ci_jinja_arguments none = {0};
    if (!ci_jinja_is_number(self)) fail_number(run, "round", self);
    int64_t precision = ci_jinja_argument_integer(run, arguments, 0, "precision", 0);
    const struct ci_jinja_value *method = ci_jinja_argument(run, arguments, 1, "method");
    bool common = !method || method->kind != CI_JINJA_IS_STRING || ci_jinja_string_is(method->string, "common");
    double number = ci_jinja_as_float(self);
    if (common && precision >= 0 && self.kind != CI_JINJA_IS_FLOAT) return filter_int(run, self, &none);
    ci_jinja_spend(&run->heap, NUMBER_STEPS);
    if (precision > 300 || precision < -300) return ci_jinja_float(precision > 0 ? number : 0);
    double scale = pow(10, (double)precision);
    if (!common)
        return ci_jinja_float((ci_jinja_string_is(method->string, "ceil") ? ceil : floor)(number * scale) / scale);
    if (precision <= 0) {
        double rounded = nearbyint(number * scale) / scale;
        bool whole = self.kind != CI_JINJA_IS_FLOAT && fabs(rounded) < 9e18;
        return whole ? ci_jinja_integer((int64_t)nearbyint(rounded)) : ci_jinja_float(rounded);
    }
    /* By its decimal digits, as Python does it: number * scale would round twice. */
    char text[700];
    ci_jinja_spend(&run->heap, LONG_NUMBER_STEPS);
    snprintf(text, sizeof text, "%.*f", ci_narrowed(precision), number);
    return ci_jinja_float(strtod(text, NULL));
}

const struct ci_jinja_function *ci_jinja_find_filter(struct ci_jinja_string name) {
    static const struct ci_jinja_function table[] = {
        {"string", filter_string},
        {"safe", filter_safe},
        {"trim", filter_trim},
        {"upper", filter_upper},
        {"lower", filter_lower},
        {"capitalize", filter_capitalize},
        {"title", filter_title},
        {"replace", filter_replace},
        {"indent", filter_indent},
        {"escape", filter_escape},
        {"e", filter_escape},
        {"format", filter_format},
        {"wordcount", filter_wordcount},
        {"tojson", ci_jinja_to_json},
        {"from_json", filter_from_json},
        {"fromjson", filter_from_json},
        {"default", filter_default},
        {"d", filter_default},
        {"attr", filter_attr},
        {"int", filter_int},
        {"float", filter_float},
        {"abs", filter_abs},
        {"round", filter_round},
    };
    return ci_jinja_find_in(table, sizeof table / sizeof table[0], name);
}
