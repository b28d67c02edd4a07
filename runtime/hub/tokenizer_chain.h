/* tokenizer_chain.h: a tokenizer for a model, from wherever there is one: in its GGUF file, beside its weights, in its
 * repo, in a cache, in the repo that it was made from or in a GGUF repo of the same model. The places are tried in that
 * order; what each had is said, and when all have failed the error lists them with their reasons. */
#ifndef CI_HUB_TOKENIZER_CHAIN_H
#define CI_HUB_TOKENIZER_CHAIN_H

#include "hub/pull.h"

/* `name` is a CI_HUB_REPO; pulled->path becomes that of a tokenizer.json, a tokenizer.model or a GGUF file with a
 * vocabulary. CLINFER_NOT_FOUND; CLINFER_CANCELLED. Free `pulled` in any case. */
enum clinfer_status ci_hub_tokenizer_get(struct ci_hub *hub, const struct ci_hub_name *name,
                                         struct ci_hub_pulled *pulled);

/* Whether a GGUF file has a vocabulary; `base` becomes the repo that its metadata names as the one it was made from
 * ("user/repo"), "" if none. CLINFER_NOT_FOUND: it has none; and those of ci_gguf_open. */
enum clinfer_status ci_hub_tokenizer_in(const char *path, char base[CI_HUB_REPO_BYTES]);

/* The same without the net, for a GGUF file that is being opened and has no vocabulary: the folder with a
 * tokenizer.json or tokenizer.model that lies beside it, or in a cache for its repo, the one that it was made from or a
 * twin of it. The caller frees *folder. CLINFER_NOT_FOUND. */
enum clinfer_status ci_hub_tokenizer_near(const char *path, char **folder);

/* The `base_model` of a model card, which is Markdown with YAML in front; "" if there is none that is a name. */
void ci_hub_card_base(const char *card, size_t length, char base[CI_HUB_REPO_BYTES]);

#endif
