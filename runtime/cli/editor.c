/* editor.c: see editor.h. */
#define _GNU_SOURCE
#include "cli/editor.h"

#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "cli/editline.h"
#include "cli/history.h"
#include "cli/interrupt.h"
#include "cli/keyboard.h"
#include "cli/output.h"

struct ci_editor {
    /* of a terminal's; `line` NULL: lines come as they come */
    EditLine *line;
    HistoryW *history;
    FILE *out, *nowhere;
    locale_t characters; /* libedit shows and measures characters by the thread's locale, which may know ASCII alone */
    struct ci_keyboard keyboard;
    char *history_path; /* NULL: none is kept */
    bool goes_on, no_memory;

    /* of any other */
    char *plain;
    size_t plain_capacity;
    bool began; /* the first line was read */
};

/* libedit gives its functions nothing of ours. There is one chat. */
static struct ci_editor *current;

/* ---- what libedit calls ---- */

static int get_character(EditLine *line, wchar_t *character) {
    (void)line;
    return ci_keyboard_next(&current->keyboard, character);
}

/* Between \1 and \1: what takes no room. */
static wchar_t *prompt(EditLine *line) {
    static wchar_t text[64];
    (void)line;
    const char *on = ci_color("\033[1;32m"), *off = ci_color("\033[0m");
    const char *mark = *on ? "\1" : "";
    swprintf(text, sizeof text / sizeof *text, L"%s%s%s%s%s%s%s ", mark, on, mark, current->goes_on ? "..." : ">", mark,
             off, mark);
    return text;
}

static bool insert(const wchar_t *text) {
    bool inserted = ci_editline.el_winsertstr(current->line, text) == 0;
    if (!inserted) current->no_memory = true;
    return inserted;
}

static unsigned char new_line(EditLine *line, int key) {
    (void)line;
    (void)key;
    return insert(L"\n") ? CC_REFRESH : CC_EOF;
}

/* All of a paste at once: shown once, and its line breaks end nothing. */
static unsigned char paste(EditLine *line, int key) {
    size_t count = 0, capacity = 1024;
    wchar_t *text = malloc(capacity * sizeof *text), character;
    (void)line;
    (void)key;
    while (text && ci_keyboard_next_pasted(&current->keyboard, &character) > 0) {
        if (count + 1 == capacity) {
            wchar_t *grown = realloc(text, 2 * capacity * sizeof *text);
            if (!grown) free(text);
            text = grown;
            capacity *= 2;
        }
        if (text) text[count++] = character;
    }
    if (text) text[count] = 0;
    current->no_memory = current->no_memory || !text;
    bool inserted = text && (!count || insert(text));
    free(text);
    return inserted ? CC_REFRESH : CC_EOF;
}

static void on_change(void *user, enum ci_keyboard_change change) {
    struct ci_editor *editor = user;
    if (change == CI_KEYBOARD_RESIZE) {
        ci_editline.el_resize(editor->line);
        return;
    }
    if (change == CI_KEYBOARD_STOP) {
        ci_editline.el_set(editor->line, EL_PREP_TERM, 0);
        ci_keyboard_stop(&editor->keyboard);
    }
    /* The shell had it, and may have written to it. */
    ci_editline.el_set(editor->line, EL_PREP_TERM, 1);
    ci_editline.el_set(editor->line, EL_REFRESH);
}

/* ---- keys ---- */

static void bind_keys(EditLine *line) {
    static const struct {
        const char *keys, *function;
    } bindings[] = {
        {"\\e[200~", "clinfer-paste"},     {"\\e^M", "clinfer-new-line"}, /* Alt and Enter */
        {"\\e^J", "clinfer-new-line"},     {"^R", "em-inc-search-prev"},  {"^W", "ed-delete-prev-word"},
        {"\\e[3~", "ed-delete-next-char"}, {"\\e[H", "ed-move-to-beg"},   {"\\eOH", "ed-move-to-beg"},
        {"\\e[1~", "ed-move-to-beg"},      {"\\e[7~", "ed-move-to-beg"},  {"\\e[F", "ed-move-to-end"},
        {"\\eOF", "ed-move-to-end"},       {"\\e[4~", "ed-move-to-end"},  {"\\e[8~", "ed-move-to-end"},
        {"\\e[1;5C", "em-next-word"},      {"\\e[1;5D", "ed-prev-word"},
    };
    ci_editline.el_set(line, EL_ADDFN, "clinfer-paste", "insert what is pasted", paste);
    ci_editline.el_set(line, EL_ADDFN, "clinfer-new-line", "insert a line break", new_line);
    for (size_t i = 0; i < sizeof bindings / sizeof *bindings; i++)
        ci_editline.el_set(line, EL_BIND, bindings[i].keys, bindings[i].function, NULL);
}

/* ---- opening ---- */

static void add_to_history(void *user, const char *text, size_t length) {
    struct ci_editor *editor = user;
    HistEventW event;
    wchar_t *wide = malloc((length + 1) * sizeof *wide);
    size_t count = 0, taken;
    for (size_t at = 0; wide && at < length; at += taken)
        wide[count++] = ci_keyboard_character(text + at, length - at, &taken);
    if (wide) {
        wide[count] = 0;
        ci_editline.history_w(editor->history, &event, H_ENTER, wide);
    }
    free(wide);
}

static void open_history(struct ci_editor *editor) {
    HistEventW event;
    ci_editline.history_w(editor->history, &event, H_SETSIZE, (int)CI_HISTORY_MESSAGES);
    ci_editline.history_w(editor->history, &event, H_SETUNIQUE, 1);
    ci_editline.el_wset(editor->line, EL_HIST, ci_editline.history_w, editor->history);
    if (editor->history_path) ci_history_read(editor->history_path, add_to_history, editor);
}

/* A terminal that answers to escape sequences. */
static bool understands_sequences(void) {
    const char *terminal = getenv("TERM");
    return terminal && *terminal && strcmp(terminal, "dumb") != 0 && strcmp(terminal, "emacs") != 0;
}

/* false: lines come as they come. */
static bool open_line(struct ci_editor *editor) {
    if (!isatty(STDIN_FILENO) || !ci_editline_load()) return false;
    int out = isatty(STDERR_FILENO) ? fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0) : open("/dev/tty", O_WRONLY | O_CLOEXEC);
    if (out < 0) return false;
    static const char *const names[] = {"C.UTF-8", "en_US.UTF-8", ""};
    for (size_t i = 0; !editor->characters && i < sizeof names / sizeof *names; i++)
        editor->characters = newlocale(LC_CTYPE_MASK, names[i], (locale_t)0);
    editor->out = fdopen(out, "w");
    if (!editor->out) close(out);
    editor->nowhere = fopen("/dev/null", "we"); /* for what it says about an unknown TERM */
    if (!editor->out || !editor->nowhere || !editor->characters) return false;
    locale_t before = uselocale(editor->characters);
    editor->history = ci_editline.history_winit();
    editor->line = ci_editline.el_init("clinfer", stdin, editor->out, editor->nowhere);
    if (editor->line) {
        editor->keyboard.out = out;
        editor->keyboard.pastes = understands_sequences();
        ci_editline.el_wset(editor->line, EL_GETCFN, get_character);
        ci_editline.el_wset(editor->line, EL_PROMPT_ESC, prompt, L'\1');
        ci_editline.el_set(editor->line, EL_EDITOR, "emacs");
        bind_keys(editor->line);
        if (editor->history) open_history(editor);
    }
    uselocale(before);
    return editor->line != NULL;
}

struct ci_editor *ci_editor_open(bool keeps_history) {
    struct ci_editor *editor = calloc(1, sizeof *editor);
    if (!editor) return NULL;
    current = editor;
    editor->history_path = keeps_history ? ci_history_path() : NULL;
    /* What lies in a buffer cannot be waited for. */
    if (!open_line(editor)) setvbuf(stdin, NULL, _IONBF, 0);
    return editor;
}

void ci_editor_close(struct ci_editor *editor) {
    if (!editor) return;
    if (editor->line) ci_editline.el_end(editor->line);
    if (editor->history) ci_editline.history_wend(editor->history);
    if (editor->out) fclose(editor->out);
    if (editor->nowhere) fclose(editor->nowhere);
    if (editor->characters) freelocale(editor->characters);
    free(editor->keyboard.bytes);
    free(editor->history_path);
    free(editor->plain);
    free(editor);
    current = NULL;
}

/* ---- lines ---- */

static enum ci_editor_event read_plain(struct ci_editor *editor, bool goes_on, struct ci_kept_text *text) {
    if (isatty(STDIN_FILENO))
        fprintf(stderr, "%s%s%s ", ci_color("\033[1;32m"), goes_on ? "..." : ">", ci_color("\033[0m"));
    fflush(stderr);
    ssize_t bytes = ci_interrupt_wait_input() ? getline(&editor->plain, &editor->plain_capacity, stdin) : -1;
    if (bytes < 0) {
        bool interrupted = ci_interrupted();
        if (interrupted) clearerr(stdin);
        return interrupted ? CI_EDITOR_INTERRUPTED : CI_EDITOR_END;
    }
    if (bytes && editor->plain[bytes - 1] == '\n') bytes--;
    /* As in the lines of --batch: a carriage return before the end is Windows', and a byte order mark no text. */
    if (bytes && editor->plain[bytes - 1] == '\r') bytes--;
    bool mark = !editor->began && bytes >= 3 && memcmp(editor->plain, "\xef\xbb\xbf", 3) == 0;
    editor->began = true;
    return ci_keep_text(text, editor->plain + (mark ? 3 : 0), (size_t)bytes - (mark ? 3 : 0)) ? CI_EDITOR_LINE
                                                                                              : CI_EDITOR_NO_MEMORY;
}

static bool keep_line(const wchar_t *line, int count, struct ci_kept_text *text) {
    char bytes[4];
    for (int i = 0; i < count; i++)
        if (!ci_keep_text(text, bytes, ci_keyboard_text(line[i], bytes))) return false;
    return ci_keep_text(text, "", 0);
}

enum ci_editor_event ci_editor_read(struct ci_editor *editor, bool goes_on, struct ci_kept_text *text) {
    if (!editor->line) return read_plain(editor, goes_on, text);
    int count = 0;
    editor->goes_on = goes_on;
    editor->no_memory = false;
    locale_t before = uselocale(editor->characters);
    ci_keyboard_enter(&editor->keyboard, on_change, editor);
    /* Before the prompt shows: whoever sees it may send a line that is longer than the terminal's own lines may be. */
    ci_editline.el_set(editor->line, EL_PREP_TERM, 1);
    ci_keyboard_look(&editor->keyboard);
    const wchar_t *line = ci_editline.el_wgets(editor->line, &count);
    ci_keyboard_leave(&editor->keyboard);
    uselocale(before);
    if (editor->no_memory) return CI_EDITOR_NO_MEMORY;
    if (ci_interrupted()) return CI_EDITOR_INTERRUPTED;
    if (!line || count <= 0) return CI_EDITOR_END;
    if (line[count - 1] == L'\n') count--;
    return keep_line(line, count, text) ? CI_EDITOR_LINE : CI_EDITOR_NO_MEMORY;
}

void ci_editor_remember(struct ci_editor *editor, const char *text, size_t length) {
    if (!editor->line || !length) return;
    if (editor->history) {
        locale_t before = uselocale(editor->characters);
        add_to_history(editor, text, length);
        uselocale(before);
    }
    if (!editor->history_path || ci_history_append(editor->history_path, text, length) == CLINFER_OK) return;
    ci_warn(
        "%s; the messages of this chat are not kept; XDG_STATE_HOME names another folder, --no-history does without",
        ci_status_message());
    free(editor->history_path);
    editor->history_path = NULL;
}
