/* Typed access to GGUF metadata: what a caller needs a value to be is checked here, with messages that name file, key
 * and value. Elements are assembled byte by byte because nothing in the metadata of a GGUF file is aligned. */
#include "format/gguf.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"

static uint64_t load(const uint8_t *bytes, size_t size) {
    uint64_t result = 0;
    for (size_t i = 0; i < size; i++) result |= (uint64_t)bytes[i] << (8 * i);
    return result;
}

struct ci_gguf_string ci_gguf_string_at(const struct ci_gguf_value *value, uint64_t index) {
    assert(value->element_type == CI_GGUF_STRING && index < value->count);
    const uint8_t *at = value->data + value->strings[index];
    return (struct ci_gguf_string){(const char *)at + 8, (size_t)load(at, 8)};
}

int64_t ci_gguf_integer_at(const struct ci_gguf_value *value, uint64_t index) {
    assert(ci_gguf_type_is_integer(value->element_type) && index < value->count);
    const uint8_t *data = value->data;
    switch (value->element_type) {
    case CI_GGUF_UINT8: return data[index];
    case CI_GGUF_INT8: return (int8_t)data[index];
    case CI_GGUF_UINT16: return (uint16_t)ci_low_bits(load(data + 2 * index, 2));
    case CI_GGUF_INT16: return (int16_t)ci_low_bits(load(data + 2 * index, 2));
    case CI_GGUF_UINT32: return ci_low_bits(load(data + 4 * index, 4));
    case CI_GGUF_INT32: return (int32_t)ci_low_bits(load(data + 4 * index, 4));
    case CI_GGUF_INT64: return (int64_t)load(data + 8 * index, 8);
    default: break;
    }
    uint64_t wide = load(data + 8 * index, 8);
    return wide > INT64_MAX ? INT64_MAX : (int64_t)wide;
}

double ci_gguf_float_at(const struct ci_gguf_value *value, uint64_t index) {
    assert(ci_gguf_type_is_float(value->element_type) && index < value->count);
    if (value->element_type == CI_GGUF_FLOAT32) {
        uint32_t bits = ci_low_bits(load(value->data + 4 * index, 4));
        float result;
        memcpy(&result, &bits, sizeof result);
        return (double)result;
    }
    uint64_t bits = load(value->data + 8 * index, 8);
    double result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

bool ci_gguf_bool_at(const struct ci_gguf_value *value, uint64_t index) {
    assert(value->element_type == CI_GGUF_BOOL && index < value->count);
    return value->data[index] != 0;
}

static enum clinfer_status wrong_type(const struct ci_gguf *gguf, const struct ci_gguf_value *value,
                                      const char *wanted) {
    bool array = value->type == CI_GGUF_ARRAY;
    return ci_fail(CLINFER_BAD_FILE, "%s: %s: is %s%s: must be %s", CI_KEY_AT(gguf, value->key),
                   array ? "an array of " : "of type ", ci_gguf_type_name(value->element_type), wanted);
}

/* *found is NULL when an optional key is absent. */
static enum clinfer_status look_up(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                   const struct ci_gguf_value **found) {
    *found = ci_gguf_find(gguf, key);
    if (*found || need == CI_GGUF_OPTIONAL) return CLINFER_OK;
    return ci_fail(CLINFER_BAD_FILE, "%s: %s: missing: this model cannot run without it", CI_KEY_AT(gguf, key));
}

/* An integer between the bounds. `unsigned 64 bits above INT64_MAX` reads as INT64_MAX, which no maximum allows but
 * that of ci_gguf_get_i64(), so it is refused by name. */
static enum clinfer_status get_integer(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                       int64_t minimum, int64_t maximum, int64_t *result) {
    const struct ci_gguf_value *value;
    enum clinfer_status status = look_up(gguf, key, need, &value);
    if (status != CLINFER_OK || !value) return status;
    if (!ci_gguf_type_is_integer(value->type)) return wrong_type(gguf, value, "an integer");
    if (value->type == CI_GGUF_UINT64 && load(value->data, 8) > INT64_MAX)
        return ci_fail(CLINFER_BAD_FILE, "%s: %s: %" PRIu64 ": must be at most %" PRId64, CI_KEY_AT(gguf, key),
                       load(value->data, 8), maximum);
    int64_t number = ci_gguf_integer_at(value, 0);
    if (number < minimum || number > maximum)
        return ci_fail(CLINFER_BAD_FILE, "%s: %s: %" PRId64 ": must be between %" PRId64 " and %" PRId64,
                       CI_KEY_AT(gguf, key), number, minimum, maximum);
    *result = number;
    return CLINFER_OK;
}

enum clinfer_status ci_gguf_get_u32_range(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                          uint32_t minimum, uint32_t maximum, uint32_t *value) {
    int64_t number = *value;
    enum clinfer_status status = get_integer(gguf, key, need, minimum, maximum, &number);
    if (status == CLINFER_OK) *value = ci_narrowed_unsigned((uint64_t)number);
    return status;
}

enum clinfer_status ci_gguf_get_u32(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                    uint32_t *value) {
    return ci_gguf_get_u32_range(gguf, key, need, 0, UINT32_MAX, value);
}

enum clinfer_status ci_gguf_get_i64(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                    int64_t *value) {
    return get_integer(gguf, key, need, INT64_MIN, INT64_MAX, value);
}

static enum clinfer_status get_real(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need, bool integers,
                                    float *result) {
    const struct ci_gguf_value *value;
    enum clinfer_status status = look_up(gguf, key, need, &value);
    if (status != CLINFER_OK || !value) return status;
    bool integer = integers && ci_gguf_type_is_integer(value->type);
    if (!integer && !ci_gguf_type_is_float(value->type))
        return wrong_type(gguf, value, integers ? "a number" : "a float");
    double number = integer ? (double)ci_gguf_integer_at(value, 0) : ci_gguf_float_at(value, 0);
    if (!isfinite(number) || fabs(number) > 3.4028234663852886e38)
        return ci_fail(CLINFER_BAD_FILE, "%s: %s: %g: must be a finite 32-bit float", CI_KEY_AT(gguf, key), number);
    *result = (float)number;
    return CLINFER_OK;
}

enum clinfer_status ci_gguf_get_f32(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                    float *result) {
    return get_real(gguf, key, need, false, result);
}

enum clinfer_status ci_gguf_get_number(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                       float *result) {
    return get_real(gguf, key, need, true, result);
}

enum clinfer_status ci_gguf_get_bool(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                     bool *result) {
    const struct ci_gguf_value *value;
    enum clinfer_status status = look_up(gguf, key, need, &value);
    if (status != CLINFER_OK || !value) return status;
    if (value->type != CI_GGUF_BOOL) return wrong_type(gguf, value, "a bool");
    *result = ci_gguf_bool_at(value, 0);
    return CLINFER_OK;
}

enum clinfer_status ci_gguf_get_string(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                       struct ci_gguf_string *result) {
    const struct ci_gguf_value *value;
    enum clinfer_status status = look_up(gguf, key, need, &value);
    if (status != CLINFER_OK || !value) return status;
    if (value->type != CI_GGUF_STRING) return wrong_type(gguf, value, "a string");
    *result = ci_gguf_string_at(value, 0);
    return CLINFER_OK;
}

static bool is_string(enum ci_gguf_type type) { return type == CI_GGUF_STRING; }

static enum clinfer_status get_array(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                     bool (*fits)(enum ci_gguf_type), const char *wanted,
                                     const struct ci_gguf_value **result) {
    const struct ci_gguf_value *value;
    enum clinfer_status status = look_up(gguf, key, need, &value);
    if (status != CLINFER_OK || !value) return status;
    if (value->type != CI_GGUF_ARRAY || !fits(value->element_type)) return wrong_type(gguf, value, wanted);
    *result = value;
    return CLINFER_OK;
}

enum clinfer_status ci_gguf_get_strings(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                        const struct ci_gguf_value **value) {
    return get_array(gguf, key, need, is_string, "an array of strings", value);
}

enum clinfer_status ci_gguf_get_integers(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                         const struct ci_gguf_value **value) {
    return get_array(gguf, key, need, ci_gguf_type_is_integer, "an array of integers", value);
}

enum clinfer_status ci_gguf_get_floats(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                       const struct ci_gguf_value **value) {
    return get_array(gguf, key, need, ci_gguf_type_is_float, "an array of floats", value);
}
