/* quant.h: what the name of a GGUF file says: whether it is a model at all, which quant it is, and whether clinfer runs
 * that. Pure text: nothing is opened, so it may be wrong, and what is opened is judged by what stands in it. */
#ifndef CI_HUB_QUANT_H
#define CI_HUB_QUANT_H

#include <stdbool.h>

enum { CI_HUB_QUANT_BYTES = 32 };

/* Whether the path, with '/' between its folders, is that of a GGUF file that may hold a model: not a projector
 * (mmproj), an importance matrix, a draft model of some kind (mtp-, eagle3-, dflash-, dspark-). Later parts of split
 * models are such files, too. */
bool ci_hub_is_model_file(const char *path);

/* A pickle, which can run any program when it is opened: .bin, .pt, .pth, .ckpt, .pkl, .pickle. */
bool ci_hub_is_pickle(const char *path);

/* The quant of a GGUF file, in upper case ("Q4_K_M", "BF16"): the last word of its name, after a '-' or a '.' and
 * without "-00001-of-00003"; where that is no quant, a folder that is called like one. Returns `quant`, "" if there is
 * none. */
const char *ci_hub_quant_of(const char *path, char quant[CI_HUB_QUANT_BYTES]);

/* Whether a text is what quants are called, however it is written: "q4_k_m", "IQ2_XXS", "UD-Q4_K_XL", "f16". */
bool ci_hub_is_quant(const char *text);

/* Whether clinfer has the types that weights of this quant have. "" (not known) may run. */
bool ci_hub_quant_runs(const char *quant);

/* Its place in the order in which quants are preferred where nobody says which, 0 is the best; unknown ones are last.
 */
int ci_hub_quant_rank(const char *quant);

/* How well a tag that somebody typed after ':' fits a file of a repo, in any case of letters: 0 not at all; 1 it is
 * somewhere in the path, followed by '.', '-' or '/' (as llama.cpp takes it); 2 and begins a word there; 3 it is the
 * quant, or the name without ".gguf". */
int ci_hub_tag_fits(const char *path, const char *tag);

#endif
