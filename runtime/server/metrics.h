/* metrics.h: what the server counts, for /metrics: by llama-server's names and by vLLM's. */
#ifndef CI_SERVER_METRICS_H
#define CI_SERVER_METRICS_H

#include <clinfer.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CI_HISTOGRAM_BUCKETS = 20, CI_METRICS_RUNGS = 16, CI_METRICS_FINISHES = 5 };

struct ci_histogram {
    const double *bounds; /* ascending, ends with 0 */
    uint64_t counts[CI_HISTOGRAM_BUCKETS + 1];
    double sum;
    uint64_t total;
};

/* What one answer was. */
struct ci_metrics_answer {
    size_t prompt_tokens, cached_tokens, generated_tokens, drafts, drafted_tokens, accepted_tokens;
    double prompt_seconds, generate_seconds, queue_seconds, first_seconds, whole_seconds;
    enum clinfer_finish finish;
};

struct ci_metrics {
    atomic_ullong unread; /* streams that broke because their clients did not read; counted with other locks held */
    pthread_mutex_t lock; /* of all that follows */
    uint64_t prompt_tokens, cached_tokens, predicted_tokens, most_tokens, failures, drafts, drafted_tokens,
        accepted_tokens;
    uint64_t
        rated_tokens; /* predicted ones behind the first of their answers, which predicted_seconds is the time of */
    double prompt_seconds, predicted_seconds;
    uint64_t finished[CI_METRICS_FINISHES];
    struct ci_histogram first, between, whole, queued, prompts, answers;
    struct {
        char name[128];
        uint64_t answers, fallbacks;
    } rungs[CI_METRICS_RUNGS];
    /* Of engines that come and go: what the last look found, and what those had counted that have gone since. */
    struct ci_metrics_total {
        uint64_t last, gone;
    } steps, step_rows;
    /* since the last look */
    uint64_t prompt_tokens_before, rated_tokens_before;
    double prompt_seconds_before, predicted_seconds_before;
};

void ci_metrics_init(struct ci_metrics *metrics);
void ci_metrics_add(struct ci_metrics *metrics, const struct ci_metrics_answer *answer);
/* Of texts that become vectors: a prompt without an answer. */
void ci_metrics_prompt(struct ci_metrics *metrics, size_t tokens, double seconds);
void ci_metrics_token(struct ci_metrics *metrics, double seconds); /* between two of an answer */
void ci_metrics_route(struct ci_metrics *metrics, const char *rung, bool fell_back);
void ci_metrics_failure(struct ci_metrics *metrics);
void ci_metrics_unread(struct ci_metrics *metrics);

/* What else /metrics shows. */
struct ci_metrics_now {
    const char *model;
    int running, waiting;
    uint64_t steps, step_rows; /* of the engines that are open */
    double cache_used;         /* 0 to 1, of the model that has used most */
    bool ready, degraded;
    struct ci_metrics_rung {
        char name[128];
        bool in_use;
    } rungs[CI_METRICS_RUNGS]; /* of the models that are loaded or asleep, "" behind the last */
};

/* One rung of a model; one that several have is in use where it is for all. */
void ci_metrics_now_rung(struct ci_metrics_now *now, const char *name, bool in_use);

/* Prometheus' text format; the caller's to free. NULL: out of memory. */
char *ci_metrics_text(struct ci_metrics *metrics, const struct ci_metrics_now *now, size_t *length);

#endif
