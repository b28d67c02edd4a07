/* tool_parser.c: see tool_parser.h. Bytes go one by one into `raw` from the first that may be a mark's; a state tells
 * what they are. The objects are followed by json_scan.h, so a member's place is known when its last byte is there. */
#define _GNU_SOURCE
#include "text/tool_parser.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/append.h"

enum { MOST_SPACES = 64, MOST_NAME = 256 };

static bool is_space(char byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

/* ---- what goes out ---- */

static void send_text(struct ci_tool_parser *parser) {
    if (parser->text_length && !parser->refused)
        parser->refused = !parser->sink.text(parser->sink.user, parser->text, parser->text_length);
    parser->text_length = 0;
}

static void add_text(struct ci_tool_parser *parser, const char *bytes, size_t length) {
    if (!ci_append(&parser->text, &parser->text_length, &parser->text_capacity, bytes, length))
        parser->out_of_memory = true;
}

static void send_piece(struct ci_tool_parser *parser, const char *arguments, size_t length, bool last) {
    char made[CI_TOOL_ID_BYTES];
    bool waits = parser->format->has_ids && !parser->alone && !last; /* for the model's own id */
    struct clinfer_tool_call_piece piece = {.index = parser->index,
                                            .name = parser->told ? NULL : parser->name,
                                            .arguments = arguments,
                                            .length = length,
                                            .last = last};
    if (!parser->id_told && parser->id && *parser->id) piece.id = parser->id;
    if (!parser->id_told && !piece.id && !waits) {
        ci_tool_call_id(parser->seed, parser->index, made);
        piece.id = made;
    }
    parser->id_told = parser->id_told || piece.id;
    parser->told = true;
    send_text(parser);
    if (!parser->refused) parser->refused = !parser->sink.call(parser->sink.user, &piece);
}

/* What has come of the arguments up to raw[end), or all that a reader made of them. */
static void send_arguments(struct ci_tool_parser *parser, size_t end) {
    const struct ci_tool_reading *reading = &parser->reading;
    if (parser->state == CI_TOOL_READING) {
        if (!parser->told || parser->sent >= reading->length) return;
        send_piece(parser, reading->json + parser->sent, reading->length - parser->sent, false);
        parser->sent = reading->length;
        return;
    }
    if (parser->arguments_end && parser->arguments_end < end) end = parser->arguments_end;
    if (!parser->told || parser->sent >= end) return;
    send_piece(parser, parser->raw + parser->sent, end - parser->sent, false);
    parser->sent = end;
}

/* ---- from call to call ---- */

static void forget_call(struct ci_tool_parser *parser) {
    free(parser->name);
    free(parser->id);
    parser->name = parser->id = NULL;
    parser->scan = (struct ci_json_scan){0};
    parser->begin = parser->arguments = parser->arguments_end = parser->sent = 0;
    parser->in_value = parser->alone = parser->told = parser->id_told = false;
    parser->member = CI_MEMBER_OTHER;
}

static void take(struct ci_tool_parser *parser, char byte);

/* raw[from, ...) once more, as if it came now: no more than a name that is none. */
static void take_again(struct ci_tool_parser *parser, size_t from) {
    size_t count = parser->raw_length - from;
    char *bytes = count ? malloc(count) : NULL;
    if (bytes) memcpy(bytes, parser->raw + from, count);
    parser->raw_length = parser->spaces = 0;
    for (size_t i = 0; bytes && i < count; i++) take(parser, bytes[i]);
    if (count && !bytes) parser->out_of_memory = true;
    free(bytes);
}

/* raw[0, good) is no call: text, but for what is out as a call's. What comes behind it is looked at as text. */
static void give_up(struct ci_tool_parser *parser, size_t good) {
    if (parser->told) {
        send_arguments(parser, good);
        if (parser->arguments_end) send_piece(parser, "", 0, true);
        parser->index++;
    } else {
        add_text(parser, parser->raw, good);
    }
    parser->text_has_come = true;
    parser->state = CI_TOOL_TEXT;
    parser->in_list = parser->trims = parser->called = false;
    ci_tool_reading_end(&parser->reading);
    forget_call(parser);
    take_again(parser, good);
}

static void back_to_text(struct ci_tool_parser *parser) {
    parser->raw_length = parser->spaces = 0;
    parser->state = CI_TOOL_TEXT;
    parser->trims = true;
    parser->in_list = parser->called = false;
    ci_tool_reading_end(&parser->reading);
}

static bool is_tool(const struct ci_tool_parser *parser, const char *name) {
    size_t i;
    const json_t *tool;
    json_array_foreach(parser->tools, i, tool) {
        const char *known = json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
        if (known && strcmp(known, name) == 0) return true;
    }
    return false;
}

/* Whether an object here is a call whatever its name is. */
static bool is_sure(const struct ci_tool_parser *parser) { return parser->mark && !parser->mark->unsure; }

static bool name_counts(const struct ci_tool_parser *parser) {
    return parser->name && *parser->name && (is_sure(parser) || is_tool(parser, parser->name));
}

/* Arguments that did not go out as they came: JSON as a text, as some models have it, or none. false: neither. */
static bool send_whole_arguments(struct ci_tool_parser *parser) {
    const char *text = parser->raw + parser->arguments;
    size_t length = parser->arguments_end - parser->arguments;
    json_t *value = parser->arguments ? json_loadb(text, length, JSON_DECODE_ANY, NULL) : json_null();
    json_t *inner = json_is_string(value)
                        ? json_loadb(json_string_value(value), json_string_length(value), JSON_REJECT_DUPLICATES, NULL)
                        : NULL;
    bool sent = true;
    if (json_is_object(inner))
        send_piece(parser, json_string_value(value), json_string_length(value), true);
    else if (json_is_null(value))
        send_piece(parser, "{}", 2, true);
    else
        sent = false;
    json_decref(inner);
    json_decref(value);
    return sent;
}

/* The object is whole. */
static void end_call(struct ci_tool_parser *parser) {
    bool counts = parser->told || (name_counts(parser) && (is_sure(parser) || parser->arguments));
    if (counts && parser->told) {
        send_arguments(parser, parser->raw_length);
        send_piece(parser, "", 0, true);
    } else if (!counts || !send_whole_arguments(parser)) {
        give_up(parser, parser->raw_length);
        return;
    }
    parser->index++;
    forget_call(parser);
    parser->state = CI_TOOL_BEHIND;
    parser->raw_length = 0;
}

/* ---- an object with name and arguments ---- */

/* The string of raw[begin, end), quotes included; NULL: it is none, or memory is out. */
static char *string_of(const struct ci_tool_parser *parser, size_t begin, size_t end) {
    json_t *value = json_loadb(parser->raw + begin, end - begin, JSON_DECODE_ANY, NULL);
    char text[24];
    char *string = NULL;
    if (json_is_string(value)) string = strdup(json_string_value(value));
    if (json_is_integer(value)) { /* an id, say */
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value));
        string = strdup(text);
    }
    json_decref(value);
    return string;
}

static void read_key(struct ci_tool_parser *parser) {
    static const struct {
        const char *key;
        int member;
    } known[] = {
        {"\"name\"", CI_MEMBER_NAME}, {"\"arguments\"", CI_MEMBER_ARGUMENTS}, {"\"parameters\"", CI_MEMBER_ARGUMENTS},
        {"\"id\"", CI_MEMBER_ID},     {"\"tool_name\"", CI_MEMBER_NAME},      {"\"tool_call_id\"", CI_MEMBER_ID}};
    const char *key = parser->raw + parser->key;
    size_t length = parser->raw_length - parser->key;
    parser->member = CI_MEMBER_OTHER;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (length == strlen(known[i].key) && memcmp(key, known[i].key, length) == 0) parser->member = known[i].member;
    /* Each counts once. */
    if ((parser->member == CI_MEMBER_NAME && parser->name) || (parser->member == CI_MEMBER_ID && parser->id) ||
        (parser->member == CI_MEMBER_ARGUMENTS && parser->arguments))
        parser->member = CI_MEMBER_OTHER;
    if (!parser->format->name_is_key || parser->name || parser->arguments) return;
    parser->name = string_of(parser, parser->key, parser->raw_length);
    parser->member = CI_MEMBER_ARGUMENTS;
}

/* Name and arguments have begun: they go out as they come, unless they are no object. */
static void begin_telling(struct ci_tool_parser *parser) {
    if (parser->told || !name_counts(parser) || !parser->arguments || parser->raw[parser->arguments] != '{') return;
    size_t end = parser->arguments_end ? parser->arguments_end : parser->raw_length;
    send_piece(parser, parser->raw + parser->arguments, end - parser->arguments, false);
    parser->sent = end;
}

static void begin_value(struct ci_tool_parser *parser) {
    parser->value = parser->raw_length - 1;
    parser->in_value = true;
    if (parser->member != CI_MEMBER_ARGUMENTS) return;
    parser->arguments = parser->value;
    begin_telling(parser);
}

static void end_value(struct ci_tool_parser *parser, size_t end) {
    parser->in_value = false;
    if (parser->member == CI_MEMBER_NAME) parser->name = string_of(parser, parser->value, end);
    if (parser->member == CI_MEMBER_ID) parser->id = string_of(parser, parser->value, end);
    if (parser->member == CI_MEMBER_ARGUMENTS) parser->arguments_end = end;
    if (parser->member == CI_MEMBER_NAME) begin_telling(parser);
}

/* An object that is no call for certain needs not be held until its end. */
static bool is_hopeless(const struct ci_tool_parser *parser) {
    return !is_sure(parser) && parser->name && !is_tool(parser, parser->name);
}

/* The last byte of `raw` is the object's next one. */
static void take_in_object(struct ci_tool_parser *parser) {
    char byte = parser->raw[parser->raw_length - 1];
    const struct ci_json_scan before = parser->scan;
    enum ci_json_scan_result result = ci_json_scan_push(&parser->scan, byte);
    const struct ci_json_scan *now = &parser->scan;
    bool top = before.depth == 1;
    if (result == CI_SCAN_WRONG) {
        give_up(parser, parser->raw_length - 1);
        return;
    }
    if (top && byte == '"' && (before.state == CI_SCAN_KEY || before.state == CI_SCAN_FIRST_KEY))
        parser->key = parser->raw_length - 1;
    if (top && before.state == CI_SCAN_STRING && now->state == CI_SCAN_COLON) read_key(parser);
    if (top && before.state == CI_SCAN_VALUE && !is_space(byte)) begin_value(parser);
    bool number = top && before.state >= CI_SCAN_MINUS && (now->state < CI_SCAN_MINUS || result == CI_SCAN_ENDS);
    if (parser->in_value && number)
        end_value(parser, parser->raw_length - 1);
    else if (parser->in_value && now->depth == 1 && now->state == CI_SCAN_BEHIND)
        end_value(parser, parser->raw_length);
    if (is_hopeless(parser))
        give_up(parser, parser->raw_length);
    else if (result == CI_SCAN_ENDS)
        end_call(parser);
}

/* ---- a name, maybe an id, then the arguments ---- */

static bool ends_with(const struct ci_tool_parser *parser, const char *mark) {
    size_t length = mark ? strlen(mark) : 0;
    return length && parser->raw_length - parser->begin >= length &&
           memcmp(parser->raw + parser->raw_length - length, mark, length) == 0;
}

static char *trimmed(const struct ci_tool_parser *parser, size_t end) {
    size_t begin = parser->begin;
    while (begin < end && is_space(parser->raw[begin])) begin++;
    while (end > begin && is_space(parser->raw[end - 1])) end--;
    return strndup(parser->raw + begin, end - begin);
}

static void take_in_name(struct ci_tool_parser *parser) {
    const struct ci_tool_format *format = parser->format;
    bool is_name = parser->state == CI_TOOL_NAME, ends = ends_with(parser, format->name_end);
    bool to_id = is_name && ends_with(parser, format->id_mark);
    const char *mark = ends ? format->name_end : to_id ? format->id_mark : "";
    char byte = parser->raw[parser->raw_length - 1];
    if (!ends && !to_id) {
        if (parser->raw_length - parser->begin > MOST_NAME || byte == '\n') give_up(parser, parser->raw_length - 1);
        return;
    }
    char *text = trimmed(parser, parser->raw_length - strlen(mark));
    if (is_name)
        parser->name = text;
    else
        parser->id = text;
    parser->begin = parser->raw_length;
    parser->state = to_id ? CI_TOOL_ID : CI_TOOL_BEGUN;
    if (!text) parser->out_of_memory = true;
    if (!text || !*text) give_up(parser, parser->raw_length);
}

/* ---- calls that a reader of the format's makes JSON of ---- */

/* The name is there: from now on the call goes out as it comes. */
static void begin_reading_call(struct ci_tool_parser *parser) {
    struct ci_tool_reading *reading = &parser->reading;
    parser->name = reading->name;
    parser->id = reading->id;
    reading->name = reading->id = NULL;
    if (parser->name && parser->format->talk && strcmp(parser->name, parser->format->talk) == 0) {
        back_to_text(parser);
        forget_call(parser);
        return;
    }
    if (!name_counts(parser)) {
        give_up(parser, parser->raw_length);
        return;
    }
    send_piece(parser, reading->json, reading->length, false);
    parser->sent = reading->length;
}

static void end_reading_call(struct ci_tool_parser *parser) {
    send_arguments(parser, 0);
    send_piece(parser, "", 0, true);
    parser->index++;
    parser->raw_length = 0;
    parser->called = true;
    forget_call(parser);
    ci_reading_next(&parser->reading);
}

/* What is held is text, and what stands before it, unless it is of a call or between calls. */
static void stop_reading(struct ci_tool_parser *parser) {
    size_t held = parser->reading.held_length, rest = parser->raw_length;
    if (parser->told || !parser->called) {
        give_up(parser, held < parser->raw_length ? parser->raw_length - held : parser->raw_length);
        return;
    }
    back_to_text(parser);
    forget_call(parser);
    parser->raw_length = rest;
    take_again(parser, 0);
}

/* Behind a call, and nothing of another one has come. */
static bool is_between(const struct ci_tool_parser *parser) {
    return parser->called && !parser->told && ci_tool_reading_is_between(&parser->reading) &&
           !parser->reading.held_length;
}

static void take_reading(struct ci_tool_parser *parser) {
    struct ci_tool_reading *reading = &parser->reading;
    char byte = parser->raw[parser->raw_length - 1];
    enum ci_tool_turn turn = parser->format->read(reading, byte);
    if (reading->out_of_memory) {
        parser->out_of_memory = true;
        return;
    }
    if (turn != CI_TURN_WRONG && reading->name) begin_reading_call(parser);
    if (parser->state != CI_TOOL_READING) return; /* it is none */
    if (turn == CI_TURN_ON && is_between(parser)) parser->raw_length = 0;
    if (turn == CI_TURN_WRONG)
        stop_reading(parser);
    else if (turn == CI_TURN_CALL || turn == CI_TURN_BOTH)
        end_reading_call(parser);
    if (turn == CI_TURN_BOTH || turn == CI_TURN_MARK) back_to_text(parser);
}

static void begin_reading(struct ci_tool_parser *parser) {
    ci_tool_reading_begin(&parser->reading, parser->format->tags, parser->mark->open, parser->mark->close,
                          parser->tools);
    parser->state = CI_TOOL_READING;
    parser->called = false;
}

/* ---- states ---- */

/* Behind a mark, or a comma of a list, or a name. */
static void take_at_begin(struct ci_tool_parser *parser) {
    char byte = parser->raw[parser->raw_length - 1];
    if (is_space(byte)) return;
    if (byte == '{' && !parser->name) {
        parser->state = CI_TOOL_OBJECT;
        take_in_object(parser);
    } else if (byte == '{') {
        parser->state = CI_TOOL_OBJECT;
        parser->alone = true;
        parser->arguments = parser->raw_length - 1;
        ci_json_scan_push(&parser->scan, byte);
        begin_telling(parser);
    } else if (byte == '[' && !parser->in_list && !parser->name) {
        parser->in_list = true;
    } else if (parser->format->name_end && parser->mark && !parser->name && !parser->in_list) {
        parser->begin = parser->raw_length - 1;
        parser->state = CI_TOOL_NAME;
        take_in_name(parser);
    } else {
        give_up(parser, parser->raw_length - 1);
    }
}

/* Arguments that stand alone: a name came before them. */
static void take_in_arguments(struct ci_tool_parser *parser) {
    enum ci_json_scan_result result = ci_json_scan_push(&parser->scan, parser->raw[parser->raw_length - 1]);
    if (result == CI_SCAN_WRONG) give_up(parser, parser->raw_length - 1);
    if (result != CI_SCAN_ENDS) return;
    parser->arguments_end = parser->raw_length;
    end_call(parser);
}

static bool is_beginning_of(const char *mark, const char *text, size_t length) {
    return mark && length <= strlen(mark) && memcmp(mark, text, length) == 0;
}

/* Behind a call: the next one of a list, what closes the mark, or text. `raw` has what may become the latter. */
static void take_behind(struct ci_tool_parser *parser) {
    char byte = parser->raw[parser->raw_length - 1];
    const char *close = parser->mark ? parser->mark->close : NULL;
    if (is_space(byte) && parser->raw_length == 1) {
        parser->raw_length = 0;
        return;
    }
    if (parser->in_list && (byte == ',' || byte == ']')) {
        parser->in_list = byte == ',';
        parser->state = byte == ',' ? CI_TOOL_BEGUN : CI_TOOL_BEHIND;
        parser->raw_length = 0;
    } else if (close && byte == '{' && parser->raw_length == 1 && !parser->in_list && !parser->format->name_end) {
        take_at_begin(parser); /* several between the same marks */
    } else if (close && is_beginning_of(close, parser->raw, parser->raw_length)) {
        if (parser->raw_length == strlen(close)) back_to_text(parser);
    } else if (byte == ';' && parser->raw_length == 1 && parser->format->bare && !close) {
        parser->state = CI_TOOL_BEGUN; /* Llama has them so */
    } else {
        size_t rest = parser->raw_length;
        back_to_text(parser);
        parser->raw_length = rest;
        take_again(parser, 0);
    }
}

/* The mark that raw[spaces, ...) is; *may_become: it is the beginning of one. */
static const struct ci_tool_mark *find_mark(const struct ci_tool_parser *parser, bool *may_become) {
    const char *text = parser->raw + parser->spaces;
    size_t length = parser->raw_length - parser->spaces;
    *may_become = length == 0;
    for (int i = 0; i < CI_TOOL_MARKS && parser->format->marks[i].open; i++) {
        const struct ci_tool_mark *mark = &parser->format->marks[i];
        if (!is_beginning_of(mark->open, text, length)) continue;
        if (length == strlen(mark->open)) return mark;
        *may_become = true;
    }
    return NULL;
}

/* `raw` has spaces and what may become a mark: what is neither goes out. */
static void take_text(struct ci_tool_parser *parser) {
    while (parser->raw_length > parser->spaces) {
        char first = parser->raw[parser->spaces];
        if (is_space(first)) {
            if (parser->trims) {
                parser->raw_length--;
                memmove(parser->raw + parser->spaces, parser->raw + parser->spaces + 1,
                        parser->raw_length - parser->spaces);
                continue;
            }
            if (++parser->spaces <= MOST_SPACES) continue;
        } else {
            bool may_become;
            const struct ci_tool_mark *mark = find_mark(parser, &may_become);
            bool bare = parser->format->bare && !parser->text_has_come && (first == '{' || first == '[');
            if (mark || bare) {
                parser->mark = mark;
                parser->state = CI_TOOL_BEGUN;
                parser->trims = false;
                if (mark && parser->format->read) begin_reading(parser);
                if (bare && !mark) take_at_begin(parser);
                return;
            }
            if (may_become) return;
            parser->spaces++; /* it goes out with them */
            parser->text_has_come = true;
            parser->trims = false;
        }
        add_text(parser, parser->raw, parser->spaces);
        parser->raw_length -= parser->spaces;
        memmove(parser->raw, parser->raw + parser->spaces, parser->raw_length);
        parser->spaces = 0;
    }
}

static void take(struct ci_tool_parser *parser, char byte) {
    if (!ci_append(&parser->raw, &parser->raw_length, &parser->raw_capacity, &byte, 1)) {
        parser->out_of_memory = true;
        return;
    }
    switch (parser->state) {
    case CI_TOOL_TEXT: take_text(parser); break;
    case CI_TOOL_BEGUN: take_at_begin(parser); break;
    case CI_TOOL_NAME:
    case CI_TOOL_ID: take_in_name(parser); break;
    case CI_TOOL_OBJECT:
        if (parser->alone)
            take_in_arguments(parser);
        else
            take_in_object(parser);
        break;
    case CI_TOOL_BEHIND: take_behind(parser); break;
    case CI_TOOL_READING: take_reading(parser); break;
    }
}

void ci_tool_parser_begin(struct ci_tool_parser *parser, const struct ci_tool_format *format, const json_t *tools,
                          uint64_t seed, const struct ci_tool_sink *sink) {
    *parser = (struct ci_tool_parser){.format = format, .tools = tools, .seed = seed, .sink = *sink};
}

void ci_tool_parser_expect(struct ci_tool_parser *parser, bool marked) {
    static const struct ci_tool_mark none = {.open = ""};
    parser->mark = marked ? &parser->format->marks[0] : &none;
    parser->state = CI_TOOL_BEGUN;
    if (marked && parser->format->read) begin_reading(parser);
}

bool ci_tool_parser_push(struct ci_tool_parser *parser, const char *text, size_t length) {
    if (!parser->format) return length == 0 || parser->sink.text(parser->sink.user, text, length);
    for (size_t i = 0; i < length && !parser->refused && !parser->out_of_memory; i++) take(parser, text[i]);
    send_text(parser);
    send_arguments(parser, parser->raw_length);
    return !parser->refused && !parser->out_of_memory;
}

bool ci_tool_parser_end(struct ci_tool_parser *parser) {
    if (parser->state == CI_TOOL_TEXT)
        add_text(parser, parser->raw, parser->raw_length);
    else if (parser->state != CI_TOOL_BEHIND && !(parser->called && ci_tool_reading_is_between(&parser->reading)))
        give_up(parser, parser->raw_length);
    send_text(parser);
    bool goes_on = !parser->refused && !parser->out_of_memory;
    forget_call(parser);
    ci_tool_reading_end(&parser->reading);
    free(parser->text);
    free(parser->raw);
    *parser = (struct ci_tool_parser){0};
    return goes_on;
}
