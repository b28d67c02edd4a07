/* chat.c: the conversation on a terminal. Each turn hands over all messages again; what its place has computed of them
 * already is not computed again.
 *
 * Lines come from editor.h. Ctrl-C ends an answer (interrupt.h); at the prompt, twice in a row, it leaves. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/editor.h"
#include "cli/interrupt.h"
#include "cli/run.h"

struct chat {
    struct ci_run_state *run;
    clinfer_conversation *conversation;
    struct clinfer_message *messages; /* contents and tokens are owned, roles not */
    size_t count;
    struct ci_kept_text answer, reasoning; /* what the assistant says, and thinks, now */
    double asked_at, first_text_after;
    int exit_status; /* of the first message that was not answered */
};

static bool add_message(struct chat *chat, const char *role, const char *content) {
    struct clinfer_message *grown = realloc(chat->messages, (chat->count + 1) * sizeof *grown);
    if (!grown) return false;
    chat->messages = grown;
    char *copy = strdup(content);
    if (!copy) return false;
    chat->messages[chat->count++] = (struct clinfer_message){.role = role, .content = copy};
    return true;
}

/* So that the next turn finds in the KV cache what this one has computed. */
static bool keep_tokens(struct clinfer_message *message, const struct clinfer_result *result) {
    size_t count = result->tokens ? result->generated_tokens - result->reasoning_tokens : 0;
    int32_t *copy = count ? malloc(count * sizeof *copy) : NULL;
    if (!copy) return count == 0;
    message->tokens = memcpy(copy, result->tokens + result->reasoning_tokens, count * sizeof *copy);
    message->token_count = count;
    return true;
}

static bool keep_reasoning(struct chat *chat, const char *text) {
    chat->messages[chat->count - 1].reasoning = strdup(text);
    return chat->messages[chat->count - 1].reasoning != NULL;
}

/* What a model says need not be UTF-8, which chat templates want. */
static bool add_answer(struct chat *chat, const struct clinfer_result *result) {
    json_t *text = ci_json_text(chat->answer.length ? chat->answer.text : "", chat->answer.length);
    json_t *thought = ci_json_text(chat->reasoning.length ? chat->reasoning.text : "", chat->reasoning.length);
    bool added = text && thought && add_message(chat, "assistant", json_string_value(text)) &&
                 keep_tokens(&chat->messages[chat->count - 1], result) &&
                 (!chat->reasoning.length || keep_reasoning(chat, json_string_value(thought)));
    json_decref(text);
    json_decref(thought);
    return added;
}

/* The messages from `at`, so many of them. */
static void remove_messages(struct chat *chat, size_t at, size_t count) {
    if (count == 0) return; /* there may be no messages at all */
    for (size_t i = at; i < at + count; i++) {
        free((char *)(uintptr_t)chat->messages[i].content);
        free((char *)(uintptr_t)chat->messages[i].reasoning);
        free((int32_t *)(uintptr_t)chat->messages[i].tokens);
    }
    memmove(chat->messages + at, chat->messages + at + count, (chat->count - at - count) * sizeof *chat->messages);
    chat->count -= count;
}

static size_t system_messages(const struct chat *chat) { return chat->run->system ? 1 : 0; }

static bool on_text(void *user, const char *text, size_t length) {
    struct chat *chat = user;
    if (chat->first_text_after < 0) chat->first_text_after = ci_seconds() - chat->asked_at;
    ci_progress(NULL);
    ci_think(NULL, 0);
    ci_print(text, length);
    ci_flush();
    return ci_keep_text(&chat->answer, text, length) && !ci_output_failed();
}

static bool on_reasoning(void *user, const char *text, size_t length) {
    struct chat *chat = user;
    if (chat->first_text_after < 0) chat->first_text_after = ci_seconds() - chat->asked_at;
    if (ci_run_shows_thinking(chat->run)) ci_think(text, length);
    return ci_keep_text(&chat->reasoning, text, length);
}

static enum clinfer_status generate(struct chat *chat, const struct clinfer_route **route) {
    const struct clinfer_chat_request request =
        ci_run_request(chat->run, chat->messages, chat->count, on_text, on_reasoning, chat);
    chat->answer.length = chat->reasoning.length = 0;
    chat->asked_at = ci_seconds();
    chat->first_text_after = -1;
    *route = NULL;
    enum clinfer_status status = ci_run_submit(chat->conversation, &request);
    return status == CLINFER_OK ? ci_run_wait(chat->conversation, route) : status;
}

static void failed(struct chat *chat, int exit_status) {
    if (!chat->exit_status) chat->exit_status = exit_status;
}

/* Answers the last message. A failure takes the message back, so that the conversation stays one that works. */
static void answer(struct chat *chat) {
    const struct clinfer_route *route;
    enum clinfer_status status = generate(chat, &route);
    size_t first = system_messages(chat);
    while (status == CLINFER_CONTEXT_FULL && chat->run->shift && chat->count > first + 2) {
        remove_messages(chat, first, 2);
        status = generate(chat, &route);
    }
    ci_think(NULL, 0);
    if (chat->answer.length && chat->answer.text[chat->answer.length - 1] != '\n') ci_print("\n", 1);
    ci_flush();
    if (status != CLINFER_OK) {
        failed(chat, ci_complain(status));
        if (status == CLINFER_CONTEXT_FULL) ci_say("/clear begins a new conversation");
        remove_messages(chat, chat->count - 1, 1);
        return;
    }
    size_t before = chat->count;
    if (!add_answer(chat, &route->result)) {
        failed(chat, ci_refuse(CLINFER_OUT_OF_MEMORY, "the conversation: out of memory"));
        remove_messages(chat, before - 1, chat->count - before + 1);
        return;
    }
    if (route->result.finish == CLINFER_FINISH_CANCELLED) ci_say("stopped");
    ci_run_look(chat->run);
    if (route->result.finish == CLINFER_FINISH_CONTEXT)
        ci_warn("the context of %d tokens is full; /clear begins a new conversation", chat->run->info.context);
    if (route->fell_back) ci_warn("%s", route->text);
    ci_report_timings(&route->result, chat->first_text_after > 0 ? chat->first_text_after : 0);
}

/* One message: a line, or several when each but the last ends with a backslash. False at the end of the input. */
static bool read_message(struct ci_editor *editor, struct ci_kept_text *message) {
    bool left = false;
    message->length = 0;
    while (true) {
        enum ci_editor_event event = ci_editor_read(editor, message->length > 0, message);
        if (event == CI_EDITOR_NO_MEMORY) ci_refuse(CLINFER_OUT_OF_MEMORY, "the message: out of memory");
        if (event == CI_EDITOR_LINE) {
            left = false;
            if (!message->length || message->text[message->length - 1] != '\\') return true;
            message->text[message->length - 1] = '\n';
        } else if (event == CI_EDITOR_INTERRUPTED && !left) {
            ci_interrupt_clear();
            ci_tell("\nCtrl-C again or Ctrl-D leaves the chat\n");
            left = true;
            message->length = 0;
        } else {
            return false;
        }
    }
}

static void help(void) {
    ci_tell("/clear begins a new conversation, /exit leaves (so does Ctrl-D), Ctrl-C stops an answer;\n"
            "a line that ends with \\ goes on in the next; Alt-Enter and what is pasted break lines too\n");
}

/* Whether the chat goes on. */
static bool take_message(struct chat *chat, const char *message) {
    if (strcmp(message, "/exit") == 0) return false;
    if (strcmp(message, "/help") == 0) {
        help();
    } else if (strcmp(message, "/clear") == 0) {
        remove_messages(chat, system_messages(chat), chat->count - system_messages(chat));
        ci_say("a new conversation");
    } else if (message[0] == '/' && message[1] && !strpbrk(message + 1, "/ ")) {
        ci_tell("clinfer: unknown command %s; there are /clear, /exit and /help\n", ci_one_line(message));
    } else if (message[strspn(message, " \t\r\n")]) {
        if (!add_message(chat, "user", message)) return false;
        answer(chat);
    }
    return !ci_output_failed();
}

/* As what was typed says it: with escapes read, where that was asked for. A zero would end it early: false, and said.
 */
static bool complete_message(struct chat *chat, struct ci_kept_text *message) {
    if (!message->length) return true;
    if (chat->run->sources.escape) message->length = ci_prompts_unescape(message->text, message->length);
    size_t text = strlen(message->text);
    if (text == message->length) return true;
    failed(chat, ci_refuse(CLINFER_INVALID_ARGUMENT,
                           "byte %zu of the message is zero; it was not sent: a message is text", text));
    return false;
}

/* Those of the command line. */
static bool answer_prompts(struct chat *chat, const struct ci_prompts *prompts) {
    for (size_t i = 0; i < prompts->count && !ci_output_failed(); i++) {
        const struct ci_prompt *prompt = &prompts->items[i];
        size_t text = strlen(prompt->text);
        if (text < prompt->length) {
            failed(chat,
                   ci_refuse(CLINFER_INVALID_ARGUMENT, "%s: byte %zu is zero; a prompt is text", prompt->name, text));
            continue;
        }
        if (!add_message(chat, "user", prompt->text)) return false;
        answer(chat);
        ci_interrupt_clear();
    }
    return !ci_output_failed();
}

/* Until somebody leaves. */
static void converse(struct chat *chat, struct ci_editor *editor) {
    struct ci_kept_text message = {0};
    for (bool on = true; on;) {
        on = read_message(editor, &message);
        if (on) {
            ci_editor_remember(editor, message.text, message.length);
            if (complete_message(chat, &message)) on = take_message(chat, message.length ? message.text : "");
        }
        ci_interrupt_clear();
    }
    free(message.text);
}

int ci_chat(struct ci_run_state *run, const struct ci_prompts *prompts) {
    struct chat chat = {.run = run};
    enum clinfer_status status = clinfer_conversation_create(run->router, &run->session, &chat.conversation);
    if (status != CLINFER_OK) return ci_complain(status);
    bool terminal = isatty(STDIN_FILENO), ready = !run->system || add_message(&chat, "system", run->system);
    struct ci_editor *editor = ready ? ci_editor_open(!run->no_history) : NULL;
    if (editor && terminal) help();
    ready = editor && answer_prompts(&chat, prompts);
    if (ready)
        converse(&chat, editor);
    else if (!ci_output_failed())
        ci_refuse(CLINFER_OUT_OF_MEMORY, "the conversation: out of memory");
    ci_editor_close(editor);
    if (terminal) ci_tell("\n");
    clinfer_conversation_destroy(chat.conversation);
    remove_messages(&chat, 0, chat.count);
    free(chat.messages);
    free(chat.answer.text);
    free(chat.reasoning.text);
    /* Somebody who types has seen what failed, and gone on. */
    if (!ready && !ci_output_failed()) return ci_exit_status(CLINFER_OUT_OF_MEMORY);
    return terminal ? 0 : chat.exit_status;
}
