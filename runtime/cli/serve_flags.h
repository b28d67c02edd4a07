/* serve_flags.h: the flags of `clinfer serve`, by llama-server's names, and the server that they ask for. */
#ifndef CI_CLI_SERVE_FLAGS_H
#define CI_CLI_SERVE_FLAGS_H

#include "cli/engine_flags.h"
#include "cli/output.h"
#include "cli/remotes.h"
#include "cli/sampling_flags.h"
#include "server/server.h"

enum { CI_SERVE_SOCKETS = 16 };

struct ci_serve_flags {
    struct ci_engine_flags engine;
    struct ci_sampling_flags sampling;
    struct ci_log_flags log;
    struct ci_remote_flags remote;
    struct ci_texts hosts, keys, names;
    const char *key_file, *certificate_file, *certificate_key_file, *prefix, *origins, *log_jsonl;
    const char *alias, *tags, *slot_save_path, *media_path, *pooling;
    long long port, parallel, queue, connections, timeout, ping, threads_http, predict, body_mb;
    double drain, watchdog, sleep_seconds, models_memory;
    const char *models_dir, *models_preset, *keep_alive;
    long long models_max;
    bool no_autoload, model_changes, metrics, slots, no_slots, props, web_page, shift, no_jinja, embeddings, reranking,
        unified, no_warmup;
    int reasoning, reasoning_format, attention;

    /* of llama-server, without a meaning here */
    struct ci_texts ignored;
    bool ignored_flag;

    /* made of them */
    char **host_parts;
    size_t host_count;
    char *key_text;
    struct ci_server_key *server_keys;
    char (*key_names)[32];
    size_t key_count;
    char *certificate, *certificate_key;
    int sockets[CI_SERVE_SOCKETS];
};

/* What flags hold before they are parsed. */
#define CI_SERVE_FLAGS_DEFAULT                                                                                         \
    {                                                                                                                  \
        .engine = CI_ENGINE_FLAGS_DEFAULT, .engine.prefix_mib = -1, .sampling = CI_SAMPLING_FLAGS_DEFAULT,             \
        .remote = CI_REMOTE_FLAGS_DEFAULT, .port = 8080, .predict = -1, .drain = 30, .timeout = 600, .web_page = true, \
        .models_max = 4, .attention = 2, .reasoning = 2, .ping = 15                                                    \
    }

#define CI_SERVE_NETWORK_OPTIONS(flags)                                                                                \
    CI_TEXTS(                                                                                                          \
        "--host", &(flags)->hosts, "ADDRESS",                                                                          \
        "where to listen (127.0.0.1): addresses or names, with commas or repeated, or a path that ends in .sock; "     \
        "what other machines can reach needs a key"),                                                                  \
        CI_INTEGER("--port", &(flags)->port, 0, 65535, "(8080); 0: a free one, which is printed"),                     \
        CI_TEXTS("--api-key", &(flags)->keys, "KEY",                                                                   \
                 "who asks needs this key, or another; repeatable, or with commas. Others can read it in the list of " \
                 "processes: --api-key-file is better"),                                                               \
        CI_TEXT("--api-key-file", &(flags)->key_file, "FILE", "a file with a key a line"),                             \
        CI_TEXT("--cors-origins", &(flags)->origins, "LIST",                                                           \
                "pages that may use the server: localhost (default), * for all, or origins with commas"),              \
        CI_TEXTS("--allowed-host", &(flags)->names, "NAME",                                                            \
                 "a name that requests may call this machine by, besides localhost and its own; repeatable"),          \
        CI_FLAG("--allow-model-changes", &(flags)->model_changes,                                                      \
                "without a key, too, models may be pulled, copied, deleted, loaded and unloaded"),                     \
        CI_TEXT("--api-prefix", &(flags)->prefix, "PATH", "all routes lie below it"),                                  \
        CI_TEXT("--ssl-cert-file", &(flags)->certificate_file, "FILE", "TLS: certificate, PEM"),                       \
        CI_TEXT("--ssl-key-file", &(flags)->certificate_key_file, "FILE", "its private key, PEM"),                     \
        CI_INTEGER("-to --timeout", &(flags)->timeout, 1, 1 << 20, "seconds that a client may be silent (600)"),       \
        CI_INTEGER("--sse-ping-interval", &(flags)->ping, -1, 1 << 20,                                                 \
                   "seconds of silence after which a stream of events, or a request for one that waits, gets a "       \
                   "comment line, for proxies (15); 0 or -1: none"),                                                   \
        CI_INTEGER("--max-connections", &(flags)->connections, 1, 1 << 16, "at the same time (1024)"),                 \
        CI_INTEGER("--max-body", &(flags)->body_mb, 1, 4096, "MiB of a request's body (64)"),                          \
        CI_INTEGER("--threads-http", &(flags)->threads_http, -1, 1 << 20,                                              \
                   "has no meaning here: threads come as needed")

#define CI_SERVE_ANSWER_OPTIONS(flags)                                                                                 \
    CI_INTEGER("-np --parallel", &(flags)->parallel, 1, 1024,                                                          \
               "requests that are computed at the same time (4); where it is given, -c is divided among them"),        \
        CI_FLAG("-kvu --kv-unified", &(flags)->unified, "-c is each request's, whatever -np is"),                      \
        CI_INTEGER("--queue", &(flags)->queue, 1, 1 << 16, "requests that may wait (512); more get status 429"),       \
        CI_INTEGER("-n --predict --n-predict", &(flags)->predict, -1, 1 << 30,                                         \
                   "tokens of an answer at most, where the request says nothing (default -1: no limit)"),              \
        CI_FLAG("--context-shift", &(flags)->shift, "when a context is full, drop its older half and go on"),          \
        CI_FLAG_OFF("--no-context-shift", &(flags)->shift, "end the answer (default)"),                                \
        CI_TEXT("-a --alias", &(flags)->alias, "NAMES", "what the model is called, with commas"),                      \
        CI_TEXT("--tags", &(flags)->tags, "NAMES", "tags that the list of models shows"),                              \
        CI_FLAG("--embedding --embeddings", &(flags)->embeddings, "the model makes vectors"),                          \
        CI_FLAG("--rerank --reranking", &(flags)->reranking, "the model judges documents"),                            \
        CI_TEXT("--pooling", &(flags)->pooling, "KIND",                                                                \
                "how vectors of tokens become one: none, mean, cls, last, rank"),                                      \
        CI_CHOICE("-rea --reasoning", &(flags)->reasoning, "on|off|auto",                                              \
                  "whether models that can think before they answer do; auto: as their template has it"),              \
        CI_CHOICE("--reasoning-format", &(flags)->reasoning_format, "auto|deepseek|none|deepseek-legacy",              \
                  "where that goes: a field of its own; or, none, into the answer"),                                   \
        CI_FLAG("--jinja", &(flags)->ignored_flag, "templates are always rendered; changes nothing"),                  \
        CI_FLAG("--no-jinja", &(flags)->no_jinja, "changes nothing, either"),                                          \
        CI_FLAG("--no-warmup", &(flags)->no_warmup, "say that the server is ready before a first prompt has run")

#define CI_SERVE_MODEL_OPTIONS(flags)                                                                                  \
    CI_TEXT(                                                                                                           \
        "--models-dir", &(flags)->models_dir, "FOLDER",                                                                \
        "its models may be asked for by name, loaded when they are. Without this, -m, -hf and --models-preset all "    \
        "that `clinfer list` shows may"),                                                                              \
        CI_TEXT("--models-preset", &(flags)->models_preset, "FILE.ini",                                                \
                "models by settings of their own, a section each; read again on SIGHUP"),                              \
        CI_INTEGER("--models-max", &(flags)->models_max, 0, 1024,                                                      \
                   "models that are loaded at once (4); for another one the least recently used goes out, unless it "  \
                   "is busy; 0: any number"),                                                                          \
        CI_NUMBER("--models-memory", &(flags)->models_memory, 0, 1e6,                                                  \
                  "GB that all of them may take together (default 0: what there is)"),                                 \
        CI_FLAG("--no-models-autoload", &(flags)->no_autoload, "only POST /models/load loads models"),                 \
        CI_FLAG_OFF("--models-autoload", &(flags)->no_autoload, "requests do, too (default)"),                         \
        CI_TEXT("--keep-alive", &(flags)->keep_alive, "TIME",                                                          \
                "how long a model that was loaded on demand stays after its last request (OLLAMA_KEEP_ALIVE, else "    \
                "5m): seconds, 5m, 1h30m, -1 for ever; that of -m always stays"),                                      \
        CI_NUMBER("--sleep-idle-seconds", &(flags)->sleep_seconds, -1, 1e9,                                            \
                  "after so long without a request any model leaves the memory until the next one (default: never)")

#define CI_SERVE_LIFE_OPTIONS(flags)                                                                                   \
    CI_FLAG("--metrics", &(flags)->metrics, "GET /metrics counts, for Prometheus"),                                    \
        CI_FLAG("--slots", &(flags)->slots, "GET /slots shows what runs (default)"),                                   \
        CI_FLAG("--no-slots", &(flags)->no_slots, "GET /slots is off"),                                                \
        CI_FLAG("--props", &(flags)->props, "POST /props is on"),                                                      \
        CI_TEXT("--slot-save-path", &(flags)->slot_save_path, "FOLDER", "where the caches of slots may be saved"),     \
        CI_TEXT("--media-path", &(flags)->media_path, "FOLDER", "has no meaning here yet"),                            \
        CI_FLAG_OFF("--no-ui --no-webui", &(flags)->web_page, "no page at /"),                                         \
        CI_TEXT("--log-jsonl", &(flags)->log_jsonl, "FILE",                                                            \
                "a line of JSON for each request, without what it said, and for what becomes of the server"),          \
        CI_NUMBER("--drain", &(flags)->drain, 0, 86400,                                                                \
                  "seconds that answers have to end after SIGTERM (30); a second signal ends at once"),                \
        CI_NUMBER("--watchdog", &(flags)->watchdog, 0.1, 1e6, "seconds after which a silent device is given up (30)")

/* What the suites and the scripts of llama-server pass, and what is otherwise here, or not at all. */
#define CI_SERVE_IGNORED_OPTIONS(flags)                                                                                \
    CI_FLAG("-cb --cont-batching", &(flags)->ignored_flag, "always so"),                                               \
        CI_FLAG("--swa-full", &(flags)->ignored_flag, "no meaning"),                                                   \
        CI_FLAG("--no-mmproj", &(flags)->ignored_flag, "always so"),                                                   \
        CI_FLAG("--no-cache-idle-slots", &(flags)->ignored_flag, "no meaning"),                                        \
        CI_FLAG("--ui-mcp-proxy", &(flags)->ignored_flag, "no meaning"),                                               \
        CI_FLAG("--backend_sampling", &(flags)->ignored_flag, "always so where a device can"),                         \
        CI_CHOICE("-fa --flash-attn", &(flags)->attention, "on|off|auto", "always on"),                                \
        CI_TEXTS("--mmproj-url", &(flags)->ignored, "ADDRESS", "no meaning"),                                          \
        CI_TEXTS("--spec-type", &(flags)->ignored, "TYPE", "no meaning"),                                              \
        CI_TEXTS("--spec-synth-len --spec-synth-rates", &(flags)->ignored, "N", "no meaning"),                         \
        CI_TEXTS("--tools --tools-runtime --mcp-servers-config --mcp-servers-json", &(flags)->ignored, "X",            \
                 "no meaning")

/* The server's options, which borrow from the flags. What is wrong is said already. */
enum clinfer_status ci_serve_flags_read(struct ci_serve_flags *flags, struct ci_server_options *options);
/* The keys alone, again: flags->server_keys, flags->key_count. */
enum clinfer_status ci_serve_flags_read_keys(struct ci_serve_flags *flags);
void ci_serve_flags_free(struct ci_serve_flags *flags);

/* Adds the parts of `text` between any of `separators` to an array that is the caller's, with its texts. false: memory
 * is out. */
bool ci_serve_add_parts(char ***parts, size_t *count, const char *text, const char *separators);

#endif
