/* Whether a device still works, asked after something on it has failed: by the smallest thing that needs all of it. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "device/internal.h"

enum { WORDS = 16 };

/* As the results of a run are read, where no such read is under way. What cannot be waited for may still be written. */
static enum clinfer_status read_back(struct ci_device *device, struct ci_buffer *buffer, uint32_t *words) {
    const size_t bytes = WORDS * sizeof *words;
    int slot = 0;
    while (slot < CI_READ_SLOTS && device->reads[slot]) slot++;
    uint32_t *answer = slot < CI_READ_SLOTS ? malloc(bytes) : NULL;
    if (!answer) return ci_buffer_read(buffer, 0, words, bytes);
    enum clinfer_status status = ci_buffer_read_start(buffer, 0, answer, bytes, slot);
    if (status == CLINFER_OK) status = ci_buffer_read_wait(device, slot);
    if (status == CLINFER_OK) memcpy(words, answer, bytes);
    if (status == CLINFER_OK || clFinish(device->queue) == CL_SUCCESS)
        free(answer);
    else
        ci_device_abandon(answer);
    return status;
}

static enum clinfer_status compute(struct ci_device *device, struct ci_buffer *buffer, struct ci_kernel *kernel,
                                   uint32_t *words) {
    const size_t global = WORDS, local = 1;
    enum clinfer_status status = ci_buffer_write(buffer, 0, words, WORDS * sizeof *words);
    if (status == CLINFER_OK) status = ci_kernel_set_buffer(kernel, 0, buffer);
    if (status == CLINFER_OK) status = ci_kernel_enqueue(kernel, 1, &global, &local);
    if (status == CLINFER_OK) status = ci_device_flush(device);
    if (status == CLINFER_OK) status = ci_device_finish(device);
    return status == CLINFER_OK ? read_back(device, buffer, words) : status;
}

enum clinfer_status ci_device_works(struct ci_device *device) {
    struct ci_buffer *buffer = NULL;
    struct ci_kernel *kernel = NULL;
    uint32_t words[WORDS];
    for (uint32_t i = 0; i < WORDS; i++) words[i] = i * 7u + 5u;
    enum clinfer_status status = ci_buffer_create(device, sizeof words, NULL, &buffer);
    if (status == CLINFER_OK) status = ci_kernel_create_from_text(device, ci_device_probe_text, "probe", &kernel);
    if (status == CLINFER_OK) status = compute(device, buffer, kernel, words);
    for (uint32_t i = 0; i < WORDS && status == CLINFER_OK; i++)
        if (words[i] != (i * 7u + 5u) * 3u + 1u)
            status = ci_fail(CLINFER_DEVICE_ERROR, "\"%s\" (%s) does not compute any more: word %u is %u",
                             device->caps.name, device->caps.platform, (unsigned)i, (unsigned)words[i]);
    ci_kernel_destroy(kernel);
    ci_buffer_destroy(buffer);
    return status;
}
