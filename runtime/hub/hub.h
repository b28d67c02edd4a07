/* hub.h: the Hub's protocol: which commit, which files, with which sizes and digests; and the errors that it tells.
 *
 * Names and numbers of an answer are checked before anything uses them. With settings->offline none of these asks
 * anybody: they end with CLINFER_NOT_FOUND, and hub->fetcher may be NULL.
 *
 * Failures are one line in clinfer_error(): the cause, "; ", what to do. Statuses: CLINFER_NOT_FOUND (repo, revision,
 * file; with names that are near where the Hub knows some; and offline), CLINFER_REFUSED (gated, private, disabled, bad
 * token: which page, which variable), CLINFER_REMOTE_FAILED (network, server, certificate, not a Hub),
 * CLINFER_CANCELLED, CLINFER_OUT_OF_MEMORY, CLINFER_UNSUPPORTED (no libcurl). */
#ifndef CI_HUB_HUB_H
#define CI_HUB_HUB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

#include "hub/settings.h"
#include "net/digest.h"
#include "net/fetch.h"

/* ---- what the calls of one pull share ---- */

/* What a pull does, for whoever watches. All texts are borrowed for the call. */
struct ci_hub_event {
    enum ci_hub_event_kind { CI_HUB_SAID /* `text`, a step or a warning */, CI_HUB_PROGRESS } kind;
    bool warning;
    const char *text;
    const char *phase; /* "download", "verify", "wait" (for another process) */
    const char *file, *digest;
    uint64_t completed, total;         /* bytes */
    uint64_t all_completed, all_total; /* of all files that are fetched, this one with them; 0: it is the only one */
    size_t number, count;              /* which of them it is, from 1; 0: it is the only one */
};
typedef void ci_hub_watch(void *user, const struct ci_hub_event *event);

enum { CI_HUB_TOPICS = 8, CI_HUB_TOPIC_BYTES = 48 };

struct ci_hub {
    const struct ci_hub_settings *settings;
    struct ci_fetcher *fetcher; /* NULL: offline */
    ci_hub_watch *watch;        /* or NULL */
    void *user;
    const atomic_bool *cancel;                      /* or NULL */
    char topics[CI_HUB_TOPICS][CI_HUB_TOPIC_BYTES]; /* of warnings of the Hub that were said; starts as zero */
};

void ci_hub_say(const struct ci_hub *hub, bool warning, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- credentials ---- */

/* The Hub's own hosts, to which its token may go even where another address is asked first; NULL-terminated. */
extern const char *const ci_hub_trusted[];

/* "Bearer TOKEN" into `text`, which the caller wipes; from then on the process leaves no core. NULL: there is none. */
enum { CI_HUB_AUTHORIZATION_BYTES = 4200 };
const char *ci_hub_authorization(const struct ci_hub_settings *settings, char text[CI_HUB_AUTHORIZATION_BYTES]);

/* What a server said, made fit for messages: one line of printable ASCII and UTF-8, cut to `size`; "" where it holds a
 * part of the token. Returns `shown`. */
const char *ci_hub_shown(const struct ci_hub_settings *settings, const char *text, char *shown, size_t size);

/* ---- requests ---- */

/* One GET or HEAD of a text, tried again as settings say. */
struct ci_hub_question {
    const char *url;
    const char *what; /* for messages: "user/repo", a file */
    bool head;
    bool token;                 /* the Hub's, to the Hub */
    const char *const *headers; /* or NULL */
    const char *fact;           /* a redirect with this header is the answer; or NULL */
    const char *authorization;  /* another one ("Bearer ..."), or NULL */
    size_t most;                /* bytes of the answer; more is a failure */
};

/* The caller frees it in any case. */
struct ci_hub_reply {
    struct ci_fetch *fetch; /* the last one that ended; NULL: none began */
    char *body;             /* zero-ended; NULL with `fetch` */
    size_t length;
};

/* CLINFER_OK: an answer with a status of 200 to 299, or a redirect that is the answer; else the failure that it is, and
 * *reply has what came. */
enum clinfer_status ci_hub_ask(struct ci_hub *hub, const struct ci_hub_question *question, struct ci_hub_reply *reply);
void ci_hub_reply_free(struct ci_hub_reply *reply);

/* A small file's content, at most so many bytes; with the token. The caller frees. */
enum clinfer_status ci_hub_get(struct ci_hub *hub, const char *url, size_t most, char **text, size_t *length);

/* CLINFER_OK, or, with settings->offline, the failure that this is: `what` is not on this machine then.
 * CLINFER_INVALID_ARGUMENT: settings->problem. */
enum clinfer_status ci_hub_check_online(const struct ci_hub_settings *settings, const char *what);

/* The failure that an answer of a server (or its absence) is; `what`: "user/repo" or the file; `body` may be NULL.
 * Also whether trying again may help, and after how many seconds the server wants it (429, 503: RateLimit, Retry-After;
 * -1: not said). */
struct ci_hub_failure {
    enum clinfer_status status;
    bool may_pass;
    double after;
    char cause[512], advice[384];
};
void ci_hub_failure_of(const struct ci_hub *hub, const struct ci_fetch *fetch, const char *body, const char *what,
                       struct ci_hub_failure *failure);

/* Waits in small steps: settings->first_pause, doubled `attempt` times (0: the first), or what the server wants and
 * first_pause. false: cancelled. */
bool ci_hub_pause(struct ci_hub *hub, int attempt, double after);

/* Says the answer's X-HF-Warning, once a topic. */
void ci_hub_warn(struct ci_hub *hub, const struct ci_fetch *fetch);

/* ---- repos ---- */

struct ci_hub_file {
    char *path;                   /* in the repo; checked by ci_hub_path_rule */
    uint64_t size;                /* UINT64_MAX: the Hub did not say */
    char digest[CI_DIGEST_BYTES]; /* SHA-256 of large files, git's SHA-1 of small ones; "": the Hub did not say */
};

struct ci_hub_tree {
    char repo[200]; /* what it is called today */
    char commit[41];
    struct ci_hub_file *files; /* each path once, in strcmp's order */
    size_t count;
    size_t left_out; /* entries whose path could lie outside of the repo: none of `files` */
    char first_left_out[80];
};

/* refs -> commit, then the tree in all its pages. `revision`: a branch, a tag, "refs/pr/1", a commit. */
enum clinfer_status ci_hub_tree_get(struct ci_hub *hub, const char *repo, const char *revision,
                                    struct ci_hub_tree *tree);
void ci_hub_tree_free(struct ci_hub_tree *tree);

/* The pure halves, for tests and fuzzers. CLINFER_REMOTE_FAILED: no Hub answers so; CLINFER_OUT_OF_MEMORY.
 * One page of a tree, added to it; the files stay as they came. */
enum clinfer_status ci_hub_tree_parse(const char *text, size_t length, struct ci_hub_tree *tree);
/* "sha" of a revision's page; with `files` its siblings, too (asked for with ?blobs=true): for mirrors that have no
 * tree. */
enum clinfer_status ci_hub_revision_parse(const char *text, size_t length, bool files, struct ci_hub_tree *tree);
/* As `files` of a tree is said to be: sorted, each path once. */
void ci_hub_tree_sort(struct ci_hub_tree *tree);
/* CLINFER_NOT_FOUND: neither branch nor tag; the message lists those that there are. */
enum clinfer_status ci_hub_refs_parse(const char *text, size_t length, const char *revision, char commit[41]);
/* The `Link` with rel="next" of a tree's page: what it refers to, unresolved, the caller's; NULL: there is none. */
enum clinfer_status ci_hub_next_link(const char *link, char **next);

/* endpoint/repo/resolve/revision/path, every part percent-encoded. The caller frees; NULL: out of memory. */
char *ci_hub_resolve_url(const struct ci_hub_settings *settings, const char *repo, const char *revision,
                         const char *path);

/* Every part of a path percent-encoded but '/'; `slash`: that one, too. The caller frees; NULL: out of memory. */
char *ci_hub_encode(const char *text, bool slash);

/* HEAD of a file: what the Hub says of it, taken from the redirect where it stands there (X-Linked-Etag,
 * X-Linked-Size, X-Repo-Commit). CLINFER_REMOTE_FAILED where no Hub answers: it names the header that is missing. */
struct ci_hub_facts {
    char commit[41];
    char digest[CI_DIGEST_BYTES]; /* the ETag where it is one, lower case; else "" */
    char etag[256];               /* without W/ and quotes */
    uint64_t size;                /* UINT64_MAX: not said */
};
enum clinfer_status ci_hub_head(struct ci_hub *hub, const char *url, struct ci_hub_facts *facts);

#endif
