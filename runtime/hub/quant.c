/* quant.c: see quant.h. Quants are no list: makers of models invent names (Q4_K_XL, IQ3_M), which say by their first
 * parts which types the weights have. Those are looked up in the table of types, so that this file knows a new type
 * when clinfer has it. Only the order of preference is a list. */
#define _GNU_SOURCE
#include "hub/quant.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "format/kind.h"
#include "types/type.h"

/* From the best for most people to the last resort: four to five bits a weight lose little, and what is larger reads
 * slower. Q4_K_M first is what llama.cpp takes, too, so that one name means one file. What is below four bits loses
 * more than what the types of 16 bits cost, so these come before. */
static const char *const preferred[] = {
    "Q4_K_M", "Q4_K_XL", "Q4_K_L",  "Q5_K_M",  "Q5_K_XL", "Q5_K_L", "Q6_K",    "Q6_K_L",  "Q6_K_XL", "Q8_0",
    "Q5_K_S", "Q4_K_S",  "MXFP4",   "NVFP4",   "Q5_1",    "Q5_0",   "IQ4_NL",  "IQ4_XS",  "Q4_1",    "Q4_0",
    "Q4_K",   "Q5_K",    "Q8_K_XL", "BF16",    "F16",     "FP16",   "Q3_K_XL", "Q3_K_L",  "IQ3_M",   "Q3_K_M",
    "IQ3_S",  "Q3_K_S",  "IQ3_XS",  "IQ3_XXS", "F32",     "FP32",   "Q3_K",    "Q2_K_XL", "Q2_K_L",  "Q2_K",
    "Q2_K_S", "IQ2_M",   "IQ2_S",   "IQ2_XS",  "IQ2_XXS", "TQ2_0",  "TQ1_0",   "IQ1_M",   "IQ1_S"};

static const char *base_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool ends(const char *path, const char *end) {
    size_t length = strlen(path), wanted = strlen(end);
    return length > wanted && strcasecmp(path + length - wanted, end) == 0;
}

/* A word that begins at the start of the name or behind a mark. */
static bool has_word(const char *name, const char *word) {
    for (const char *at = strstr(name, word); at; at = strstr(at + 1, word))
        if (at == name || strchr("-._", at[-1])) return true;
    return false;
}

bool ci_hub_is_model_file(const char *path) {
    static const char *const drafts[] = {"mtp-", "eagle3-", "dflash-", "dspark-"};
    const char *name = base_of(path);
    if (!ends(name, ".gguf") || strcasestr(name, "mmproj") || strcasestr(name, "imatrix")) return false;
    for (size_t i = 0; i < sizeof drafts / sizeof *drafts; i++)
        if (has_word(name, drafts[i])) return false;
    return true;
}

bool ci_hub_is_pickle(const char *path) {
    static const char *const endings[] = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (ends(path, endings[i])) return true;
    return false;
}

/* ---- quants ---- */

/* The type that a quant is called after, in lower case: "q4_k" of "Q4_K_M"; "" if it is no quant's name. */
static void type_of(const char *quant, char type[CI_HUB_QUANT_BYTES]) {
    size_t length = 0;
    for (; quant[length] && length + 1 < CI_HUB_QUANT_BYTES; length++) type[length] = (char)tolower(quant[length]);
    type[length] = 0;
    if (quant[length]) type[0] = 0; /* longer than any */
    if (strncmp(type, "ud-", 3) == 0) memmove(type, type + 3, strlen(type + 3) + 1);
    if (strcmp(type, "fp16") == 0 || strcmp(type, "fp32") == 0) memmove(type + 1, type + 2, 3);
    char *experts = strstr(type, "_moe");
    if (experts && !experts[4]) *experts = 0;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* q4_k..., iq2_..., tq1_0, and those that are whole names. */
static bool is_quant_type(const char *type) {
    static const char *const whole[] = {"f32", "f16", "bf16", "f64", "mxfp4", "nvfp4"};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (strcmp(type, whole[i]) == 0) return true;
    const char *rest = type + (*type == 'i' || *type == 't');
    if (rest[0] != 'q' || !is_digit(rest[1]) || rest[2] != '_' || !rest[3]) return false;
    for (rest += 3; *rest; rest++)
        if (!is_digit(*rest) && *rest != '_' && !strchr("gklmnsx", *rest)) return false;
    return true;
}

bool ci_hub_is_quant(const char *text) {
    char type[CI_HUB_QUANT_BYTES];
    type_of(text, type);
    return is_quant_type(type);
}

/* What stands before `end`, back to the last '-' or '.' (of a folder: all of it), if it is a quant. */
static bool take(const char *begin, const char *end, bool whole, char quant[CI_HUB_QUANT_BYTES]) {
    const char *from = end;
    while (from > begin && (whole || (from[-1] != '-' && from[-1] != '.'))) from--;
    if ((size_t)(end - from) >= CI_HUB_QUANT_BYTES) return false;
    for (const char *at = from; at < end; at++) quant[at - from] = (char)toupper(*at);
    quant[end - from] = 0;
    if (ci_hub_is_quant(quant)) return true;
    *quant = 0;
    return false;
}

const char *ci_hub_quant_of(const char *path, char quant[CI_HUB_QUANT_BYTES]) {
    int number, count;
    const char *name = base_of(path), *end = path + ci_kind_split_name(path, &number, &count);
    *quant = 0;
    if (end == path) end = path + strlen(path) - (ends(path, ".gguf") ? strlen(".gguf") : 0);
    if (take(name, end, false, quant)) return quant;
    while (name > path) {
        const char *folder_end = --name;
        while (name > path && name[-1] != '/') name--;
        if (take(name, folder_end, true, quant) || take(name, folder_end, false, quant)) return quant;
    }
    return quant;
}

/* Mixtures are called after the type of most weights and a size (S, M, L, XL): without that it is a type. Those of the
 * IQ types that are no type themselves are made of what has the same number of bits. */
bool ci_hub_quant_runs(const char *quant) {
    char type[CI_HUB_QUANT_BYTES];
    if (!*quant) return true;
    type_of(quant, type);
    if (!is_quant_type(type)) return false;
    if (ci_type_from_name(type)) return true;
    if (strncmp(type, "q8_k_", 5) == 0) return true; /* Q8_0 and 16 bits */
    char *size = strrchr(type, '_');
    if (!size || !size[1] || strspn(size + 1, "smlx") != strlen(size + 1)) return false;
    if (*type == 'i') {
        size_t bits = strlen("iq2_");
        for (size_t i = 0; ci_types[i]; i++)
            if (strncmp(ci_types[i]->name, type, bits) == 0) return true;
        return false;
    }
    *size = 0;
    return ci_type_from_name(type) != NULL;
}

int ci_hub_quant_rank(const char *quant) {
    enum { COUNT = sizeof preferred / sizeof *preferred };
    const char *name = strncasecmp(quant, "UD-", 3) == 0 ? quant + 3 : quant;
    for (int i = 0; i < COUNT; i++) {
        size_t length = strlen(preferred[i]);
        if (strncasecmp(name, preferred[i], length) == 0 && (!name[length] || strcasecmp(name + length, "_MOE") == 0))
            return i;
    }
    return COUNT;
}

/* ---- tags ---- */

static bool is_name(const char *path, const char *tag) {
    const char *name = base_of(path);
    size_t length = strlen(tag);
    return strncasecmp(name, tag, length) == 0 && (!name[length] || strcasecmp(name + length, ".gguf") == 0);
}

int ci_hub_tag_fits(const char *path, const char *tag) {
    char quant[CI_HUB_QUANT_BYTES];
    size_t length = strlen(tag);
    if (!length) return 0;
    int best = strcasecmp(ci_hub_quant_of(path, quant), tag) == 0 || is_name(path, tag) ? 3 : 0;
    for (const char *at = strcasestr(path, tag); at && best < 3; at = strcasestr(at + 1, tag)) {
        if (!at[length] || !strchr(".-/", at[length])) continue;
        int fits = at == path || strchr("-._/", at[-1]) ? 2 : 1;
        if (fits > best) best = fits;
    }
    return best;
}
