/* jinja_heap.c: the bounds of a parse and a render (memory, steps, depth) and the way out of them. */
#include <stdarg.h>
#include <stdio.h>

#include "base/stack.h"
#include "base/status.h"
#include "text/jinja.h"

/* Between two looks at `stop`: a tenth of a millisecond, unless one piece of work costs more by itself. */
enum { STEPS_BETWEEN_LOOKS = 4096 };

/* What the deepest level may call: the C library's conversions, jansson, a message. And no more than this much of a
 * large stack: 800 levels need less, but for builds with sanitizers. */
enum { STACK_RESERVE = 96 * 1024, STACK_MOST = 4 * 1024 * 1024 };

void ci_jinja_begin(struct ci_jinja_heap *heap, size_t memory, uint64_t steps, int deepest) {
    heap->limit = memory;
    heap->steps = steps;
    heap->next_look = steps; /* at once: what is cancelled already does not begin */
    heap->deepest = deepest;
    heap->stack_floor = ci_stack_floor(STACK_RESERVE, STACK_MOST);
}

_Noreturn void ci_jinja_fail(struct ci_jinja_heap *heap, enum clinfer_status status, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    heap->status = ci_fail(status, "chat template: line %d: %s", heap->line, text);
    longjmp(heap->failed, 1);
}

void ci_jinja_reserve(struct ci_jinja_heap *heap, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > heap->limit - heap->used)
        ci_jinja_fail(heap, CLINFER_BAD_FILE, "the template takes more than %zu MiB of memory", heap->limit >> 20);
    /* What the arena adds counts too: alignment, and the rest of a chunk that a large piece leaves unused. */
    size_t overhead = bytes > 32768 ? 65536 : 16;
    heap->used += bytes;
    heap->used = heap->limit - heap->used < overhead ? heap->limit : heap->used + overhead;
    ci_jinja_spend_bytes(heap, bytes);
}

void *ci_jinja_alloc(struct ci_jinja_heap *heap, size_t count, size_t size) {
    ci_jinja_reserve(heap, count, size);
    size_t bytes = count * size;
    void *memory = ci_arena_alloc(&heap->arena, bytes > 0 ? bytes : 1);
    if (memory == NULL) ci_jinja_fail(heap, CLINFER_OUT_OF_MEMORY, "out of memory");
    return memory;
}

void ci_jinja_spend_slowly(struct ci_jinja_heap *heap, uint64_t steps) {
    if (heap->steps < steps)
        ci_jinja_fail(heap, CLINFER_BAD_FILE, "the template takes too many steps; it may be looping");
    heap->steps -= steps;
    heap->next_look = heap->steps > STEPS_BETWEEN_LOOKS ? heap->steps - STEPS_BETWEEN_LOOKS : 0;
    if (heap->stop && heap->stop(heap->user)) ci_jinja_fail(heap, CLINFER_CANCELLED, "stopped by the caller");
}

void ci_jinja_enter(struct ci_jinja_heap *heap) {
    if (++heap->depth > heap->deepest)
        ci_jinja_fail(heap, CLINFER_BAD_FILE, "more than %d levels of nesting; a macro may be calling itself",
                      heap->deepest);
    if (CI_STACK_HERE() < heap->stack_floor)
        ci_jinja_fail(heap, CLINFER_BAD_FILE,
                      "after %d levels of nesting the stack of this thread ends; a macro may be calling itself, or "
                      "`ulimit -s` is small",
                      heap->depth);
}
