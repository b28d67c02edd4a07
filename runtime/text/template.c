/* template.c: see template.h and jinja.h. */
#include "text/template.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "base/stop.h"
#include "text/jinja_tree.h"

/* Real templates have some 20 KB. */
enum { MAXIMUM_SOURCE = 512 * 1024 };

struct ci_template {
    struct ci_jinja_heap heap;
    struct ci_jinja_tree tree;
};

enum clinfer_status ci_template_create(const char *text, size_t length, struct ci_template **template) {
    *template = NULL;
    if (length > MAXIMUM_SOURCE)
        return ci_fail(CLINFER_BAD_FILE, "chat template: %zu bytes; at most %d are possible", length, MAXIMUM_SOURCE);
    struct ci_template *created = calloc(1, sizeof *created);
    if (created == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "chat template: out of memory");
    ci_jinja_begin(&created->heap, CI_TEMPLATE_MEMORY, CI_TEMPLATE_STEPS, CI_JINJA_NESTING);
    if (setjmp(created->heap.failed)) {
        enum clinfer_status status = created->heap.status;
        ci_template_destroy(created);
        return status;
    }
    struct ci_jinja_token *tokens = ci_jinja_tokenize(&created->heap, ci_jinja_template_string(text, length));
    created->tree = ci_jinja_parse(&created->heap, tokens);
    *template = created;
    return CLINFER_OK;
}

void ci_template_destroy(struct ci_template *template) {
    if (template == NULL) return;
    ci_arena_destroy(&template->heap.arena);
    free(template);
}

/* Bytes from `begin` on that have the same origin. */
static size_t same_origin(struct ci_jinja_string text, size_t begin) {
    size_t end = begin + 1;
    if (!ci_jinja_is_mixed(text.origins)) return text.length;
    while (end < text.length && text.origins[end] == text.origins[begin]) end++;
    return end - begin;
}

static size_t count_runs(struct ci_jinja_string text) {
    size_t count = 0;
    for (size_t at = 0; at < text.length; at += same_origin(text, at)) count++;
    return count;
}

/* Everything that a failure must not lose is in *run, which the caller frees. */
static enum clinfer_status render(struct ci_jinja_run *run, struct ci_jinja_buffer *out, size_t *run_count) {
    if (setjmp(run->heap.failed)) return run->heap.status;
    size_t names = (size_t)run->tree->name_count;
    run->globals = ci_jinja_alloc(&run->heap, names, sizeof *run->globals);
    run->known = ci_jinja_alloc(&run->heap, names, sizeof *run->known);
    run->out = out;
    ci_jinja_render(run);
    /* What keep() takes and does. */
    ci_jinja_reserve(&run->heap, out->length, 1);
    ci_jinja_spend_characters(&run->heap, out->length);
    *run_count = count_runs(ci_jinja_buffer_text(out).string);
    ci_jinja_reserve(&run->heap, *run_count, sizeof(struct ci_rendered_run));
    return CLINFER_OK;
}

/* The text out of the arena, which ends with the run. */
static enum clinfer_status keep(struct ci_jinja_string text, size_t count, struct ci_rendered *rendered) {
    rendered->text = malloc(text.length + 1);
    rendered->runs = count ? malloc(count * sizeof *rendered->runs) : NULL;
    if (rendered->text == NULL || (count && rendered->runs == NULL)) {
        ci_rendered_free(rendered);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "chat template: out of memory");
    }
    memcpy(rendered->text, text.bytes, text.length);
    rendered->text[text.length] = 0;
    rendered->length = text.length;
    rendered->run_count = count;
    for (size_t at = 0, i = 0; i < count; at += rendered->runs[i++].length) {
        bool input = ci_jinja_is_mixed(text.origins) ? text.origins[at] : text.origins == CI_JINJA_OF_INPUT;
        rendered->runs[i] = (struct ci_rendered_run){same_origin(text, at), input};
    }
    return CLINFER_OK;
}

void ci_rendered_free(struct ci_rendered *rendered) {
    free(rendered->text);
    free(rendered->runs);
    *rendered = (struct ci_rendered){0};
}

static bool stop_of_thread(void *user) {
    (void)user;
    return ci_stop_is_asked();
}

enum clinfer_status ci_template_render(const struct ci_template *template, const json_t *context,
                                       const struct ci_template_limits *limits, struct ci_rendered *rendered) {
    *rendered = (struct ci_rendered){0};
    if (!json_is_object(context))
        return ci_fail(CLINFER_INVALID_ARGUMENT, "chat template: the variables are not a JSON object");
    struct ci_jinja_run *run = calloc(1, sizeof *run);
    struct ci_jinja_buffer out = {0};
    if (run == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "chat template: out of memory");
    run->heap.stop = limits && limits->stop ? limits->stop : stop_of_thread;
    run->heap.user = limits ? limits->user : NULL;
    ci_jinja_begin(&run->heap, limits && limits->memory ? limits->memory : CI_TEMPLATE_MEMORY,
                   limits && limits->steps ? limits->steps : CI_TEMPLATE_STEPS, CI_JINJA_DEPTH);
    run->now = limits && limits->now ? limits->now : time(NULL);
    run->tree = &template->tree;
    run->context = context;

    size_t run_count = 0;
    enum clinfer_status status = render(run, &out, &run_count);
    if (status == CLINFER_OK) status = keep(ci_jinja_buffer_text(&out).string, run_count, rendered);
    ci_arena_destroy(&run->heap.arena);
    json_decref(run->parsed);
    free(run);
    return status;
}
