/* logits.c: `clinfer logits`: what a model says about the next token, as a NumPy file: the door for every comparison
 * with another program. */
#include <clinfer.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "cli/command.h"
#include "cli/engine_flags.h"
#include "cli/npy.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/prompts.h"

struct logits {
    struct ci_engine_flags engine;
    struct ci_prompt_sources sources;
    struct ci_log_flags log;
    const char *tokens, *output;
    bool all;
};

/* "1,2,3" with spaces where one likes. */
static enum clinfer_status parse_tokens(const char *text, int vocabulary, int32_t **tokens, size_t *count) {
    size_t most = 1;
    for (const char *at = text; *at; at++) most += *at == ',';
    int32_t *out = calloc(most, sizeof *out);
    *tokens = out;
    *count = 0;
    if (!out) return ci_fail(CLINFER_OUT_OF_MEMORY, "--tokens: out of memory");
    for (const char *at = text;;) {
        char *end;
        errno = 0;
        long value = strtol(at, &end, 10);
        end += strspn(end, " ");
        if (end == at || (*end && *end != ',') || errno)
            return ci_fail(CLINFER_INVALID_ARGUMENT, "--tokens: \"%.20s\": must be numbers with commas between them",
                           at);
        if (value < 0 || value >= vocabulary)
            return ci_fail(CLINFER_INVALID_ARGUMENT, "--tokens: %ld: the vocabulary has the ids 0 to %d", value,
                           vocabulary - 1);
        out[(*count)++] = (int32_t)value;
        if (!*end) return CLINFER_OK;
        at = end + 1;
    }
}

static enum clinfer_status read_tokens(const struct logits *logits, const clinfer_engine *engine, int vocabulary,
                                       int32_t **tokens, size_t *count) {
    if (logits->tokens) return parse_tokens(logits->tokens, vocabulary, tokens, count);
    struct ci_prompts prompts;
    enum clinfer_status status = ci_prompts_read(&logits->sources, &prompts);
    if (status == CLINFER_OK && prompts.count > 1)
        status = ci_fail(CLINFER_INVALID_ARGUMENT, "-f: one file at a time, %zu were given", prompts.count);
    if (status == CLINFER_OK)
        status = clinfer_tokenize(engine, prompts.items[0].text, prompts.items[0].length, true, true, tokens, count);
    ci_prompts_free(&prompts);
    return status;
}

static enum clinfer_status compute(const struct logits *logits, clinfer_engine *engine, const int32_t *tokens,
                                   size_t count, int outputs) {
    clinfer_session *session = NULL;
    size_t rows = logits->all ? count : 1;
    float *numbers = calloc(rows, (size_t)outputs * sizeof *numbers);
    if (!numbers)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the logits of %zu positions x %d tokens", rows,
                       outputs);
    struct clinfer_session_options options;
    clinfer_session_options_default(engine, &options);
    enum clinfer_status status = clinfer_session_create(engine, &options, &session);
    if (status == CLINFER_OK) status = clinfer_logits(session, tokens, count, logits->all, numbers);
    if (status == CLINFER_OK) status = ci_npy_write(logits->output, numbers, rows, (size_t)outputs);
    if (status == CLINFER_OK)
        ci_say("%s: float32 [%zu, %d] after %zu token%s", logits->output, rows, outputs, count, count == 1 ? "" : "s");
    if (session) clinfer_session_destroy(session);
    free(numbers);
    return status;
}

static int logits_with(struct logits *logits) {
    struct ci_model_choice choice = {0};
    clinfer_engine *engine = NULL;
    int32_t *tokens = NULL;
    size_t count = 0;
    enum clinfer_status status = CLINFER_OK;
    if (!logits->output)
        status = ci_fail(CLINFER_INVALID_ARGUMENT, "-o FILE.npy is missing: where the logits go");
    else if (logits->tokens && ci_prompts_given(&logits->sources))
        status = ci_fail(CLINFER_INVALID_ARGUMENT, "--tokens and a text are given; choose one");
    if (status == CLINFER_OK)
        status =
            ci_engine_flags_open(&logits->engine, logits->all ? CI_LOGITS_OF_ALL : CI_LOGITS_OF_LAST, &choice, &engine);
    if (status == CLINFER_OK) {
        struct clinfer_engine_info info;
        clinfer_engine_get_info(engine, &info);
        ci_say("%s on %s", choice.path, info.device);
        status = read_tokens(logits, engine, info.vocabulary, &tokens, &count);
        if (status == CLINFER_OK) status = compute(logits, engine, tokens, count, info.outputs);
    }
    int exit_status = status == CLINFER_OK ? 0 : ci_complain(status);
    clinfer_free(tokens);
    if (engine) clinfer_engine_close(engine);
    ci_models_free(&choice);
    return exit_status;
}

int ci_command_logits(int argc, char **argv) {
    struct logits logits = {.engine = CI_ENGINE_FLAGS_DEFAULT};
    const struct ci_option options[] = {
        CI_SECTION("Input and output"),
        CI_TEXT("--tokens", &logits.tokens, "1,2,3", "the tokens, as they are"),
        CI_PROMPT_OPTIONS(&logits.sources),
        CI_TEXT("-o --output", &logits.output, "FILE.npy", "where the logits go: float32 [positions, vocabulary]"),
        CI_FLAG("--all", &logits.all, "those of every position, not of the last alone"),
        CI_LOG_OPTIONS(&logits.log),
        CI_ENGINE_OPTIONS(&logits.engine),
    };
    const struct ci_usage usage = {
        .command = "logits",
        .synopsis = "[-m MODEL] (--tokens 1,2,3 | -p TEXT) -o FILE.npy [--all]",
        .about = "Writes the logits that a model gives after some tokens as a NumPy file.",
        .examples = "  clinfer logits -p \"The sky is\" -o sky.npy\n"
                    "  clinfer logits --tokens 504,6376,314 -o all.npy --all --activations f32\n"
                    "  python3 -c 'import numpy; print(numpy.load(\"sky.npy\").argmax(1))'",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int exit_status = ci_options_parse(&usage, argc, argv, &logits.sources.words);
    if (exit_status == CI_OPTIONS_GO_ON) {
        enum clinfer_status status = ci_log_start(&logits.log);
        exit_status = status == CLINFER_OK ? logits_with(&logits) : ci_exit_status(status);
        ci_log_end();
    }
    ci_texts_free(&logits.sources.words);
    ci_texts_free(&logits.sources.files);
    ci_engine_flags_free(&logits.engine);
    return exit_status;
}
