#include "graph/choices.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/names.h"
#include "base/narrow.h"
#include "base/status.h"
#include "ops/bind.h"
#include "ops/signature.h"
#include "proof/known_answer.h"
#include "types/layout.h"

/* What the profile of a place has for a call. Looking it up takes the names of all types, and the hash of a kernel's
 * text and options: worth remembering for the next layer. */
struct ci_looked_up {
    uint64_t key;                         /* of place, op and call; 0: none yet */
    const struct ci_profile_entry *entry; /* NULL: nothing */
    struct ci_choice choice;              /* that it names */
    bool usable, stale;                   /* it is known here and fits; it is no longer what was measured */
};

enum { LOOKED_UP = 512 };

/* ---- what is known ---- */

/* What names a variant that is gone, or that never was, is passed over when the turn comes to it; the rest counts. */
static void say_unknown(const struct ci_place_choices *at) {
    if (at->origin != CI_PROFILE_NONE && ci_signature_check(at->path, &at->profile) != CLINFER_OK)
        ci_log(CLINFER_LOG_WARNING, "%s; this entry is not used: `clinfer tune` makes the profile anew",
               ci_status_message());
}

bool ci_choices_is_file(const char *tuning) {
    return tuning && strcmp(tuning, "auto") != 0 && strcmp(tuning, "none") != 0 && strcmp(tuning, "shipped") != 0;
}

/* A file that the user named: what cannot be read or is no profile of these kernels is an error. */
static enum clinfer_status read_file(const char *path, struct ci_profile *profile) {
    enum clinfer_status status = ci_profile_read(path, profile);
    if (status != CLINFER_OK)
        return ci_fail_prefix(status == CLINFER_IO ? CLINFER_BAD_FILE : status, "the profile that --tuning names");
    status = ci_signature_check(path, profile);
    if (status != CLINFER_OK) ci_profile_free(profile);
    return status;
}

enum clinfer_status ci_choices_check_tuning(const char *tuning) {
    struct ci_profile profile;
    if (!ci_choices_is_file(tuning)) return CLINFER_OK;
    enum clinfer_status status = read_file(tuning, &profile);
    if (status == CLINFER_OK) ci_profile_free(&profile);
    return status;
}

enum clinfer_status ci_choices_load(struct ci_choices *choices, int place, const struct ci_caps *caps,
                                    const char *tuning) {
    struct ci_place_choices *at = &choices->places[place];
    struct ci_profile_key key;
    ci_signature_key(caps, &key);
    at->device = ci_quarantine_device(&key);
    enum clinfer_status status = CLINFER_OK;
    if (place == 0) status = ci_quarantine_read(&choices->quarantine);
    if (status == CLINFER_OK && place == 0 &&
        !(choices->passed_over = calloc((size_t)choices->quarantine.count + 1, 1)))
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the quarantine");
    if (status != CLINFER_OK) return status;
    if (!choices->looked_up) choices->looked_up = calloc(LOOKED_UP, sizeof *choices->looked_up); /* NULL: slower */
    bool automatic = !tuning || strcmp(tuning, "auto") == 0;
    if (automatic || strcmp(tuning, "shipped") == 0) {
        status = automatic ? ci_profile_lookup(&key, &at->profile, &at->origin, &at->path)
                           : ci_profile_lookup_shipped(&key, &at->profile, &at->origin, &at->path);
        if (status == CLINFER_OK) say_unknown(at);
        return status;
    }
    if (!ci_choices_is_file(tuning)) return CLINFER_OK;

    /* It is for one device; the others of this engine go without. */
    struct ci_profile profile;
    status = read_file(tuning, &profile);
    if (status != CLINFER_OK) return status;
    ci_profile_clean_key(&key);
    if (!ci_profile_same_device(&profile.key, &key)) {
        ci_profile_free(&profile);
        return CLINFER_OK;
    }
    at->profile = profile;
    at->origin = !profile.imported && ci_profile_same_key(&profile.key, &key) ? CI_PROFILE_EXACT : CI_PROFILE_DRIVER;
    at->path = strdup(tuning);
    return at->path ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a profile's name");
}

bool ci_choices_measured_here(const struct ci_place_choices *at) {
    return (at->origin == CI_PROFILE_EXACT || at->origin == CI_PROFILE_DRIVER) && !at->profile.imported;
}

void ci_choices_free(struct ci_choices *choices) {
    for (int i = 0; i < CI_MAX_PLACES; i++) {
        ci_profile_free(&choices->places[i].profile);
        free(choices->places[i].path);
    }
    ci_quarantine_free(&choices->quarantine);
    free(choices->passed_over);
    free(choices->forced);
    free(choices->looked_up);
    *choices = (struct ci_choices){0};
}

enum clinfer_status ci_choices_quarantine(struct ci_choices *choices, const struct ci_quarantined *item) {
    struct ci_quarantine *quarantine = &choices->quarantine;
    struct ci_quarantined *items =
        realloc(quarantine->items, ((size_t)quarantine->count + 1) * sizeof *quarantine->items);
    if (items) quarantine->items = items;
    bool *passed_over = realloc(choices->passed_over, (size_t)quarantine->count + 2);
    if (passed_over) choices->passed_over = passed_over;
    if (!items || !passed_over) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the quarantine");
    passed_over[quarantine->count] = false;
    items[quarantine->count++] = *item;
    return CLINFER_OK;
}

int ci_choices_passed_over(const struct ci_choices *choices, char *names, size_t size) {
    int count = 0;
    for (int i = 0; i < choices->quarantine.count; i++) {
        if (!choices->passed_over[i]) continue;
        ci_names_add(names, size, choices->quarantine.items[i].op);
        count++;
    }
    return count;
}

/* ---- --op ---- */

static enum clinfer_status refuse_op(const char *text) {
    char names[512] = "";
    for (int i = 0; ci_ops[i]; i++) ci_names_add(names, sizeof names, ci_ops[i]->name);
    return ci_fail(CLINFER_INVALID_ARGUMENT, "--op %s: no such op; there are: %s", text, names);
}

static enum clinfer_status refuse_variant(const struct ci_op *op, const char *text) {
    char names[512] = "cpu, opencl";
    for (int i = 0; ci_variants[i]; i++)
        if (ci_variants[i]->op == op) ci_names_add(names, sizeof names, ci_variants[i]->name);
    return ci_fail(CLINFER_INVALID_ARGUMENT, "--op %s: op %s has no such variant; there are: %s", text, op->name,
                   names);
}

/* "A=1,B=2" */
static enum clinfer_status parse_tunables(const char *text, struct ci_profile_tunable *tunables, int *count) {
    const char *at = text;
    *count = 0;
    for (bool more = true; more;) {
        char name[CI_PROFILE_NAME_BYTES], *end = NULL;
        int length = 0;
        bool named = *count < CI_PROFILE_TUNABLES && sscanf(at, "%47[A-Za-z0-9_]=%n", name, &length) == 1 && length;
        long value = named ? strtol(at + length, &end, 10) : 0;
        if (!named || end == at + length || (*end && *end != ',') || value < INT_MIN || value > INT_MAX)
            return ci_fail(CLINFER_INVALID_ARGUMENT, "\"%s\" is not TUNABLE=NUMBER,...", text);
        tunables[*count] = (struct ci_profile_tunable){.value = ci_narrowed(value)};
        snprintf(tunables[(*count)++].name, sizeof name, "%s", name);
        more = *end == ',';
        at = end + more;
    }
    return CLINFER_OK;
}

static enum clinfer_status parse_variant(const char *text, const char *what, struct ci_forced *forced) {
    char name[CI_PROFILE_NAME_BYTES];
    const char *colon = strchr(what, ':');
    snprintf(name, sizeof name, "%.*s", ci_shown(strcspn(what, ":"), INT_MAX), what);
    forced->variant = ci_variant_find(forced->op, CI_BACKEND_OPENCL, name);
    if (!forced->variant) forced->variant = ci_variant_find(forced->op, CI_BACKEND_CPU, name);
    if (!forced->variant) return refuse_variant(forced->op, text);
    struct ci_profile_tunable tunables[CI_PROFILE_TUNABLES];
    int count = 0;
    enum clinfer_status status = colon ? parse_tunables(colon + 1, tunables, &count) : CLINFER_OK;
    if (status == CLINFER_OK) status = ci_signature_values(forced->variant, tunables, count, forced->tunables);
    return status == CLINFER_OK ? CLINFER_OK : ci_fail_prefix(status, "--op %s", text);
}

enum clinfer_status ci_choices_force(struct ci_choices *choices, const char *text) {
    const char *equals = strchr(text, '=');
    char name[CI_PROFILE_NAME_BYTES];
    if (!equals)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "--op %s: must be NAME=VARIANT, NAME=cpu or NAME=opencl", text);
    snprintf(name, sizeof name, "%.*s", ci_narrowed(equals - text), text);
    struct ci_forced forced = {.op = ci_op_find(name), .kind = CI_FORCE_VARIANT};
    if (!forced.op) return refuse_op(text);
    enum clinfer_status status = CLINFER_OK;
    if (strcmp(equals + 1, "cpu") == 0)
        forced.kind = CI_FORCE_CPU;
    else if (strcmp(equals + 1, "opencl") == 0)
        forced.kind = CI_FORCE_OPENCL;
    else
        status = parse_variant(text, equals + 1, &forced);
    if (status != CLINFER_OK) return status;
    struct ci_forced *all = realloc(choices->forced, ((size_t)choices->forced_count + 1) * sizeof *all);
    if (!all) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for --op");
    choices->forced = all;
    all[choices->forced_count++] = forced;
    return CLINFER_OK;
}

/* The last one counts. */
static const struct ci_forced *forced_of(const struct ci_choices *choices, const struct ci_op *op) {
    for (int i = choices ? choices->forced_count - 1 : -1; i >= 0; i--)
        if (choices->forced[i].op == op) return &choices->forced[i];
    return NULL;
}

bool ci_choices_forced_to(const struct ci_choices *choices, const struct ci_op *op, enum ci_force_kind kind) {
    const struct ci_forced *forced = forced_of(choices, op);
    return forced && forced->kind == kind;
}

/* ---- choosing ---- */

/* A weight that is in memory already keeps its layout: there is always exactly one copy. */
static bool layouts_agree(const struct ci_node *node, const struct ci_variant *variant) {
    for (int i = 0; i < node->op->inputs; i++) {
        const struct ci_tensor *weight = node->in[i];
        if (!weight || !(node->op->weight_inputs >> i & 1) || weight->place < 0 || !variant->weight_layout) continue;
        if (weight->view.layout != variant->weight_layout) return false;
    }
    return true;
}

/* Known-answer tests, now, of what another version has put into quarantine; what would end this process stays there
 * until a tune tries it in one of its own. Whether it may leave. */
static bool leaves_quarantine(const struct ci_chooser *chooser, const struct ci_choice *choice,
                              const struct ci_call *call, struct ci_quarantined *item) {
    bool imagined = chooser->caps->device && !chooser->device;
    if (imagined || !ci_quarantined_by_another(item) || ci_quarantined_is_fatal(item)) return false;
    enum clinfer_status status =
        ci_proof_again(chooser->device, chooser->caps, choice->variant, choice->tunables, call);
    enum clinfer_status written = CLINFER_OK;
    snprintf(item->clinfer, sizeof item->clinfer, "%s", CLINFER_VERSION); /* once in this process, however it goes */
    if (status == CLINFER_OK) {
        ci_log(CLINFER_LOG_NOTICE,
               "op %s, variant %s on %s leaves quarantine: it is right with this version (it was: %s)", item->op,
               item->variant, item->device_name, item->reason);
        written = ci_quarantine_remove(item);
    } else if (status == CLINFER_WRONG_RESULT) {
        struct ci_quarantined renewed = *item;
        snprintf(renewed.reason, sizeof renewed.reason, "%s", ci_status_message());
        renewed.date[0] = '\0';
        written = ci_quarantine_add(&renewed);
    }
    if (written != CLINFER_OK) ci_log(CLINFER_LOG_INFO, "the quarantine was not written: %s", ci_status_message());
    return status == CLINFER_OK;
}

static void drop(struct ci_choices *choices, const struct ci_quarantined *item) {
    struct ci_quarantine *quarantine = &choices->quarantine;
    size_t index = (size_t)(item - quarantine->items), rest = (size_t)quarantine->count - index - 1;
    memmove(&quarantine->items[index], &quarantine->items[index + 1], rest * sizeof *quarantine->items);
    memmove(&choices->passed_over[index], &choices->passed_over[index + 1], rest);
    quarantine->count--;
}

/* Whether anything of this variant is in quarantine, whatever its text, types and tunables. */
static bool is_suspect(const struct ci_chooser *chooser, const struct ci_variant *variant) {
    const struct ci_quarantine *quarantine = &chooser->choices->quarantine;
    for (int i = 0; i < quarantine->count; i++) {
        const struct ci_quarantined *item = &quarantine->items[i];
        if (item->device == chooser->choices->places[chooser->place].device &&
            strcmp(item->variant, variant->name) == 0 && strcmp(item->op, variant->op->name) == 0)
            return true;
    }
    return false;
}

/* It takes the names of all types and the hash of a kernel's text, thousands of times a start: few are asked so far. */
static const struct ci_quarantined *in_quarantine(const struct ci_chooser *chooser, const struct ci_op *op,
                                                  const struct ci_call *call, const struct ci_choice *choice) {
    struct ci_choices *choices = chooser->choices;
    if (!choices || !is_suspect(chooser, choice->variant)) return NULL;
    struct ci_profile_signature signature;
    struct ci_profile_tunable tunables[CI_PROFILE_TUNABLES];
    struct ci_call packed = *call;
    uint64_t source;
    for (int i = 0; i < op->inputs; i++)
        if (choice->variant->weight_layout && call->in[i].type && (op->weight_inputs >> i & 1))
            packed.in[i].layout = choice->variant->weight_layout;
    ci_signature_of(op, call, &signature);
    if (ci_signature_source(choice->variant, choice->tunables, &packed, &source) != CLINFER_OK) return NULL;
    int tunable_count = ci_signature_tunables(choice->variant, choice->tunables, tunables);
    for (;;) {
        struct ci_quarantined *found = (struct ci_quarantined *)(uintptr_t)ci_quarantine_find(
            &choices->quarantine, choices->places[chooser->place].device, op->name, choice->variant->name, tunables,
            tunable_count, signature.types, source);
        if (!found || !leaves_quarantine(chooser, choice, &packed, found)) return found;
        drop(choices, found);
    }
}

static int rank_of(const struct ci_variant *variant) {
    int rank = 0;
    while (ci_variants[rank] != variant) rank++;
    return rank;
}

/* Eight bytes at a time, in this process alone: what plans are chosen by is looked up thousands of times a start.
 */
static uint64_t mix(uint64_t hash, const void *data, size_t bytes) {
    const unsigned char *at = data;
    for (; bytes > 0; at += sizeof hash, bytes -= sizeof hash) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    return hash;
}

static uint64_t hash_view(uint64_t hash, const struct ci_view *view) {
    const struct {
        const void *type, *layout;
        int64_t rows, cols;
    } what = {view->type, view->layout, view->rows, view->cols};
    static_assert(sizeof what % sizeof hash == 0, "whole words");
    static const uint64_t absent = 0;
    return view->type ? mix(hash, &what, sizeof what) : mix(hash, &absent, sizeof absent);
}

static uint64_t key_of(const struct ci_chooser *chooser, const struct ci_op *op, const struct ci_call *call) {
    static_assert(sizeof call->params % sizeof(uint64_t) == 0, "whole words");
    const uint64_t where[] = {(uintptr_t)op, (uint64_t)chooser->place};
    uint64_t key = mix(CI_HASH_START, where, sizeof where);
    key = mix(key, &call->params, sizeof call->params);
    for (int i = 0; i < op->inputs; i++) key = hash_view(key, &call->in[i]);
    for (int i = 0; i < op->outputs; i++) key = hash_view(key, &call->out[i]);
    return key ? key : 1;
}

static void look_up(const struct ci_chooser *chooser, const struct ci_op *op, const struct ci_call *call,
                    struct ci_looked_up *found) {
    struct ci_profile_signature signature;
    uint64_t source;
    ci_signature_of(op, call, &signature);
    const struct ci_profile_entry *entry = found->entry =
        ci_profile_find(&chooser->choices->places[chooser->place].profile, &signature, ci_signature_layout(op, call));
    if (!entry) return;
    struct ci_choice *choice = &found->choice;
    *choice = (struct ci_choice){.origin = CI_CHOICE_TUNED, .entry = entry};
    choice->variant = ci_variant_find(op, chooser->caps->device ? CI_BACKEND_OPENCL : CI_BACKEND_CPU, entry->variant);
    if (!choice->variant ||
        ci_signature_values(choice->variant, entry->tunables, entry->tunable_count, choice->tunables) != CLINFER_OK ||
        ci_signature_source(choice->variant, choice->tunables, call, &source) != CLINFER_OK)
        return;
    choice->rank = rank_of(choice->variant);
    found->stale = source != entry->source;
    found->usable = !found->stale && ci_variant_fits(choice->variant, chooser->caps, call);
}

static struct ci_looked_up looked_up(const struct ci_chooser *chooser, const struct ci_op *op,
                                     const struct ci_call *call) {
    struct ci_looked_up found = {.key = 0};
    const struct ci_choices *choices = chooser->choices;
    if (!choices || choices->places[chooser->place].origin == CI_PROFILE_NONE) return found;
    uint64_t key = key_of(chooser, op, call);
    struct ci_looked_up *kept = choices->looked_up ? &choices->looked_up[key % LOOKED_UP] : NULL;
    if (kept && kept->key == key) return *kept;
    look_up(chooser, op, call, &found);
    found.key = key;
    if (kept) *kept = found;
    return found;
}

bool ci_choices_stale(const struct ci_chooser *chooser, const struct ci_node *node) {
    struct ci_call call;
    ci_node_call(node, &call);
    return looked_up(chooser, node->op, &call).stale;
}

/* The variant that the profile names, if it still is what was measured. */
static bool tuned_choice(const struct ci_chooser *chooser, const struct ci_op *op, const struct ci_call *call,
                         struct ci_choice *choice) {
    struct ci_looked_up found = looked_up(chooser, op, call);
    *choice = found.choice;
    return found.usable;
}

static const struct ci_profile_entry *entry_of(const struct ci_chooser *chooser, const struct ci_op *op,
                                               const struct ci_call *call) {
    return looked_up(chooser, op, call).entry;
}

/* The entry for this call, if it may decide something: what it names would run. That an op is better apart was measured
 * with its parts, so that these count, where they have entries. */
static const struct ci_profile_entry *valid_entry(const struct ci_chooser *chooser, const struct ci_op *op,
                                                  const struct ci_call *call) {
    const struct ci_profile_entry *entry = entry_of(chooser, op, call);
    struct ci_choice choice;
    if (!entry) return NULL;
    if (strcmp(entry->variant, CI_PROFILE_UNFUSED) != 0)
        return tuned_choice(chooser, op, call, &choice) && !in_quarantine(chooser, op, call, &choice) ? entry : NULL;
    struct ci_call first, second;
    if (!op->first || ci_op_split(op, call, &first, &second) != CLINFER_OK) return NULL;
    bool first_counts = !entry_of(chooser, op->first, &first) || valid_entry(chooser, op->first, &first);
    bool second_counts = !entry_of(chooser, op->second, &second) || valid_entry(chooser, op->second, &second);
    return first_counts && second_counts ? entry : NULL;
}

static void say_quarantined(const struct ci_chooser *chooser, const struct ci_variant *variant,
                            const struct ci_quarantined *item, char *reason, size_t size) {
    /* Without a date: since a moment ago, which was said. */
    if (*item->date) chooser->choices->passed_over[item - chooser->choices->quarantine.items] = true;
    if (!*reason)
        snprintf(reason, size, "%s is in quarantine: %s%s%s", variant->name, item->reason, *item->date ? " on " : "",
                 item->date); /* without one: since a moment ago */
}

int ci_choices_list(const struct ci_chooser *chooser, const struct ci_node *node, struct ci_choice *list, int capacity,
                    char *reason, size_t size) {
    struct ci_call call;
    ci_node_call(node, &call);
    const struct ci_forced *forced = forced_of(chooser->choices, node->op);
    const struct ci_quarantined *item;
    int count = 0;
    reason[0] = 0;
    bool on_device = chooser->caps->device != NULL;
    if (forced && forced->kind != CI_FORCE_VARIANT && (forced->kind == CI_FORCE_OPENCL) != on_device) {
        snprintf(reason, size, "forced by --op");
        return 0;
    }
    /* A variant is for some shapes: one row, many rows. Where it does not fit, the others do. */
    if (forced && forced->variant && capacity > 0 && layouts_agree(node, forced->variant) &&
        ci_variant_fits(forced->variant, chooser->caps, &call)) {
        list[0] = (struct ci_choice){
            .variant = forced->variant, .rank = rank_of(forced->variant), .origin = CI_CHOICE_FORCED};
        memcpy(list[0].tunables, forced->tunables, sizeof list[0].tunables);
        return 1;
    }
    if (capacity > 0 && tuned_choice(chooser, node->op, &call, &list[0]) && layouts_agree(node, list[0].variant)) {
        item = in_quarantine(chooser, node->op, &call, &list[0]);
        if (item)
            say_quarantined(chooser, list[0].variant, item, reason, size);
        else
            count = 1;
    }
    for (int i = 0; ci_variants[i] && count < capacity; i++) {
        const struct ci_variant *variant = ci_variants[i];
        if (variant->op != node->op || !layouts_agree(node, variant) || !ci_variant_fits(variant, chooser->caps, &call))
            continue;
        struct ci_choice *choice = &list[count];
        *choice = (struct ci_choice){.variant = variant, .rank = i};
        ci_bind_defaults(variant, choice->tunables);
        item = in_quarantine(chooser, node->op, &call, choice);
        if (!item)
            count++;
        else if (count == 0)
            say_quarantined(chooser, variant, item, reason, size);
    }
    return count;
}

bool ci_choices_first(const struct ci_chooser *chooser, const struct ci_node *node, struct ci_choice *choice) {
    char reason[1];
    return ci_choices_list(chooser, node, choice, 1, reason, sizeof reason) > 0;
}

/* ---- what was measured ---- */

/* Seconds by the entry that is nearest in shape, scaled to this one; 0: there is none that counts. */
static double seconds_of(const struct ci_chooser *chooser, const struct ci_op *op, const struct ci_call *call) {
    const struct ci_profile_entry *entry = valid_entry(chooser, op, call);
    if (!entry || entry->seconds <= 0) return 0; /* one that is better apart has the seconds of its parts */
    const struct ci_profile_signature *measured = &entry->signature;
    struct ci_profile_signature signature;
    ci_signature_of(op, call, &signature);
    double size = (double)signature.k * (double)signature.n * (double)signature.rows;
    double measured_size = (double)measured->k * (double)measured->n * (double)measured->rows;
    return measured_size > 0 ? entry->seconds * size / measured_size : entry->seconds;
}

static void set_layout(const struct ci_op *op, const struct ci_layout *layout, struct ci_call *call) {
    for (int i = 0; i < op->inputs; i++)
        if (call->in[i].type && (op->weight_inputs >> i & 1)) call->in[i].layout = layout;
}

double ci_choices_seconds(const struct ci_chooser *chooser, const struct ci_node *node) {
    struct ci_call call;
    ci_node_call(node, &call);
    if (!*ci_signature_layout(node->op, &call)) return seconds_of(chooser, node->op, &call);
    double best = 0;
    for (int i = 0; ci_layouts[i]; i++) {
        set_layout(node->op, ci_layouts[i], &call);
        double seconds = seconds_of(chooser, node->op, &call);
        if (seconds > 0 && (best == 0 || seconds < best)) best = seconds;
    }
    return best;
}

bool ci_choices_unfused(const struct ci_chooser *chooser, const struct ci_node *node) {
    struct ci_call call;
    ci_node_call(node, &call);
    const struct ci_profile_entry *entry = valid_entry(chooser, node->op, &call);
    return entry && strcmp(entry->variant, CI_PROFILE_UNFUSED) == 0;
}

/* A conversation's worth: a prompt of 512 tokens and an answer of 256. An output matrix gets no more rows than there
 * are sequences, so that it is never measured with those of a prompt. */
static const struct {
    int64_t rows, otherwise;
    double times;
} usage[] = {{1, 1, 256}, {512, 64, 1}};

/* Of a call with so many rows, with the kind of activations that is faster. */
static double seconds_in_layout(const struct ci_chooser *chooser, const struct ci_node *node, int64_t rows,
                                const struct ci_layout *layout) {
    static const struct ci_type *const activations[] = {&ci_type_f32, &ci_type_q8, &ci_type_q16};
    struct ci_call call;
    double best = 0;
    ci_node_call(node, &call);
    set_layout(node->op, layout, &call);
    for (int i = 0; i < node->op->inputs; i++)
        if (call.in[i].extent != CI_EXTENT_FIXED) call.in[i].rows = rows;
    for (int i = 0; i < node->op->outputs; i++)
        if (call.out[i].extent != CI_EXTENT_FIXED) call.out[i].rows = rows;
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++) {
        call.in[0].type = activations[i];
        double seconds = seconds_of(chooser, node->op, &call);
        if (seconds > 0 && (best == 0 || seconds < best)) best = seconds;
    }
    return best;
}

enum { MOST_LAYOUTS = 8 };

/* Of a call with so many rows, in each layout; false: it was measured in none. */
static bool seconds_by_layout(const struct ci_chooser *chooser, const struct ci_node *node, int64_t rows,
                              double seconds[MOST_LAYOUTS]) {
    bool any = false;
    for (int i = 0; ci_layouts[i]; i++) {
        assert(i < MOST_LAYOUTS);
        seconds[i] = seconds_in_layout(chooser, node, rows, ci_layouts[i]);
        any = any || seconds[i] > 0;
    }
    return any;
}

/* Rows that were measured in no layout tell none apart; a layout that was left out where others were measured is out.
 */
const struct ci_layout *ci_choices_layout(const struct ci_chooser *chooser, const struct ci_node *node) {
    double sums[MOST_LAYOUTS] = {0}, seconds[MOST_LAYOUTS];
    const struct ci_layout *best = NULL;
    double least = INFINITY;
    if (!chooser->choices || chooser->choices->places[chooser->place].origin == CI_PROFILE_NONE) return NULL;
    if (node->op->weight_inputs & 1) return NULL; /* who looks up rows takes them as they lie */
    for (size_t u = 0; u < sizeof usage / sizeof *usage; u++) {
        if (!seconds_by_layout(chooser, node, usage[u].rows, seconds) &&
            (usage[u].otherwise == usage[u].rows || !seconds_by_layout(chooser, node, usage[u].otherwise, seconds)))
            continue;
        for (int i = 0; ci_layouts[i]; i++) sums[i] += seconds[i] > 0 ? usage[u].times * seconds[i] : INFINITY;
    }
    for (int i = 0; ci_layouts[i]; i++)
        if (sums[i] > 0 && sums[i] < least) {
            least = sums[i];
            best = ci_layouts[i];
        }
    return best;
}
