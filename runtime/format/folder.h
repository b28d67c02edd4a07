/* folder.h: a model as the Hub has it, a folder: config.json, one or several .safetensors, and smaller files beside
 * them. Which files are meant, that they are there and belong together, and all tensors of all of them by name; what
 * they mean for a model is known to its family (model/checkpoint.h). */
#ifndef CI_FORMAT_FOLDER_H
#define CI_FORMAT_FOLDER_H

#include <jansson.h>

#include "format/gguf_make.h"
#include "format/safetensors.h"

struct ci_folder {
    struct ci_gguf_maker *maker;           /* owns the mapped files and all memory but that of `config` */
    const char *path;                      /* of the folder */
    const char *config_path;               /* of config.json */
    json_t *config;                        /* an object */
    struct ci_safetensors_tensor *tensors; /* [count], by name */
    size_t count;
};

/* Whether `path` is such a folder, or the config.json, the index or a .safetensors file of one: nothing is read. */
bool ci_folder_is(const char *path);

/* Owns; a failure leaves nothing open, and its message names the file, the field and the value. All files are mapped
 * and their headers checked; each tensor that the index lists is where it says. */
enum clinfer_status ci_folder_open(const char *path, struct ci_folder *folder);

/* Frees `config`; `maker` and what it owns live on in the `struct ci_gguf` that it has become. */
void ci_folder_end(struct ci_folder *folder);

/* The same, and closes all. */
void ci_folder_close(struct ci_folder *folder);

/* NULL: there is none of that name. */
const struct ci_safetensors_tensor *ci_folder_find(const struct ci_folder *folder, const char *name);

/* The path of the file that a tensor is in. */
const char *ci_folder_file_of(const struct ci_folder *folder, const struct ci_safetensors_tensor *tensor);

/* Another file of the folder, by its name: its path, which lives as long as the maker's memory, and its JSON, which is
 * the caller's. *object is NULL where there is no such file, and that is no failure. */
enum clinfer_status ci_folder_json(const struct ci_folder *folder, const char *name, const char **path,
                                   json_t **object);

/* "FOLDER/NAME"; NULL: out of memory. */
const char *ci_folder_path(const struct ci_folder *folder, const char *name);

#endif
