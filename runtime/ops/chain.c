/* chain.c: the program of a chain, and its script. */
#define _GNU_SOURCE
#include "ops/chain.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/status.h"
#include "device/kernels.h"

/* Buffers of one launch: two for each layer, weights, activations. Pointers take most of the 1,024 bytes of arguments
 * that every device has. LINE_BYTES as in clkernels/chain.cl. */
enum { MOST_BUFFERS = 112, MOST_STAGES = 64, MOST_ARGUMENTS = 32, HEAD_WORDS = 4, LINE_BYTES = 64 };

/* Arguments of the kernel before the buffers. */
enum { SCRIPT, STATE, STEPS, SECOND, FIRST_BUFFER };

/* A kernel that is a function of the program. */
struct stage {
    const struct ci_variant *variant;
    int launch;
    int source_count;
    const char *sources[CI_BIND_SOURCES];
    char *options, *before;
};

/* Steps [first, last) of the chain: one launch. */
struct segment {
    int first, last;
    struct ci_kernel *kernel;
    struct ci_buffer *script, *state;
    struct ci_buffer *buffers[MOST_BUFFERS];
    int buffer_count;
    uint64_t *words, *sent; /* [capacity] of the script */
    int word_count, sent_count, capacity;
    int32_t second;
};

struct step {
    const struct ci_bound *bound;
    int launch, stage;
};

struct ci_chain {
    struct ci_device *device;
    struct stage stages[MOST_STAGES];
    struct step *steps;
    struct segment *segments;
    int stage_count, step_count, segment_count;
    size_t workers;
    uint64_t key;
};

/* ---- what can be a link ---- */

/* Whether the text has work-items that do something together, or may have. */
static bool needs_others(const char *text) {
    static const char *const words[] = {"barrier(",       "__local",       "sub_group_",   "work_group_",
                                        "get_local_",     "get_enqueued_", "get_group_id", "get_num_groups",
                                        "get_num_sub_gr", "get_work_dim",  "get_global_l", "get_global_o"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(text, words[i])) return true;
    return false;
}

static bool source_is_free(const char *name) {
    char *text = NULL;
    bool free_of_it = ci_kernel_source_load(name, &text) == CLINFER_OK && !needs_others(text);
    free(text);
    return free_of_it;
}

static bool is_single(const struct ci_grid *grid) {
    for (int i = 0; i < grid->dimensions; i++)
        if (grid->local[i] != 1) return false;
    return grid->dimensions <= 2;
}

bool ci_chain_takes(const struct ci_device_caps *caps, const struct ci_chain_link *link) {
    const struct ci_bound_launch *launches;
    if (caps->kind != CI_DEVICE_CPU || link->variant->products || link->variant->local_bytes) return false;
    int count = ci_bind_launches(link->bound, &launches);
    for (int i = 0; i < count; i++)
        if (!is_single(&launches[i].grid) || ci_bind_values(link->bound, i, NULL, 0) > MOST_ARGUMENTS) return false;
    return count > 0 && source_is_free(link->variant->source);
}

/* ---- the program ---- */

/* The function's name: the kernel's and the number of its stage. Every kernel of the text becomes one, and where the
 * ids of its work-items came from stand parameters before its own. */
static char *prelude(const char *text, int stage) {
    static const char kernel[] = "__kernel void ";
    static const char start[] = "#define __kernel\n"
                                "#define __constant static __constant\n"
                                "#define get_global_id(d) ((size_t)((d) == 0 ? chain_id0 : chain_id1))\n"
                                "#define get_global_size(d) ((size_t)((d) == 0 ? chain_size0 : chain_size1))\n";
    char *before = strdup(start);
    for (const char *at = strstr(text, kernel); at && before; at = strstr(at, kernel)) {
        char *longer = NULL;
        at += sizeof kernel - 1;
        const int length = (int)strcspn(at, "( \n");
        if (asprintf(&longer,
                     "%s#define %.*s(...) %.*s_%d(int chain_id0, int chain_id1, int chain_size0, int chain_size1, "
                     "__VA_ARGS__)\n",
                     before, length, at, length, at, stage) < 0)
            longer = NULL;
        free(before);
        before = longer;
    }
    return before;
}

static enum clinfer_status make_stage(struct ci_chain *chain, const struct ci_chain_link *link, int launch,
                                      const char *options, const char *const *sources, int source_count) {
    struct stage *stage = &chain->stages[chain->stage_count];
    char *text = NULL;
    if (chain->stage_count == MOST_STAGES)
        return ci_fail(CLINFER_UNSUPPORTED, "more than %d different kernels in a chain", MOST_STAGES);
    *stage = (struct stage){.variant = link->variant, .launch = launch, .source_count = source_count};
    memcpy(stage->sources, sources, sizeof *sources * (size_t)source_count);
    enum clinfer_status status = ci_kernel_source_load(link->variant->source, &text);
    if (status == CLINFER_OK) {
        stage->options = strdup(options);
        stage->before = prelude(text, chain->stage_count);
    }
    free(text);
    if (status == CLINFER_OK && stage->options && stage->before) {
        chain->stage_count++;
        return CLINFER_OK;
    }
    free(stage->options);
    free(stage->before);
    return status == CLINFER_OK ? ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a chain") : status;
}

/* Two variants may have one kernel in common, and one program several. */
static bool is_stage(const struct stage *stage, const struct ci_variant *variant, int launch, const char *options) {
    return stage->variant->launches[stage->launch].kernel == variant->launches[launch].kernel &&
           stage->variant->launches[stage->launch].bind == variant->launches[launch].bind &&
           strcmp(stage->variant->source, variant->source) == 0 && strcmp(stage->options, options) == 0;
}

static enum clinfer_status add_link(struct ci_chain *chain, const struct ci_chain_link *link) {
    char options[CI_BIND_OPTIONS_BYTES];
    const char *sources[CI_BIND_SOURCES];
    int source_count;
    enum clinfer_status status =
        ci_bind_options(link->variant, link->tunables, link->call, sources, &source_count, options);
    for (int launch = 0; launch < link->variant->launch_count && status == CLINFER_OK; launch++) {
        int stage = 0;
        while (stage < chain->stage_count && !is_stage(&chain->stages[stage], link->variant, launch, options)) stage++;
        if (stage == chain->stage_count) status = make_stage(chain, link, launch, options, sources, source_count);
        chain->steps[chain->step_count++] = (struct step){link->bound, launch, stage};
    }
    return status;
}

static bool is_tensor(const struct ci_bind *bind) {
    return bind->kind == CI_BIND_IN || bind->kind == CI_BIND_OUT || bind->kind == CI_BIND_SCRATCH;
}

/* How a stage is declared, and how run() calls it. */
static void write_stage(FILE *out, const struct stage *stage, int number, bool call) {
    const struct ci_launch *launch = &stage->variant->launches[stage->launch];
    if (call)
        fprintf(out, "    case %d: %s_%d(id0, id1, size0, size1", number, launch->kernel, number);
    else
        fprintf(out, "void %s_%d(int, int, int, int", launch->kernel, number);
    int word = 0;
    for (const struct ci_bind *bind = launch->bind; bind->kind != CI_BIND_END; bind++) {
        if (is_tensor(bind) && call)
            fprintf(out, ", bases[w[%d]], w[%d]", word, word + 1);
        else if (is_tensor(bind))
            fprintf(out, ", __global uchar *, ulong");
        else if (bind->kind == CI_BIND_F)
            fprintf(out, call ? ", as_float((uint)w[%d])" : ", float", word);
        else
            fprintf(out, call ? ", (int)w[%d]" : ", int", word);
        word += is_tensor(bind) ? 2 : 1;
    }
    fprintf(out, call ? "); break;\n" : ");\n");
}

/* What stands before clkernels/chain.cl. */
static char *main_text(const struct ci_chain *chain) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out) return NULL;
    for (int i = 0; i < chain->stage_count; i++) write_stage(out, &chain->stages[i], i, false);
    fprintf(out, "static inline void run(int stage, int id0, int id1, int size0, int size1, const __global ulong *w,\n"
                 "                       __global uchar *const *bases) {\n    switch (stage) {\n");
    for (int i = 0; i < chain->stage_count; i++) write_stage(out, &chain->stages[i], i, true);
    fprintf(out, "    }\n}\n#define MOST_BUFFERS %d\n#define BUFFERS ", MOST_BUFFERS);
    for (int i = 0; i < MOST_BUFFERS; i++) fprintf(out, "%s__global uchar *b%d", i ? ", " : "", i);
    fprintf(out, "\n#define BASES ");
    for (int i = 0; i < MOST_BUFFERS; i++) fprintf(out, "%sb%d", i ? ", " : "", i);
    fprintf(out, "\n");
    if (fclose(out) == 0) return text;
    free(text);
    return NULL;
}

static enum clinfer_status create_kernels(struct ci_chain *chain, bool build) {
    static const char *const sources[] = {"chain.cl"};
    struct ci_program_part parts[MOST_STAGES + 1];
    char *text = main_text(chain);
    if (!text) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a chain");
    int count = 0;
    for (; count < chain->stage_count; count++) {
        const struct stage *stage = &chain->stages[count];
        parts[count] = (struct ci_program_part){stage->options, stage->before, stage->sources, stage->source_count};
    }
    parts[count++] = (struct ci_program_part){"-cl-std=CL1.2", text, sources, 1};
    enum clinfer_status status = ci_linked_key(chain->device, parts, count, &chain->key);
    for (int i = 0; i < chain->segment_count && status == CLINFER_OK; i++)
        status = ci_kernel_create_linked(chain->device, parts, count, "chain", build, &chain->segments[i].kernel);
    free(text);
    return status;
}

/* ---- the script ---- */

/* The number of a buffer in the segment; MOST_BUFFERS: there is no room for it. */
static int number_of(struct segment *segment, struct ci_buffer *buffer) {
    for (int i = 0; i < segment->buffer_count; i++)
        if (segment->buffers[i] == buffer) return i;
    if (segment->buffer_count == MOST_BUFFERS) return MOST_BUFFERS;
    segment->buffers[segment->buffer_count] = buffer;
    return segment->buffer_count++;
}

/* The words of a step behind those that the segment has. false: too many buffers. */
static bool write_step(struct segment *segment, const struct step *step) {
    const struct ci_bound_launch *launches;
    struct ci_bind_value values[MOST_ARGUMENTS];
    ci_bind_launches(step->bound, &launches);
    const struct ci_bound_launch *launch = &launches[step->launch];
    const int count = ci_bind_values(step->bound, step->launch, values, MOST_ARGUMENTS);
    const int most = segment->word_count + HEAD_WORDS + 2 * count;
    assert(most <= segment->capacity);
    (void)most;
    assert(is_single(&launch->grid));
    uint64_t *head = segment->words + segment->word_count, *word = head + HEAD_WORDS;
    for (int i = 0; i < count; i++) {
        if (values[i].buffer) {
            const int number = number_of(segment, values[i].buffer);
            if (number == MOST_BUFFERS) return false;
            *word++ = (uint64_t)number;
        }
        *word++ = values[i].word;
    }
    head[0] = (uint64_t)(word - head);
    head[1] = (uint64_t)step->stage;
    head[2] = launch->empty ? 0 : launch->grid.global[0];
    head[3] = launch->empty ? 0 : launch->grid.dimensions == 2 ? launch->grid.global[1] : 1;
    segment->word_count += (int)head[0];
    return true;
}

/* As many steps as there is room for buffers, from `first` on. */
static enum clinfer_status make_segment(struct ci_chain *chain, int first) {
    struct segment *segment = &chain->segments[chain->segment_count++];
    *segment = (struct segment){.first = first, .last = first};
    segment->capacity = (HEAD_WORDS + 2 * MOST_ARGUMENTS) * (chain->step_count - first);
    segment->words = calloc((size_t)segment->capacity, sizeof *segment->words);
    segment->sent = calloc((size_t)segment->capacity, sizeof *segment->sent);
    if (!segment->words || !segment->sent) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a chain");
    while (segment->last < chain->step_count && write_step(segment, &chain->steps[segment->last])) segment->last++;
    if (segment->last == first) return ci_fail(CLINFER_UNSUPPORTED, "a kernel with too many buffers for a chain");
    const size_t lines = (size_t)(segment->last - first) * (chain->workers + 1) * 2;
    uint8_t *zeros = calloc(lines, LINE_BYTES);
    enum clinfer_status status = zeros ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a chain");
    if (status == CLINFER_OK)
        status =
            ci_buffer_create(chain->device, sizeof *segment->words * (size_t)segment->capacity, NULL, &segment->script);
    if (status == CLINFER_OK) status = ci_buffer_create(chain->device, lines * LINE_BYTES, NULL, &segment->state);
    if (status == CLINFER_OK) status = ci_buffer_write(segment->state, 0, zeros, lines * LINE_BYTES);
    free(zeros);
    return status;
}

static enum clinfer_status set_buffers(struct segment *segment) {
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < MOST_BUFFERS && status == CLINFER_OK; i++)
        status = ci_kernel_set_buffer(segment->kernel, (unsigned)(FIRST_BUFFER + i),
                                      segment->buffers[i < segment->buffer_count ? i : 0]);
    return status;
}

static enum clinfer_status set_first(struct segment *segment) {
    const int32_t steps = segment->last - segment->first;
    enum clinfer_status status = ci_kernel_set_buffer(segment->kernel, SCRIPT, segment->script);
    if (status == CLINFER_OK) status = ci_kernel_set_buffer(segment->kernel, STATE, segment->state);
    if (status == CLINFER_OK) status = ci_kernel_set_bytes(segment->kernel, STEPS, &steps, sizeof steps);
    return status;
}

static enum clinfer_status update_segment(const struct ci_chain *chain, struct segment *segment) {
    segment->buffer_count = segment->word_count = 0;
    for (int i = segment->first; i < segment->last; i++)
        if (!write_step(segment, &chain->steps[i]))
            return ci_fail(CLINFER_UNSUPPORTED, "a chain has more buffers than before");
    enum clinfer_status status = set_buffers(segment);
    const size_t bytes = sizeof *segment->words * (size_t)segment->word_count;
    if (segment->word_count == segment->sent_count && memcmp(segment->words, segment->sent, bytes) == 0) return status;
    if (status == CLINFER_OK) status = ci_buffer_write_small(segment->script, 0, segment->words, bytes);
    segment->sent_count = status == CLINFER_OK ? segment->word_count : 0;
    memcpy(segment->sent, segment->words, bytes);
    return status;
}

enum clinfer_status ci_chain_update(struct ci_chain *chain) {
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < chain->segment_count && status == CLINFER_OK; i++)
        status = update_segment(chain, &chain->segments[i]);
    return status;
}

enum clinfer_status ci_chain_enqueue(struct ci_chain *chain) {
    enum clinfer_status status = CLINFER_OK;
    const size_t one = 1;
    for (int i = 0; i < chain->segment_count && status == CLINFER_OK; i++) {
        struct segment *segment = &chain->segments[i];
        status = ci_kernel_set_bytes(segment->kernel, SECOND, &segment->second, sizeof segment->second);
        if (status == CLINFER_OK) status = ci_kernel_enqueue(segment->kernel, 1, &chain->workers, &one);
        if (status == CLINFER_OK) segment->second ^= 1;
    }
    return status;
}

/* ---- making ---- */

static enum clinfer_status make(struct ci_chain *chain, const struct ci_chain_link *links, int count, bool build) {
    int most = 0;
    for (int i = 0; i < count; i++) most += links[i].variant->launch_count;
    chain->steps = calloc((size_t)most + 1, sizeof *chain->steps);
    chain->segments = calloc((size_t)most + 1, sizeof *chain->segments);
    enum clinfer_status status =
        chain->steps && chain->segments ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a chain");
    for (int i = 0; i < count && status == CLINFER_OK; i++) status = add_link(chain, &links[i]);
    for (int done = 0; done < chain->step_count && status == CLINFER_OK;
         done = chain->segments[chain->segment_count - 1].last)
        status = make_segment(chain, done);
    if (status == CLINFER_OK) status = create_kernels(chain, build);
    for (int i = 0; i < chain->segment_count && status == CLINFER_OK; i++) status = set_first(&chain->segments[i]);
    return status == CLINFER_OK ? ci_chain_update(chain) : status;
}

enum clinfer_status ci_chain_create(struct ci_device *device, const struct ci_chain_link *links, int count, int workers,
                                    bool build, struct ci_chain **out) {
    *out = NULL;
    struct ci_chain *chain = calloc(1, sizeof *chain);
    if (!chain) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a chain");
    chain->device = device;
    chain->workers = ci_device_caps(device)->compute_units;
    if (workers > 0 && (size_t)workers < chain->workers) chain->workers = (size_t)workers;
    enum clinfer_status status = make(chain, links, count, build);
    if (status != CLINFER_OK) {
        ci_chain_destroy(chain);
        return status;
    }
    *out = chain;
    return CLINFER_OK;
}

void ci_chain_destroy(struct ci_chain *chain) {
    if (!chain) return;
    for (int i = 0; i < chain->stage_count; i++) {
        free(chain->stages[i].options);
        free(chain->stages[i].before);
    }
    for (int i = 0; i < chain->segment_count; i++) {
        struct segment *segment = &chain->segments[i];
        ci_kernel_destroy(segment->kernel);
        ci_buffer_destroy(segment->script);
        ci_buffer_destroy(segment->state);
        free(segment->words);
        free(segment->sent);
    }
    free(chain->segments);
    free(chain->steps);
    free(chain);
}

uint64_t ci_chain_key(const struct ci_chain *chain) { return chain->key; }
