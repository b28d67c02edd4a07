/* checkpoint_tensors.c: the tensors of a folder under GGUF's names. Their bytes stay where they are mapped unless
 * convert.h has to make others. What no list knows keeps its own name, so that judge.c can refuse it by that. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/narrow.h"
#include "base/status.h"
#include "model/checkpoint.h"
#include "model/convert.h"

enum { NAME_BYTES = 256, MOST_NUMBERS = 2, NUMBER_DIGITS = 6, USED_ALIGNMENT = 8 };

/* ---- names ---- */

struct match {
    const struct ci_checkpoint_tensor *rule;
    const char *name; /* that was matched */
    int numbers[MOST_NUMBERS], count;
    const char *end; /* what stands behind the pattern: "", ".weight" or ".bias" */
};

/* Whether `name` is `pattern` with numbers, and perhaps an end that a stem leaves open. */
static bool match_pattern(const char *pattern, const char *name, struct match *match) {
    match->count = 0;
    memset(match->numbers, 0, sizeof match->numbers);
    for (; *pattern; pattern++) {
        if (*pattern != '*') {
            if (*pattern != *name++) return false;
            continue;
        }
        size_t digits = strspn(name, "0123456789");
        if (digits < 1 || digits > NUMBER_DIGITS || (digits > 1 && *name == '0') || match->count == MOST_NUMBERS)
            return false;
        match->numbers[match->count++] = atoi(name);
        name += digits;
    }
    match->end = name;
    return !*name || strcmp(name, ".weight") == 0 || strcmp(name, ".bias") == 0;
}

/* `pattern` with these numbers, and the end. */
static void fill_pattern(const char *pattern, const struct match *match, char text[NAME_BYTES]) {
    size_t at = 0;
    int number = 0;
    for (; *pattern && at + NUMBER_DIGITS + 1 < NAME_BYTES; pattern++) {
        if (*pattern != '*')
            text[at++] = *pattern;
        else
            at += (size_t)sprintf(text + at, "%d", match->numbers[number++]);
    }
    snprintf(text + at, NAME_BYTES - at, "%s", match->end);
}

static const struct ci_checkpoint_tensor *lists_of(const struct ci_family *family, int index) {
    return index ? ci_checkpoint_common_tensors : family->checkpoint->tensors;
}

static bool find_rule(const struct ci_family *family, const char *name, struct match *match) {
    for (int i = 0; i < 2; i++)
        for (const struct ci_checkpoint_tensor *rule = lists_of(family, i); rule && rule->own; rule++)
            if (match_pattern(rule->own, name, match)) {
                match->rule = rule;
                match->name = name;
                return true;
            }
    return false;
}

/* The same trunk is called otherwise in models with other heads, or with eyes; `text` is for that name. */
static bool find_in_trunk(const struct ci_family *family, const char *name, char text[NAME_BYTES],
                          struct match *match) {
    static const char *const trunks[][2] = {
        {"", ""},      {"", "model."},       {"model.language_model.", "model."}, {"language_model.", ""},
        {"bert.", ""}, {"transformer.", ""},
    };
    for (size_t i = 0; i < sizeof trunks / sizeof *trunks; i++) {
        size_t length = strlen(trunks[i][0]);
        if (strncmp(name, trunks[i][0], length) != 0) continue;
        snprintf(text, NAME_BYTES, "%s%s", trunks[i][1], name + length);
        if (find_rule(family, text, match)) return true;
    }
    return false;
}

/* For messages about what is missing. */
static void own_name(const struct ci_gguf_maker *maker, const char *name, char *text, size_t size) {
    const struct ci_family *family = maker->user;
    struct match match;
    char own[NAME_BYTES];
    for (int i = 0; i < 2; i++)
        for (const struct ci_checkpoint_tensor *rule = lists_of(family, i); rule && rule->own; rule++) {
            if (!match_pattern(rule->gguf, name, &match)) continue;
            match.numbers[1] = 0; /* the first expert stands for all */
            fill_pattern(rule->own, &match, own);
            snprintf(text, size, "%s", own);
            return;
        }
}

static bool is_mxfp4(enum ci_checkpoint_bytes bytes) { return bytes >= CI_CHECKPOINT_MXFP4; }

/* The pattern of the exponents of codes of MXFP4. */
static void scales_pattern(const struct ci_checkpoint_tensor *rule, char text[NAME_BYTES]) {
    static const char end[] = "blocks";
    snprintf(text, NAME_BYTES, "%.*sscales", ci_shown(strlen(rule->own) - strlen(end), NAME_BYTES), rule->own);
}

/* Exponents, which go where their codes go. */
static bool is_scales(const struct ci_family *family, const char *name) {
    struct match match;
    char pattern[NAME_BYTES];
    for (const struct ci_checkpoint_tensor *rule = family->checkpoint->tensors; rule && rule->own; rule++) {
        if (!is_mxfp4(rule->bytes)) continue;
        scales_pattern(rule, pattern);
        if (match_pattern(pattern, name, &match)) return true;
    }
    return false;
}

/* ---- what becomes of one ---- */

struct tensors {
    struct ci_checkpoint_reading *reading;
    const struct ci_type *wanted; /* of matrices; NULL: as stored */
    size_t unfit;                 /* matrices whose rows are no whole blocks of that */
    int64_t unfit_cols;           /* of one of them */
    struct ci_conversion *first, **next;
};

static void refuse(const struct tensors *tensors, enum clinfer_status status,
                   const struct ci_safetensors_tensor *tensor, const char *field, const char *what) {
    struct ci_checkpoint_reading *reading = tensors->reading;
    if (reading->status == CLINFER_OK)
        reading->status = ci_fail(status, "%s: tensor %s: %s: %s", ci_folder_file_of(reading->folder, tensor),
                                  tensor->name, field, what);
}

/* GGUF's order of dimensions; of more than four the outer ones as one. */
static void set_dims(const struct ci_safetensors_tensor *own, struct ci_gguf_tensor *tensor) {
    for (int i = 0; i < 4; i++) tensor->dims[i] = 1;
    for (uint32_t i = 0; i < own->n_dims; i++) tensor->dims[i < 4 ? i : 3] *= own->dims[own->n_dims - 1 - i];
    tensor->n_dims = own->n_dims < 1 ? 1 : own->n_dims > 4 ? 4 : own->n_dims;
}

static size_t offset_of(const struct tensors *tensors, const struct ci_safetensors_tensor *own) {
    return (size_t)(own->data - tensors->reading->maker->gguf->files[own->file].mapped.file.data);
}

static size_t add(const struct tensors *tensors, const char *name, const struct ci_safetensors_tensor *own,
                  struct ci_gguf_tensor *tensor) {
    tensor->name = name;
    tensor->offset = offset_of(tensors, own);
    return ci_gguf_make_tensor(tensors->reading->maker, tensor, ci_folder_file_of(tensors->reading->folder, own),
                               own->name);
}

/* Under its own name, for whoever judges what is not used. */
static void add_unknown(const struct tensors *tensors, const struct ci_safetensors_tensor *own) {
    const int32_t bytes = 24; /* I8 */
    struct ci_gguf_tensor tensor = {.data = own->data, .bytes = own->bytes};
    set_dims(own, &tensor);
    tensor.type = (uint32_t)(own->dtype->gguf_id != CI_SAFETENSORS_NO_GGUF ? own->dtype->gguf_id : bytes);
    add(tensors, own->name, own, &tensor);
}

/* The numbers that a matrix or a vector may be made of. */
static bool is_usable(const struct tensors *tensors, const struct ci_safetensors_tensor *own) {
    const struct ci_type *type = own->dtype->gguf_id >= 0 ? ci_type_from_gguf((uint32_t)own->dtype->gguf_id) : NULL;
    bool weights = type == &ci_type_f32 || type == &ci_type_f16 || type == &ci_type_bf16;
    if (!weights) {
        char what[160];
        snprintf(what, sizeof what, "%s is not supported: fetch the model in BF16, F16 or F32", own->dtype->name);
        refuse(tensors, CLINFER_UNSUPPORTED, own, "dtype", what);
    } else if (own->bytes == 0 || own->n_dims < 1 || own->n_dims > 3) {
        refuse(tensors, CLINFER_BAD_FILE, own, "shape",
               own->bytes ? "one to three dimensions are expected" : "there are no numbers in it");
        weights = false;
    }
    return weights;
}

/* One source for each expert, from this one, the first, on; NULL: a failure. */
static const struct ci_safetensors_tensor **find_experts(const struct tensors *tensors, struct match *match,
                                                         const struct ci_safetensors_tensor *own, size_t *count) {
    const struct ci_folder *folder = tensors->reading->folder;
    const struct ci_safetensors_tensor *expert = own;
    const struct ci_safetensors_tensor **found;
    char name[NAME_BYTES];
    for (*count = 0; expert; expert = ci_folder_find(folder, name)) {
        match->numbers[1] = ci_narrowed((int64_t)++ * count);
        fill_pattern(match->rule->own, match, name);
    }
    found = ci_gguf_make_array(tensors->reading->maker, *count, sizeof *found);
    for (size_t i = 0; found && i < *count; i++) {
        match->numbers[1] = ci_narrowed((int64_t)i);
        fill_pattern(match->rule->own, match, name);
        found[i] = i ? ci_folder_find(folder, name) : own;
        if (found[i]->dtype != own->dtype || found[i]->n_dims != own->n_dims ||
            memcmp(found[i]->dims, own->dims, sizeof own->dims) != 0) {
            refuse(tensors, CLINFER_BAD_FILE, found[i], "shape", "differs from that of the first expert");
            return NULL;
        }
    }
    return found;
}

static bool is_half(enum ci_checkpoint_bytes bytes) {
    return bytes >= CI_CHECKPOINT_FIRST_HALF && bytes != CI_CHECKPOINT_MXFP4;
}

static bool is_columns(enum ci_checkpoint_bytes bytes) {
    return bytes == CI_CHECKPOINT_EVEN_COLUMNS || bytes == CI_CHECKPOINT_ODD_COLUMNS;
}

static bool is_odd(enum ci_checkpoint_bytes bytes) {
    return bytes == CI_CHECKPOINT_ODD_ROWS || bytes == CI_CHECKPOINT_ODD_COLUMNS ||
           bytes == CI_CHECKPOINT_MXFP4_ODD_ROWS;
}

/* [..., blocks, 16] codes and [..., blocks] exponents become [..., blocks * 32] numbers. */
static bool set_blocks(const struct tensors *tensors, const struct match *match,
                       const struct ci_safetensors_tensor *own, struct ci_conversion *made,
                       struct ci_gguf_tensor *tensor) {
    char pattern[NAME_BYTES], name[NAME_BYTES];
    scales_pattern(match->rule, pattern);
    fill_pattern(pattern, match, name);
    made->scales = ci_folder_find(tensors->reading->folder, name);
    if (!made->scales) {
        refuse(tensors, CLINFER_BAD_FILE, own, name, "is missing: these codes have no exponents");
        return false;
    }
    const struct ci_safetensors_tensor *scales = made->scales;
    const uint32_t dims = scales->n_dims;
    bool fits = own->bytes && own->n_dims == dims + 1 && (dims == 2 || dims == 3) && own->dims[dims] == 16 &&
                memcmp(own->dims, scales->dims, dims * sizeof *own->dims) == 0;
    if (strcmp(own->dtype->name, "U8") != 0 || strcmp(scales->dtype->name, "U8") != 0 || !fits) {
        refuse(tensors, CLINFER_BAD_FILE, own, "shape",
               "codes of MXFP4 are U8 [..., blocks, 16], their exponents U8 "
               "[..., blocks]");
        return false;
    }
    set_dims(scales, tensor);
    tensor->dims[0] *= (uint64_t)ci_type_mxfp4.block_cols;
    return true;
}

/* The shape of what is made, and which rows of the sources it takes. */
static bool set_shape(const struct tensors *tensors, const struct match *match, bool experts,
                      struct ci_conversion *made, struct ci_gguf_tensor *tensor) {
    const struct ci_safetensors_tensor *own = made->sources[0];
    const enum ci_checkpoint_bytes bytes = match->rule->bytes;
    if (!is_mxfp4(bytes))
        set_dims(own, tensor);
    else if (!set_blocks(tensors, match, own, made, tensor))
        return false;
    bool biases = is_columns(bytes) && own->n_dims == 2;
    if (biases) { /* a matrix with one input each */
        tensor->dims[2] = tensor->dims[1];
        tensor->dims[1] = 1;
    }
    made->transposed = (bytes == CI_CHECKPOINT_TRANSPOSED && own->n_dims > 1) || is_columns(bytes);
    if (made->transposed) {
        uint64_t cols = tensor->dims[0];
        tensor->dims[0] = tensor->dims[1];
        tensor->dims[1] = cols;
    }
    made->step = 1;
    made->own_rows = (int64_t)tensor->dims[1];
    if (is_half(bytes)) {
        if (tensor->dims[1] % 2) {
            refuse(tensors, CLINFER_BAD_FILE, own, "shape", "two matrices in one need an even number of rows");
            return false;
        }
        tensor->dims[1] /= 2;
        made->step = bytes >= CI_CHECKPOINT_EVEN_ROWS ? 2 : 1;
        made->first = bytes == CI_CHECKPOINT_SECOND_HALF ? (int64_t)tensor->dims[1] : is_odd(bytes);
    }
    if (experts) {
        tensor->dims[2] = made->source_count;
        tensor->n_dims = 3;
    }
    made->cols = (int64_t)tensor->dims[0];
    made->rows_each = (int64_t)tensor->dims[1];
    made->rows = (int64_t)(tensor->dims[1] * tensor->dims[2]);
    made->add = bytes == CI_CHECKPOINT_PLUS_ONE ? 1 : 0;
    if (biases) {
        tensor->dims[0] = tensor->dims[1];
        tensor->dims[1] = tensor->dims[2];
        tensor->dims[2] = 1;
        tensor->n_dims = 2;
    }
    return true;
}

/* Vectors are F32 as in GGUF. Matrices are quantised where the user wants it and whole blocks fill a row. */
static const struct ci_type *type_of(struct tensors *tensors, const struct ci_conversion *made, const char *name) {
    static const char *const small[] = {"norm", "ffn_gate_inp", "position_embd", "token_types"};
    const struct ci_type *stored = made->scales ? NULL : ci_type_from_gguf((uint32_t)made->sources[0]->dtype->gguf_id);
    const char *end = strrchr(name, '.');
    bool matrix = end && strcmp(end, ".weight") == 0;
    if (made->scales) return &ci_type_mxfp4;
    if (made->rows == 1 || made->cols == 1) return &ci_type_f32;
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) matrix = matrix && !strstr(name, small[i]);
    if (!tensors->wanted || !matrix) return stored;
    if (ci_type_fits_cols(tensors->wanted, made->cols)) return tensors->wanted;
    tensors->unfit++;
    tensors->unfit_cols = made->cols;
    return stored;
}

static void add_known(struct tensors *tensors, struct match *match, const struct ci_safetensors_tensor *own) {
    struct ci_gguf_maker *maker = tensors->reading->maker;
    struct ci_conversion *made = ci_gguf_make_array(maker, 1, sizeof *made);
    struct ci_gguf_tensor tensor = {0};
    char name[NAME_BYTES];
    bool experts = match->count == 2;
    if (!made || (!is_mxfp4(match->rule->bytes) && !is_usable(tensors, own))) return;
    fill_pattern(match->rule->gguf, match, name);
    made->source_count = 1;
    made->sources = experts ? find_experts(tensors, match, own, &made->source_count)
                            : ci_gguf_make_array(maker, 1, sizeof(struct ci_safetensors_tensor *));
    if (!made->sources) return;
    made->sources[0] = own;
    if (!set_shape(tensors, match, experts, made, &tensor)) return;
    made->type = type_of(tensors, made, name);
    tensor.type = (uint32_t)made->type->gguf_id;
    tensor.bytes = ci_type_row_bytes(made->type, made->cols) * (size_t)made->rows;
    tensor.data = own->data;
    bool as_stored = made->source_count == 1 && match->rule->bytes == CI_CHECKPOINT_AS_STORED &&
                     made->type->gguf_id == own->dtype->gguf_id && offset_of(tensors, own) % USED_ALIGNMENT == 0;
    made->tensor = add(tensors, name, own, &tensor);
    if (as_stored) return;
    *tensors->next = made;
    tensors->next = &made->next;
}

/* ---- all ---- */

/* The embedding is the output, and what is called that is a copy of it, if it is there at all. */
static bool is_tied_head(const struct ci_checkpoint_reading *reading, const char *name) {
    const json_t *tied = ci_checkpoint_find(reading, "tie_word_embeddings");
    return strcmp(name, "lm_head.weight") == 0 && (tied ? json_is_true(tied) : reading->family->checkpoint->tied);
}

static void check_head(const struct tensors *tensors) {
    const struct ci_checkpoint_reading *reading = tensors->reading;
    const json_t *tied = ci_checkpoint_find(reading, "tie_word_embeddings");
    if (tied && !json_is_boolean(tied))
        ci_checkpoint_refuse(tensors->reading, CLINFER_BAD_FILE, "tie_word_embeddings", "must be true or false");
    if (json_is_false(tied) && !ci_folder_find(reading->folder, "lm_head.weight"))
        ci_checkpoint_refuse(tensors->reading, CLINFER_BAD_FILE, "tie_word_embeddings",
                             "then there must be a tensor lm_head.weight, and there is none");
}

/* Of experts the first one stands for all; the others must follow it. */
static bool is_later_expert(const struct tensors *tensors, const struct match *match,
                            const struct ci_safetensors_tensor *own) {
    char name[NAME_BYTES];
    struct match before = *match;
    if (match->count < 2 || match->numbers[1] == 0) return false;
    before.numbers[1]--;
    fill_pattern(match->rule->own, &before, name);
    if (!ci_folder_find(tensors->reading->folder, name))
        refuse(tensors, CLINFER_BAD_FILE, own, "name", "the expert before it is missing");
    return true;
}

static void tell_of_unfit(const struct tensors *tensors) {
    if (tensors->unfit)
        ci_log(CLINFER_LOG_WARNING,
               "%s: --type %s: %zu matrices stay as they are: a row of %" PRId64
               " numbers is no multiple of the %d of a block; q8_0, q5_0 and q4_0 have blocks of 32",
               tensors->reading->folder->path, tensors->wanted->name, tensors->unfit, tensors->unfit_cols,
               tensors->wanted->block_cols);
}

void ci_checkpoint_tensors(struct ci_checkpoint_reading *reading, const struct ci_type *type) {
    struct tensors tensors = {.reading = reading, .wanted = type};
    const struct ci_folder *folder = reading->folder;
    tensors.next = &tensors.first;
    reading->maker->own_tensor_name = own_name;
    reading->maker->user = reading->family;
    for (size_t i = 0; i < folder->count && reading->status == CLINFER_OK; i++) {
        const struct ci_safetensors_tensor *own = &folder->tensors[i];
        struct match match;
        char text[NAME_BYTES];
        if (is_scales(reading->family, own->name)) continue;
        if (is_tied_head(reading, own->name) || !find_in_trunk(reading->family, own->name, text, &match))
            add_unknown(&tensors, own);
        else if (!is_later_expert(&tensors, &match, own))
            for (; match.rule->own; match.rule++) /* two matrices in one have a rule each */
                if (match_pattern(match.rule->own, match.name, &match)) add_known(&tensors, &match, own);
    }
    if (reading->status == CLINFER_OK) check_head(&tensors);
    if (reading->status == CLINFER_OK) reading->status = reading->maker->status;
    if (reading->status == CLINFER_OK) tell_of_unfit(&tensors);
    if (reading->status == CLINFER_OK) reading->status = ci_convert(reading->maker, tensors.first);
}
