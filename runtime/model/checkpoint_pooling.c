/* checkpoint_pooling.c: how the vectors of tokens become one, and what comes behind it, stands in files of
 * sentence-transformers. */
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "format/json.h"
#include "model/checkpoint.h"

static void refuse_pooling(struct ci_checkpoint_reading *reading, const char *path, const char *field,
                           const json_t *value, const char *what) {
    char text[CI_JSON_SHOWN];
    if (reading->status == CLINFER_OK)
        reading->status = ci_fail(CLINFER_UNSUPPORTED, "%s: %s: %s: %s", path, field, ci_json_shown(value, text), what);
}

/* Of the ways to pool one is on; the numbers are those of GGUF. */
static void read_pooling(struct ci_checkpoint_reading *reading, const char *path, const json_t *pooling) {
    static const char *const modes[] = {"pooling_mode_mean_tokens", "pooling_mode_cls_token", "pooling_mode_lasttoken"};
    const char *field;
    const json_t *value;
    char key[96];
    int chosen = 0;
    json_object_foreach((json_t *)pooling, field, value) {
        if (strncmp(field, "pooling_mode_", strlen("pooling_mode_")) != 0 || json_is_false(value)) continue;
        int mode = 0;
        while (mode < 3 && strcmp(modes[mode], field) != 0) mode++;
        if (!json_is_true(value))
            refuse_pooling(reading, path, field, value, "must be true or false");
        else if (mode == 3)
            refuse_pooling(reading, path, field, value, "only mean_tokens, cls_token and lasttoken are supported");
        else if (chosen)
            refuse_pooling(reading, path, field, value,
                           "another way to pool is on, too: vectors of both of them are "
                           "not supported");
        chosen = mode + 1;
    }
    if (!chosen || reading->status != CLINFER_OK) return;
    ci_gguf_make_from(reading->maker, path, modes[chosen - 1]);
    snprintf(key, sizeof key, "%s.pooling_type", reading->family->architecture);
    ci_gguf_make_integer(reading->maker, key, chosen);
}

void ci_checkpoint_pooling(struct ci_checkpoint_reading *reading) {
    const char *path;
    json_t *pooling, *dense = NULL;
    reading->status = ci_folder_json(reading->folder, "1_Pooling/config.json", &path, &pooling);
    if (pooling) read_pooling(reading, path, pooling);
    json_decref(pooling);
    if (reading->status == CLINFER_OK)
        reading->status = ci_folder_json(reading->folder, "2_Dense/config.json", &path, &dense);
    if (dense)
        reading->status = ci_fail(CLINFER_UNSUPPORTED,
                                  "%s: a dense layer behind the pooling is not supported, and without it the vectors "
                                  "would be others: choose another model",
                                  path);
    json_decref(dense);
}
