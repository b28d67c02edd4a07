/* Any bytes as one of the files of a model's folder; the first says of which. Refused with a message that begins with
 * the folder's path and holds no control character, or a model whose tensors lie in memory that there is. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "model/model.h"
#include "model/source.h"
#include "support/folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char original[] = "tests/data/folders/llama";
static const char *const files[] = {"config.json", "model.safetensors.index.json", "generation_config.json",
                                    "tokenizer_config.json", "model-00001-of-00002.safetensors"};
enum { FILES = sizeof files / sizeof *files };
static char *folder;

static void remove_folder(void) { folder_remove(folder); }

static void check_message(void) {
    const char *message = ci_status_message();
    if (strncmp(message, folder, strlen(folder)) != 0) abort();
    for (; *message; message++)
        if ((unsigned char)*message < 0x20 || *message == 0x7f) abort();
}

/* Every byte is read. */
static unsigned sum_of(const struct ci_gguf *gguf) {
    unsigned sum = 0;
    for (size_t i = 0; i < ci_gguf_tensor_count(gguf); i++) {
        const struct ci_gguf_tensor *tensor = ci_gguf_tensor_at(gguf, i);
        for (size_t k = 0; k < tensor->bytes; k++) sum += ((const uint8_t *)tensor->data)[k];
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ci_gguf *gguf;
    struct ci_model model;
    if (size == 0) return 0;
    if (!folder) {
        folder = folder_copy(original);
        atexit(remove_folder);
    }
    const char *file = files[data[0] % FILES];
    folder_write(folder, file, data + 1, size - 1);
    enum clinfer_status status = ci_source_open(folder, NULL, &gguf);
    if (status == CLINFER_OK) {
        volatile unsigned sum = sum_of(gguf);
        (void)sum;
        status = ci_model_open(gguf, &model);
        if (status == CLINFER_OK) ci_model_close(&model);
    }
    if (status != CLINFER_OK) check_message();
    ci_gguf_close(gguf);
    folder_restore(folder, original, file);
    return 0;
}
