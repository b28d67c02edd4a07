/* inspect_text.h: what a model file says of text: its chat template, the tokens that end an answer, how tokens are
 * drawn. */
#ifndef CI_CLI_INSPECT_TEXT_H
#define CI_CLI_INSPECT_TEXT_H

#include <clinfer.h>

#include "format/gguf.h"
#include "text/chat.h"
#include "text/tokenizer.h"

enum { CI_INSPECT_ENDS = 16, CI_INSPECT_END_BYTES = 64 };

struct ci_inspected_text {
    struct ci_chat_facts chat;
    bool tools;                                       /* the template writes what tools there are */
    bool switchable;                                  /* its variable enable_thinking changes what it writes */
    char ends[CI_INSPECT_ENDS][CI_INSPECT_END_BYTES]; /* tokens that end an answer, as the file spells them */
    int end_count;
};

/* `chat` is the one that the file itself asks for, and can make prompts. */
enum clinfer_status ci_inspect_text(const struct ci_gguf *gguf, struct ci_tokenizer *tokenizer,
                                    const struct ci_chat *chat, struct ci_inspected_text *found);

#endif
