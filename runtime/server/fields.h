/* fields.h: fields of a request's body that say how an answer is made, by tables: name, type, range, where the value
 * goes. All dialects that use OpenAI's or llama-server's names for them share this; none of it knows HTTP.
 *
 * A field that is absent or null leaves what is there. Another type, or a number out of its range, is
 * CLINFER_INVALID_ARGUMENT with the field's name in *param, and clinfer_error() has the text for the client. Fields
 * that no table knows are nobody's concern. Texts are borrowed from the body, lists come from the arena. */
#ifndef CI_SERVER_FIELDS_H
#define CI_SERVER_FIELDS_H

#include <clinfer.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct ci_arena;
struct ci_job;

enum ci_field_type {
    CI_FIELD_FLOAT,  /* float */
    CI_FIELD_INT,    /* int; 3.0 is 3, 3.5 is refused */
    CI_FIELD_BOOL,   /* bool */
    CI_FIELD_TEXT,   /* const char *; without zero bytes */
    CI_FIELD_OBJECT, /* const json_t *: an object */
    CI_FIELD_ARRAY,  /* const json_t *: an array */
    CI_FIELD_MOST,   /* int; -1 stands for the most there can be */
    CI_FIELD_NONE    /* int; -1 stands for 0 */
};

struct ci_field {
    const char *name;
    enum ci_field_type type;
    double least, most; /* of numbers */
    size_t offset;      /* of the value in the target */
};

enum clinfer_status ci_fields_read(const json_t *body, const struct ci_field *fields, size_t count, void *target,
                                   const char **param);

/* `value` is what `name` has to be; the message that says so. Returns CLINFER_INVALID_ARGUMENT. */
enum clinfer_status ci_field_wrong(const char *name, const char *wanted, const json_t *value, const char **param);

/* temperature, top_k, top_p, min_p, typical_p, top_n_sigma, repeat_penalty, repeat_last_n, presence_penalty,
 * frequency_penalty, dry_*, xtc_*, mirostat*, seed (-1: at random), samplers. */
enum clinfer_status ci_sampling_read(const json_t *body, struct ci_arena *arena,
                                     struct clinfer_session_options *sampling, const char **param);

/* Whether it is a number among these. */
bool ci_sampling_knows(const char *name);

/* logit_bias as OpenAI has it, {"15043": -100}, or llama-server, [[15043, -100], [" text", -1], [7, false]]. Texts
 * stand for all their tokens by `engine`, which may be NULL: then they are refused, as are ids beyond its vocabulary
 * else. */
enum clinfer_status ci_bias_read(const json_t *body, const clinfer_engine *engine, struct ci_arena *arena,
                                 struct clinfer_session_options *sampling, const char **param);

/* Whether reading logit_bias takes an engine. */
bool ci_bias_has_texts(const json_t *body);

/* `name`: a text or a list of texts. Empty ones are left out. */
enum clinfer_status ci_stop_read(const json_t *body, const char *name, struct ci_arena *arena,
                                 struct clinfer_chat_request *request, const char **param);

/* max_completion_tokens, max_tokens, n_predict: the first of them that is there; -1: no limit. And ignore_eos. */
enum clinfer_status ci_limits_read(const json_t *body, struct clinfer_chat_request *request, const char **param);

/* num_ctx: the room that a client wants for prompt and answer. `field`: as header and messages call it. */
enum clinfer_status ci_room_read(const json_t *body, const char *field, struct ci_job *job, const char **param);

/* grammar (GBNF), json_schema, response_format: what the answer has to be. *json is NULL, or must live as long as the
 * request, and is the caller's to free(): the schema's text. */
enum clinfer_status ci_form_read(const json_t *body, struct ci_arena *arena, struct clinfer_chat_request *request,
                                 char **json, const char **param);

#endif
