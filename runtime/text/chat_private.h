/* chat_private.h: what chat.c and chat_probe.c share. */
#ifndef CI_TEXT_CHAT_PRIVATE_H
#define CI_TEXT_CHAT_PRIVATE_H

#include <stdatomic.h>

#include "text/chat.h"
#include "text/tokenizer.h"

enum role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_COUNT };

extern const char *const ci_chat_roles[ROLE_COUNT];

/* How a template wants the content of a role's messages: as a text, or as a list with a part of type "text". */
enum form { FORM_TEXT, FORM_PARTS };

struct ci_chat_built_in {
    const char *name, *text;
};

struct ci_chat {
    const struct ci_tokenizer *tokenizer;
    char *file;         /* its path */
    const char *source; /* for messages: where the template comes from */
    bool in_file;       /* the file has one */
    json_t *bos, *eos;
    json_t *variables; /* an object, or NULL */
    const struct ci_reasoning_form *reasoning;
    struct ci_template *template; /* NULL: `status` and `message` tell why no prompt can be made */
    enum clinfer_status status;
    char *message;
    const struct ci_chat_built_in *stand_in; /* what is used since the file has none; NULL */
    const struct ci_chat_built_in *named;    /* which built-in one it is; NULL */
    enum form forms[ROLE_COUNT];
    bool no_system;                     /* system messages are refused or left out */
    bool no_history;                    /* earlier messages are left out */
    bool takes_tools;                   /* it writes the request's tools */
    bool takes_calls;                   /* it writes calls in answers, and results */
    bool calls_are_text;                /* arguments as a text, not as an object */
    bool takes_functions;               /* tools are a text, `functions`, and the time is `datetime`: FireFunction's */
    const struct ci_tool_format *calls; /* how the model writes calls; NULL: not known */
    struct ci_chat *for_tools;          /* the file's template for conversations with tools; NULL: this one */
    atomic_bool told_tools, told_types, told_stand_in, told_no_system, told_no_history, told_changed;
};

/* chat.c: the template's text for these messages as they are; NULL limits: the usual ones. */
enum clinfer_status ci_chat_render_as_is(const struct ci_chat *chat, const struct clinfer_message *messages,
                                         size_t count, json_t *tools, const struct ci_chat_style *style,
                                         const struct ci_template_limits *limits, struct ci_rendered *rendered);

/* chat_probe.c: finds out what the template can do by short conversations, and which marks it writes. */
enum clinfer_status ci_chat_probe(struct ci_chat *chat, struct ci_tokenizer *tokenizer, struct ci_text_span text);

#endif
