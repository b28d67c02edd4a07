/* confirm.h: the question before something goes that may not come back, and what is to be known then. */
#ifndef CI_CLI_CONFIRM_H
#define CI_CLI_CONFIRM_H

#include <clinfer.h>
#include <stdbool.h>

/* `yes`: the user said -y, and nothing is asked. Else the question on standard error and a line of the terminal, where
 * anything but "y" and "yes" is no. CLINFER_CANCELLED: no. CLINFER_INVALID_ARGUMENT: standard input is no terminal, so
 * that -y is needed; nothing was asked. */
enum clinfer_status ci_confirm(bool yes, const char *question);

/* Lines that end with '\n', each said by itself; NULL: none. */
void ci_say_lines(const char *lines);

#endif
