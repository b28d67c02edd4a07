/* pace.h: how large a piece of a prompt may be that is computed beside answers, so that nobody waits long for the next
 * token. It follows from how long the steps before took; no clock is read here. */
#ifndef CI_ENGINE_PACE_H
#define CI_ENGINE_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* How long steps take here, as measured; 0: not known yet. */
struct ci_pace {
    double landed;         /* when the results of the last step were there */
    double decode_seconds; /* of a step in which all decode */
    int64_t decoding;      /* so many rows the last of them had */
    int64_t piece;         /* so many rows of prompts beside them make a step that takes as long as it may */
};

struct ci_pace_step {
    double seconds;
    int64_t prompt, decoding; /* its rows: of prompts, and of those that decode */
    bool cut;                 /* there may have been more rows of prompts */
};

/* A step took so long; steps have `most` rows at most. */
void ci_pace_take(struct ci_pace *pace, const struct ci_pace_step *step, int64_t most);

/* Rows of prompts for the next step beside those that decode. */
int64_t ci_pace_piece(const struct ci_pace *pace);

/* As long as a step with prompts may take while others decode. */
double ci_pace_seconds_allowed(const struct ci_pace *pace);

#endif
