/* tasks.c: what those who wait do with tasks of a runner: give them to it, wait, look at them, take them back. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "engine/runner_private.h"

enum clinfer_status ci_messages_check(const struct clinfer_message *messages, size_t count) {
    if (count && !messages) return ci_fail(CLINFER_INVALID_ARGUMENT, "the messages are NULL, their count %zu", count);
    for (size_t i = 0; i < count; i++) {
        if (!messages[i].role || !messages[i].content)
            return ci_fail(CLINFER_INVALID_ARGUMENT, "message %zu: its %s is NULL", i,
                           messages[i].role ? "content" : "role");
        if (messages[i].tokens && messages[i].token_count > INT32_MAX)
            return ci_fail(CLINFER_INVALID_ARGUMENT, "message %zu: its token_count is %zu; at most %d are possible", i,
                           messages[i].token_count, INT32_MAX);
    }
    return CLINFER_OK;
}

static size_t token_bytes(const struct clinfer_message *message) {
    return message->tokens ? message->token_count * sizeof *message->tokens : 0;
}

struct clinfer_message *ci_messages_copy(const struct clinfer_message *messages, size_t count) {
    size_t bytes = count * sizeof *messages;
    for (size_t i = 0; i < count; i++)
        bytes += token_bytes(&messages[i]) + strlen(messages[i].role) + strlen(messages[i].content) + 2 +
                 (messages[i].reasoning ? strlen(messages[i].reasoning) + 1 : 0);
    struct clinfer_message *copy = malloc(bytes ? bytes : 1);
    if (!copy) return NULL;
    /* Behind the messages what wants to be aligned, then the texts. */
    int32_t *tokens = (int32_t *)(void *)(copy + count);
    for (size_t i = 0; i < count; i++) {
        copy[i] = messages[i];
        if (!messages[i].tokens) continue;
        copy[i].tokens = memcpy(tokens, messages[i].tokens, token_bytes(&messages[i]));
        tokens += messages[i].token_count;
    }
    char *text = (char *)tokens;
    for (size_t i = 0; i < count; i++) {
        copy[i].role = text;
        text = stpcpy(text, messages[i].role) + 1;
        copy[i].content = text;
        text = stpcpy(text, messages[i].content) + 1;
        if (!messages[i].reasoning) continue;
        copy[i].reasoning = text;
        text = stpcpy(text, messages[i].reasoning) + 1;
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

enum clinfer_status ci_task_submit(struct ci_runner *runner, const struct ci_task_request *request,
                                   struct ci_seat **seat, struct ci_task **out) {
    size_t begun = request->begun_count;
    struct ci_task *task = calloc(1, sizeof *task);
    *out = NULL;
    bool new_seat = !*seat;
    if (new_seat) *seat = calloc(1, sizeof **seat);
    if (task) task->messages = ci_messages_copy(request->messages, request->count);
    if (task) task->tokens = malloc((begun + 1) * sizeof *task->tokens);
    if (!task || !*seat || !task->messages || !task->tokens || !copy_grammar(request->grammar, &task->grammar)) {
        if (task) ci_task_free(task);
        if (new_seat) free(*seat);
        if (new_seat) *seat = NULL;
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a request");
    }
    task->runner = runner;
    task->seat = *seat;
    task->request = *request;
    task->request.messages = NULL;
    task->request.begun = NULL;
    task->request.grammar = NULL;
    if (begun) memcpy(task->tokens, request->begun, begun * sizeof *task->tokens);
    task->token_count = begun;
    task->text_bytes = request->text_bytes;
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

const int32_t *ci_task_tokens(struct ci_task *task, size_t *count, size_t *text_bytes) {
    pthread_mutex_lock(&task->runner->lock);
    *count = task->token_count;
    *text_bytes = task->text_bytes;
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
