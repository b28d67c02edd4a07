/* jinja_evaluate.c: expressions: names, attributes, items, calls, logic. */
#include <string.h>

#include "base/narrow.h"
#include "text/jinja_tree.h"

void ci_jinja_refuse_undefined(struct ci_jinja_run *run, struct ci_jinja_value value) {
    if (value.kind == CI_JINJA_IS_UNDEFINED)
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "'%.*s' is undefined", ci_shown(value.string.length, 80),
                      value.string.bytes);
}

/* ---- attributes and items ---- */

static struct ci_jinja_value loop_attribute(const struct ci_jinja_loop *loop, struct ci_jinja_string name) {
    int64_t index = (int64_t)loop->index, length = (int64_t)loop->list->count;
    const struct ci_jinja_value *items = loop->list->items + loop->index;
    if (ci_jinja_string_is(name, "index")) return ci_jinja_integer(index + 1);
    if (ci_jinja_string_is(name, "index0")) return ci_jinja_integer(index);
    if (ci_jinja_string_is(name, "revindex")) return ci_jinja_integer(length - index);
    if (ci_jinja_string_is(name, "revindex0")) return ci_jinja_integer(length - index - 1);
    if (ci_jinja_string_is(name, "first")) return ci_jinja_boolean(index == 0);
    if (ci_jinja_string_is(name, "last")) return ci_jinja_boolean(index == length - 1);
    if (ci_jinja_string_is(name, "length")) return ci_jinja_integer(length);
    /* Only recursive loops are deeper. */
    if (ci_jinja_string_is(name, "depth")) return ci_jinja_integer(1);
    if (ci_jinja_string_is(name, "depth0")) return ci_jinja_integer(0);
    if (ci_jinja_string_is(name, "previtem") && index > 0) return items[-1];
    if (ci_jinja_string_is(name, "nextitem") && index < length - 1) return items[1];
    return ci_jinja_undefined(name);
}

static struct ci_jinja_value method_of(struct ci_jinja_run *run, struct ci_jinja_value object,
                                       struct ci_jinja_string name) {
    const struct ci_jinja_function *function = ci_jinja_find_method(object, name);
    if (function == NULL) return ci_jinja_undefined(name);
    struct ci_jinja_method *method = ci_jinja_alloc(&run->heap, 1, sizeof *method);
    *method = (struct ci_jinja_method){function, object};
    return (struct ci_jinja_value){.kind = CI_JINJA_IS_METHOD, .method = method};
}

/* object.name: methods first, as an attribute of a Python object hides a key. */
struct ci_jinja_value ci_jinja_attribute(struct ci_jinja_run *run, struct ci_jinja_value object,
                                         struct ci_jinja_string name) {
    ci_jinja_spend(&run->heap, 2);
    ci_jinja_refuse_undefined(run, object);
    if (object.kind == CI_JINJA_IS_LOOP) return loop_attribute(object.loop, name);
    if (object.kind != CI_JINJA_IS_NAMESPACE) {
        struct ci_jinja_value method = method_of(run, object, name);
        if (method.kind != CI_JINJA_IS_UNDEFINED) return method;
    }
    if (object.kind != CI_JINJA_IS_DICT && object.kind != CI_JINJA_IS_NAMESPACE) return ci_jinja_undefined(name);
    const struct ci_jinja_value *found = ci_jinja_dict_find(run, object.dict, ci_jinja_text(name));
    return found ? *found : ci_jinja_undefined(name);
}

static struct ci_jinja_value character(struct ci_jinja_run *run, struct ci_jinja_string string, int64_t index) {
    int64_t count = (int64_t)ci_jinja_characters(&run->heap, string);
    if (index < 0) index += count;
    if (index < 0 || index >= count) return ci_jinja_undefined(CI_JINJA_STRING("a character behind the end"));
    size_t at = ci_jinja_offset(&run->heap, string, (size_t)index);
    return ci_jinja_text(ci_jinja_part(string, at, at + ci_jinja_character_bytes(string, at)));
}

/* object[key]: keys first, then attributes. */
struct ci_jinja_value ci_jinja_item(struct ci_jinja_run *run, struct ci_jinja_value object, struct ci_jinja_value key) {
    ci_jinja_spend(&run->heap, 2);
    ci_jinja_refuse_undefined(run, object);
    if (object.kind == CI_JINJA_IS_DICT || object.kind == CI_JINJA_IS_NAMESPACE) {
        const struct ci_jinja_value *found = ci_jinja_dict_find(run, object.dict, key);
        if (found) return *found;
    }
    if (key.kind == CI_JINJA_IS_STRING && object.kind != CI_JINJA_IS_NAMESPACE)
        return object.kind == CI_JINJA_IS_LOOP ? loop_attribute(object.loop, key.string)
                                               : method_of(run, object, key.string);
    if (key.kind != CI_JINJA_IS_INTEGER && key.kind != CI_JINJA_IS_BOOLEAN)
        return ci_jinja_undefined(CI_JINJA_STRING("an item under this key"));
    int64_t index = key.kind == CI_JINJA_IS_INTEGER ? key.integer : key.boolean;
    if (object.kind == CI_JINJA_IS_STRING) return character(run, object.string, index);
    if (object.kind == CI_JINJA_IS_LIST && object.list->shape <= CI_JINJA_SHAPE_TUPLE) {
        int64_t count = (int64_t)object.list->count;
        if (index < 0) index += count;
        if (index >= 0 && index < count) return object.list->items[index];
    }
    return ci_jinja_undefined(CI_JINJA_STRING("a list item behind the end"));
}

/* ---- calls ---- */

struct ci_jinja_arguments ci_jinja_evaluate_arguments(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    struct ci_jinja_value *items = NULL;
    struct ci_jinja_named_value *named = NULL;
    if (node->count) items = ci_jinja_alloc(&run->heap, node->count, sizeof *items);
    if (node->named_count) named = ci_jinja_alloc(&run->heap, node->named_count, sizeof *named);
    for (size_t i = 0; i < node->count; i++) items[i] = ci_jinja_evaluate(run, node->items[i]);
    for (size_t i = 0; i < node->named_count; i++)
        named[i] = (struct ci_jinja_named_value){node->named[i].name, ci_jinja_evaluate(run, node->named[i].node)};
    return (struct ci_jinja_arguments){items, node->count, named, node->named_count};
}

/* The methods of a safe text make safe texts. */
static struct ci_jinja_value call_method(struct ci_jinja_run *run, const struct ci_jinja_method *method,
                                         const struct ci_jinja_arguments *arguments) {
    struct ci_jinja_value result = method->function->call(run, method->self, arguments);
    if (result.kind == CI_JINJA_IS_STRING && method->self.kind == CI_JINJA_IS_STRING) result.safe = method->self.safe;
    return result;
}

struct ci_jinja_value ci_jinja_call_value(struct ci_jinja_run *run, struct ci_jinja_value callee,
                                          const struct ci_jinja_arguments *arguments) {
    switch (callee.kind) {
    case CI_JINJA_IS_MACRO: return ci_jinja_call_macro(run, callee.macro, arguments);
    case CI_JINJA_IS_FUNCTION: return callee.function->call(run, ci_jinja_none(), arguments);
    case CI_JINJA_IS_METHOD: return call_method(run, callee.method, arguments);
    default:
        ci_jinja_refuse_undefined(run, callee);
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "a value of type %s cannot be called",
                      ci_jinja_kind_name(callee));
    }
}

struct ci_jinja_value ci_jinja_apply_filter(struct ci_jinja_run *run, struct ci_jinja_string name,
                                            struct ci_jinja_value value, const struct ci_jinja_arguments *arguments) {
    ci_jinja_spend(&run->heap, 3); /* to find it */
    const struct ci_jinja_function *filter = ci_jinja_find_filter(name);
    if (filter == NULL) filter = ci_jinja_find_sequence_filter(name);
    if (filter == NULL)
        ci_jinja_fail(&run->heap, CLINFER_UNSUPPORTED, "the filter '%.*s' is not supported", ci_shown(name.length, 40),
                      name.bytes);
    return filter->call(run, value, arguments);
}

bool ci_jinja_apply_test(struct ci_jinja_run *run, struct ci_jinja_string name, struct ci_jinja_value value,
                         const struct ci_jinja_arguments *arguments) {
    ci_jinja_spend(&run->heap, 3); /* to find it */
    const struct ci_jinja_function *test = ci_jinja_find_test(name);
    if (test == NULL)
        ci_jinja_fail(&run->heap, CLINFER_UNSUPPORTED, "the test '%.*s' is not supported", ci_shown(name.length, 40),
                      name.bytes);
    return ci_jinja_truth(test->call(run, value, arguments));
}

/* ---- the kinds of nodes ---- */

static struct ci_jinja_value make_list(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    struct ci_jinja_value *items = ci_jinja_alloc(&run->heap, node->count, sizeof *items);
    for (size_t i = 0; i < node->count; i++) items[i] = ci_jinja_evaluate(run, node->items[i]);
    return ci_jinja_list(run, node->kind == CI_JINJA_TUPLE ? CI_JINJA_SHAPE_TUPLE : CI_JINJA_SHAPE_LIST, items,
                         node->count);
}

static struct ci_jinja_value make_dict(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    struct ci_jinja_dict *dict = ci_jinja_dict_create(run, node->count / 2);
    for (size_t i = 0; i < node->count; i += 2) {
        struct ci_jinja_value key = ci_jinja_evaluate(run, node->items[i]);
        ci_jinja_dict_set(run, dict, key, ci_jinja_evaluate(run, node->items[i + 1]));
    }
    return (struct ci_jinja_value){.kind = CI_JINJA_IS_DICT, .dict = dict};
}

static struct ci_jinja_value slice(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    struct ci_jinja_value object = ci_jinja_evaluate(run, node->a), bounds[3];
    for (int i = 0; i < 3; i++) bounds[i] = node->items[i] ? ci_jinja_evaluate(run, node->items[i]) : ci_jinja_none();
    return ci_jinja_slice(run, object, bounds);
}

/* Messages read better with the whole path: "messages[0].content", not "content". */
static struct ci_jinja_value call(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    struct ci_jinja_value callee = ci_jinja_evaluate(run, node->a);
    struct ci_jinja_arguments arguments = ci_jinja_evaluate_arguments(run, node);
    run->heap.line = node->line;
    return ci_jinja_call_value(run, callee, &arguments);
}

static struct ci_jinja_value filter(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    struct ci_jinja_value value = ci_jinja_evaluate(run, node->a);
    struct ci_jinja_arguments arguments = ci_jinja_evaluate_arguments(run, node);
    run->heap.line = node->line;
    return ci_jinja_apply_filter(run, node->text, value, &arguments);
}

static struct ci_jinja_value test(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    struct ci_jinja_value value = ci_jinja_evaluate(run, node->a);
    struct ci_jinja_arguments arguments = ci_jinja_evaluate_arguments(run, node);
    run->heap.line = node->line;
    return ci_jinja_boolean(ci_jinja_apply_test(run, node->text, value, &arguments));
}

static struct ci_jinja_value compare(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    struct ci_jinja_value left = ci_jinja_evaluate(run, node->a);
    for (size_t i = 0; i < node->count; i++) {
        struct ci_jinja_value right = ci_jinja_evaluate(run, node->items[i]);
        if (!ci_jinja_compare(run, node->operations[i], left, right)) return ci_jinja_boolean(false);
        left = right;
    }
    return ci_jinja_boolean(true);
}

static struct ci_jinja_value negate(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    struct ci_jinja_value value = ci_jinja_evaluate(run, node->a);
    if (!ci_jinja_is_number(value))
        ci_jinja_fail(&run->heap, CLINFER_INVALID_ARGUMENT, "a value of type %s has no sign",
                      ci_jinja_kind_name(value));
    if (value.kind == CI_JINJA_IS_FLOAT) /* 0 - 0.0 would lose the sign */
        return ci_jinja_float(node->kind == CI_JINJA_NEGATIVE ? -value.number : value.number);
    return ci_jinja_binary(run, node->kind == CI_JINJA_NEGATIVE ? CI_JINJA_SUBTRACT : CI_JINJA_ADD, ci_jinja_integer(0),
                           value);
}

static struct ci_jinja_value concat(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    struct ci_jinja_value left = ci_jinja_evaluate(run, node->a), right = ci_jinja_evaluate(run, node->b);
    struct ci_jinja_string text = ci_jinja_to_string(run, left);
    return ci_jinja_text(ci_jinja_concat(run, text, ci_jinja_to_string(run, right)));
}

static struct ci_jinja_value condition(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    if (ci_jinja_truth(ci_jinja_evaluate(run, node->b))) return ci_jinja_evaluate(run, node->a);
    if (node->c) return ci_jinja_evaluate(run, node->c);
    return ci_jinja_undefined(CI_JINJA_STRING("the value of an 'if' without 'else'"));
}

static struct ci_jinja_value evaluate(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    struct ci_jinja_value left, right;
    switch (node->kind) {
    case CI_JINJA_CONSTANT: return node->value;
    case CI_JINJA_VARIABLE: return ci_jinja_look_up(run, node->name);
    case CI_JINJA_LIST:
    case CI_JINJA_TUPLE: return make_list(run, node);
    case CI_JINJA_DICT: return make_dict(run, node);
    case CI_JINJA_ATTRIBUTE: return ci_jinja_attribute(run, ci_jinja_evaluate(run, node->a), node->text);
    case CI_JINJA_ITEM:
        left = ci_jinja_evaluate(run, node->a);
        right = ci_jinja_evaluate(run, node->b);
        return ci_jinja_item(run, left, right);
    case CI_JINJA_SLICE: return slice(run, node);
    case CI_JINJA_CALL: return call(run, node);
    case CI_JINJA_FILTER: return filter(run, node);
    case CI_JINJA_TEST: return test(run, node);
    case CI_JINJA_NOT: return ci_jinja_boolean(!ci_jinja_truth(ci_jinja_evaluate(run, node->a)));
    case CI_JINJA_NEGATIVE:
    case CI_JINJA_POSITIVE: return negate(run, node);
    case CI_JINJA_AND:
        left = ci_jinja_evaluate(run, node->a);
        return ci_jinja_truth(left) ? ci_jinja_evaluate(run, node->b) : left;
    case CI_JINJA_OR:
        left = ci_jinja_evaluate(run, node->a);
        return ci_jinja_truth(left) ? left : ci_jinja_evaluate(run, node->b);
    case CI_JINJA_CONDITION: return condition(run, node);
    case CI_JINJA_CONCAT: return concat(run, node);
    case CI_JINJA_BINARY:
        left = ci_jinja_evaluate(run, node->a);
        right = ci_jinja_evaluate(run, node->b);
        return ci_jinja_binary(run, node->operation, left, right);
    case CI_JINJA_COMPARE: return compare(run, node);
    default: return ci_jinja_none(); /* statements do not come here */
    }
}

struct ci_jinja_value ci_jinja_evaluate(struct ci_jinja_run *run, const struct ci_jinja_node *node) {
    ci_jinja_spend(&run->heap, 1);
    ci_jinja_enter(&run->heap);
    run->heap.line = node->line;
    struct ci_jinja_value value = evaluate(run, node);
    ci_jinja_leave(&run->heap);
    return value;
}
