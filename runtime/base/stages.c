#include "base/stages.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"

void ci_stages_begin(struct ci_stages *stages) {
    *stages = (struct ci_stages){.begun = ci_now()};
    stages->last = stages->begun;
}

void ci_stages_end(struct ci_stages *stages, const char *name) {
    if (!stages || stages->count == CI_STAGES) return;
    double now = ci_now();
    stages->list[stages->count++] = (struct ci_stage){name, now - stages->last};
    stages->last = now;
}

void ci_stages_tell(const struct ci_stages *stages, const char *what) {
    char text[512] = "";
    size_t used = 0;
    for (int i = 0; i < stages->count && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s %.1f", i ? ", " : "", stages->list[i].name,
                                 stages->list[i].seconds * 1e3);
    ci_log(CLINFER_LOG_INFO, "%s in %.1f ms: %s", what, (stages->last - stages->begun) * 1e3, text);
}
