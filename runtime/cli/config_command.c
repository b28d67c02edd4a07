/* config_command.c: `clinfer config`: what config.json says, what counts in the end and why, and changes to it. */
#define _GNU_SOURCE
#include <clinfer.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/status.h"
#include "cli/command.h"
#include "cli/config_edit.h"
#include "cli/output.h"
#include "remote/remote.h"

enum { KEY_WIDTH = 32, VALUE_WIDTH = 44, HELP_BYTES = 4096 };

struct config_command {
    struct ci_texts words;
    struct ci_log_flags log;
    struct ci_config config;
    bool json, unset;
};

/* ---- what counts ---- */

/* A key, its value (NULL: it has none) and where that comes from: "file", a variable's name, "default". */
struct setting {
    char key[KEY_WIDTH + CI_REMOTE_NAME_BYTES];
    json_t *value; /* owned */
    const char *source;
};

static const char *variable(const char *name) {
    const char *text = getenv(name);
    return text && *text ? text : NULL;
}

static void take(struct setting *setting, json_t *value, const char *source) {
    if (!value) return;
    json_decref(setting->value);
    setting->value = value;
    setting->source = source;
}

/* What the environment, or the service, says of a remote with a name of its own. */
static void add_built_in(struct setting *setting, const char *remote, const char *member) {
    const struct ci_remote_built_in *known = ci_remotes_built_in(remote);
    if (!known) return;
    if (strcmp(member, "dialect") == 0) take(setting, json_string(known->dialect), "default");
    if (strcmp(member, "url") == 0) take(setting, json_string(known->url), "default");
    if (strcmp(member, "url") == 0 && variable(known->url_variable))
        take(setting, json_string(variable(known->url_variable)), known->url_variable);
    if (strcmp(member, "key_variable") == 0 && variable(known->key_variable))
        take(setting, json_string(known->key_variable), known->key_variable);
}

static void add_environment(struct setting *setting) {
    const char *forbids = variable("CLINFER_NO_REMOTE"), *model = variable("CLINFER_MODEL");
    if (strcmp(setting->key, "model") == 0 && model) take(setting, json_string(model), "CLINFER_MODEL");
    if (strcmp(setting->key, "remote") == 0 && forbids && strcmp(forbids, "0") != 0)
        take(setting, json_string("never"), "CLINFER_NO_REMOTE");
}

/* `remote` is the name and `object` the remote itself, or "" and the whole file. */
static struct setting make_setting(const char *remote, const json_t *object, const struct ci_config_key *key) {
    struct setting setting = {.source = "default"};
    if (*remote)
        snprintf(setting.key, sizeof setting.key, "remotes.%s.%s", remote, key->name);
    else
        snprintf(setting.key, sizeof setting.key, "%s", key->name);
    if (key->otherwise) take(&setting, ci_config_value(key, &key->otherwise, 1), "default");
    /* Of a remote with a URL of its own nothing is built in. */
    if (*remote && !json_object_get(object, "url")) add_built_in(&setting, remote, key->name);
    take(&setting, json_incref(json_object_get(object, key->name)), "file");
    add_environment(&setting);
    return setting;
}

/* ---- showing ---- */

/* The caller frees it. NULL: out of memory. */
static char *value_text(const json_t *value) {
    if (json_is_string(value)) return strdup(json_string_value(value));
    return json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
}

static void print_setting(const struct setting *setting) {
    char *text = setting->value ? value_text(setting->value) : strdup("-");
    ci_printf("%-*s %-*s %s\n", KEY_WIDTH, setting->key, VALUE_WIDTH, text ? text : "", setting->source);
    free(text);
}

static json_t *setting_json(const struct setting *setting) {
    return json_pack("{s:s, s:O?, s:s}", "key", setting->key, "value", setting->value, "source", setting->source);
}

static void show(struct setting setting, json_t *array) {
    if (array)
        json_array_append_new(array, setting_json(&setting));
    else
        print_setting(&setting);
    json_decref(setting.value);
}

/* Of a remote, what is not as it is by default, and where it is. */
static void show_remote(const char *name, const json_t *object, json_t *array) {
    for (const struct ci_config_key *key = ci_config_remote_keys; key->name; key++) {
        struct setting setting = make_setting(name, object, key);
        bool shown = strcmp(key->name, "url") == 0 || strcmp(setting.source, "default") != 0;
        if (shown && strcmp(key->name, "name") != 0)
            show(setting, array);
        else
            json_decref(setting.value);
    }
}

static json_t *with_path(const char *name, json_t *value) {
    char *path = ci_config_path();
    json_t *object = json_pack("{s:o}", "path", path ? ci_json_text(path, strlen(path)) : json_null());
    json_object_set_new(object, name, value);
    free(path);
    return object;
}

static int list(const struct config_command *command) {
    json_t *array = command->json ? json_array() : NULL;
    for (const struct ci_config_key *key = ci_config_keys; key->name; key++)
        if (!key->members) show(make_setting("", command->config.file, key), array);
    for (size_t i = 0; i < command->config.remote_count; i++) {
        const char *name = command->config.remotes[i].remote.name;
        show_remote(name, ci_config_find_remote(command->config.file, name), array);
    }
    return array ? ci_print_json(with_path("values", array)) : 0;
}

static int show_whole_remote(const struct config_command *command, const char *name, const json_t *remote) {
    json_t *array = command->json ? json_array() : NULL;
    show_remote(name, remote, array);
    return array ? ci_print_json(with_path("values", array)) : 0;
}

/* The value alone, a line for each text of a list: for scripts. */
static void print_value(const json_t *value) {
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    for (size_t i = 0; i < count; i++) {
        char *text = value_text(json_is_array(value) ? json_array_get(value, i) : value);
        ci_printf("%s\n", text ? text : "");
        free(text);
    }
}

static int get(const struct config_command *command, const char *key) {
    struct ci_config_name name;
    enum clinfer_status status = ci_config_name(key, &name);
    if (status != CLINFER_OK) return ci_complain(status);
    const json_t *object = command->config.file;
    if (*name.remote) object = ci_config_find_remote(object, name.remote);
    if (!object) return ci_refuse(CLINFER_NOT_FOUND, "%s: config.json has no remote \"%s\"", key, name.remote);
    if (!name.key) return show_whole_remote(command, name.remote, object);
    if (name.key->members)
        return ci_refuse(CLINFER_INVALID_ARGUMENT, "%s: remotes.NAME is one of them; clinfer config list shows all",
                         key);
    struct setting setting = make_setting(name.remote, object, name.key);
    int exit_status = 0;
    if (command->json)
        exit_status = ci_print_json(setting_json(&setting));
    else if (setting.value)
        print_value(setting.value);
    else
        exit_status = ci_refuse(CLINFER_NOT_FOUND, "%s: is not set, and has no default", key);
    json_decref(setting.value);
    return exit_status;
}

static int path(const struct config_command *command) {
    char *where = ci_config_path();
    if (!where) return ci_complain(ci_file_no_xdg("CONFIG", "config.json"));
    if (!command->json) ci_printf("%s\n", where);
    int exit_status = command->json ? ci_print_json(json_pack("{s:o}", "path", ci_json_text(where, strlen(where)))) : 0;
    free(where);
    return exit_status;
}

/* ---- the command ---- */

/* What stands in the file now may not be asked as it is, until something else of it is set. */
static void warn_of_remote(const char *key) {
    struct ci_config config = {0};
    struct ci_config_name name;
    if (ci_config_name(key, &name) == CLINFER_OK && *name.remote && ci_config_read(&config) == CLINFER_OK)
        for (size_t i = 0; i < config.remote_count; i++) {
            const struct clinfer_remote *remote = &config.remotes[i].remote;
            if (remote->url && strcmp(remote->name, name.remote) == 0 && ci_remote_check(remote) != CLINFER_OK)
                ci_warn("%s", clinfer_error());
        }
    ci_config_free(&config);
}

static int set(const char *key, const char *const *values, size_t count) {
    enum clinfer_status status = ci_config_set(key, values, count);
    if (status != CLINFER_OK) return ci_complain(status);
    warn_of_remote(key);
    return 0;
}

static int unset(const char *key) {
    bool found;
    enum clinfer_status status = ci_config_unset(key, &found);
    if (status != CLINFER_OK) return ci_complain(status);
    if (!found) ci_say("%s was not set", key);
    return 0;
}

static int wrong_words(const char *action) {
    static const char *const actions[] = {"list", "get", "set", "unset", "path", NULL};
    const char *nearest = *action ? ci_options_nearest(action, actions) : NULL;
    if (nearest && strcmp(nearest, action) != 0)
        return ci_refuse(CLINFER_INVALID_ARGUMENT, "config %s: no such action; did you mean %s?", action, nearest);
    return ci_refuse(CLINFER_INVALID_ARGUMENT,
                     "config takes: list; get KEY; set KEY VALUE; set KEY --unset; unset KEY; path");
}

static int dispatch(struct config_command *command) {
    const char *const *words = command->words.items;
    size_t count = command->words.count;
    const char *action = count ? words[0] : "list";
    bool sets = strcmp(action, "set") == 0, unsets = strcmp(action, "unset") == 0 || (sets && command->unset);
    if (command->unset && !unsets) return wrong_words("");
    if (unsets) return count == 2 ? unset(words[1]) : wrong_words("");
    if (sets) return count >= 3 ? set(words[1], words + 2, count - 2) : wrong_words("");
    if (strcmp(action, "path") == 0) return count == 1 ? path(command) : wrong_words("");
    bool lists = strcmp(action, "list") == 0 && count <= 1, gets = strcmp(action, "get") == 0 && count == 2;
    if (!lists && !gets) return wrong_words(action);
    enum clinfer_status status = ci_config_read(&command->config);
    int exit_status = status != CLINFER_OK ? ci_complain(status) : lists ? list(command) : get(command, words[1]);
    ci_config_free(&command->config);
    return exit_status;
}

static void add_keys(char *text, size_t size, const char *prefix, const struct ci_config_key *keys) {
    for (; keys->name; keys++) {
        char values[96] = "";
        size_t used = strlen(text);
        if (keys->choices || keys->otherwise)
            snprintf(values, sizeof values, " (%s%s%s%s)", keys->choices ? keys->choices : "",
                     keys->choices && keys->otherwise ? "; " : "", keys->otherwise ? "default " : "",
                     keys->otherwise ? keys->otherwise : "");
        if (!keys->members && strcmp(keys->name, "name") != 0)
            snprintf(text + used, size - used, "\n  %s%-*s %s%s", prefix, KEY_WIDTH - (int)strlen(prefix), keys->name,
                     keys->help, values);
    }
}

int ci_command_config(int argc, char **argv) {
    struct config_command command = {0};
    char examples[HELP_BYTES] = "  clinfer config set device 0\n"
                                "  clinfer config set ops matmul=gemm_vec rope=cpu\n"
                                "  clinfer config set remotes.lan.url http://192.168.1.5:8000/v1\n"
                                "  clinfer config set remotes.lan.plain_http true\n"
                                "  clinfer config set remotes.lan.allow true\n"
                                "  clinfer config set remotes.work.key_command \"pass show work\"\n"
                                "  clinfer config get remotes.lan\n"
                                "  clinfer config unset remotes.lan\n\n"
                                "Keys";
    add_keys(examples, sizeof examples, "", ci_config_keys);
    add_keys(examples, sizeof examples, "remotes.NAME.", ci_config_remote_keys);
    const struct ci_option options[] = {
        CI_SECTION("Flags"),
        CI_FLAG("--unset", &command.unset, "with set: take the key out of the file"),
        CI_FLAG("--json", &command.json, "one JSON object: values with their sources, or the path"),
        CI_LOG_OPTIONS(&command.log),
    };
    const struct ci_usage usage = {
        .command = "config",
        .synopsis = "[list | get KEY | set KEY VALUE... | unset KEY | path] [--json]",
        .about =
            "Shows and changes config.json: what flags are when nobody gives them, and the remote APIs that may be\n"
            "asked when this machine cannot answer. Flags beat the environment, the environment beats the file;\n"
            "list says what counts and where it comes from. A value is checked before it is written, and keys of\n"
            "APIs stand elsewhere: in a variable, in a file of your own, or in what a command prints.",
        .examples = examples,
        .options = options,
        .option_count = sizeof options / sizeof *options,
        .words = "list|get|set|unset|path KEY TEXT",
    };
    int exit_status = ci_options_parse(&usage, argc, argv, &command.words);
    if (exit_status == CI_OPTIONS_GO_ON) {
        enum clinfer_status status = ci_log_start(&command.log);
        exit_status = status == CLINFER_OK ? dispatch(&command) : ci_exit_status(status);
        ci_log_end();
    }
    ci_texts_free(&command.words);
    return exit_status;
}
