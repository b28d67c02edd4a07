#include "server/sampled.h"

#include <math.h>

#include "server/answer.h"
#include "text/utf8_json.h"

/* top_k is what keeps the candidates few; llama-server's default is 40. */
enum { MOST_CANDIDATES = 64 };

struct chain {
    double temperature, top_p, min_p;
    int top_k;
};

static struct chain chain_of(const clinfer_engine *engine, const struct clinfer_session_options *sampling) {
    struct clinfer_session_options own;
    clinfer_session_options_default(engine, &own);
    struct chain chain = {.temperature =
                              (double)(isnan(sampling->temperature) ? own.temperature : sampling->temperature),
                          .top_p = (double)(isnan(sampling->top_p) ? own.top_p : sampling->top_p),
                          .min_p = (double)(isnan(sampling->min_p) ? own.min_p : sampling->min_p),
                          .top_k = sampling->top_k < 0 ? own.top_k : sampling->top_k};
    if (isnan(chain.temperature)) chain.temperature = 0.8;
    if (isnan(chain.top_p)) chain.top_p = 0.95;
    if (isnan(chain.min_p)) chain.min_p = 0.05;
    if (chain.top_k < 0) chain.top_k = 40;
    return chain;
}

static bool is_set(float value, float nothing) { return !isnan(value) && fabsf(value - nothing) > 0; }

/* What looks back over the text, or at chance, cannot be done again from a token's candidates alone. */
static const char *what_is_more(const struct clinfer_session_options *sampling) {
    if (is_set(sampling->repeat_penalty, 1)) return "repeat_penalty";
    if (is_set(sampling->presence_penalty, 0)) return "presence_penalty";
    if (is_set(sampling->frequency_penalty, 0)) return "frequency_penalty";
    if (is_set(sampling->dry_multiplier, 0)) return "dry_multiplier";
    if (is_set(sampling->xtc_probability, 0)) return "xtc_probability";
    if (is_set(sampling->typical_p, 1) && is_set(sampling->typical_p, 0)) return "typical_p";
    if (is_set(sampling->top_n_sigma, 0)) return "top_n_sigma";
    if (sampling->mirostat > 0) return "mirostat";
    if (sampling->logit_bias_count) return "logit_bias";
    if (sampling->samplers) return "samplers";
    return NULL;
}

/* Where the request says nothing: of the server, else of the model. */
static bool has_few_candidates(const clinfer_engine *engine, const struct clinfer_session_options *sampling) {
    const struct chain chain = chain_of(engine, sampling);
    return chain.top_k > 0 && chain.top_k <= MOST_CANDIDATES;
}

bool ci_sampled_prepare(struct ci_exchange *exchange, struct ci_openai_request *request) {
    struct clinfer_session_options *sampling = &request->job.sampling;
    if (!request->post_sampling_probs || !request->logprobs) return true;
    const char *more = what_is_more(sampling);
    if (more) {
        ci_exchange_refuse(exchange, "post_sampling_probs",
                           "post_sampling_probs: cannot be told together with %s; leave one of them out", more);
        return false;
    }
    if (!ci_openai_take_engine(exchange, request)) return false;
    if (!has_few_candidates(request->engine, sampling)) {
        ci_exchange_refuse(exchange, "post_sampling_probs",
                           "post_sampling_probs: needs a top_k from 1 to %d, by the request, else by the server or the "
                           "model",
                           MOST_CANDIDATES);
        return false;
    }
    sampling->logprobs = MOST_CANDIDATES;
    return true;
}

/* The probabilities of candidates [0, returned count), in falling order. */
static size_t apply(const struct chain *chain, const struct clinfer_logprob *likeliest, size_t count,
                    double probability[MOST_CANDIDATES]) {
    size_t kept = 0;
    double sum = 0, running = 0, all = 0;
    while (kept < count && kept < MOST_CANDIDATES && likeliest[kept].token >= 0 &&
           (!chain->top_k || kept < (size_t)chain->top_k))
        kept++;
    if (chain->temperature <= 0 && kept > 1) kept = 1;
    for (size_t i = 0; i < kept; i++)
        sum += probability[i] = exp((double)(likeliest[i].logprob - likeliest[0].logprob));
    for (size_t i = 0; i < kept && chain->top_p < 1; i++) /* the first whose sum reaches it is the last */
        if ((running += probability[i] / sum) >= chain->top_p) kept = i + 1;
    while (kept > 1 && probability[kept - 1] < chain->min_p * probability[0]) kept--;
    for (size_t i = 0; i < kept && chain->temperature > 0; i++)
        probability[i] = pow(probability[i], 1 / chain->temperature);
    for (size_t i = 0; i < kept; i++) all += probability[i];
    for (size_t i = 0; i < kept; i++) probability[i] /= all;
    return kept;
}

static json_t *entry(const clinfer_engine *engine, int32_t token, double probability) {
    size_t length = 0;
    const char *text = engine ? clinfer_token_text(engine, token, true, &length) : "";
    json_t *bytes = json_array();
    for (size_t i = 0; i < length; i++) json_array_append_new(bytes, json_integer((unsigned char)text[i]));
    return json_pack("{s:i, s:o, s:o, s:f}", "id", (int)token, "token", ci_utf8_json(text, length), "bytes", bytes,
                     "prob", probability);
}

bool ci_sampled_add(json_t *entries, const clinfer_engine *engine, const struct clinfer_session_options *sampling,
                    const struct clinfer_logprob *logprobs, size_t count, size_t row, size_t top) {
    const struct chain chain = chain_of(engine, sampling);
    bool fits = true;
    for (size_t i = 0; i < count && fits; i++) {
        const struct clinfer_logprob *own = logprobs + i * row;
        double probability[MOST_CANDIDATES], its = 0;
        size_t kept = apply(&chain, own + 1, row - 1, probability);
        json_t *others = json_array();
        for (size_t j = 0; j < kept; j++) {
            if (own[1 + j].token == own->token) its = probability[j];
            if (j < top && probability[j] > 0)
                json_array_append_new(others, entry(engine, own[1 + j].token, probability[j]));
        }
        json_t *one = entry(engine, own->token, its);
        fits = ci_answer_set(one, "top_probs", others) && json_array_append_new(entries, one) == 0;
    }
    return fits;
}
