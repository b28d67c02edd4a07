/* jinja_render.c: statements, the scopes of variables, macros.
 *
 * A scope is a list of variables with a parent; loops, macros, `with` and captured blocks open one, `if` does not.
 * `set` writes to the innermost, look-up goes outwards: what is set in a loop is gone in the next round, as in Jinja.
 * The template's own variables have an array by number. */
#include <string.h>

#include "base/narrow.h"
#include "text/jinja_tree.h"

enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };

static enum flow run_block(struct ci_jinja_run *run, const struct ci_jinja_node *node);

/* ---- variables ---- */

/* Texts of the model's own vocabulary: as good as written in the template. */
static bool is_of_model(struct ci_jinja_string variable) {
    return ci_jinja_string_is(variable, "bos_token") || ci_jinja_string_is(variable, "eos_token");
}

static struct ci_jinja_value global(struct ci_jinja_run *run, int name) {
    if (run->known[name]) return run->globals[name];
    struct ci_jinja_string text = run->tree->names[name];
    ci_jinja_spend_characters(&run->heap, text.length + 100); /* a hash, and the table of functions */
    const json_t *member = json_object_getn(run->context, text.bytes, text.length);
    struct ci_jinja_value value = ci_jinja_undefined(text);
    const struct ci_jinja_function *function = member ? NULL : ci_jinja_find_function(text);
    if (member)
        value = ci_jinja_from_json(run, member, is_of_model(text) ? CI_JINJA_OF_TEMPLATE : CI_JINJA_OF_INPUT);
    else if (function)
        value = (struct ci_jinja_value){.kind = CI_JINJA_IS_FUNCTION, .function = function};
    run->globals[name] = value;
    run->known[name] = true;
    return value;
}

static struct ci_jinja_variable *find_variable(struct ci_jinja_run *run, const struct ci_jinja_scope *scope, int name) {
    struct ci_jinja_variable *variable = scope->variables;
    ci_jinja_spend(&run->heap, 1);
    for (; variable && variable->name != name; variable = variable->next) ci_jinja_spend(&run->heap, 1);
    return variable;
}

struct ci_jinja_value ci_jinja_look_up(struct ci_jinja_run *run, int name) {
    for (const struct ci_jinja_scope *scope = run->scope; scope; scope = scope->parent) {
        const struct ci_jinja_variable *variable = find_variable(run, scope, name);
        if (variable) return variable->value;
    }
    return global(run, name);
}

static void set_variable(struct ci_jinja_run *run, int name, struct ci_jinja_value value) {
    if (run->scope == NULL) {
        run->globals[name] = value;
        run->known[name] = true;
        return;
    }
    struct ci_jinja_variable *variable = find_variable(run, run->scope, name);
    if (variable == NULL) {
        variable = ci_jinja_alloc(&run->heap, 1, sizeof *variable);
        variable->name = name;
        variable->next = run->scope->variables;
        run->scope->variables = variable;
    }
    variable->value = value;
}

static struct ci_jinja_scope *push_scope(struct ci_jinja_run *run, struct ci_jinja_scope *parent) {
    struct ci_jinja_scope *before = run->scope, *scope = ci_jinja_alloc(&run->heap, 1, sizeof *scope);
    scope->parent = parent;
    run->scope = scope;
    return before;
}

static void assign(struct ci_jinja_run *run, const struct ci_jinja_node *target, struct ci_jinja_value value);

static void unpack(struct ci_jinja_run *run, const struct ci_jinja_node *target, struct ci_jinja_value value) {
    const struct ci_jinja_list *list = ci_jinja_iterate(run, value);
    ci_jinja_enter(&run->heap);
    if (list->count != target->count)
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "%zu names for %zu values", target->count, list->count);
    for (size_t i = 0; i < list->count; i++) {
        ci_jinja_spend(&run->heap, 1);
        assign(run, target->items[i], list->items[i]);
    }
    ci_jinja_leave(&run->heap);
}

static void assign(struct ci_jinja_run *run, const struct ci_jinja_node *target, struct ci_jinja_value value) {
    if (target->kind == CI_JINJA_TUPLE) {
        unpack(run, target, value);
    } else if (target->kind == CI_JINJA_VARIABLE) {
        set_variable(run, target->name, value);
    } else {
        struct ci_jinja_value object = ci_jinja_look_up(run, target->name);
        if (object.kind != CI_JINJA_IS_NAMESPACE)
            ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "'%.*s' of a value of type %s cannot be set",
                          ci_shown(target->text.length, 40), target->text.bytes, ci_jinja_kind_name(object));
        ci_jinja_dict_set(run, object.dict, ci_jinja_text(target->text), value);
    }
}

/* ---- output ---- */

/* Runs a block in a scope of its own and gives what it wrote. */
static struct ci_jinja_value capture(struct ci_jinja_run *run, const struct ci_jinja_node *body) {
    struct ci_jinja_buffer captured = {0}, *out = run->out;
    struct ci_jinja_scope *before = push_scope(run, run->scope);
    run->out = &captured;
    run_block(run, body);
    run->out = out;
    run->scope = before;
    return ci_jinja_buffer_text(&captured);
}

/* The filters of a block: the innermost has no value of its own. */
static struct ci_jinja_value filter_block(struct ci_jinja_run *run, const struct ci_jinja_node *node,
                                          struct ci_jinja_value value) {
    if (node == NULL) return value;
    ci_jinja_enter(&run->heap);
    value = filter_block(run, node->a, value);
    struct ci_jinja_arguments arguments = ci_jinja_evaluate_arguments(run, node);
    run->heap.line = node->line;
    value = ci_jinja_apply_filter(run, node->text, value, &arguments);
    ci_jinja_leave(&run->heap);
    return value;
}

/* ---- macros ---- */

static void bind_parameters(struct ci_jinja_run *run, const struct ci_jinja_node *node,
                            const struct ci_jinja_arguments *arguments) {
    int shown = ci_shown(node->text.length, 40);
    if (arguments->count > node->count)
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "the macro '%.*s' takes %zu arguments, not %zu", shown,
                      node->text.bytes, node->count, arguments->count);
    for (size_t i = 0; i < arguments->named_count; i++) {
        struct ci_jinja_string name = arguments->named[i].name;
        bool known = ci_jinja_string_is(name, "caller");
        for (size_t j = arguments->count; j < node->count && !known; j++)
            known = ci_jinja_same(&run->heap, run->tree->names[node->names[j]], name);
        if (!known)
            ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "the macro '%.*s' takes no argument '%.*s' here", shown,
                          node->text.bytes, ci_shown(name.length, 40), name.bytes);
        if (ci_jinja_string_is(name, "caller")) set_variable(run, run->tree->caller_name, arguments->named[i].value);
    }
    for (size_t i = 0; i < node->count; i++) {
        struct ci_jinja_string name = run->tree->names[node->names[i]];
        struct ci_jinja_value value = ci_jinja_undefined(name);
        bool given = i < arguments->count;
        if (given) value = arguments->items[i];
        for (size_t j = 0; j < arguments->named_count; j++)
            if (ci_jinja_same(&run->heap, arguments->named[j].name, name)) {
                value = arguments->named[j].value;
                given = true;
            }
        if (!given && node->items[i]) value = ci_jinja_evaluate(run, node->items[i]);
        set_variable(run, node->names[i], value);
    }
}

struct ci_jinja_value ci_jinja_call_macro(struct ci_jinja_run *run, const struct ci_jinja_macro *macro,
                                          const struct ci_jinja_arguments *arguments) {
    ci_jinja_enter(&run->heap);
    struct ci_jinja_buffer text = {0}, *out = run->out;
    struct ci_jinja_scope *before = push_scope(run, macro->scope);
    bind_parameters(run, macro->node, arguments);
    run->out = &text;
    run_block(run, macro->node->body);
    run->out = out;
    run->scope = before;
    ci_jinja_leave(&run->heap);
    return ci_jinja_buffer_text(&text);
}

static struct ci_jinja_value make_macro(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    struct ci_jinja_macro *macro = ci_jinja_alloc(&run->heap, 1, sizeof *macro);
    *macro = (struct ci_jinja_macro){node, run->scope};
    return (struct ci_jinja_value){.kind = CI_JINJA_IS_MACRO, .macro = macro};
}

/* The call with the block as one more argument, "caller". */
static void run_call_block(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    const struct ci_jinja_node *call = node->a;
    struct ci_jinja_value callee = ci_jinja_evaluate(run, call->a);
    struct ci_jinja_arguments arguments = ci_jinja_evaluate_arguments(run, call);
    struct ci_jinja_named_value *named = ci_jinja_alloc(&run->heap, arguments.named_count + 1, sizeof *named);
    if (arguments.named_count) memcpy(named, arguments.named, arguments.named_count * sizeof *named);
    named[arguments.named_count++] = (struct ci_jinja_named_value){CI_JINJA_STRING("caller"), make_macro(run, node->b)};
    arguments.named = named;
    ci_jinja_print(run, run->out, ci_jinja_call_value(run, callee, &arguments));
}

/* ---- loops ---- */

/* The items for which the loop's own condition holds. */
static const struct ci_jinja_list *select_items(struct ci_jinja_run *run, const struct ci_jinja_node *node,
                                                const struct ci_jinja_list *list) {
    struct ci_jinja_value *items = ci_jinja_alloc(&run->heap, list->count, sizeof *items);
    size_t count = 0;
    struct ci_jinja_scope *before = push_scope(run, run->scope);
    for (size_t i = 0; i < list->count; i++) {
        assign(run, node->a, list->items[i]);
        if (ci_jinja_truth(ci_jinja_evaluate(run, node->items[0]))) items[count++] = list->items[i];
    }
    run->scope = before;
    return ci_jinja_list(run, CI_JINJA_SHAPE_LIST, items, count).list;
}

static enum flow run_for(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    const struct ci_jinja_list *list = ci_jinja_iterate(run, ci_jinja_evaluate(run, node->b));
    if (node->items[0]) list = select_items(run, node, list);
    if (list->count == 0) return node->c ? run_block(run, node->c) : FLOW_ON;
    struct ci_jinja_scope *before = run->scope;
    for (size_t i = 0; i < list->count; i++) {
        ci_jinja_spend(&run->heap, 1);
        /* A macro may keep the scope, and `loop` with it: each round has its own. */
        push_scope(run, before);
        struct ci_jinja_loop *loop = ci_jinja_alloc(&run->heap, 1, sizeof *loop);
        *loop = (struct ci_jinja_loop){list, i};
        set_variable(run, run->tree->loop_name, (struct ci_jinja_value){.kind = CI_JINJA_IS_LOOP, .loop = loop});
        assign(run, node->a, list->items[i]);
        enum flow flow = run_block(run, node->body);
        run->scope = before;
        if (flow == FLOW_BREAK) break;
    }
    return FLOW_ON;
}

/* ---- all statements ---- */

static enum flow run_if(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    for (size_t i = 0; i < node->count; i += 2)
        if (ci_jinja_truth(ci_jinja_evaluate(run, node->items[i]))) return run_block(run, node->items[i + 1]);
    return node->c ? run_block(run, node->c) : FLOW_ON;
}

static enum flow run_with(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    struct ci_jinja_value *values = ci_jinja_alloc(&run->heap, node->count / 2, sizeof *values);
    for (size_t i = 0; i < node->count; i += 2) values[i / 2] = ci_jinja_evaluate(run, node->items[i + 1]);
    struct ci_jinja_scope *before = push_scope(run, run->scope);
    for (size_t i = 0; i < node->count; i += 2) assign(run, node->items[i], values[i / 2]);
    enum flow flow = run_block(run, node->body);
    run->scope = before;
    return flow;
}

static enum flow run_scope(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    struct ci_jinja_scope *before = push_scope(run, run->scope);
    enum flow flow = run_block(run, node->body);
    run->scope = before;
    return flow;
}

static enum flow run_statement(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    ci_jinja_spend(&run->heap, 1);
    run->heap.line = node->line;
    switch (node->kind) {
    case CI_JINJA_LITERAL: ci_jinja_append_string(run, run->out, node->text); break;
    case CI_JINJA_OUTPUT: ci_jinja_print(run, run->out, ci_jinja_evaluate(run, node->a)); break;
    case CI_JINJA_IF: return run_if(run, node);
    case CI_JINJA_FOR: return run_for(run, node);
    case CI_JINJA_SET: assign(run, node->a, ci_jinja_evaluate(run, node->b)); break;
    case CI_JINJA_SET_BLOCK: assign(run, node->a, filter_block(run, node->b, capture(run, node->body))); break;
    case CI_JINJA_MACRO: set_variable(run, node->name, make_macro(run, node)); break;
    case CI_JINJA_CALL_BLOCK: run_call_block(run, node); break;
    case CI_JINJA_FILTER_BLOCK:
        ci_jinja_print(run, run->out, filter_block(run, node->a, capture(run, node->body)));
        break;
    case CI_JINJA_WITH: return run_with(run, node);
    case CI_JINJA_SCOPE: return run_scope(run, node);
    case CI_JINJA_BREAK: return FLOW_BREAK;
    case CI_JINJA_CONTINUE: return FLOW_CONTINUE;
    default: break; /* expressions are no statements */
    }
    return FLOW_ON;
}

static enum flow run_block(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    ci_jinja_enter(&run->heap);
    enum flow flow = FLOW_ON;
    for (size_t i = 0; i < node->count && flow == FLOW_ON; i++) flow = run_statement(run, node->items[i]);
    ci_jinja_leave(&run->heap);
    return flow;
}

void ci_jinja_render(struct ci_jinja_run *run) { run_block(run, run->tree->root); }
