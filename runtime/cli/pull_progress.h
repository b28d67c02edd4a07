/* pull_progress.h: a pull as people and programs see it. On a terminal a line at the bottom for the file that comes,
 * with bytes, speed and time left, redrawn ten times a second at most, and one line that stays when it is here;
 * elsewhere a line each ten seconds; with --json lines of JSON on standard output as Ollama's pull has them. What is
 * done and why is said in between. */
#ifndef CI_CLI_PULL_PROGRESS_H
#define CI_CLI_PULL_PROGRESS_H

#include <jansson.h>
#include <stdbool.h>

#include "hub/pull.h"

/* Starts zeroed, but for the first two. */
struct ci_pull_progress {
    bool json;   /* {"status", "digest", "total", "completed"} */
    bool silent; /* no progress (HF_HUB_DISABLE_PROGRESS_BARS); steps are still said */

    char file[200], phase[16];
    double began;          /* of this file and phase */
    uint64_t first, last;  /* bytes that it had then; now */
    double shown;          /* when a line was last drawn or printed */
    double sampled, speed; /* when the speed was last looked at; bytes per second, 0: not known yet */
    uint64_t sampled_bytes;
};

/* The ci_hub_watch; `user` is a struct ci_pull_progress. */
void ci_pull_watch(void *user, const struct ci_hub_event *event);

/* Takes away what is at the bottom of the terminal. */
void ci_pull_progress_end(struct ci_pull_progress *progress);

/* One line of JSON on standard output; takes the reference. */
void ci_pull_print_line(json_t *object);

/* A pull with progress on standard error, as a command does it that needs a model: Ctrl-C cancels it. Statuses of
 * ci_hub_pull. Free `pulled` in any case. */
enum clinfer_status ci_pull_shown(const struct ci_hub_settings *settings, const struct ci_hub_name *name,
                                  struct ci_hub_pulled *pulled);

/* The same with a progress and options of the caller's. */
enum clinfer_status ci_pull_with(const struct ci_hub_settings *settings, const struct ci_hub_name *name,
                                 const struct ci_hub_pull_options *options, struct ci_pull_progress *progress,
                                 struct ci_hub_pulled *pulled);

#endif
