/* prompt.h: the tokens of what a template made of a conversation.
 *
 * Control tokens count where the template wrote them. In a message they are plain text, so that nobody ends a turn by
 * writing "<|im_end|>". An answer that the model itself gave keeps its tokens if the message has them: text that was
 * generated need not become the same tokens when it is read, and what the KV cache has of it could not be used. */
#ifndef CI_TEXT_PROMPT_H
#define CI_TEXT_PROMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

struct ci_rendered;
struct ci_tokenizer;

/* `messages` are those that `rendered` was made of, in their order. parse_special: control tokens in contents count
 * too. The begin-of-text token comes first where the model wants one and the template did not write it. *tokens is for
 * the caller to free; NULL when *token_count is 0. */
enum clinfer_status ci_prompt_tokens(const struct ci_tokenizer *tokenizer, const struct ci_rendered *rendered,
                                     const struct clinfer_message *messages, size_t count, bool parse_special,
                                     int32_t **tokens, size_t *token_count);

/* Puts the begin-of-text token before *tokens where the model wants one and they do not begin with it. On failure they
 * are freed. */
enum clinfer_status ci_prompt_add_begin(const struct ci_tokenizer *tokenizer, int32_t **tokens, size_t *count);

#endif
