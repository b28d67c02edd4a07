/* Any bytes as a GGUF file: the reader refuses them or gives an object of which every byte can be read. The sum over
 * all that is borrowed makes a pointer outside the input visible to AddressSanitizer. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink;

static void touch(const void *bytes, size_t size) {
    const uint8_t *byte = bytes;
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i++) sum += byte[i];
    sink = sink + sum;
}

static void touch_value(const struct ci_gguf *gguf, const struct ci_gguf_value *value) {
    uint32_t number = 0;
    int64_t wide = 0;
    float real = 0.0f;
    bool flag = false;
    struct ci_gguf_string text = {"", 0};
    const struct ci_gguf_value *array = NULL;
    if (ci_gguf_find(gguf, value->key) != value) abort();
    touch(value->data, value->bytes);
    ci_gguf_get_u32(gguf, value->key, CI_GGUF_REQUIRED, &number);
    ci_gguf_get_i64(gguf, value->key, CI_GGUF_REQUIRED, &wide);
    ci_gguf_get_f32(gguf, value->key, CI_GGUF_REQUIRED, &real);
    ci_gguf_get_bool(gguf, value->key, CI_GGUF_REQUIRED, &flag);
    ci_gguf_get_string(gguf, value->key, CI_GGUF_REQUIRED, &text);
    touch(text.text, text.length);
    ci_gguf_get_strings(gguf, value->key, CI_GGUF_REQUIRED, &array);
    ci_gguf_get_integers(gguf, value->key, CI_GGUF_REQUIRED, &array);
    ci_gguf_get_floats(gguf, value->key, CI_GGUF_REQUIRED, &array);
    for (uint64_t i = 0; i < value->count; i++) {
        if (value->element_type == CI_GGUF_STRING) {
            text = ci_gguf_string_at(value, i);
            touch(text.text, text.length);
        } else if (ci_gguf_type_is_integer(value->element_type)) {
            sink = sink + (uint64_t)ci_gguf_integer_at(value, i);
        } else if (ci_gguf_type_is_float(value->element_type)) {
            sink = sink + (ci_gguf_float_at(value, i) > 0.0);
        } else {
            sink = sink + ci_gguf_bool_at(value, i);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ci_gguf *gguf;
    enum clinfer_status status = ci_gguf_open_memory(data, size, "input", &gguf);
    if ((status == CLINFER_OK) != (gguf != NULL)) abort();
    if (status != CLINFER_OK) {
        if (strncmp(clinfer_error(), "input: ", 7) != 0) abort();
        return 0;
    }
    for (size_t i = 0; i < ci_gguf_value_count(gguf); i++) touch_value(gguf, ci_gguf_value_at(gguf, i));
    for (size_t i = 0; i < ci_gguf_tensor_count(gguf); i++) {
        const struct ci_gguf_tensor *tensor = ci_gguf_tensor_at(gguf, i);
        if (ci_gguf_find_tensor(gguf, tensor->name) != tensor || !ci_gguf_tensor_type(tensor->type)) abort();
        touch(tensor->data, tensor->bytes);
    }
    ci_gguf_close(gguf);
    return 0;
}
