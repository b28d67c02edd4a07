/* gguf.h: GGUF files (versions 2 and 3, little endian) as names, shapes and borrowed bytes.
 * Source: docs/gguf.md of the ggml project.
 *
 * ci_gguf_open() maps the file and checks every count, length, offset and shape in it, so that whatever it hands out
 * afterwards lies inside the file; nothing is copied but the names. What a value has to be for a model to run is not
 * checked here but by the typed getters, whose caller knows: they name file, key and value when it does not fit.
 *
 * Everything found through a `struct ci_gguf` is borrowed from it and dies with ci_gguf_close(). After opening, an
 * object is only read, from any number of threads. */
#ifndef CI_FORMAT_GGUF_H
#define CI_FORMAT_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

struct ci_file;
struct ci_gguf;

/* The numbers stand in the file. */
enum ci_gguf_type {
    CI_GGUF_UINT8,
    CI_GGUF_INT8,
    CI_GGUF_UINT16,
    CI_GGUF_INT16,
    CI_GGUF_UINT32,
    CI_GGUF_INT32,
    CI_GGUF_FLOAT32,
    CI_GGUF_BOOL,
    CI_GGUF_STRING,
    CI_GGUF_ARRAY,
    CI_GGUF_UINT64,
    CI_GGUF_INT64,
    CI_GGUF_FLOAT64,
    CI_GGUF_TYPES
};

/* Not zero-terminated; a string of a file may hold any byte. */
struct ci_gguf_string {
    const char *text;
    size_t length;
};

/* One metadata entry. A scalar is treated as an array of one: `element_type` equals `type` and `count` is 1. */
struct ci_gguf_value {
    const char *key; /* zero-terminated, printable */
    enum ci_gguf_type type;
    enum ci_gguf_type element_type;
    uint64_t count;
    const uint8_t *data;     /* elements as stored: little endian, unaligned; read them with ci_gguf_*_at() */
    size_t bytes;            /* of data */
    const uint32_t *strings; /* [count] offsets into data of each string's length field; NULL for other types */
};

/* One tensor. Dimensions in GGUF order: dims[0] is the length of a row, unused ones are 1. */
struct ci_gguf_tensor {
    const char *name; /* zero-terminated, printable */
    uint32_t type;    /* ci_gguf_tensor_type() knows it */
    uint32_t n_dims;  /* 1..4 */
    uint64_t dims[4];
    uint64_t offset; /* from the start of its file, a multiple of ci_gguf_alignment() */
    size_t bytes;
    const void *data;
};

/* How a tensor type packs its rows: `block_cols` columns in `block_bytes` bytes. */
struct ci_gguf_tensor_type {
    const char *name; /* as llama.cpp prints it: "F32", "Q4_1", "Q6_K" */
    uint32_t block_cols;
    uint32_t block_bytes;
};

/* Owns; on failure *gguf is NULL and the message names file, field and value. Of a split model the path of one of its
 * parts, which are found by their names; all are opened. CLINFER_BAD_FILE for damage,
 * CLINFER_UNSUPPORTED for what another version, a bigger machine or another program might read (format/kind.h). Never
 * waits for what is no file. */
enum clinfer_status ci_gguf_open(const char *path, struct ci_gguf **gguf);

/* The same over bytes of the caller, which must outlive the object; `name` takes the path's place in messages. */
enum clinfer_status ci_gguf_open_memory(const void *data, size_t size, const char *name, struct ci_gguf **gguf);

void ci_gguf_close(struct ci_gguf *gguf);

/* CLINFER_IO: the file was cut since it was opened, so that reading what it had would end the process. One system call;
 * to be asked before whatever reads much of it. */
enum clinfer_status ci_gguf_check_whole(const struct ci_gguf *gguf);

const char *ci_gguf_path(const struct ci_gguf *gguf);

/* Of what was not read from GGUF files but has the names of GGUF (gguf_make.h) the folder that it came from, else NULL.
 */
const char *ci_gguf_folder(const struct ci_gguf *gguf);
uint32_t ci_gguf_version(const struct ci_gguf *gguf);
uint32_t ci_gguf_alignment(const struct ci_gguf *gguf);

/* The mapped files (page-aligned when opened by path), and the bytes of all. */
size_t ci_gguf_file_count(const struct ci_gguf *gguf);
const struct ci_file *ci_gguf_file_at(const struct ci_gguf *gguf, size_t index);
int ci_gguf_descriptor_at(const struct ci_gguf *gguf, size_t index); /* borrowed; -1: it is not open */

/* The path of the one in which `data` lies, NULL: it lies in none. */
const char *ci_gguf_file_holding(const struct ci_gguf *gguf, const void *data);
uint64_t ci_gguf_file_bytes(const struct ci_gguf *gguf);

/* Of the mapped files (base/file.h): while it is the same, so are the bytes; 0: one was opened from memory. */
uint64_t ci_gguf_identity(const struct ci_gguf *gguf);

/* How messages name a key or a tensor: the file that it stands in, and its name there, which the formats that were
 * given GGUF's names have of their own. Also of what is missing.
 *
 *     ci_fail(status, "%s: %s: ...", CI_KEY_AT(gguf, key)) */
enum { CI_GGUF_PLACE_BYTES = 200 };
struct ci_gguf_place {
    const char *file;
    char name[CI_GGUF_PLACE_BYTES];
};
struct ci_gguf_place ci_gguf_key_place(const struct ci_gguf *gguf, const char *key);
struct ci_gguf_place ci_gguf_tensor_place(const struct ci_gguf *gguf, const char *name);
#define CI_KEY_AT(gguf, key) ci_gguf_key_place(gguf, key).file, ci_gguf_key_place(gguf, key).name
#define CI_TENSOR_AT(gguf, tensor) ci_gguf_tensor_place(gguf, tensor).file, ci_gguf_tensor_place(gguf, tensor).name

/* All entries in the order of the file. */
size_t ci_gguf_value_count(const struct ci_gguf *gguf);
const struct ci_gguf_value *ci_gguf_value_at(const struct ci_gguf *gguf, size_t index);
size_t ci_gguf_tensor_count(const struct ci_gguf *gguf);
const struct ci_gguf_tensor *ci_gguf_tensor_at(const struct ci_gguf *gguf, size_t index);

/* By name, in O(log n); NULL when there is none. */
const struct ci_gguf_value *ci_gguf_find(const struct ci_gguf *gguf, const char *key);
const struct ci_gguf_tensor *ci_gguf_find_tensor(const struct ci_gguf *gguf, const char *name);

/* "uint32", "string", ... and the row format of a tensor type; NULL for a number that GGUF does not know. */
const char *ci_gguf_type_name(enum ci_gguf_type type);
const struct ci_gguf_tensor_type *ci_gguf_tensor_type(uint32_t type);

/* Typed getters. The caller puts the default into *value first: an absent optional key leaves it as it is and is
 * CLINFER_OK; an absent required one is CLINFER_BAD_FILE, as are a wrong type and a value that does not fit. Integers
 * of every width and sign are taken when the value fits; floats of both widths when the value is finite. */
enum ci_gguf_need { CI_GGUF_OPTIONAL, CI_GGUF_REQUIRED };

enum clinfer_status ci_gguf_get_u32(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                    uint32_t *value);
enum clinfer_status ci_gguf_get_u32_range(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                          uint32_t minimum, uint32_t maximum, uint32_t *value);
enum clinfer_status ci_gguf_get_i64(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                    int64_t *value);
enum clinfer_status ci_gguf_get_f32(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need, float *value);
/* The same for what writers store as either: 1 is 1.0 here. */
enum clinfer_status ci_gguf_get_number(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                       float *value);
enum clinfer_status ci_gguf_get_bool(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need, bool *value);
enum clinfer_status ci_gguf_get_string(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                       struct ci_gguf_string *value);

/* Arrays: the entry itself, its element type checked; elements are then read with ci_gguf_*_at(). `integers` takes
 * every width and sign, `floats` both widths. */
enum clinfer_status ci_gguf_get_strings(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                        const struct ci_gguf_value **value);
enum clinfer_status ci_gguf_get_integers(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                         const struct ci_gguf_value **value);
enum clinfer_status ci_gguf_get_floats(const struct ci_gguf *gguf, const char *key, enum ci_gguf_need need,
                                       const struct ci_gguf_value **value);

/* One element, index < count (asserted); a scalar has index 0. The element type must fit (asserted), which the getters
 * above made sure of. An unsigned 64-bit number above INT64_MAX reads as INT64_MAX. Constant time. */
struct ci_gguf_string ci_gguf_string_at(const struct ci_gguf_value *value, uint64_t index);
int64_t ci_gguf_integer_at(const struct ci_gguf_value *value, uint64_t index);
double ci_gguf_float_at(const struct ci_gguf_value *value, uint64_t index);
bool ci_gguf_bool_at(const struct ci_gguf_value *value, uint64_t index);

bool ci_gguf_type_is_integer(enum ci_gguf_type type);
bool ci_gguf_type_is_float(enum ci_gguf_type type);

#endif
