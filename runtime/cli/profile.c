/* profile.c: `clinfer profile`: what tuning has found, listed, shown, taken to other machines and removed. */
#define _GNU_SOURCE
#include <assert.h>
#include <clinfer.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/names.h"
#include "base/status.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/profile_store.h"
#include "ops/signature.h"
#include "profile/quarantine.h"

enum { LOCK_SECONDS = 10 };

struct profile_command {
    struct ci_texts words;
    struct ci_log_flags log;
    const char *device;
    bool json, clear;
};

/* ---- list ---- */

/* Labels of the devices that use it, or that it is for. */
static json_t *labels(const struct ci_profile_store *store, const struct ci_store_profile *known, bool used) {
    json_t *list = json_array();
    for (int i = 0; i < store->device_count; i++) {
        const struct ci_store_device *device = &store->devices[i];
        if (used ? device->used == known : ci_profile_store_fits(device, known))
            json_array_append_new(list, json_string(device->label));
    }
    return list;
}

static json_t *models_json(const struct ci_profile *profile) {
    json_t *list = json_array();
    for (int i = 0; i < profile->model_count; i++) {
        const struct ci_profile_model *model = &profile->models[i];
        json_array_append_new(list,
                              json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:f}", "name", model->name, "decode_before",
                                        model->decode_before, "decode_after", model->decode_after, "prefill_before",
                                        model->prefill_before, "prefill_after", model->prefill_after, "covered",
                                        model->covered, "cpu_speed", model->cpu_speed));
    }
    return list;
}

static json_t *known_json(const struct ci_profile_store *store, const struct ci_store_profile *known, int index) {
    const struct ci_profile *profile = &known->profile;
    const struct ci_profile_key *key = &profile->key;
    json_t *object = json_pack("{s:i, s:s, s:b}", "index", index, "name", known->name, "shipped", !known->path);
    if (known->path) json_object_set_new(object, "path", ci_json_text(known->path, strlen(known->path)));
    if (known->error) {
        json_object_set_new(object, "error", ci_json_text(known->error, strlen(known->error)));
        return object;
    }
    json_t *rest =
        json_pack("{s:o, s:o, s:b, s:s, s:s, s:f, s:i, s:o, s:{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:s}}", "used_by",
                  labels(store, known, true), "fits", labels(store, known, false), "imported", (int)profile->imported,
                  "created", profile->created, "clinfer", profile->clinfer, "tune_seconds", profile->tune_seconds,
                  "entries", profile->entry_count, "models", models_json(profile), "key", "kind", key->kind, "platform",
                  key->platform, "platform_version", key->platform_version, "device", key->device, "driver",
                  key->driver, "compute_units", (int)key->compute_units, "threads", key->threads, "cpu", key->cpu);
    json_object_update(object, rest);
    json_decref(rest);
    return object;
}

static int list_json(const struct ci_profile_store *store) {
    json_t *list = json_array();
    for (int i = 0; i < store->profile_count; i++)
        json_array_append_new(list, known_json(store, &store->profiles[i], i));
    char *folder = ci_profile_folder();
    json_t *object = json_pack("{s:o, s:o}", "folder", folder ? ci_json_text(folder, strlen(folder)) : json_null(),
                               "profiles", list);
    free(folder);
    return ci_print_json(object);
}

static void print_models(const struct ci_profile *profile) {
    for (int i = 0; i < profile->model_count; i++) {
        const struct ci_profile_model *model = &profile->models[i];
        ci_printf("     %s: ", model->name);
        if (model->decode_after > 0) ci_printf("decode %.1f -> %.1f t/s, ", model->decode_before, model->decode_after);
        if (model->prefill_after > 0)
            ci_printf("prefill %.0f -> %.0f t/s, ", model->prefill_before, model->prefill_after);
        ci_printf("%.0f%% of its time tuned\n", 100 * model->covered);
        if (model->cpu_speed > 0)
            ci_printf("       the CPU backend is %.2f times as fast: %s without --device\n", model->cpu_speed,
                      ci_profile_place_text(model));
    }
}

/* "used by device 0, cpu", or why nothing uses it. */
static void print_use(const struct ci_profile_store *store, const struct ci_store_profile *known) {
    bool fits = false, used = false;
    for (int i = 0; i < store->device_count; i++) {
        const struct ci_store_device *device = &store->devices[i];
        fits = fits || ci_profile_store_fits(device, known);
        if (device->used != known) continue;
        ci_printf("%s%s", used ? ", " : "     used by --device ", device->label);
        if (!known->path || known->profile.imported || !ci_profile_same_key(&device->key, &known->profile.key))
            ci_printf(" (each kernel proven first)");
        used = true;
    }
    if (!used) ci_printf("     not used: %s", fits ? "there is a nearer one for its device" : "its device is not here");
    ci_printf("\n");
}

static void print_head(const struct ci_store_profile *known) {
    const struct ci_profile *profile = &known->profile;
    const struct ci_profile_key *key = &profile->key;
    ci_printf("     %s%s%s", key->platform, *key->platform_version ? ", " : "", key->platform_version);
    if (*key->driver) ci_printf(", driver %s", key->driver);
    if (key->compute_units) ci_printf(", %u compute units", key->compute_units);
    if (key->threads) ci_printf(", %d threads", key->threads);
    if (*key->cpu) ci_printf(", %s", key->cpu);
    ci_printf("\n     %s %.10s%s, %d entries, %.0f s of tuning\n", profile->imported ? "imported, made" : "made",
              *profile->created ? profile->created : "(no date)", known->path ? "" : ", comes with clinfer",
              profile->entry_count, profile->tune_seconds);
}

static int list(const struct ci_profile_store *store) {
    for (int i = 0; i < store->profile_count; i++) {
        const struct ci_store_profile *known = &store->profiles[i];
        ci_printf("%3d  %s\n", i, known->error ? known->name : known->profile.key.device);
        if (known->error) {
            ci_printf("     cannot be used: %s\n", known->error);
            continue;
        }
        ci_printf("     %s\n", known->name);
        print_head(known);
        print_models(&known->profile);
        print_use(store, known);
    }
    bool tuned = true;
    for (int i = 0; i < store->device_count; i++)
        tuned = tuned && store->devices[i].used && store->devices[i].used->path;
    if (!tuned) ci_say("`clinfer tune` finds the fastest kernels of the devices that have no profile of their own");
    return 0;
}

/* ---- show ---- */

/* Nothing of a limit that was not measured. */
static void print_share(const struct ci_profile_device *limits, const struct ci_profile_entry *entry) {
    struct ci_profile_rate rate = ci_profile_rate(entry, limits);
    if (rate.per_second <= 0) return;
    ci_printf(", %.1f %s", 1e-9 * rate.per_second, rate.by_bytes ? "GB/s" : "GFLOP/s");
    if (rate.share > 0)
        ci_printf(", %.0f%% of the measured %s", 100 * rate.share, rate.by_bytes ? "bandwidth" : "peak");
}

static void print_entry(const struct ci_profile_device *limits, const struct ci_profile_entry *entry) {
    const struct ci_profile_signature *signature = &entry->signature;
    char shape[80], tunables[CI_PROFILE_TUNABLES * (CI_PROFILE_NAME_BYTES + 16)], types[CI_PROFILE_TEXT_BYTES];
    char now[CI_AMOUNT_BYTES], before[CI_AMOUNT_BYTES];
    snprintf(shape, sizeof shape, "%" PRId64 "x%" PRId64 " -> %" PRId64, signature->rows, signature->k, signature->n);
    ci_profile_tunables_text(entry->tunables, entry->tunable_count, tunables, sizeof tunables);
    ci_printf("%-18s %-24s %-22s %-7s %s%s%s%s\n", signature->op,
              ci_format_types(signature->types, types, sizeof types), shape, entry->layout, entry->variant,
              *tunables ? " (" : "", tunables, *tunables ? ")" : "");
    ci_printf("%19s%s", "",
              ci_profile_measured_here(entry) ? ci_format_seconds(entry->seconds, now) : "not measured here");
    if (entry->default_seconds > 0 && ci_profile_measured_here(entry))
        ci_printf(", %.2fx of %s before", entry->default_seconds / entry->seconds,
                  ci_format_seconds(entry->default_seconds, before));
    print_share(limits, entry);
    ci_printf("; tried %d, refused %d, crashed %d; error %.1e\n", entry->tried, entry->refused, entry->crashed,
              entry->nmse);
}

static void print_measured(const struct ci_profile_device *measured) {
    const struct {
        const char *what;
        double seconds;
    } costs[] = {{"a launch takes", measured->launch_seconds},
                 {"a wait", measured->wait_seconds},
                 {"a crossing", measured->crossing_seconds}};
    char text[CI_AMOUNT_BYTES];
    if (measured->read_bytes_per_second <= 0) return;
    ci_printf("     reads %.1f GB/s, computes %.1f GFLOP/s in f32", measured->read_bytes_per_second * 1e-9,
              measured->operations_per_second * 1e-9);
    if (measured->dot8_operations_per_second > 0)
        ci_printf(", %.1f GOP/s in 8 bits", measured->dot8_operations_per_second * 1e-9);
    for (size_t i = 0; i < sizeof costs / sizeof *costs; i++)
        if (costs[i].seconds > 0) ci_printf(", %s %s", costs[i].what, ci_format_seconds(costs[i].seconds, text));
    ci_printf("\n");
}

static void print_clblast(const struct ci_profile_clblast *clblast) {
    char names[64] = "";
    for (int i = 0; i < CI_CLBLAST_KERNELS; i++)
        if (clblast->kernels >> i & 1) ci_names_add(names, sizeof names, ci_profile_clblast_kernels[i].name);
    if (*names) ci_printf("     CLBlast's own parameters are replaced for %s\n", names);
}

/* With --json the file itself: docs/profile-format.md. */
static enum clinfer_status show_json(const struct ci_store_profile *known) {
    char *text;
    enum clinfer_status status = ci_profile_print(known->name, &known->profile, &text);
    if (status == CLINFER_OK) ci_printf("%s\n", text);
    free(text);
    return status;
}

static enum clinfer_status readable(const struct ci_store_profile *known) {
    return known->error ? ci_fail(CLINFER_BAD_FILE, "%s; `clinfer profile rm %s` removes it", known->error, known->name)
                        : CLINFER_OK;
}

/* What a name or --device means; neither: what is used here first. */
static enum clinfer_status choose(const struct profile_command *command, const struct ci_profile_store *store,
                                  const char *name, const struct ci_store_profile **known) {
    if (name && command->device)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s and --device %s: choose one", name, command->device);
    enum clinfer_status status = command->device ? ci_profile_store_of_device(store, command->device, known)
                                                 : ci_profile_store_find(store, name, known);
    return status == CLINFER_OK ? readable(*known) : status;
}

static enum clinfer_status show(const struct profile_command *command, const struct ci_profile_store *store,
                                const char *name) {
    const struct ci_store_profile *known;
    enum clinfer_status status = choose(command, store, name, &known);
    if (status != CLINFER_OK) return status;
    if (command->json) return show_json(known);
    ci_printf("%s\n     %s\n", known->profile.key.device, known->path ? known->path : known->name);
    print_head(known);
    print_measured(&known->profile.measured);
    print_clblast(&known->profile.clblast);
    print_models(&known->profile);
    print_use(store, known);
    ci_printf("\n");
    for (int i = 0; i < known->profile.entry_count; i++)
        print_entry(&known->profile.measured, &known->profile.entries[i]);
    return CLINFER_OK;
}

/* ---- export, import, rm ---- */

static enum clinfer_status export(const struct profile_command *command, const struct ci_profile_store *store,
                                  const char *file, const char *name) {
    const struct ci_store_profile *known; enum clinfer_status status = choose(command, store, name, &known);
    if (status != CLINFER_OK) return status;
    struct ci_profile copy = known->profile;
    copy.imported = false;
    if (strcmp(file, "-") == 0) return show_json(&(struct ci_store_profile){.name = known->name, .profile = copy});
    status = ci_profile_write(file, &copy);
    if (status == CLINFER_OK) ci_say("%s: the profile of \"%s\" (%s)", file, copy.key.device, known->name);
    return status;
}

/* Whether what lies there was made on this machine. */
static bool is_own(const char *path) {
    struct ci_profile profile;
    bool own = ci_profile_read(path, &profile) == CLINFER_OK && !profile.imported;
    ci_profile_free(&profile);
    return own;
}

static enum clinfer_status store_import(const char *file, struct ci_profile *profile) {
    struct ci_profile_lock lock;
    char *path = ci_profile_path(&profile->key);
    if (!path) return ci_file_no_xdg("DATA", "profiles");
    enum clinfer_status status = ci_profile_lock(&profile->key, LOCK_SECONDS, &lock);
    if (status == CLINFER_OK) {
        profile->imported = true;
        if (is_own(path))
            status = ci_fail(CLINFER_INVALID_ARGUMENT,
                             "%s: \"%s\" was tuned here with this very driver, in %s, and what was measured here "
                             "counts; `clinfer profile rm` removes that first",
                             file, profile->key.device, path);
        else
            status = ci_profile_write(path, profile);
        ci_profile_unlock(&lock);
    }
    if (status == CLINFER_OK) ci_say("%s is stored as %s", file, path);
    free(path);
    return status;
}

static enum clinfer_status import(const struct ci_profile_store *store, const char *file) {
    struct ci_profile profile;
    char here[768], labels_here[64] = "";
    enum clinfer_status status = ci_profile_read(file, &profile);
    if (status == CLINFER_OK) status = ci_signature_check(file, &profile);
    for (int i = 0; i < store->device_count; i++)
        if (status == CLINFER_OK && ci_profile_same_device(&store->devices[i].key, &profile.key))
            ci_names_add(labels_here, sizeof labels_here, store->devices[i].label);
    ci_profile_store_devices(store, here, sizeof here);
    if (status == CLINFER_OK && !*labels_here)
        status = ci_fail(CLINFER_NO_DEVICE, "%s: is for \"%s\" (%s), which is not here; there is %s", file,
                         profile.key.device, profile.key.platform, here);
    if (status == CLINFER_OK) status = store_import(file, &profile);
    if (status == CLINFER_OK)
        ci_say("it is for --device %s: each kernel that it names is proven by known answers before it is used",
               labels_here);
    ci_profile_free(&profile);
    return status;
}

static enum clinfer_status remove_profile(const struct ci_profile_store *store, const char *name) {
    const struct ci_store_profile *known;
    struct ci_profile_lock lock;
    enum clinfer_status status = ci_profile_store_find(store, name, &known);
    if (status != CLINFER_OK) return status;
    if (!known->path)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s is part of clinfer; `--tuning none` goes without it", known->name);
    status = ci_profile_lock_file(known->path, LOCK_SECONDS, &lock);
    if (status != CLINFER_OK) return status;
    if (unlink(known->path) != 0)
        status = ci_fail(CLINFER_IO, "%s: cannot remove: %s", known->path, strerror(errno));
    else
        status = ci_file_sync_folder(known->path);
    ci_profile_unlock(&lock);
    if (status == CLINFER_OK) ci_say("%s is removed", known->path);
    return status;
}

/* ---- quarantine ---- */

static json_t *item_json(const struct ci_quarantined *item) {
    char device[17], source[17];
    json_t *tunables = json_object();
    snprintf(device, sizeof device, "%016" PRIx64, item->device);
    snprintf(source, sizeof source, "%016" PRIx64, item->source);
    for (int i = 0; i < item->tunable_count; i++)
        json_object_set_new(tunables, item->tunables[i].name, json_integer(item->tunables[i].value));
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:s}", "device", device, "device_name",
                     item->device_name, "op", item->op, "variant", item->variant, "tunables", tunables, "types",
                     item->types, "source", source, "reason", item->reason, "date", item->date, "clinfer",
                     item->clinfer);
}

static enum clinfer_status show_quarantine(bool json) {
    struct ci_quarantine quarantine;
    enum clinfer_status status = ci_quarantine_read(&quarantine);
    if (status != CLINFER_OK) return status;
    json_t *list_of_items = json_array();
    for (int i = 0; i < quarantine.count; i++) {
        const struct ci_quarantined *item = &quarantine.items[i];
        char tunables[CI_PROFILE_TUNABLES * (CI_PROFILE_NAME_BYTES + 16)];
        ci_profile_tunables_text(item->tunables, item->tunable_count, tunables, sizeof tunables);
        if (json)
            json_array_append_new(list_of_items, item_json(item));
        else
            ci_printf("%-18s %s%s%s%s %s\n%19son %s: %s (%s)\n", item->op, item->variant, *tunables ? " (" : "",
                      tunables, *tunables ? ")" : "", item->types, "", item->device_name, item->reason, item->date);
    }
    if (json)
        status =
            ci_print_json(json_pack("{s:O}", "quarantine", list_of_items)) == 0 ? CLINFER_OK : CLINFER_OUT_OF_MEMORY;
    else if (!quarantine.count)
        ci_say("no kernel is in quarantine");
    json_decref(list_of_items);
    ci_quarantine_free(&quarantine);
    return status;
}

static enum clinfer_status quarantine_command(const struct profile_command *command) {
    int count;
    if (!command->clear) return show_quarantine(command->json);
    enum clinfer_status status = ci_quarantine_clear(&count);
    if (status == CLINFER_OK) ci_say("%d kernel%s left quarantine", count, count == 1 ? "" : "s");
    return status;
}

/* ---- the command ---- */

static const struct {
    const char *name, *words; /* how it is called */
    size_t least, most;       /* words behind it */
} actions[] = {{"list", "list [--json]", 0, 0},
               {"show", "show [NAME] [--device D] [--json]", 0, 1},
               {"export", "export FILE [NAME] [--device D]", 1, 2},
               {"import", "import FILE", 1, 1},
               {"rm", "rm NAME", 1, 1},
               {"quarantine", "quarantine [--clear] [--json]", 0, 0}};
enum { ACTIONS = sizeof actions / sizeof *actions };

static enum clinfer_status find_action(const struct ci_texts *words, size_t *action) {
    const char *names[ACTIONS + 1] = {NULL}, *word = words->count ? words->items[0] : "list";
    for (*action = 0; *action < ACTIONS; ++*action) {
        names[*action] = actions[*action].name;
        if (strcmp(word, actions[*action].name) != 0) continue;
        size_t given = words->count ? words->count - 1 : 0;
        if (given >= actions[*action].least && given <= actions[*action].most) return CLINFER_OK;
        return ci_fail(CLINFER_INVALID_ARGUMENT, "profile: this action is called as: clinfer profile %s",
                       actions[*action].words);
    }
    const char *nearest = ci_options_nearest(word, names);
    if (nearest)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "profile: unknown action %s; did you mean %s?", word, nearest);
    return ci_fail(CLINFER_INVALID_ARGUMENT,
                   "profile: unknown action %s; there are list, show, export, import, rm, quarantine", word);
}

static enum clinfer_status act(const struct profile_command *command, const struct ci_profile_store *store,
                               const char *action) {
    const char *const *words = command->words.items;
    const char *first = command->words.count > 1 ? words[1] : NULL,
               *second = command->words.count > 2 ? words[2] : NULL;
    if (strcmp(action, "list") == 0)
        return (command->json ? list_json(store) : list(store)) == 0 ? CLINFER_OK : CLINFER_OUT_OF_MEMORY;
    if (strcmp(action, "show") == 0) return show(command, store, first);
    assert(first); /* find_action has counted the words */
    if (strcmp(action, "export") == 0) return export(command, store, first, second);
    return strcmp(action, "import") == 0 ? import(store, first) : remove_profile(store, first);
}

static int profile_command(const struct profile_command *command) {
    struct ci_profile_store store;
    size_t action;
    enum clinfer_status status = find_action(&command->words, &action);
    if (status == CLINFER_OK && strcmp(actions[action].name, "quarantine") == 0) {
        status = quarantine_command(command);
    } else if (status == CLINFER_OK) {
        status = ci_profile_store_open(&store);
        if (status == CLINFER_OK) status = act(command, &store, actions[action].name);
        ci_profile_store_close(&store);
    }
    return status == CLINFER_OK ? 0 : ci_complain(status);
}

int ci_command_profile(int argc, char **argv) {
    struct profile_command command = {0};
    const struct ci_option options[] = {
        CI_SECTION("What"),
        CI_TEXT("--device -dev", &command.device, "DEVICE",
                "the profile that this device of `clinfer devices` uses, instead of a NAME"),
        CI_FLAG("--clear", &command.clear, "of quarantine: let all kernels out; each proves itself again before use"),
        CI_SECTION("Output"),
        CI_FLAG("--json", &command.json, "one JSON object; of show: the file itself, see docs/profile-format.md"),
        CI_LOG_OPTIONS(&command.log),
    };
    const struct ci_usage usage = {
        .command = "profile",
        .synopsis = "[list | show [NAME] | export FILE [NAME] | import FILE | rm NAME | quarantine]",
        .about =
            "Profiles are what `clinfer tune` has found: for one device with one driver, which kernel of each op is\n"
            "fastest and right. A NAME is what `list` prints: the number, the file's name, or a part of it, of the\n"
            "device's or the platform's name that only one has. Without one, show and export take what device 0 uses.\n"
            "\n"
            "Of several profiles a device uses the one that was tuned here with its very driver; else the one of the\n"
            "same device with another driver, or imported; else what is shipped with clinfer for such a device.\n"
            "Except for the first, each kernel is proven by known answers before it is used, and a kernel that has\n"
            "changed since it was measured is passed over. The quarantine lists kernels that have failed on a device.",
        .examples = "  clinfer profile\n"
                    "  clinfer profile show --device cpu\n"
                    "  clinfer profile export my-gpu.json --device 0\n"
                    "  clinfer profile import my-gpu.json\n"
                    "  clinfer profile rm 0\n"
                    "  clinfer profile quarantine --json",
        .options = options,
        .option_count = sizeof options / sizeof *options,
        .words = "list|show|export|import|rm|quarantine FILE",
    };
    int exit_status = ci_options_parse(&usage, argc, argv, &command.words);
    if (exit_status == CI_OPTIONS_GO_ON) {
        enum clinfer_status status = ci_log_start(&command.log);
        exit_status = status == CLINFER_OK ? profile_command(&command) : ci_exit_status(status);
        ci_log_end();
    }
    ci_texts_free(&command.words);
    return exit_status;
}
