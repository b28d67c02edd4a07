/* Any bytes as the body of a job for a worker: it is well, or each thing that is wrong has its field. */
#include "server/execute_read.h"
#include "tests/fuzz/check_job.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ci_arena arena = {0};
    struct ci_job job;
    json_t *errors, *error, *body = fuzz_body(data, size);
    size_t i;
    if (!body) return 0;
    bool fine = ci_execute_read(body, NULL, &arena, &job, &errors);
    if (fine != !json_array_size(errors)) abort();
    json_array_foreach(errors, i, error) if (!json_is_string(json_object_get(error, "field")) ||
                                             !json_is_string(json_object_get(error, "message"))) abort();
    if (fine) check_job(&job);
    if (fine && (!job.name || job.request.max_tokens < 1 || job.request.max_tokens > 2048)) abort();
    json_decref(errors);
    json_decref(body);
    ci_arena_destroy(&arena);
    return 0;
}
