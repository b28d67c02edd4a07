/* bench_start.c: what it takes from the start of a process to its first token. The process is this very executable as
 * `clinfer bench_start` with the flags of the engine; it says when it had its first token on the clock that all
 * processes share.
 *
 * A cold start has folders of its own, empty, for compiled kernels and proofs, and a model whose pages are no longer in
 * memory; warm ones come after it in the same folders. What a driver keeps in other places (a GPU's firmware, its own
 * cache that no variable moves) stays as it was. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "cli/bench.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"

static const double patience = 900, slice = 0.2, farewell = 60;

/* ---- the process aside ---- */

static enum clinfer_status first_token(clinfer_engine *engine, double *first_at) {
    struct clinfer_engine_info info;
    struct clinfer_session_options options;
    struct clinfer_result result;
    clinfer_session *session = NULL;
    int32_t tokens[CI_BENCH_START_PROMPT];
    clinfer_engine_get_info(engine, &info);
    clinfer_session_options_default(engine, &options);
    options.temperature = 0;
    options.repeat_penalty = 1;
    for (int i = 0; i < CI_BENCH_START_PROMPT; i++) tokens[i] = (int32_t)((i * 7919LL + 13) % info.vocabulary);
    const struct clinfer_request request = {.tokens = tokens, .count = CI_BENCH_START_PROMPT, .max_tokens = 1};
    enum clinfer_status status = clinfer_session_create(engine, &options, &session);
    double begun = ci_now();
    if (status == CLINFER_OK) status = clinfer_generate(session, &request, &result);
    /* Not when the call returns: kernels that were just built are saved before that. */
    if (status == CLINFER_OK) *first_at = begun + result.prompt_seconds;
    if (session) clinfer_session_destroy(session);
    return status;
}

int ci_command_bench_start(int argc, char **argv) {
    struct ci_engine_flags flags = CI_ENGINE_FLAGS_DEFAULT;
    struct ci_model_choice choice = {0};
    struct clinfer_engine_info info;
    clinfer_engine *engine = NULL;
    double first_at = 0;
    const struct ci_option options[] = {CI_ENGINE_OPTIONS(&flags)};
    const struct ci_usage usage = {.command = "bench_start",
                                   .synopsis = "[options]",
                                   .about = "Started by clinfer bench.",
                                   .options = options,
                                   .option_count = sizeof options / sizeof *options};
    int exit_status = ci_options_parse(&usage, argc, argv, NULL);
    if (exit_status != CI_OPTIONS_GO_ON) return exit_status;
    enum clinfer_status status = ci_engine_flags_open(&flags, CI_LOGITS_OF_LAST, &choice, &engine);
    if (status == CLINFER_OK) status = first_token(engine, &first_at);
    json_t *answer = json_object();
    if (status == CLINFER_OK) {
        clinfer_engine_get_info(engine, &info);
        json_object_set_new(answer, "load", json_real(info.load_seconds));
        json_object_set_new(answer, "first_at", json_real(first_at));
        json_object_set_new(answer, "peak", json_integer((json_int_t)ci_process_peak_bytes()));
    } else {
        json_object_set_new(answer, "status", json_integer(status));
        json_object_set_new(answer, "error", ci_json_text(clinfer_error(), strlen(clinfer_error())));
    }
    char *line = json_dumps(answer, JSON_COMPACT);
    ci_printf("%s\n", line ? line : "{}");
    ci_flush();
    free(line);
    json_decref(answer);
    if (engine) clinfer_engine_close(engine);
    ci_models_free(&choice);
    ci_engine_flags_free(&flags);
    return ci_exit_status(status);
}

/* ---- this side ---- */

/* The child's command line, ending with NULL; numbers lie in `text`. */
struct words {
    const char **items;
    char text[5][24];
    size_t count;
};

static void add(struct words *words, const char *flag, const char *value) {
    if (!value) return;
    words->items[words->count++] = flag;
    words->items[words->count++] = value;
}

static void add_number(struct words *words, int slot, const char *flag, long long value) {
    snprintf(words->text[slot], sizeof words->text[slot], "%lld", value);
    add(words, flag, words->text[slot]);
}

static enum clinfer_status make_words(const struct ci_engine_flags *flags, const char *model, struct words *words) {
    static const char *const fallbacks[] = {"cpu", "none", "remote"};
    static const char *const activations[] = {"auto", "f32", "q8", "q16"}, *const packed[] = {"auto", "on", "off"};
    enum { FLAGS = 14 };
    *words = (struct words){.items = calloc(2 + 2 * (FLAGS + flags->ops.count) + 1, sizeof *words->items)};
    if (!words->items) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a command line");
    words->items[words->count++] = "clinfer";
    words->items[words->count++] = "bench_start";
    add(words, "-m", model);
    add(words, "--type", flags->weight_type);
    add(words, "--device", flags->device);
    add(words, "--tuning", flags->tuning);
    add(words, "--fallback", fallbacks[flags->fallback]);
    add(words, "--activations", activations[flags->activations]);
    add(words, "--packed-cache", packed[flags->packed_cache]);
    add(words, "-ctk", ci_cache_type_names[flags->key_type]);
    add(words, "-ctv", ci_cache_type_names[flags->value_type]);
    add_number(words, 0, "-t", flags->threads);
    add_number(words, 1, "-ngl", flags->device_layers);
    if (flags->batch > 0) add_number(words, 2, "-b", flags->batch);
    if (flags->micro_batch > 0) add_number(words, 3, "-ub", flags->micro_batch);
    add_number(words, 4, "-c", flags->context);
    for (size_t i = 0; i < flags->ops.count; i++) add(words, "--op", flags->ops.items[i]);
    return CLINFER_OK;
}

static enum clinfer_status take_answer(const char *line, double started, int64_t *load_ns, int64_t *first_ns,
                                       int64_t *peak_bytes) {
    json_t *answer = json_loads(line, 0, NULL), *error = json_object_get(answer, "error");
    enum clinfer_status status = CLINFER_OK;
    if (error) {
        status = ci_fail((enum clinfer_status)json_integer_value(json_object_get(answer, "status")), "%s",
                         json_string_value(error));
    } else if (!json_is_number(json_object_get(answer, "first_at"))) {
        status = ci_fail(CLINFER_IO, "the process that was to be timed said: %.200s", line);
    } else {
        *load_ns = (int64_t)(json_number_value(json_object_get(answer, "load")) * 1e9);
        *first_ns = (int64_t)((json_number_value(json_object_get(answer, "first_at")) - started) * 1e9);
        *peak_bytes = json_integer_value(json_object_get(answer, "peak"));
    }
    json_decref(answer);
    return status;
}

/* One start: to its first token, and until it has ended and left its caches behind. */
static enum clinfer_status time_start(const struct words *words, const char *const *changes, int64_t *load_ns,
                                      int64_t *first_ns, int64_t *peak_bytes) {
    char *executable = realpath("/proc/self/exe", NULL);
    if (!executable) return ci_fail(CLINFER_IO, "/proc/self/exe cannot be read: a start cannot be timed");
    struct ci_dialogue child = {0};
    const char *line = NULL;
    double started = ci_now();
    enum clinfer_status status = ci_dialogue_start(executable, words->items, changes, &child);
    enum ci_dialogue_event event = CI_DIALOGUE_SILENT;
    while (status == CLINFER_OK && event == CI_DIALOGUE_SILENT) {
        event = ci_dialogue_receive(&child, slice, &line);
        if (ci_interrupted()) status = ci_fail(CLINFER_CANCELLED, "cancelled");
        if (ci_now() - started > patience)
            status = ci_fail(CLINFER_DEVICE_ERROR, "no token within %.0f s of the start", patience);
    }
    if (status == CLINFER_OK && event == CI_DIALOGUE_LINE)
        status = take_answer(line, started, load_ns, first_ns, peak_bytes);
    else if (status == CLINFER_OK)
        status = ci_fail(CLINFER_DEVICE_ERROR, "the process that was to be timed ended without a token");
    ci_dialogue_end(&child, status == CLINFER_CANCELLED ? 0 : farewell);
    free(executable);
    return status;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk) {
    (void)status, (void)kind, (void)walk;
    return remove(path);
}

/* What is in memory of a file that nobody changes can be dropped; but not what somebody else has mapped, nor files of
 * file systems that lie in memory. Then cold is only said of the caches. */
static void drop_pages(const char *path) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), kept = 0;
    struct ci_file file = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    if (fd >= 0) close(fd);
    if (ci_file_map(path, &file) != CLINFER_OK) return;
    size_t pages = (file.size + page - 1) / page;
    unsigned char *resident = malloc(pages ? pages : 1);
    if (resident && pages && mincore((void *)(uintptr_t)file.data, file.size, resident) == 0)
        for (size_t i = 0; i < pages; i++) kept += resident[i] & 1;
    if (kept > pages / 10)
        ci_warn("%s: %.0f%% of it stay in memory, mapped by another process or by the nature of its file system: the "
                "cold start is cold in its kernels only",
                path, 100.0 * (double)kept / (double)pages);
    free(resident);
    ci_file_unmap(&file);
}

static enum clinfer_status reserve(struct ci_bench_samples *samples, int count) {
    *samples = (struct ci_bench_samples){.peak_bytes = -1};
    samples->ns = calloc((size_t)count, sizeof *samples->ns);
    samples->first_ns = calloc((size_t)count, sizeof *samples->first_ns);
    return samples->ns && samples->first_ns ? CLINFER_OK
                                            : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %d starts", count);
}

static enum clinfer_status add_sample(const struct words *words, const char *const *changes,
                                      struct ci_bench_samples *samples) {
    int64_t load_ns = 0, first_ns = 0, peak_bytes = 0;
    enum clinfer_status status = time_start(words, changes, &load_ns, &first_ns, &peak_bytes);
    if (status != CLINFER_OK) return status;
    int count = samples->count++;
    samples->ns[count] = samples->first_ns[count] = first_ns;
    samples->load_ns = (samples->load_ns * count + load_ns) / (count + 1);
    if (peak_bytes > samples->peak_bytes) samples->peak_bytes = peak_bytes;
    return CLINFER_OK;
}

enum clinfer_status ci_bench_start(const struct ci_engine_flags *flags, int repetitions, struct ci_bench_samples *cold,
                                   struct ci_bench_samples *warm) {
    static const char *const variables[] = {"XDG_CACHE_HOME", "POCL_CACHE_DIR", "CUDA_CACHE_PATH"};
    enum { FOLDERS = sizeof variables / sizeof *variables };
    const char *base = getenv("TMPDIR"), *changes[FOLDERS + 1] = {NULL};
    char folder[4096], settings[FOLDERS][sizeof folder + 64];
    struct ci_model_choice choice = {0};
    struct words words = {0};
    enum clinfer_status status = reserve(cold, 1), second = reserve(warm, repetitions);
    if (status == CLINFER_OK) status = second;
    if (status == CLINFER_OK) status = ci_models_choose(&flags->from, &choice);
    snprintf(folder, sizeof folder, "%s/clinfer-bench-XXXXXX", base && *base ? base : "/tmp");
    if (status == CLINFER_OK) status = make_words(flags, choice.path, &words);
    if (status == CLINFER_OK && !mkdtemp(folder))
        status = ci_fail(CLINFER_IO, "%s: no folder for empty caches can be made there", folder);
    if (status != CLINFER_OK) goto done;
    for (int i = 0; i < FOLDERS && status == CLINFER_OK; i++) {
        snprintf(settings[i], sizeof settings[i], "%s=%s/%s", variables[i], folder, variables[i]);
        changes[i] = settings[i];
        if (mkdir(strchr(settings[i], '/'), 0700) != 0)
            status = ci_fail(CLINFER_IO, "%s: no folder for empty caches can be made there", folder);
    }
    drop_pages(choice.path);
    if (status == CLINFER_OK) status = add_sample(&words, changes, cold);
    for (int i = 0; i < repetitions && status == CLINFER_OK; i++) status = add_sample(&words, changes, warm);
    nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
done:
    free(words.items);
    ci_models_free(&choice);
    return status;
}
