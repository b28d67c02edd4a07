/* tool_literal.c: calls as a program has them: f(a="x", b=[1, {"c": True}]), with words, texts, lists and objects as
 * Python or JSON write them, or in a spelling of its own (tags->quote around texts, keys without quotes). An argument
 * goes out when it is whole. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/tool_reading.h"

enum state { BETWEEN = CI_READING_BETWEEN, NAME = CI_READING_BEGUN, KEY_TO_COME, KEY, VALUE };
enum { MOST_DEPTH = 64 };

/* ---- a value as JSON ---- */

struct source {
    const char *at, *end, *quote;
    struct ci_tool_reading *out;
    int depth;
};

static void skip_spaces(struct source *source) {
    while (source->at < source->end && ci_reading_is_space(*source->at)) source->at++;
}

static bool accept(struct source *source, const char *text) {
    size_t length = strlen(text);
    if ((size_t)(source->end - source->at) < length || memcmp(source->at, text, length) != 0) return false;
    source->at += length;
    return true;
}

static void add(struct source *source, const char *json) { ci_reading_add(source->out, json, strlen(json)); }

/* The code point of so many hexadecimal digits as UTF-8. */
static bool write_code(struct source *source, int digits) {
    unsigned code = 0;
    char text[8];
    if (source->end - source->at < digits) return false;
    for (int i = 0; i < digits; i++, source->at++) {
        char digit = *source->at;
        if (digit >= '0' && digit <= '9')
            code = code * 16 + (unsigned)(digit - '0');
        else if ((digit | 0x20) >= 'a' && (digit | 0x20) <= 'f')
            code = code * 16 + (unsigned)((digit | 0x20) - 'a' + 10);
        else
            return false;
    }
    /* As JSON has it: pairs of surrogates are two of them. */
    snprintf(text, sizeof text, "\\u%04x", code & 0xffffu);
    add(source, text);
    return true;
}

static bool write_escape(struct source *source) {
    static const char names[] = "nrtbf0\\'\"/", bytes[] = "\n\r\t\b\f\0\\'\"/";
    if (source->at == source->end) return false;
    char name = *source->at++;
    const char *known = strchr(names, name);
    if (name && known)
        ci_reading_add_text(source->out, &bytes[known - names], 1);
    else if (name == 'u' || name == 'x')
        return write_code(source, name == 'u' ? 4 : 2);
    else if (name != '\n') { /* a line that goes on */
        const char both[] = {'\\', name};
        ci_reading_add_text(source->out, both, 2);
    }
    return true;
}

/* The rest of a text; `plain`: a backslash is one. */
static bool write_text(struct source *source, const char *quote, bool plain) {
    add(source, "\"");
    while (source->at < source->end && !accept(source, quote)) {
        if (*source->at == '\\' && !plain) {
            source->at++;
            if (!write_escape(source)) return false;
        } else {
            ci_reading_add_text(source->out, source->at++, 1);
        }
    }
    add(source, "\"");
    return memcmp(source->at - strlen(quote), quote, strlen(quote)) == 0;
}

static bool begins_text(struct source *source, bool *whole) {
    if (source->quote && accept(source, source->quote))
        *whole = write_text(source, source->quote, true);
    else if (accept(source, "\""))
        *whole = write_text(source, "\"", false);
    else if (accept(source, "'"))
        *whole = write_text(source, "'", false);
    else
        return false;
    return true;
}

static bool is_word(char byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           byte == '_' || byte == '-' || byte == '+' || byte == '.' || (unsigned char)byte >= 0x80;
}

/* A number or a name for something; a key may be any. */
static bool write_word(struct source *source, bool key) {
    static const char *const words[][2] = {{"True", "true"},   {"true", "true"}, {"False", "false"},
                                           {"false", "false"}, {"None", "null"}, {"null", "null"}};
    const char *begin = source->at;
    while (source->at < source->end && is_word(*source->at)) source->at++;
    size_t length = (size_t)(source->at - begin);
    if (!length) return false;
    if (key) {
        add(source, "\"");
        ci_reading_add_text(source->out, begin, length);
        add(source, "\"");
        return true;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (length == strlen(words[i][0]) && memcmp(begin, words[i][0], length) == 0) {
            add(source, words[i][1]);
            return true;
        }
    json_t *number = json_loadb(begin, length, JSON_DECODE_ANY, NULL);
    bool is_number = json_is_number(number);
    json_decref(number);
    if (is_number) ci_reading_add(source->out, begin, length);
    return is_number;
}

static bool write_value(struct source *source);

static bool write_member(struct source *source) {
    bool whole;
    skip_spaces(source);
    if (begins_text(source, &whole) ? !whole : !write_word(source, true)) return false;
    skip_spaces(source);
    if (!accept(source, ":")) return false;
    add(source, ": ");
    return write_value(source);
}

/* The rest of a list or an object. */
static bool write_items(struct source *source, const char *close, bool object) {
    size_t count = 0;
    add(source, object ? "{" : "[");
    for (skip_spaces(source); !accept(source, close); skip_spaces(source)) {
        if (count && !accept(source, ",")) return false;
        skip_spaces(source);
        if (count && accept(source, close)) break; /* a comma behind the last one */
        if (count++) add(source, ", ");
        if (object ? !write_member(source) : !write_value(source)) return false;
    }
    add(source, object ? "}" : "]");
    return true;
}

static bool write_value(struct source *source) {
    bool whole;
    if (source->depth == MOST_DEPTH) return false;
    source->depth++;
    skip_spaces(source);
    if (begins_text(source, &whole))
        ;
    else if (accept(source, "{"))
        whole = write_items(source, "}", true);
    else if (accept(source, "["))
        whole = write_items(source, "]", false);
    else if (accept(source, "("))
        whole = write_items(source, ")", false);
    else
        whole = write_word(source, false);
    source->depth--;
    return whole;
}

/* What is held up to its last byte is a value; what is none is a text. */
static void end_value(struct ci_tool_reading *reading) {
    size_t before = reading->length, length = reading->held_length - 1;
    struct source source = {
        .at = reading->held, .end = reading->held + length, .quote = reading->tags->quote, .out = reading};
    bool whole = write_value(&source);
    skip_spaces(&source);
    if (!whole || source.at != source.end) {
        reading->length = before;
        char *text = ci_reading_take_trimmed(reading, 1);
        ci_reading_add(reading, "\"", 1);
        if (text) ci_reading_add_text(reading, text, strlen(text));
        ci_reading_add(reading, "\"", 1);
        free(text);
    }
    reading->held_length = 0;
}

/* ---- byte by byte ---- */

static enum ci_tool_turn read_between(struct ci_tool_reading *reading, char byte) {
    const char *const texts[] = {reading->close, reading->tags->call};
    if (!reading->held_length && ci_reading_is_space(byte)) return CI_TURN_ON;
    ci_reading_hold(reading, byte);
    int found = ci_reading_match(reading, texts, 2);
    if (found >= 0) reading->held_length = 0;
    if (found == 0) return CI_TURN_MARK;
    if (found == 1) reading->state = NAME;
    if (found != -2) return CI_TURN_ON;
    if (!reading->tags->list || reading->held_length > 1) return CI_TURN_WRONG;
    if (byte == '[' && !reading->in_list) {
        reading->in_list = true;
        reading->held_length = 0;
        return CI_TURN_ON;
    }
    if ((byte == ',' || byte == ']') && reading->in_list) {
        reading->in_list = byte == ',';
        reading->held_length = 0;
        return CI_TURN_ON;
    }
    if (!is_word(byte)) return CI_TURN_WRONG;
    reading->state = NAME;
    return CI_TURN_ON;
}

static enum ci_tool_turn read_name(struct ci_tool_reading *reading, char byte) {
    ci_reading_hold(reading, byte);
    if (!ci_reading_ends_with(reading, reading->tags->name_end))
        return is_word(byte) && reading->held_length <= CI_TOOL_MOST_NAME ? CI_TURN_ON : CI_TURN_WRONG;
    char *name = ci_reading_take_trimmed(reading, strlen(reading->tags->name_end));
    reading->state = KEY_TO_COME;
    if (name && *name) {
        ci_reading_set_name(reading, name);
        return CI_TURN_ON;
    }
    free(name);
    return CI_TURN_WRONG;
}

static enum ci_tool_turn end_call(struct ci_tool_reading *reading) {
    ci_reading_add_end(reading);
    reading->held_length = 0;
    return CI_TURN_CALL;
}

static enum ci_tool_turn read_key(struct ci_tool_reading *reading, char byte) {
    const struct ci_tool_tags *tags = reading->tags;
    if (reading->state == KEY_TO_COME && (ci_reading_is_space(byte) || (byte == ',' && reading->count)))
        return CI_TURN_ON;
    ci_reading_hold(reading, byte);
    if (reading->state == KEY_TO_COME && byte == *tags->call_end) return end_call(reading);
    reading->state = KEY;
    if (byte != *tags->key_end) {
        bool fits = is_word(byte) || byte == '"' || byte == '\'' || ci_reading_is_space(byte);
        return fits && reading->held_length <= CI_TOOL_MOST_NAME ? CI_TURN_ON : CI_TURN_WRONG;
    }
    char *key = ci_reading_take_trimmed(reading, 1);
    size_t length = key ? strlen(key) : 0;
    bool quoted = length > 1 && (*key == '"' || *key == '\'') && key[length - 1] == *key;
    if (quoted) key[length - 1] = 0;
    if (key) ci_reading_add_key(reading, key + quoted);
    free(key);
    reading->state = VALUE;
    reading->depth = 0;
    reading->quote = 0;
    reading->escaped = false;
    return length ? CI_TURN_ON : CI_TURN_WRONG;
}

/* Whether the byte, which is held, is within a text. */
static bool in_text(struct ci_tool_reading *reading, char byte) {
    enum { OWN = 1 }; /* within quotes that are the form's own; JSON's may stand in objects, too */
    if (ci_reading_ends_with(reading, reading->tags->quote))
        reading->quote = reading->quote == OWN ? 0 : OWN;
    else if (reading->quote == OWN)
        return true;
    else if (reading->escaped)
        reading->escaped = false;
    else if (reading->quote && byte == '\\')
        reading->escaped = true;
    else if (byte == reading->quote)
        reading->quote = 0;
    else if (!reading->quote && (byte == '"' || byte == '\''))
        reading->quote = byte;
    return reading->quote || reading->escaped;
}

static enum ci_tool_turn read_value(struct ci_tool_reading *reading, char byte) {
    ci_reading_hold(reading, byte);
    if (in_text(reading, byte)) return CI_TURN_ON;
    bool ends = reading->depth == 0 && byte == *reading->tags->call_end;
    if (ends || (reading->depth == 0 && byte == ',')) {
        end_value(reading);
        reading->state = KEY_TO_COME;
        return ends ? end_call(reading) : CI_TURN_ON;
    }
    if (byte == '{' || byte == '[' || byte == '(') reading->depth++;
    if ((byte == '}' || byte == ']' || byte == ')') && reading->depth > 0) reading->depth--;
    return CI_TURN_ON;
}

enum ci_tool_turn ci_tool_read_literal(struct ci_tool_reading *reading, char byte) {
    switch ((enum state)reading->state) {
    case BETWEEN: return read_between(reading, byte);
    case NAME: return read_name(reading, byte);
    case KEY_TO_COME:
    case KEY: return read_key(reading, byte);
    case VALUE: return read_value(reading, byte);
    }
    return CI_TURN_WRONG;
}
