/* reasoning.c: see reasoning.h. A form is a sign by which a template is known and a list of marks, each with the part
 * that follows it; all of it is data. Bytes wait in `held` while they may become a mark: the longest mark counts, since
 * the name of a channel is a mark with the sign before it. Where marks are plain text, an answer may speak of them: the
 * first one opens only before any text, the second one closes only what is open. */
#define _GNU_SOURCE
#include "text/reasoning.h"

#include <string.h>

enum { MOST_MARKS = 9, RUN_BYTES = 256 };

struct mark {
    const char *text;      /* NULL ends the list */
    enum ci_text_part now; /* what follows; CI_PART_NEXT: what `next` of an earlier mark said */
    enum ci_text_part next;
    bool told; /* it counts before any text and in hidden parts, and is text itself: to whom the message goes */
};

struct ci_reasoning_form {
    const char *sign;
    bool anywhere;   /* marks are control tokens; else reasoning comes first or not at all */
    const char *end; /* what ends reasoning where that is more than the second mark */
    struct mark marks[MOST_MARKS];
};

#define AROUND(open, close)                                                                                            \
    {                                                                                                                  \
        .sign = close, .marks = { {.text = open, .now = CI_PART_REASONING}, {.text = close, .now = CI_PART_ANSWER} }   \
    }

/* More telling signs first. */
static const struct ci_reasoning_form forms[] = {
    {.sign = "<|channel|>analysis",
     .anywhere = true,
     .end = "<|end|><|start|>assistant<|channel|>final<|message|>",
     .marks = {{.text = "<|channel|>analysis", .now = CI_PART_HIDDEN, .next = CI_PART_REASONING},
               {.text = "<|channel|>final", .now = CI_PART_HIDDEN, .next = CI_PART_ANSWER},
               {.text = "<|channel|>",
                .now = CI_PART_HIDDEN,
                .next = CI_PART_ANSWER}, /* commentary, that goes before a tool's call */
               {.text = "<|constrain|>", .now = CI_PART_HIDDEN, .next = CI_PART_ANSWER},
               {.text = " to=functions.", .now = CI_PART_ANSWER, .next = CI_PART_ANSWER, .told = true},
               {.text = "<|message|>", .now = CI_PART_NEXT, .next = CI_PART_ANSWER},
               {.text = "<|start|>", .now = CI_PART_HIDDEN, .next = CI_PART_ANSWER},
               {.text = "<|end|>", .now = CI_PART_HIDDEN, .next = CI_PART_ANSWER}}},
    {.sign = "<|begin|>assistant<|think|>",
     .anywhere = true,
     .marks = {{.text = "<|think|>", .now = CI_PART_REASONING, .next = CI_PART_ANSWER},
               {.text = "<|content|>", .now = CI_PART_ANSWER, .next = CI_PART_ANSWER},
               {.text = "<|begin|>", .now = CI_PART_HIDDEN, .next = CI_PART_ANSWER},
               {.text = "<|end|>", .now = CI_PART_HIDDEN, .next = CI_PART_ANSWER}}},
    {.sign = "<|START_THINKING|>",
     .anywhere = true,
     .marks = {{.text = "<|START_THINKING|>", .now = CI_PART_REASONING},
               {.text = "<|END_THINKING|>", .now = CI_PART_ANSWER},
               {.text = "<|START_RESPONSE|>", .now = CI_PART_ANSWER},
               {.text = "<|END_RESPONSE|>", .now = CI_PART_ANSWER},
               {.text = "<|START_TEXT|>", .now = CI_PART_ANSWER},
               {.text = "<|END_TEXT|>", .now = CI_PART_ANSWER}}},
    {.sign = "<|open|>think<|sep|>",
     .anywhere = true,
     .end = "<|close|>think<|sep|><|open|>response<|sep|>",
     .marks = {{.text = "<|open|>think<|sep|>", .now = CI_PART_REASONING},
               {.text = "<|close|>think<|sep|>", .now = CI_PART_HIDDEN},
               {.text = "<|open|>response<|sep|>", .now = CI_PART_ANSWER},
               {.text = "<|close|>response<|sep|>", .now = CI_PART_HIDDEN}}},
    {.sign = "<|channel>thought",
     .anywhere = true,
     .marks = {{.text = "<|channel>thought", .now = CI_PART_REASONING}, {.text = "<channel|>", .now = CI_PART_ANSWER}}},
    {.sign = "<think></think> and write your response between <response></response>",
     .marks = {{.text = "<think>", .now = CI_PART_REASONING},
               {.text = "</think>", .now = CI_PART_ANSWER},
               {.text = "<response>", .now = CI_PART_ANSWER},
               {.text = "</response>", .now = CI_PART_ANSWER}}},
    {.sign = "[BEGIN FINAL RESPONSE]",
     .marks = {{.text = "Here are my reasoning steps:", .now = CI_PART_REASONING},
               {.text = "[BEGIN FINAL RESPONSE]", .now = CI_PART_ANSWER},
               {.text = "[END FINAL RESPONSE]", .now = CI_PART_ANSWER}}},
    AROUND("<|inner_prefix|>", "<|inner_suffix|>"),
    AROUND("[THINK]", "[/THINK]"),
    AROUND("<seed:think>", "</seed:think>"),
    AROUND("<mm:think>", "</mm:think>"),
    AROUND("<think:opensource>", "</think:opensource>"),
    AROUND("<thinking>", "</thinking>"),
    AROUND("<think>", "</think>"),
};

enum { FORMS = sizeof forms / sizeof *forms };

static bool is_space(char byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

bool ci_reasoning_is_begun(const struct ci_reasoning_form *form, const char *prompt, size_t length) {
    size_t open = strlen(form->marks[0].text);
    while (length && is_space(prompt[length - 1])) length--;
    return length >= open && memcmp(prompt + length - open, form->marks[0].text, open) == 0;
}

bool ci_reasoning_marks(const struct ci_reasoning_form *form, const char **open, const char **close) {
    *open = form->marks[0].text;
    *close = form->marks[1].text;
    return form->marks[0].now == CI_PART_REASONING && *close && form->marks[1].now == CI_PART_ANSWER &&
           !form->marks[2].text;
}

const char *ci_reasoning_end(const struct ci_reasoning_form *form) {
    return form->end ? form->end : form->marks[1].text;
}

/* Of forms that open alike the usual one, the last. */
const struct ci_reasoning_form *ci_reasoning_find(const char *text, size_t length) {
    for (size_t i = 0; i < FORMS; i++)
        if (memmem(text, length, forms[i].sign, strlen(forms[i].sign))) return &forms[i];
    for (size_t i = FORMS; i-- > 0;)
        if (ci_reasoning_is_begun(&forms[i], text, length)) return &forms[i];
    return NULL;
}

const struct ci_reasoning_form *ci_reasoning_usual(void) { return &forms[FORMS - 1]; }

void ci_parts_begin(struct ci_parts *parts, const struct ci_reasoning_form *form, bool begun) {
    *parts = (struct ci_parts){
        .form = form, .now = begun ? CI_PART_REASONING : CI_PART_ANSWER, .trims = begun, .marked = begun};
}

bool ci_parts_know(const struct ci_parts *parts, const char *text, size_t length) {
    for (int i = 0; parts->form && i < MOST_MARKS && parts->form->marks[i].text; i++)
        if (memmem(parts->form->marks[i].text, strlen(parts->form->marks[i].text), text, length)) return length > 0;
    return false;
}

bool ci_parts_go_on(const struct ci_parts *parts, const char *text, size_t length) {
    return parts->now == CI_PART_REASONING && parts->form && parts->form->anywhere &&
           ci_parts_know(parts, text, length);
}

/* ---- text that goes out ---- */

struct run {
    struct ci_parts *parts;
    ci_text_part_sink *sink;
    void *user;
    enum ci_text_part part;
    char text[RUN_BYTES];
    size_t length;
    bool refused;
};

static void send(struct run *run) {
    if (run->length && !run->refused) run->refused = !run->sink(run->user, run->part, run->text, run->length);
    run->length = 0;
}

/* Characters go out whole. */
static void add(struct run *run, char byte) {
    bool begins = ((unsigned char)byte & 0xc0) != 0x80;
    if (run->part != run->parts->now || run->length == RUN_BYTES || (begins && run->length > RUN_BYTES - 4)) send(run);
    run->part = run->parts->now;
    run->text[run->length++] = byte;
}

static void add_spaces(struct run *run) {
    for (size_t i = 0; i < run->parts->space_count; i++) add(run, run->parts->spaces[i]);
    run->parts->space_count = 0;
}

/* A byte that is no part of a mark. Spaces wait for text where a mark may come that does without them. */
static void take_byte(struct run *run, char byte) {
    struct ci_parts *parts = run->parts;
    bool waits = parts->now == CI_PART_REASONING || !parts->text_has_come;
    if (parts->now == CI_PART_HIDDEN || (parts->trims && is_space(byte))) return;
    if (is_space(byte) && waits) {
        if (parts->space_count == CI_HELD_SPACES) add_spaces(run);
        parts->spaces[parts->space_count++] = byte;
        return;
    }
    if (!is_space(byte)) parts->text_has_come = true;
    parts->trims = false;
    add_spaces(run);
    add(run, byte);
}

/* ---- marks ---- */

static bool counts(const struct ci_parts *parts, int mark) {
    if (parts->form->marks[mark].told) return parts->now == CI_PART_HIDDEN || !parts->text_has_come;
    if (parts->form->anywhere || mark > 1) return true;
    return mark == 0 ? !parts->text_has_come : parts->now == CI_PART_REASONING;
}

/* The longest mark that `held` begins with, NULL: none; *may_become: it is the beginning of a longer one. */
static const struct mark *find_mark(const struct ci_parts *parts, bool *may_become) {
    const struct mark *found = NULL;
    *may_become = false;
    for (int i = 0; i < MOST_MARKS && parts->form->marks[i].text; i++) {
        const struct mark *mark = &parts->form->marks[i];
        size_t length = strlen(mark->text), common = length < parts->held_count ? length : parts->held_count;
        if (!counts(parts, i) || memcmp(parts->held, mark->text, common) != 0) continue;
        if (length > parts->held_count)
            *may_become = true;
        else if (!found || length > strlen(found->text))
            found = mark;
    }
    return found;
}

static void drop_held(struct ci_parts *parts, size_t count) {
    parts->held_count -= count;
    memmove(parts->held, parts->held + count, parts->held_count);
}

static void apply(struct run *run, const struct mark *mark) {
    struct ci_parts *parts = run->parts;
    parts->now = mark->now == CI_PART_NEXT ? parts->next : mark->now;
    if (mark->now == CI_PART_NEXT) parts->addressed = false;
    if (!parts->addressed) parts->next = mark->next; /* what a tool gets is no reasoning, whatever its channel */
    parts->space_count = 0;
    parts->trims = parts->marked = true;
    if (mark->told) {
        for (const char *byte = mark->text; *byte; byte++) add(run, *byte);
        parts->addressed = parts->text_has_come = true;
        parts->trims = false;
    }
    drop_held(parts, strlen(mark->text));
}

/* What is held becomes marks and text, until it may become a mark; `last`: nothing comes any more. */
static void settle(struct run *run, bool last) {
    struct ci_parts *parts = run->parts;
    while (parts->held_count) {
        bool may_become;
        const struct mark *mark = find_mark(parts, &may_become);
        if (may_become && !last) return;
        if (mark) {
            apply(run, mark);
        } else {
            take_byte(run, parts->held[0]);
            drop_held(parts, 1);
        }
    }
}

bool ci_parts_push(struct ci_parts *parts, const char *text, size_t length, ci_text_part_sink *sink, void *user) {
    if (!parts->form) return length == 0 || sink(user, CI_PART_ANSWER, text, length);
    struct run run = {.parts = parts, .sink = sink, .user = user, .part = parts->now};
    for (size_t i = 0; i < length && !run.refused; i++) {
        parts->held[parts->held_count++] = text[i];
        settle(&run, false);
    }
    send(&run);
    return !run.refused;
}

bool ci_parts_flush(struct ci_parts *parts, ci_text_part_sink *sink, void *user) {
    if (!parts->form) return true;
    struct run run = {.parts = parts, .sink = sink, .user = user, .part = parts->now};
    settle(&run, true);
    if (parts->now == CI_PART_ANSWER) add_spaces(&run);
    send(&run);
    return !run.refused;
}
