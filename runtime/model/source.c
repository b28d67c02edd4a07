#include "model/source.h"

#include "base/names.h"
#include "base/status.h"
#include "format/folder.h"
#include "model/checkpoint.h"

static bool can_be_made(const struct ci_type *type) {
    bool number = type == &ci_type_f32 || type == &ci_type_f16 || type == &ci_type_bf16;
    return type->quantise && type->gguf_id >= 0 && (number || type->quantised);
}

static enum clinfer_status find_type(const char *name, const struct ci_type **type) {
    char known[512] = "";
    *type = ci_type_from_name(name);
    if (*type && can_be_made(*type)) return CLINFER_OK;
    for (int i = 0; ci_types[i]; i++)
        if (can_be_made(ci_types[i])) ci_names_add(known, sizeof known, ci_types[i]->name);
    return ci_fail(CLINFER_INVALID_ARGUMENT, "--type %s: is not a type that weights can be made of; those are: %s",
                   name, known);
}

enum clinfer_status ci_source_open(const char *path, const char *name, struct ci_gguf **gguf) {
    const struct ci_type *type = NULL;
    enum clinfer_status status = name ? find_type(name, &type) : CLINFER_OK;
    *gguf = NULL;
    if (status != CLINFER_OK) return status;
    if (ci_folder_is(path)) return ci_checkpoint_open(path, type, gguf);
    status = ci_gguf_open(path, gguf);
    if (status != CLINFER_OK || !name) return status;
    ci_gguf_close(*gguf);
    *gguf = NULL;
    return ci_fail(
        CLINFER_INVALID_ARGUMENT,
        "--type %s: %s is a GGUF file, whose weights have their types; only those of a SafeTensors folder are "
        "quantised while loading",
        name, path);
}
