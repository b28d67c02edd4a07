/* inspect_file.h: what `clinfer inspect` says about a file as a whole. */
#ifndef CI_CLI_INSPECT_FILE_H
#define CI_CLI_INSPECT_FILE_H

#include <jansson.h>

#include "cli/inspect_text.h"
#include "engine/predict.h"
#include "format/gguf.h"
#include "model/model.h"

enum { CI_INSPECT_TYPES = 64 };

struct ci_inspection {
    uint64_t file_bytes;
    char architecture[65];
    uint64_t parameters, tensor_bytes;
    struct ci_inspected_type {
        uint32_t type;
        size_t tensors;
        uint64_t bytes;
        bool supported;
    } types[CI_INSPECT_TYPES]; /* the largest first */
    size_t type_count;

    enum clinfer_status status; /* whether a run would get past loading the file */
    char reason[1024];          /* why not */
    struct ci_model model;      /* when it would; without weights, open until ci_inspect_end() */
    bool has_template;
    struct ci_inspected_text text;
    struct clinfer_engine_info sampling; /* the sampling part of it: the file's numbers, else the usual ones */
    uint64_t cache_bytes_per_token;      /* keys and values in f16 */
    int context;                         /* for which memory is predicted */
    struct ci_host_bytes memory;         /* on the CPU backend, before anything is loaded */
};

/* Memory is predicted for a context of so many tokens; 0: as many as the model was made for. `rope`: as the engine
 * takes it; NULL: the file's. */
void ci_inspect_file(const struct ci_gguf *gguf, int context, const struct clinfer_rope_options *rope,
                     struct ci_inspection *found);
void ci_inspect_end(struct ci_inspection *found);

/* inspect.c: for people, a summary; what is not used, metadata and tensors where asked for; and for programs. */
void ci_inspect_print_summary(const struct ci_gguf *gguf, const struct ci_inspection *found);
void ci_inspect_print_rest(const struct ci_gguf *gguf, const struct ci_inspection *found, bool metadata, bool tensors);
json_t *ci_inspect_json(const struct ci_gguf *gguf, const struct ci_inspection *found);

#endif
