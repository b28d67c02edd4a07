/* translate.h: what the bodies of all dialects have in common on their way to the library's request: messages, tools, a
 * form, fields with their limits. It knows neither exchanges nor models: it reads JSON and fills a struct ci_job.
 *
 * The first thing that is wrong stays, in `param` and `problem`, and no call after it changes anything: who reads a
 * body asks once, at the end. What is made lies in an arena, which has to outlive the job, as the body has to. */
#ifndef CI_SERVER_TRANSLATE_H
#define CI_SERVER_TRANSLATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include <clinfer.h>

#include "base/arena.h"
#include "server/job.h"

/* A text that grows; in the arena when its message is whole. */
struct ci_translated_text {
    char *text;
    size_t length, capacity;
};

struct ci_translation {
    struct ci_arena *arena;
    struct ci_job *job;
    struct clinfer_message *messages; /* [count]; the last one may still grow */
    size_t count, capacity;
    struct ci_translated_text content, reasoning; /* of the last one */
    struct clinfer_tool_call *calls;              /* [call_count], of the last one */
    size_t call_count, call_capacity;
    json_t *tools;       /* as OpenAI's API has them; NULL: none */
    json_t *variables;   /* of the template; NULL: none */
    const char *param;   /* the field that is wrong; NULL: none of its own */
    const char *problem; /* NULL: nothing is wrong */
    bool no_memory;      /* that is what is wrong */
    bool force_bytes;    /* of the form */
};

/* The job as ci_job_init() makes it, with the body's "model" and what the server does where a body says nothing
 * (`defaults`; NULL: nothing, and a seed of UINT64_MAX is one at random). */
void ci_translate_begin(struct ci_translation *translation, const json_t *body,
                        const struct clinfer_session_options *defaults, struct ci_arena *arena, struct ci_job *job);
/* Of the server's --seed, or at random. */
void ci_translate_default_seed(struct clinfer_session_options *sampling);

/* Messages, tools and variables of the template go into the job; messages of the system become one, the first. false:
 * something is wrong. To be called in any case: it frees what does not lie in the arena. */
bool ci_translate_finish(struct ci_translation *translation);

void ci_translate_refuse(struct ci_translation *translation, const char *param, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A copy in the arena. NULL: memory is out, which is noted. */
char *ci_translate_copy(struct ci_translation *translation, const char *text, size_t length);

/* ---- fields: absent and null leave *value as it is; another type, or beyond the limits, is refused ---- */

void ci_translate_number(struct ci_translation *translation, const json_t *body, const char *name, double least,
                         double most, float *value);
void ci_translate_integer(struct ci_translation *translation, const json_t *body, const char *name, int least, int most,
                          int *value);
void ci_translate_flag(struct ci_translation *translation, const json_t *body, const char *name, bool *value);
/* Borrowed from the body. */
void ci_translate_text(struct ci_translation *translation, const json_t *body, const char *name, const char **value);
/* One text, or a list of them; empty ones are left out. */
enum { CI_TRANSLATE_STOPS = 256 };
void ci_translate_stop(struct ci_translation *translation, const json_t *body, const char *name);

/* ---- messages ---- */

/* One more, without content. */
void ci_translate_add(struct ci_translation *translation, const char *role);

/* More of the last one's content, or of what was thought before it; a line break comes between two pieces. */
void ci_translate_say(struct ci_translation *translation, const char *param, const json_t *text);
void ci_translate_think(struct ci_translation *translation, const char *param, const json_t *text);

/* A call in the last one; `arguments`: an object, or a text that holds one. NULL or "" for the id: it is made of how
 * manieth call it is. */
void ci_translate_call(struct ci_translation *translation, const char *param, const char *id, const char *name,
                       const json_t *arguments);

/* The last one is the result of a call of this id (of this tool); NULL: not known. */
void ci_translate_answers(struct ci_translation *translation, const char *id, const char *tool);

/* The tool's name of the call with this id in the messages so far; NULL: there is none. */
const char *ci_translate_called(const struct ci_translation *translation, const char *id);

/* ---- tools and form ---- */

void ci_translate_tool(struct ci_translation *translation, const char *param, const json_t *name,
                       const json_t *description, const json_t *schema);

/* force_bytes, of a body or a part of it; before the schema. */
void ci_translate_force(struct ci_translation *translation, const json_t *holder);

/* The answer is JSON by this schema; NULL: any object. */
void ci_translate_schema(struct ci_translation *translation, const char *param, const json_t *schema);

/* Whether the model is to think before it answers, or how hard ("low", "medium", "high"): variables of the chat
 * template, for those that know them. */
void ci_translate_thinking(struct ci_translation *translation, bool think);
void ci_translate_effort(struct ci_translation *translation, const char *effort);

#endif
