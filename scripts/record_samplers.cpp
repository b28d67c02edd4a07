// record_samplers.cpp: what llama.cpp's samplers choose in the cases of tests/data/sampler_cases.inc, for
// tests/unit/test_sampler.c, as lines of tests/data/sampler_tokens.inc.
// Build and run: g++ -Iruntime -I$PEER/include -I$PEER/ggml/include scripts/record_samplers.cpp -L$LIBS -lllama
// -lggml -lggml-base && LD_LIBRARY_PATH=$LIBS ./a.out > tests/data/sampler_tokens.inc
#include <cstdio>
#include <vector>

#include "base/random.h"
#include "llama.h"

enum { VOCABULARY = 500, TOKENS = 40 };

static void choose(const char *name, float temperature, int top_k, float top_p, float min_p, float repeat, int last_n,
                   float presence, float frequency, float multiplier, float base, int allowed, int dry_last_n,
                   float xtc_p, float xtc_t, float typical, float sigma, int mirostat, float tau, float eta,
                   uint32_t seed) {
    llama_sampler *chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
    if (mirostat) {
        llama_sampler_chain_add(chain, llama_sampler_init_temp(temperature));
        llama_sampler_chain_add(chain, mirostat == 1 ? llama_sampler_init_mirostat(VOCABULARY, seed, tau, eta, 100)
                                                     : llama_sampler_init_mirostat_v2(seed, tau, eta));
    } else {
        llama_sampler_chain_add(chain, llama_sampler_init_penalties(VOCABULARY, last_n, repeat, frequency, presence));
        llama_sampler_chain_add(chain,
                                llama_sampler_init_dry(nullptr, multiplier, base, allowed, dry_last_n, nullptr, 0));
        llama_sampler_chain_add(chain, llama_sampler_init_top_n_sigma(sigma));
        llama_sampler_chain_add(chain, llama_sampler_init_top_k(top_k));
        llama_sampler_chain_add(chain, llama_sampler_init_typical(typical, 0));
        llama_sampler_chain_add(chain, llama_sampler_init_top_p(top_p, 0));
        llama_sampler_chain_add(chain, llama_sampler_init_min_p(min_p, 0));
        llama_sampler_chain_add(chain, llama_sampler_init_xtc(xtc_p, xtc_t, 0, seed));
        llama_sampler_chain_add(chain, llama_sampler_init_temp_ext(temperature, 0, 1));
        llama_sampler_chain_add(chain, llama_sampler_init_dist(seed));
    }
    printf("{");
    for (int t = 0; t < TOKENS; t++) {
        std::vector<llama_token_data> items(VOCABULARY);
        // the logits of a step come again three steps later, so that there is something to repeat
        uint64_t state = (uint64_t)(t % 3);
        for (int i = 0; i < VOCABULARY; i++) items[i] = {i, 16 * ci_random_float(&state) - 10, 0};
        llama_token_data_array array = {items.data(), items.size(), -1, false};
        llama_sampler_apply(chain, &array);
        llama_token id = array.data[array.selected].id;
        llama_sampler_accept(chain, id);
        printf("%d%s", id, t + 1 < TOKENS ? "," : "},");
    }
    printf(" /* %s */\n", name);
    llama_sampler_free(chain);
}

int main() {
#define CASE(...) choose(__VA_ARGS__);
#include "../tests/data/sampler_cases.inc"
}
