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

static void *run(void *argument) {
    struct clinfer_engine *engine = argument;
    struct ci_reader *reader = &engine->reader;
    reader->status = read_all(engine);
    /* Messages are those of a thread. */
    if (reader->status != CLINFER_OK) snprintf(reader->message, sizeof reader->message, "%s", ci_status_message());
    return NULL;
}

void ci_engine_begin_reading(struct clinfer_engine *engine) {
    struct ci_reader *reader = &engine->reader;
    reader->begun = true;
    reader->aside = ci_threads_start(&reader->thread, run, engine) == 0;
    if (!reader->aside) run(engine);
}

enum clinfer_status ci_engine_end_reading(struct clinfer_engine *engine) {
    struct ci_reader *reader = &engine->reader;
    if (!reader->begun) return CLINFER_OK;
    if (reader->aside) pthread_join(reader->thread, NULL);
    reader->begun = false;
    if (reader->status != CLINFER_OK) return ci_fail(reader->status, "%s", reader->message);
    return reader->status = ci_joined_read(engine->gguf, engine->tokenizer, &engine->texts, &engine->joined);
}
