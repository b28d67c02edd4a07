/* clinfer.h: run language models on any OpenCL device, or on the CPU. The one public header.
 *
 * An engine is a loaded model on a device. A session is one conversation: its tokens, its rows in the KV cache, its
 * sampler. Several sessions share one engine and are computed together in the same steps.
 *
 * Every fallible function returns a status; clinfer_error() has the text for a person, per thread. The library never
 * prints and never exits. `create`/`open` give an object that the caller must `destroy`/`close`; everything else is
 * borrowed.
 *
 * What is NULL or out of range where that is not allowed is CLINFER_INVALID_ARGUMENT with its name; closing and
 * cancelling NULL is nothing. An engine, its sessions, a router and its conversations are of the process that opened
 * them: a child that it forks gets CLINFER_INVALID_ARGUMENT, since it has none of their threads, and may open an engine
 * of its own, on the CPU if its parent used OpenCL.
 *
 * The calling thread computes with the others: kernels have tables of 0.75 MB on its stack, so that it needs 1 MiB. */
#ifndef CLINFER_H
#define CLINFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CLINFER_VERSION "0.1.0"

/* Marks what libclinfer.so exports; everything else in it is hidden. */
#if defined(__GNUC__)
#define CLINFER_API __attribute__((visibility("default")))
#else
#define CLINFER_API
#endif

/* One list: code, exit status of the command line tool, text. */
#define CLINFER_STATUS_LIST(X)                                                                                         \
    X(CLINFER_OK, 0, "success")                                                                                        \
    X(CLINFER_INVALID_ARGUMENT, 2, "invalid argument")                                                                 \
    X(CLINFER_NOT_FOUND, 3, "file or model not found")                                                                 \
    X(CLINFER_IO, 4, "input or output error")                                                                          \
    X(CLINFER_BAD_FILE, 5, "damaged or malformed file")                                                                \
    X(CLINFER_UNSUPPORTED, 6, "not supported")                                                                         \
    X(CLINFER_OUT_OF_MEMORY, 7, "out of memory")                                                                       \
    X(CLINFER_NO_DEVICE, 8, "no such device")                                                                          \
    X(CLINFER_DEVICE_ERROR, 9, "the device or its driver failed")                                                      \
    X(CLINFER_CONTEXT_FULL, 10, "the context is full")                                                                 \
    X(CLINFER_WRONG_RESULT, 11, "a result failed its check")                                                           \
    X(CLINFER_CANCELLED, 12, "cancelled")                                                                              \
    X(CLINFER_REFUSED, 13, "refused by policy")                                                                        \
    X(CLINFER_REMOTE_FAILED, 14, "the remote API failed")                                                              \
    X(CLINFER_OUT_OF_TIME, 15, "out of time")

enum clinfer_status {
#define CLINFER_STATUS_ENUM(code, exit_status, text) code,
    CLINFER_STATUS_LIST(CLINFER_STATUS_ENUM)
#undef CLINFER_STATUS_ENUM
};

/* NOTICE: what a person in front of a terminal should know although nothing is wrong, such as why the first start takes
 * long. */
enum clinfer_log_level {
    CLINFER_LOG_ERROR,
    CLINFER_LOG_WARNING,
    CLINFER_LOG_NOTICE,
    CLINFER_LOG_INFO,
    CLINFER_LOG_DEBUG
};

typedef void clinfer_log_callback(void *user, enum clinfer_log_level level, const char *message);

/* The text of a status, and the message of the last failure on this thread. Both borrowed. */
CLINFER_API const char *clinfer_status_text(enum clinfer_status status);
CLINFER_API const char *clinfer_error(void);

/* One receiver for the process; NULL is silence. */
CLINFER_API void clinfer_log_to(clinfer_log_callback *callback, void *user);

/* The path of the model file that is mapped at `address`, NULL: none is. For handlers of SIGBUS: an open model is read
 * from its file, and when somebody cuts that (or its disk fails), reading ends the process. The engine looks at the
 * file's size before each step and then fails with CLINFER_IO, but cannot see what happens within a step. The library
 * installs no handlers; one that calls this with si_addr, says what it returns and ends by _exit() is what the command
 * line tool has. May be called in a handler; of the first 64 models that are open. The text is valid until the model is
 * closed. */
CLINFER_API const char *clinfer_file_at(const void *address);

/* ---- devices ---- */

/* One OpenCL device; all borrowed from the list. */
struct clinfer_device {
    const char *name, *vendor, *platform, *platform_version, *version, *driver;
    const char *kind; /* "gpu", "accelerator" or "cpu" */
    unsigned compute_units;
    uint64_t global_bytes, max_alloc_bytes, local_bytes;
    size_t max_work_group;
    bool fp16, fp64, subgroups, integer_dot_product, unified_memory;
};

/* All usable OpenCL devices in the order of their indices: GPUs, accelerators, CPUs. No OpenCL platform is no error:
 * *count is 0. The list is the caller's to free with clinfer_devices_free. */
CLINFER_API enum clinfer_status clinfer_devices(struct clinfer_device **devices, size_t *count);
CLINFER_API void clinfer_devices_free(struct clinfer_device *devices, size_t count);

/* What this processor offers to the CPU backend: "avx512vnni", "avx2", "neondot", ..., "scalar". Borrowed. */
CLINFER_API const char *clinfer_cpu_isa(void);

/* ---- models on this machine ---- */

/* One model; all borrowed from the list. */
struct clinfer_model {
    const char *name;  /* what options.model takes: "user/repo:Q4_K_M", "ollama:llama3.2:1b", "smollm2.gguf", ... */
    const char *path;  /* what is opened: a GGUF file, of a split one its first part, or a folder */
    const char *store; /* whose it is: "models" (the own folder), "hub" (the Hub's cache), "ollama", "lm-studio", ... */
    const char *digest; /* SHA-256 of the file where the store knows it, else "" */
    uint64_t bytes;     /* of all its files */
    int64_t modified;   /* seconds since 1970 */
    bool whole;         /* false: files of it are missing; it cannot be opened */
};

/* All that are in the own models folder, the Hub's cache and the stores of other programs (docs/hub.md), each once;
 * found by names and sizes, none is opened. None is no error: *count is 0. The list is the caller's to free with
 * clinfer_models_free. CLINFER_OUT_OF_MEMORY. */
CLINFER_API enum clinfer_status clinfer_models(struct clinfer_model **models, size_t *count);
CLINFER_API void clinfer_models_free(struct clinfer_model *models, size_t count);

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

struct clinfer_engine_options {
    /* The path of a model or the name of one that is on this machine: of the models folder, a short one of `clinfer
     * pull
     * --help`, "user/repo:QUANT" or a link of the Hub, "ollama:NAME". A path at which something is goes first. The
     * library fetches nothing: CLINFER_NOT_FOUND names the command that would.
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

/* Borrowed from the engine. The sampling values are the file's own (general.sampling.*), else llama-cli's defaults. */
/* How the vectors of a text's tokens become one. RANK: scores instead, by a head of the model's own; NONE: they stay
 * what they are, one for each token. */
enum clinfer_pooling {
    CLINFER_POOLING_MEAN,
    CLINFER_POOLING_CLS /* of the first token */,
    CLINFER_POOLING_LAST,
    CLINFER_POOLING_RANK,
    CLINFER_POOLING_NONE
};

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
    uint64_t run; /* the how manieth run of a plan */
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

/* ---- text ---- */

/* *tokens is the caller's to clinfer_free (NULL when *count is 0). add_begin: the model's begin-of-text token comes
 * first if it wants one and the text does not start with it already. parse_special: control tokens written in the text
 * count as such. */
CLINFER_API enum clinfer_status clinfer_tokenize(const clinfer_engine *engine, const char *text, size_t length,
                                                 bool add_begin, bool parse_special, int32_t **tokens, size_t *count);

/* A text that is complete, as clinfer_embed() wants it: with what the model puts before and behind one ([CLS] and
 * [SEP], an end-of-text token); control tokens written in it are text. */
CLINFER_API enum clinfer_status clinfer_tokenize_whole(const clinfer_engine *engine, const char *text, size_t length,
                                                       int32_t **tokens, size_t *count);

/* A question and a text that may answer it, as a model that ranks wants to see the two (CLINFER_POOLING_RANK). */
struct clinfer_pair {
    const char *query, *document;
    size_t query_length, document_length;
};
CLINFER_API enum clinfer_status clinfer_tokenize_pair(const clinfer_engine *engine, const struct clinfer_pair *pair,
                                                      int32_t **tokens, size_t *count);

/* A gap to be filled, for models of code: a prompt of tokens made as llama-server makes it. All texts end with a zero
 * byte. Of what is before the gap three quarters of `room` are kept, the last, of what is behind it one quarter; what
 * other files say gets the rest of the context, less twice the answer. */
struct clinfer_infill_file {
    const char *name; /* NULL: "tmp" */
    const char *text;
};
struct clinfer_infill {
    const char *prefix, *suffix; /* before the gap, and behind it */
    const char *prompt;          /* with which the gap begins already; NULL: nothing */
    const struct clinfer_infill_file *files;
    size_t file_count;
    int room;          /* tokens; 0: 512 */
    int answer;        /* tokens that may come; 0 or less: as many as fit */
    bool suffix_first; /* for models that want what is behind the gap first */
};

/* CLINFER_UNSUPPORTED: the model's vocabulary has no tokens for that. */
CLINFER_API enum clinfer_status clinfer_infill_tokens(const clinfer_engine *engine, const struct clinfer_infill *infill,
                                                      int32_t **tokens, size_t *count);

/* The bytes of one token, borrowed; possibly part of a character. Control tokens have none unless `special`. */
CLINFER_API const char *clinfer_token_text(const clinfer_engine *engine, int32_t token, bool special, size_t *length);

/* Whether answers end with this token; several of a vocabulary may be such. */
CLINFER_API bool clinfer_token_ends(const clinfer_engine *engine, int32_t token);

/* A call of a tool that a model asks for. */
struct clinfer_tool_call {
    const char *id;        /* which results refer to */
    const char *name;      /* of the tool */
    const char *arguments; /* JSON, an object; held to no schema */
    bool cut;              /* the answer ended before the arguments did: they are only the beginning of JSON */
};

struct clinfer_message {
    const char *role; /* "system", "user", "assistant", "tool" */
    const char *content;

    /* Of an answer that the model itself gave, if the caller has kept them: clinfer_result.tokens. They go into the
     * next prompt as they are where they still stand for what content says, so that nothing is computed again. NULL:
     * content is read as any other text. */
    const int32_t *tokens;
    size_t token_count;

    /* Of an answer: what the model thought before it, or NULL. Most templates leave it out of later turns. */
    const char *reasoning;

    /* Of an answer: the calls in it. */
    const struct clinfer_tool_call *calls;
    size_t call_count;

    /* Of a tool's result: which call it answers, and the tool's name. NULL: not known, which some templates take. */
    const char *call_id, *tool;
};

/* The conversation as the model's chat template writes it, to be looked at; clinfer_chat_tokens is for computing. *text
 * is the caller's to clinfer_free. A file without a template gets ChatML if its vocabulary has the tokens, else lines
 * "User: ..."; where the template has no system message, its text begins the first message of the user. Both are said
 * once on the log. CLINFER_BAD_FILE: the template loses what users say. */
CLINFER_API enum clinfer_status clinfer_chat_prompt(const clinfer_engine *engine,
                                                    const struct clinfer_message *messages, size_t count,
                                                    bool add_generation_prompt, char **text);

/* The same as the tokens of a request, the begin-of-text token included if the model wants one. Control tokens count
 * where the template writes them; in contents they are plain text unless parse_special, so that nobody ends a turn by
 * writing "<|im_end|>". The text of clinfer_chat_prompt cannot tell the two apart: tokenizing it lets contents speak
 * for the template. *tokens is the caller's to clinfer_free. */
CLINFER_API enum clinfer_status clinfer_chat_tokens(const clinfer_engine *engine,
                                                    const struct clinfer_message *messages, size_t count,
                                                    bool add_generation_prompt, bool parse_special, int32_t **tokens,
                                                    size_t *token_count);

CLINFER_API void clinfer_free(void *memory);

/* ---- sessions ---- */

typedef struct clinfer_session clinfer_session;

/* What is added to a token's logit before anything else; -INFINITY: it never comes. */
struct clinfer_logit_bias {
    int32_t token;
    float bias;
};

/* How tokens are chosen, as llama.cpp does: the same seed and the same logits give the same text. NAN of a float and -1
 * of an int: the model's own, else the value in parentheses. What it points to is borrowed until the session, or the
 * conversation, is destroyed. Penalties and all that follows them is done by the host, which then waits for each token;
 * so is a top_k of 0, or above 64, unless the temperature is 0. */
struct clinfer_session_options {
    float temperature; /* 0: greedy */
    int top_k;         /* 0: all */
    float top_p, min_p;
    float repeat_penalty; /* 0.001 to 1000; 1: none */
    uint64_t seed; /* a token's random number depends on it (its two halves, xored) and on the token's place in the
                    * answer, on nothing else; its probabilities may, in their last digits, on who shares the steps */
    bool shift;    /* when the context is full, drop its older half and go on, instead of ending */

    int repeat_last_n; /* tokens that the repeat penalty and the next two look back over (64); 0: none of the three */
    float presence_penalty, frequency_penalty; /* once, and for each time that a token stands there (0) */

    /* DRY: a token that makes a repetition of n tokens longer loses dry_multiplier * dry_base ^ (n -
     * dry_allowed_length)
     */
    float dry_multiplier;            /* (0: none) */
    float dry_base;                  /* 1 or more (1.75) */
    int dry_allowed_length;          /* (2) */
    int dry_last_n;                  /* tokens that it looks back over (64) */
    const char *const *dry_breakers; /* [dry_breaker_count] texts across which nothing is a repetition; NULL: newline,
                                      * colon, quotation mark and asterisk */
    size_t dry_breaker_count;

    float xtc_probability; /* of leaving out the likeliest of the tokens above the threshold but the last (0: never) */
    float xtc_threshold;   /* (0.1); above 0.5: never */
    float typical_p;       /* those whose surprise is usual, of this probability together; 0 or 1: all (1) */
    float top_n_sigma;     /* those within so many standard deviations of the largest logit; 0: all (0) */

    /* 1 or 2, that version of Mirostat: after bias and temperature it alone chooses, to keep the surprise at
     * mirostat_tau bits (5), at a learning rate of mirostat_eta (0.1). 0: none. */
    int mirostat;
    float mirostat_tau, mirostat_eta;

    /* Which of these are used and in which order, the names separated by semicolons. NULL: the model's own, else
     * "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature". */
    const char *samplers;

    const struct clinfer_logit_bias *logit_bias; /* [logit_bias_count] */
    size_t logit_bias_count;

    int draft_most, draft_least; /* tokens guessed for a step, where the engine guesses; most 0: none; -1, and NAN of
                                  * the next: as struct clinfer_draft_options has it */
    float draft_p_min;

    int logprobs; /* clinfer_result.logprobs has so many of the likeliest for each token, and the token itself; 0: NULL
                   */
};

/* The engine's defaults (struct clinfer_engine_info), seed 0. Without an engine NAN and -1. */
CLINFER_API void clinfer_session_options_default(const clinfer_engine *engine, struct clinfer_session_options *options);
CLINFER_API enum clinfer_status clinfer_session_create(clinfer_engine *engine,
                                                       const struct clinfer_session_options *options,
                                                       clinfer_session **session);
/* Ends its request first. Not from a text callback. */
CLINFER_API void clinfer_session_destroy(clinfer_session *session);

/* Called with complete UTF-8 characters (bytes that are no UTF-8 pass as they are). false ends the generation. It may
 * come from any thread that is inside clinfer_wait or clinfer_generate on this engine, never twice at once. */
typedef bool clinfer_text_callback(void *user, const char *text, size_t length);

/* What an answer has to be: text by a grammar in llama.cpp's notation (GBNF), or JSON by a schema (draft 2020-12). A
 * token that cannot be part of such an answer is never taken. */
enum clinfer_grammar_kind { CLINFER_GRAMMAR_GBNF, CLINFER_GRAMMAR_JSON_SCHEMA };
struct clinfer_grammar {
    enum clinfer_grammar_kind kind;
    const char *text;
    const char *name; /* for messages: "--grammar-file x.gbnf"; NULL: none */
    bool leave_open;  /* where max_tokens or the context ends first, the text is cut there; else it is closed in time,
                       * with  the same CLINFER_FINISH_LENGTH, and where the shortest answer has more tokens than
                       * max_tokens the  request is CLINFER_INVALID_ARGUMENT */
    bool force_bytes; /* where only certain bytes may come, as the rest of a key that has begun, they are made tokens
                       * of as the tokenizer would, and take no steps: faster, but they may be other tokens than those
                       * that the model would have drawn, and so may be what follows. Not of remotes */
};

struct clinfer_request {
    const int32_t *tokens; /* the whole conversation; what this or another session has computed of it, from the first
                            * token on, is not computed again */
    size_t count;
    int max_tokens; /* -1: until the answer or the context ends */
    clinfer_text_callback *callback;
    void *user;
    bool ignore_end;         /* go on behind the token that ends an answer, which has no text */
    bool no_cache;           /* all tokens are computed, whatever was computed before, and others do not share them */
    const char *const *stop; /* [stop_count] texts, none empty, borrowed until the wait has ended: the answer ends
                              * before the first of them that comes up, and is held back while one might */
    size_t stop_count;
    const struct clinfer_grammar *grammar; /* NULL: any answer; borrowed for the call. An answer that is complete by it
                                            * ends, whatever ignore_end says */
};

enum clinfer_finish { CLINFER_FINISH_END, CLINFER_FINISH_LENGTH, CLINFER_FINISH_CONTEXT, CLINFER_FINISH_CANCELLED };

/* The natural logarithm of a token's probability, by the logits as the model gave them, before bias, samplers and
 * grammar. NAN: nobody computed it, since a grammar left no choice, or another engine had begun the answer. */
struct clinfer_logprob {
    int32_t token; /* -1: none */
    float logprob;
};

/* The same of a remote's token, which has a text and no number here; NULL: none. */
struct clinfer_text_logprob {
    const char *text; /* [length] bytes, a zero byte behind them */
    size_t length;
    float logprob; /* NAN: it was not told */
};

/* What has come of an answer since the piece before: text of one part, whole characters, with the tokens that came
 * meanwhile. Text may be held back, where it may become a stop text, a mark or a call, or is half a character: then its
 * tokens come with a later piece or with the last one, which may have no text. All pieces of a local answer together
 * have the result's tokens. */
enum clinfer_part { CLINFER_PART_ANSWER, CLINFER_PART_REASONING };
struct clinfer_piece {
    enum clinfer_part part;
    const char *text;
    size_t length;
    const int32_t *tokens; /* [token_count]; of a remote none */
    size_t token_count;
    const struct clinfer_logprob *logprobs; /* [token_count, 1 + sampling.logprobs], as in the result; NULL: not
                                             * wanted */
};
typedef bool clinfer_piece_callback(void *user, const struct clinfer_piece *piece);

struct clinfer_result {
    enum clinfer_finish finish;
    size_t prompt_tokens, cached_tokens, generated_tokens;
    double prompt_seconds, generate_seconds; /* to the first token; from there to the last */
    const int32_t *tokens; /* generated, the end token included; valid until the session's next request */
    size_t drafts, drafted_tokens,
        accepted_tokens;     /* steps with guesses; guessed; of these, so many are the answer's */
    size_t reasoning_tokens; /* of these, so many stand before the answer proper; 0 where nobody asked for the parts */
    bool reasoning_cut; /* its end was written for the model, since the answer by a grammar would not have come any more
                         */
    const struct clinfer_logprob *logprobs; /* [generated_tokens, 1 + options.logprobs]: the token itself, then the
                                             * likeliest in falling order; valid as long as tokens; NULL: not wanted */

    /* Of a remote's answer, where its API has them (OpenAI's); each [1 + sampling.logprobs], as above. Borrowed until
     * the conversation's next request. */
    const struct clinfer_text_logprob *remote_logprobs;
    size_t remote_logprob_count;

    /* What the answer calls, where the request had tools; borrowed until the conversation's next request. The finish
     * is END then. */
    const struct clinfer_tool_call *calls;
    size_t call_count;

    const char *stop_text; /* the one of the request's stop texts that ended it; NULL: none */
};

/* Submits and waits. CLINFER_CONTEXT_FULL: the prompt is longer than the context. */
CLINFER_API enum clinfer_status clinfer_generate(clinfer_session *session, const struct clinfer_request *request,
                                                 struct clinfer_result *result);

/* The two halves: requests of several sessions submitted before the first wait are computed in the same steps. The
 * request's tokens are copied. */
CLINFER_API enum clinfer_status clinfer_submit(clinfer_session *session, const struct clinfer_request *request);
CLINFER_API enum clinfer_status clinfer_wait(clinfer_session *session, struct clinfer_result *result);

/* Ends the session's generation after the present token. From any thread, or a signal handler. */
CLINFER_API void clinfer_cancel(clinfer_session *session);

/* Computes logits of the tokens as a continuation of nothing: float [all ? count : 1, outputs]. `all` needs the
 * engine's all_logits unless the tokens come one at a time. CLINFER_WRONG_RESULT: not all of them are finite, though
 * what was wrong was replaced; the message says where that comes from. */
CLINFER_API enum clinfer_status clinfer_logits(clinfer_session *session, const int32_t *tokens, size_t count, bool all,
                                               float *logits);

/* One vector for a text: [outputs]; RANK: [scores]; NONE: [count, outputs]. The engine's `embeddings` or an encoder. As
 * the model gives it; most users want it divided by its length. CLINFER_INVALID_ARGUMENT: the engine makes logits, or
 * the model does not rank. CLINFER_CONTEXT_FULL: the text has more tokens than the context. */
CLINFER_API enum clinfer_status clinfer_embed(clinfer_session *session, const int32_t *tokens, size_t count,
                                              enum clinfer_pooling pooling, float *vector);

/* The same of many texts, one behind the other in `vectors`, with a session of their own. From any thread, several at
 * once too: short texts of an encoder share steps, between which others' come in. `goes_on`, NULL or asked before each
 * step by the calling thread, ends it with CLINFER_CANCELLED. The message of a failure that is one text's
 * begins with its number, from 0. */
struct clinfer_tokens {
    const int32_t *tokens;
    size_t count;
};
CLINFER_API enum clinfer_status clinfer_embed_all(clinfer_engine *engine, const struct clinfer_tokens *texts,
                                                  size_t count, enum clinfer_pooling pooling,
                                                  bool (*goes_on)(void *user), void *user, float *vectors);

/* ---- remote APIs ---- */

/* One remote API. All texts are borrowed as long as whoever got them lives. Nothing is ever sent to one that no caller
 * handed over: the library looks for remotes neither in files nor in the environment. */
struct clinfer_remote {
    const char *name;    /* for people and records */
    const char *url;     /* the part before the dialect's own path: "https://api.openai.com/v1" */
    const char *dialect; /* NULL, "openai": chat completions; "anthropic": messages */
    const char *model;   /* NULL: none is named, which servers of one model accept */

    /* Where its key comes from; at most one is not NULL: a variable of the environment, a file that nobody else may
     * read (mode 0600 or less), a command for sh that prints it. */
    const char *key_variable, *key_file, *key_command;
    bool plain_http; /* http:// is allowed to hosts other than this one; never with a key */

    /* Until it is connected, until the first byte of an answer, between two of its bytes, in all; 0: 10, 60, 30, 600.
     */
    double connect_seconds, first_byte_seconds, idle_seconds, total_seconds;
};

/* ---- the request ladder ----
 *
 * A router answers requests on the first rung of its ladder that can: the device asked for, other devices, the CPU,
 * then remote APIs in order. Going down is never silent: each request has a route, and the log tells when it happens. A
 * step down before the first byte of text starts afresh; after it, another local rung goes on with the same tokens, so
 * that text which is out stays; a remote goes on with an answer that has begun only if that was asked for.
 *
 * Engines run on threads of their own: one whose driver hangs is left behind.
 *
 * From several threads: everything here may be called at any time from any thread, also while others wait for answers,
 * but a conversation belongs to one thread at a time (cancelling is for all), and nobody may use what another one
 * destroys or closes. Who waits for an answer sleeps. Callbacks of a request come from the engine's thread, or from the
 * one that waits where a remote answers or the answer ends, one at a time for each conversation; what of the router
 * they may call is clinfer_chat_cancel, clinfer_router_take_engine and _give_back_engine, _get_state, _get_stats and
 * _rungs. They hold up all that the engine computes, so they should not wait for anything. */

typedef struct clinfer_router clinfer_router;
typedef struct clinfer_conversation clinfer_conversation;

struct clinfer_router_options {
    /* What runs here. engine.fallback NONE: only the first rung; CPU: no remote. Texts are borrowed until the router
     * is closed. */
    struct clinfer_engine_options engine;
    const struct clinfer_remote *remotes; /* [remote_count], in the order in which they are asked; copied, not texts */
    size_t remote_count;
    const char *why_no_model; /* where engine.model is NULL: what to say of it */
    bool remote_only;
    bool remote_continues; /* a remote may go on with an answer that has begun here */

    /* A device is given up when nothing of it has come for so long: 0: 30 seconds, or ten times what a step should
     * take on a slow device if that is longer; 300 where kernels are built and weights are loaded. Otherwise exactly
     * this, and ten times as long for the latter. */
    double watchdog_seconds;

    bool prove; /* a rung is ready, and gets requests, only when it has computed a prompt of several tokens and two
                 * tokens more; else when its engine is open */

    /* A rung whose device failed is tried again after so many seconds, and must have computed such a prompt before
     * requests go there; each failure doubles that, up to retry_most_seconds (0: 600). 0: never, as for one that hung.
     */
    double retry_seconds, retry_most_seconds;

    /* Programs that were built for a device are saved for the next process while nobody asks, and when the router is
     * closed: then for so many seconds, and the one that is under way; 0: all of them. */
    double save_seconds;
};

enum clinfer_rung_kind { CLINFER_RUNG_DEVICE, CLINFER_RUNG_CPU, CLINFER_RUNG_REMOTE };

/* A rung, and what came of it. Texts are borrowed as long as what they came with. */
struct clinfer_rung {
    enum clinfer_rung_kind kind;
    const char *name;           /* "0: NAME (PLATFORM)", "cpu", a remote's name */
    const char *url;            /* of a remote, else "" */
    bool tried;                 /* by this request */
    enum clinfer_status status; /* CLINFER_OK: it answered, or was not needed */
    const char *reason;         /* why it did not answer, or was not tried; "" */
    double seconds;             /* that this request spent there */
    size_t tokens;              /* that it generated */

    /* Only of clinfer_router_rungs(). */
    double again_seconds;                    /* until it is tried again, below 0: never; 0 of one that is in use */
    uint64_t answered, failed, total_tokens; /* requests; tokens generated */
};

/* How a request was answered. Borrowed until the conversation's next request. */
struct clinfer_route {
    const struct clinfer_rung *rungs;
    size_t count;
    int answered;   /* index of the rung that ended it; -1: none */
    bool fell_back; /* another than the first */
    bool partial;   /* the text that is out is only the beginning of an answer: what came after it failed */
    /* All of it in one line: "0: A (B): 6 tokens, then the device or its driver failed (1.2 s); cpu: 40 tokens (3.1
     * s)". Reasons that the log has told are short here, and whole in the rungs. */
    const char *text;
    struct clinfer_result result; /* of a remote: what it counted; tokens is NULL */
};

/* Makes the ladder; no engine is opened. CLINFER_NO_DEVICE: engine.device names none, and engine.fallback is NONE. */
CLINFER_API enum clinfer_status clinfer_router_open(const struct clinfer_router_options *options,
                                                    clinfer_router **router);

/* All conversations must be destroyed before. Where some are left, an error goes to the log and the last one closes the
 * router when it is destroyed. An engine that is still being opened, after a deadline for one, is left behind:
 * clinfer_left_behind(). */
CLINFER_API void clinfer_router_close(clinfer_router *router);

/* Opens the first rung's engine, or the next one's when that cannot be, so that loading is done before the first
 * request. Not needed: requests do so too. CLINFER_OK: some rung is ready, which may be a remote. */
CLINFER_API enum clinfer_status clinfer_router_start(clinfer_router *router);

/* Begins to do so, and returns at once; clinfer_router_get_state() tells how far it is. Where the rung that is in use
 * fails later, the next one is opened ahead of requests, too. */
CLINFER_API enum clinfer_status clinfer_router_begin(clinfer_router *router);

/* The engine of the first rung that has one, to ask it things until the next request; NULL: none. */
CLINFER_API clinfer_engine *clinfer_router_engine(clinfer_router *router);

/* The same for programs with several threads: whatever becomes of its rung, the engine stays open until it is given
 * back, which has to be before the router is closed. Nothing happens for a NULL engine. */
CLINFER_API clinfer_engine *clinfer_router_take_engine(clinfer_router *router);
CLINFER_API void clinfer_router_give_back_engine(clinfer_router *router, clinfer_engine *engine);

/* The ladder as it stands, in one block that is the caller's to clinfer_free. */
CLINFER_API enum clinfer_status clinfer_router_rungs(clinfer_router *router, struct clinfer_rung **rungs,
                                                     size_t *count);

/* How things stand, for whoever has to know at once: neither a device that hangs nor a request holds it up. */
enum clinfer_router_condition {
    CLINFER_ROUTER_LOADING,  /* the rung that is next to be used is not ready */
    CLINFER_ROUTER_READY,    /* one of this machine is, or there are only remotes, as was asked for */
    CLINFER_ROUTER_DEGRADED, /* what was to run here does not; a remote is left */
    CLINFER_ROUTER_HANGING,  /* the device gives no sign of life for half of what the watchdog allows; or did so, was
                              * left behind, and nothing else is left */
    CLINFER_ROUTER_FAILED    /* nothing is left */
};
struct clinfer_router_state {
    enum clinfer_router_condition condition;
    int rung;              /* where the next request begins; -1: none */
    char name[128];        /* its name */
    char reason[512];      /* why the first rung is not in use; "" */
    double silent_seconds; /* of HANGING */
};
CLINFER_API void clinfer_router_get_state(clinfer_router *router, struct clinfer_router_state *state);

/* What was done, for metrics. */
struct clinfer_router_stats {
    uint64_t requests, answered, failed, cancelled;          /* so far */
    uint64_t prompt_tokens, cached_tokens, generated_tokens; /* of those that have ended, as in their results */
    double prompt_seconds, generate_seconds;
    uint64_t steps, rows;                     /* runs of a plan, and tokens computed, of engines that are open */
    uint64_t cache_tokens, cache_tokens_used; /* as of engines */
    uint64_t cache_bytes;
    int running, waiting; /* requests that are computed, or on a remote; that wait for an engine */
};
CLINFER_API void clinfer_router_get_stats(clinfer_router *router, struct clinfer_router_stats *stats);

/* Whether a thread was left behind in a driver that hangs: then the process must end with _exit, since drivers wait
 * for their own work at exit. Stays true for the life of the process. */
CLINFER_API bool clinfer_left_behind(void);

/* NAN and -1 in `sampling`: the model's own; NULL: all of them. */
CLINFER_API enum clinfer_status clinfer_conversation_create(clinfer_router *router,
                                                            const struct clinfer_session_options *sampling,
                                                            clinfer_conversation **conversation);
CLINFER_API void clinfer_conversation_destroy(clinfer_conversation *conversation);

/* A piece of a call, as it comes. */
struct clinfer_tool_call_piece {
    size_t index;          /* of the call in the answer */
    const char *id, *name; /* each in one piece of the call, the first if possible, else NULL */
    const char *arguments; /* the next [length] bytes of them, whole characters; maybe none */
    size_t length;
    bool last; /* the call is whole */
};
typedef bool clinfer_tool_call_callback(void *user, const struct clinfer_tool_call_piece *piece);

struct clinfer_chat_request {
    const struct clinfer_message *messages; /* the whole conversation; the last one is to be answered */
    size_t count;
    const int32_t *tokens; /* [token_count], copied: the prompt itself, instead of messages; local rungs only */
    size_t token_count;
    bool raw;           /* the last message's content as it is, without a chat template; local rungs only */
    bool parse_special; /* control tokens in contents count as such, as they always do in a raw one */

    /* What the chat template makes of the messages: without what begins an answer; or so that the last message, which
     * is the assistant's, is an answer that has begun, and the model goes on with it (remotes are asked to do so, too);
     * with variables of its own, a JSON object such as {"enable_thinking": false}, that go before the engine's. No
     * remote is asked for a request with the first of these, nor with the last, unless it may be lost on the way. */
    bool no_generation_prompt;
    bool continue_last;
    const char *template_arguments; /* copied; NULL: none */
    bool optional_arguments;        /* a remote may be asked without them */

    int max_tokens;          /* -1: until the answer or the context ends */
    bool ignore_end;         /* as in struct clinfer_request; local rungs only */
    bool no_cache;           /* the same */
    double deadline_seconds; /* 0: none; after it no local rung goes on, with the prompt or the answer */
    const char *const *stop; /* [stop_count] texts, none empty, borrowed until the wait has ended: the answer ends
                              * before the first of them that comes up, and is held back while one might */
    size_t stop_count;
    const struct clinfer_grammar *grammar; /* NULL: any answer. Borrowed, with its texts, until the wait has ended. What
                                            * a model thinks before it answers is free. Of remotes only those that take
                                            * schemas are asked, and no remote for GBNF */

    /* NULL, or what the model may call: an array as OpenAI's API has it, [{"type": "function", "function": {"name":
     * ..., "description": ..., "parameters": {...}}}, ...]. The chat template shows them to the model, or a system
     * message does where it cannot; calls in the answer become struct clinfer_result's and are no part of its text,
     * nor is reasoning then. Borrowed until the wait has ended, as the next. */
    const char *tools;
    const char *tool_choice; /* NULL, "auto": the model decides; "none": no call; "required": one at least; or the name
                              * of the tool that it has to call */

    /* Maybe from another thread than the caller's, never twice at once, never after clinfer_chat_wait has returned. It
     * may call clinfer_chat_cancel only. */
    clinfer_text_callback *callback;
    void *user;

    /* What a model thinks before it answers (<think> ... </think> and other forms, by its chat template) goes here,
     * and only the answer itself, without these marks, to `callback`; NULL: all of it goes there, marks that are text
     * included. Stop texts end the answer, not the reasoning. Never at the same time as `callback`. Remotes keep their
     * reasoning to themselves. */
    clinfer_text_callback *reasoning;

    /* NULL, or gets calls of tools as they come, else as `callback`; the result has them in any case. */
    clinfer_tool_call_callback *call;

    /* NULL, or gets all text, whatever part it is of, and the tokens: instead of `callback` and `reasoning`, which are
     * NULL then. As `callback`. */
    clinfer_piece_callback *piece;

    /* NULL, or told once a local rung has made the prompt and accepted it, before any text: its tokens, and how many of
     * them need not be computed. Once for a request, as `callback`. */
    void (*started)(void *user, size_t prompt_tokens, size_t cached_tokens);

    /* NULL, or told after each step that computed some of the prompt how much of it is there. As `callback`. */
    void (*progress)(void *user, size_t done, size_t total);
};

/* clinfer_embed_all() on the first rung of this machine that can, from any thread: where a device fails, that rung is
 * out of use, and the next one makes all vectors anew. Remotes are not asked. For an encoder, or with
 * engine.embeddings. CLINFER_UNSUPPORTED: no model runs here. */
CLINFER_API enum clinfer_status clinfer_router_embed(clinfer_router *router, const struct clinfer_tokens *texts,
                                                     size_t count, enum clinfer_pooling pooling,
                                                     bool (*goes_on)(void *user), void *user, float *vectors);

/* What a request becomes, without running it: the prompt's text (*length bytes and a zero; "" where tokens are given)
 * and its tokens, with the tools that the request has, but without the mark that a call which has to come would begin
 * with. Each of the outputs may be NULL; *text and *tokens are the caller's to clinfer_free. An engine is opened where
 * none is. CLINFER_UNSUPPORTED: no model runs here, a remote makes its own prompts. */
CLINFER_API enum clinfer_status clinfer_router_prompt(clinfer_router *router,
                                                      const struct clinfer_chat_request *request, char **text,
                                                      size_t *length, int32_t **tokens, size_t *token_count);

/* Begins the request; several conversations' requests run in the same steps. The messages are copied. */
CLINFER_API enum clinfer_status clinfer_chat_submit(clinfer_conversation *conversation,
                                                    const struct clinfer_chat_request *request);

/* Waits for its end, going down the ladder where that is needed. The status is that of the last rung that was tried,
 * the message says what happened on each; CLINFER_REFUSED: none was, since none is allowed. */
CLINFER_API enum clinfer_status clinfer_chat_wait(clinfer_conversation *conversation,
                                                  const struct clinfer_route **route);

/* Ends the answer after the present token, or the making of the prompt. From any thread, or a signal handler. */
CLINFER_API void clinfer_chat_cancel(clinfer_conversation *conversation);

#ifdef __cplusplus
}
#endif

#endif
