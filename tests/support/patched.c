#include "support/patched.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/process.h"
#include "types/type.h"

void patched_begin(struct patched *file, const char *source) {
    file->bytes = (uint8_t *)process_read(source, &file->size);
    if (ci_gguf_open_memory(file->bytes, file->size, source, &file->gguf) != CLINFER_OK)
        fail_msg("%s", clinfer_error());
}

static const struct ci_gguf_tensor *find(const struct patched *file, const char *name) {
    const struct ci_gguf_tensor *tensor = ci_gguf_find_tensor(file->gguf, name);
    if (!tensor) fail_msg("%s has no tensor %s", ci_gguf_path(file->gguf), name);
    return tensor;
}

uint8_t *patched_tensor(const struct patched *file, const char *name, size_t *bytes) {
    const struct ci_gguf_tensor *tensor = find(file, name);
    if (bytes) *bytes = tensor->bytes;
    return file->bytes + tensor->offset;
}

void patched_scale(const struct patched *file, const char *name, float factor) {
    const float most = 65504;
    const struct ci_gguf_tensor *tensor = find(file, name);
    const struct ci_type *type = ci_type_from_gguf(tensor->type);
    assert_true(type == &ci_type_f16 || type == &ci_type_f32);
    for (size_t at = 0; at < tensor->bytes; at += (size_t)type->block_bytes) {
        float number;
        type->dequantise(file->bytes + tensor->offset + at, &number, 1);
        number *= factor;
        if (type == &ci_type_f16) number = fmaxf(-most, fminf(most, number));
        type->quantise(&number, file->bytes + tensor->offset + at, 1);
    }
}

void patched_rename(const struct patched *file) {
    static unsigned count;
    char name[64];
    struct ci_gguf_string old;
    assert_int_equal(ci_gguf_get_string(file->gguf, "general.name", CI_GGUF_REQUIRED, &old), CLINFER_OK);
    snprintf(name, sizeof name, "%u %ld %lld", count++, (long)getpid(), (long long)time(NULL));
    assert_true(old.length >= strlen(name));
    assert_true((const uint8_t *)old.text > file->bytes && (const uint8_t *)old.text < file->bytes + file->size);
    memcpy(file->bytes + ((const uint8_t *)old.text - file->bytes), name, strlen(name));
}

const char *patched_end(struct patched *file, const char *name) {
    ci_gguf_close(file->gguf);
    const char *path = process_file(name, file->bytes, file->size);
    free(file->bytes);
    return path;
}
