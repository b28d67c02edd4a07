/* Any bytes as a chat template, and behind a zero byte as the variables it is rendered with (JSON; a conversation when
 * it is none). Parsing and rendering fail with a message or give a text, within the limits on steps and memory. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char conversation[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \" Be brief. \"}, {\"role\": \"user\", \"content\": \"Hi "
    "<é>\"}, "
    "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": "
    "{\"x\": [1, 2.5, true, null]}}}]}], \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", "
    "\"parameters\": {\"type\": \"object\", \"properties\": {\"x\": {\"type\": \"string\"}}}}}], "
    "\"add_generation_prompt\": true, \"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    size_t length = zero ? (size_t)(zero - data) : size;
    struct ci_template *template;
    enum clinfer_status status = ci_template_create((const char *)data, length, &template);
    if (status != CLINFER_OK) {
        if (template || strncmp(clinfer_error(), "chat template: ", 15)) abort();
        return 0;
    }
    json_t *context = zero ? json_loadb((const char *)zero + 1, size - length - 1, 0, NULL) : NULL;
    if (!json_is_object(context)) {
        json_decref(context);
        context = json_loads(conversation, 0, NULL);
    }
    /* Small, so that the fuzzer sees the bounds and not the clock. */
    const struct ci_template_limits limits = {.steps = 200000, .memory = 4 << 20, .now = 1700000000};
    struct ci_rendered rendered;
    status = ci_template_render(template, context, &limits, &rendered);
    if ((status == CLINFER_OK) != (rendered.text != NULL)) abort();
    if (status == CLINFER_OK && (rendered.text[rendered.length] || rendered.length > limits.memory)) abort();
    size_t sum = 0;
    for (size_t i = 0; i < rendered.run_count; i++) {
        const struct ci_rendered_run *run = &rendered.runs[i];
        if (run->length == 0 || (i && run->input == run[-1].input)) abort();
        sum += run->length;
    }
    if (sum != rendered.length) abort();
    if (status != CLINFER_OK && strncmp(clinfer_error(), "chat template: ", 15)) abort();
    ci_rendered_free(&rendered);
    json_decref(context);
    ci_template_destroy(template);
    return 0;
}
