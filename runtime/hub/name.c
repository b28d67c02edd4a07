/* name.c: see name.h. A text is cut into what it consists of, decoded where it is a link, and each part is held to its
 * rules; what is too long for its place is refused, never cut. */
#define _GNU_SOURCE
#include "hub/name.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/narrow.h"
#include "base/status.h"

#define CI_HUB_ALIAS(alias, repo, tag) {alias, repo, tag},
const struct ci_hub_alias ci_hub_aliases[] = {
#include "hub/alias_list.inc"
    {NULL, NULL, NULL}};
#undef CI_HUB_ALIAS

enum { MOST_PARTS = 64, REPO_PART = 96, SHOWN = 200 };

#define GIVE "a model of the Hub is called user/repo, user/repo:QUANT or user/repo/FILE.gguf"

/* What was typed, or came from a page: for messages, in one piece of printable bytes. */
struct shown {
    char text[SHOWN + 1];
};

static struct shown show(const char *text) {
    struct shown shown;
    snprintf(shown.text, sizeof shown.text, "%s", text);
    for (char *at = shown.text; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f) *at = '?';
    return shown;
}

static enum clinfer_status refuse(const char *text, const char *what) {
    return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: %s", show(text).text, what);
}

static bool put(char *target, size_t size, const char *text, size_t length) {
    if (length >= size) return false;
    memcpy(target, text, length);
    target[length] = 0;
    return true;
}

#define PUT(target, text, length) put(target, sizeof(target), text, length)

static bool ends(const char *text, const char *end) {
    size_t length = strlen(text), wanted = strlen(end);
    return length > wanted && strcasecmp(text + length - wanted, end) == 0;
}

static bool begins(const char *text, const char *start) { return strncasecmp(text, start, strlen(start)) == 0; }

/* ---- rules ---- */

static bool is_plain(char byte, const char *more) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           (byte && strchr(more, byte));
}

static const char *repo_part_rule(const char *part, size_t length) {
    if (length == 0) return "has an empty part; " GIVE;
    if (length > REPO_PART) return "has a part of more than 96 characters, which the Hub does not allow";
    for (size_t i = 0; i < length; i++)
        if (!is_plain(part[i], "-_."))
            return "has a character that the Hub does not allow in a name (only letters, digits, '-', '_' and '.')";
    if (strchr("-.", part[0]) || strchr("-.", part[length - 1]))
        return "begins or ends a part with '-' or '.', which the Hub does not allow";
    for (size_t i = 1; i < length; i++)
        if (part[i] == part[i - 1] && strchr("-.", part[i]))
            return "has \"--\" or \"..\", which the Hub does not allow";
    return NULL;
}

const char *ci_hub_repo_rule(const char *repo) {
    const char *slash = strchr(repo, '/'), *base = slash ? slash + 1 : repo;
    const char *rule = slash ? repo_part_rule(repo, (size_t)(slash - repo)) : NULL;
    if (!rule) rule = repo_part_rule(base, strlen(base));
    if (!rule && ends(base, ".git")) rule = "ends with \".git\", which the Hub does not allow";
    return rule;
}

const char *ci_hub_path_rule(const char *path) {
    if (!*path) return "is empty";
    for (const char *at = path; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f || *at == '\\') return "has a control character or a backslash";
    for (const char *part = path; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL) {
        size_t length = strcspn(part, "/");
        if (length == 0 || (length == 1 && part[0] == '.') || (length == 2 && part[0] == '.' && part[1] == '.'))
            return "is no path below the repo (\"..\", \".\", or an empty part)";
        if (length > 255) return "has a part of more than 255 bytes, which no disk can hold";
    }
    return NULL;
}

/* Branches, tags, commits, refs/pr/1. */
static bool is_revision(const char *revision) {
    if (!*revision || strchr("/-.", *revision) || strstr(revision, "..") || strstr(revision, "//") ||
        strstr(revision, "/."))
        return false;
    for (const char *at = revision; *at; at++)
        if (!is_plain(*at, "-_./+")) return false;
    size_t length = strlen(revision);
    return !strchr("/.", revision[length - 1]) && !ends(revision, ".lock");
}

static bool is_tag(const char *tag) {
    for (const char *at = tag; *at; at++)
        if (!is_plain(*at, "-_.")) return false;
    return *tag && !strchr("-.", *tag);
}

/* ---- parts of all of them ---- */

static enum clinfer_status set_revision(const char *text, const char *revision, size_t length,
                                        struct ci_hub_name *name) {
    if (!PUT(name->revision, revision, length) || !is_revision(name->revision))
        return refuse(text, "what is said as the revision can be no branch, tag or commit");
    return CLINFER_OK;
}

/* Ollama's habit: a whole file name behind the colon, and "latest" where nothing is meant. */
static enum clinfer_status set_tag(const char *text, const char *tag, size_t length, struct ci_hub_name *name) {
    if (length == 6 && strncasecmp(tag, "latest", length) == 0) return CLINFER_OK;
    bool file = length > 5 && strncasecmp(tag + length - 5, ".gguf", 5) == 0;
    bool fine = file ? PUT(name->file, tag, length) && !ci_hub_path_rule(name->file)
                     : PUT(name->tag, tag, length) && is_tag(name->tag);
    if (fine && file) name->tag[0] = 0; /* that of an alias */
    if (fine && !file && name->file[0]) return refuse(text, "names a file and a quant; leave one out");
    if (fine) return CLINFER_OK;
    return refuse(text, "what follows ':' can be no quant (such as Q4_K_M)");
}

static enum clinfer_status set_file(const char *text, const char *file, size_t length, struct ci_hub_name *name) {
    if (!memchr(file, '.', length)) return refuse(text, "three parts or more, and the last one is no file; " GIVE);
    if (name->tag[0] || name->file[0]) return refuse(text, "names a quant and a file, or two files; leave one out");
    const char *rule = PUT(name->file, file, length) ? ci_hub_path_rule(name->file) : "is too long";
    return rule ? ci_fail(CLINFER_INVALID_ARGUMENT, "%s: the path of the file %s", show(text).text, rule) : CLINFER_OK;
}

/* "repo[:tag][@revision]", in whichever order. */
static enum clinfer_status set_repo(const char *text, const char *repo, struct ci_hub_name *name) {
    size_t length = strcspn(repo, ":@");
    const char *rule =
        PUT(name->repo, repo, length) ? ci_hub_repo_rule(name->repo) : "is too long for a name of the Hub";
    if (rule) return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: this name %s", show(text).text, rule);
    bool tagged = false, revised = false;
    enum clinfer_status status = CLINFER_OK;
    for (const char *at = repo + length; *at && status == CLINFER_OK;) {
        bool *seen = *at == ':' ? &tagged : &revised;
        const char *said = at + 1;
        length = strcspn(said, ":@");
        if (*seen) return refuse(text, "has two of ':QUANT' or of '@REVISION'");
        *seen = true;
        status = *at == ':' ? set_tag(text, said, length, name) : set_revision(text, said, length, name);
        at = said + length;
    }
    return status;
}

/* ---- links ---- */

static int hex_value(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

/* Percent-encoding undone; what is none stays as it is. False: too long, or a zero byte in it. */
static bool decode(const char *text, size_t length, char *target, size_t size) {
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        int high = text[i] == '%' && i + 2 < length ? hex_value(text[i + 1]) : -1;
        int low = high >= 0 ? hex_value(text[i + 2]) : -1;
        if (used + 1 >= size) return false;
        target[used++] = low >= 0 ? (char)(high * 16 + low) : text[i];
        if (!target[used - 1]) return false;
        if (low >= 0) i += 2;
    }
    target[used] = 0;
    return true;
}

/* A link's path, cut at its slashes and decoded: parts[i] lie one behind the other in `bytes`. */
struct parts {
    char bytes[CI_HUB_URL_BYTES + MOST_PARTS];
    const char *at[MOST_PARTS];
    size_t count;
};

static bool cut(const char *path, size_t length, struct parts *parts) {
    size_t used = 0;
    parts->count = 0;
    for (const char *part = path, *end = path + length; part < end;) {
        const char *slash = memchr(part, '/', (size_t)(end - part));
        size_t bytes = (size_t)((slash ? slash : end) - part);
        if (bytes) {
            if (parts->count == MOST_PARTS) return false;
            parts->at[parts->count++] = parts->bytes + used;
            if (!decode(part, bytes, parts->bytes + used, sizeof parts->bytes - used)) return false;
            used += strlen(parts->bytes + used) + 1;
        }
        part += bytes + (slash != NULL);
    }
    return true;
}

/* parts[first..) with slashes between them. */
static bool join(const struct parts *parts, size_t first, char *target, size_t size) {
    size_t used = 0;
    for (size_t i = first; i < parts->count; i++) {
        size_t length = strlen(parts->at[i]);
        if (used + length + 1 >= size) return false;
        if (i > first) target[used++] = '/';
        memcpy(target + used, parts->at[i], length);
        used += length;
    }
    target[used] = 0;
    return true;
}

/* What the Hub's pages have behind user/repo. */
enum verb { NO_VERB, OF_FILE, OF_FOLDER, OF_REVISION, OF_PAGE };

static enum verb verb_of(const char *part) {
    static const struct {
        const char *word;
        enum verb verb;
    } verbs[] = {{"blob", OF_FILE},        {"resolve", OF_FILE},     {"raw", OF_FILE},      {"blame", OF_FILE},
                 {"edit", OF_FILE},        {"tree", OF_FOLDER},      {"upload", OF_FOLDER}, {"commit", OF_REVISION},
                 {"commits", OF_REVISION}, {"discussions", OF_PAGE}, {"settings", OF_PAGE}};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(part, verbs[i].word) == 0) return verbs[i].verb;
    return NO_VERB;
}

/* The page of a folder: those per quant are called as the quant is, so that is what is asked for. */
static enum clinfer_status set_folder(const char *text, const struct parts *parts, size_t first,
                                      struct ci_hub_name *name) {
    if (first >= parts->count) return CLINFER_OK;
    const char *folder = parts->at[parts->count - 1];
    return set_tag(text, folder, strlen(folder), name);
}

static enum clinfer_status set_rest(const char *text, const struct parts *parts, size_t first,
                                    struct ci_hub_name *name) {
    char file[CI_HUB_FILE_BYTES];
    if (!join(parts, first, file, sizeof file)) return refuse(text, "the path of the file is too long");
    return *file ? set_file(text, file, strlen(file), name) : CLINFER_OK;
}

/* Behind user/repo: "blob/main/FILE", "tree/refs/pr/1", "FILE". */
static enum clinfer_status set_behind(const char *text, const struct parts *parts, size_t at,
                                      struct ci_hub_name *name) {
    enum verb verb = at < parts->count ? verb_of(parts->at[at]) : OF_PAGE;
    if (verb == NO_VERB) return set_rest(text, parts, at, name);
    at++;
    if (verb == OF_PAGE || at >= parts->count) return CLINFER_OK;
    char revision[CI_HUB_TAG_BYTES * 2];
    bool long_one = strcmp(parts->at[at], "refs") == 0 && at + 2 < parts->count;
    int length = snprintf(revision, sizeof revision, "%s%s%s%s%s", parts->at[at], long_one ? "/" : "",
                          long_one ? parts->at[at + 1] : "", long_one ? "/" : "", long_one ? parts->at[at + 2] : "");
    at += long_one ? 3 : 1;
    if (length < 0 || (size_t)length >= sizeof revision)
        return refuse(text, "what is said as the revision is too long");
    enum clinfer_status status = set_revision(text, revision, (size_t)length, name);
    if (status != CLINFER_OK || verb == OF_REVISION) return status;
    return verb == OF_FILE ? set_rest(text, parts, at, name) : set_folder(text, parts, at, name);
}

/* The viewer of a file's metadata: user/repo?show_file_info=FILE. */
static enum clinfer_status set_query(const char *text, const char *query, struct ci_hub_name *name) {
    static const char shown[] = "show_file_info=";
    const char *at = strstr(query, shown);
    char file[CI_HUB_FILE_BYTES];
    if (!at || name->file[0]) return CLINFER_OK;
    at += sizeof shown - 1;
    if (!decode(at, strcspn(at, "&#"), file, sizeof file)) return refuse(text, "the path of the file is too long");
    return set_file(text, file, strlen(file), name);
}

/* Behind the Hub's host. */
static enum clinfer_status read_hub_link(const char *text, const char *path, struct ci_hub_name *name) {
    struct parts parts;
    size_t length = strcspn(path, "?#"), at = 0;
    if (!cut(path, length, &parts)) return refuse(text, "this link is too long, or holds a zero byte");
    if (at < parts.count && strcmp(parts.at[at], "api") == 0) at++;
    if (at < parts.count && strcmp(parts.at[at], "models") == 0) at++;
    if (at >= parts.count) return refuse(text, "this link leads to no model; " GIVE);
    const char *first = parts.at[at];
    if (strcmp(first, "datasets") == 0) return refuse(text, "this is a data set of the Hub, not a model");
    if (strcmp(first, "spaces") == 0) return refuse(text, "this is a space of the Hub (a program), not a model");
    if (strcmp(first, "collections") == 0 || strcmp(first, "papers") == 0)
        return refuse(text, "this page of the Hub is no model; open it, and copy the name of a model on it");
    /* The oldest repos have no namespace. */
    bool bare = at + 1 == parts.count || verb_of(parts.at[at + 1]) != NO_VERB;
    char repo[CI_HUB_URL_BYTES];
    snprintf(repo, sizeof repo, "%s%s%s", first, bare ? "" : "/", bare ? "" : parts.at[at + 1]);
    enum clinfer_status status = set_repo(text, repo, name);
    if (status == CLINFER_OK) status = set_behind(text, &parts, at + (bare ? 1 : 2), name);
    return status == CLINFER_OK ? set_query(text, path + length, name) : status;
}

/* Behind "scheme://": the path behind the Hub's host, or behind the endpoint; NULL: another host. */
static const char *behind_hub(const char *rest, const char *endpoint) {
    static const char *const hosts[] = {"huggingface.co", "www.huggingface.co", "hf.co", "www.hf.co"};
    const char *own = endpoint && strstr(endpoint, "://") ? strstr(endpoint, "://") + 3 : endpoint;
    if (own && *own && begins(rest, own) && (!rest[strlen(own)] || strchr("/?#", rest[strlen(own)])))
        return rest + strlen(own);
    size_t length = strcspn(rest, "/?#");
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        if (strlen(hosts[i]) == length && begins(rest, hosts[i])) return rest + length;
    return NULL;
}

bool ci_hub_is_url(const char *text) { return begins(text, "http://") || begins(text, "https://"); }

static enum clinfer_status read_url(const char *text, const char *endpoint, struct ci_hub_name *name) {
    const char *rest = strstr(text, "://") + 3, *behind = behind_hub(rest, endpoint);
    size_t host = strcspn(rest, "/?#"), length = strcspn(text, "#");
    if (memchr(rest, '@', host))
        return ci_fail(CLINFER_INVALID_ARGUMENT,
                       "an address with a name or password in it: leave out what stands before '@' (who can list "
                       "processes reads it); a token of the Hub belongs into HF_TOKEN");
    for (const char *at = text; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f) return refuse(text, "this address holds a control character");
    if (behind) return read_hub_link(text, behind, name);
    char path[CI_HUB_URL_BYTES];
    if (!host) return refuse(text, "this address has no host");
    if (!PUT(name->url, text, length)) return refuse(text, "this address is longer than 2047 bytes");
    if (!decode(rest, strcspn(rest, "?#"), path, sizeof path) || !ends(path, ".gguf"))
        return refuse(text, "this address is neither the Hub's nor that of a .gguf file");
    name->kind = CI_HUB_URL;
    name->revision[0] = 0;
    return CLINFER_OK;
}

void ci_hub_url_file(const char *url, char *file, size_t size) {
    const char *rest = strstr(url, "://") ? strstr(url, "://") + 3 : url;
    size_t length = strcspn(rest, "?#");
    const char *slash = memrchr(rest, '/', length);
    const char *base = slash ? slash + 1 : rest;
    bool fine = decode(base, length - (size_t)(base - rest), file, size) && !strchr(file, '/') && strlen(file) < 256 &&
                ends(file, ".gguf") && file[0] != '.' && !ci_hub_path_rule(file);
    if (!fine) file[0] = 0;
}

/* ---- Ollama ---- */

static bool is_host(const char *host) {
    for (const char *at = host; *at; at++)
        if (!is_plain(*at, "-._:[]")) return false;
    return *host != 0;
}

/* Part of a name in Ollama's registry. */
static bool is_ollama_part(const char *part, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (!is_plain(part[i], "-_.")) return false;
    return length > 0 && length <= REPO_PART && !strchr("-.", part[0]);
}

static enum clinfer_status read_ollama(const char *text, const char *said, struct ci_hub_name *name) {
    const char *model = strrchr(said, '/') ? strrchr(said, '/') + 1 : said, *colon = strchr(model, ':');
    size_t model_length = colon ? (size_t)(colon - model) : strlen(model);
    name->kind = CI_HUB_OLLAMA;
    name->revision[0] = 0;
    const char *tag = colon ? colon + 1 : "latest";
    if (!PUT(name->tag, tag, strlen(tag)) || !is_tag(name->tag))
        return refuse(text, "what follows the last ':' can be no tag of Ollama's registry");
    const char *space = "library";
    size_t space_length = strlen(space);
    if (model > said) {
        size_t before = (size_t)(model - said) - 1;
        const char *slash = memrchr(said, '/', before);
        space = slash ? slash + 1 : said;
        space_length = before - (size_t)(space - said);
        if (slash && (!PUT(name->host, said, (size_t)(slash - said)) || !is_host(name->host)))
            return refuse(text, "what stands before namespace and model can be no host");
    }
    if (!is_ollama_part(model, model_length) || !is_ollama_part(space, space_length))
        return refuse(text, "no name of Ollama's registry; those are ollama:MODEL, ollama:MODEL:TAG or "
                            "ollama:NAMESPACE/MODEL:TAG");
    snprintf(name->repo, sizeof name->repo, "%.*s/%.*s", ci_shown(space_length, CI_HUB_REPO_BYTES), space,
             ci_shown(model_length, CI_HUB_REPO_BYTES), model);
    return CLINFER_OK;
}

/* ---- words ---- */

const struct ci_hub_alias *ci_hub_alias_find(const char *text) {
    size_t length = strcspn(text, ":");
    for (const struct ci_hub_alias *alias = ci_hub_aliases; alias->alias; alias++)
        if (strlen(alias->alias) == length && strncasecmp(alias->alias, text, length) == 0) return alias;
    return NULL;
}

static enum clinfer_status read_alias(const char *text, const struct ci_hub_alias *alias, struct ci_hub_name *name) {
    const char *colon = strchr(text, ':');
    name->alias = alias->alias;
    snprintf(name->repo, sizeof name->repo, "%s", alias->repo);
    snprintf(name->tag, sizeof name->tag, "%s", alias->tag);
    return colon ? set_tag(text, colon + 1, strlen(colon + 1), name) : CLINFER_OK;
}

static enum clinfer_status tell_bare(const char *text) {
    return ci_fail(CLINFER_NOT_FOUND,
                   "%s: neither a short name of clinfer's nor one of the Hub, such as user/repo:QUANT",
                   show(text).text);
}

/* user/repo[:tag][@revision], user/repo/folder/FILE[@revision]. */
static enum clinfer_status read_plain(const char *text, struct ci_hub_name *name) {
    const char *slash = strchr(text, '/'), *second = slash ? strchr(slash + 1, '/') : NULL;
    size_t until_at = strcspn(text, "@");
    if (!slash || (size_t)(slash - text) > until_at) return tell_bare(text);
    if (!second || (size_t)(second - text) > until_at) {
        /* Of all repos hardly one is called so, and of all files most. */
        char repo[CI_HUB_URL_BYTES];
        if (!PUT(repo, text, strcspn(text, ":@"))) return refuse(text, "is too long for a name of the Hub");
        return ends(repo, ".gguf") ? tell_bare(text) : set_repo(text, text, name);
    }
    char repo[CI_HUB_URL_BYTES];
    if (!PUT(repo, text, (size_t)(second - text))) return refuse(text, "is too long for a name of the Hub");
    enum clinfer_status status = set_repo(text, repo, name);
    const char *file = second + 1, *at = strchr(file, '@');
    size_t length = at ? (size_t)(at - file) : strlen(file);
    if (status == CLINFER_OK) status = set_file(text, file, length, name);
    return status == CLINFER_OK && at ? set_revision(text, at + 1, strlen(at + 1), name) : status;
}

/* With the Hub's host, though without "https://". */
static const char *behind_host(const char *text, const char *endpoint) {
    return strchr(text, '/') ? behind_hub(text, endpoint) : NULL;
}

enum clinfer_status ci_hub_name_parse(const char *text, const char *endpoint, struct ci_hub_name *name) {
    *name = (struct ci_hub_name){.kind = CI_HUB_REPO, .revision = "main"};
    if (!*text) return refuse("(nothing)", "the name of a model is empty");
    if (begins(text, "ollama:")) return read_ollama(text, text + strlen("ollama:"), name);
    if (ci_hub_is_url(text)) return read_url(text, endpoint, name);
    if (begins(text, "hf://")) return read_hub_link(text, text + strlen("hf://"), name);
    if (strchr("/.~", *text)) return tell_bare(text); /* a path */
    const char *behind = behind_host(text, endpoint);
    if (behind) return read_hub_link(text, behind, name);
    const struct ci_hub_alias *alias = strchr(text, '/') ? NULL : ci_hub_alias_find(text);
    return alias ? read_alias(text, alias, name) : read_plain(text, name);
}

void ci_hub_name_text(const struct ci_hub_name *name, char *text, size_t size) {
    bool revised = name->revision[0] && strcmp(name->revision, "main") != 0;
    const char *at = revised ? "@" : "", *revision = revised ? name->revision : "";
    if (name->kind == CI_HUB_URL) {
        snprintf(text, size, "%s", name->url);
    } else if (name->kind == CI_HUB_OLLAMA) {
        const char *repo = name->repo + (!name->host[0] && begins(name->repo, "library/") ? strlen("library/") : 0);
        snprintf(text, size, "ollama:%s%s%s:%s", name->host, name->host[0] ? "/" : "", repo, name->tag);
    } else {
        /* Without a namespace only a link names it. */
        snprintf(text, size, "%s%s%s%s%s%s%s%s", strchr(name->repo, '/') ? "" : "hf.co/", name->repo,
                 name->file[0] ? "/" : "", name->file, name->tag[0] && !name->file[0] ? ":" : "",
                 name->file[0] ? "" : name->tag, at, revision);
    }
}
