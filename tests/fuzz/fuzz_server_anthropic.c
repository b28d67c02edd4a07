/* Any bytes as the body of a request to the Messages API. */
#include "server/anthropic_read.h"
#include "tests/fuzz/check_job.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ci_arena arena = {0};
    struct ci_translation translation;
    struct ci_job job;
    bool stream;
    json_t *body = fuzz_body(data, size);
    if (body) check_translation(&translation, ci_anthropic_read(body, NULL, &arena, &job, &translation, &stream));
    json_decref(body);
    ci_arena_destroy(&arena);
    return 0;
}
