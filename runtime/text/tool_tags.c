/* tool_tags.c: calls with texts around names, keys and values (struct ci_tool_tags): XML, or tokens of a model's own.
 * A value that can only be a text goes out as it comes; others are held until they are whole. */
#include <stdlib.h>
#include <string.h>

#include "text/tool_reading.h"

enum state {
    BETWEEN = CI_READING_BETWEEN,
    BEGUN = CI_READING_BEGUN,
    NAME,
    OBJECT_TO_COME,
    OBJECT,
    PARAMETERS,
    KEY,
    VALUE_TO_COME,
    VALUE
};

static const char *end_of_call(const struct ci_tool_reading *reading) {
    return reading->tags->call_end ? reading->tags->call_end : reading->close;
}

/* ---- names ---- */

/* [functions.]NAME:7 */
static void take_numbered(struct ci_tool_reading *reading, char *text) {
    static const char space[] = "functions.";
    const char *name = strncmp(text, space, strlen(space)) == 0 ? text + strlen(space) : text;
    const char *colon = strrchr(name, ':');
    free(reading->id);
    reading->id = text;
    ci_reading_set_name(reading, strndup(name, colon ? (size_t)(colon - name) : strlen(name)));
    if (!reading->name) reading->out_of_memory = true;
}

static enum ci_tool_turn end_name(struct ci_tool_reading *reading, size_t behind) {
    char *text = ci_reading_take_trimmed(reading, behind);
    if (!text || !*text) {
        free(text);
        return CI_TURN_WRONG;
    }
    if (reading->tags->numbered)
        take_numbered(reading, text);
    else
        ci_reading_set_name(reading, text);
    return CI_TURN_ON;
}

static enum ci_tool_turn end_parameters(struct ci_tool_reading *reading) {
    ci_reading_add_end(reading);
    reading->held_length = 0;
    return reading->tags->call_end ? CI_TURN_CALL : CI_TURN_BOTH;
}

static enum ci_tool_turn begin_object(struct ci_tool_reading *reading) {
    reading->state = OBJECT;
    reading->held_length = 0;
    ci_json_scan_push(&reading->scan, '{');
    ci_reading_add(reading, "{", 1);
    return CI_TURN_ON;
}

/* A name whose end nothing but what comes next shows. */
static enum ci_tool_turn read_open_name(struct ci_tool_reading *reading) {
    const char *end = end_of_call(reading), *key = reading->tags->key;
    enum ci_tool_turn turn;
    if (!key && ci_reading_ends_with(reading, "{")) {
        turn = end_name(reading, 1);
        return turn == CI_TURN_ON ? begin_object(reading) : turn;
    }
    if (key && ci_reading_ends_with(reading, key)) {
        turn = end_name(reading, strlen(key));
        reading->state = KEY;
        return turn;
    }
    if (key && ci_reading_ends_with(reading, end)) {
        turn = end_name(reading, strlen(end));
        return turn == CI_TURN_ON ? end_parameters(reading) : turn;
    }
    return CI_TURN_ON;
}

static enum ci_tool_turn read_name(struct ci_tool_reading *reading, char byte) {
    const struct ci_tool_tags *tags = reading->tags;
    ci_reading_hold(reading, byte);
    if (reading->state == BEGUN && !tags->id_end) reading->state = NAME;
    if (reading->state == BEGUN && ci_reading_ends_with(reading, tags->id_end)) {
        reading->id = ci_reading_take_trimmed(reading, strlen(tags->id_end));
        reading->state = NAME;
    } else if (reading->state == NAME && !tags->name_end) {
        enum ci_tool_turn turn = read_open_name(reading);
        if (turn != CI_TURN_ON || reading->state != NAME) return turn;
    } else if (reading->state == NAME && ci_reading_ends_with(reading, tags->name_end)) {
        reading->state = tags->key ? PARAMETERS : OBJECT_TO_COME;
        return end_name(reading, strlen(tags->name_end));
    }
    return reading->held_length > CI_TOOL_MOST_NAME ? CI_TURN_WRONG : CI_TURN_ON;
}

/* ---- between calls, and arguments that are an object ---- */

static enum ci_tool_turn read_between(struct ci_tool_reading *reading, char byte) {
    const char *const texts[] = {reading->tags->call, reading->close, reading->tags->call_end};
    if (!reading->held_length && ci_reading_is_space(byte)) return CI_TURN_ON;
    ci_reading_hold(reading, byte);
    int found = ci_reading_match(reading, texts, 3);
    if (found == -2) return CI_TURN_WRONG;
    if (found >= 0) reading->held_length = 0;
    if (found == 0) reading->state = BEGUN;
    return found == 1 ? CI_TURN_MARK : CI_TURN_ON;
}

static enum ci_tool_turn read_object(struct ci_tool_reading *reading, char byte) {
    enum ci_json_scan_result result = ci_json_scan_push(&reading->scan, byte);
    if (result == CI_SCAN_WRONG) {
        ci_reading_hold(reading, byte);
        return CI_TURN_WRONG;
    }
    ci_reading_add(reading, &byte, 1);
    return result == CI_SCAN_ENDS ? CI_TURN_CALL : CI_TURN_ON;
}

/* ---- keys and values ---- */

static enum ci_tool_turn begin_value(struct ci_tool_reading *reading) {
    reading->state = VALUE;
    reading->value_begun = reading->no_cdata = false;
    reading->value_end = reading->tags->value_end;
    if (reading->is_text) ci_reading_add(reading, "\"", 1);
    return CI_TURN_ON;
}

static enum ci_tool_turn read_parameters(struct ci_tool_reading *reading, char byte) {
    const char *const texts[] = {reading->tags->key, end_of_call(reading)};
    if (!reading->held_length && ci_reading_is_space(byte)) return CI_TURN_ON;
    ci_reading_hold(reading, byte);
    int found = ci_reading_match(reading, texts, 2);
    if (found == -2) return CI_TURN_WRONG;
    if (found == 1) return end_parameters(reading);
    if (found == 0) {
        reading->held_length = 0;
        reading->state = KEY;
    }
    return CI_TURN_ON;
}

static enum ci_tool_turn read_key(struct ci_tool_reading *reading, char byte) {
    const struct ci_tool_tags *tags = reading->tags;
    ci_reading_hold(reading, byte);
    if (!ci_reading_ends_with(reading, tags->key_end))
        return reading->held_length > CI_TOOL_MOST_NAME ? CI_TURN_WRONG : CI_TURN_ON;
    char *key = ci_reading_take_trimmed(reading, strlen(tags->key_end));
    if (key) ci_reading_add_key(reading, key);
    free(key);
    reading->is_text = ci_tool_schema_is_text(reading->property);
    if (!tags->value) return begin_value(reading);
    reading->state = VALUE_TO_COME;
    return CI_TURN_ON;
}

static enum ci_tool_turn read_value_to_come(struct ci_tool_reading *reading, char byte) {
    const struct ci_tool_tags *tags = reading->tags;
    if (!reading->held_length && ci_reading_is_space(byte)) return CI_TURN_ON;
    ci_reading_hold(reading, byte);
    if (!ci_reading_ends_with(reading, tags->value)) {
        bool may_become = tags->typed || ci_reading_match(reading, &tags->value, 1) == -1;
        return may_become && reading->held_length <= CI_TOOL_MOST_NAME ? CI_TURN_ON : CI_TURN_WRONG;
    }
    char *type = ci_reading_take_trimmed(reading, strlen(tags->value));
    if (tags->typed && type) reading->is_text = strcmp(type, "true") == 0;
    free(type);
    return begin_value(reading);
}

/* Bytes at the end of `held` that may be the beginning of `mark`. */
static size_t overlap(const struct ci_tool_reading *reading, const char *mark) {
    size_t most = strlen(mark);
    if (most > reading->held_length) most = reading->held_length;
    for (; most > 0; most--)
        if (memcmp(reading->held + reading->held_length - most, mark, most) == 0) break;
    return most;
}

/* Whether what is held at the beginning of a value is, or may become, that of a CDATA section. */
static bool begins_cdata(struct ci_tool_reading *reading) {
    static const char *const begin = "<![CDATA[";
    if (reading->value_end != reading->tags->value_end || reading->no_cdata) return false;
    int found = ci_reading_match(reading, &begin, 1);
    if (found == 0) {
        reading->held_length = 0;
        reading->value_end = "]]></param>";
    }
    if (found == -2) reading->no_cdata = true;
    return found != -2;
}

static enum ci_tool_turn read_value(struct ci_tool_reading *reading, char byte) {
    const struct ci_tool_tags *tags = reading->tags;
    bool first = !reading->value_begun;
    reading->value_begun = true;
    if (first && tags->lines && byte == '\n') return CI_TURN_ON;
    ci_reading_hold(reading, byte);
    if (tags->cdata && begins_cdata(reading)) return CI_TURN_ON;
    if (ci_reading_ends_with(reading, reading->value_end)) {
        size_t length = reading->held_length - strlen(reading->value_end);
        if (tags->lines && length && reading->held[length - 1] == '\n') length--;
        if (reading->is_text) {
            ci_reading_add_text(reading, reading->held, length);
            ci_reading_add(reading, "\"", 1);
        } else {
            ci_reading_add_value(reading, reading->held, length);
        }
        reading->held_length = 0;
        reading->state = PARAMETERS;
    } else if (reading->is_text) {
        size_t kept = overlap(reading, reading->value_end);
        size_t out = reading->held_length - kept;
        if (tags->lines && out && reading->held[out - 1] == '\n') out--;
        ci_reading_add_text(reading, reading->held, out);
        reading->held_length -= out;
        memmove(reading->held, reading->held + out, reading->held_length);
    }
    return CI_TURN_ON;
}

enum ci_tool_turn ci_tool_read_tags(struct ci_tool_reading *reading, char byte) {
    switch ((enum state)reading->state) {
    case BETWEEN: return read_between(reading, byte);
    case BEGUN:
    case NAME: return read_name(reading, byte);
    case OBJECT_TO_COME:
        if (ci_reading_is_space(byte)) return CI_TURN_ON;
        if (byte == '{') return begin_object(reading);
        ci_reading_hold(reading, byte);
        return CI_TURN_WRONG;
    case OBJECT: return read_object(reading, byte);
    case PARAMETERS: return read_parameters(reading, byte);
    case KEY: return read_key(reading, byte);
    case VALUE_TO_COME: return read_value_to_come(reading, byte);
    case VALUE: return read_value(reading, byte);
    }
    return CI_TURN_WRONG;
}
