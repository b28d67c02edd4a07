/* prompt.c: see prompt.h. An answer that has begun is no message to the template, which would end it: its text follows
 * what begins an answer. Marks of reasoning count as if the template had written them; what a message says does not. */
#include "engine/prompt.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "engine/engine_private.h"
#include "text/prompt.h"
#include "text/reasoning.h"
#include "text/template.h"

enum clinfer_status ci_prompt_check(const struct ci_prompt_request *request) {
    if (request->tokens && request->count)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "the request has both messages and tokens; leave one");
    if (!request->tokens && request->token_count)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "the request's tokens are NULL, their count %zu",
                       request->token_count);
    if (request->tokens && request->token_count == 0)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "the request's prompt has no tokens");
    if (!request->tokens && request->count == 0) return ci_fail(CLINFER_INVALID_ARGUMENT, "the request has no message");
    bool templated = !request->raw && !request->tokens;
    if (!templated && (request->continue_last || request->no_generation_prompt || request->variables))
        return ci_fail(CLINFER_INVALID_ARGUMENT, "a raw prompt has no chat template: continue_last, "
                                                 "no_generation_prompt and template_arguments are for one");
    if (!request->continue_last) return CLINFER_OK;
    if (request->no_generation_prompt)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "continue_last and no_generation_prompt do not go together");
    const struct clinfer_message *last = &request->messages[request->count - 1];
    if (strcmp(last->role, "assistant") != 0)
        return ci_fail(CLINFER_INVALID_ARGUMENT,
                       "continue_last: the last message is of the role \"%s\", and must be "
                       "the assistant's",
                       last->role);
    if (last->call_count)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "continue_last: the last message has calls of tools");
    return CLINFER_OK;
}

/* What could not be appended, since memory is out, leaves text NULL. */
static void append(struct ci_rendered *rendered, const char *text, bool input) {
    size_t length = strlen(text);
    if (!rendered->text || length == 0) return;
    char *grown = realloc(rendered->text, rendered->length + length + 1);
    if (grown) rendered->text = grown;
    struct ci_rendered_run *runs = realloc(rendered->runs, (rendered->run_count + 1) * sizeof *runs);
    if (runs) rendered->runs = runs;
    if (!grown || !runs) {
        ci_rendered_free(rendered);
        return;
    }
    memcpy(grown + rendered->length, text, length + 1);
    rendered->length += length;
    if (rendered->run_count && runs[rendered->run_count - 1].input == input)
        runs[rendered->run_count - 1].length += length;
    else
        runs[rendered->run_count++] = (struct ci_rendered_run){length, input};
}

static void append_mark(struct ci_rendered *rendered, const char *before, const char *mark, const char *behind) {
    append(rendered, before, false);
    append(rendered, mark, false);
    append(rendered, behind, false);
}

/* The answer's beginning: what it thinks, where the prompt has begun that or nothing else is there, then its text. */
static enum clinfer_status append_answer(struct ci_rendered *rendered, const struct ci_reasoning_form *form,
                                         const struct clinfer_message *answer, bool *reasoning_begun) {
    const char *open, *close, *thought = answer->reasoning ? answer->reasoning : "";
    bool known = form && ci_reasoning_marks(form, &open, &close), says = *answer->content != 0;
    if (known && !*reasoning_begun && *thought && !says) {
        append_mark(rendered, "", open, "\n");
        *reasoning_begun = true;
    }
    if (*reasoning_begun) append(rendered, thought, true);
    if (known && *reasoning_begun && says) {
        append_mark(rendered, "\n", close, "\n\n");
        *reasoning_begun = false;
    }
    append(rendered, answer->content, true);
    return rendered->text ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a prompt");
}

static enum clinfer_status from_messages(const struct clinfer_engine *engine, const struct ci_prompt_request *request,
                                         struct ci_prompt *prompt) {
    struct ci_rendered rendered;
    const struct ci_chat_style style = {.add_generation_prompt = !request->no_generation_prompt,
                                        .variables = request->variables};
    size_t count = request->count - request->continue_last;
    double start = ci_trace_start(engine->trace);
    enum clinfer_status status =
        ci_chat_render_in(engine->chat, request->messages, count, request->tools, &style, &rendered);
    const struct ci_reasoning_form *form = ci_chat_reasoning(engine->chat);
    if (status == CLINFER_OK && form && style.add_generation_prompt)
        prompt->reasoning_begun = ci_reasoning_is_begun(form, rendered.text, rendered.length);
    if (status == CLINFER_OK && request->continue_last)
        status = append_answer(&rendered, form, &request->messages[count], &prompt->reasoning_begun);
    if (status == CLINFER_OK)
        status = ci_prompt_tokens(engine->tokenizer, &rendered, request->messages, request->count,
                                  request->parse_special, &prompt->tokens, &prompt->count);
    ci_trace_host(engine->trace, CI_TRACE_TOKENIZER, start);
    prompt->text = rendered.text;
    prompt->length = rendered.length;
    rendered.text = NULL;
    ci_rendered_free(&rendered);
    return status;
}

static enum clinfer_status from_text(const struct clinfer_engine *engine, const char *text, struct ci_prompt *prompt) {
    prompt->length = strlen(text);
    prompt->text = strdup(text);
    if (!prompt->text) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a prompt");
    return clinfer_tokenize(engine, text, prompt->length, true, true, &prompt->tokens, &prompt->count);
}

static enum clinfer_status from_tokens(const struct ci_prompt_request *request, struct ci_prompt *prompt) {
    prompt->tokens = malloc(request->token_count * sizeof *prompt->tokens);
    if (!prompt->tokens) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu tokens", request->token_count);
    memcpy(prompt->tokens, request->tokens, request->token_count * sizeof *prompt->tokens);
    prompt->count = request->token_count;
    return CLINFER_OK;
}

enum clinfer_status ci_engine_prompt(const clinfer_engine *engine, const struct ci_prompt_request *request,
                                     struct ci_prompt *prompt) {
    *prompt = (struct ci_prompt){0};
    if (request->tokens) return from_tokens(request, prompt);
    if (request->raw) return from_text(engine, request->messages[request->count - 1].content, prompt);
    return from_messages(engine, request, prompt);
}

void ci_prompt_free(struct ci_prompt *prompt) {
    free(prompt->tokens);
    free(prompt->text);
    *prompt = (struct ci_prompt){0};
}
