/* Gives the entries of shipped profiles the hashes of the kernels of this build, without measuring anew: for a change
 * after which what was chosen still is the best. Times stay those of the old kernels. scripts/renew_hashes.sh builds
 * and runs it.
 *
 * usage: renew_hashes PROFILE.json... */
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "profile/profile.h"
#include "proof/survey.h"

static enum clinfer_status renew(const char *path) {
    struct ci_profile profile;
    int renewed = 0;
    enum clinfer_status status = ci_profile_read(path, &profile);
    if (status != CLINFER_OK) return status;
    for (int i = 0; i < profile.entry_count; i++) {
        struct ci_profile_entry *entry = &profile.entries[i];
        uint64_t source;
        if (!ci_survey_source(strcmp(profile.key.platform, "cpu") != 0, entry, &source)) continue;
        renewed += source != entry->source;
        entry->source = source;
    }
    printf("%s: %d of %d hashes renewed\n", path, renewed, profile.entry_count);
    for (int i = 0; renewed && i < profile.model_count; i++) profile.models[i].outdated = true;
    if (renewed) status = ci_profile_write(path, &profile);
    ci_profile_free(&profile);
    return status;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (renew(argv[i]) != CLINFER_OK) {
            fprintf(stderr, "renew_hashes: %s: %s\n", argv[i], ci_status_message());
            return 1;
        }
    return 0;
}
