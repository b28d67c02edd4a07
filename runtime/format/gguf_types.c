/* The types GGUF knows, of metadata and of tensors: names and sizes. The table of tensor types is complete (ggml.h,
 * block structs in ggml-common.h), although clinfer runs only some of them: a tensor of another type must still be
 * measured, checked against the file and listed. */
#include "format/gguf.h"

const char *ci_gguf_type_name(enum ci_gguf_type type) {
    static const char *const names[CI_GGUF_TYPES] = {
        [CI_GGUF_UINT8] = "uint8",     [CI_GGUF_INT8] = "int8",     [CI_GGUF_UINT16] = "uint16",
        [CI_GGUF_INT16] = "int16",     [CI_GGUF_UINT32] = "uint32", [CI_GGUF_INT32] = "int32",
        [CI_GGUF_FLOAT32] = "float32", [CI_GGUF_BOOL] = "bool",     [CI_GGUF_STRING] = "string",
        [CI_GGUF_ARRAY] = "array",     [CI_GGUF_UINT64] = "uint64", [CI_GGUF_INT64] = "int64",
        [CI_GGUF_FLOAT64] = "float64"};
    return (unsigned)type < CI_GGUF_TYPES ? names[type] : NULL;
}

bool ci_gguf_type_is_integer(enum ci_gguf_type type) {
    return type <= CI_GGUF_INT32 || type == CI_GGUF_UINT64 || type == CI_GGUF_INT64;
}

bool ci_gguf_type_is_float(enum ci_gguf_type type) { return type == CI_GGUF_FLOAT32 || type == CI_GGUF_FLOAT64; }

/* The index is the number in the file; the holes were formats that ggml has withdrawn. */
static const struct ci_gguf_tensor_type tensor_types[] = {
    [0] = {"F32", 1, 4},         [1] = {"F16", 1, 2},         [2] = {"Q4_0", 32, 18},      [3] = {"Q4_1", 32, 20},
    [6] = {"Q5_0", 32, 22},      [7] = {"Q5_1", 32, 24},      [8] = {"Q8_0", 32, 34},      [9] = {"Q8_1", 32, 36},
    [10] = {"Q2_K", 256, 84},    [11] = {"Q3_K", 256, 110},   [12] = {"Q4_K", 256, 144},   [13] = {"Q5_K", 256, 176},
    [14] = {"Q6_K", 256, 210},   [15] = {"Q8_K", 256, 292},   [16] = {"IQ2_XXS", 256, 66}, [17] = {"IQ2_XS", 256, 74},
    [18] = {"IQ3_XXS", 256, 98}, [19] = {"IQ1_S", 256, 50},   [20] = {"IQ4_NL", 32, 18},   [21] = {"IQ3_S", 256, 110},
    [22] = {"IQ2_S", 256, 82},   [23] = {"IQ4_XS", 256, 136}, [24] = {"I8", 1, 1},         [25] = {"I16", 1, 2},
    [26] = {"I32", 1, 4},        [27] = {"I64", 1, 8},        [28] = {"F64", 1, 8},        [29] = {"IQ1_M", 256, 56},
    [30] = {"BF16", 1, 2},       [34] = {"TQ1_0", 256, 54},   [35] = {"TQ2_0", 256, 66},   [39] = {"MXFP4", 32, 17},
    [40] = {"NVFP4", 64, 36},    [41] = {"Q1_0", 128, 18},    [42] = {"Q2_0", 64, 18},
};

const struct ci_gguf_tensor_type *ci_gguf_tensor_type(uint32_t type) {
    if (type >= sizeof tensor_types / sizeof *tensor_types || !tensor_types[type].name) return NULL;
    return &tensor_types[type];
}
