/* name.h: what people call a model that is not simply a file. Pure text: nothing is looked up, neither here nor there.
 *
 * The rules for names are the Hub's own; links of all kinds that its pages show are understood, so that what one copies
 * from a browser's address line is a name. */
#ifndef CI_HUB_NAME_H
#define CI_HUB_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include <clinfer.h>

enum ci_hub_kind {
    CI_HUB_REPO,   /* user/repo[:quant][@revision], user/repo/file.gguf, hf.co/..., hf://..., links of the Hub (blob,
                      resolve, raw, tree, ...), aliases */
    CI_HUB_OLLAMA, /* ollama:[host/][namespace/]model[:tag] */
    CI_HUB_URL     /* any other http(s) address of a .gguf file */
};

enum { CI_HUB_REPO_BYTES = 196, CI_HUB_TAG_BYTES = 128, CI_HUB_FILE_BYTES = 1024, CI_HUB_URL_BYTES = 2048 };

/* All texts end with a zero byte and are decoded; what was not said is "". */
struct ci_hub_name {
    enum ci_hub_kind kind;
    char repo[CI_HUB_REPO_BYTES];    /* "user/repo", of very old ones "repo"; Ollama: "library/llama3.2" */
    char revision[CI_HUB_TAG_BYTES]; /* "main" where nothing was said; may hold '/' ("refs/pr/1"); Ollama, URL: "" */
    char tag[CI_HUB_TAG_BYTES];      /* the quant; Ollama's tag ("latest" where nothing was said) */
    char file[CI_HUB_FILE_BYTES];    /* path in the repo: relative, without "." or ".." or empty parts */
    char host[256];                  /* Ollama: with its port; "" is the default registry */
    char url[CI_HUB_URL_BYTES];      /* CI_HUB_URL: as given, without its fragment */
    const char *alias;               /* the short name that it stood for, of ci_hub_aliases; NULL: none */
};

/* `endpoint`: links below it are the Hub's, too (NULL: only its own hosts). CLINFER_INVALID_ARGUMENT: it can be no
 * name; the message says which rule it breaks. CLINFER_NOT_FOUND: nothing against it, but it is neither alias,
 * user/repo nor link: a bare word or a path. */
enum clinfer_status ci_hub_name_parse(const char *text, const char *endpoint, struct ci_hub_name *name);

/* As one types it again: "user/repo:Q4_K_M", "user/repo/file.gguf@v1", "ollama:llama3.2:1b", an address. */
void ci_hub_name_text(const struct ci_hub_name *name, char *text, size_t size);

/* The rule that a repo id breaks, as a clause ("is longer than 96 characters"); NULL: it is fine. For answers of
 * servers, too. */
const char *ci_hub_repo_rule(const char *repo);

/* The same of a path in a repo, which becomes one on disk: relative, no ".", "..", no empty part, no control
 * characters, no backslash. */
const char *ci_hub_path_rule(const char *path);

/* Whether it is an http(s) address. */
bool ci_hub_is_url(const char *text);

/* The name of the file that an address of a .gguf file leads to, decoded: what it is called here. "" where that would
 * be no name of a file. */
void ci_hub_url_file(const char *url, char *file, size_t size);

struct ci_hub_alias {
    const char *alias, *repo, *tag;
};
extern const struct ci_hub_alias ci_hub_aliases[]; /* of alias_list.inc; ends with an entry of NULLs */

/* The alias of this name, in whatever case, perhaps with a ":quant" behind it; NULL: none. */
const struct ci_hub_alias *ci_hub_alias_find(const char *text);

#endif
