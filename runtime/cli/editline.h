/* editline.h: libedit, loaded when a chat begins: linked in the usual way it would cost every start its own loading and
 * that of three more libraries. */
#ifndef CI_CLI_EDITLINE_H
#define CI_CLI_EDITLINE_H

#include <histedit.h>
#include <stdbool.h>

/* <name>() is ci_editline.<name>(). */
#define CI_EDITLINE_LIST(X)                                                                                            \
    X(el_init)                                                                                                         \
    X(el_end)                                                                                                          \
    X(el_set)                                                                                                          \
    X(el_wset)                                                                                                         \
    X(el_wgets)                                                                                                        \
    X(el_winsertstr)                                                                                                   \
    X(el_resize)                                                                                                       \
    X(history_winit)                                                                                                   \
    X(history_wend)                                                                                                    \
    X(history_w)

struct ci_editline {
#define CI_EDITLINE_MEMBER(name) __typeof__(name) *name;
    CI_EDITLINE_LIST(CI_EDITLINE_MEMBER)
#undef CI_EDITLINE_MEMBER
};

/* For whoever has had true of ci_editline_load(). */
extern struct ci_editline ci_editline;

/* false: there is no libedit here. From one thread. */
bool ci_editline_load(void);

#endif
