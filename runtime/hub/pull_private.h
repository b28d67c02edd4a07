/* pull_private.h: the ways of pull.c, one per kind of name. */
#ifndef CI_HUB_PULL_PRIVATE_H
#define CI_HUB_PULL_PRIVATE_H

#include "hub/pull.h"

/* A model of Ollama's registry into the models folder (ollama.c). */
enum clinfer_status ci_hub_pull_ollama(struct ci_hub *hub, const struct ci_hub_name *name,
                                       struct ci_hub_pulled *pulled);

/* A .gguf file of any server into the models folder, all parts where it is one of several (pull_url.c). */
enum clinfer_status ci_hub_pull_url(struct ci_hub *hub, const struct ci_hub_name *name, struct ci_hub_pulled *pulled);

/* What is on this machine already, without asking anybody. */
enum clinfer_status ci_hub_pull_offline(struct ci_hub *hub, const struct ci_hub_name *name,
                                        struct ci_hub_pulled *pulled);

/* pulled->name and ->path; the texts are copied. CLINFER_OUT_OF_MEMORY. */
enum clinfer_status ci_hub_pulled_set(struct ci_hub_pulled *pulled, const char *name, const char *path);

#endif
