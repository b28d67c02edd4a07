/* tool_reading.h: calls that are no JSON objects, byte by byte: a name, maybe an id, and arguments, of which JSON is
 * made as they come.
 *
 * Two readers do it for all forms: one for texts around names, keys and values (tool_tags.c), one for calls as a
 * program has them, f(a="x", b=[1]) (tool_literal.c). What a value is, its text does not always tell: 42 may be a
 * number or a text. The tool's schema decides; where it allows both, or says nothing, what is JSON of another type than
 * a text is taken as that. */
#ifndef CI_TEXT_TOOL_READING_H
#define CI_TEXT_TOOL_READING_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "text/json_scan.h"

enum ci_tool_turn {
    CI_TURN_ON,
    CI_TURN_CALL, /* with this byte a call is whole; others may follow */
    CI_TURN_MARK, /* with it the mark is closed, between calls */
    CI_TURN_BOTH, /* with it both are */
    CI_TURN_WRONG /* what `held` has, this byte as the last, does not belong there */
};

/* How a call is written. Strings that are NULL are not there. */
struct ci_tool_tags {
    const char *call;      /* begins a call behind the mark; NULL: the mark does */
    const char *id_end;    /* ends an id that comes before the name */
    const char *name_end;  /* NULL: the name ends where a key, the call's end or an object begins */
    const char *call_end;  /* NULL: as the mark is closed */
    const char *key;       /* begins a key; NULL: the arguments are a JSON object */
    const char *key_end;   /* ends it */
    const char *value;     /* begins a value */
    const char *value_end; /* ends it */
    const char *quote;     /* of texts, for tool_literal.c; NULL: '...' and "..." */
    bool list;             /* calls lie in a list, [f(), g()] */
    bool typed;            /* before `value` stands whether it is a text: true, false */
    bool lines;            /* values stand on lines of their own */
    bool cdata;            /* <![CDATA[VALUE]]> may be a value */
    bool numbered;         /* a name is [functions.]NAME:7, all of which is the call's id */
};

enum { CI_READING_BETWEEN, CI_READING_BEGUN }; /* the first states of both readers: between calls; behind a beginning */

struct ci_tool_reading {
    const struct ci_tool_tags *tags; /* borrowed, as the next */
    const char *close;               /* of the mark; NULL: nothing closes it */
    const json_t *tools;             /* the request's */
    char *name, *id;                 /* NULL: not known; whoever takes them sets them to NULL */
    char *json;                      /* [length] of the arguments, so far */
    size_t length, capacity;
    char *held; /* [held_length] what came last and is not decided */
    size_t held_length, held_capacity;
    bool out_of_memory;

    /* the readers' own */
    int state;
    size_t count;             /* of keys */
    const json_t *properties; /* the tool's; NULL: not known */
    const json_t *property;   /* of the value at hand; NULL: not known */
    const char *value_end;    /* of the value at hand */
    bool is_text, value_begun, no_cdata, in_list, escaped;
    char quote;
    int depth;
    struct ci_json_scan scan;
};

typedef enum ci_tool_turn ci_tool_reader(struct ci_tool_reading *reading, char byte);
ci_tool_reader ci_tool_read_tags, ci_tool_read_literal;

/* Nothing has come behind the mark `open`. The reading is all zeros or was ended. */
void ci_tool_reading_begin(struct ci_tool_reading *reading, const struct ci_tool_tags *tags, const char *open,
                           const char *close, const json_t *tools);
/* No call has begun. */
bool ci_tool_reading_is_between(const struct ci_tool_reading *reading);
void ci_tool_reading_end(struct ci_tool_reading *reading);

/* Whether a value under this schema can only be a text. */
bool ci_tool_schema_is_text(const json_t *schema);

/* ---- for the readers ---- */

enum { CI_TOOL_MOST_NAME = 256 };

/* The next call of the same mark. */
void ci_reading_next(struct ci_tool_reading *reading);
void ci_reading_hold(struct ci_tool_reading *reading, char byte);
bool ci_reading_ends_with(const struct ci_tool_reading *reading, const char *mark);
/* Which of texts[count], of which some may be NULL, `held` is; -1: it may become one; -2: none. */
int ci_reading_match(const struct ci_tool_reading *reading, const char *const *texts, int count);
/* `held` up to its last `behind` bytes, without spaces around it: owned; nothing is held any more. */
char *ci_reading_take_trimmed(struct ci_tool_reading *reading, size_t behind);
/* The tool's properties are looked up. */
void ci_reading_set_name(struct ci_tool_reading *reading, char *name);

void ci_reading_add(struct ci_tool_reading *reading, const char *json, size_t length);
/* Bytes of a text, without quotes around them. */
void ci_reading_add_text(struct ci_tool_reading *reading, const char *text, size_t length);
/* A key with what stands before and behind it; finds the property. */
void ci_reading_add_key(struct ci_tool_reading *reading, const char *key);
/* The end of the object. */
void ci_reading_add_end(struct ci_tool_reading *reading);
/* A value that may be JSON. */
void ci_reading_add_value(struct ci_tool_reading *reading, const char *text, size_t length);

bool ci_reading_is_space(char byte);

#endif
