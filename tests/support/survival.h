/* survival.h: how many of the faults that a program injects were survived, by what broke and when, as a table. */
#ifndef TESTS_SUPPORT_SURVIVAL_H
#define TESTS_SUPPORT_SURVIVAL_H

#include <stdbool.h>

enum survival_place { AT_LOAD, AT_PROMPT, AT_TOKEN, SURVIVAL_PLACES };
extern const char *const survival_place_names[SURVIVAL_PLACES];

/* The text is the undisturbed one; another kernel or place took over; an error said what had failed. */
enum survival_kind { SURVIVED_SAME, SURVIVED_BY_ANOTHER, SURVIVED_TOLD, SURVIVAL_KINDS };

/* One fault, of the table's row `name` (borrowed for good), that struck once or for ever. `seconds` it took from there
 * to the end of `which`, the case: the slowest that ended in an error is printed. */
void survival_count(const char *name, enum survival_place place, bool ever, enum survival_kind kind, double seconds,
                    const char *which);

/* How many there were so far. */
int survival_counted(const char *name, enum survival_place place, bool ever, enum survival_kind kind);

/* A line per row, with "text right + error told / tried" for faults that struck once and for ever. */
void survival_print(void);

#endif
