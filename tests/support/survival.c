#include "support/survival.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

const char *const survival_place_names[SURVIVAL_PLACES] = {"load", "prompt", "token"};

enum { ROWS = 64 };

struct row {
    const char *name;
    int cells[SURVIVAL_PLACES][2][SURVIVAL_KINDS]; /* once, for ever */
};

static struct row rows[ROWS];
static int row_count;
static double slowest;
static char slowest_case[512];

static struct row *row_of(const char *name) {
    for (int i = 0; i < row_count; i++)
        if (strcmp(rows[i].name, name) == 0) return &rows[i];
    assert_true(row_count < ROWS);
    rows[row_count] = (struct row){.name = name};
    return &rows[row_count++];
}

void survival_count(const char *name, enum survival_place place, bool ever, enum survival_kind kind, double seconds,
                    const char *which) {
    row_of(name)->cells[place][ever][kind]++;
    if (kind != SURVIVED_TOLD || seconds <= slowest) return;
    slowest = seconds;
    snprintf(slowest_case, sizeof slowest_case, "%s", which);
}

int survival_counted(const char *name, enum survival_place place, bool ever, enum survival_kind kind) {
    return row_of(name)->cells[place][ever][kind];
}

void survival_print(void) {
    for (int i = 0; i < row_count; i++) {
        char line[256];
        int used = snprintf(line, sizeof line, "%-30s", rows[i].name), tried = 0;
        for (int place = 0; place < SURVIVAL_PLACES; place++) {
            used += snprintf(line + used, sizeof line - (size_t)used, "  %s", survival_place_names[place]);
            for (int ever = 0; ever < 2; ever++) {
                const int *cell = rows[i].cells[place][ever];
                int right = cell[SURVIVED_SAME] + cell[SURVIVED_BY_ANOTHER], all = right + cell[SURVIVED_TOLD];
                char text[32] = "-";
                if (all) snprintf(text, sizeof text, "%d+%d/%d", right, cell[SURVIVED_TOLD], all);
                used += snprintf(line + used, sizeof line - (size_t)used, "%9s", text);
                tried += all;
            }
        }
        print_message("%s: %d of %d survived\n", line, tried, tried); /* one that is not ends its test */
    }
    print_message("longest from a failure to its error: %.2f s (%s); all of %d survived\n", slowest, slowest_case,
                  row_count);
}
