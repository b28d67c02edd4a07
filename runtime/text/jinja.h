/* jinja.h: what the parts of the template interpreter share. Internal to runtime/text.
 *
 *   template.c          the public functions; jinja_heap.c the bounds
 *   jinja_lexer.c       source -> tokens, white space control
 *   jinja_parser.c      statements, jinja_expression.c expressions: tokens -> tree
 *   jinja_render.c      statements, scopes, macros; jinja_evaluate.c expressions, jinja_operators.c arithmetic
 *   jinja_value.c       strings, lists, dictionaries, comparison; jinja_print.c str(), repr() and JSON
 *   jinja_filters.c, jinja_sequences.c, jinja_tests.c, jinja_methods.c, jinja_functions.c    tables by name
 *
 * Every operation can fail and all memory of a parse or a render lies in one arena, so failure is a longjmp to the one
 * place that frees it (ci_jinja_fail()). Returning a status from each of some 150 functions was rejected: it doubles
 * their length and adds nothing that could be released on the way. Nothing is held across a call that may fail except
 * arena memory. */
#ifndef CI_TEXT_JINJA_H
#define CI_TEXT_JINJA_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <clinfer.h>
#include <jansson.h>

#include "base/arena.h"

struct ci_jinja_node;
struct ci_jinja_tree;

enum {
    CI_JINJA_NESTING = 200,   /* of the source: tags, parentheses, brackets */
    CI_JINJA_DEPTH = 800,     /* of the interpreter: expressions within expressions, macros within macros */
    CI_JINJA_DATA_DEPTH = 200 /* of lists and dictionaries that come in */
};

/* Every string knows which of its bytes the template wrote and which came with the input: control tokens count only
 * where the template wrote them. Most strings are wholly of one origin and need no array for it. What is made of parts
 * keeps each part's origin; a byte made from another one has that one's. */
struct ci_jinja_string {
    const char *bytes;
    size_t length;
    const char *origins; /* [length] 1: the input, 0: the template; or one of the two below for all bytes */
};

#define CI_JINJA_OF_TEMPLATE ((const char *)NULL)
#define CI_JINJA_OF_INPUT ci_jinja_of_input
extern const char ci_jinja_of_input[1]; /* only its address counts */

#define CI_JINJA_STRING(literal) ((struct ci_jinja_string){literal, sizeof(literal) - 1, CI_JINJA_OF_TEMPLATE})

static inline struct ci_jinja_string ci_jinja_template_string(const char *bytes, size_t length) {
    return (struct ci_jinja_string){bytes, length, CI_JINJA_OF_TEMPLATE};
}

static inline bool ci_jinja_is_mixed(const char *origins) {
    return origins != CI_JINJA_OF_TEMPLATE && origins != CI_JINJA_OF_INPUT;
}

static inline struct ci_jinja_string ci_jinja_part(struct ci_jinja_string string, size_t begin, size_t end) {
    const char *origins = ci_jinja_is_mixed(string.origins) ? string.origins + begin : string.origins;
    return (struct ci_jinja_string){string.bytes + begin, end - begin, origins};
}

/* What a parse and a render have in common: memory, the bounds and the way out. */
struct ci_jinja_heap {
    struct ci_arena arena;
    size_t used, limit;
    uint64_t steps;           /* left */
    uint64_t next_look;       /* how many are left when `stop` is asked next */
    bool (*stop)(void *user); /* NULL in a parse, which ends soon */
    void *user;
    int depth, deepest;    /* levels */
    uintptr_t stack_floor; /* no level begins below this address */
    int line;              /* of the source, for messages */
    enum clinfer_status status;
    jmp_buf failed;
};

/* A heap that is all zeros but for `stop` and `user`, for the calling thread. */
void ci_jinja_begin(struct ci_jinja_heap *heap, size_t memory, uint64_t steps, int deepest);

/* Records "chat template: line N: ..." and does not return. */
_Noreturn void ci_jinja_fail(struct ci_jinja_heap *heap, enum clinfer_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Zeroed, and paid for. */
void *ci_jinja_alloc(struct ci_jinja_heap *heap, size_t count, size_t size);

/* Memory that others take for us, as if it were from ci_jinja_alloc(). */
void ci_jinja_reserve(struct ci_jinja_heap *heap, size_t count, size_t size);

/* Every piece of work is paid for before it is done, by what it costs at worst: one step is some 20 ns, so the bound on
 * steps is one on time. What grows with the input pays for all of it: once in front of a loop where that is sure to go
 * through everything, round by round where it may end early. */
void ci_jinja_spend_slowly(struct ci_jinja_heap *heap, uint64_t steps);
static inline void ci_jinja_spend(struct ci_jinja_heap *heap, uint64_t steps) {
    if (heap->steps - heap->next_look < steps)
        ci_jinja_spend_slowly(heap, steps);
    else
        heap->steps -= steps;
}

/* Bytes that are copied or compared, and bytes that are looked at one by one. */
static inline void ci_jinja_spend_bytes(struct ci_jinja_heap *heap, size_t bytes) {
    ci_jinja_spend(heap, bytes / 16 + 1);
}
static inline void ci_jinja_spend_characters(struct ci_jinja_heap *heap, size_t bytes) {
    ci_jinja_spend(heap, bytes / 4 + 1);
}

/* One level deeper, and back. A failure does not come back, so the two need not be paired on it. */
void ci_jinja_enter(struct ci_jinja_heap *heap);
static inline void ci_jinja_leave(struct ci_jinja_heap *heap) { heap->depth--; }

enum ci_jinja_operation {
    CI_JINJA_ADD,
    CI_JINJA_SUBTRACT,
    CI_JINJA_MULTIPLY,
    CI_JINJA_DIVIDE,
    CI_JINJA_FLOOR_DIVIDE,
    CI_JINJA_MODULO,
    CI_JINJA_POWER,
    CI_JINJA_EQUAL,
    CI_JINJA_NOT_EQUAL,
    CI_JINJA_LESS,
    CI_JINJA_LESS_EQUAL,
    CI_JINJA_GREATER,
    CI_JINJA_GREATER_EQUAL,
    CI_JINJA_IN,
    CI_JINJA_NOT_IN
};

/* ---- values ---- */

enum ci_jinja_value_kind {
    CI_JINJA_IS_UNDEFINED, /* string: what was looked for */
    CI_JINJA_IS_NONE,
    CI_JINJA_IS_BOOLEAN,
    CI_JINJA_IS_INTEGER,
    CI_JINJA_IS_FLOAT,
    CI_JINJA_IS_STRING,
    CI_JINJA_IS_LIST,
    CI_JINJA_IS_DICT,
    CI_JINJA_IS_NAMESPACE, /* dict */
    CI_JINJA_IS_LOOP,
    CI_JINJA_IS_MACRO,
    CI_JINJA_IS_FUNCTION,
    CI_JINJA_IS_METHOD
};

struct ci_jinja_value {
    enum ci_jinja_value_kind kind;
    bool safe; /* a string that came out of `safe` or `escape`: `+` escapes what is added to it */
    union {
        bool boolean;
        int64_t integer;
        double number;
        struct ci_jinja_string string; /* UTF-8 */
        const struct ci_jinja_list *list;
        struct ci_jinja_dict *dict;
        const struct ci_jinja_loop *loop;
        const struct ci_jinja_macro *macro;
        const struct ci_jinja_function *function;
        const struct ci_jinja_method *method;
    };
};

/* Views (dict.items()) have a length but no indexes, streams (what map and select give) have neither. */
enum ci_jinja_shape { CI_JINJA_SHAPE_LIST, CI_JINJA_SHAPE_TUPLE, CI_JINJA_SHAPE_VIEW, CI_JINJA_SHAPE_STREAM };

struct ci_jinja_list {
    enum ci_jinja_shape shape;
    size_t count;
    const struct ci_jinja_value *items;
};

struct ci_jinja_pair {
    struct ci_jinja_value key, value;
};

/* In the order of insertion. */
struct ci_jinja_dict {
    size_t count, capacity;
    struct ci_jinja_pair *pairs;
};

struct ci_jinja_loop {
    const struct ci_jinja_list *list;
    size_t index; /* from 0 */
};

/* ---- running ---- */

struct ci_jinja_variable {
    int name;
    struct ci_jinja_value value;
    struct ci_jinja_variable *next;
};

struct ci_jinja_scope {
    struct ci_jinja_scope *parent; /* NULL below the template's own variables */
    struct ci_jinja_variable *variables;
};

struct ci_jinja_macro {
    const struct ci_jinja_node *node;
    struct ci_jinja_scope *scope; /* where it was defined */
};

struct ci_jinja_buffer {
    char *bytes;
    size_t length, capacity;
    const char *origin; /* of all bytes, while they have the same */
    char *origins;      /* [capacity] once they have not */
};

struct ci_jinja_run {
    struct ci_jinja_heap heap;
    const struct ci_jinja_tree *tree;
    const json_t *context;
    json_t *parsed; /* what from_json made: values point into it */
    time_t now;
    struct ci_jinja_scope *scope;   /* NULL: the template's own variables */
    struct ci_jinja_value *globals; /* [name_count] */
    bool *known;                    /* [name_count] whether globals has it */
    struct ci_jinja_buffer *out;
    struct ci_jinja_buffer tail; /* of the last concatenation, which the next one may extend in place */
};

struct ci_jinja_named_value {
    struct ci_jinja_string name;
    struct ci_jinja_value value;
};

struct ci_jinja_arguments {
    const struct ci_jinja_value *items;
    size_t count;
    const struct ci_jinja_named_value *named;
    size_t named_count;
};

/* Filters, functions and methods alike; `self` is the piped value, the object, or undefined. */
typedef struct ci_jinja_value ci_jinja_call(struct ci_jinja_run *run, struct ci_jinja_value self,
                                            const struct ci_jinja_arguments *arguments);

struct ci_jinja_function {
    const char *name;
    ci_jinja_call *call;
};

struct ci_jinja_method {
    const struct ci_jinja_function *function;
    struct ci_jinja_value self;
};

/* jinja_render.c */
void ci_jinja_render(struct ci_jinja_run *run);
struct ci_jinja_value ci_jinja_call_macro(struct ci_jinja_run *run, const struct ci_jinja_macro *macro,
                                          const struct ci_jinja_arguments *arguments);
struct ci_jinja_value ci_jinja_look_up(struct ci_jinja_run *run, int name);

/* jinja_evaluate.c */
void ci_jinja_refuse_undefined(struct ci_jinja_run *run, struct ci_jinja_value value);
struct ci_jinja_value ci_jinja_evaluate(struct ci_jinja_run *run, const struct ci_jinja_node *node);
struct ci_jinja_arguments ci_jinja_evaluate_arguments(struct ci_jinja_run *run, const struct ci_jinja_node *node);
struct ci_jinja_value ci_jinja_call_value(struct ci_jinja_run *run, struct ci_jinja_value callee,
                                          const struct ci_jinja_arguments *arguments);
struct ci_jinja_value ci_jinja_attribute(struct ci_jinja_run *run, struct ci_jinja_value object,
                                         struct ci_jinja_string name);
struct ci_jinja_value ci_jinja_item(struct ci_jinja_run *run, struct ci_jinja_value object, struct ci_jinja_value key);
struct ci_jinja_value ci_jinja_apply_filter(struct ci_jinja_run *run, struct ci_jinja_string name,
                                            struct ci_jinja_value value, const struct ci_jinja_arguments *arguments);
bool ci_jinja_apply_test(struct ci_jinja_run *run, struct ci_jinja_string name, struct ci_jinja_value value,
                         const struct ci_jinja_arguments *arguments);

/* jinja_operators.c */
struct ci_jinja_value ci_jinja_binary(struct ci_jinja_run *run, enum ci_jinja_operation operation,
                                      struct ci_jinja_value left, struct ci_jinja_value right);
bool ci_jinja_compare(struct ci_jinja_run *run, enum ci_jinja_operation operation, struct ci_jinja_value left,
                      struct ci_jinja_value right);
struct ci_jinja_value ci_jinja_slice(struct ci_jinja_run *run, struct ci_jinja_value object,
                                     const struct ci_jinja_value bounds[3]);
struct ci_jinja_value ci_jinja_escape(struct ci_jinja_run *run, struct ci_jinja_string text);
struct ci_jinja_value ci_jinja_format_percent(struct ci_jinja_run *run, struct ci_jinja_string format,
                                              const struct ci_jinja_value *items, size_t count);

/* jinja_value.c */
struct ci_jinja_value ci_jinja_undefined(struct ci_jinja_string what);
struct ci_jinja_value ci_jinja_none(void);
struct ci_jinja_value ci_jinja_boolean(bool value);
struct ci_jinja_value ci_jinja_integer(int64_t value);
struct ci_jinja_value ci_jinja_float(double value);
struct ci_jinja_value ci_jinja_text(struct ci_jinja_string string);
struct ci_jinja_value ci_jinja_list(struct ci_jinja_run *run, enum ci_jinja_shape shape,
                                    const struct ci_jinja_value *items, size_t count);
/* The strings are `origin`'s: CI_JINJA_OF_INPUT or CI_JINJA_OF_TEMPLATE. */
struct ci_jinja_value ci_jinja_from_json(struct ci_jinja_run *run, const json_t *json, const char *origin);
const char *ci_jinja_kind_name(struct ci_jinja_value value);
bool ci_jinja_is_number(struct ci_jinja_value value); /* booleans too, as in Python */
double ci_jinja_as_float(struct ci_jinja_value value);
bool ci_jinja_truth(struct ci_jinja_value value);
bool ci_jinja_equal(struct ci_jinja_run *run, struct ci_jinja_value left, struct ci_jinja_value right);
int ci_jinja_order(struct ci_jinja_run *run, struct ci_jinja_value left, struct ci_jinja_value right);
bool ci_jinja_string_equal(struct ci_jinja_string left, struct ci_jinja_string right);
bool ci_jinja_string_is(struct ci_jinja_string string, const char *text);
bool ci_jinja_same(struct ci_jinja_heap *heap, struct ci_jinja_string left,
                   struct ci_jinja_string right); /* paid for */

/* What `for` goes through: the items, the keys of a dictionary, the characters of a string. */
const struct ci_jinja_list *ci_jinja_iterate(struct ci_jinja_run *run, struct ci_jinja_value value);
size_t ci_jinja_length(struct ci_jinja_run *run, struct ci_jinja_value value);

/* Lists and dictionaries are no keys: Python cannot hash what could change. */
void ci_jinja_refuse_as_key(struct ci_jinja_run *run, struct ci_jinja_value key);
struct ci_jinja_dict *ci_jinja_dict_create(struct ci_jinja_run *run, size_t capacity);
void ci_jinja_dict_set(struct ci_jinja_run *run, struct ci_jinja_dict *dict, struct ci_jinja_value key,
                       struct ci_jinja_value value);
const struct ci_jinja_value *ci_jinja_dict_find(struct ci_jinja_run *run, const struct ci_jinja_dict *dict,
                                                struct ci_jinja_value key);

/* Growing text in the arena: strings with their origins, what this interpreter writes itself as the template's, and
 * bytes that stand for string.bytes[at]. */
void ci_jinja_append_string(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, struct ci_jinja_string string);
void ci_jinja_append_text(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, const char *text);
void ci_jinja_append_like(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, struct ci_jinja_string string,
                          size_t at, const char *bytes, size_t length);
struct ci_jinja_value ci_jinja_buffer_text(const struct ci_jinja_buffer *buffer);
struct ci_jinja_string ci_jinja_concat(struct ci_jinja_run *run, struct ci_jinja_string left,
                                       struct ci_jinja_string right);

/* jinja_text.c: strings as Python sees them, by code point. */
size_t ci_jinja_characters(struct ci_jinja_heap *heap, struct ci_jinja_string string);
size_t ci_jinja_character_bytes(struct ci_jinja_string string, size_t at);
uint32_t ci_jinja_code_point(struct ci_jinja_string string, size_t at);
/* Bytes before that character. */
size_t ci_jinja_offset(struct ci_jinja_heap *heap, struct ci_jinja_string string, size_t characters);
bool ci_jinja_is_space(uint32_t code_point);
uint32_t ci_jinja_upper(uint32_t code_point);
uint32_t ci_jinja_lower(uint32_t code_point);
struct ci_jinja_string ci_jinja_strip(struct ci_jinja_heap *heap, struct ci_jinja_string string, bool left, bool right);
struct ci_jinja_string ci_jinja_strip_characters(struct ci_jinja_heap *heap, struct ci_jinja_string string,
                                                 struct ci_jinja_string characters, bool left, bool right);
/* Bytes before the first place that has `part`, from `start` on; SIZE_MAX when none has. */
size_t ci_jinja_find(struct ci_jinja_heap *heap, struct ci_jinja_string string, struct ci_jinja_string part,
                     size_t start);
struct ci_jinja_value ci_jinja_replace(struct ci_jinja_run *run, struct ci_jinja_string string,
                                       struct ci_jinja_string old, struct ci_jinja_string new, int64_t count);
enum ci_jinja_case { CI_JINJA_UPPER, CI_JINJA_LOWER, CI_JINJA_CAPITALIZED, CI_JINJA_TITLE };
struct ci_jinja_value ci_jinja_change_case(struct ci_jinja_run *run, struct ci_jinja_string string,
                                           enum ci_jinja_case to);
/* The line that starts at *at without its end, and *at behind it; false at the end of the text. */
bool ci_jinja_next_line(struct ci_jinja_heap *heap, struct ci_jinja_string string, size_t *at,
                        struct ci_jinja_string *line);

/* jinja_print.c */
struct ci_jinja_string ci_jinja_to_string(struct ci_jinja_run *run, struct ci_jinja_value value); /* str() */
void ci_jinja_print(struct ci_jinja_run *run, struct ci_jinja_buffer *buffer, struct ci_jinja_value value);
struct ci_jinja_value ci_jinja_to_json(struct ci_jinja_run *run, struct ci_jinja_value self,
                                       const struct ci_jinja_arguments *arguments);
void ci_jinja_print_float(struct ci_jinja_heap *heap, char text[32], double number); /* repr() */

/* Tables; NULL when there is none of that name. */
const struct ci_jinja_function *ci_jinja_find_filter(struct ci_jinja_string name);
const struct ci_jinja_function *ci_jinja_find_sequence_filter(struct ci_jinja_string name);
const struct ci_jinja_function *ci_jinja_find_function(struct ci_jinja_string name);
const struct ci_jinja_function *ci_jinja_find_method(struct ci_jinja_value object, struct ci_jinja_string name);
const struct ci_jinja_function *ci_jinja_find_test(struct ci_jinja_string name);
const struct ci_jinja_function *ci_jinja_find_in(const struct ci_jinja_function *table, size_t count,
                                                 struct ci_jinja_string name);

/* Arguments by position or name. `find` gives NULL when it is absent; the others take the default then, and fail on
 * another type. */
const struct ci_jinja_value *ci_jinja_argument(struct ci_jinja_run *run, const struct ci_jinja_arguments *arguments,
                                               size_t position, const char *name);
struct ci_jinja_value ci_jinja_need(struct ci_jinja_run *run, const struct ci_jinja_arguments *arguments,
                                    size_t position, const char *name);
bool ci_jinja_argument_boolean(struct ci_jinja_run *run, const struct ci_jinja_arguments *arguments, size_t position,
                               const char *name, bool otherwise);
int64_t ci_jinja_argument_integer(struct ci_jinja_run *run, const struct ci_jinja_arguments *arguments, size_t position,
                                  const char *name, int64_t otherwise);

#endif
