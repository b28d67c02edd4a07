/* metrics.c: see metrics.h. Names and meanings are those of llama-server's (prefix "llamacpp:") and of vLLM's ("vllm:",
 * with the model's name as a label), so that dashboards made for either work; what neither has is "clinfer:". */
#define _GNU_SOURCE
#include "server/metrics.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double latency_bounds[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5,
                                        0.75,  1,     2.5,  5,    7.5,  10,   20,   40,  80,   0};
static const double gap_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15,
                                    0.2,   0.3,    0.4,   0.5,  0.75,  1,    2.5,   5,   0};
static const double whole_bounds[] = {0.1, 0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,
                                      15,  20,  30,  40,  50, 60,  120, 240, 480, 0};
static const double token_bounds[] = {1,    2,    5,    10,    20,    50,    100,    200, 500,
                                      1000, 2000, 5000, 10000, 20000, 50000, 100000, 0};

void ci_metrics_init(struct ci_metrics *metrics) {
    memset(metrics, 0, sizeof *metrics);
    pthread_mutex_init(&metrics->lock, NULL);
    metrics->first.bounds = metrics->queued.bounds = latency_bounds;
    metrics->between.bounds = gap_bounds;
    metrics->whole.bounds = whole_bounds;
    metrics->prompts.bounds = metrics->answers.bounds = token_bounds;
}

static void observe(struct ci_histogram *histogram, double value) {
    int i = 0;
    while (histogram->bounds[i] > 0 && value > histogram->bounds[i]) i++;
    histogram->counts[i]++;
    histogram->sum += value;
    histogram->total++;
}

void ci_metrics_add(struct ci_metrics *metrics, const struct ci_metrics_answer *answer) {
    size_t tokens = answer->prompt_tokens + answer->generated_tokens;
    size_t computed = answer->prompt_tokens > answer->cached_tokens ? answer->prompt_tokens - answer->cached_tokens : 0;
    pthread_mutex_lock(&metrics->lock);
    metrics->prompt_tokens += computed;
    metrics->cached_tokens += answer->cached_tokens;
    metrics->predicted_tokens += answer->generated_tokens;
    metrics->drafts += answer->drafts;
    metrics->drafted_tokens += answer->drafted_tokens;
    metrics->accepted_tokens += answer->accepted_tokens;
    metrics->rated_tokens += answer->generated_tokens ? answer->generated_tokens - 1 : 0;
    metrics->prompt_seconds += answer->prompt_seconds;
    metrics->predicted_seconds += answer->generate_seconds;
    if (tokens > metrics->most_tokens) metrics->most_tokens = tokens;
    if ((unsigned)answer->finish < CI_METRICS_FINISHES) metrics->finished[answer->finish]++;
    observe(&metrics->first, answer->first_seconds);
    observe(&metrics->whole, answer->whole_seconds);
    observe(&metrics->queued, answer->queue_seconds);
    observe(&metrics->prompts, (double)answer->prompt_tokens);
    observe(&metrics->answers, (double)answer->generated_tokens);
    pthread_mutex_unlock(&metrics->lock);
}

void ci_metrics_prompt(struct ci_metrics *metrics, size_t tokens, double seconds) {
    pthread_mutex_lock(&metrics->lock);
    metrics->prompt_tokens += tokens;
    metrics->prompt_seconds += seconds;
    pthread_mutex_unlock(&metrics->lock);
}

void ci_metrics_token(struct ci_metrics *metrics, double seconds) {
    pthread_mutex_lock(&metrics->lock);
    observe(&metrics->between, seconds);
    pthread_mutex_unlock(&metrics->lock);
}

void ci_metrics_failure(struct ci_metrics *metrics) {
    pthread_mutex_lock(&metrics->lock);
    metrics->failures++;
    pthread_mutex_unlock(&metrics->lock);
}

void ci_metrics_unread(struct ci_metrics *metrics) { atomic_fetch_add(&metrics->unread, 1); }

static void name_rung(char *to, size_t size, const char *rung) {
    size_t length = 0;
    for (; *rung && length + 1 < size; rung++)
        to[length++] = *rung == '"' || *rung == '\\' || *rung == '\n' ? '_' : *rung;
    to[length] = 0;
}

void ci_metrics_now_rung(struct ci_metrics_now *now, const char *name, bool in_use) {
    struct ci_metrics_rung *rung = now->rungs;
    char shown[sizeof rung->name];
    name_rung(shown, sizeof shown, name);
    while (rung < &now->rungs[CI_METRICS_RUNGS - 1] && *rung->name && strcmp(rung->name, shown) != 0) rung++;
    rung->in_use = in_use && (rung->in_use || !*rung->name);
    memcpy(rung->name, shown, sizeof shown);
}

void ci_metrics_route(struct ci_metrics *metrics, const char *rung, bool fell_back) {
    char shown[sizeof metrics->rungs[0].name];
    name_rung(shown, sizeof shown, rung);
    pthread_mutex_lock(&metrics->lock);
    int i = 0;
    while (i < CI_METRICS_RUNGS - 1 && *metrics->rungs[i].name && strcmp(metrics->rungs[i].name, shown) != 0) i++;
    memcpy(metrics->rungs[i].name, shown, sizeof shown);
    metrics->rungs[i].answers++;
    metrics->rungs[i].fallbacks += fell_back;
    pthread_mutex_unlock(&metrics->lock);
}

/* ---- the text ---- */

static void single(FILE *out, const char *prefix, const char *name, const char *kind, const char *help,
                   const char *labels, double value) {
    fprintf(out, "# HELP %s:%s %s\n# TYPE %s:%s %s\n%s:%s%s %.10g\n", prefix, name, help, prefix, name, kind, prefix,
            name, labels, value);
}

static void histogram(FILE *out, const char *name, const char *help, const char *model,
                      const struct ci_histogram *histogram) {
    uint64_t count = 0;
    fprintf(out, "# HELP vllm:%s %s\n# TYPE vllm:%s histogram\n", name, help, name);
    for (int i = 0; histogram->bounds[i] > 0; i++) {
        count += histogram->counts[i];
        fprintf(out, "vllm:%s_bucket{model_name=\"%s\",le=\"%g\"} %llu\n", name, model, histogram->bounds[i],
                (unsigned long long)count);
    }
    fprintf(out, "vllm:%s_bucket{model_name=\"%s\",le=\"+Inf\"} %llu\n", name, model,
            (unsigned long long)histogram->total);
    fprintf(out, "vllm:%s_sum{model_name=\"%s\"} %.10g\n", name, model, histogram->sum);
    fprintf(out, "vllm:%s_count{model_name=\"%s\"} %llu\n", name, model, (unsigned long long)histogram->total);
}

static double rate(double count, double seconds) { return seconds > 0 ? count / seconds : 0; }

/* A counter never falls, whichever engines are closed between two looks. */
static double total(struct ci_metrics_total *kept, uint64_t now) {
    if (now < kept->last) kept->gone += kept->last;
    kept->last = now;
    return (double)(kept->gone + now);
}

/* By the same names in both families. */
static void print_drafts(FILE *out, const char *p, const char *labels, const struct ci_metrics *metrics) {
    const char *c = "counter";
    single(out, p, "spec_decode_num_draft_tokens_total", c, "Number of tokens drafted.", labels,
           (double)metrics->drafted_tokens);
    single(out, p, "spec_decode_num_accepted_tokens_total", c, "Number of drafted tokens that were accepted.", labels,
           (double)metrics->accepted_tokens);
    single(out, p, "spec_decode_num_drafts_total", c, "Number of drafts.", labels, (double)metrics->drafts);
}

static void print_llamacpp(FILE *out, struct ci_metrics *metrics, const struct ci_metrics_now *now) {
    const char *p = "llamacpp", *c = "counter", *g = "gauge";
    const double steps = total(&metrics->steps, now->steps), rows = total(&metrics->step_rows, now->step_rows);
    single(out, p, "prompt_tokens_total", c, "Number of prompt tokens processed.", "", (double)metrics->prompt_tokens);
    single(out, p, "prompt_tokens_cached_total", c, "Number of prompt tokens that were in the cache.", "",
           (double)metrics->cached_tokens);
    single(out, p, "prompt_seconds_total", c, "Prompt process time.", "", metrics->prompt_seconds);
    single(out, p, "tokens_predicted_total", c, "Number of generation tokens processed.", "",
           (double)metrics->predicted_tokens);
    single(out, p, "tokens_predicted_seconds_total", c, "Predict process time.", "", metrics->predicted_seconds);
    single(out, p, "n_decode_total", c, "Number of steps that were computed.", "", steps);
    single(out, p, "n_tokens_max", c, "Largest observed number of tokens of a sequence.", "",
           (double)metrics->most_tokens);
    single(out, p, "n_busy_slots_per_decode", g, "Average number of rows of a step.", "", rate(rows, steps));
    print_drafts(out, p, "", metrics);
    single(out, p, "prompt_tokens_seconds", g, "Prompt throughput in tokens/s since the last look.", "",
           rate((double)(metrics->prompt_tokens - metrics->prompt_tokens_before),
                metrics->prompt_seconds - metrics->prompt_seconds_before));
    single(out, p, "predicted_tokens_seconds", g, "Generation throughput in tokens/s since the last look.", "",
           rate((double)(metrics->rated_tokens - metrics->rated_tokens_before),
                metrics->predicted_seconds - metrics->predicted_seconds_before));
    single(out, p, "requests_processing", g, "Number of requests processing.", "", now->running);
    single(out, p, "requests_deferred", g, "Number of requests deferred.", "", now->waiting);
    metrics->prompt_tokens_before = metrics->prompt_tokens;
    metrics->rated_tokens_before = metrics->rated_tokens;
    metrics->prompt_seconds_before = metrics->prompt_seconds;
    metrics->predicted_seconds_before = metrics->predicted_seconds;
}

static void print_vllm(FILE *out, const struct ci_metrics *metrics, const struct ci_metrics_now *now,
                       const char *model) {
    static const char *const reasons[CI_METRICS_FINISHES] = {"stop", "length", "length", "abort", "other"};
    const char *p = "vllm", *c = "counter", *g = "gauge";
    char labels[320];
    snprintf(labels, sizeof labels, "{model_name=\"%s\"}", model);
    single(out, p, "num_requests_running", g, "Number of requests in model execution.", labels, now->running);
    single(out, p, "num_requests_waiting", g, "Number of requests waiting to be processed.", labels, now->waiting);
    single(out, p, "kv_cache_usage_perc", g, "KV-cache usage. 1 means 100 percent usage.", labels, now->cache_used);
    single(out, p, "prefix_cache_queries", c, "Prompt tokens that were looked for in the cache.", labels,
           (double)(metrics->prompt_tokens + metrics->cached_tokens));
    single(out, p, "prefix_cache_hits", c, "Prompt tokens that were in the cache.", labels,
           (double)metrics->cached_tokens);
    single(out, p, "prompt_tokens_total", c, "Number of prefill tokens processed.", labels,
           (double)(metrics->prompt_tokens + metrics->cached_tokens));
    single(out, p, "generation_tokens_total", c, "Number of generation tokens processed.", labels,
           (double)metrics->predicted_tokens);
    print_drafts(out, p, labels, metrics);
    fprintf(out, "# HELP vllm:request_success_total Count of requests that were answered.\n"
                 "# TYPE vllm:request_success_total counter\n");
    const uint64_t *finished = metrics->finished;
    const uint64_t by_reason[] = {finished[0], finished[1] + finished[2], finished[3]};
    const char *const names[] = {reasons[0], reasons[1], reasons[3]};
    for (int i = 0; i < 3; i++)
        fprintf(out, "vllm:request_success_total{model_name=\"%s\",finished_reason=\"%s\"} %llu\n", model, names[i],
                (unsigned long long)by_reason[i]);
    histogram(out, "time_to_first_token_seconds", "Time to first token.", model, &metrics->first);
    histogram(out, "inter_token_latency_seconds", "Time between two tokens.", model, &metrics->between);
    histogram(out, "e2e_request_latency_seconds", "Time of a request from its arrival to its end.", model,
              &metrics->whole);
    histogram(out, "request_queue_time_seconds", "Time that a request waits.", model, &metrics->queued);
    histogram(out, "request_prompt_tokens", "Number of prefill tokens of a request.", model, &metrics->prompts);
    histogram(out, "request_generation_tokens", "Number of generation tokens of a request.", model, &metrics->answers);
}

static void print_own(FILE *out, const struct ci_metrics *metrics, const struct ci_metrics_now *now) {
    single(out, "clinfer", "ready", "gauge", "Whether requests would be answered.", "", now->ready);
    single(out, "clinfer", "degraded", "gauge", "Whether a model is left to remotes.", "", now->degraded);
    single(out, "clinfer", "requests_failed_total", "counter", "Requests that no rung could answer.", "",
           (double)metrics->failures);
    single(out, "clinfer", "streams_unread_total", "counter",
           "Streams that broke because their clients did not read them.", "", (double)atomic_load(&metrics->unread));
    fprintf(out, "# HELP clinfer:rung_answers_total Answers by the rung of the ladder that ended them.\n"
                 "# TYPE clinfer:rung_answers_total counter\n");
    for (int i = 0; i < CI_METRICS_RUNGS && *metrics->rungs[i].name; i++)
        fprintf(out, "clinfer:rung_answers_total{rung=\"%s\"} %llu\n", metrics->rungs[i].name,
                (unsigned long long)metrics->rungs[i].answers);
    fprintf(out, "# HELP clinfer:rung_fallbacks_total Of these, after another rung had failed.\n"
                 "# TYPE clinfer:rung_fallbacks_total counter\n");
    for (int i = 0; i < CI_METRICS_RUNGS && *metrics->rungs[i].name; i++)
        fprintf(out, "clinfer:rung_fallbacks_total{rung=\"%s\"} %llu\n", metrics->rungs[i].name,
                (unsigned long long)metrics->rungs[i].fallbacks);
    fprintf(out, "# HELP clinfer:rung_in_use Whether requests go there: 0 when it failed, or hangs, and is left.\n"
                 "# TYPE clinfer:rung_in_use gauge\n");
    for (int i = 0; i < CI_METRICS_RUNGS && *now->rungs[i].name; i++)
        fprintf(out, "clinfer:rung_in_use{rung=\"%s\"} %d\n", now->rungs[i].name, (int)now->rungs[i].in_use);
}

char *ci_metrics_text(struct ci_metrics *metrics, const struct ci_metrics_now *now, size_t *length) {
    char *text = NULL, model[256];
    size_t end = 0;
    const char *name = now->model ? now->model : "";
    for (; *name && end + 1 < sizeof model; name++)
        model[end++] = *name == '"' || *name == '\\' || *name == '\n' ? '_' : *name;
    model[end] = 0;
    FILE *out = open_memstream(&text, length);
    if (!out) return NULL;
    pthread_mutex_lock(&metrics->lock);
    print_llamacpp(out, metrics, now);
    print_vllm(out, metrics, now, model);
    print_own(out, metrics, now);
    pthread_mutex_unlock(&metrics->lock);
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}
