/* Any bytes as a profile, as a quarantine list and as the mark of a trial that was under way: refused with a message
 * that begins with the file's name, or good in every use: found in, written, and the same when it is read again. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "profile/profile.h"
#include "profile/profile_fields.h"
#include "profile/quarantine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_refusal(enum clinfer_status status) {
    if (status != CLINFER_BAD_FILE || strncmp(clinfer_error(), "fuzz", 4) != 0) abort();
    for (const char *at = clinfer_error(); *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f) abort();
}

/* Every text ends, every number is one. */
static void check_entry(const struct ci_profile *profile, const struct ci_profile_entry *entry) {
    if (!memchr(entry->variant, 0, sizeof entry->variant) || !memchr(entry->layout, 0, sizeof entry->layout)) abort();
    if (!isfinite(entry->seconds) || entry->seconds < 0 || !(entry->nmse >= 0 && entry->nmse <= 1)) abort();
    if (entry->tunable_count < 0 || entry->tunable_count > CI_PROFILE_TUNABLES || entry->signature.rows < 1) abort();
    const struct ci_profile_entry *found = ci_profile_find(profile, &entry->signature, entry->layout);
    if (!found || found->signature.k != entry->signature.k) abort();
}

static void check_profile(const uint8_t *data, size_t size) {
    struct ci_profile profile, back;
    enum clinfer_status status = ci_profile_parse("fuzz", (const char *)data, size, &profile);
    if (status != CLINFER_OK) {
        check_refusal(status);
        if (profile.entries || profile.models || profile.clblast.kernels) abort();
        return;
    }
    for (int i = 0; i < profile.entry_count; i++) check_entry(&profile, &profile.entries[i]);
    char *text;
    if (ci_profile_print("fuzz", &profile, &text) != CLINFER_OK) abort();
    if (ci_profile_parse("fuzz", text, strlen(text), &back) != CLINFER_OK) abort();
    if (!ci_profile_same_key(&profile.key, &back.key) || profile.entry_count != back.entry_count ||
        profile.model_count != back.model_count || !ci_profile_clblast_equal(&profile.clblast, &back.clblast))
        abort();
    free(text);
    ci_profile_free(&profile);
    ci_profile_free(&back);
}

static void check_quarantine(const uint8_t *data, size_t size) {
    struct ci_quarantine quarantine;
    enum clinfer_status status = ci_quarantine_parse("fuzz", (const char *)data, size, &quarantine);
    if (status != CLINFER_OK) {
        check_refusal(status);
        return;
    }
    for (int i = 0; i < quarantine.count; i++) {
        const struct ci_quarantined *item = &quarantine.items[i];
        if (!ci_quarantine_find(&quarantine, item->device, item->op, item->variant, item->tunables, item->tunable_count,
                                item->types, item->source))
            abort();
    }
    ci_quarantine_free(&quarantine);
}

/* As profile/trial.c reads it. */
static void check_mark(const uint8_t *data, size_t size) {
    const struct ci_field_place place = {.file = "fuzz"};
    struct ci_quarantined item;
    json_t *object;
    enum clinfer_status status = ci_field_parse("fuzz", (const char *)data, size, 64 << 10, &object);
    if (status == CLINFER_OK) status = ci_quarantine_read_item(&place, object, &item);
    if (status != CLINFER_OK)
        check_refusal(status);
    else if (!memchr(item.op, 0, sizeof item.op) || !memchr(item.reason, 0, sizeof item.reason))
        abort();
    json_decref(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    check_profile(data, size);
    check_mark(data, size);
    check_quarantine(data, size);
    return 0;
}
