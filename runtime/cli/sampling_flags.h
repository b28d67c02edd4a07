/* sampling_flags.h: how the tokens of an answer are chosen, by flags with the names that llama-cli has for them. */
#ifndef CI_CLI_SAMPLING_FLAGS_H
#define CI_CLI_SAMPLING_FLAGS_H

#include <clinfer.h>
#include <math.h>

#include "cli/options.h"

struct ci_sampling_flags {
    double temperature, top_p, min_p, repeat_penalty; /* NAN, and -1 of whole numbers: not given */
    double presence_penalty, frequency_penalty, dry_multiplier, dry_base, xtc_probability, xtc_threshold, typical_p,
        top_n_sigma, mirostat_tau, mirostat_eta;
    long long top_k, repeat_last_n, dry_allowed_length, dry_last_n, mirostat, logprobs, seed;
    const char *samplers;
    struct ci_texts breakers, bias_texts;
    struct clinfer_logit_bias *bias; /* [bias_texts.count] */
};

#define CI_SAMPLING_FLAGS_DEFAULT                                                                                      \
    {                                                                                                                  \
        .temperature = NAN, .top_p = NAN, .min_p = NAN, .repeat_penalty = NAN, .presence_penalty = NAN,                \
        .frequency_penalty = NAN, .dry_multiplier = NAN, .dry_base = NAN, .xtc_probability = NAN,                      \
        .xtc_threshold = NAN, .typical_p = NAN, .top_n_sigma = NAN, .mirostat_tau = NAN, .mirostat_eta = NAN,          \
        .top_k = -1, .repeat_last_n = -1, .dry_allowed_length = -1, .dry_last_n = -1, .mirostat = -1, .seed = -1       \
    }

#define CI_SAMPLING_OPTIONS(flags)                                                                                     \
    CI_NUMBER("--temp --temperature", &(flags)->temperature, 0, 1000,                                                  \
              "0 always takes the likeliest token (default of this and the next four: the file's, else llama-cli's)"), \
        CI_INTEGER("--top-k", &(flags)->top_k, 0, 1 << 30, "choose among the K likeliest (0: all)"),                   \
        CI_NUMBER("--top-p", &(flags)->top_p, 0, 1, "among the likeliest that have this probability together"),        \
        CI_NUMBER("--min-p", &(flags)->min_p, 0, 1, "among those at least this likely, relative to the likeliest"),    \
        CI_NUMBER("--repeat-penalty", &(flags)->repeat_penalty, 0, 1000, "penalty of the last tokens (1: none)"),      \
        CI_INTEGER("--repeat-last-n", &(flags)->repeat_last_n, 0, 1 << 30,                                             \
                   "of so many, for this and the next two (64; 0: none of them)"),                                     \
        CI_NUMBER("--presence-penalty", &(flags)->presence_penalty, -1000, 1000,                                       \
                  "taken from the logit of a token that is among them (0)"),                                           \
        CI_NUMBER("--frequency-penalty", &(flags)->frequency_penalty, -1000, 1000,                                     \
                  "the same for each time that it is (0)"),                                                            \
        CI_NUMBER("--dry-multiplier", &(flags)->dry_multiplier, 0, 1000,                                               \
                  "DRY: penalty of a token that would make a repetition longer (0: none)"),                            \
        CI_NUMBER("--dry-base", &(flags)->dry_base, 1, 1000, "times this for each token of the repetition (1.75)"),    \
        CI_INTEGER("--dry-allowed-length", &(flags)->dry_allowed_length, 0, 1 << 30,                                   \
                   "beyond so many, which may be repeated (2)"),                                                       \
        CI_INTEGER("--dry-penalty-last-n", &(flags)->dry_last_n, 0, 1 << 30,                                           \
                   "repetition of something in the last N tokens (64; 0: none)"),                                      \
        CI_TEXTS("--dry-sequence-breaker", &(flags)->breakers, "TEXT",                                                 \
                 "what no repetition crosses, in place of newline, colon, quotation mark and asterisk; repeatable, "   \
                 "\"none\" for nothing"),                                                                              \
        CI_NUMBER("--xtc-probability", &(flags)->xtc_probability, 0, 1,                                                \
                  "XTC: how often the likeliest tokens are left out, but for one (0: never)"),                         \
        CI_NUMBER("--xtc-threshold", &(flags)->xtc_threshold, 0, 1, "which have this probability at least (0.1)"),     \
        CI_NUMBER("--typical --typical-p", &(flags)->typical_p, 0, 1,                                                  \
                  "among those whose surprise is usual, of this probability together (1: all)"),                       \
        CI_NUMBER("--top-nsigma --top-n-sigma", &(flags)->top_n_sigma, -1, 1000,                                       \
                  "among those within so many standard deviations of the largest logit (-1: all)"),                    \
        CI_INTEGER("--mirostat", &(flags)->mirostat, 0, 2, "version 1 or 2 chooses, in place of all others (0)"),      \
        CI_NUMBER("--mirostat-ent", &(flags)->mirostat_tau, 0, 1000, "so that an answer has this entropy (5)"),        \
        CI_NUMBER("--mirostat-lr", &(flags)->mirostat_eta, 0, 1000, "at this learning rate (0.1)"),                    \
        CI_TEXT("--samplers", &(flags)->samplers, "NAMES",                                                             \
                "which are used and in which order (penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;"            \
                "temperature)"),                                                                                       \
        CI_TEXTS("-l --logit-bias", &(flags)->bias_texts, "TOKEN+X",                                                   \
                 "add X to this token's logit (15043+1, 15043-1.5, 15043-inf: it never comes); repeatable"),           \
        CI_INTEGER("--logprobs", &(flags)->logprobs, 0, 100,                                                           \
                   "with --json: logarithms of the probabilities of each token and of the N likeliest"),               \
        CI_INTEGER("-s --seed", &(flags)->seed, -1, 9007199254740992.0,                                                \
                   "same seed and prompt, same text, if the prompt is alone (default -1: a random one; clinfer(1) "    \
                   "says more)")

/* What was given, into *options, which borrows from flags; the rest NAN and -1. Escapes in texts are read if asked for.
 * CLINFER_INVALID_ARGUMENT is said already. */
enum clinfer_status ci_sampling_flags_read(struct ci_sampling_flags *flags, bool escape,
                                           struct clinfer_session_options *options);
void ci_sampling_flags_free(struct ci_sampling_flags *flags);

#endif
