#include "ops/signature.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/status.h"
#include "device/kernels.h"
#include "ops/bind.h"

static void add(char *text, size_t size, const char *more) {
    size_t used = strlen(text);
    snprintf(text + used, size - used, "%s%s", used ? "," : "", more);
}

static const char *type_name(const struct ci_view *view) { return view->type ? view->type->name : "-"; }

static void describe_params(const struct ci_params *params, char *text, size_t size) {
    int last = CI_MAX_PARAMS;
    while (last > 0 && params->i[last - 1] == 0) last--;
    for (int i = 0; i < last; i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", params->i[i]);
        add(text, size, number);
    }
}

void ci_signature_of(const struct ci_op *op, const struct ci_call *call, struct ci_profile_signature *signature) {
    *signature = (struct ci_profile_signature){.rows = call->in[0].rows, .k = call->in[0].cols, .n = call->out[0].cols};
    snprintf(signature->op, sizeof signature->op, "%s", op->name);
    for (int i = 0; i < op->inputs; i++) add(signature->types, sizeof signature->types, type_name(&call->in[i]));
    for (int i = 0; i < op->outputs; i++)
        if ((op->state_outputs >> i & 1) || call->out[i].type == &ci_type_q16)
            add(signature->types, sizeof signature->types, type_name(&call->out[i]));
    describe_params(&call->params, signature->params, sizeof signature->params);
}

const char *ci_signature_layout(const struct ci_op *op, const struct ci_call *call) {
    for (int i = 0; i < op->inputs; i++)
        if ((op->weight_inputs >> i & 1) && call->in[i].type) return call->in[i].layout->name;
    return "";
}

void ci_signature_key(const struct ci_caps *caps, struct ci_profile_key *key) {
    static const char *const kinds[] = {
        [CI_DEVICE_GPU] = "gpu", [CI_DEVICE_ACCELERATOR] = "accelerator", [CI_DEVICE_CPU] = "cpu"};
    const struct ci_cpu_features *cpu = caps->cpu;
    *key = (struct ci_profile_key){.threads = caps->device ? 0 : caps->threads};
    const struct {
        bool has;
        const char *name;
    } features[] = {{cpu->avx2, "avx2"},
                    {cpu->avx512vnni, "avx512vnni"},
                    {cpu->avx512bf16, "avx512bf16"},
                    {cpu->neon, "neon"},
                    {cpu->neondot, "neondot"}};
    for (size_t i = 0; i < sizeof features / sizeof *features; i++)
        if (features[i].has) add(key->cpu, sizeof key->cpu, features[i].name);
    if (!caps->device) {
        snprintf(key->kind, sizeof key->kind, "cpu");
        snprintf(key->platform, sizeof key->platform, "cpu");
        snprintf(key->device, sizeof key->device, "%s", cpu->name);
        return;
    }
    snprintf(key->kind, sizeof key->kind, "%s", kinds[caps->device->kind]);
    snprintf(key->platform, sizeof key->platform, "%s", caps->device->platform);
    snprintf(key->platform_version, sizeof key->platform_version, "%s", caps->device->platform_version);
    snprintf(key->device, sizeof key->device, "%s", caps->device->name);
    snprintf(key->driver, sizeof key->driver, "%s", caps->device->driver);
    key->compute_units = caps->device->compute_units;
}

enum clinfer_status ci_signature_source(const struct ci_variant *variant, const int *tunables,
                                        const struct ci_call *call, uint64_t *source) {
    *source = CI_HASH_START;
    if (variant->backend == CI_BACKEND_CPU) {
        *source = ci_hash(*source, &ci_cpu_kernels_hash, sizeof ci_cpu_kernels_hash);
        return CLINFER_OK;
    }
    const char *sources[CI_BIND_SOURCES];
    char options[CI_BIND_OPTIONS_BYTES];
    int count;
    struct ci_variant any_shape = *variant;
    any_shape.constants = NULL;
    enum clinfer_status status = ci_bind_options(&any_shape, tunables, call, sources, &count, options);
    if (status == CLINFER_OK) *source = ci_hash(*source, options, strlen(options) + 1);
    for (int i = 0; i < count && status == CLINFER_OK; i++) status = ci_kernel_source_hash(sources[i], source);
    return status;
}

int ci_signature_tunables(const struct ci_variant *variant, const int *values, struct ci_profile_tunable *tunables) {
    int count = 0;
    for (; variant->tunables && variant->tunables[count].name; count++) {
        tunables[count] = (struct ci_profile_tunable){.value = values[count]};
        snprintf(tunables[count].name, sizeof tunables[count].name, "%s", variant->tunables[count].name);
    }
    return count;
}

static enum clinfer_status refuse_value(const struct ci_variant *variant, const struct ci_tunable *tunable, int value) {
    char allowed[128] = "";
    for (const int *one = tunable->allowed; *one; one++) {
        char number[16];
        snprintf(number, sizeof number, "%d", *one);
        add(allowed, sizeof allowed, number);
    }
    return ci_fail(CLINFER_INVALID_ARGUMENT, "variant %s of op %s: %s=%d, must be one of %s", variant->name,
                   variant->op->name, tunable->name, value, allowed);
}

enum clinfer_status ci_signature_values(const struct ci_variant *variant, const struct ci_profile_tunable *tunables,
                                        int count, int *values) {
    memset(values, 0, CI_MAX_TUNABLES * sizeof *values);
    ci_bind_defaults(variant, values);
    for (int i = 0; i < count; i++) {
        int which = 0;
        const struct ci_tunable *known = variant->tunables;
        while (known && known[which].name && strcmp(known[which].name, tunables[i].name) != 0) which++;
        if (!known || !known[which].name)
            return ci_fail(CLINFER_INVALID_ARGUMENT, "variant %s of op %s has no tunable \"%s\"", variant->name,
                           variant->op->name, tunables[i].name);
        /* The default may stand for "the driver chooses" and need not be in the list. */
        bool allowed = tunables[i].value == known[which].value;
        for (const int *one = known[which].allowed; *one; one++) allowed = allowed || *one == tunables[i].value;
        if (!allowed) return refuse_value(variant, &known[which], tunables[i].value);
        values[which] = tunables[i].value;
    }
    return CLINFER_OK;
}

const struct ci_variant *ci_variant_find(const struct ci_op *op, enum ci_backend backend, const char *name) {
    for (int i = 0; ci_variants[i]; i++)
        if (ci_variants[i]->op == op && (ci_variants[i]->backend == CI_BACKEND_CPU) == (backend == CI_BACKEND_CPU) &&
            strcmp(ci_variants[i]->name, name) == 0)
            return ci_variants[i];
    return NULL;
}

static enum clinfer_status refuse_name(const char *file, int entry, const char *field, const char *value,
                                       const char *known) {
    return ci_fail(CLINFER_BAD_FILE, "%s: field \"entries[%d].%s\": value \"%s\": must be one of %s", file, entry,
                   field, value, known);
}

static enum clinfer_status refuse_op(const char *file, int index, const char *value) {
    char known[512] = "";
    for (int i = 0; ci_ops[i]; i++) add(known, sizeof known, ci_ops[i]->name);
    return refuse_name(file, index, "signature.op", value, known);
}

static enum clinfer_status refuse_variant(const char *file, int index, const struct ci_op *op, enum ci_backend backend,
                                          const char *value) {
    char known[512] = "";
    for (int i = 0; ci_variants[i]; i++)
        if (ci_variants[i]->op == op && ci_variant_find(op, backend, ci_variants[i]->name) == ci_variants[i])
            add(known, sizeof known, ci_variants[i]->name);
    return refuse_name(file, index, "variant", value, known);
}

static enum clinfer_status check_entry(const char *file, int index, enum ci_backend backend,
                                       const struct ci_profile_entry *entry) {
    const struct ci_op *op = ci_op_find(entry->signature.op);
    int values[CI_MAX_TUNABLES];
    if (!op) return refuse_op(file, index, entry->signature.op);
    bool known_layout = !*entry->layout;
    for (int i = 0; ci_layouts[i]; i++) known_layout = known_layout || strcmp(ci_layouts[i]->name, entry->layout) == 0;
    if (!known_layout) {
        char known[256] = "";
        for (int i = 0; ci_layouts[i]; i++) add(known, sizeof known, ci_layouts[i]->name);
        return refuse_name(file, index, "layout", entry->layout, known);
    }
    if (strcmp(entry->variant, CI_PROFILE_UNFUSED) == 0) return CLINFER_OK;
    const struct ci_variant *variant = ci_variant_find(op, backend, entry->variant);
    if (!variant) return refuse_variant(file, index, op, backend, entry->variant);
    if (ci_signature_values(variant, entry->tunables, entry->tunable_count, values) == CLINFER_OK) return CLINFER_OK;
    return ci_fail_prefix(CLINFER_BAD_FILE, "%s: field \"entries[%d].tunables\"", file, index);
}

enum clinfer_status ci_signature_check(const char *file, const struct ci_profile *profile) {
    bool cpu = strcmp(profile->key.platform, "cpu") == 0;
    for (int i = 0; i < profile->entry_count; i++) {
        enum clinfer_status status =
            check_entry(file, i, cpu ? CI_BACKEND_CPU : CI_BACKEND_OPENCL, &profile->entries[i]);
        if (status != CLINFER_OK) return status;
    }
    return CLINFER_OK;
}
