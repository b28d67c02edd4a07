/* tiny_model.h: a model of any family as a GGUF file, from its keys alone: which weights it has and their shapes is
 * asked of the family's own build (ci_model_imagine()), the numbers are drawn by the tensors' names.
 *
 *     static const struct tiny_model model = {"grouped", "llama", .keys = "attention.head_count_kv=2"};
 *     tiny_model_write(&model, "/tmp/grouped.gguf");
 *
 * Whether the build asks for the right ones is told by who shares no code with it: scripts/reference_families.py has
 * llama.cpp open the file, which refuses tensors that are missing, superfluous or of another shape. Whatever fails ends
 * the process with a message. */
#ifndef TESTS_SUPPORT_TINY_MODEL_H
#define TESTS_SUPPORT_TINY_MODEL_H

struct ci_family;

enum { TINY_VOCABULARY = 32 };

struct tiny_model {
    const char *name, *architecture;
    /* "<key>=<value>", spaces between, the architecture left out: 3, 0.5, true, a word, or [1,2] for a list of these.
     * They replace the usual ones (tiny_model.c) and add to them. */
    const char *keys;
    const char *optional; /* which optional weights it has: patterns, spaces between (struct ci_imagined) */
    const struct ci_family *const *families; /* NULL: those of the library */
};

void tiny_model_write(const struct tiny_model *model, const char *path);

#endif
