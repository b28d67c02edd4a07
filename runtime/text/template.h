/* template.h: chat templates: the Jinja that models carry to turn a list of messages into a prompt.
 *
 * The subset is what real chat templates use, with the meaning that Hugging Face's transformers gives it (Jinja 3.1,
 * trim_blocks and lstrip_blocks on, values immutable, loop controls, `generation`, raise_exception, strftime_now,
 * tojson without ASCII escapes). What is not there (include, import, extends, recursive loops, *args) is refused by
 * name.
 *
 * A template comes from a file that nobody vouches for: steps, memory, output and nesting are bounded, and each bound
 * is an error that says so. Reading any template takes less than a second, and so does rendering one with the default
 * limits. */
#ifndef CI_TEXT_TEMPLATE_H
#define CI_TEXT_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <clinfer.h>
#include <jansson.h>

struct ci_template;

/* A step is 20 ns of work at most. Zeros are the defaults. */
struct ci_template_limits {
    uint64_t steps;           /* CI_TEMPLATE_STEPS */
    size_t memory;            /* CI_TEMPLATE_MEMORY: bytes of intermediate values and output together */
    time_t now;               /* what strftime_now() tells, in local time; 0: the clock */
    bool (*stop)(void *user); /* asked every few thousand steps, true ends it; NULL: as base/stop.h has it */
    void *user;
};

#define CI_TEMPLATE_STEPS UINT64_C(20000000)
#define CI_TEMPLATE_MEMORY ((size_t)128 << 20)

/* Parses. CLINFER_BAD_FILE for a syntax error, CLINFER_UNSUPPORTED for what the subset leaves out; the message has the
 * line. On failure *template is NULL. */
enum clinfer_status ci_template_create(const char *text, size_t length, struct ci_template **template);
void ci_template_destroy(struct ci_template *template);

/* Consecutive bytes of one origin: `input` is what came in with `context`, from a user, a tool or a document; the rest
 * is what the template wrote: its text and its string literals, bos_token and eos_token, the roles that all templates
 * know, printed numbers, signs of JSON. Where an operation cannot tell, it is input. */
struct ci_rendered_run {
    size_t length; /* bytes, never 0 */
    bool input;
};

struct ci_rendered {
    char *text;                   /* zero-terminated, and may hold zeros if the input did */
    size_t length;                /* bytes, the sum of the runs' */
    struct ci_rendered_run *runs; /* [run_count], neighbours differ; NULL for an empty text */
    size_t run_count;
};

/* Frees what it holds and clears it. */
void ci_rendered_free(struct ci_rendered *rendered);

/* Renders with the members of the object `context` as variables: messages, add_generation_prompt, bos_token, eos_token,
 * and what else the caller has. As in transformers, `tools` and `documents` should be null rather than absent when
 * there are none. *rendered is for the caller to ci_rendered_free(), and empty on failure. `limits` may be NULL. Safe
 * from several threads at once.
 *
 * CLINFER_CANCELLED when it was stopped. CLINFER_INVALID_ARGUMENT for what the template refuses (raise_exception) or
 * cannot do with this input,
 * CLINFER_UNSUPPORTED for an unknown filter, test or method, CLINFER_BAD_FILE for a bound. */
enum clinfer_status ci_template_render(const struct ci_template *template, const json_t *context,
                                       const struct ci_template_limits *limits, struct ci_rendered *rendered);

#endif
