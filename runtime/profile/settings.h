/* settings.h: what a whole model runs fastest with, beside its kernels, as a profile knows it. A member that says
 * nothing (0, "") leaves a run as it is by itself; what the user says comes before all of them. */
#ifndef CI_PROFILE_SETTINGS_H
#define CI_PROFILE_SETTINGS_H

#include <stdbool.h>

enum { CI_SETTING_WORD_BYTES = 16 };

/* May be compared as bytes. */
struct ci_profile_settings {
    int threads;                             /* of the CPU backend */
    int batch;                               /* rows of a step at most */
    char activations[CI_SETTING_WORD_BYTES]; /* as --activations takes them */
    char pages[CI_SETTING_WORD_BYTES];       /* "small": no large pages are asked for */
};

/* Seconds of a step with 1, 2, 4, 8 and 16 rows, each of which has logits: what guessing tokens costs. 0: not measured.
 */
enum { CI_PROFILE_STEPS = 5 };
struct ci_profile_steps {
    double seconds[CI_PROFILE_STEPS];
};

bool ci_profile_settings_say(const struct ci_profile_settings *settings); /* anything at all */

#endif
