/* tune.h: what the files of `clinfer tune` share: tune.c tunes, tune_report.c tells. */
#ifndef CI_CLI_TUNE_H
#define CI_CLI_TUNE_H

#include <jansson.h>

#include "tuner/tune.h"

/* One device, or the CPU backend, and what became of it. */
struct ci_tune_device {
    int index; /* of ci_device_list; -1: the CPU backend */
    char name[128], platform[128];
    struct ci_caps caps;
    bool done;
    enum clinfer_status status;
    char message[512]; /* of a failure */
    struct ci_tune_result result;
};

/* The table, then the whole models. `all`: lines that matter little too. */
void ci_tune_print(const struct ci_tune_device *device, bool all);
json_t *ci_tune_device_json(const struct ci_tune_device *device);

/* One line of --log, without its end. */
json_t *ci_tune_trial_json(const struct ci_tune_device *device, const struct ci_tune_trial *trial);

/* "matmul q8 q4_1 1x576 -> 3072", and "gemv_vec r16 STREAMS=8 TASKS=4". */
enum { CI_TUNE_TEXT = 256 };
const char *ci_tune_problem_text(const struct ci_profile_signature *signature, char text[CI_TUNE_TEXT]);
const char *ci_tune_candidate_text(const struct ci_tuner_candidate *candidate, char text[CI_TUNE_TEXT]);

#endif
