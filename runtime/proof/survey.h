/* survey.h: the known-answer tests that a device can be given: each variant that fits there, with each combination of
 * types and each layout of the weights that the cases of its op have. Cases that differ in shape alone share one test:
 * ci_proof_known_answer takes the cheapest of them. */
#ifndef CI_PROOF_SURVEY_H
#define CI_PROOF_SURVEY_H

#include "ops/op.h"
#include "profile/profile.h"

struct ci_survey_test {
    const struct ci_variant *variant;
    struct ci_call call; /* a signature: no data */
    bool covers;         /* a variant, a type of weights or a layout that no test before it has */
};

struct ci_survey {
    struct ci_survey_test
        *tests; /* those that cover come first: whoever stops behind them has seen every variant and every type */
    int count, covering;
};

enum clinfer_status ci_survey_create(const struct ci_caps *caps, struct ci_survey *survey);
void ci_survey_free(struct ci_survey *survey);

/* "q8 q4_1 r16": types of the inputs, as many as there are different ones, and the layout unless it is the stored one.
 */
void ci_survey_describe(const struct ci_survey_test *test, char *text, size_t size);

/* The hash that an entry of a profile would have if its kernel were measured now; false: there is no such kernel here.
 * It depends on types and layout and on no test: whatever plans ask for is known. */
bool ci_survey_source(bool on_device, const struct ci_profile_entry *entry, uint64_t *source);

/* Whether the kernel of a profile's entry is no longer what was measured: then the entry is not used. */
bool ci_survey_is_stale(bool on_device, const struct ci_profile_entry *entry);

#endif
