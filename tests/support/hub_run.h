/* hub_run.h: one pull from tests/support/hub_server.py into folders of its own, with times that fit tests, and what
 * must be true of every pull that went well and of every one that failed. */
#ifndef TESTS_SUPPORT_HUB_RUN_H
#define TESTS_SUPPORT_HUB_RUN_H

#include <stdatomic.h>

#include "hub/pull.h"
#include "support/hub_server.h"

/* Opened, pulled with as often as one likes, closed. */
struct hub_run {
    char home[512], cache[600]; /* the cache is home/hub unless `cache_name` was given */
    const char *server;         /* its address */
    struct ci_hub_settings settings;
    struct ci_hub hub;
    struct ci_hub_pulled pulled; /* of the last pull */
    enum clinfer_status status;
    char message[2048]; /* clinfer_error() of a pull that failed, else "" */
    char said[1 << 15]; /* steps and warnings of the last pull, a line each */
    json_t *log;        /* requests of the last pull */
    double seconds;
    uint64_t cancel_at; /* progress of bytes after which it is cancelled; 0: never */
    atomic_bool cancel;
    void (*on_progress)(struct hub_run *run, uint64_t completed);
};

struct hub_run_options {
    const char *server; /* hub_server_url's kind; NULL: "http" */
    const char *token;  /* NULL: HUB_TOKEN; "": none */
    const char *home;   /* NULL: a new one */
    bool ranges;        /* several connections for what is larger than 256 KiB */
};

void hub_run_open(struct hub_run *run, const struct hub_run_options *options);
void hub_run_close(struct hub_run *run);

/* Pulls by name and fills what is above. */
enum clinfer_status hub_run_pull(struct hub_run *run, const char *name);

/* What holds whatever happened: the token went to the Hub alone and stands nowhere, files lie where they may, nothing
 * is listed that is not whole. */
void hub_run_check(const struct hub_run *run);

/* It went well: the file is `file` of `content` ("tiny") at `version`, bit for bit, at its place in the cache, refs
 * says so, nothing was left behind, and exactly `models` are listed. */
void hub_run_check_good(const struct hub_run *run, const char *content, int version, const char *file, size_t models);

/* It failed with `status`: one line of cause and one of advice, which name `says` (NULL: anything), and nothing is
 * listed. */
void hub_run_check_bad(const struct hub_run *run, enum clinfer_status status, const char *says);

/* Bytes of model files that the server sent. */
uint64_t hub_run_sent(const struct hub_run *run);

/* Models that are listed as whole. */
size_t hub_run_listed(const struct hub_run *run);

/* Folders of repos in the cache, each with the snapshots/ without which huggingface_hub calls it damaged. */
size_t hub_run_repos(const struct hub_run *run);

/* SHA-256 of a file, by the same library as the tool's. */
void hub_run_digest(const char *path, char text[CI_DIGEST_BYTES]);

/* A path in the cache, of the next call but seven valid no more. */
const char *hub_run_path(const struct hub_run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The first file of the cache whose name ends so; "" where there is none. Valid until the next call. */
const char *hub_run_find(const struct hub_run *run, const char *ending);

#endif
