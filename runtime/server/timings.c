#include "server/timings.h"

#include <math.h>

static double counted(double value) { return isfinite(value) && value > 0 ? value : 0; }

static double ratio(double value, double by) { return by > 0 ? counted(value / by) : 0; }

json_t *ci_timings_json(const struct clinfer_result *result) {
    size_t cached = result->cached_tokens, made = result->generated_tokens;
    size_t computed = result->prompt_tokens > cached ? result->prompt_tokens - cached : 0;
    double prompt = counted(result->prompt_seconds), decode = counted(result->generate_seconds);
    double after = made > 1 ? (double)(made - 1) : 0;
    json_t *object =
        json_pack("{s:I, s:I, s:f, s:f, s:f, s:I, s:f, s:f, s:f}", "cache_n", (json_int_t)cached, "prompt_n",
                  (json_int_t)computed, "prompt_ms", 1e3 * prompt, "prompt_per_token_ms",
                  1e3 * ratio(prompt, (double)computed), "prompt_per_second", ratio((double)computed, prompt),
                  "predicted_n", (json_int_t)made, "predicted_ms", 1e3 * decode, "predicted_per_token_ms",
                  1e3 * ratio(decode, after), "predicted_per_second", ratio(after, decode));
    if (object && result->drafts) {
        json_object_set_new(object, "draft_n", json_integer((json_int_t)result->drafted_tokens));
        json_object_set_new(object, "draft_n_accepted", json_integer((json_int_t)result->accepted_tokens));
    }
    return object;
}
