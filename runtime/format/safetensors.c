/* safetensors.c: the header of a .safetensors file. jansson reads the text (no key twice, valid UTF-8, no zero bytes);
 * the rest is what it means. No size is believed before it was compared with the bytes that are there. */
#include "format/safetensors.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/narrow.h"
#include "base/status.h"
#include "format/json.h"

enum {
    LENGTH_BYTES = 8,
    /* The format allows 100 MB; the largest models have some thousand tensors in a file, of 150 bytes each. */
    MAX_HEADER = 16 << 20,
    MAX_NAME = 1024,
    SHOWN = 60
};

static const struct ci_safetensors_dtype dtypes[] = {
    {"F32", 4, 0},
    {"F16", 2, 1},
    {"BF16", 2, 30},
    {"F64", 8, 28},
    {"I8", 1, 24},
    {"I16", 2, 25},
    {"I32", 4, 26},
    {"I64", 8, 27},
    {"BOOL", 1, CI_SAFETENSORS_NO_GGUF},
    {"U8", 1, CI_SAFETENSORS_NO_GGUF},
    {"U16", 2, CI_SAFETENSORS_NO_GGUF},
    {"U32", 4, CI_SAFETENSORS_NO_GGUF},
    {"U64", 8, CI_SAFETENSORS_NO_GGUF},
    {"F8_E4M3", 1, CI_SAFETENSORS_NO_GGUF},
    {"F8_E5M2", 1, CI_SAFETENSORS_NO_GGUF},
    {"F8_E8M0", 1, CI_SAFETENSORS_NO_GGUF},
    {"C64", 8, CI_SAFETENSORS_NO_GGUF},
};

/* Of the tensor that is read, for messages. */
struct reader {
    const char *path;
    const char *tensor;
    size_t space; /* bytes behind the header */
};

static enum clinfer_status __attribute__((format(printf, 4, 5)))
refuse(const struct reader *reader, enum clinfer_status status, const char *field, const char *format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return ci_fail(status, "%s: tensor %.200s: %s: %s", reader->path, reader->tensor, field, text);
}

/* ---- one tensor ---- */

static enum clinfer_status read_dtype(const struct reader *reader, const json_t *value,
                                      const struct ci_safetensors_dtype **dtype) {
    char text[CI_JSON_SHOWN];
    if (!json_is_string(value))
        return refuse(reader, CLINFER_BAD_FILE, "dtype", "%s: must be a string", ci_json_shown(value, text));
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].name, json_string_value(value)) == 0) {
            *dtype = &dtypes[i];
            return CLINFER_OK;
        }
    return refuse(reader, CLINFER_UNSUPPORTED, "dtype",
                  "%s: is not known here: fetch the model with weights in F32, F16 or BF16",
                  ci_json_shown(value, text));
}

static enum clinfer_status read_size(const struct reader *reader, const char *field, const json_t *value,
                                     uint64_t *size) {
    char text[CI_JSON_SHOWN];
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return refuse(reader, CLINFER_BAD_FILE, field, "%s: must be a whole number, 0 or more",
                      ci_json_shown(value, text));
    *size = (uint64_t)json_integer_value(value);
    return CLINFER_OK;
}

static enum clinfer_status read_shape(const struct reader *reader, const json_t *value,
                                      struct ci_safetensors_tensor *tensor) {
    char text[CI_JSON_SHOWN];
    if (!json_is_array(value))
        return refuse(reader, CLINFER_BAD_FILE, "shape", "%s: must be an array", ci_json_shown(value, text));
    if (json_array_size(value) > CI_SAFETENSORS_DIMS)
        return refuse(reader, CLINFER_UNSUPPORTED, "shape", "%zu dimensions: at most %d are supported",
                      json_array_size(value), CI_SAFETENSORS_DIMS);
    tensor->n_dims = ci_narrowed_unsigned(json_array_size(value));
    for (uint32_t i = 0; i < tensor->n_dims; i++) {
        enum clinfer_status status = read_size(reader, "shape", json_array_get(value, i), &tensor->dims[i]);
        if (status != CLINFER_OK) return status;
    }
    return CLINFER_OK;
}

/* The bytes of the tensor, which its shape and dtype must need. */
static enum clinfer_status read_offsets(const struct reader *reader, const json_t *value, const uint8_t *start,
                                        struct ci_safetensors_tensor *tensor) {
    static const char field[] = "data_offsets";
    char text[CI_JSON_SHOWN];
    uint64_t begin, end, needed = tensor->dtype->bytes;
    if (!json_is_array(value) || json_array_size(value) != 2)
        return refuse(reader, CLINFER_BAD_FILE, field, "%s: must be an array of two numbers",
                      ci_json_shown(value, text));
    enum clinfer_status status = read_size(reader, field, json_array_get(value, 0), &begin);
    if (status == CLINFER_OK) status = read_size(reader, field, json_array_get(value, 1), &end);
    if (status != CLINFER_OK) return status;
    if (begin > end || end > reader->space)
        return refuse(reader, CLINFER_BAD_FILE, field,
                      "[%" PRIu64 ", %" PRIu64
                      "]: must lie in order within the %zu bytes behind the header: the file is truncated or damaged, "
                      "fetch it again",
                      begin, end, reader->space);
    bool overflow = false;
    for (uint32_t i = 0; i < tensor->n_dims; i++)
        overflow = __builtin_mul_overflow(needed, tensor->dims[i], &needed) || overflow;
    if (overflow || needed != end - begin)
        return refuse(reader, CLINFER_BAD_FILE, field,
                      "[%" PRIu64 ", %" PRIu64 "]: %" PRIu64 " bytes, but its shape needs %s%" PRIu64 " of %s", begin,
                      end, end - begin, overflow ? "far more than " : "", overflow ? UINT64_MAX : needed,
                      tensor->dtype->name);
    tensor->data = start + begin;
    tensor->bytes = (size_t)(end - begin);
    return CLINFER_OK;
}

static enum clinfer_status check_name(const struct reader *reader, const char *name) {
    size_t length = strlen(name);
    char text[SHOWN + 1];
    size_t kept = 0;
    bool fine = length > 0 && length <= MAX_NAME;
    for (size_t i = 0; i < length; i++) {
        bool control = (unsigned char)name[i] < 0x20 || name[i] == 0x7f;
        if (kept < SHOWN) text[kept++] = control ? '?' : name[i];
        fine = fine && !control;
    }
    text[kept] = 0;
    if (fine) return CLINFER_OK;
    return ci_fail(CLINFER_BAD_FILE, "%s: tensor name: \"%s\": must have 1 to %d bytes and no control characters",
                   reader->path, text, MAX_NAME);
}

static enum clinfer_status read_tensor(const struct reader *reader, const json_t *value, const uint8_t *start,
                                       struct ci_safetensors_tensor *tensor) {
    static const char *const fields[] = {"dtype", "shape", "data_offsets"};
    char text[CI_JSON_SHOWN];
    if (!json_is_object(value))
        return refuse(reader, CLINFER_BAD_FILE, "entry", "%s: must be an object", ci_json_shown(value, text));
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (!json_object_get(value, fields[i])) return refuse(reader, CLINFER_BAD_FILE, fields[i], "is missing");
    enum clinfer_status status = read_dtype(reader, json_object_get(value, "dtype"), &tensor->dtype);
    if (status == CLINFER_OK) status = read_shape(reader, json_object_get(value, "shape"), tensor);
    if (status == CLINFER_OK) status = read_offsets(reader, json_object_get(value, "data_offsets"), start, tensor);
    return status;
}

/* ---- all of them ---- */

static int compare(const void *a, const void *b) {
    const struct ci_safetensors_tensor *one = a, *other = b;
    if (one->data != other->data) return one->data < other->data ? -1 : 1;
    return one->bytes != other->bytes ? one->bytes < other->bytes ? -1 : 1 : strcmp(one->name, other->name);
}

/* In the order of their bytes, each begins where the one before it ends. */
static enum clinfer_status check_cover(struct reader *reader, const struct ci_safetensors *found,
                                       const uint8_t *start) {
    size_t at = 0;
    for (size_t i = 0; i < found->count; i++) {
        const struct ci_safetensors_tensor *tensor = &found->tensors[i];
        size_t begin = (size_t)(tensor->data - start);
        reader->tensor = tensor->name;
        if (begin < at)
            return refuse(reader, CLINFER_BAD_FILE, "data_offsets", "begins at %zu, within tensor %.200s", begin,
                          found->tensors[i - 1].name);
        if (begin > at)
            return refuse(reader, CLINFER_BAD_FILE, "data_offsets",
                          "begins at %zu, and nobody has the %zu bytes before it", begin, begin - at);
        at = begin + tensor->bytes;
    }
    if (at == reader->space) return CLINFER_OK;
    return ci_fail(CLINFER_BAD_FILE, "%s: %zu bytes behind the last tensor belong to none: the file is damaged",
                   reader->path, reader->space - at);
}

static enum clinfer_status check_metadata(const char *path, json_t *metadata) {
    char text[CI_JSON_SHOWN];
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return ci_fail(CLINFER_BAD_FILE, "%s: __metadata__: %s: must be an object", path,
                       ci_json_shown(metadata, text));
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value))
            return ci_fail(CLINFER_BAD_FILE, "%s: __metadata__: %s: the values in it must be strings", path,
                           ci_json_shown(value, text));
    }
    return CLINFER_OK;
}

static enum clinfer_status read_header(struct reader *reader, json_t *header, const uint8_t *start,
                                       struct ci_arena *arena, struct ci_safetensors *found) {
    const char *name;
    json_t *value;
    enum clinfer_status status = CLINFER_OK;
    found->tensors = ci_arena_array(arena, json_object_size(header) + 1, sizeof *found->tensors);
    if (!found->tensors) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", reader->path);
    json_object_foreach(header, name, value) {
        if (strcmp(name, "__metadata__") == 0) {
            status = check_metadata(reader->path, value);
        } else {
            struct ci_safetensors_tensor *tensor = &found->tensors[found->count++];
            status = check_name(reader, name);
            reader->tensor = name;
            if (status == CLINFER_OK) status = read_tensor(reader, value, start, tensor);
            tensor->name = ci_arena_string(arena, name, strlen(name));
            if (status == CLINFER_OK && !tensor->name)
                status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", reader->path);
        }
        if (status != CLINFER_OK) return status;
    }
    qsort(found->tensors, found->count, sizeof *found->tensors, compare);
    return check_cover(reader, found, start);
}

static uint64_t header_length(const uint8_t *data) {
    uint64_t length = 0;
    for (size_t i = 0; i < LENGTH_BYTES; i++) length |= (uint64_t)data[i] << (8 * i);
    return length;
}

bool ci_safetensors_is(const uint8_t *data, size_t size) {
    if (size < LENGTH_BYTES + 2) return false;
    uint64_t length = header_length(data);
    return length >= 2 && length <= 100000000 && data[LENGTH_BYTES] == '{' && data[LENGTH_BYTES + 1] &&
           strchr("\" }\t\n", data[LENGTH_BYTES + 1]) != NULL;
}

static enum clinfer_status check_length(const char *path, const uint8_t *data, size_t size) {
    if (size < LENGTH_BYTES)
        return ci_fail(CLINFER_BAD_FILE,
                       "%s: header length: the file ends after %zu bytes: it is truncated, fetch it again", path, size);
    uint64_t length = header_length(data);
    if (length > size - LENGTH_BYTES)
        return ci_fail(CLINFER_BAD_FILE,
                       "%s: header length: %" PRIu64
                       ", but only %zu bytes follow: the file is truncated or damaged, fetch "
                       "it again",
                       path, length, size - LENGTH_BYTES);
    if (length > MAX_HEADER)
        return ci_fail(CLINFER_UNSUPPORTED, "%s: header length: %" PRIu64 ": at most %d are supported", path, length,
                       MAX_HEADER);
    if (length < 2 || data[LENGTH_BYTES] != '{')
        return ci_fail(CLINFER_BAD_FILE, "%s: header: must be a JSON object: this is no SafeTensors file", path);
    return CLINFER_OK;
}

enum clinfer_status ci_safetensors_read(const char *path, const uint8_t *data, size_t size, struct ci_arena *arena,
                                        struct ci_safetensors *found) {
    *found = (struct ci_safetensors){0};
    enum clinfer_status status = check_length(path, data, size);
    if (status != CLINFER_OK) return status;
    size_t length = (size_t)header_length(data);
    json_t *header;
    status = ci_json_parse(path, (const char *)data + LENGTH_BYTES, length, &header);
    if (status != CLINFER_OK) return status;
    struct reader reader = {.path = path, .tensor = "", .space = size - LENGTH_BYTES - length};
    status = read_header(&reader, header, data + LENGTH_BYTES + length, arena, found);
    json_decref(header);
    return status;
}
