/* editor.h: the lines of a chat. On a terminal they are edited by libedit (arrow keys, Emacs' keys, the history of
 * earlier messages), and what is pasted stays one text, whatever line breaks it has. Elsewhere, and where there is no
 * libedit, they are read as they come. Nothing is cut: a line may have any length and any bytes.
 *
 * What libedit shows goes to standard error, or to the terminal itself where that goes elsewhere: never to standard
 * output, which has the answers. Between two lines the terminal is as it was. */
#ifndef CI_CLI_EDITOR_H
#define CI_CLI_EDITOR_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/output.h"

struct ci_editor;

/* NULL: out of memory. */
struct ci_editor *ci_editor_open(bool keeps_history);
void ci_editor_close(struct ci_editor *editor);

enum ci_editor_event {
    CI_EDITOR_LINE,
    CI_EDITOR_INTERRUPTED, /* Ctrl-C: what was typed is gone */
    CI_EDITOR_END,         /* of the input, or Ctrl-D in an empty line */
    CI_EDITOR_NO_MEMORY
};

/* Appends a line, without the break that ended it, to `text`; `goes_on`: it belongs to the one before, which the prompt
 * shows. */
enum ci_editor_event ci_editor_read(struct ci_editor *editor, bool goes_on, struct ci_kept_text *text);

/* For the arrow keys, and for later chats. */
void ci_editor_remember(struct ci_editor *editor, const char *text, size_t length);

#endif
