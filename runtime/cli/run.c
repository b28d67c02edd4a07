/* run.c: `clinfer run`: answers one prompt, or several in the same steps of one engine, or chats.
 *
 * Prompts that run together have a session each, --parallel of them at a time; they are submitted before the first is
 * waited for, and answers come out in the order of the prompts: the one whose turn it is streams, the others are kept
 * until their turn. Their text comes from the threads of engines: text_lock. */
#define _GNU_SOURCE
#include "cli/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/options.h"

/* ---- requests ---- */

void ci_run_look(struct ci_run_state *run) {
    struct clinfer_engine_info *info = &run->info;
    run->engine = clinfer_router_engine(run->router);
    if (!run->engine) return;
    clinfer_engine_get_info(run->engine, info);
    const char **const texts[] = {&info->model_name, &info->architecture, &info->device, &info->tuning};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        free(run->info_texts[i]);
        run->info_texts[i] = strdup(*texts[i]);
        *texts[i] = run->info_texts[i] ? run->info_texts[i] : "";
    }
}

/* A prompt that takes long, one of several steps: how much of it is computed. */
static void on_progress(void *user, size_t done, size_t total) {
    char text[96];
    (void)user;
    if (done == total) return;
    snprintf(text, sizeof text, "prompt: %zu of %zu tokens", done, total);
    ci_progress(text);
}

struct clinfer_chat_request ci_run_request(const struct ci_run_state *run, const struct clinfer_message *messages,
                                           size_t count, clinfer_text_callback *callback,
                                           clinfer_text_callback *reasoning, void *user) {
    return (struct clinfer_chat_request){.messages = messages,
                                         .count = count,
                                         .raw = run->raw,
                                         .parse_special = run->parse_special,
                                         .max_tokens = (int)run->predict,
                                         .ignore_end = run->ignore_end,
                                         .deadline_seconds = run->deadline_seconds,
                                         .stop = run->stop.items,
                                         .stop_count = run->stop.count,
                                         .grammar = run->grammar,
                                         .tools = run->tools,
                                         .tool_choice = run->tool_choice,
                                         .callback = callback,
                                         .reasoning = reasoning,
                                         .user = user,
                                         .progress = on_progress};
}

bool ci_run_shows_thinking(const struct ci_run_state *run) {
    return run->show_thinking || (!run->hide_thinking && !run->log.quiet && isatty(STDERR_FILENO));
}

static void cancel(void *conversation) { clinfer_chat_cancel(conversation); }

enum clinfer_status ci_run_submit(clinfer_conversation *conversation, const struct clinfer_chat_request *request) {
    enum clinfer_status status = clinfer_chat_submit(conversation, request);
    if (status == CLINFER_OK) ci_interrupt_watch(conversation, cancel);
    return status;
}

enum clinfer_status ci_run_wait(clinfer_conversation *conversation, const struct clinfer_route **route) {
    enum clinfer_status status = clinfer_chat_wait(conversation, route);
    ci_interrupt_unwatch(conversation);
    ci_progress(NULL);
    return status;
}

/* ---- one answer ---- */

static bool append_text(struct ci_answer *answer, struct ci_kept_text *kept, const char *text, size_t length) {
    if (ci_keep_text(kept, text, length)) return true;
    answer->status = CLINFER_OUT_OF_MEMORY;
    snprintf(answer->message, sizeof answer->message, "out of memory after %zu bytes of text", answer->text.length);
    return false;
}

static bool on_text(void *user, const char *text, size_t length) {
    struct ci_answer *answer = user;
    pthread_mutex_lock(&answer->run->text_lock);
    if (answer->first_text_at == 0) answer->first_text_at = ci_seconds() - answer->run->started;
    if (answer->live) {
        ci_progress(NULL);
        ci_think(NULL, 0);
        ci_print(text, length);
        ci_flush();
    }
    bool goes_on = append_text(answer, &answer->text, text, length) && !ci_output_failed();
    pthread_mutex_unlock(&answer->run->text_lock);
    return goes_on;
}

static bool on_reasoning(void *user, const char *text, size_t length) {
    struct ci_answer *answer = user;
    pthread_mutex_lock(&answer->run->text_lock);
    if (answer->first_text_at == 0) answer->first_text_at = ci_seconds() - answer->run->started;
    if (answer->live && ci_run_shows_thinking(answer->run)) ci_think(text, length);
    bool goes_on = append_text(answer, &answer->reasoning, text, length);
    pthread_mutex_unlock(&answer->run->text_lock);
    return goes_on;
}

/* An answer of calls alone has come, too. */
static bool on_call(void *user, const struct clinfer_tool_call_piece *piece) {
    struct ci_answer *answer = user;
    (void)piece;
    pthread_mutex_lock(&answer->run->text_lock);
    if (answer->first_text_at == 0) answer->first_text_at = ci_seconds() - answer->run->started;
    pthread_mutex_unlock(&answer->run->text_lock);
    return true;
}

static void failed(struct ci_answer *answer, enum clinfer_status status) {
    answer->status = status;
    snprintf(answer->message, sizeof answer->message, "%s", clinfer_error());
}

static void submit(struct ci_answer *answer) {
    struct ci_run_state *run = answer->run;
    struct clinfer_message messages[2] = {{.role = "system", .content = run->system},
                                          {.role = "user", .content = answer->prompt->text}};
    size_t skipped = run->system ? 0 : 1;
    if (strlen(answer->prompt->text) != answer->prompt->length) {
        answer->status = CLINFER_INVALID_ARGUMENT;
        snprintf(answer->message, sizeof answer->message, "%.200s: byte %zu is zero; a prompt is text",
                 answer->prompt->name, strlen(answer->prompt->text));
        return;
    }
    enum clinfer_status status = clinfer_conversation_create(run->router, &run->session, &answer->conversation);
    struct clinfer_chat_request request =
        ci_run_request(run, messages + skipped, 2 - skipped, on_text, on_reasoning, answer);
    request.call = on_call;
    if (status == CLINFER_OK) status = ci_run_submit(answer->conversation, &request);
    answer->submitted = status == CLINFER_OK;
    if (status != CLINFER_OK) failed(answer, status);
}

static void keep_tokens(struct ci_answer *answer, const struct clinfer_result *result) {
    size_t bytes = result->tokens ? result->generated_tokens * sizeof *answer->tokens : 0;
    answer->result = *result;
    if (bytes && (answer->tokens = malloc(bytes))) memcpy(answer->tokens, result->tokens, bytes);
    answer->result.tokens = answer->tokens;
    answer->calls = ci_report_calls(result);
    answer->result.calls = NULL;
    if (result->logprobs && answer->run->json)
        answer->logprobs =
            ci_report_logprobs(clinfer_router_engine(answer->run->router), result, answer->run->session.logprobs);
    if (result->remote_logprobs && answer->run->json)
        answer->logprobs = ci_report_remote_logprobs(result, answer->run->session.logprobs);
    answer->result.logprobs = NULL;
    answer->result.remote_logprobs = NULL;
}

/* Waits, keeps what is needed of the conversation and lets it go. */
static void finish(struct ci_answer *answer) {
    const struct clinfer_route *route = NULL;
    if (answer->submitted) {
        enum clinfer_status status = ci_run_wait(answer->conversation, &route);
        if (status != CLINFER_OK && answer->status == CLINFER_OK) failed(answer, status);
    }
    if (route) {
        keep_tokens(answer, &route->result);
        answer->partial = route->partial;
        answer->route = ci_report_route_json(route);
        if (!answer->run->json) answer->route_said = route->fell_back ? strdup(route->text) : NULL;
    }
    clinfer_conversation_destroy(answer->conversation);
    answer->conversation = NULL;
}

/* Its turn has come: what it has said so far, and from now on as it comes. */
static void go_live(struct ci_answer *answer, size_t index, size_t count) {
    if (count > 1) ci_say("[%zu/%zu] %s", index + 1, count, answer->prompt->name);
    pthread_mutex_lock(&answer->run->text_lock);
    if (answer->reasoning.length && ci_run_shows_thinking(answer->run))
        ci_think(answer->reasoning.text, answer->reasoning.length);
    if (answer->text.length) ci_think(NULL, 0);
    ci_print(answer->text.text, answer->text.length);
    ci_flush();
    answer->live = true;
    pthread_mutex_unlock(&answer->run->text_lock);
}

static int complain(const struct ci_answer *answer) {
    return ci_refuse(answer->status, "%s%s", answer->partial ? "the answer is only the beginning of one: " : "",
                     answer->message);
}

static int exit_status_of(const struct ci_answer *answer) {
    bool cancelled = answer->status == CLINFER_OK && answer->result.finish == CLINFER_FINISH_CANCELLED;
    return ci_exit_status(cancelled ? CLINFER_CANCELLED : answer->status);
}

/* Each call a line of its own, its arguments as an object where they are whole. */
static void print_calls(const json_t *calls) {
    size_t i;
    json_t *call;
    json_array_foreach(calls, i, call) {
        json_t *function = json_object_get(call, "function");
        json_t *arguments = json_loads(json_string_value(json_object_get(function, "arguments")), 0, NULL);
        if (arguments) json_object_set_new(function, "arguments", arguments);
        char *text = json_dumps(function, 0);
        if (text) ci_printf("%s\n", text);
        free(text);
    }
}

/* Behind the answer; returns the exit status. */
static int conclude(struct ci_answer *answer) {
    const struct ci_kept_text *text = &answer->text;
    ci_think(NULL, 0);
    if (text->length && text->text[text->length - 1] != '\n') ci_print("\n", 1);
    print_calls(answer->calls);
    ci_flush();
    if (answer->status != CLINFER_OK) return complain(answer);
    if (ci_output_failed()) return 0;
    if (answer->route_said) ci_warn("%s", answer->route_said);
    if (answer->result.finish == CLINFER_FINISH_CONTEXT)
        ci_warn("the answer ends because the context of %d tokens is full; %s--context-shift goes on",
                answer->run->info.context,
                answer->run->info.context < answer->run->info.model_context ? "-c makes it larger, " : "");
    if (!text->length && !answer->calls && answer->reasoning.length && answer->result.finish == CLINFER_FINISH_LENGTH)
        ci_warn("all %zu tokens are what the model thinks, it has not answered yet; a larger -n lets it",
                answer->result.generated_tokens);
    if (answer->result.finish != CLINFER_FINISH_CANCELLED) return 0;
    ci_say("cancelled");
    return ci_exit_status(CLINFER_CANCELLED);
}

/* ---- all prompts ---- */

static json_t *all_json(struct ci_run_state *run, const struct ci_answer *answers, size_t count) {
    json_t *object;
    if (count == 1) {
        object = ci_report_answer(answers);
    } else {
        json_t *results = json_array();
        for (size_t i = 0; i < count; i++) json_array_append_new(results, ci_report_answer(&answers[i]));
        object = json_object();
        json_object_set_new(object, "results", results);
    }
    ci_report_engine(run, object);
    if (run->explain && run->engine) {
        json_t *plans = NULL;
        if (ci_explain_json(run->engine, &plans) == CLINFER_OK) json_object_set_new(object, "explain", plans);
    }
    enum clinfer_status status = CLINFER_OK;
    json_t *profile = run->record.profile && run->engine ? ci_record_json(run->engine, &status) : NULL;
    if (profile) json_object_set_new(object, "profile", profile);
    if (status != CLINFER_OK) ci_complain(status);
    return object;
}

static int answer_all(struct ci_run_state *run, const struct ci_prompts *prompts) {
    struct ci_answer *answers = calloc(prompts->count, sizeof *answers);
    if (!answers) return ci_refuse(CLINFER_OUT_OF_MEMORY, "%zu prompts: out of memory", prompts->count);
    int exit_status = 0;
    size_t submitted = 0, answered = 0;
    for (size_t i = 0; i < prompts->count && !ci_output_failed(); i++) {
        for (; submitted < prompts->count && submitted < i + (size_t)run->parallel && !ci_interrupted(); submitted++) {
            answers[submitted].run = run;
            answers[submitted].prompt = &prompts->items[submitted];
            submit(&answers[submitted]);
        }
        if (i == submitted) break; /* interrupted */
        if (!run->json) go_live(&answers[i], i, prompts->count);
        finish(&answers[i]);
        answered = i + 1;
        int one = run->json ? exit_status_of(&answers[i]) : conclude(&answers[i]);
        if (run->json && answers[i].status != CLINFER_OK) complain(&answers[i]);
        if (!exit_status) exit_status = one;
        if (!run->json && answers[i].status == CLINFER_OK && !ci_output_failed())
            ci_report_timings(&answers[i].result, answers[i].first_text_at);
    }
    for (size_t i = answered; i < submitted; i++) {
        if (answers[i].conversation) clinfer_chat_cancel(answers[i].conversation);
        finish(&answers[i]);
    }
    if (ci_interrupted() && answered < prompts->count) exit_status = ci_exit_status(CLINFER_CANCELLED);
    ci_run_look(run);
    if (run->json) {
        int printed = ci_print_json(all_json(run, answers, answered));
        if (!exit_status) exit_status = printed;
    }
    for (size_t i = 0; i < submitted; i++) {
        free(answers[i].text.text);
        free(answers[i].reasoning.text);
        free(answers[i].tokens);
        free(answers[i].route_said);
        json_decref(answers[i].route);
        json_decref(answers[i].calls);
        json_decref(answers[i].logprobs);
    }
    free(answers);
    return exit_status;
}

/* ---- the command ---- */

static int explain_only(struct ci_run_state *run) {
    json_t *plans = NULL;
    enum clinfer_status status = run->json ? ci_explain_json(run->engine, &plans) : ci_explain_print(run->engine);
    if (status != CLINFER_OK) return ci_complain(status);
    if (!run->json) return 0;
    json_t *object = json_object();
    json_object_set_new(object, "explain", plans);
    ci_report_engine(run, object);
    return ci_print_json(object);
}

static int complain_opening(const struct ci_run_state *run, enum clinfer_status status) {
    if (status == CLINFER_INVALID_ARGUMENT) status = ci_engine_flags_explain(&run->engine_flags, status);
    return ci_complain(status);
}

static int run_with_router(struct ci_run_state *run, const struct ci_prompts *prompts, bool chat) {
    /* With a deadline, loading is part of the request's time. */
    bool request_loads = run->deadline_seconds > 0 && !chat && !run->explain;
    enum clinfer_status status = request_loads ? CLINFER_OK : clinfer_router_start(run->router);
    if (status != CLINFER_OK) return complain_opening(run, status);
    ci_run_look(run);
    ci_report_start(run);
    if (run->explain && !run->engine) return ci_refuse(CLINFER_NO_DEVICE, "--explain needs a model that runs here");
    if (run->explain && !chat && !prompts->count) return explain_only(run);
    if (run->explain && !run->json) {
        status = ci_explain_print(run->engine);
        if (status != CLINFER_OK) return ci_complain(status);
    }
    ci_interrupt_start();
    int exit_status = chat ? ci_chat(run, prompts) : answer_all(run, prompts);
    ci_run_look(run);
    if (!run->engine) return exit_status;
    ci_report_fallbacks(run);
    status = ci_record_report(&run->record, run->json, run->engine);
    return status != CLINFER_OK && !exit_status ? ci_complain(status) : exit_status;
}

/* "10s", "2m", "500ms", "10". */
static bool read_duration(const char *text, double *seconds) {
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"", 1}, {"s", 1}, {"ms", 1e-3}, {"m", 60}, {"h", 3600}};
    char *end;
    double value = strtod(text, &end);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (end != text && strcmp(end, units[i].unit) == 0) *seconds = value * units[i].seconds;
    return *seconds > 0 && *seconds < 1e9;
}

/* The ladder: what may run here, then what may be asked elsewhere. */
static enum clinfer_status open_router(struct ci_run_state *run) {
    struct clinfer_router_options options = {.watchdog_seconds = run->watchdog};
    struct ci_engine_flags *flags = &run->engine_flags;
    flags->record = ci_record_wanted(&run->record);
    if (run->dry_run) flags->from.local = true;
    enum clinfer_status status = ci_engine_flags_complete(flags);
    if (status == CLINFER_OK)
        status = ci_remotes_resolve(&run->remote_flags, &flags->config, flags->fallback_flag, &run->remotes);
    if (status != CLINFER_OK) return status;
    options.remotes = run->remotes.items;
    options.remote_count = run->remotes.count;
    options.remote_only = run->remotes.only;
    options.remote_continues = run->remotes.go_on;
    if (!run->remotes.only) status = ci_engine_flags_options(flags, &run->model, &options.engine);
    /* Neither here nor to be had from the Hub. */
    bool no_model = status == CLINFER_NOT_FOUND || status == CLINFER_REMOTE_FAILED;
    if (no_model && run->remotes.count) {
        run->no_model = strdup(clinfer_error());
        options.why_no_model = run->no_model;
        options.engine.model = NULL;
        status = CLINFER_OK;
    }
    if (run->remotes.count) options.engine.fallback = CLINFER_FALLBACK_REMOTE;
    return status == CLINFER_OK ? clinfer_router_open(&options, &run->router) : status;
}

/* Of "on|off|auto". */
enum { ATTENTION_OFF = 1, ATTENTION_AUTO };

/* In the words of the command line themselves, which are the program's to change. */
static enum clinfer_status unescape(const char *flag, const char *text) {
    size_t length = ci_prompts_unescape((char *)(uintptr_t)text, strlen(text));
    if (strlen(text) == length) return CLINFER_OK;
    ci_refuse(CLINFER_INVALID_ARGUMENT, "%s: byte %zu is zero; it is text", flag, strlen(text));
    return CLINFER_INVALID_ARGUMENT;
}

static enum clinfer_status unescape_flags(const struct ci_run_state *run) {
    enum clinfer_status status = CLINFER_OK;
    if (!run->sources.escape) return status;
    if (run->system) status = unescape(run->system_file ? "-sysf" : "-sys", run->system);
    for (size_t i = 0; status == CLINFER_OK && i < run->stop.count; i++) status = unescape("-r", run->stop.items[i]);
    return status;
}

static enum clinfer_status read_system(struct ci_run_state *run) {
    if (!run->system_file) return CLINFER_OK;
    if (run->system) {
        ci_refuse(CLINFER_INVALID_ARGUMENT, "-sys and -sysf are given; choose one");
        return CLINFER_INVALID_ARGUMENT;
    }
    enum clinfer_status status = ci_prompts_read_text("-sysf", run->system_file, &run->system_text);
    run->system = run->system_text;
    if (status != CLINFER_OK) ci_complain(status);
    return status;
}

static enum clinfer_status read_tools(struct ci_run_state *run) {
    enum clinfer_status status = CLINFER_OK;
    if (run->tools_file) status = ci_prompts_read_text("--tools", run->tools_file, &run->tools);
    if (status != CLINFER_OK) ci_complain(status);
    return status;
}

static int run_command(struct ci_run_state *run) {
    struct ci_prompts prompts = {0};
    bool given = ci_prompts_given(&run->sources);
    bool quiet = run->explain || run->dry_run;
    bool chat = run->conversation || (!given && !quiet && isatty(STDIN_FILENO));
    enum clinfer_status status = read_system(run);
    if (status == CLINFER_OK) status = read_tools(run);
    if (status == CLINFER_OK) status = unescape_flags(run);
    if (status == CLINFER_OK) status = ci_grammar_flags_read(&run->grammar_flags, &run->grammar);
    if (status == CLINFER_OK) status = ci_sampling_flags_read(&run->sampling, run->sources.escape, &run->session);
    run->session.shift = run->shift;
    if (status != CLINFER_OK) return ci_exit_status(status);
    if (run->session.logprobs && !run->json)
        return ci_refuse(CLINFER_INVALID_ARGUMENT, "--logprobs needs --json, whose object has them");
    if (run->conversation && run->raw)
        return ci_refuse(CLINFER_INVALID_ARGUMENT, "-cnv is a conversation, --raw and -no-cnv are none; leave one out");
    if (run->tools_file && chat)
        return ci_refuse(CLINFER_INVALID_ARGUMENT, "--tools needs a prompt: a chat has nobody who runs what is called");
    if (run->tools_file && run->raw)
        return ci_refuse(CLINFER_INVALID_ARGUMENT, "--tools needs the chat template, which --raw leaves out");
    if (chat && run->json)
        return ci_refuse(CLINFER_INVALID_ARGUMENT, "--json needs a prompt, as an argument, with -p or -f, and no -cnv");
    if (run->attention == ATTENTION_OFF)
        ci_say("-fa off changes nothing: attention is one op here, on every device, with no other way to compute it");
    if (run->raw && (chat || run->system))
        return ci_refuse(CLINFER_INVALID_ARGUMENT, "--raw takes a prompt and no system message: it is text as it is");
    if (run->deadline && !read_duration(run->deadline, &run->deadline_seconds))
        return ci_refuse(CLINFER_INVALID_ARGUMENT, "--deadline %s: must be a time such as 10s, 500ms or 2m",
                         run->deadline);
    /* Before the engine: what is wrong with a prompt should not take a model's loading to be said. */
    if (given || !(chat || quiet)) status = ci_prompts_read(&run->sources, &prompts);
    if (status == CLINFER_OK) status = ci_record_check(&run->record);
    if (status == CLINFER_OK) status = open_router(run);
    int exit_status;
    if (status != CLINFER_OK)
        exit_status = ci_complain(status);
    else if (run->dry_run)
        exit_status = ci_report_ladder(run);
    else
        exit_status = run_with_router(run, &prompts, chat);
    clinfer_router_close(run->router);
    ci_remotes_free(&run->remotes);
    ci_models_free(&run->model);
    ci_prompts_free(&prompts);
    free(run->no_model);
    for (size_t i = 0; i < sizeof run->info_texts / sizeof *run->info_texts; i++) free(run->info_texts[i]);
    return exit_status;
}

int ci_command_run(int argc, char **argv) {
    struct ci_run_state run = {.started = ci_seconds(),
                               .engine_flags = CI_ENGINE_FLAGS_DEFAULT,
                               .predict = -1,
                               .sampling = CI_SAMPLING_FLAGS_DEFAULT,
                               .parallel = 16,
                               .attention = ATTENTION_AUTO,
                               .remote_flags = CI_REMOTE_FLAGS_DEFAULT,
                               .text_lock = PTHREAD_MUTEX_INITIALIZER};
    const struct ci_option options[] = {
        CI_SECTION("Prompt"),
        CI_PROMPT_OPTIONS(&run.sources),
        CI_TEXT("--batch", &run.sources.batch, "FILE",
                "a file with one prompt a line; they run together, as the files of several -f do"),
        CI_INTEGER("-np --parallel", &run.parallel, 1, CI_INTERRUPT_SESSIONS, "of these, so many at a time (16)"),
        CI_TEXT("-sys --system-prompt", &run.system, "TEXT", "the system message"),
        CI_TEXT("-sysf --system-prompt-file", &run.system_file, "FILE", "a file with it, - for standard input"),
        CI_FLAG("--raw -no-cnv --no-conversation", &run.raw, "the prompt as it is, without the model's chat template"),
        CI_FLAG("-cnv --conversation", &run.conversation,
                "a chat, also where standard input is no terminal (a message a line); a prompt is its first message"),
        CI_TEMPLATE_OPTIONS(&run.engine_flags),
        CI_FLAG("--parse-special", &run.parse_special,
                "control tokens that a prompt spells, such as <|im_end|>, count as such; else they are plain text"),
        CI_FLAG("--no-history", &run.no_history, "a chat neither reads nor keeps the messages of chats"),
        CI_SECTION("Answer"),
        CI_INTEGER("-n --predict --n-predict", &run.predict, -1, 1 << 30,
                   "tokens of answer at most (default -1: to the end of the answer or of the context)"),
        CI_FLAG("--ignore-eos", &run.ignore_end, "go on where the model ends its answer, to -n or the context's end"),
        CI_FLAG("--context-shift", &run.shift, "when the context is full, drop its older half and go on"),
        CI_TEXTS("-r --reverse-prompt --stop", &run.stop, "TEXT", "end the answer before this text; repeatable"),
        CI_GRAMMAR_OPTIONS(&run.grammar_flags),
        CI_TEXT("--tools", &run.tools_file, "FILE",
                "what the model may call, an array as OpenAI's API has it; calls come behind the answer, a line each"),
        CI_TEXT("--tool-choice", &run.tool_choice, "CHOICE",
                "auto (default), none, required, or the name of the tool to call"),
        CI_SECTION("Sampling"),
        CI_SAMPLING_OPTIONS(&run.sampling),
        CI_SECTION("Output"),
        CI_FLAG("--show-thinking", &run.show_thinking,
                "what a model thinks before it answers, on standard error, though that is no terminal"),
        CI_FLAG("--no-show-thinking", &run.hide_thinking, "not there either: only the answer"),
        CI_FLAG("--json", &run.json, "one JSON object: text, tokens, timings, devices, fallbacks"),
        CI_FLAG("--explain", &run.explain, "where every op of the plans runs and why; without a prompt nothing else"),
        CI_RECORD_OPTIONS(&run.record),
        CI_LOG_OPTIONS(&run.log),
        CI_ENGINE_OPTIONS(&run.engine_flags),
        CI_DRAFT_OPTIONS(&run.engine_flags),
        CI_CHOICE("-fa --flash-attn", &run.attention, "on|off|auto",
                  "for commands of llama-cli: attention is always computed the flash way, in one op"),
        CI_SECTION("When something fails"),
        CI_NUMBER("--watchdog", &run.watchdog, 0.1, 1e6,
                  "seconds after which a device that is silent is given up (default 30, more where a step takes long; "
                  "ten times as long for building kernels)"),
        CI_TEXT("--deadline", &run.deadline, "TIME",
                "10s, 2m: what is not finished here by then goes to a remote, or is an error"),
        CI_FLAG("--dry-run", &run.dry_run, "show which devices and remotes would be tried, in order, and why"),
        CI_REMOTE_OPTIONS(&run.remote_flags),
    };
    const struct ci_usage usage = {
        .command = "run",
        .synopsis = "[options] [prompt]",
        .about =
            "Answers a prompt: the words given, -p, the files of -f, the lines of --batch, or standard input. On a\n"
            "terminal without a prompt, or with -cnv: a chat, in which Ctrl-C stops an answer and Ctrl-D leaves.\n"
            "The answer goes to standard output, everything else to standard error.",
        .examples = "  clinfer run \"Why is the sky blue?\"\n"
                    "  clinfer run -m qwen2.5-1.5b-q4_0 --device cpu --temp 0 -n 100 -f question.txt\n"
                    "  git diff | clinfer run -sys \"Write a commit message.\" -f -\n"
                    "  clinfer run --batch questions.txt --json > answers.json\n"
                    "  clinfer run --explain",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int exit_status = ci_options_parse(&usage, argc, argv, &run.sources.words);
    if (exit_status == CI_OPTIONS_GO_ON) {
        enum clinfer_status status = ci_log_start(&run.log);
        exit_status = status == CLINFER_OK ? run_command(&run) : ci_exit_status(status);
        ci_log_end();
    }
    ci_texts_free(&run.sources.words);
    ci_texts_free(&run.sources.files);
    ci_texts_free(&run.stop);
    ci_grammar_flags_free(&run.grammar_flags);
    ci_sampling_flags_free(&run.sampling);
    ci_engine_flags_free(&run.engine_flags);
    free(run.system_text);
    free(run.tools);
    return exit_status;
}
