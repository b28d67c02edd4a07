/* keyboard.h: what is typed on a terminal, byte by byte as it comes and character by character without loss, and the
 * terminal's state around a line that is edited.
 *
 * A terminal that is asked to (ESC [ ? 2 0 0 4 h) puts what is pasted between ESC [ 2 0 0 ~ and ESC [ 2 0 1 ~
 * (https://invisible-island.net/xterm/ctlseqs/ctlseqs.html, "Bracketed Paste Mode"), so that its line breaks end no
 * line. It is asked only while a line is read, and told the opposite whichever way that ends: the line, Ctrl-Z, a
 * signal that ends the process, a crash.
 *
 * Characters are wide ones, for libedit. A byte that is part of no character, a zero, and what libedit would take for
 * a key with Meta (U+0080..U+009F) become U+DC00 + byte, which no text holds; ci_keyboard_text() turns them back. */
#ifndef CI_CLI_KEYBOARD_H
#define CI_CLI_KEYBOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <termios.h>
#include <wchar.h>

/* Starts zeroed. Whoever has it frees `bytes`. */
struct ci_keyboard {
    unsigned char *bytes; /* [at, count) of [capacity]: read, not taken yet */
    size_t at, count, capacity;
    int out;     /* the terminal, to write to */
    bool pastes; /* understands bracketed paste */
    int ahead;   /* of the bytes that come next, those typed before the line began */
};

/* What happened to the terminal while nobody typed. */
enum ci_keyboard_change { CI_KEYBOARD_STOP, CI_KEYBOARD_CONTINUE, CI_KEYBOARD_RESIZE };
typedef void ci_keyboard_changed(void *user, enum ci_keyboard_change change);

/* Around each line. One keyboard at a time. `changed` is called on this thread, from within the next two. */
void ci_keyboard_enter(struct ci_keyboard *keyboard, ci_keyboard_changed *changed, void *user);
void ci_keyboard_leave(struct ci_keyboard *keyboard);

/* When the terminal no longer makes lines and nothing asks for one yet: what is there was typed before. */
void ci_keyboard_look(struct ci_keyboard *keyboard);

/* Waits for the next character: 1; 0: the input ended, or memory; -1: Ctrl-C (interrupt.h). */
int ci_keyboard_next(struct ci_keyboard *keyboard, wchar_t *character);

/* Behind the beginning of a paste: as ci_keyboard_next, and 0 at its end too, which is taken. Line breaks are '\n'. */
int ci_keyboard_next_pasted(struct ci_keyboard *keyboard, wchar_t *character);

/* The character's bytes to out[4]; how many. */
size_t ci_keyboard_text(wchar_t character, char *out);

/* The way back: the character at text[0], of `length` bytes or fewer; *taken: how many. */
wchar_t ci_keyboard_character(const char *text, size_t length, size_t *taken);

/* For a `changed` of CI_KEYBOARD_STOP, when the terminal is as the shell wants it: stops until the shell continues. */
void ci_keyboard_stop(struct ci_keyboard *keyboard);

#endif
