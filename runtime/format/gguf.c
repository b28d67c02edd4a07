/* gguf.c: the checked walk over a GGUF file.
 *
 * The file is mapped and read once from front to back by a reader that knows how many bytes are left and remembers the
 * first failure, after which every read gives 0 and the loops end. No count from the file is believed before it was
 * compared with the bytes that are left, and what is kept per entry comes out of one budget: a file of any size costs
 * at most INDEX_BYTES beyond itself, and what would cost more is refused.
 *
 * Names are looked up in sorted tables. A hash table was rejected: against a file made to collide it is quadratic, and
 * a model has some hundred names that are looked up once. Nested arrays, which the format allows and no model uses, are
 * refused, as llama.cpp does. */
#include "format/gguf.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "format/gguf_private.h"
#include "format/kind.h"

enum {
    MAGIC = 0x46554747, /* "GGUF" */
    MAX_NAME = 65535,
    MAX_DIMS = 4,
    DEFAULT_ALIGNMENT = 32,
    MIN_VALUE_BYTES = 8 + 1 + 4 + 1,          /* key length, key, type, value */
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8, /* name length, name, n_dims, one dimension, type, offset */
    INDEX_BYTES = 32 * 1024 * 1024
};

struct reader {
    struct ci_gguf *gguf;
    const struct ci_file *file;
    size_t position;
    const char *subject; /* the entry being read, for messages */
    enum clinfer_status status;
};

/* The first failure stays. */
static void __attribute__((format(printf, 4, 5)))
refuse(struct reader *reader, enum clinfer_status status, const char *field, const char *format, ...) {
    if (reader->status != CLINFER_OK) return;
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    bool both = *reader->subject && *field;
    reader->status =
        ci_fail(status, "%s: %.200s%s%s: %s", reader->gguf->path, reader->subject, both ? ": " : "", field, text);
}

static size_t bytes_left(const struct reader *reader) { return reader->file->size - reader->position; }

/* The next `size` bytes, or NULL. */
static const uint8_t *take(struct reader *reader, uint64_t size, const char *field) {
    if (reader->status != CLINFER_OK) return NULL;
    if (size > bytes_left(reader)) {
        refuse(reader, CLINFER_BAD_FILE, field,
               "needs %" PRIu64 " bytes at byte %zu, but the file ends after %zu more: it is truncated or damaged, "
               "fetch it again",
               size, reader->position, bytes_left(reader));
        return NULL;
    }
    const uint8_t *at = reader->file->data + reader->position;
    reader->position += (size_t)size;
    return at;
}

static uint64_t take_integer(struct reader *reader, size_t size, const char *field) {
    const uint8_t *at = take(reader, size, field);
    uint64_t result = 0;
    for (size_t i = 0; at && i < size; i++) result |= (uint64_t)at[i] << (8 * i);
    return result;
}

static uint32_t take_u32(struct reader *reader, const char *field) {
    return ci_low_bits(take_integer(reader, 4, field));
}

static uint64_t take_u64(struct reader *reader, const char *field) { return take_integer(reader, 8, field); }

/* A count whose entries take at least `entry_bytes` each in what is left of the file. */
static uint64_t take_count(struct reader *reader, size_t entry_bytes, const char *field) {
    uint64_t count = take_u64(reader, field);
    if (reader->status == CLINFER_OK && count > bytes_left(reader) / entry_bytes)
        refuse(reader, CLINFER_BAD_FILE, field,
               "%" PRIu64 ": more than the %zu bytes after it can hold: the file is truncated or damaged", count,
               bytes_left(reader));
    return reader->status == CLINFER_OK ? count : 0;
}

/* Memory that lives as long as the object, within the budget. */
static void *reserve(struct reader *reader, uint64_t count, size_t size, const char *field) {
    struct ci_gguf *gguf = reader->gguf;
    if (reader->status != CLINFER_OK) return NULL;
    if (count > (INDEX_BYTES - gguf->index_bytes) / size) {
        refuse(reader, CLINFER_UNSUPPORTED, field,
               "%" PRIu64 ": an index of all names and strings would take more than %d MiB", count,
               INDEX_BYTES / 1024 / 1024);
        return NULL;
    }
    void *memory = ci_arena_array(&gguf->arena, (size_t)count, size);
    if (!memory) refuse(reader, CLINFER_OUT_OF_MEMORY, field, "out of memory for %" PRIu64 " entries", count);
    gguf->index_bytes += (size_t)count * size;
    return memory;
}

/* A key or a tensor's name: 1 to 65535 bytes without control characters, so that messages and listings can print it. */
static const char *take_name(struct reader *reader, const char *length_field, const char *field) {
    uint64_t length = take_u64(reader, length_field);
    if (reader->status == CLINFER_OK && (length == 0 || length > MAX_NAME))
        refuse(reader, CLINFER_BAD_FILE, length_field, "%" PRIu64 ": must be between 1 and %d", length, MAX_NAME);
    const uint8_t *bytes = take(reader, length, field);
    for (uint64_t i = 0; bytes && i < length; i++)
        if (bytes[i] < 0x20 || bytes[i] == 0x7f)
            refuse(reader, CLINFER_BAD_FILE, field, "holds the control character 0x%02x at %" PRIu64, bytes[i], i);
    char *name = bytes ? reserve(reader, length + 1, 1, field) : NULL;
    if (name) memcpy(name, bytes, (size_t)length);
    return name;
}

/* Bytes of one element in the file; 0 for strings and arrays. */
static size_t element_bytes(enum ci_gguf_type type) {
    switch (type) {
    case CI_GGUF_UINT8:
    case CI_GGUF_INT8:
    case CI_GGUF_BOOL: return 1;
    case CI_GGUF_UINT16:
    case CI_GGUF_INT16: return 2;
    case CI_GGUF_UINT32:
    case CI_GGUF_INT32:
    case CI_GGUF_FLOAT32: return 4;
    case CI_GGUF_UINT64:
    case CI_GGUF_INT64:
    case CI_GGUF_FLOAT64: return 8;
    default: return 0;
    }
}

static enum ci_gguf_type take_type(struct reader *reader, const char *field) {
    uint32_t type = take_u32(reader, field);
    if (reader->status == CLINFER_OK && type >= CI_GGUF_TYPES)
        refuse(reader, CLINFER_BAD_FILE, field, "%" PRIu32 ": must be between 0 and %d", type, CI_GGUF_TYPES - 1);
    return reader->status == CLINFER_OK ? (enum ci_gguf_type)type : CI_GGUF_UINT8;
}

/* Walks `count` strings and notes where each begins. */
static void read_strings(struct reader *reader, struct ci_gguf_value *value) {
    size_t start = reader->position;
    uint32_t *offsets = reserve(reader, value->count, sizeof *offsets, "element count");
    for (uint64_t i = 0; i < value->count && reader->status == CLINFER_OK; i++) {
        if (!ci_narrow(reader->position - start, &offsets[i])) {
            refuse(reader, CLINFER_UNSUPPORTED, "value", "strings of more than 4 GiB");
            break;
        }
        uint64_t length = take_u64(reader, "string length");
        if (length > bytes_left(reader))
            refuse(reader, CLINFER_BAD_FILE, "string length",
                   "%" PRIu64 " in string %" PRIu64 ": only %zu bytes are left: the file is truncated or damaged",
                   length, i, bytes_left(reader));
        take(reader, length, "string");
    }
    value->strings = offsets;
    value->data = reader->file->data + start;
    value->bytes = reader->position - start;
}

static void read_elements(struct reader *reader, struct ci_gguf_value *value) {
    if (value->element_type == CI_GGUF_STRING) {
        read_strings(reader, value);
        return;
    }
    /* Cannot overflow: take_count() compared an array's count with the bytes left. */
    value->bytes = (size_t)value->count * element_bytes(value->element_type);
    value->data = take(reader, value->bytes, "value");
    if (value->element_type != CI_GGUF_BOOL) return;
    for (uint64_t i = 0; i < value->count && reader->status == CLINFER_OK; i++)
        if (value->data[i] > 1) refuse(reader, CLINFER_BAD_FILE, "value", "%d: a bool must be 0 or 1", value->data[i]);
}

static void read_value(struct reader *reader, uint64_t index, struct ci_gguf_value *value) {
    char subject[48];
    snprintf(subject, sizeof subject, "metadata entry %" PRIu64, index);
    reader->subject = subject;
    value->key = take_name(reader, "key length", "key");
    if (value->key) reader->subject = value->key;
    value->type = value->element_type = take_type(reader, "value type");
    value->count = 1;
    if (value->type == CI_GGUF_ARRAY) {
        value->element_type = take_type(reader, "element type");
        if (value->element_type == CI_GGUF_ARRAY)
            refuse(reader, CLINFER_UNSUPPORTED, "element type", "array: arrays of arrays are not supported");
        size_t size = element_bytes(value->element_type);
        value->count = take_count(reader, size ? size : 8, "element count");
    }
    if (reader->status == CLINFER_OK) read_elements(reader, value);
    reader->subject = "";
}

static void read_values(struct reader *reader) {
    struct ci_gguf *gguf = reader->gguf;
    gguf->values = reserve(reader, gguf->n_values, sizeof *gguf->values, "metadata count");
    gguf->by_key = reserve(reader, gguf->n_values, sizeof *gguf->by_key, "metadata count");
    for (size_t i = 0; i < gguf->n_values && reader->status == CLINFER_OK; i++) read_value(reader, i, &gguf->values[i]);
    const char *twice = reader->status == CLINFER_OK ? ci_gguf_sort_values(gguf) : NULL;
    if (twice) refuse(reader, CLINFER_BAD_FILE, "key", "%.200s: stands in the metadata twice", twice);
}

/* Rows, columns and type to bytes; every product checked. */
static void measure(struct reader *reader, struct ci_gguf_tensor *tensor) {
    const struct ci_gguf_tensor_type *type = ci_gguf_tensor_type(tensor->type);
    if (!type) {
        refuse(reader, CLINFER_UNSUPPORTED, "type", "%" PRIu32 ": not a tensor type known to this version",
               tensor->type);
        return;
    }
    if (tensor->dims[0] % type->block_cols != 0) {
        refuse(reader, CLINFER_BAD_FILE, "dims[0]", "%" PRIu64 ": must be a multiple of %" PRIu32 " for type %s",
               tensor->dims[0], type->block_cols, type->name);
        return;
    }
    uint64_t elements = tensor->dims[0], bytes = tensor->dims[0] / type->block_cols;
    bool overflow = __builtin_mul_overflow(bytes, type->block_bytes, &bytes);
    for (int d = 1; d < MAX_DIMS && !overflow; d++)
        overflow = __builtin_mul_overflow(elements, tensor->dims[d], &elements) ||
                   __builtin_mul_overflow(bytes, tensor->dims[d], &bytes);
    if (overflow || elements > INT64_MAX || bytes > INT64_MAX)
        refuse(reader, CLINFER_BAD_FILE, "dims",
               "%" PRIu64 " x %" PRIu64 " x %" PRIu64 " x %" PRIu64 ": the size overflows", tensor->dims[0],
               tensor->dims[1], tensor->dims[2], tensor->dims[3]);
    else
        tensor->bytes = (size_t)bytes;
}

static void read_tensor(struct reader *reader, uint64_t index, struct ci_gguf_tensor *tensor) {
    static const char *const dim_fields[MAX_DIMS] = {"dims[0]", "dims[1]", "dims[2]", "dims[3]"};
    char subject[300];
    snprintf(subject, sizeof subject, "tensor %" PRIu64, index);
    reader->subject = subject;
    tensor->name = take_name(reader, "name length", "name");
    if (tensor->name) snprintf(subject, sizeof subject, "tensor %s", tensor->name);
    tensor->n_dims = take_u32(reader, "n_dims");
    if (reader->status == CLINFER_OK && (tensor->n_dims == 0 || tensor->n_dims > MAX_DIMS))
        refuse(reader, CLINFER_BAD_FILE, "n_dims", "%" PRIu32 ": must be between 1 and %d", tensor->n_dims, MAX_DIMS);
    for (uint32_t d = 0; d < MAX_DIMS && reader->status == CLINFER_OK; d++) {
        tensor->dims[d] = d < tensor->n_dims ? take_u64(reader, dim_fields[d]) : 1;
        if (tensor->dims[d] == 0 || tensor->dims[d] > INT64_MAX)
            refuse(reader, CLINFER_BAD_FILE, dim_fields[d], "%" PRId64 ": must be positive", (int64_t)tensor->dims[d]);
    }
    tensor->type = take_u32(reader, "type");
    tensor->offset = take_u64(reader, "offset");
    if (reader->status == CLINFER_OK) measure(reader, tensor);
    if (reader->status == CLINFER_OK && tensor->offset % reader->gguf->alignment != 0)
        refuse(reader, CLINFER_BAD_FILE, "offset", "%" PRIu64 ": must be a multiple of the alignment, %" PRIu32,
               tensor->offset, reader->gguf->alignment);
    reader->subject = "";
}

/* Offsets count from the start of the data: only after the last tensor's description is it known where that is. */
static void place_tensors(struct reader *reader) {
    struct ci_gguf *gguf = reader->gguf;
    uint64_t start = ((uint64_t)reader->position + gguf->alignment - 1) / gguf->alignment * gguf->alignment;
    uint64_t space = start < reader->file->size ? reader->file->size - start : 0;
    for (size_t i = 0; i < gguf->n_tensors && reader->status == CLINFER_OK; i++) {
        struct ci_gguf_tensor *tensor = &gguf->tensors[i];
        char subject[300];
        snprintf(subject, sizeof subject, "tensor %s", tensor->name);
        reader->subject = subject;
        if (tensor->offset > space || tensor->bytes > space - tensor->offset)
            refuse(reader, CLINFER_BAD_FILE, "offset",
                   "%" PRIu64 ": its %zu bytes do not fit into the %" PRIu64
                   " bytes of tensor data: the file is truncated or damaged, fetch it again",
                   tensor->offset, tensor->bytes, space);
        tensor->offset += start;
        if (reader->status == CLINFER_OK) tensor->data = reader->file->data + tensor->offset;
        reader->subject = "";
    }
}

static void read_tensors(struct reader *reader) {
    struct ci_gguf *gguf = reader->gguf;
    gguf->tensors = reserve(reader, gguf->n_tensors, sizeof *gguf->tensors, "tensor count");
    gguf->by_name = reserve(reader, gguf->n_tensors, sizeof *gguf->by_name, "tensor count");
    for (size_t i = 0; i < gguf->n_tensors && reader->status == CLINFER_OK; i++)
        read_tensor(reader, i, &gguf->tensors[i]);
    if (reader->status != CLINFER_OK || gguf->n_tensors == 0) return;
    place_tensors(reader);
    const char *twice = ci_gguf_sort_tensors(gguf);
    if (twice) refuse(reader, CLINFER_BAD_FILE, "tensor name", "%.200s: stands in the file twice", twice);
}

/* The specification asks for a 32-bit number that is a multiple of 8; a power of two is what ggml adds and what keeps
 * page-aligned mappings aligned. */
static void read_alignment(struct reader *reader) {
    struct ci_gguf *gguf = reader->gguf;
    const struct ci_gguf_value *value = ci_gguf_find(gguf, "general.alignment");
    gguf->alignment = DEFAULT_ALIGNMENT;
    if (!value) return;
    if (value->type != CI_GGUF_UINT32) {
        refuse(reader, CLINFER_BAD_FILE, "general.alignment", "is of type %s: must be uint32",
               ci_gguf_type_name(value->type));
        return;
    }
    gguf->alignment = ci_narrowed_unsigned((uint64_t)ci_gguf_integer_at(value, 0));
    if (gguf->alignment % 8 != 0 || gguf->alignment == 0 || (gguf->alignment & (gguf->alignment - 1)) != 0)
        refuse(reader, CLINFER_BAD_FILE, "general.alignment", "%" PRIu32 ": must be a power of two and at least 8",
               gguf->alignment);
}

static void read_header(struct reader *reader) {
    struct ci_gguf *gguf = reader->gguf;
    uint32_t magic = take_u32(reader, "magic");
    if (reader->status == CLINFER_OK && magic != MAGIC)
        refuse(reader, CLINFER_BAD_FILE, "magic",
               "0x%08" PRIx32 ": this is not a GGUF file, nor of another kind that is known here; give -m a GGUF file",
               magic);
    gguf->version = take_u32(reader, "version");
    if (reader->status == CLINFER_OK && gguf->version != 2 && gguf->version != 3) {
        if (gguf->version != 0 && (gguf->version & 0xffff) == 0)
            refuse(
                reader, CLINFER_UNSUPPORTED, "version",
                "0x%08" PRIx32
                ": big-endian GGUF files are not supported; fetch the little-endian one, or turn it with llama.cpp's "
                "gguf_convert_endian.py FILE little",
                gguf->version);
        else
            refuse(reader, CLINFER_UNSUPPORTED, "version", "%" PRIu32 ": only 2 and 3 are supported; %s", gguf->version,
                   gguf->version < 2 ? "convert the model with a current llama.cpp"
                                     : "a newer clinfer may read it, or fetch the model in an older version");
    }
    gguf->n_tensors = (size_t)take_count(reader, MIN_TENSOR_BYTES, "tensor count");
    gguf->n_values = (size_t)take_count(reader, MIN_VALUE_BYTES, "metadata count");
}

/* Reads what its one file holds; on failure closes `gguf`. */
static enum clinfer_status read_all(struct ci_gguf *gguf, struct ci_gguf **result) {
    const struct ci_gguf_file *source = gguf->files;
    struct reader reader = {.gguf = gguf, .file = &source->mapped.file, .subject = ""};
    reader.status = ci_kind_check_bytes(gguf->path, reader.file->data, reader.file->size);
    bool known = reader.status != CLINFER_OK;
    if (reader.status == CLINFER_OK) read_header(&reader);
    if (reader.status == CLINFER_OK) read_values(&reader);
    if (reader.status == CLINFER_OK) read_alignment(&reader);
    if (reader.status == CLINFER_OK) read_tensors(&reader);
    if (reader.status == CLINFER_BAD_FILE && !known && ci_kind_check_piece(gguf->path) != CLINFER_OK)
        reader.status = CLINFER_UNSUPPORTED;
    if (reader.status == CLINFER_OK)
        *result = gguf;
    else
        ci_gguf_close(gguf);
    return reader.status;
}

enum clinfer_status ci_gguf_open_alone(const char *path, struct ci_gguf **result) {
    struct ci_gguf *gguf = NULL;
    *result = NULL;
    enum clinfer_status status = ci_kind_check_path(path);
    if (status == CLINFER_OK) status = ci_gguf_create(path, &gguf);
    if (status == CLINFER_OK) status = ci_gguf_add_file(gguf, path);
    if (status == CLINFER_OK) return read_all(gguf, result);
    ci_gguf_close(gguf);
    return status;
}

enum clinfer_status ci_gguf_open(const char *path, struct ci_gguf **result) {
    enum clinfer_status status = ci_gguf_open_alone(path, result);
    return status == CLINFER_OK ? ci_gguf_join_parts(result) : status;
}

enum clinfer_status ci_gguf_open_memory(const void *data, size_t size, const char *name, struct ci_gguf **result) {
    struct ci_gguf *gguf = NULL;
    *result = NULL;
    enum clinfer_status status = ci_gguf_create(name, &gguf);
    if (status == CLINFER_OK) status = ci_gguf_add_bytes(gguf, name, data, size);
    if (status == CLINFER_OK) return read_all(gguf, result);
    ci_gguf_close(gguf);
    return status;
}
