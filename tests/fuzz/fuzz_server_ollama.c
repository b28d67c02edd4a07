/* Any bytes as the body of a request to Ollama's API, of both kinds. */
#include "server/ollama_read.h"
#include "tests/fuzz/check_job.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_as(const json_t *body, bool chat) {
    struct ci_arena arena = {0};
    struct ci_translation translation;
    struct ci_ollama_request request;
    struct ci_job job;
    check_translation(&translation, ci_ollama_read(body, chat, NULL, &arena, &job, &translation, &request));
    if (!request.model || (!isnan(job.keep_alive) && isinf(job.keep_alive))) abort();
    ci_arena_destroy(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *body = fuzz_body(data, size);
    if (body) {
        read_as(body, true);
        read_as(body, false);
    }
    json_decref(body);
    return 0;
}
