#include "layer_faults.h"

#include <CL/cl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME(name) #name,
const char *const fault_call_names[CALL_COUNT] = {LAYER_CALLS(NAME)};

int fault_call_of(const char *name) {
    if (strcmp(name, "*") == 0) return CALL_ANY;
    for (int i = 0; i < CALL_COUNT; i++)
        if (strcmp(fault_call_names[i], name) == 0) return i;
    return -1;
}

static bool parse_when(const char *text, struct fault *fault) {
    unsigned long long seed = 1;
    char plus = 0, rest = 0;
    if (sscanf(text, "p%lf/%llu%c", &fault->probability, &seed, &rest) == 2 ||
        sscanf(text, "p%lf%c", &fault->probability, &rest) == 1) {
        fault->random = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
        return fault->probability > 0 && fault->probability <= 1;
    }
    int found = sscanf(text, "%ld%c%c", &fault->first, &plus, &rest);
    fault->last = plus ? -1 : fault->first;
    return fault->first > 0 && (found == 1 || (found == 2 && plus == '+'));
}

static bool parse_what(const char *text, struct fault *fault) {
    static const struct {
        const char *name;
        enum action action;
        int value;
    } words[] = {{"lost", LOSE, CL_OUT_OF_RESOURCES},
                 {"hang", HANG, 0},
                 {"corrupt", CORRUPT, 0},
                 {"skip", SKIP, 0},
                 {"eat", EAT, 0},
                 {"kill", KILL, 0}};
    char rest = 0;
    fault->action = FAIL;
    if (sscanf(text, "%d%c", &fault->value, &rest) == 1) return fault->value < 0;
    fault->action = LOSE;
    if (sscanf(text, "lost/%d%c", &fault->value, &rest) == 1) return fault->value < 0;
    fault->action = DELAY;
    if (sscanf(text, "delay/%d%c", &fault->value, &rest) == 1) return fault->value >= 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(text, words[i].name) != 0) continue;
        fault->action = words[i].action;
        fault->value = words[i].value;
        if (fault->action != CORRUPT && fault->action != SKIP) return true;
        return fault->call == CALL_clEnqueueNDRangeKernel ||
               (fault->call == CALL_clEnqueueReadBuffer && fault->action == CORRUPT);
    }
    return false;
}

/* Cuts the text up. */
static bool parse_fault(char *text, struct fault *fault) {
    char *what = strrchr(text, ':'), *when = strrchr(text, '@');
    *fault = (struct fault){0};
    if (!what || !when || when > what) return false;
    *what++ = *when++ = '\0';
    char *kernel = strchr(text, '/');
    if (kernel) *kernel++ = '\0';
    snprintf(fault->kernel, sizeof fault->kernel, "%s", kernel ? kernel : "");
    fault->call = fault_call_of(text);
    return fault->call >= 0 && parse_when(when, fault) && parse_what(what, fault);
}

int fault_parse_list(const char *text, struct fault faults[MOST_FAULTS]) {
    int count = 0;
    char *copy = strdup(text), *rest = copy;
    bool right = copy != NULL;
    for (char *word = copy ? strtok_r(copy, ";", &rest) : NULL; word && right; word = strtok_r(NULL, ";", &rest))
        right = count < MOST_FAULTS && parse_fault(word, &faults[count++]);
    free(copy);
    return right ? count : -1;
}

static double chance(struct fault *fault) {
    fault->random ^= fault->random << 13;
    fault->random ^= fault->random >> 7;
    fault->random ^= fault->random << 17;
    return (double)(fault->random >> 11) * 0x1p-53;
}

bool fault_strikes(struct fault *fault) {
    fault->seen++;
    if (fault->probability > 0) return chance(fault) < fault->probability;
    return fault->seen >= fault->first && (fault->last < 0 || fault->seen <= fault->last);
}
