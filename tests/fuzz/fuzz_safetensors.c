/* Any bytes as a .safetensors file: refused with a message that begins with the file's name and holds no control
 * character, or every tensor lies within the bytes and is as large as its shape says. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/status.h"
#include "format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_message(void) {
    const char *message = ci_status_message();
    if (strncmp(message, "fuzz: ", 6) != 0) abort();
    for (; *message; message++)
        if ((unsigned char)*message < 0x20 || *message == 0x7f) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ci_arena arena = {0};
    struct ci_safetensors found;
    enum clinfer_status status = ci_safetensors_read("fuzz", data, size, &arena, &found);
    if (status != CLINFER_OK) check_message();
    for (size_t i = 0; status == CLINFER_OK && i < found.count; i++) {
        const struct ci_safetensors_tensor *tensor = &found.tensors[i];
        size_t bytes = tensor->dtype->bytes;
        for (uint32_t k = 0; k < tensor->n_dims; k++) bytes *= (size_t)tensor->dims[k];
        if (bytes != tensor->bytes || !*tensor->name) abort();
        if (tensor->data < data || tensor->data + tensor->bytes > data + size) abort();
    }
    ci_arena_destroy(&arena);
    return 0;
}
