/* reader.c: the vocabulary of a model, read while devices and kernels are chosen. */
#include <stdio.h>

#include "base/status.h"
#include "engine/engine_private.h"
#include "engine/read.h"

static enum clinfer_status read_all(struct clinfer_engine *engine) {
    enum clinfer_status status = ci_read_vocabulary(engine->gguf, &engine->model, &engine->tokenizer);
    if (status == CLINFER_OK)
        status = ci_chat_create(engine->gguf, engine->options.chat_template, engine->options.chat_template_variables,
                                engine->tokenizer, &engine->chat);
    return status;
}

/* With its message, since messages are those of a thread. */
static enum clinfer_status keep(struct ci_reader *reader, enum clinfer_status status) {
    reader->status = status;
    if (status != CLINFER_OK) snprintf(reader->message, sizeof reader->message, "%s", ci_status_message());
    return status;
}

static void *run(void *argument) {
    struct clinfer_engine *engine = argument;
    keep(&engine->reader, read_all(engine));
    return NULL;
}

void ci_engine_begin_reading(struct clinfer_engine *engine) {
    struct ci_reader *reader = &engine->reader;
    reader->aside = ci_threads_start(&reader->thread, run, engine) == 0;
    if (!reader->aside) run(engine);
}

enum clinfer_status ci_engine_await_reading(struct clinfer_engine *engine) {
    struct ci_reader *reader = &engine->reader;
    if (reader->aside) pthread_join(reader->thread, NULL);
    reader->aside = false;
    return reader->status == CLINFER_OK ? CLINFER_OK : ci_fail(reader->status, "%s", reader->message);
}

enum clinfer_status ci_engine_end_reading(struct clinfer_engine *engine) {
    enum clinfer_status status = ci_engine_await_reading(engine);
    if (status != CLINFER_OK || !engine->tokenizer) return status;
    return keep(&engine->reader, ci_joined_read(engine->gguf, engine->tokenizer, &engine->texts, &engine->joined));
}
