/* engine.h: an engine is a loaded model on a device, or on several; how it is opened, what it is, what took the time.
 */
#ifndef CLINFER_ENGINE_H
#define CLINFER_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- engine: a loaded model on a device ---- */

typedef struct clinfer_engine clinfer_engine;

/* What numbers between layers are rounded to for integer kernels: codes of 8 or of 16 bits, or nothing. Where no kernel
 * computes with 16, Q16 takes 8. */
enum clinfer_activations {
    CLINFER_ACTIVATIONS_AUTO,
    CLINFER_ACTIVATIONS_F32,
    CLINFER_ACTIVATIONS_Q8,
    CLINFER_ACTIVATIONS_Q16
};
/* q8_0 takes 8.5 bits a number, q4_0 4.5; rows of keys and values must be multiples of 32 numbers then. */
enum clinfer_cache_type { CLINFER_CACHE_F16, CLINFER_CACHE_F32, CLINFER_CACHE_Q8_0, CLINFER_CACHE_Q4_0 };
/* How positions are stretched, for contexts longer than those that a model was trained for: not at all, by a factor, or
 * by YaRN. OF_MODEL: as the file says. */
enum clinfer_rope_scaling { CLINFER_ROPE_OF_MODEL, CLINFER_ROPE_NONE, CLINFER_ROPE_LINEAR, CLINFER_ROPE_YARN };

/* What rotary embeddings do otherwise than the file says; 0 leaves it to the file, of yarn_extrapolation a number below
 * 0. The context may be as long as what the model was made for, times the factor by the file's own (or original_context
 * times the factor where that is given); with freq_base as long as is asked for. */
struct clinfer_rope_options {
    enum clinfer_rope_scaling scaling;
    float factor; /* positions are divided by it */
    float freq_base;
    int original_context;                 /* that YaRN starts from */
    float yarn_extrapolation;             /* 0 to 1: how much of its blend; 0 is linear scaling */
    float yarn_magnitude;                 /* a factor of sines and cosines */
    float yarn_beta_fast, yarn_beta_slow; /* turns over the original context: more are left alone, fewer are scaled */
};

/* Tokens of an answer may be guessed and computed together with the one before them, which costs less than one by one.
 * The answer is the same, greedy or of a seed, to the token: rows that are computed together are proven to be the same
 * bits as one by one, or nothing is guessed. How many pay is measured as it goes on; where none do none are. All zero:
 * nothing is guessed. */
struct clinfer_draft_options {
    bool lookup; /* what followed when the conversation had the same tokens before */

    /* The path of a smaller model of the same vocabulary, which guesses; NULL: none. As long as the engine it is on its
     * `device`; NULL: as the engine. CLINFER_UNSUPPORTED tells how the vocabularies differ. */
    const char *model, *device;

    int most;    /* tokens guessed for a step at most; 0, or more than 16: 16 */
    int least;   /* fewer are none */
    float p_min; /* from the first one on that the smaller model finds less likely they are none, either; 0: any */
};

/* How far down the ladder a run may go. For an engine alone REMOTE is the same as CPU. */
enum clinfer_fallback { CLINFER_FALLBACK_CPU, CLINFER_FALLBACK_NONE, CLINFER_FALLBACK_REMOTE };

/* Weights that kernels want in another layout than the file's: whether they are packed into memory at every start, or
 * once, kept in $XDG_CACHE_HOME/clinfer/packed, where they take a quarter of the free space at most, and mapped by
 * later starts, which are faster. AUTO is ON for models of up to an eighth of the memory that the process may have,
 * and OFF for larger ones. */
enum clinfer_packed_cache { CLINFER_PACKED_AUTO, CLINFER_PACKED_ON, CLINFER_PACKED_OFF };

struct clinfer_engine_options {
    /* The path of a model or the name of one that is on this machine: of the models folder, a short one of
     * `clinfer pull --help`, "user/repo:QUANT" or a link of the Hub, "ollama:NAME". A path at which something is goes
     * first. The library fetches nothing: CLINFER_NOT_FOUND names the command that would.
     *
     * A path is that of a GGUF file that holds a model, or of a part of a split one, beside which the others lie; or of
     * a folder as the Hub has it (config.json, .safetensors, ...; one of these two files names it, too). What else it
     * is (an adapter, a git-lfs pointer, a FIFO, an address, ...) is said by the message, with CLINFER_UNSUPPORTED
     * where another program could use it and CLINFER_BAD_FILE where none can. */
    const char *model;

    /* What the matrices of such a folder are quantised to while loading, "q4_0", "q8_0", ...; the result is kept for
     * later starts. NULL: as they are. CLINFER_INVALID_ARGUMENT for a GGUF file, whose weights have their types. */
    const char *weight_type;

    /* "auto" (NULL), "cpu", an index of clinfer_devices, a part of a device's or platform's name; or several of these,
     * "0,pocl,cpu": the layers are split by measured speed and free memory. */
    const char *device;
    int device_layers; /* so many layers from the end, the output matrix counted as one, run on the device, the others
                        * on the CPU; -1: all that fit */
    int threads;       /* of the CPU backend, 1024 at most; 0: as many as processors */
    int context;       /* tokens of one session at most; 0: as many as the model was made for, or fewer where no more
                        * fit into memory, with a warning. More than it was made for are an error unless `rope` makes
                        * room for them, and so are those that do not fit (CLINFER_OUT_OF_MEMORY) */
    struct clinfer_rope_options rope;
    int batch;       /* rows computed in one step at most; 0: 512 */
    bool all_logits; /* clinfer_logits will be asked for every row; costs batch * vocabulary * 4 bytes */
    bool embeddings; /* no logits: what they would be made of, for clinfer_embed(); encoders know nothing else */
    enum clinfer_activations activations;
    /* F16 becomes F32 in the engine, with a warning, when a key or value is beyond what f16 holds. */
    enum clinfer_cache_type key_type, value_type;
    /* What a request has computed is not computed again by another whose tokens begin alike, and stays when it is over
     * until its place in the KV caches is needed: up to so many bytes they rather grow. 0: sessions share nothing, and
     * nothing stays, so that what others have asked before changes nothing, not even last digits; below 0: as much as
     * one session can take, 1 GiB at most. */
    int64_t prefix_bytes;

    enum clinfer_packed_cache packed_cache;

    enum clinfer_fallback fallback; /* NONE: an op that the device cannot run is an error; for an engine REMOTE is the
                                     * same as CPU */

    /* Which kernels: "auto" (NULL): the profile of `clinfer tune`, else the one shipped for such a device, else the
     * order of the table; "none": only the latter; "shipped"; or the path of a profile. */
    const char *tuning;

    /* "NAME=VARIANT[:TUNABLE=VALUE,...]", "NAME=cpu", "NAME=opencl": what is chosen for the ops of that name. Borrowed
     * until the engine is closed. CLINFER_INVALID_ARGUMENT lists what is possible. */
    const char *const *ops;
    size_t op_count;

    /* NULL: the file's own chat template; else the name of a built-in one ("chatml", "llama3", ...) or Jinja.
     * CLINFER_INVALID_ARGUMENT lists the names, or tells what is wrong with the template. */
    const char *chat_template;

    /* NULL, or a JSON object whose members are variables of the template: {"enable_thinking": false}. */
    const char *chat_template_variables;

    /* Every op and what the host does around them leave a record, for clinfer_engine_record() and
     * clinfer_engine_write_trace(). The limits of the places are measured too, in some tenths of a second. */
    bool record;

    struct clinfer_draft_options draft;
};

CLINFER_API void clinfer_engine_options_default(struct clinfer_engine_options *options);

/* CLINFER_NO_DEVICE: no device of that name (the message lists what there is), or its driver's compiler ended the
 * process in which it was tried, and would end this one; CLINFER_NOT_FOUND, CLINFER_BAD_FILE, CLINFER_UNSUPPORTED: the
 * model. `auto` without an OpenCL device takes the CPU and says so on the log. */
CLINFER_API enum clinfer_status clinfer_engine_open(const struct clinfer_engine_options *options,
                                                    clinfer_engine **engine);

/* All sessions must be destroyed before. Where some are left, an error goes to the log and the last one closes the
 * engine when it is destroyed. */
CLINFER_API void clinfer_engine_close(clinfer_engine *engine);

/* How the vectors of a text's tokens become one. RANK: scores instead, by a head of the model's own; NONE: they stay
 * what they are, one for each token. */
enum clinfer_pooling {
    CLINFER_POOLING_MEAN,
    CLINFER_POOLING_CLS /* of the first token */,
    CLINFER_POOLING_LAST,
    CLINFER_POOLING_RANK,
    CLINFER_POOLING_NONE
};

/* Borrowed from the engine. The sampling values are the file's own (general.sampling.*), else llama-cli's defaults. */
struct clinfer_engine_info {
    const char *model_path;                         /* of the file or folder that was opened */
    const char *model_name, *architecture, *device; /* device: "cpu" or the OpenCL device's name; "A + B" */
    const char *tuning; /* where the choice of kernels comes from: "tuned here", "shipped", ... */
    bool opencl;
    uint64_t parameters, weight_bytes;
    int layers, vocabulary, context;
    int embedding; /* numbers of a token's vector inside the model */
    bool encoder;  /* the model writes no text: clinfer_logits() gives vectors of its tokens */
    int outputs;   /* numbers of a row of clinfer_logits(): the vocabulary, or the width of such a vector */
    enum clinfer_pooling pooling; /* what the file says, else LAST, MEAN for encoders */
    bool pooling_is_said;         /* by the file */
    int scores;        /* of a model that ranks texts: numbers of CLINFER_POOLING_RANK, mostly 1; 0: it does not */
    int model_context; /* tokens that the model was made for, or was stretched to: the greatest context there can be */
    float temperature, top_p, min_p, repeat_penalty;
    int top_k;
    int repeat_last_n, mirostat;
    float xtc_probability, xtc_threshold, mirostat_tau, mirostat_eta;
    const char *samplers; /* NULL: the usual ones */
    double load_seconds;
};
CLINFER_API void clinfer_engine_get_info(const clinfer_engine *engine, struct clinfer_engine_info *info);

/* Totals since the engine was opened, as after the last step; may be asked for at any time, from any thread. Op time is
 * wall time; what is not spent on the CPU's threads counts for the device. */
struct clinfer_engine_stats {
    double device_seconds, cpu_seconds; /* of ops, by where they ran */
    uint64_t steps, rows;               /* runs of a plan; tokens computed */
    uint64_t enqueues, waits, builds;   /* OpenCL calls */
    uint64_t objects;                   /* OpenCL objects made; stands still while decoding */
    int fallbacks;                      /* ops of a plan that could not run on the device */
    const char *fallback_text;          /* which and why, for people; "" when there are none; stays until it closes */
    uint64_t weight_bytes, cache_bytes, activation_bytes;
    /* For which the KV caches have room, which grows; that requests under way have: what is kept for those to come goes
     * when its room is needed, and does not count. */
    uint64_t cache_tokens, cache_tokens_used;
};
CLINFER_API void clinfer_engine_get_stats(clinfer_engine *engine, struct clinfer_engine_stats *stats);

/* One step of the plan for `rows` rows, in order: where it runs and why. All texts are borrowed for the callback. */
struct clinfer_plan_step {
    const char *label, *op, *variant, *place; /* place: "cpu" or the device's name */
    const char *reason;                       /* why this one, or why not an earlier choice; "" if it was the first */
    const char *types;                        /* of inputs and states, "q8,q4_1,-"; "" for copies */
    const char *layout;                       /* of the weights, "" without */
    const char *tunables;                     /* "ROWS=2,LANES=32" */
    const char *otherwise;                    /* what would take over: "gemm_vec, cpu" */
    int64_t rows, k, n;                       /* of the activations; columns of the first input; of the output */
    bool fallback;
    double bytes, operations; /* read and written; arithmetic */
};
typedef void clinfer_plan_callback(void *user, const struct clinfer_plan_step *step);
CLINFER_API enum clinfer_status clinfer_engine_explain(clinfer_engine *engine, int rows,
                                                       clinfer_plan_callback *callback, void *user, int *waits);

/* ---- what took the time ---- */

/* Calls that are the same but for layer and rows, in one phase; or what the host did, by kind. Every instant of a
 * request belongs to one line at most, so that the wall_seconds of a phase's lines and what is unexplained add up to
 * its wall clock. What the host does while a device computes is hidden by it and has no wall_seconds. */
struct clinfer_record_line {
    const char *phase;                         /* "prefill", to the first token, or "decode" */
    const char *kind;                          /* "op"; or "enqueue", "wait", "tokenizer", "crossing", ... */
    const char *op, *types, *layout, *variant; /* of an op, else "" */
    const char *place;                         /* "cpu" or the device's name; "host" for what is no op */
    int64_t rows, k, n;                        /* rows of a run at most; columns of its input and output */
    uint64_t calls;
    double seconds; /* of the calls, one by one, by the clock of where they ran */
    double wall_seconds;
    double bytes, operations; /* that the calls must read and write; arithmetic */
    double roofline_seconds;  /* the shortest time that the place's limits allow; 0: not known */
};

struct clinfer_record_phase {
    const char *name;
    uint64_t runs, rows; /* runs of a plan; tokens computed */
    double wall_seconds, unexplained_seconds;
};

/* What a place does at best, measured before ([0]) and after ([1]); 0: not known. */
struct clinfer_record_limit {
    const char *place;
    double read_bytes_per_second[2], f32_per_second[2], dot8_per_second[2];
};

/* One of the slowest single calls. */
struct clinfer_record_call {
    const char *label, *op, *variant, *place, *phase;
    uint64_t run; /* of a plan, counted from the first */
    double seconds;
};

struct clinfer_record {
    const struct clinfer_record_line *lines; /* by phase, the longest wall_seconds first */
    size_t line_count;
    struct clinfer_record_phase phases[2];
    const struct clinfer_record_limit *limits;
    size_t limit_count;
    const struct clinfer_record_call *slowest;
    size_t slowest_count;
    uint64_t lost; /* calls for which there was no room, or of which a device told no times */
};

/* What was recorded since the engine was opened with options.record, or since the last reset; no request may be active.
 * Measures the limits again. Borrowed until the next call or until the engine is closed. */
CLINFER_API enum clinfer_status clinfer_engine_record(clinfer_engine *engine, const struct clinfer_record **record);

/* Forgets what was recorded: after a warm-up, or between two measurements. No request may be active. */
CLINFER_API enum clinfer_status clinfer_engine_record_reset(clinfer_engine *engine);

/* The same as a file for Perfetto (ui.perfetto.dev) and chrome://tracing: tracks for the host, for each device and its
 * queue, for requests and tokens. */
CLINFER_API enum clinfer_status clinfer_engine_write_trace(clinfer_engine *engine, const char *path);

#ifdef __cplusplus
}
#endif

#endif
