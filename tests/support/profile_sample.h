/* profile_sample.h: a profile with something in every field. */
#ifndef TESTS_SUPPORT_PROFILE_SAMPLE_H
#define TESTS_SUPPORT_PROFILE_SAMPLE_H

#include "profile/profile.h"

struct ci_profile_key profile_sample_key(void);
struct ci_profile_entry profile_sample_entry(const char *op, int64_t rows, int64_t k, int64_t n);

/* Two entries and a model; to be freed with ci_profile_free. */
void profile_sample(struct ci_profile *profile);

#endif
