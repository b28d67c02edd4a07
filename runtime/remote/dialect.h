/* dialect.h: what an API's requests and answers look like. One file and one line in dialect_list.inc each; whatever
 * carries them (HTTP, retries, keys) is the same for all.
 *
 * A dialect reads into a struct ci_reply: text goes out at once, and what it says of the end, of usage and of errors is
 * kept. Shapes that are wrong are said by ci_reply_wrong(), never guessed at; members that nobody asked for are passed
 * over, since every server has some of its own. */
#ifndef CI_REMOTE_DIALECT_H
#define CI_REMOTE_DIALECT_H

#include <jansson.h>

#include <clinfer.h>

#include "remote/remote.h"

enum { CI_REPLY_MESSAGE_BYTES = 512, CI_REPLY_WRONG_BYTES = 128, CI_REPLY_TYPE_BYTES = 64 };

/* An error in the API's own words; of the server, so for ci_redact(). */
struct ci_reply_error {
    bool there;
    long status; /* the HTTP status that means the same; 0: it did not say */
    char type[CI_REPLY_TYPE_BYTES], message[CI_REPLY_MESSAGE_BYTES];
};

struct ci_reply {
    clinfer_text_callback *callback;
    clinfer_tool_call_callback *call;
    void *user;
    struct ci_text_logprobs *logprobs; /* NULL: nobody asked */
    size_t call_count, call_pieces;    /* that have begun; that went out */
    bool calls_ended;
    size_t text_bytes;
    double first_text; /* when the first text came, in the clock of ci_now() */
    bool stopped;      /* the callback said so */
    bool complete;     /* the API gave a reason for the end: `finish` */
    bool closed;       /* and nothing comes after what was read */
    bool filtered;     /* the reason is the API's own judgement of the text */
    enum clinfer_finish finish;
    size_t prompt_tokens, generated_tokens;
    struct ci_reply_error error;
    char wrong[CI_REPLY_WRONG_BYTES]; /* "" or what is not as the dialect has it */
};

struct ci_dialect {
    const char *name;
    const char *path;           /* "/v1/messages"; see address.h */
    const char *key_header;     /* "x-api-key: ", in front of the key */
    const char *const *headers; /* of its own, NULL-terminated */
    const char *end_of_stream;  /* NULL, or data that is no JSON and ends a stream */
    enum clinfer_status (*write)(const char *label, const char *host, const struct clinfer_remote *remote,
                                 const struct ci_remote_request *request, json_t *body);
    void (*read_event)(struct ci_reply *reply, const char *event, const json_t *data);
    void (*read_whole)(struct ci_reply *reply, const json_t *root);
};

/* NULL is the first one. NULL: there is none of that name; `names` [size], if not NULL, then lists them. */
const struct ci_dialect *ci_dialect_find(const char *name, char *names, size_t size);

/* ---- for the dialects ---- */

/* A member of the body; CLINFER_OUT_OF_MEMORY also for a `value` that is NULL. Takes the reference. */
enum clinfer_status ci_dialect_set(const char *label, json_t *body, const char *name, json_t *value);

/* {"role": ..., "content": ...} behind the others; bytes that are no UTF-8 become U+FFFD. */
enum clinfer_status ci_dialect_add_message(const char *label, json_t *messages, const char *role, const char *content);

/* Adds a message that has calls, or is a tool's result, which each API writes in its own way. */
typedef enum clinfer_status ci_dialect_message_writer(const char *label, json_t *messages,
                                                      const struct clinfer_message *message);

/* The request's messages without system messages (`system` false), or all; and where an answer has begun elsewhere,
 * that as the assistant's and a user's message that asks to go on: an assistant's message at the end, which several
 * APIs took as the start of the answer, is an error with current models. */
enum clinfer_status ci_dialect_add_messages(const char *label, const struct ci_remote_request *request, bool system,
                                            ci_dialect_message_writer *with_calls, json_t *body);

/* Temperature 0.7f as 0.7. */
json_t *ci_dialect_number(float value);

/* The texts that end an answer, as an array. */
json_t *ci_dialect_stop(const struct ci_remote_request *request);

/* The schema, CLINFER_INVALID_ARGUMENT when it is no JSON object. */
enum clinfer_status ci_dialect_schema(const char *label, const struct ci_remote_request *request, json_t **schema);

/* Strings that are none (NULL, null) have no text. */
void ci_reply_text(struct ci_reply *reply, const json_t *string);

/* A call begins, `index` is the next one's, or goes on. Strings that are none are left out. */
void ci_reply_call(struct ci_reply *reply, size_t index, const json_t *id, const json_t *name, const json_t *arguments);

/* All calls are whole. */
void ci_reply_end_calls(struct ci_reply *reply);

void ci_reply_wrong(struct ci_reply *reply, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whether `root` is one of the forms in which servers speak of errors, or is an error for `certain` in whatever form;
 * then it is in reply->error. */
bool ci_reply_read_error(struct ci_reply *reply, const json_t *root, bool certain);

/* A count of tokens, if it is one; else *count stays. */
void ci_reply_count(const json_t *object, const char *name, size_t *count);

#endif
