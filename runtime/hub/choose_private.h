/* choose_private.h: between choose.c and choose_folder.c. */
#ifndef CI_HUB_CHOOSE_PRIVATE_H
#define CI_HUB_CHOOSE_PRIVATE_H

#include "hub/choose.h"

/* Adds a file. false: memory is out. */
bool ci_hub_choice_add(const struct ci_hub_tree *tree, struct ci_hub_choice *choice, size_t file);

/* The .safetensors in the repo's folder, the index, and what lies beside them. CLINFER_NOT_FOUND: there are none. */
enum clinfer_status ci_hub_choose_folder(const struct ci_hub_tree *tree, const struct ci_hub_wish *wish,
                                         struct ci_hub_choice *choice);

#endif
