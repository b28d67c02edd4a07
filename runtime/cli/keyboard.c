/* keyboard.c: see keyboard.h. */
#define _GNU_SOURCE
#include "cli/keyboard.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/interrupt.h"
#include "text/utf8.h"

static const char paste_on[] = "\033[?2004h", paste_off[] = "\033[?2004l", paste_end[] = "\033[201~";

enum { RAW = 0xdc00 };

/* ---- the terminal while a line is read ---- */

static const int noticed[] = {SIGTSTP, SIGCONT, SIGWINCH};
static const int deadly[] = {SIGTERM, SIGHUP, SIGQUIT, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
enum { NOTICED = sizeof noticed / sizeof *noticed, DEADLY = sizeof deadly / sizeof *deadly };

/* A signal handler is given nothing: this is the keyboard that is read now. */
static struct {
    pthread_t owner;
    struct termios shell; /* the terminal as it was */
    bool is_terminal;
    int out; /* -1: nothing to take back */
    volatile sig_atomic_t pending[NOTICED];
    struct sigaction noticed[NOTICED], deadly[DEADLY]; /* what was there before */
    sigset_t mask;
    ci_keyboard_changed *changed;
    void *user;
} now;

static void tell(int out, const char *sequence) {
    /* To whoever closed the terminal there is nothing to say. */
    ssize_t written = write(out, sequence, strlen(sequence));
    (void)written;
}

static void on_notice(int number) {
    if (!pthread_equal(pthread_self(), now.owner)) {
        pthread_kill(now.owner, number);
        return;
    }
    for (int i = 0; i < NOTICED; i++)
        if (noticed[i] == number) now.pending[i] = 1;
}

static void on_death(int number) {
    if (now.out >= 0) tell(now.out, paste_off);
    if (now.is_terminal) tcsetattr(STDIN_FILENO, TCSANOW, &now.shell);
    for (int i = 0; i < DEADLY; i++)
        if (deadly[i] == number) sigaction(number, &now.deadly[i], NULL);
    raise(number);
}

static void watch(const int *signals, int count, void (*handler)(int), struct sigaction *before) {
    struct sigaction action = {.sa_handler = handler};
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < count; i++) {
        sigaction(signals[i], NULL, &before[i]);
        if (before[i].sa_handler != SIG_IGN) sigaction(signals[i], &action, NULL);
    }
}

static void unwatch(const int *signals, int count, const struct sigaction *before) {
    for (int i = 0; i < count; i++) sigaction(signals[i], &before[i], NULL);
}

void ci_keyboard_enter(struct ci_keyboard *keyboard, ci_keyboard_changed *changed, void *user) {
    sigset_t set;
    now.owner = pthread_self();
    now.is_terminal = tcgetattr(STDIN_FILENO, &now.shell) == 0;
    now.out = keyboard->pastes ? keyboard->out : -1;
    keyboard->ahead = 0;
    now.changed = changed;
    now.user = user;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    for (int i = 0; i < NOTICED; i++) {
        sigaddset(&set, noticed[i]);
        now.pending[i] = 0;
    }
    /* They come while this thread waits, or not yet: none gets lost between a look and the wait. */
    pthread_sigmask(SIG_BLOCK, &set, &now.mask);
    watch(noticed, NOTICED, on_notice, now.noticed);
    watch(deadly, DEADLY, on_death, now.deadly);
    if (keyboard->pastes) tell(keyboard->out, paste_on);
}

void ci_keyboard_leave(struct ci_keyboard *keyboard) {
    if (keyboard->pastes) tell(keyboard->out, paste_off);
    unwatch(deadly, DEADLY, now.deadly);
    unwatch(noticed, NOTICED, now.noticed);
    pthread_sigmask(SIG_SETMASK, &now.mask, NULL);
}

void ci_keyboard_stop(struct ci_keyboard *keyboard) {
    sigset_t stop;
    if (keyboard->pastes) tell(keyboard->out, paste_off);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTSTP);
    unwatch(noticed, 1, now.noticed);
    raise(SIGTSTP);
    pthread_sigmask(SIG_UNBLOCK, &stop, NULL); /* here it stops */
    pthread_sigmask(SIG_BLOCK, &stop, NULL);
    watch(noticed, 1, on_notice, now.noticed);
    if (keyboard->pastes) tell(keyboard->out, paste_on);
}

static void pass_on_changes(void) {
    for (int i = 0; i < NOTICED; i++) {
        if (!now.pending[i]) continue;
        now.pending[i] = 0;
        if (now.changed) now.changed(now.user, (enum ci_keyboard_change)i);
    }
}

/* ---- bytes ---- */

enum { ROOM = 4096, AHEAD = 1 << 20, CTRL_D = 4 };

static bool make_room(struct ci_keyboard *keyboard) {
    if (keyboard->at && keyboard->count - keyboard->at < keyboard->capacity / 2) {
        memmove(keyboard->bytes, keyboard->bytes + keyboard->at, keyboard->count - keyboard->at);
        keyboard->count -= keyboard->at;
        keyboard->at = 0;
    }
    if (keyboard->capacity - keyboard->count >= ROOM) return true;
    unsigned char *grown = realloc(keyboard->bytes, 2 * keyboard->capacity + 2 * ROOM);
    if (!grown) return false;
    keyboard->bytes = grown;
    keyboard->capacity = 2 * keyboard->capacity + 2 * ROOM;
    return true;
}

void ci_keyboard_look(struct ci_keyboard *keyboard) {
    if (ioctl(STDIN_FILENO, FIONREAD, &keyboard->ahead) != 0) keyboard->ahead = 0;
}

/* Ctrl-D that was typed while the terminal still made lines of it has become a zero. */
static void restore_ends(struct ci_keyboard *keyboard, size_t got) {
    size_t ahead = keyboard->ahead < (int)got ? (size_t)keyboard->ahead : got;
    for (size_t i = 0; i < ahead; i++)
        if (!keyboard->bytes[keyboard->count + i]) keyboard->bytes[keyboard->count + i] = CTRL_D;
    keyboard->ahead -= (int)ahead;
}

/* Until [at, at + need) is there: 1; as ci_keyboard_next. What has come already, and what follows a piece that no hand
 * typed, is taken in first, most of all: whoever sends much may not look at what is shown until all of it is sent. */
static int fill(struct ci_keyboard *keyboard, size_t need) {
    struct timespec patience = {0, 0};
    while (keyboard->count - keyboard->at < AHEAD) {
        bool enough = keyboard->count - keyboard->at >= need;
        struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
        if (ci_interrupted()) return -1;
        int ready = ppoll(&input, 1, enough ? &patience : NULL, &now.mask);
        pass_on_changes();
        if (ready < 0 && errno != EINTR) return 0;
        if (ready == 0 && enough) break;
        if (ready <= 0) continue;
        if (!make_room(keyboard)) return 0;
        ssize_t got = read(STDIN_FILENO, keyboard->bytes + keyboard->count, keyboard->capacity - keyboard->count);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got <= 0) return enough;
        restore_ends(keyboard, (size_t)got);
        keyboard->count += (size_t)got;
        patience.tv_nsec = got > 100 ? 10000000 : 0;
    }
    return 1;
}

/* What the first byte promises; for one that promises nothing, 1. */
static size_t promised(unsigned char byte) {
    return byte < 0xc2 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : byte < 0xf5 ? 4 : 1;
}

wchar_t ci_keyboard_character(const char *text, size_t length, size_t *taken) {
    size_t bytes = ci_utf8_character(text, length);
    uint32_t code = bytes ? ci_utf8_decode(text, bytes) : 0;
    *taken = 1;
    if (!bytes || code == 0 || (code >= 0x80 && code < 0xa0)) return (wchar_t)(RAW + (unsigned char)text[0]);
    *taken = bytes;
    return (wchar_t)code;
}

size_t ci_keyboard_text(wchar_t character, char *out) {
    if (character < RAW || character > RAW + 0xff) return ci_utf8_encode((uint32_t)character, out);
    out[0] = (char)(character - RAW);
    return 1;
}

int ci_keyboard_next(struct ci_keyboard *keyboard, wchar_t *character) {
    int there = fill(keyboard, 1);
    if (there <= 0) return there;
    size_t need = promised(keyboard->bytes[keyboard->at]), taken;
    /* Not longer than it stays a character: what does not come would be waited for. */
    for (size_t have = 1; have < need; have++)
        if (fill(keyboard, have + 1) <= 0 || (keyboard->bytes[keyboard->at + have] & 0xc0) != 0x80) break;
    size_t length = keyboard->count - keyboard->at;
    *character = ci_keyboard_character((const char *)keyboard->bytes + keyboard->at, length, &taken);
    keyboard->at += taken;
    return 1;
}

int ci_keyboard_next_pasted(struct ci_keyboard *keyboard, wchar_t *character) {
    size_t end = sizeof paste_end - 1;
    int there = fill(keyboard, 1);
    if (there > 0 && keyboard->bytes[keyboard->at] == '\033') there = fill(keyboard, end);
    if (there <= 0) return there;
    if (keyboard->bytes[keyboard->at] == '\033' && memcmp(keyboard->bytes + keyboard->at, paste_end, end) == 0) {
        keyboard->at += end;
        return 0;
    }
    there = ci_keyboard_next(keyboard, character);
    if (there > 0 && *character == '\r') *character = '\n';
    return there;
}
