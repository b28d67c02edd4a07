#define _GNU_SOURCE
#include "hub/settings.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/status.h"

static const char public_hub[] = "https://huggingface.co";
static const char public_registry[] = "https://registry.ollama.ai";

enum { TOKEN_BYTES = 4096, MOST_CACHES = 6 };

static enum clinfer_status no_memory(void) { return ci_fail(CLINFER_OUT_OF_MEMORY, "settings: out of memory"); }

/* NULL where it is not set or empty. */
static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static bool is_true(const char *name) {
    static const char *const words[] = {"1", "on", "yes", "true"};
    const char *value = variable(name);
    for (size_t i = 0; value && i < sizeof words / sizeof *words; i++)
        if (strcasecmp(value, words[i]) == 0) return true;
    return false;
}

/* ---- addresses ---- */

static bool is_printable(const char *text) {
    for (; *text; text++)
        if ((unsigned char)*text <= 0x20 || *text == 0x7f) return false;
    return true;
}

/* What does not fit is not shown: there may be a password in it. */
static enum clinfer_status read_address(const char *name, const char *other, char **address) {
    const char *value = variable(name);
    const char *url = value ? value : other;
    const char *host = strncasecmp(url, "https://", 8) == 0  ? url + 8
                       : strncasecmp(url, "http://", 7) == 0 ? url + 7
                                                             : NULL;
    if (!host || !*host || *host == '/' || !is_printable(url))
        return ci_fail(CLINFER_INVALID_ARGUMENT,
                       "%s is no http or https address; set it to one such as %s, or unset it", name, public_hub);
    if (strpbrk(url, "@?#"))
        return ci_fail(CLINFER_INVALID_ARGUMENT,
                       "%s has a user, a query or a fragment in it; leave that out (a token comes from HF_TOKEN)",
                       name);
    if (!(*address = strdup(url))) return no_memory();
    for (size_t length = strlen(*address); (*address)[length - 1] == '/'; length--) (*address)[length - 1] = 0;
    return CLINFER_OK;
}

/* ---- folders ---- */

/* Absolute, "~" replaced; `below` is added. The caller frees; NULL: out of memory, or neither home nor folder. */
static char *make_path(const char *folder, const char *below) {
    const char *home = variable("HOME");
    char *path = NULL, *here = NULL;
    int length = -1;
    if (folder[0] == '~' && (folder[1] == '/' || !folder[1]) && home)
        length = asprintf(&path, "%s%s%s", home, folder + 1, below);
    else if (folder[0] == '/')
        length = asprintf(&path, "%s%s", folder, below);
    else if ((here = getcwd(NULL, 0)))
        length = asprintf(&path, "%s/%s%s", here, folder, below);
    free(here);
    if (length < 0) return NULL;
    for (size_t end = strlen(path); end > 1 && path[end - 1] == '/'; end--) path[end - 1] = 0;
    return path;
}

/* The folder of HF_HOME, where the token's file is. */
static char *find_hf_home(void) {
    if (variable("HF_HOME")) return make_path(variable("HF_HOME"), "");
    if (variable("XDG_CACHE_HOME")) return make_path(variable("XDG_CACHE_HOME"), "/huggingface");
    return variable("HOME") ? make_path(variable("HOME"), "/.cache/huggingface") : NULL;
}

static bool is_listed(char *const *list, size_t count, const char *path) {
    struct stat one, other;
    if (stat(path, &one) != 0 || !S_ISDIR(one.st_mode)) return true; /* as good as */
    for (size_t i = 0; i < count; i++)
        if (stat(list[i], &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino) return true;
    return false;
}

static enum clinfer_status read_caches(struct ci_hub_settings *settings) {
    static const struct {
        const char *variable, *below;
    } places[MOST_CACHES] = {{"LLAMA_CACHE", ""},
                             {"HF_HUB_CACHE", ""},
                             {"HUGGINGFACE_HUB_CACHE", ""},
                             {"HF_HOME", "/hub"},
                             {"XDG_CACHE_HOME", "/huggingface/hub"},
                             {"HOME", "/.cache/huggingface/hub"}};
    size_t count = 0;
    settings->caches = calloc(MOST_CACHES + 1, sizeof *settings->caches);
    if (!settings->caches) return no_memory();
    for (size_t i = 0; i < MOST_CACHES; i++) {
        const char *value = variable(places[i].variable);
        if (!value) continue;
        char *path = make_path(value, places[i].below);
        if (!path) return no_memory();
        if (!is_listed(settings->caches, count, path)) {
            if (!(settings->caches[count] = strdup(path))) {
                free(path);
                return no_memory();
            }
            count++;
        }
        if (settings->cache) {
            free(path);
            continue;
        }
        settings->cache = path;
        settings->cache_from = places[i].variable;
    }
    return CLINFER_OK;
}

/* ---- the token ---- */

/* Without spaces and line ends around it, of what a header can hold; the source's bytes are the caller's to wipe. */
static enum clinfer_status take_token(struct ci_hub_settings *settings, const char *from, const char *text,
                                      size_t length) {
    while (length && isspace((unsigned char)*text)) text++, length--;
    while (length && isspace((unsigned char)text[length - 1])) length--;
    if (!length) return CLINFER_OK;
    if (length >= TOKEN_BYTES)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s holds %zu bytes, which can be no token; correct or unset it", from,
                       length);
    for (size_t i = 0; i < length; i++)
        if (text[i] <= 0x20 || text[i] >= 0x7f)
            return ci_fail(CLINFER_INVALID_ARGUMENT,
                           "%s has the byte 0x%02x at position %zu, so that it can be no token; correct or unset it",
                           from, (unsigned char)text[i], i + 1);
    char *page = mmap(NULL, TOKEN_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return no_memory();
    madvise(page, TOKEN_BYTES, MADV_DONTDUMP);
    mlock(page, TOKEN_BYTES);
    memcpy(page, text, length);
    settings->token = page;
    settings->token_from = from;
    return CLINFER_OK;
}

static enum clinfer_status read_token_file(struct ci_hub_settings *settings, const char *from, const char *path) {
    char text[TOKEN_BYTES + 1];
    enum clinfer_status status = CLINFER_OK;
    struct stat file;
    /* Without O_NONBLOCK a pipe of that name would keep us waiting. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return CLINFER_OK;
    if (fstat(fd, &file) == 0 && S_ISREG(file.st_mode)) {
        ssize_t got;
        do got = read(fd, text, sizeof text);
        while (got < 0 && errno == EINTR);
        if (got > 0) status = take_token(settings, from, text, (size_t)got);
        explicit_bzero(text, sizeof text);
    }
    close(fd);
    return status;
}

static enum clinfer_status read_token(struct ci_hub_settings *settings) {
    static const char *const variables[] = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"};
    settings->token_withheld = is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN");
    if (settings->token_withheld) return CLINFER_OK;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        const char *value = variable(variables[i]);
        enum clinfer_status status = value ? take_token(settings, variables[i], value, strlen(value)) : CLINFER_OK;
        if (status != CLINFER_OK || settings->token) return status;
    }
    if (variable("HF_TOKEN_PATH")) {
        char *path = make_path(variable("HF_TOKEN_PATH"), "");
        if (!path) return no_memory();
        enum clinfer_status status = read_token_file(settings, "the file that HF_TOKEN_PATH names", path);
        free(path);
        return status;
    }
    char *home = find_hf_home(), *path = NULL;
    if (!home) return variable("HF_HOME") || variable("XDG_CACHE_HOME") || variable("HOME") ? no_memory() : CLINFER_OK;
    enum clinfer_status status = asprintf(&path, "%s/token", home) < 0
                                     ? no_memory()
                                     : read_token_file(settings, "the file \"token\" of HF_HOME", path);
    if (path) free(path);
    free(home);
    return status;
}

/* ---- the rest ---- */

static enum clinfer_status read_seconds(const char *name, double *seconds) {
    const char *value = variable(name);
    if (!value) return CLINFER_OK;
    char *end;
    double number = strtod(value, &end);
    if (end == value || *end || !isfinite(number) || number <= 0 || number > 86400)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s is \"%.40s\"; set it to seconds, or unset it", name, value);
    *seconds = number;
    return CLINFER_OK;
}

void ci_hub_settings_go_offline(struct ci_hub_settings *settings, const char *from) {
    settings->offline = true;
    if (!settings->offline_from) settings->offline_from = from;
}

/* Nonsense in a variable about the net stops nobody who does not ask it: only the first is kept, for who does. */
static enum clinfer_status put_off(struct ci_hub_settings *settings, enum clinfer_status status) {
    if (status != CLINFER_INVALID_ARGUMENT) return status;
    if (!*settings->problem) snprintf(settings->problem, sizeof settings->problem, "%s", clinfer_error());
    return CLINFER_OK;
}

enum clinfer_status ci_hub_settings_read(struct ci_hub_settings *settings) {
    *settings = (struct ci_hub_settings){.connect_seconds = 10,
                                         .silence_seconds = 30,
                                         .tries = 5,
                                         .first_pause = 1,
                                         .longest_wait = 300,
                                         .lock_seconds = 60,
                                         .parallel_bytes = (uint64_t)64 << 20,
                                         .most_ranges = 8,
                                         .probe_seconds = 1.5,
                                         .spare_bytes = (uint64_t)64 << 20};
    if (is_true("HF_HUB_OFFLINE")) ci_hub_settings_go_offline(settings, "HF_HUB_OFFLINE");
    if (is_true("TRANSFORMERS_OFFLINE")) ci_hub_settings_go_offline(settings, "TRANSFORMERS_OFFLINE");
    settings->no_symlinks = is_true("HF_HUB_DISABLE_SYMLINKS");
    settings->no_progress_bars = is_true("HF_HUB_DISABLE_PROGRESS_BARS");
    settings->models = ci_file_xdg("DATA", "models");
    if (!settings->models && ci_file_no_xdg("DATA", "models") == CLINFER_OUT_OF_MEMORY) return CLINFER_OUT_OF_MEMORY;
    enum clinfer_status status = CLINFER_OK;
    if (!(settings->registry = strdup(public_registry))) status = no_memory();
    if (status == CLINFER_OK) status = read_caches(settings);
    if (status == CLINFER_OK) status = put_off(settings, read_address("HF_ENDPOINT", public_hub, &settings->endpoint));
    if (status == CLINFER_OK && !settings->endpoint && !(settings->endpoint = strdup(public_hub))) status = no_memory();
    if (status == CLINFER_OK) status = put_off(settings, read_token(settings));
    if (status == CLINFER_OK)
        status = put_off(settings, read_seconds("HF_HUB_ETAG_TIMEOUT", &settings->connect_seconds));
    if (status == CLINFER_OK)
        status = put_off(settings, read_seconds("HF_HUB_DOWNLOAD_TIMEOUT", &settings->silence_seconds));
    return status;
}

void ci_hub_settings_free(struct ci_hub_settings *settings) {
    free(settings->endpoint);
    free(settings->registry);
    free(settings->cache);
    for (char **cache = settings->caches; cache && *cache; cache++) free(*cache);
    free(settings->caches);
    free(settings->models);
    if (settings->token) {
        explicit_bzero(settings->token, TOKEN_BYTES);
        munmap(settings->token, TOKEN_BYTES);
    }
    *settings = (struct ci_hub_settings){0};
}
