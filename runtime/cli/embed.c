/* embed.c: `clinfer embed`: texts as vectors, which lie near each other where the texts mean the same. Any model does;
 * those made for it do it well. */
#include <clinfer.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "cli/command.h"
#include "cli/engine_flags.h"
#include "cli/npy.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/prompts.h"

#define POOLING_CHOICES "mean|cls|last"

static const char *const pooling_names[] = {"mean", "cls", "last", "rank", "none"}; /* by enum clinfer_pooling */

struct embed {
    struct ci_engine_flags engine;
    struct ci_prompt_sources sources;
    struct ci_log_flags log;
    const char *output;
    int pooling; /* index of the choices; -1: the file's */
    bool json, as_given;
};

/* What all texts share, and what was made of them. */
struct vectors {
    struct ci_prompts texts;
    clinfer_engine *engine;
    struct clinfer_engine_info info;
    enum clinfer_pooling pooling;
    float *numbers; /* [texts, info.outputs] */
    size_t *tokens; /* [texts] */
};

/* Divided by its length, so that a product of two vectors is their cosine. */
static void normalise(float *vector, size_t count) {
    double square = 0;
    for (size_t i = 0; i < count; i++) square += (double)vector[i] * (double)vector[i];
    for (size_t i = 0; i < count && square > 0; i++) vector[i] = (float)((double)vector[i] / sqrt(square));
}

static enum clinfer_status embed_text(const struct embed *embed, struct vectors *vectors, clinfer_session *session,
                                      size_t index) {
    const struct ci_prompt *text = &vectors->texts.items[index];
    size_t width = (size_t)vectors->info.outputs;
    float *vector = vectors->numbers + index * width;
    int32_t *tokens = NULL;
    enum clinfer_status status =
        clinfer_tokenize_whole(vectors->engine, text->text, text->length, &tokens, &vectors->tokens[index]);
    if (status == CLINFER_OK && !vectors->tokens[index])
        status = ci_fail(CLINFER_INVALID_ARGUMENT,
                         "is empty, and this model puts no mark before a text: there is nothing to make a vector of; "
                         "leave it out");
    if (status == CLINFER_OK) status = clinfer_embed(session, tokens, vectors->tokens[index], vectors->pooling, vector);
    if (status == CLINFER_OK && !embed->as_given) normalise(vector, width);
    clinfer_free(tokens);
    return status == CLINFER_OK ? status : ci_fail_prefix(status, "%s", text->name);
}

static enum clinfer_status embed_all(const struct embed *embed, struct vectors *vectors) {
    clinfer_session *session = NULL;
    struct clinfer_session_options options;
    size_t count = vectors->texts.count;
    vectors->numbers = calloc(count, (size_t)vectors->info.outputs * sizeof *vectors->numbers);
    vectors->tokens = calloc(count, sizeof *vectors->tokens);
    if (!vectors->numbers || !vectors->tokens)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu vectors of %d numbers", count,
                       vectors->info.outputs);
    clinfer_session_options_default(vectors->engine, &options);
    enum clinfer_status status = clinfer_session_create(vectors->engine, &options, &session);
    for (size_t i = 0; i < count && status == CLINFER_OK; i++) status = embed_text(embed, vectors, session, i);
    if (session) clinfer_session_destroy(session);
    return status;
}

static int print_json(const struct embed *embed, const struct vectors *vectors, const char *model) {
    json_t *object = json_object(), *list = json_array();
    size_t width = (size_t)vectors->info.outputs;
    json_object_set_new(object, "model", ci_json_text(model, strlen(model)));
    json_object_set_new(object, "pooling", json_string(pooling_names[vectors->pooling]));
    json_object_set_new(object, "normalised", json_boolean(!embed->as_given));
    json_object_set_new(object, "dimensions", json_integer(vectors->info.outputs));
    for (size_t i = 0; i < vectors->texts.count; i++) {
        json_t *item = json_object(), *numbers = json_array();
        for (size_t k = 0; k < width; k++)
            json_array_append_new(numbers, json_real((double)vectors->numbers[i * width + k]));
        json_object_set_new(item, "name",
                            ci_json_text(vectors->texts.items[i].name, strlen(vectors->texts.items[i].name)));
        json_object_set_new(item, "tokens", json_integer((json_int_t)vectors->tokens[i]));
        json_object_set_new(item, "embedding", numbers);
        json_array_append_new(list, item);
    }
    json_object_set_new(object, "embeddings", list);
    return ci_print_json(object);
}

/* One line a text. */
static void print_lines(const struct vectors *vectors) {
    size_t width = (size_t)vectors->info.outputs;
    for (size_t i = 0; i < vectors->texts.count; i++)
        for (size_t k = 0; k < width; k++)
            ci_printf("%.8g%s", (double)vectors->numbers[i * width + k], k + 1 < width ? " " : "\n");
}

static int give_out(const struct embed *embed, const struct vectors *vectors, const char *model) {
    size_t width = (size_t)vectors->info.outputs;
    if (embed->output) {
        enum clinfer_status status = ci_npy_write(embed->output, vectors->numbers, vectors->texts.count, width);
        if (status != CLINFER_OK) return ci_complain(status);
        ci_say("%s: float32 [%zu, %zu]", embed->output, vectors->texts.count, width);
    }
    if (embed->json) return print_json(embed, vectors, model);
    if (!embed->output) print_lines(vectors);
    return 0;
}

static int embed_with(struct embed *embed) {
    struct ci_model_choice choice = {0};
    struct vectors vectors = {.engine = NULL};
    enum clinfer_status status = ci_prompts_read(&embed->sources, &vectors.texts);
    if (status == CLINFER_OK)
        status = ci_engine_flags_open(&embed->engine, CI_VECTORS_OF_ALL, &choice, &vectors.engine);
    if (status == CLINFER_OK) {
        clinfer_engine_get_info(vectors.engine, &vectors.info);
        vectors.pooling = embed->pooling < 0 ? vectors.info.pooling : (enum clinfer_pooling)embed->pooling;
        if (vectors.pooling == CLINFER_POOLING_RANK)
            status = ci_fail(CLINFER_UNSUPPORTED,
                             "%s: scores pairs of texts instead of making vectors; --pooling cls gives those of its "
                             "first tokens, or choose an embedding model",
                             choice.path);
    }
    if (status == CLINFER_OK) {
        bool guessed = embed->pooling < 0 && !vectors.info.pooling_is_said;
        ci_say("%s on %s: %d numbers a text, pooling %s%s", choice.path, vectors.info.device, vectors.info.outputs,
               pooling_names[vectors.pooling], guessed ? " (the file does not say; --pooling does)" : "");
        status = embed_all(embed, &vectors);
    }
    int exit_status = status == CLINFER_OK ? give_out(embed, &vectors, choice.path) : ci_complain(status);
    free(vectors.numbers);
    free(vectors.tokens);
    ci_prompts_free(&vectors.texts);
    if (vectors.engine) clinfer_engine_close(vectors.engine);
    ci_models_free(&choice);
    return exit_status;
}

int ci_command_embed(int argc, char **argv) {
    struct embed embed = {.engine = CI_ENGINE_FLAGS_DEFAULT, .sources.every_line = true, .pooling = -1};
    const struct ci_option options[] = {
        CI_SECTION("Input and output"),
        CI_PROMPT_OPTIONS(&embed.sources),
        CI_TEXT("--batch", &embed.sources.batch, "FILE",
                "every line of it is a text, an empty one too; - for standard input"),
        CI_TEXT("-o --output", &embed.output, "FILE.npy", "the vectors as a NumPy file: float32 [texts, dimensions]"),
        CI_FLAG("--json", &embed.json, "one JSON object on standard output"),
        CI_CHOICE("--pooling", &embed.pooling, POOLING_CHOICES,
                  "how the vectors of the tokens become one: their mean, that of the first token, that of the last "
                  "(default: what the file says)"),
        CI_FLAG("--no-normalize", &embed.as_given, "vectors as the model gives them, not divided by their length"),
        CI_LOG_OPTIONS(&embed.log),
        CI_ENGINE_OPTIONS(&embed.engine),
    };
    const struct ci_usage usage = {
        .command = "embed",
        .synopsis = "[-m MODEL] [TEXT | -p TEXT | -f FILE... | --batch FILE] [--json] [-o FILE.npy]",
        .about =
            "Makes a vector of each text, by a model that was made for it (BERT, MiniLM, BGE, Qwen3-Embedding, ...)\n"
            "or any other. Texts that mean the same have vectors whose product is near 1.",
        .examples = "  clinfer embed -m all-minilm \"The cat sits outside\"\n"
                    "  clinfer embed -m all-minilm --batch sentences.txt -o vectors.npy\n"
                    "  python3 -c 'import numpy; v = numpy.load(\"vectors.npy\"); print(v @ v.T)'",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int exit_status = ci_options_parse(&usage, argc, argv, &embed.sources.words);
    if (exit_status == CI_OPTIONS_GO_ON) {
        enum clinfer_status status = ci_log_start(&embed.log);
        exit_status = status == CLINFER_OK ? embed_with(&embed) : ci_exit_status(status);
        ci_log_end();
    }
    ci_texts_free(&embed.sources.words);
    ci_texts_free(&embed.sources.files);
    ci_engine_flags_free(&embed.engine);
    return exit_status;
}
