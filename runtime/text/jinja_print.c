/* jinja_print.c: values as text: str() and repr() as Python's, and JSON as json.dumps() writes it. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja.h"

/* The shortest digits that read back as the same number; with an exponent below 1e-4 and from 1e16 on. */
void ci_jinja_print_float(struct ci_jinja_heap *heap, char text[32], double number) {
    if (isnan(number)) {
        strcpy(text, "nan");
        return;
    }
    if (isinf(number)) {
        strcpy(text, number < 0 ? "-inf" : "inf");
        return;
    }
    int digits = 1;
    do {
        ci_jinja_spend(heap, 50);
        snprintf(text, 32, "%.*e", digits - 1, number);
    } while (strtod(text, NULL) != number && digits++ < 17);
    int exponent = atoi(strchr(text, 'e') + 1);
    if (exponent >= -4 && exponent < 16) {
        int decimals = digits - 1 - exponent;
        snprintf(text, 32, "%.*f", decimals > 1 ? decimals : 1, number);
    }
}

static void print_integer(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, int64_t integer) {
    char text[32];
    ci_jinja_spend(&run->heap, 8);
    snprintf(text, sizeof text, "%lld", (long long)integer);
    ci_jinja_append_text(run, buffer, text);
}

/* What str.isprintable() denies, but for unassigned code points. */
static bool is_printable(uint32_t c) {
    if (c < 0x7f) return c >= ' ';
    return !((c <= 0xa0) || c == 0xad || c == 0x1680 || (c >= 0x2000 && c <= 0x200f) || (c >= 0x2028 && c <= 0x202f) ||
             (c >= 0x205f && c <= 0x206f) || c == 0x3000 || (c >= 0xe000 && c <= 0xf8ff) || c == 0xfeff ||
             (c >= 0xfff9 && c <= 0xfffb) || c >= 0xe0000);
}

static void print_quoted(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, struct ci_jinja_string string) {
    ci_jinja_spend_characters(&run->heap, string.length);
    bool twice = memchr(string.bytes, '\'', string.length) && !memchr(string.bytes, '"', string.length);
    const char *quote = twice ? "\"" : "'";
    ci_jinja_append_text(run, buffer, quote);
    for (size_t at = 0; at < string.length;) {
        size_t bytes = ci_jinja_character_bytes(string, at);
        uint32_t c = ci_jinja_code_point(string, at);
        char text[16] = "";
        if (c == (uint32_t)*quote || c == '\\')
            snprintf(text, sizeof text, "\\%c", (int)c);
        else if (c == '\n')
            strcpy(text, "\\n");
        else if (c == '\r')
            strcpy(text, "\\r");
        else if (c == '\t')
            strcpy(text, "\\t");
        else if (!is_printable(c)) {
            ci_jinja_spend(&run->heap, 8);
            snprintf(text, sizeof text, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
        }
        if (text[0])
            ci_jinja_append_like(run, buffer, string, at, text, strlen(text));
        else
            ci_jinja_append_string(run, buffer, ci_jinja_part(string, at, at + bytes));
        at += bytes;
    }
    ci_jinja_append_text(run, buffer, quote);
}

static void print_repr(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, struct ci_jinja_value value);

static void print_list(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, const struct ci_jinja_list *list) {
    static const char *const open[] = {"[", "(", "dict_view([", "<generator of ["};
    static const char *const close[] = {"]", ")", "])", "]>"};
    ci_jinja_append_text(run, buffer, open[list->shape]);
    for (size_t i = 0; i < list->count; i++) {
        if (i) ci_jinja_append_text(run, buffer, ", ");
        print_repr(run, buffer, list->items[i]);
    }
    if (list->shape == CI_JINJA_SHAPE_TUPLE && list->count == 1) ci_jinja_append_text(run, buffer, ",");
    ci_jinja_append_text(run, buffer, close[list->shape]);
}

static void print_dict(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, const struct ci_jinja_dict *dict) {
    ci_jinja_append_text(run, buffer, "{");
    for (size_t i = 0; i < dict->count; i++) {
        if (i) ci_jinja_append_text(run, buffer, ", ");
        print_repr(run, buffer, dict->pairs[i].key);
        ci_jinja_append_text(run, buffer, ": ");
        print_repr(run, buffer, dict->pairs[i].value);
    }
    ci_jinja_append_text(run, buffer, "}");
}

static void print_repr(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, struct ci_jinja_value value) {
    if (value.kind == CI_JINJA_IS_STRING)
        print_quoted(run, buffer, value.string);
    else if (value.kind == CI_JINJA_IS_UNDEFINED)
        ci_jinja_append_text(run, buffer, "Undefined");
    else
        ci_jinja_print(run, buffer, value);
}

void ci_jinja_print(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, struct ci_jinja_value value) {
    ci_jinja_enter(&run->heap);
    ci_jinja_spend(&run->heap, 1);
    char text[32];
    switch (value.kind) {
    case CI_JINJA_IS_UNDEFINED: break;
    case CI_JINJA_IS_NONE: ci_jinja_append_text(run, buffer, "None"); break;
    case CI_JINJA_IS_BOOLEAN: ci_jinja_append_text(run, buffer, value.boolean ? "True" : "False"); break;
    case CI_JINJA_IS_INTEGER: print_integer(run, buffer, value.integer); break;
    case CI_JINJA_IS_FLOAT:
        ci_jinja_print_float(&run->heap, text, value.number);
        ci_jinja_append_text(run, buffer, text);
        break;
    case CI_JINJA_IS_STRING: ci_jinja_append_string(run, buffer, value.string); break;
    case CI_JINJA_IS_LIST: print_list(run, buffer, value.list); break;
    case CI_JINJA_IS_DICT: print_dict(run, buffer, value.dict); break;
    default:
        ci_jinja_append_text(run, buffer, "<");
        ci_jinja_append_text(run, buffer, ci_jinja_kind_name(value));
        ci_jinja_append_text(run, buffer, ">");
    }
    ci_jinja_leave(&run->heap);
}

struct ci_jinja_string ci_jinja_to_string(struct ci_jinja_run *run, struct ci_jinja_value value) {
    if (value.kind == CI_JINJA_IS_STRING) return value.string;
    struct ci_jinja_buffer buffer = {0};
    ci_jinja_print(run, &buffer, value);
    return ci_jinja_buffer_text(&buffer).string;
}

/* ---- JSON ---- */

struct json_style {
    bool ascii, sort;
    const struct ci_jinja_string *indent; /* one level; NULL: all on one line */
    struct ci_jinja_string item_separator, key_separator;
};

static void write_json_string(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, struct ci_jinja_string string,
                              bool ascii) {
    static const char special[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
    ci_jinja_append_text(run, buffer, "\"");
    size_t plain = 0, at = 0;
    ci_jinja_spend(&run->heap, string.length);
    while (at < string.length) {
        size_t bytes = ci_jinja_character_bytes(string, at);
        uint32_t c = ci_jinja_code_point(string, at);
        const char *found = c && c < 0x80 ? strchr(special, (int)c) : NULL;
        if (!found && c >= ' ' && (!ascii || c < 0x80)) {
            at += bytes;
            continue;
        }
        char text[16];
        ci_jinja_spend(&run->heap, 8);
        if (found)
            snprintf(text, sizeof text, "\\%c", names[found - special]);
        else if (c < 0x10000)
            snprintf(text, sizeof text, "\\u%04x", c);
        else
            snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xd7c0 + (c >> 10), 0xdc00 + (c & 0x3ff));
        ci_jinja_append_string(run, buffer, ci_jinja_part(string, plain, at));
        ci_jinja_append_like(run, buffer, string, at, text, strlen(text));
        at += bytes;
        plain = at;
    }
    ci_jinja_append_string(run, buffer, ci_jinja_part(string, plain, at));
    ci_jinja_append_text(run, buffer, "\"");
}

static void write_json_line(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, const struct json_style *style,
                            int level) {
    if (style->indent == NULL) return;
    ci_jinja_append_text(run, buffer, "\n");
    for (int i = 0; i < level; i++) ci_jinja_append_string(run, buffer, *style->indent);
}

static void write_json(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, struct ci_jinja_value value,
                       const struct json_style *style, int level);

static void write_json_list(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, const struct ci_jinja_list *list,
                            const struct json_style *style, int level) {
    ci_jinja_append_text(run, buffer, "[");
    for (size_t i = 0; i < list->count; i++) {
        if (i) ci_jinja_append_string(run, buffer, style->item_separator);
        write_json_line(run, buffer, style, level + 1);
        write_json(run, buffer, list->items[i], style, level + 1);
    }
    if (list->count) write_json_line(run, buffer, style, level);
    ci_jinja_append_text(run, buffer, "]");
}

static struct ci_jinja_string json_key(struct ci_jinja_run *run, struct ci_jinja_value key) {
    switch (key.kind) {
    case CI_JINJA_IS_NONE: return CI_JINJA_STRING("null");
    case CI_JINJA_IS_BOOLEAN: return key.boolean ? CI_JINJA_STRING("true") : CI_JINJA_STRING("false");
    case CI_JINJA_IS_STRING:
    case CI_JINJA_IS_INTEGER:
    case CI_JINJA_IS_FLOAT: return ci_jinja_to_string(run, key);
    default:
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "tojson: a %s cannot be a key", ci_jinja_kind_name(key));
    }
}

static void write_json_dict(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, const struct ci_jinja_dict *dict,
                            const struct json_style *style, int level) {
    const struct ci_jinja_list *sorted = NULL;
    if (style->sort) {
        struct ci_jinja_value all = {.kind = CI_JINJA_IS_DICT, .dict = (struct ci_jinja_dict *)dict};
        const struct ci_jinja_arguments none = {0};
        struct ci_jinja_named_value exact = {CI_JINJA_STRING("case_sensitive"), ci_jinja_boolean(true)};
        struct ci_jinja_arguments arguments = none;
        arguments.named = &exact;
        arguments.named_count = 1;
        sorted = ci_jinja_apply_filter(run, CI_JINJA_STRING("dictsort"), all, &arguments).list;
    }
    ci_jinja_append_text(run, buffer, "{");
    for (size_t i = 0; i < dict->count; i++) {
        struct ci_jinja_value key = sorted ? sorted->items[i].list->items[0] : dict->pairs[i].key;
        struct ci_jinja_value member = sorted ? sorted->items[i].list->items[1] : dict->pairs[i].value;
        if (i) ci_jinja_append_string(run, buffer, style->item_separator);
        write_json_line(run, buffer, style, level + 1);
        write_json_string(run, buffer, json_key(run, key), style->ascii);
        ci_jinja_append_string(run, buffer, style->key_separator);
        write_json(run, buffer, member, style, level + 1);
    }
    if (dict->count) write_json_line(run, buffer, style, level);
    ci_jinja_append_text(run, buffer, "}");
}

static void write_json(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, struct ci_jinja_value value,
                       const struct json_style *style, int level) {
    ci_jinja_enter(&run->heap);
    ci_jinja_spend(&run->heap, 1);
    switch (value.kind) {
    case CI_JINJA_IS_NONE: ci_jinja_append_text(run, buffer, "null"); break;
    case CI_JINJA_IS_BOOLEAN: ci_jinja_append_text(run, buffer, value.boolean ? "true" : "false"); break;
    case CI_JINJA_IS_INTEGER: ci_jinja_print(run, buffer, value); break;
    case CI_JINJA_IS_FLOAT:
        if (isfinite(value.number))
            ci_jinja_print(run, buffer, value);
        else
            ci_jinja_append_text(run, buffer,
                                 isnan(value.number) ? "NaN"
                                 : value.number < 0  ? "-Infinity"
                                                     : "Infinity");
        break;
    case CI_JINJA_IS_STRING: write_json_string(run, buffer, value.string, style->ascii); break;
    case CI_JINJA_IS_DICT: write_json_dict(run, buffer, value.dict, style, level); break;
    case CI_JINJA_IS_LIST:
        if (value.list->shape == CI_JINJA_SHAPE_LIST || value.list->shape == CI_JINJA_SHAPE_TUPLE) {
            write_json_list(run, buffer, value.list, style, level);
            break;
        }
        /* fall through */
    default:
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "tojson: a value of type %s%s is no JSON",
                      ci_jinja_kind_name(value),
                      value.kind == CI_JINJA_IS_LIST ? " (a stream: use '|list' first)" : "");
    }
    ci_jinja_leave(&run->heap);
}

/* tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False) */
struct ci_jinja_value ci_jinja_to_json(struct ci_jinja_run *run, struct ci_jinja_value self,
                                       const struct ci_jinja_arguments *arguments) {
    struct json_style style = {.item_separator = CI_JINJA_STRING(", "), .key_separator = CI_JINJA_STRING(": ")};
    style.ascii = ci_jinja_argument_boolean(run, arguments, 0, "ensure_ascii", false);
    style.sort = ci_jinja_argument_boolean(run, arguments, 3, "sort_keys", false);
    const struct ci_jinja_value *indent = ci_jinja_argument(run, arguments, 1, "indent");
    struct ci_jinja_string unit;
    if (indent && indent->kind != CI_JINJA_IS_NONE) {
        style.item_separator = CI_JINJA_STRING(",");
        if (indent->kind == CI_JINJA_IS_STRING) {
            unit = indent->string;
        } else {
            int64_t width = ci_jinja_argument_integer(run, arguments, 1, "indent", 0);
            struct ci_jinja_buffer spaces = {0};
            if (width > 100) ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "tojson: an indent above 100");
            for (int64_t i = 0; i < width; i++) ci_jinja_append_text(run, &spaces, " ");
            unit = ci_jinja_buffer_text(&spaces).string;
        }
        style.indent = &unit;
    }
    const struct ci_jinja_value *separators = ci_jinja_argument(run, arguments, 2, "separators");
    if (separators && separators->kind == CI_JINJA_IS_LIST && separators->list->count == 2) {
        style.item_separator = ci_jinja_to_string(run, separators->list->items[0]);
        style.key_separator = ci_jinja_to_string(run, separators->list->items[1]);
    }
    struct ci_jinja_buffer buffer = {0};
    write_json(run, &buffer, self, &style, 0);
    return ci_jinja_buffer_text(&buffer);
}
