#include "graph/choices.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/names.h"
#include "base/status.h"
#include "ops/bind.h"
#include "ops/signature.h"
#include "types/layout.h"

/* ---- what is known ---- */

/* What names a variant that is gone, or that never was, is passed over when the turn comes to it; the rest counts. */
static void say_unknown(const struct ci_place_choices *at) {
    if (at->origin != CI_PROFILE_NONE && ci_signature_check(at->path, &at->profile) != CLINFER_OK)
        ci_log(CLINFER_LOG_WARNING, "%s; this entry is not used: `clinfer tune` makes the profile anew",
               ci_status_message());
}

enum clinfer_status ci_choices_load(struct ci_choices *choices, int place, const struct ci_caps *caps,
                                    const char *tuning) {
    struct ci_place_choices *at = &choices->places[place];
    struct ci_profile_key key;
    ci_signature_key(caps, &key);
    at->device = ci_quarantine_device(&key);
    enum clinfer_status status = CLINFER_OK;
    if (place == 0) status = ci_quarantine_read(&choices->quarantine);
    if (status != CLINFER_OK) return status;
    bool automatic = !tuning || strcmp(tuning, "auto") == 0;
    if (automatic || strcmp(tuning, "shipped") == 0) {
        status = automatic ? ci_profile_lookup(&key, &at->profile, &at->origin, &at->path)
                           : ci_profile_lookup_shipped(&key, &at->profile, &at->origin, &at->path);
        if (status == CLINFER_OK) say_unknown(at);
        return status;
    }
    if (strcmp(tuning, "none") == 0) return CLINFER_OK;

    /* A file that the user named is for one device; the others of this engine go without. */
    struct ci_profile profile;
    status = ci_profile_read(tuning, &profile);
    if (status == CLINFER_OK && (status = ci_signature_check(tuning, &profile)) != CLINFER_OK)
        ci_profile_free(&profile);
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

void ci_choices_free(struct ci_choices *choices) {
    for (int i = 0; i < CI_MAX_PLACES; i++) {
        ci_profile_free(&choices->places[i].profile);
        free(choices->places[i].path);
    }
    ci_quarantine_free(&choices->quarantine);
    free(choices->forced);
    *choices = (struct ci_choices){0};
}

enum clinfer_status ci_choices_quarantine(struct ci_choices *choices, const struct ci_quarantined *item) {
    struct ci_quarantine *quarantine = &choices->quarantine;
    struct ci_quarantined *items =
        realloc(quarantine->items, ((size_t)quarantine->count + 1) * sizeof *quarantine->items);
    if (!items) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the quarantine");
    quarantine->items = items;
    items[quarantine->count++] = *item;
    return CLINFER_OK;
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
        tunables[*count] = (struct ci_profile_tunable){.value = (int)value};
        snprintf(tunables[(*count)++].name, sizeof name, "%s", name);
        more = *end == ',';
        at = end + more;
    }
    return CLINFER_OK;
}

static enum clinfer_status parse_variant(const char *text, const char *what, struct ci_forced *forced) {
    char name[CI_PROFILE_NAME_BYTES];
    const char *colon = strchr(what, ':');
    snprintf(name, sizeof name, "%.*s", colon ? (int)(colon - what) : (int)strlen(what), what);
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
    snprintf(name, sizeof name, "%.*s", (int)(equals - text), text);
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

static const struct ci_quarantined *in_quarantine(const struct ci_chooser *chooser, const struct ci_node *node,
                                                  const struct ci_call *call, const struct ci_choice *choice) {
    const struct ci_choices *choices = chooser->choices;
    if (!choices || choices->quarantine.count == 0) return NULL;
    struct ci_profile_signature signature;
    struct ci_profile_tunable tunables[CI_PROFILE_TUNABLES];
    struct ci_call packed = *call;
    uint64_t source;
    for (int i = 0; i < node->op->inputs; i++)
        if (choice->variant->weight_layout && call->in[i].type && (node->op->weight_inputs >> i & 1))
            packed.in[i].layout = choice->variant->weight_layout;
    ci_signature_of(node->op, call, &signature);
    if (ci_signature_source(choice->variant, choice->tunables, &packed, &source) != CLINFER_OK) return NULL;
    return ci_quarantine_find(
        &choices->quarantine, choices->places[chooser->place].device, node->op->name, choice->variant->name, tunables,
        ci_signature_tunables(choice->variant, choice->tunables, tunables), signature.types, source);
}

static int rank_of(const struct ci_variant *variant) {
    int rank = 0;
    while (ci_variants[rank] != variant) rank++;
    return rank;
}

/* What the profile says of this call; `choice` gets variant and tunables. False: nothing, or what is unknown here. */
static bool profile_choice(const struct ci_chooser *chooser, const struct ci_node *node, const struct ci_call *call,
                           struct ci_choice *choice, bool *stale) {
    if (!chooser->choices || chooser->choices->places[chooser->place].origin == CI_PROFILE_NONE) return false;
    struct ci_profile_signature signature;
    uint64_t source;
    ci_signature_of(node->op, call, &signature);
    const struct ci_profile_entry *entry = ci_profile_find(&chooser->choices->places[chooser->place].profile,
                                                           &signature, ci_signature_layout(node->op, call));
    if (!entry) return false;
    *choice = (struct ci_choice){.origin = CI_CHOICE_TUNED, .entry = entry};
    choice->variant =
        ci_variant_find(node->op, chooser->caps->device ? CI_BACKEND_OPENCL : CI_BACKEND_CPU, entry->variant);
    if (!choice->variant ||
        ci_signature_values(choice->variant, entry->tunables, entry->tunable_count, choice->tunables) != CLINFER_OK ||
        ci_signature_source(choice->variant, choice->tunables, call, &source) != CLINFER_OK)
        return false;
    choice->rank = rank_of(choice->variant);
    *stale = source != entry->source;
    return true;
}

bool ci_choices_stale(const struct ci_chooser *chooser, const struct ci_node *node) {
    struct ci_call call;
    struct ci_choice choice;
    bool stale = false;
    ci_node_call(node, &call);
    return profile_choice(chooser, node, &call, &choice, &stale) && stale;
}

/* The variant that the profile names, if it still is what was measured. */
static bool tuned_choice(const struct ci_chooser *chooser, const struct ci_node *node, const struct ci_call *call,
                         struct ci_choice *choice) {
    bool stale;
    return profile_choice(chooser, node, call, choice, &stale) && !stale && layouts_agree(node, choice->variant) &&
           ci_variant_fits(choice->variant, chooser->caps, call);
}

static void say_quarantined(const struct ci_variant *variant, const struct ci_quarantined *item, char *reason,
                            size_t size) {
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
    if (capacity > 0 && tuned_choice(chooser, node, &call, &list[0])) {
        item = in_quarantine(chooser, node, &call, &list[0]);
        if (item)
            say_quarantined(list[0].variant, item, reason, size);
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
        item = in_quarantine(chooser, node, &call, choice);
        if (!item)
            count++;
        else if (count == 0)
            say_quarantined(variant, item, reason, size);
    }
    return count;
}

bool ci_choices_first(const struct ci_chooser *chooser, const struct ci_node *node, struct ci_choice *choice) {
    char reason[1];
    return ci_choices_list(chooser, node, choice, 1, reason, sizeof reason) > 0;
}

/* ---- what was measured ---- */

/* Seconds by the entry that is nearest in shape, scaled to this one. */
static double seconds_of(const struct ci_chooser *chooser, const struct ci_profile_signature *signature,
                         const char *layout) {
    const struct ci_profile_entry *entry =
        ci_profile_find(&chooser->choices->places[chooser->place].profile, signature, layout);
    if (!entry || entry->seconds <= 0) return 0; /* one that is better apart has the seconds of its parts */
    const struct ci_profile_signature *measured = &entry->signature;
    double size = (double)signature->k * (double)signature->n * (double)signature->rows;
    double measured_size = (double)measured->k * (double)measured->n * (double)measured->rows;
    return measured_size > 0 ? entry->seconds * size / measured_size : entry->seconds;
}

double ci_choices_seconds(const struct ci_chooser *chooser, const struct ci_node *node) {
    if (!chooser->choices || chooser->choices->places[chooser->place].origin == CI_PROFILE_NONE) return 0;
    struct ci_call call;
    struct ci_profile_signature signature;
    ci_node_call(node, &call);
    ci_signature_of(node->op, &call, &signature);
    if (!*ci_signature_layout(node->op, &call)) return seconds_of(chooser, &signature, "");
    double best = 0;
    for (int i = 0; ci_layouts[i]; i++) {
        double seconds = seconds_of(chooser, &signature, ci_layouts[i]->name);
        if (seconds > 0 && (best == 0 || seconds < best)) best = seconds;
    }
    return best;
}

bool ci_choices_unfused(const struct ci_chooser *chooser, const struct ci_node *node) {
    if (!chooser->choices || chooser->choices->places[chooser->place].origin == CI_PROFILE_NONE) return false;
    struct ci_call call;
    struct ci_profile_signature signature;
    ci_node_call(node, &call);
    ci_signature_of(node->op, &call, &signature);
    const struct ci_profile_entry *entry = ci_profile_find(&chooser->choices->places[chooser->place].profile,
                                                           &signature, ci_signature_layout(node->op, &call));
    return entry && strcmp(entry->variant, CI_PROFILE_UNFUSED) == 0;
}

/* A conversation's worth: a prompt of 512 tokens and an answer of 256. An output matrix gets no more rows than there
 * are sequences, so that it is never measured with those of a prompt. */
static const struct {
    int64_t rows, otherwise;
    double times;
} usage[] = {{1, 1, 256}, {512, 64, 1}};

/* Of a call with so many rows, with the kind of activations that is faster. */
static double seconds_in_layout(const struct ci_chooser *chooser, const struct ci_profile_signature *signature,
                                int64_t rows, const char *layout) {
    struct ci_profile_signature at = *signature;
    const char *rest = strchr(signature->types, ',');
    double best = 0;
    at.rows = rows;
    for (int q8 = 0; q8 < 2 && rest; q8++) {
        snprintf(at.types, sizeof at.types, "%s%s", q8 ? "q8" : "f32", rest);
        double seconds = seconds_of(chooser, &at, layout);
        if (seconds > 0 && (best == 0 || seconds < best)) best = seconds;
    }
    return best;
}

static bool is_measured(const struct ci_chooser *chooser, const struct ci_profile_signature *signature, int64_t rows) {
    for (int i = 0; ci_layouts[i]; i++)
        if (seconds_in_layout(chooser, signature, rows, ci_layouts[i]->name) > 0) return true;
    return false;
}

/* Rows that were measured in no layout tell none apart; a layout that was left out where others were measured is out.
 */
static double usage_seconds(const struct ci_chooser *chooser, const struct ci_profile_signature *signature,
                            const char *layout) {
    double sum = 0;
    for (size_t i = 0; i < sizeof usage / sizeof *usage; i++) {
        int64_t rows = is_measured(chooser, signature, usage[i].rows) ? usage[i].rows : usage[i].otherwise;
        double seconds = seconds_in_layout(chooser, signature, rows, layout);
        if (seconds == 0 && is_measured(chooser, signature, rows)) return 0;
        sum += usage[i].times * seconds;
    }
    return sum;
}

const struct ci_layout *ci_choices_layout(const struct ci_chooser *chooser, const struct ci_node *node) {
    if (!chooser->choices || chooser->choices->places[chooser->place].origin == CI_PROFILE_NONE) return NULL;
    struct ci_call call;
    struct ci_profile_signature signature;
    ci_node_call(node, &call);
    ci_signature_of(node->op, &call, &signature);
    const struct ci_layout *best = NULL;
    double least = INFINITY;
    for (int i = 0; ci_layouts[i]; i++) {
        double seconds = usage_seconds(chooser, &signature, ci_layouts[i]->name);
        if (seconds > 0 && seconds < least) {
            least = seconds;
            best = ci_layouts[i];
        }
    }
    return best;
}
