/* Any bytes as a chat template, and behind a zero byte as the variables it is rendered with (JSON; a conversation when
 * it is none). Parsing and rendering fail with a message or give a text whose runs are as long as it, within a second:
 * the limits are those that every prompt has. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/support/slowness.h"
#include "text/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char conversation[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \" Be brief. \"}, {\"role\": \"user\", \"content\": \"Hi "
    "<é>\"}, "
    "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": "
    "{\"x\": [1, 2.5, true, null]}}}]}], \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", "
    "\"parameters\": {\"type\": \"object\", \"properties\": {\"x\": {\"type\": \"string\"}}}}}], "
    "\"add_generation_prompt\": true, \"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}";

/* Of this thread. */
static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void expect_a_second(double start) {
    if (seconds() - start > 1.0 * SLOWNESS) abort();
}

static void check_runs(const struct ci_rendered *rendered) {
    size_t sum = 0;
    for (size_t i = 0; i < rendered->run_count; i++) {
        const struct ci_rendered_run *run = &rendered->runs[i];
        if (run->length == 0 || (i && run->input == run[-1].input)) abort();
        sum += run->length;
    }
    if (sum != rendered->length) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    size_t length = zero ? (size_t)(zero - data) : size;
    struct ci_template *template;
    double start = seconds();
    enum clinfer_status status = ci_template_create((const char *)data, length, &template);
    expect_a_second(start);
    if (status != CLINFER_OK) {
        if (template || strncmp(clinfer_error(), "chat template: ", 15)) abort();
        return 0;
    }
    json_t *context = zero ? json_loadb((const char *)zero + 1, size - length - 1, 0, NULL) : NULL;
    if (!json_is_object(context)) {
        json_decref(context);
        context = json_loads(conversation, 0, NULL);
    }
    const struct ci_template_limits limits = {.now = 1700000000};
    struct ci_rendered rendered;
    start = seconds();
    status = ci_template_render(template, context, &limits, &rendered);
    expect_a_second(start);
    if ((status == CLINFER_OK) != (rendered.text != NULL)) abort();
    if (status == CLINFER_OK && (rendered.text[rendered.length] || rendered.length > CI_TEMPLATE_MEMORY)) abort();
    if (status != CLINFER_OK && strncmp(clinfer_error(), "chat template: ", 15)) abort();
    check_runs(&rendered);
    ci_rendered_free(&rendered);
    json_decref(context);
    ci_template_destroy(template);
    return 0;
}
