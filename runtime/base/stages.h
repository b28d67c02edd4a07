/* stages.h: what a start consists of: stages one behind the other, told in one line of the log. */
#ifndef CI_BASE_STAGES_H
#define CI_BASE_STAGES_H

enum { CI_STAGES = 12 };

struct ci_stages {
    double begun, last; /* ci_now() */
    int count;
    struct ci_stage {
        const char *name;
        double seconds;
    } list[CI_STAGES];
};

void ci_stages_begin(struct ci_stages *stages);

/* What was done since the stage before. The name stays the caller's. `stages` NULL: nobody wants to know. */
void ci_stages_end(struct ci_stages *stages, const char *name);

/* At CLINFER_LOG_INFO: "WHAT in 53.1 ms: file 2.1, vocabulary 9.8, plan and weights 41.2". */
void ci_stages_tell(const struct ci_stages *stages, const char *what);

#endif
