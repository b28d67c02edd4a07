/* downloads.h: models are fetched by name, by `clinfer pull`'s code, while the server goes on: by a request that waits
 * for it (/api/pull), or by a thread whose progress is told as events (POST /models). */
#ifndef CI_SERVER_DOWNLOADS_H
#define CI_SERVER_DOWNLOADS_H

#include <stdatomic.h>

#include "hub/hub.h"
#include "hub/name.h"
#include "server/events.h"

/* How a name is read: what is neither a short name of clinfer's nor of the Hub is Ollama's. `offline`: the server was
 * told to fetch nothing, so that fetching is CLINFER_REFUSED. Free the settings in any case. */
enum clinfer_status ci_download_name(const char *word, bool offline, struct ci_hub_settings *settings,
                                     struct ci_hub_name *name);
enum clinfer_status ci_download(const struct ci_hub_settings *settings, const struct ci_hub_name *name,
                                ci_hub_watch *watch, void *user, const atomic_bool *cancel);

struct ci_downloads;

struct ci_downloads *ci_downloads_create(struct ci_events *events); /* NULL: out of memory */
/* Breaks off what is under way, and waits for that; what is there already is taken up by the next one. */
void ci_downloads_destroy(struct ci_downloads *downloads);

/* Returns at once. Events of `word`: "download_progress" {"progress": {file: {"done", "total"}}}, then
 * "download_finished", or "download_failed" {"message"}. CLINFER_INVALID_ARGUMENT: it is being fetched already, or is
 * no name; CLINFER_REFUSED: offline, or too many at once. */
enum clinfer_status ci_downloads_begin(struct ci_downloads *downloads, const char *word, bool offline);

/* Breaks off that one. Whether there was one. */
bool ci_downloads_cancel(struct ci_downloads *downloads, const char *word);

#endif
