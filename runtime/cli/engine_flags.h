/* engine_flags.h: the flags of every command that loads a model, and the engine they ask for. */
#ifndef CI_CLI_ENGINE_FLAGS_H
#define CI_CLI_ENGINE_FLAGS_H

#include <clinfer.h>

#include "cli/config.h"
#include "cli/models.h"
#include "cli/options.h"

/* The numbers of enum clinfer_cache_type. */
#define CI_CACHE_TYPES "f16|f32|q8_0|q4_0"
extern const char *const ci_cache_type_names[];

/* As llama-cli's; what no flag said is 0, scaling and ext_factor -1. */
struct ci_rope_flags {
    int scaling; /* index in "none|linear|yarn" */
    double scale, freq_scale, freq_base, ext_factor, attn_factor, beta_fast, beta_slow;
    long long original_context;
};

/* What no flag said is what it was before parsing: NULL, -1 (layers, threads, fallback, activations), none.
 */
struct ci_engine_flags {
    struct ci_model_flags from;
    const char *weight_type, *device, *tuning, *chat_template, *chat_template_file, *template_variables;
    long long threads, context, batch, micro_batch;
    long long device_layers, prefix_mib;
    int fallback, activations, key_type,
        value_type; /* indices of the choices below: the numbers of clinfer.h's enums */
    struct ci_rope_flags rope;
    const char *draft_model, *draft_device;
    bool lookup;
    int packed_cache; /* of enum clinfer_packed_cache */
    long long draft_most, draft_least;
    double draft_p_min;
    struct ci_texts ops;
    struct ci_config config; /* read by ci_engine_flags_complete */
    bool completed;
    int fallback_flag;   /* what --fallback itself said, -1: nothing; set by ci_engine_flags_complete */
    bool record;         /* no flag: set by commands that have --profile */
    char *template_text; /* of chat_template_file */
};

/* What flags hold before they are parsed. */
#define CI_ENGINE_FLAGS_DEFAULT                                                                                        \
    {                                                                                                                  \
        .device_layers = -1, .threads = -1, .fallback = -1, .activations = -1, .rope = {                               \
            .scaling = -1,                                                                                             \
            .ext_factor = -1                                                                                           \
        }                                                                                                              \
    }

/* Which kernels run. */
#define CI_KERNEL_OPTIONS(flags)                                                                                       \
    CI_CHOICE("--fallback", &(flags)->fallback, CI_FALLBACK_CHOICES,                                                   \
              "how far down a run may go: what the device cannot run runs on the CPU; or is an error; or what this "   \
              "machine cannot finish goes to the remotes of config.json"),                                             \
        CI_CHOICE("--activations", &(flags)->activations, "auto|f32|q8|q16",                                           \
                  "round the numbers between layers to 8 or to 16 bits for integer kernels, or not"),                  \
        CI_TEXT("--tuning", &(flags)->tuning, "auto|none|shipped|FILE",                                                \
                "whose choice of kernels: what `clinfer tune` found here, else what is shipped for such a device "     \
                "(auto, the default); the shipped one; none; or the profile FILE"),                                    \
        CI_TEXTS("--op", &(flags)->ops, "NAME=VARIANT[:TUNABLE=N,...]",                                                \
                 "the kernel of an op of `clinfer ops`, or where it runs: NAME=cpu, NAME=opencl; repeatable"),         \
        CI_CHOICE("--packed-cache", &(flags)->packed_cache, "auto|on|off",                                             \
                  "keep weights on disk as kernels want them, so that starts are faster "                              \
                  "(default auto: up to an eighth of the memory); see `clinfer cache`")

/* Contexts longer than the model was made for. */
#define CI_ROPE_OPTIONS(flags)                                                                                         \
    CI_CHOICE(                                                                                                         \
        "--rope-scaling", &(flags)->rope.scaling, "none|linear|yarn",                                                  \
        "how positions are stretched, so that -c may be more than the model was made for (default: the file's)"),      \
        CI_NUMBER("--rope-scale", &(flags)->rope.scale, 1e-3, 1e6, "by how much"),                                     \
        CI_NUMBER("--rope-freq-base", &(flags)->rope.freq_base, 1e-3, 1e30, "base of the frequencies (the file's)"),   \
        CI_NUMBER("--rope-freq-scale", &(flags)->rope.freq_scale, 1e-6, 1e3, "1 / --rope-scale"),                      \
        CI_INTEGER("--yarn-orig-ctx", &(flags)->rope.original_context, 0, 1 << 28,                                     \
                   "tokens that the model was trained for before it was stretched (the file's)"),                      \
        CI_NUMBER("--yarn-ext-factor", &(flags)->rope.ext_factor, -1, 1,                                               \
                  "how much of YaRN's blend; 0 scales all frequencies alike (1 with yarn, else 0)"),                   \
        CI_NUMBER("--yarn-attn-factor", &(flags)->rope.attn_factor, -1, 1e3, "factor of sines and cosines (1)"),       \
        CI_NUMBER("--yarn-beta-fast", &(flags)->rope.beta_fast, -1, 1e6,                                               \
                  "turns over the original context from which on a frequency stays (32)"),                             \
        CI_NUMBER("--yarn-beta-slow", &(flags)->rope.beta_slow, -1, 1e6, "turns down to which it is scaled (1)")

#define CI_ENGINE_OPTIONS(flags)                                                                                       \
    CI_SECTION("Model and device"),                                                                                    \
        CI_TEXT("-m --model", &(flags)->from.model, "MODEL",                                                           \
                "a GGUF file, a folder with SafeTensors, or a name: of the models folder, a short one of `clinfer "    \
                "pull --help`, user/repo:QUANT, ollama:NAME; what is not here is fetched (default: CLINFER_MODEL, "    \
                "else \"model\" of config.json, else the only model there, else the default model)"),                  \
        CI_HUB_OPTIONS(&(flags)->from),                                                                                \
        CI_TEXT("--type", &(flags)->weight_type, "TYPE",                                                               \
                "quantise the matrices of a SafeTensors folder while loading: q4_0, q8_0, ... (kept for later "        \
                "starts; default: as they are)"),                                                                      \
        CI_TEXT("--device -dev", &(flags)->device, "DEVICE",                                                           \
                "auto (default), cpu, or an index or name of `clinfer devices`; several split the layers: 0,1,cpu"),   \
        CI_INTEGER("-ngl --gpu-layers --n-gpu-layers", &(flags)->device_layers, -1, 1 << 20,                           \
                   "so many layers, from the end, on the device, the others on the CPU (default -1: all that fit)"),   \
        CI_INTEGER("-t --threads", &(flags)->threads, 0, 1024, "threads of the CPU backend (default: processors)"),    \
        CI_INTEGER(                                                                                                    \
            "-c --ctx-size", &(flags)->context, 0, 1 << 28,                                                            \
            "tokens of prompt and answer at most (default 0: what the model was made for; more with --rope-scale)"),   \
        CI_INTEGER("-b --batch-size", &(flags)->batch, 1, 1 << 20, "tokens computed in one step at most (512)"),       \
        CI_INTEGER("-ub --ubatch-size", &(flags)->micro_batch, 1, 1 << 20, "the same; the smaller of both counts"),    \
        CI_KERNEL_OPTIONS(flags),                                                                                      \
        CI_CHOICE("-ctk --cache-type-k", &(flags)->key_type, CI_CACHE_TYPES, "type of the keys in the KV cache"),      \
        CI_CHOICE("-ctv --cache-type-v", &(flags)->value_type, CI_CACHE_TYPES, "type of the values there"),            \
        CI_INTEGER("-cram --cache-ram", &(flags)->prefix_mib, -1, 1 << 24,                                             \
                   "MiB to which the KV cache grows to keep what requests may have in common; -1, the default of "     \
                   "serve: as one conversation takes, 1024 at most (default 0: nothing is kept)"),                     \
        CI_ROPE_OPTIONS(flags)

/* Of commands that answer. */
#define CI_DRAFT_OPTIONS(flags)                                                                                        \
    CI_FLAG("--lookup", &(flags)->lookup,                                                                              \
            "guess what comes next by what followed the same tokens earlier in the conversation, and compute several " \
            "tokens at once where that pays; the answer is the same"),                                                 \
        CI_TEXT("-md --model-draft --spec-draft-model", &(flags)->draft_model, "MODEL",                                \
                "a smaller model of the same vocabulary that guesses, by its path or the name of one that is here; "   \
                "the answer is the same"),                                                                             \
        CI_TEXT("-devd --device-draft --spec-draft-device", &(flags)->draft_device, "DEVICE",                          \
                "where that runs (where the model does)"),                                                             \
        CI_NUMBER("--draft-p-min --spec-draft-p-min", &(flags)->draft_p_min, 0, 1,                                     \
                  "what it finds less likely it does not guess (0)"),                                                  \
        CI_INTEGER("--draft-max --draft --draft-n --spec-draft-n-max", &(flags)->draft_most, 1, 1024,                  \
                   "tokens that are guessed at once at most (16, which is the most there is)"),                        \
        CI_INTEGER("--draft-min --draft-n-min --spec-draft-n-min", &(flags)->draft_least, 0, 1024,                     \
                   "fewer are not worth it (0)")

/* Of commands that answer messages. */
#define CI_TEMPLATE_OPTIONS(flags)                                                                                     \
    CI_TEXT("--chat-template", &(flags)->chat_template, "TEMPLATE|TEXT",                                               \
            "the format of messages instead of the model's own: chatml, llama3, gemma, mistral-v3, ... (a wrong name " \
            "lists all), or a template in Jinja"),                                                                     \
        CI_TEXT("--chat-template-file", &(flags)->chat_template_file, "FILE", "a file with such a template"),          \
        CI_TEXT("--chat-template-kwargs", &(flags)->template_variables, "JSON",                                        \
                "variables of the template, as an object: '{\"enable_thinking\": false}'")

/* Fills in what no flag said from config.json; what neither says becomes the default. The model is left to
 * ci_models_choose. Called by ci_engine_flags_open; twice does no harm. CLINFER_BAD_FILE: the file. */
enum clinfer_status ci_engine_flags_complete(struct ci_engine_flags *flags);

/* Chooses the model; the engine's options borrow from choice and flags. */
enum clinfer_status ci_engine_flags_options(struct ci_engine_flags *flags, struct ci_model_choice *choice,
                                            struct clinfer_engine_options *options);

/* The same for whatever model: options->model stays NULL. */
enum clinfer_status ci_engine_flags_without_model(struct ci_engine_flags *flags,
                                                  struct clinfer_engine_options *options);

/* The engine says "--op TEXT" of every op that it refuses, and "--chat-template"; nobody typed those of a file: then
 * the message names that. Returns the status. */
enum clinfer_status ci_engine_flags_explain(const struct ci_engine_flags *flags, enum clinfer_status status);

/* What the engine computes for each row, and for which. */
enum ci_engine_rows { CI_LOGITS_OF_LAST, CI_LOGITS_OF_ALL, CI_VECTORS_OF_ALL };

/* Chooses the model and opens the engine, whose options borrow from choice and flags. The caller frees the choice and
 * the flags in any case, after the engine. */
enum clinfer_status ci_engine_flags_open(struct ci_engine_flags *flags, enum ci_engine_rows rows,
                                         struct ci_model_choice *choice, clinfer_engine **engine);

/* The same with ci_engine_open_unproven (engine/verify.h). */
enum clinfer_status ci_engine_flags_open_unproven(struct ci_engine_flags *flags, struct ci_model_choice *choice,
                                                  clinfer_engine **engine);
void ci_engine_flags_free(struct ci_engine_flags *flags);

#endif
