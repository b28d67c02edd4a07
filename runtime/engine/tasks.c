/* tasks.c: what those who wait do with tasks of a runner: give them to it, wait, look at them, take them back. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "engine/runner_private.h"

struct ci_cancel *ci_cancel_create(void) {
    struct ci_cancel *cancel = malloc(sizeof *cancel);
    if (!cancel) return NULL;
    atomic_init(&cancel->wanted, false);
    atomic_init(&cancel->owners, 1);
    return cancel;
}

void ci_cancel_release(struct ci_cancel *cancel) {
    if (cancel && atomic_fetch_sub(&cancel->owners, 1) == 1) free(cancel);
}

enum clinfer_status ci_messages_check(const struct clinfer_message *messages, size_t count) {
    if (count && !messages) return ci_fail(CLINFER_INVALID_ARGUMENT, "the messages are NULL, their count %zu", count);
    for (size_t i = 0; i < count; i++) {
        if (!messages[i].role || !messages[i].content)
            return ci_fail(CLINFER_INVALID_ARGUMENT, "message %zu: its %s is NULL", i,
                           messages[i].role ? "content" : "role");
        if (messages[i].tokens && messages[i].token_count > INT32_MAX)
            return ci_fail(CLINFER_INVALID_ARGUMENT, "message %zu: its token_count is %zu; at most %d are possible", i,
                           messages[i].token_count, INT32_MAX);
        if (messages[i].call_count && !messages[i].calls)
            return ci_fail(CLINFER_INVALID_ARGUMENT, "message %zu: its calls are NULL, their count %zu", i,
                           messages[i].call_count);
        for (size_t j = 0; j < messages[i].call_count; j++)
            if (!messages[i].calls[j].name || !messages[i].calls[j].arguments)
                return ci_fail(CLINFER_INVALID_ARGUMENT, "message %zu: the %s of call %zu is NULL", i,
                               messages[i].calls[j].name ? "arguments" : "name", j);
    }
    return CLINFER_OK;
}

static size_t token_bytes(const struct clinfer_message *message) {
    return message->tokens ? message->token_count * sizeof *message->tokens : 0;
}

static size_t text_bytes(const char *text) { return text ? strlen(text) + 1 : 0; }

static size_t message_bytes(const struct clinfer_message *message) {
    size_t bytes = sizeof *message + token_bytes(message) + text_bytes(message->role) + text_bytes(message->content) +
                   text_bytes(message->reasoning) + text_bytes(message->call_id) + text_bytes(message->tool);
    for (size_t i = 0; i < message->call_count; i++)
        bytes += sizeof *message->calls + text_bytes(message->calls[i].id) + text_bytes(message->calls[i].name) +
                 text_bytes(message->calls[i].arguments);
    return bytes;
}

/* To *end, which moves on. */
static const char *copy_text(char **end, const char *text) {
    char *copy = *end;
    if (!text) return NULL;
    *end = stpcpy(copy, text) + 1;
    return copy;
}

static void copy_texts(char **end, struct clinfer_message *message, struct clinfer_tool_call *calls) {
    message->role = copy_text(end, message->role);
    message->content = copy_text(end, message->content);
    message->reasoning = copy_text(end, message->reasoning);
    message->call_id = copy_text(end, message->call_id);
    message->tool = copy_text(end, message->tool);
    for (size_t i = 0; i < message->call_count; i++)
        calls[i] = (struct clinfer_tool_call){.id = copy_text(end, message->calls[i].id),
                                              .name = copy_text(end, message->calls[i].name),
                                              .arguments = copy_text(end, message->calls[i].arguments)};
    message->calls = message->call_count ? calls : NULL;
}

static size_t bytes_of(const struct clinfer_message *messages, size_t count) {
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) bytes += message_bytes(&messages[i]);
    return bytes;
}

struct clinfer_message *ci_messages_copy(const struct clinfer_message *messages, size_t count) {
    size_t bytes = bytes_of(messages, count), call_count = 0;
    for (size_t i = 0; i < count; i++) call_count += messages[i].call_count;
    struct clinfer_message *copy = malloc(bytes ? bytes : 1);
    if (!copy) return NULL;
    /* Behind the messages what wants to be aligned, then the texts. */
    struct clinfer_tool_call *calls = (struct clinfer_tool_call *)(void *)(copy + count);
    int32_t *tokens = (int32_t *)(void *)(calls + call_count);
    for (size_t i = 0; i < count; i++) {
        copy[i] = messages[i];
        if (!messages[i].tokens) continue;
        copy[i].tokens = memcpy(tokens, messages[i].tokens, token_bytes(&messages[i]));
        tokens += messages[i].token_count;
    }
    char *text = (char *)tokens;
    for (size_t i = 0; i < count; i++) {
        copy_texts(&text, &copy[i], calls);
        calls += copy[i].call_count;
    }
    return copy;
}

/* Its texts in one block: the name behind the text. */
static bool copy_grammar(const struct clinfer_grammar *from, struct clinfer_grammar *to) {
    if (!from || !from->text) return true;
    const char *name = from->name ? from->name : "";
    size_t bytes = strlen(from->text) + 1;
    char *block = malloc(bytes + strlen(name) + 1);
    if (!block) return false;
    memcpy(block, from->text, bytes);
    strcpy(block + bytes, name);
    *to = *from;
    to->text = block;
    to->name = from->name ? block + bytes : NULL;
    return true;
}

/* Copies what the request points to into the task, which has the rest of it already. false: memory is out. */
static bool copy_request(struct ci_task *task, const struct ci_task_request *request) {
    const struct ci_prompt_request *prompt = &request->prompt;
    struct ci_task_request *own = &task->request;
    own->prompt.messages = NULL;
    own->prompt.tokens = NULL;
    own->prompt.tools = own->prompt.variables = NULL;
    own->tool_choice = NULL;
    own->grammar = NULL;
    own->begun = NULL;
    if (own->cancel) atomic_fetch_add(&own->cancel->owners, 1);
    task->messages = ci_messages_copy(prompt->messages, prompt->count);
    task->tokens = malloc((request->begun_count + 1) * sizeof *task->tokens);
    if (!task->messages || !task->tokens) return false;
    own->prompt.messages = task->messages;
    task->message_bytes = bytes_of(task->messages, prompt->count);
    if (request->begun_count) memcpy(task->tokens, request->begun, request->begun_count * sizeof *task->tokens);
    if (prompt->tokens) {
        task->prompt = malloc((prompt->token_count + 1) * sizeof *task->prompt);
        if (!task->prompt) return false;
        memcpy(task->prompt, prompt->tokens, prompt->token_count * sizeof *task->prompt);
        own->prompt.tokens = task->prompt;
    }
    own->prompt.tools = json_deep_copy(prompt->tools);
    own->prompt.variables = json_deep_copy(prompt->variables);
    if (!own->prompt.tools != !prompt->tools || !own->prompt.variables != !prompt->variables) return false;
    if (prompt->tools && request->tool_choice && !(own->tool_choice = strdup(request->tool_choice))) return false;
    return copy_grammar(request->grammar, &task->grammar) &&
           ci_sampler_copy_options(&request->sampling, &own->sampling, &task->sampling);
}

enum clinfer_status ci_task_submit(struct ci_runner *runner, const struct ci_task_request *request,
                                   struct ci_seat **seat, struct ci_task **out) {
    struct ci_task *task = calloc(1, sizeof *task);
    *out = NULL;
    bool new_seat = !*seat;
    if (new_seat) *seat = calloc(1, sizeof **seat);
    if (task) task->request = *request;
    bool copied = task && copy_request(task, request);
    if (!copied || !*seat) {
        if (task) ci_task_free(task);
        if (new_seat) free(*seat);
        if (new_seat) *seat = NULL;
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a request");
    }
    task->runner = runner;
    task->seat = *seat;
    task->token_count = request->begun_count;
    task->text_bytes = request->text_bytes;
    task->memory = request->memory;
    atomic_init(&task->cancel, false);
    pthread_mutex_lock(&runner->lock);
    runner->seats += new_seat;
    struct ci_task **end = &runner->tasks;
    while (*end) end = &(*end)->next;
    *end = task;
    pthread_cond_broadcast(&runner->changed);
    pthread_mutex_unlock(&runner->lock);
    *out = task;
    return CLINFER_OK;
}

void ci_task_wait(struct ci_task *task, double seconds, const struct ci_watch_limits *limits,
                  struct ci_task_view *view) {
    struct ci_runner *runner = task->runner;
    double until = ci_now() + seconds;
    *view = (struct ci_task_view){0};
    pthread_mutex_lock(&runner->lock);
    while (task->state != CI_TASK_DONE && !runner->abandoned && ci_now() < until)
        ci_runner_wait_for_change(runner, until);
    view->state = task->state;
    view->opening = !runner->opened;
    view->of_model = task->of_model;
    view->of_engine = task->of_engine;
    view->status = task->status;
    view->result = task->result;
    view->computed = task->computed;
    view->prompt_tokens = task->prompt_tokens;
    view->hangs =
        task->state != CI_TASK_DONE && (ci_runner_is_silent(runner, limits, &view->silent) || runner->abandoned);
    if (task->state == CI_TASK_DONE && task->status != CLINFER_OK) ci_fail(task->status, "%s", task->message);
    pthread_mutex_unlock(&runner->lock);
}

void ci_task_cancel(struct ci_task *task) { atomic_store(&task->cancel, true); }

const int32_t *ci_task_tokens(struct ci_task *task, size_t *count, size_t *text_bytes,
                              struct ci_sampler_memory *memory) {
    pthread_mutex_lock(&task->runner->lock);
    *count = task->token_count;
    *text_bytes = task->text_bytes;
    *memory = task->memory;
    pthread_mutex_unlock(&task->runner->lock);
    return task->tokens;
}

/* What an abandoned runner may still touch is its own for ever. */
void ci_task_release(struct ci_task *task) {
    if (!task) return;
    struct ci_runner *runner = task->runner;
    pthread_mutex_lock(&runner->lock);
    bool done = task->state == CI_TASK_DONE;
    task->released = true;
    pthread_mutex_unlock(&runner->lock);
    if (done) ci_task_free(task);
}

void ci_seat_release(struct ci_runner *runner, struct ci_seat *seat) {
    if (!seat) return;
    pthread_mutex_lock(&runner->lock);
    seat->next = runner->leaving;
    runner->leaving = seat;
    pthread_cond_broadcast(&runner->changed);
    pthread_mutex_unlock(&runner->lock);
}
