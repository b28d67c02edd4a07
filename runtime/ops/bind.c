/* bind.c: from data (struct ci_variant) to kernels with arguments. There is no other place that sets a kernel argument
 * of an op, so that a new op brings a table instead of code. */
#include "ops/bind.h"

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"

/* What an argument was set to last. A tensor takes two: its buffer, then its offset. */
struct argument {
    struct ci_buffer *buffer;
    union {
        uint64_t offset;
        int32_t integer;
        float number;
    } value;
};

struct ci_bound {
    struct ci_device *device;
    const struct ci_variant *variant;
    const struct ci_device_caps *caps;
    int tunables[CI_MAX_TUNABLES];
    bool set_once;
    struct ci_bound_launch *launches;
    struct argument *arguments; /* of all launches, one after the other */
    struct ci_bound_product *products;
    int product_count;
};

void ci_bind_defaults(const struct ci_variant *variant, int *values) {
    for (int i = 0; variant->tunables && variant->tunables[i].name; i++) values[i] = variant->tunables[i].value;
}

/* ---- program text and options ---- */

struct text {
    char *start;
    size_t used;
};

static bool append(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool append(struct text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text->start + text->used, CI_BIND_OPTIONS_BYTES - text->used, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= CI_BIND_OPTIONS_BYTES - text->used) return false;
    text->used += (size_t)length;
    return true;
}

static bool append_type(struct text *text, const char *which, int index, const struct ci_view *view) {
    char upper[32];
    size_t i = 0;
    for (; view->type->name[i] && i + 1 < sizeof upper; i++)
        upper[i] = (char)toupper((unsigned char)view->type->name[i]);
    upper[i] = 0;
    if (!append(text, " -D %s%d_%s", which, index, upper)) return false;
    return view->layout != &ci_layout_r16 || append(text, " -D %s%d_LAYOUT_R16", which, index);
}

/* The number that a bind stands for; tensors and local memory are none. */
static int64_t integer_of(const struct ci_bind *bind, const struct ci_call *call) {
    switch (bind->kind) {
    case CI_BIND_IN_ROWS: return call->in[bind->index].rows;
    case CI_BIND_IN_COLS: return call->in[bind->index].cols;
    case CI_BIND_OUT_COLS: return call->out[bind->index].cols;
    default: assert(bind->kind == CI_BIND_I); return call->params.i[bind->index];
    }
}

/* The header of a type, whose name is also its own, and before it its table, where it has one, and how to read it. */
static int type_sources(const struct ci_type *type, const char **sources) {
    static const struct {
        const struct ci_type *type;
        const char *header, *table;
    } headers[] = {
#define CI_TYPE(symbol) {&ci_type_##symbol, "types/" #symbol ".clh", NULL},
#define CI_TYPE_AND_TABLE(symbol, table) {&ci_type_##symbol, "types/" #symbol ".clh", "types/" #table ".clh"},
#include "types/type_list.inc"
#undef CI_TYPE
    };
    int count = 0;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        if (headers[i].type != type) continue;
        if (headers[i].table) {
            sources[count++] = "common/tables.clh";
            sources[count++] = headers[i].table;
        }
        sources[count++] = headers[i].header;
    }
    return count;
}

/* No macro for an input that an argument tells of. Weights side by side are of one type, which the macros of the first
 * one tell. So two and three are one program, and those with an addend and without. */
static bool is_told(const struct ci_variant *variant, const struct ci_call *call, int input) {
    const int first = variant->type_input;
    if (variant->untold_inputs >> input & 1) return true;
    return first >= 0 && input != first && (variant->op->weight_inputs >> input & 1) &&
           call->in[input].type == call->in[first].type && call->in[input].layout == call->in[first].layout;
}

enum clinfer_status ci_bind_options(const struct ci_variant *variant, const int *tunables, const struct ci_call *call,
                                    const char **sources, int *source_count, char *options) {
    struct text text = {options, 0};
    bool fits = append(&text, "-cl-std=CL%s", variant->opencl_c ? variant->opencl_c : "1.2");
    for (int i = 0; variant->tunables && variant->tunables[i].name; i++)
        if (!(variant->grid_tunables >> i & 1))
            fits = fits && append(&text, " -D %s=%d", variant->tunables[i].name, tunables[i]);
    for (int i = 0; variant->constants && variant->constants[i].macro; i++)
        fits = fits && append(&text, " -D %s=%lld", variant->constants[i].macro,
                              (long long)integer_of(&variant->constants[i].value, call));
    for (int i = 0; i < variant->op->inputs; i++)
        if (call->in[i].type && !is_told(variant, call, i)) fits = fits && append_type(&text, "IN", i, &call->in[i]);
    for (int i = 0; i < variant->op->outputs; i++)
        if (call->out[i].type) fits = fits && append_type(&text, "OUT", i, &call->out[i]);
    int count = 0;
    sources[count++] = "common/common.clh";
    if (variant->type_input >= 0) {
        const struct ci_view *weight = &call->in[variant->type_input];
        assert(weight->type);
        count += type_sources(weight->type, sources + count);
        if (weight->layout == &ci_layout_r16) fits = fits && append(&text, " -D WEIGHT_LAYOUT_R16");
    }
    if (variant->header) sources[count++] = variant->header;
    if (variant->second_header) sources[count++] = variant->second_header;
    sources[count++] = variant->source;
    *source_count = count;
    assert(fits);
    return fits ? CLINFER_OK
                : ci_fail(CLINFER_UNSUPPORTED, "op %s, variant %s: more than %d bytes of compiler options",
                          variant->op->name, variant->name, CI_BIND_OPTIONS_BYTES);
}

/* ---- arguments ---- */

static bool is_tensor(const struct ci_bind *bind) {
    return bind->kind == CI_BIND_IN || bind->kind == CI_BIND_OUT || bind->kind == CI_BIND_SCRATCH;
}

static unsigned argument_count(const struct ci_bind *bind) {
    unsigned count = 0;
    for (; bind->kind != CI_BIND_END; bind++) count += is_tensor(bind) ? 2 : 1;
    return count;
}

static enum clinfer_status set_tensor(struct ci_bound *bound, struct ci_kernel *kernel, unsigned index,
                                      const struct ci_view *view, struct argument *last) {
    enum clinfer_status status = CLINFER_OK;
    if (!bound->set_once || last[0].buffer != view->buffer) status = ci_kernel_set_buffer(kernel, index, view->buffer);
    last[0].buffer = view->buffer;
    if (status == CLINFER_OK && (!bound->set_once || last[1].value.offset != view->offset))
        status = ci_kernel_set_bytes(kernel, index + 1, &view->offset, sizeof view->offset);
    last[1].value.offset = view->offset;
    return status;
}

static enum clinfer_status set_launch(struct ci_bound *bound, int which, const struct ci_call *call,
                                      struct argument **next) {
    struct ci_kernel *kernel = bound->launches[which].kernel;
    const struct ci_bind *bind = bound->variant->launches[which].bind;
    enum clinfer_status status = CLINFER_OK;
    unsigned index = 0;
    /* An optional tensor that is absent still is an argument: the first input stands in, and the kernel knows by its
     * macros. */
    struct ci_view absent = call->in[0];
    absent.offset = 0;
    for (; bind->kind != CI_BIND_END && status == CLINFER_OK; bind++) {
        struct argument *last = *next;
        const struct ci_view *view = NULL;
        if (bind->kind == CI_BIND_IN) view = &call->in[bind->index];
        if (bind->kind == CI_BIND_OUT) view = &call->out[bind->index];
        if (bind->kind == CI_BIND_SCRATCH) view = &call->scratch;
        if (view) {
            bool present = view->buffer && (bind->kind != CI_BIND_IN || view->type);
            status = set_tensor(bound, kernel, index, present ? view : &absent, last);
            index += 2;
            *next += 2;
            continue;
        }
        if (bind->kind == CI_BIND_F) {
            float number = call->params.f[bind->index];
            if (!bound->set_once || memcmp(&last->value.number, &number, sizeof number) != 0)
                status = ci_kernel_set_bytes(kernel, index, &number, sizeof number);
            last->value.number = number;
        } else {
            int64_t wide = integer_of(bind, call);
            int32_t integer = (int32_t)wide;
            assert(integer == wide);
            if (!bound->set_once || last->value.integer != integer)
                status = ci_kernel_set_bytes(kernel, index, &integer, sizeof integer);
            last->value.integer = integer;
        }
        index++;
        ++*next;
    }
    return status;
}

static void set_grid(const struct ci_bound *bound, int which, const struct ci_call *call) {
    struct ci_bound_launch *launch = &bound->launches[which];
    memset(&launch->grid, 0, sizeof launch->grid);
    bound->variant->launches[which].grid(call, bound->tunables, bound->caps, &launch->grid);
    assert(launch->grid.dimensions >= 1 && launch->grid.dimensions <= 3);
    launch->empty = false;
    for (int i = 0; i < launch->grid.dimensions; i++) {
        if (launch->grid.global[i] == 0) launch->empty = true;
        assert(launch->grid.local[0] == 0 || launch->grid.global[i] % launch->grid.local[i] == 0);
    }
}

enum clinfer_status ci_bind_update(struct ci_bound *bound, const struct ci_call *call) {
    struct argument *next = bound->arguments;
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < bound->variant->launch_count && status == CLINFER_OK; i++) {
        status = set_launch(bound, i, call, &next);
        set_grid(bound, i, call);
    }
    for (int i = 0; i < bound->product_count; i++) {
        struct ci_bound_product *product = &bound->products[i];
        product->gemm = (struct ci_gemm){0};
        bound->variant->products[i](call, &product->gemm);
        product->empty = product->gemm.m == 0 || product->gemm.n == 0;
    }
    /* After a failure nobody knows what is set: the next update sets everything. */
    bound->set_once = status == CLINFER_OK;
    return status;
}

void ci_bind_forget(struct ci_bound *bound) { bound->set_once = false; }

static enum clinfer_status check_limits(const struct ci_bound *bound, int which) {
    const struct ci_bound_launch *launch = &bound->launches[which];
    size_t items = 1, most = ci_kernel_max_work_group(launch->kernel);
    for (int i = 0; launch->grid.local[0] && i < launch->grid.dimensions; i++) {
        items *= launch->grid.local[i];
        if (launch->grid.local[i] > bound->caps->max_work_item[i]) most = 0;
    }
    uint64_t local_bytes = ci_kernel_local_bytes(launch->kernel);
    if (items > most || local_bytes > bound->caps->local_bytes)
        return ci_fail(
            CLINFER_UNSUPPORTED,
            "op %s, variant %s, kernel %s: %zu work-items and %llu bytes of local memory in a work-group; %s "
            "does %zu and %llu here",
            bound->variant->op->name, bound->variant->name, bound->variant->launches[which].kernel, items,
            (unsigned long long)local_bytes, bound->caps->name, ci_kernel_max_work_group(launch->kernel),
            (unsigned long long)bound->caps->local_bytes);
    return CLINFER_OK;
}

enum clinfer_status ci_bind_create(struct ci_device *device, const struct ci_variant *variant, const int *tunables,
                                   const struct ci_call *call, struct ci_bound **result) {
    assert(variant->backend != CI_BACKEND_CPU);
    *result = NULL;
    const char *sources[CI_BIND_SOURCES];
    int source_count;
    char options[CI_BIND_OPTIONS_BYTES];
    enum clinfer_status status;
    struct ci_bound *bound = calloc(1, sizeof *bound);
    if (!bound) return ci_fail(CLINFER_OUT_OF_MEMORY, "op %s: out of memory", variant->op->name);
    bound->device = device;
    bound->variant = variant;
    bound->caps = ci_device_caps(device);
    if (tunables)
        for (int i = 0; variant->tunables && variant->tunables[i].name; i++) bound->tunables[i] = tunables[i];
    else
        ci_bind_defaults(variant, bound->tunables);
    unsigned arguments = 0;
    for (int i = 0; i < variant->launch_count; i++) arguments += argument_count(variant->launches[i].bind);
    bound->launches = calloc((size_t)variant->launch_count, sizeof *bound->launches);
    bound->arguments = calloc(arguments + 1, sizeof *bound->arguments);
    while (variant->products && variant->products[bound->product_count]) bound->product_count++;
    bound->products = calloc((size_t)bound->product_count + 1, sizeof *bound->products);
    if (!bound->launches || !bound->arguments || !bound->products) {
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "op %s: out of memory", variant->op->name);
        goto fail;
    }
    status = ci_bind_options(variant, bound->tunables, call, sources, &source_count, options);
    for (int i = 0; i < variant->launch_count && status == CLINFER_OK; i++)
        status = ci_kernel_create(device, sources, source_count, options, variant->launches[i].kernel,
                                  &bound->launches[i].kernel);
    if (status == CLINFER_OK) status = ci_bind_update(bound, call);
    for (int i = 0; i < variant->launch_count && status == CLINFER_OK; i++) status = check_limits(bound, i);
    for (int i = 0; i < bound->product_count && status == CLINFER_OK; i++)
        if (!bound->products[i].empty) status = ci_gemm_prepare(device, &bound->products[i].gemm);
    if (status != CLINFER_OK) goto fail;
    *result = bound;
    return CLINFER_OK;
fail:
    ci_bind_destroy(bound);
    return status;
}

enum clinfer_status ci_bind_enqueue(struct ci_bound *bound) {
    for (int i = 0; i < bound->variant->launch_count; i++) {
        const struct ci_bound_launch *launch = &bound->launches[i];
        if (launch->empty) continue;
        enum clinfer_status status = ci_kernel_enqueue(launch->kernel, launch->grid.dimensions, launch->grid.global,
                                                       launch->grid.local[0] ? launch->grid.local : NULL);
        if (status != CLINFER_OK)
            return ci_fail_prefix(status, "op %s, variant %s", bound->variant->op->name, bound->variant->name);
    }
    for (int i = 0; i < bound->product_count; i++) {
        if (bound->products[i].empty) continue;
        enum clinfer_status status = ci_gemm_enqueue(bound->device, &bound->products[i].gemm);
        if (status != CLINFER_OK)
            return ci_fail_prefix(status, "op %s, variant %s", bound->variant->op->name, bound->variant->name);
    }
    return CLINFER_OK;
}

int ci_bind_values(const struct ci_bound *bound, int launch, struct ci_bind_value *values, int most) {
    const struct argument *argument = bound->arguments;
    for (int i = 0; i < launch; i++) argument += argument_count(bound->variant->launches[i].bind);
    int count = 0;
    for (const struct ci_bind *bind = bound->variant->launches[launch].bind; bind->kind != CI_BIND_END;
         bind++, count++) {
        struct ci_bind_value value = {0};
        if (is_tensor(bind)) {
            value = (struct ci_bind_value){argument[0].buffer, argument[1].value.offset};
            argument += 2;
        } else {
            memcpy(&value.word, &argument->value.integer, sizeof argument->value.integer);
            argument++;
        }
        if (count < most) values[count] = value;
    }
    return count;
}

int ci_bind_launches(const struct ci_bound *bound, const struct ci_bound_launch **launches) {
    *launches = bound->launches;
    return bound->variant->launch_count;
}

int ci_bind_products(const struct ci_bound *bound, const struct ci_bound_product **products) {
    *products = bound->products;
    return bound->product_count;
}

void ci_bind_destroy(struct ci_bound *bound) {
    if (!bound) return;
    for (int i = 0; bound->launches && i < bound->variant->launch_count; i++)
        if (bound->launches[i].kernel) ci_kernel_destroy(bound->launches[i].kernel);
    free(bound->launches);
    free(bound->arguments);
    free(bound->products);
    free(bound);
}
