/* near.h: the names of models that somebody may have meant. */
#ifndef CI_HUB_NEAR_H
#define CI_HUB_NEAR_H

#include "hub/stores.h"

/* At most three, as messages have them, the nearest first: of whole models and of aliases,
 * those that hold what was typed, or differ from it in few letters, in any case; "" where none is near. */
void ci_hub_near_names(const char *wanted, const struct ci_stored *models, size_t count, char *list, size_t size);

#endif
