/* shipped.h: the files of profiles/, which scripts/embed_kernels.py turns into a table at build time. */
#ifndef CI_PROFILE_SHIPPED_H
#define CI_PROFILE_SHIPPED_H

#include "profile/profile.h"

struct ci_profile_shipped {
    const char *name; /* of the file, without ".json" */
    const char *text;
    size_t length;
};

/* Ends with an entry without a name. */
extern const struct ci_profile_shipped ci_profiles_shipped[];

/* How near a shipped profile is to a device: the larger the nearer; negative: not for it. docs/profile-format.md says
 * by what. */
double ci_profile_shipped_score(const struct ci_profile_key *shipped, const struct ci_profile_key *key);

#endif
