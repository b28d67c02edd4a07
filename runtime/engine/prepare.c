/* prepare.c: what a task's request means for its engine, before anything is computed: the tokens of the prompt, how
 * calls of tools have to look, the grammar of the answer, compiled.
 *
 * A grammar of some megabytes takes seconds, and the runner's thread computes everybody's answers meanwhile: so what
 * may take long is done on a thread of its own, which ends with it. Whoever submits waits for none of it, so that a
 * client that leaves is noticed; nor does a lock. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/status.h"
#include "base/stop.h"
#include "base/threads.h"
#include "engine/engine_private.h"
#include "engine/runner_private.h"
#include "text/tool_grammar.h"
#include "text/tool_prompt.h"

/* A thread costs as much as some thousand bytes of a prompt. */
enum { LONG_PROMPT_BYTES = 16 << 10 };

/* The call's mark, behind the prompt. */
static enum clinfer_status append_mark(const clinfer_engine *engine, const char *mark, struct ci_prepared *prepared) {
    int32_t *tokens = NULL;
    size_t length = 0;
    enum clinfer_status status =
        ci_tokenizer_encode(engine->tokenizer, mark, strlen(mark), CI_TOKENIZER_PARSE_SPECIAL, &tokens, &length);
    int32_t *grown =
        status == CLINFER_OK && length ? realloc(prepared->tokens, (prepared->count + length) * sizeof *grown) : NULL;
    if (grown) {
        memcpy(grown + prepared->count, tokens, length * sizeof *tokens);
        prepared->tokens = grown;
        prepared->count += length;
    } else if (length) {
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu tokens", prepared->count + length);
    }
    free(tokens);
    return status;
}

/* A call has to come. Its grammar is the model's own form, behind the mark that the prompt gets, unless reasoning comes
 * first; what that form cannot hold to the schema comes as a JSON object. */
static enum clinfer_status require_call(struct ci_task *task) {
    const clinfer_engine *engine = task->runner->engine;
    const struct ci_tool_format *format = ci_chat_calls(engine->chat);
    const char *choice = task->request.tool_choice;
    struct ci_prepared *prepared = &task->prepared;
    char *text;
    enum clinfer_grammar_kind kind = CI_GRAMMAR_PIECES;
    enum clinfer_status status =
        ci_tools_pieces(format, task->request.prompt.tools, choice, prepared->reasoning_begun, &text);
    prepared->call_start = prepared->reasoning_begun ? CI_CALL_ANYWHERE : CI_CALL_BEHIND_MARK;
    if (status == CLINFER_UNSUPPORTED) {
        status = ci_tools_schema(task->request.prompt.tools, choice, format->arguments, &text);
        kind = CLINFER_GRAMMAR_JSON_SCHEMA;
        prepared->call_start = CI_CALL_IS_OBJECT;
    }
    if (status != CLINFER_OK) return status;
    task->grammar = (struct clinfer_grammar){.kind = kind, .text = text, .name = "tools"};
    if (prepared->call_start != CI_CALL_BEHIND_MARK) return CLINFER_OK;
    return append_mark(engine, format->marks[0].open, prepared);
}

/* A call may come. From its mark on it is held to the tools' schemas, where the form of calls can be; a grammar of the
 * request's own comes before that. Where nobody tells reasoning apart, marks that a model speaks of there would count.
 */
static enum clinfer_status hold_calls(struct ci_task *task) {
    const struct ci_tool_format *format = ci_chat_calls(task->runner->engine->chat);
    char *text;
    if (task->grammar.text || (!task->request.reasoning && ci_chat_reasoning(task->runner->engine->chat)))
        return CLINFER_OK;
    enum clinfer_status status = ci_tools_pieces(format, task->request.prompt.tools, "auto", false, &text);
    if (status == CLINFER_UNSUPPORTED) {
        if (format->holds) ci_log(CLINFER_LOG_NOTICE, "%s: calls are not held to their schemas", ci_status_message());
        return CLINFER_OK;
    }
    if (status != CLINFER_OK) return status;
    task->grammar = (struct clinfer_grammar){.kind = CI_GRAMMAR_PIECES, .text = text, .name = "tools"};
    task->prepared.mark = format->marks[0].open;
    return CLINFER_OK;
}

/* Where calls that may come cannot be held they are free. */
static enum clinfer_status compile(struct ci_task *task) {
    struct ci_prepared *prepared = &task->prepared;
    if (!task->grammar.text) return CLINFER_OK;
    enum clinfer_status status = ci_compiled_take(task->runner->engine, &task->grammar, &prepared->compiled);
    if (!prepared->mark || (status != CLINFER_UNSUPPORTED && status != CLINFER_INVALID_ARGUMENT)) return status;
    ci_log(CLINFER_LOG_NOTICE, "calls of tools are not held to their schemas: %s", ci_status_message());
    prepared->mark = NULL;
    return CLINFER_OK;
}

static bool stops(void *user) { return ci_task_is_cancelled(user); }

void ci_task_prepare(struct ci_task *task) {
    const struct ci_task_request *request = &task->request;
    struct ci_prepared *prepared = &task->prepared;
    struct ci_prompt prompt;
    ci_stop_by(stops, task);
    enum clinfer_status status = ci_engine_prompt(task->runner->engine, &request->prompt, &prompt);
    *prepared = (struct ci_prepared){.tokens = prompt.tokens,
                                     .count = prompt.count,
                                     .reasoning_begun = prompt.reasoning_begun,
                                     .call_start = CI_CALL_ANYWHERE};
    prompt.tokens = NULL;
    ci_prompt_free(&prompt);
    if (status == CLINFER_OK && request->prompt.tools)
        status = ci_tool_choice_requires(request->tool_choice) ? require_call(task) : hold_calls(task);
    if (status == CLINFER_OK) status = compile(task);
    ci_stop_by(NULL, NULL);
    prepared->status = status;
    if (status != CLINFER_OK) snprintf(task->message, sizeof task->message, "%s", ci_status_message());
}

/* The runner's thread looks at nothing of the task meanwhile, and its engine stays: the task waits. */
static void *work(void *argument) {
    struct ci_task *task = argument;
    struct ci_runner *runner = task->runner;
    ci_task_prepare(task);
    pthread_mutex_lock(&runner->lock);
    task->preparation = CI_PREPARATION_DONE;
    pthread_cond_broadcast(&runner->changed);
    pthread_mutex_unlock(&runner->lock);
    return NULL;
}

bool ci_task_prepare_aside(struct ci_task *task) {
    const struct ci_task_request *request = &task->request;
    bool takes_long = task->grammar.text || request->prompt.tools || task->message_bytes > LONG_PROMPT_BYTES;
    pthread_t thread;
    if (!takes_long || task->preparation != CI_PREPARATION_WAITS) return false;
    task->preparation = CI_PREPARATION_RUNS;
    if (ci_threads_start(&thread, work, task) == 0) {
        pthread_detach(thread);
        return true;
    }
    task->preparation = CI_PREPARATION_WAITS;
    return false;
}
