/* schema_exclude.c: whether the branches of a oneOf exclude each other. */
#include "grammar/schema_private.h"

void ci_schema_check_one_of(struct ci_schema_compiler *compiler, const struct ci_schema_set *set, uint32_t place) {
    (void)set;
    ci_schema_fail(compiler, place, "oneOf", CLINFER_UNSUPPORTED, "its branches are not known to exclude each other");
}
