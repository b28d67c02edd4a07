/* kind.c: see kind.h. Tables of first bytes where those decide, a few lines of code where they do not. Nothing is
 * opened or read but what the caller has mapped, and the names in a folder. */
#define _GNU_SOURCE
#include "format/kind.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/names.h"
#include "base/narrow.h"
#include "base/status.h"
#include "format/gguf.h"
#include "format/safetensors.h"

enum {
    LOOKED_AT = 512,     /* bytes that decide whether a file is text */
    SHOWN = 60,          /* bytes of a text that a message quotes */
    RECORD_NAMES = 65536 /* where the name of an archive's first record lies */
};

#define CONVERT "fetch the model as a GGUF file, or make one with llama.cpp's convert_hf_to_gguf.py"
#define UNPACK "unpack it, and give -m the GGUF file that was in it"
#define NO_MODEL "give -m a GGUF file"

/* ---- by first bytes ---- */

struct magic {
    size_t offset, length;
    const char *bytes;
    enum clinfer_status status;
    const char *what, *next;
};

#define MAGIC(offset, bytes) offset, sizeof bytes - 1, bytes

/* GGML wrote its magics as numbers, so that they stand backwards in the files of today's machines. */
static const struct magic magics[] = {
    {MAGIC(0, "FUGG"), CLINFER_UNSUPPORTED, "a big-endian GGUF file",
     "fetch the little-endian one, or turn it with llama.cpp's gguf_convert_endian.py FILE little"},
    {MAGIC(0, "lmgg"), CLINFER_UNSUPPORTED, "a GGML file, older than GGUF (or one of whisper.cpp)", CONVERT},
    {MAGIC(0, "ggml"), CLINFER_UNSUPPORTED, "a GGML file, older than GGUF", CONVERT},
    {MAGIC(0, "fmgg"), CLINFER_UNSUPPORTED, "a GGMF file, older than GGUF", CONVERT},
    {MAGIC(0, "ggmf"), CLINFER_UNSUPPORTED, "a GGMF file, older than GGUF", CONVERT},
    {MAGIC(0, "tjgg"), CLINFER_UNSUPPORTED, "a GGJT file, older than GGUF", CONVERT},
    {MAGIC(0, "ggjt"), CLINFER_UNSUPPORTED, "a GGJT file, older than GGUF", CONVERT},
    {MAGIC(0, "algg"), CLINFER_UNSUPPORTED, "an adapter (LoRA) in a format older than GGUF",
     "give -m a model; clinfer applies no adapters"},
    {MAGIC(0, "nsgg"), CLINFER_UNSUPPORTED, "a saved session of llama.cpp", NO_MODEL},
    {MAGIC(0, "qsgg"), CLINFER_UNSUPPORTED, "a saved sequence of llama.cpp", NO_MODEL},
    {MAGIC(0, "\x1f\x8b"), CLINFER_UNSUPPORTED, "compressed with gzip", UNPACK},
    {MAGIC(0, "\x28\xb5\x2f\xfd"), CLINFER_UNSUPPORTED, "compressed with zstd", UNPACK},
    {MAGIC(0, "\xfd"
              "7zXZ\0"),
     CLINFER_UNSUPPORTED, "compressed with xz", UNPACK},
    {MAGIC(0, "\x04\x22\x4d\x18"), CLINFER_UNSUPPORTED, "compressed with lz4", UNPACK},
    {MAGIC(0, "\x5d\0\0"), CLINFER_UNSUPPORTED, "compressed with lzma", UNPACK},
    {MAGIC(0, "BZh"), CLINFER_UNSUPPORTED, "compressed with bzip2", UNPACK},
    {MAGIC(0, "7z\xbc\xaf\x27\x1c"), CLINFER_UNSUPPORTED, "a 7z archive", UNPACK},
    {MAGIC(0, "Rar!\x1a\x07"), CLINFER_UNSUPPORTED, "a RAR archive", UNPACK},
    {MAGIC(257, "ustar"), CLINFER_UNSUPPORTED, "a tar archive", UNPACK},
    {MAGIC(0, "\x93NUMPY"), CLINFER_UNSUPPORTED, "a NumPy array", CONVERT},
    {MAGIC(0, "\x89HDF\r\n\x1a\n"), CLINFER_UNSUPPORTED, "an HDF5 file (Keras)", CONVERT},
    {MAGIC(4, "TFL3"), CLINFER_UNSUPPORTED, "a TensorFlow Lite model", CONVERT},
    {MAGIC(0, "MZ"), CLINFER_UNSUPPORTED, "a program (a llamafile, perhaps)", NO_MODEL},
    {MAGIC(0, "\x7f"
              "ELF"),
     CLINFER_UNSUPPORTED, "a program", NO_MODEL},
    {MAGIC(0, "SQLite format 3"), CLINFER_UNSUPPORTED, "an SQLite database", NO_MODEL},
    {MAGIC(0, "%PDF"), CLINFER_UNSUPPORTED, "a PDF document", NO_MODEL},
    {MAGIC(0, "\x89PNG"), CLINFER_UNSUPPORTED, "a PNG picture", NO_MODEL},
    {MAGIC(0, "\xff\xd8\xff"), CLINFER_UNSUPPORTED, "a JPEG picture", NO_MODEL},
};

static bool ends(const char *name, const char *end) {
    size_t length = strlen(name), wanted = strlen(end);
    return length >= wanted && strcasecmp(name + length - wanted, end) == 0;
}

static enum clinfer_status refuse(enum clinfer_status status, const char *name, const char *what, const char *next) {
    const char *wanted = ends(name, ".safetensors") ? "SafeTensors" : "GGUF";
    return ci_fail(status, "%s: this is not a %s file but %s: %s", name, wanted, what, next);
}

static bool begins(const uint8_t *data, size_t size, size_t offset, const char *bytes, size_t length) {
    return size >= offset && size - offset >= length && memcmp(data + offset, bytes, length) == 0;
}

static bool is_one_of(uint8_t byte, const char *set) { return byte && strchr(set, byte); }

static bool contains(const uint8_t *data, size_t size, const char *word) {
    return memmem(data, size < RECORD_NAMES ? size : RECORD_NAMES, word, strlen(word)) != NULL;
}

static enum clinfer_status check_magics(const char *name, const uint8_t *data, size_t size) {
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++)
        if (begins(data, size, magics[i].offset, magics[i].bytes, magics[i].length))
            return refuse(magics[i].status, name, magics[i].what, magics[i].next);
    return CLINFER_OK;
}

/* Protocol buffers: a version of ONNX, then who wrote the file. */
static bool is_onnx(const uint8_t *data, size_t size) {
    if (size < 5 || data[0] != 0x08 || data[1] == 0 || data[1] > 31 || data[2] != 0x12 || data[3] > size - 4)
        return false;
    for (size_t i = 0; i < data[3]; i++)
        if (data[4 + i] < 0x20 || data[4 + i] > 0x7e) return false;
    return data[3] > 0 && data[3] < 64;
}

/* PyTorch saves a zip archive with data.pkl as its first record, and saved a bare pickle before 1.6. */
static enum clinfer_status check_checkpoints(const char *name, const uint8_t *data, size_t size) {
    bool zip = begins(data, size, 0, "PK\3\4", 4) || begins(data, size, 0, "PK\5\6", 4);
    if (zip && (contains(data, size, "data.pkl") || contains(data, size, "/version")))
        return refuse(CLINFER_UNSUPPORTED, name, "a PyTorch checkpoint", CONVERT);
    if (zip && contains(data, size, ".npy")) return refuse(CLINFER_UNSUPPORTED, name, "NumPy arrays (npz)", CONVERT);
    if (zip) return refuse(CLINFER_UNSUPPORTED, name, "a zip archive", UNPACK);
    if (size > 2 && data[0] == 0x80 && data[1] >= 2 && data[1] <= 5)
        return refuse(CLINFER_UNSUPPORTED, name, "a PyTorch checkpoint (a Python pickle)", CONVERT);
    if (ci_safetensors_is(data, size))
        return refuse(
            CLINFER_UNSUPPORTED, name, "a SafeTensors file",
            "give it its name, with .safetensors at the end, beside the config.json of its model, and give -m "
            "that folder");
    if (is_onnx(data, size)) return refuse(CLINFER_UNSUPPORTED, name, "an ONNX model", CONVERT);
    return CLINFER_OK;
}

/* ---- text where weights should be ---- */

#define ANSWER "it may be what a server answered instead of the model; fetch the GGUF file itself"

/* 0xff is in no UTF-8, and no letter of the Latin alphabets that anybody writes. */
static bool is_text(const uint8_t *data, size_t size) {
    for (size_t i = 0; i < size && i < LOOKED_AT; i++)
        if ((data[i] < 0x20 && !is_one_of(data[i], "\t\n\f\r")) || data[i] == 0x7f || data[i] == 0xff) return false;
    return true;
}

/* A pointer names the real file's length: "size 105453888". */
static enum clinfer_status check_pointer(const char *name, const uint8_t *data, size_t size) {
    static const char *const starts[] = {"version https://git-lfs", "version https://hawser", "# xet version",
                                         "/annex/objects/"};
    bool found = false;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        found = found || begins(data, size, 0, starts[i], strlen(starts[i]));
    if (!found) return CLINFER_OK;
    char bytes[32] = "", what[128];
    const char *at = memmem(data, size < LOOKED_AT ? size : LOOKED_AT, "\nsize ", 6);
    size_t left = at ? size - (size_t)((const uint8_t *)at + 6 - data) : 0;
    for (size_t i = 0; i < left && i + 1 < sizeof bytes && isdigit((unsigned char)at[6 + i]); i++) bytes[i] = at[6 + i];
    snprintf(what, sizeof what, "the pointer that git keeps in its place (git-lfs)%s%s%s",
             *bytes ? "; the model has " : "", bytes, *bytes ? " bytes" : "");
    return refuse(CLINFER_BAD_FILE, name, what, "run `git lfs pull` in its repository, or download the file itself");
}

/* What a server answered instead of the file: a page, an error, or something else that was saved under its name. */
static enum clinfer_status check_text(const char *name, const uint8_t *data, size_t size) {
    if (begins(data, size, 0, "\xff\xfe", 2) || begins(data, size, 0, "\xfe\xff", 2))
        return refuse(CLINFER_BAD_FILE, name, "a text in UTF-16", ANSWER);
    if (!is_text(data, size)) return CLINFER_OK;
    size_t start = begins(data, size, 0, "\xef\xbb\xbf", 3) ? 3 : 0;
    while (start < size && is_one_of(data[start], " \t\r\n\f")) start++;
    if (size - start > 1 && data[start] == '<' && (isalpha(data[start + 1]) || is_one_of(data[start + 1], "!?")))
        return refuse(CLINFER_BAD_FILE, name, "a web page (HTML or XML)",
                      "its address led to a page; fetch the file itself (on Hugging Face .../resolve/main/FILE.gguf, "
                      "signed in where the model asks for it)");
    char shown[SHOWN + 1] = "", what[SHOWN + 64];
    for (size_t i = 0; i < SHOWN && start + i < size && data[start + i] >= 0x20; i++) {
        uint8_t byte = data[start + i];
        shown[i] = byte < 0x7f ? (char)byte : '?'; /* it may end within a character */
    }
    bool json = start < size && (data[start] == '{' || data[start] == '[');
    snprintf(what, sizeof what, "%s that begins with \"%s\"", json ? "JSON" : "a text", shown);
    return refuse(CLINFER_BAD_FILE, name, what, ANSWER);
}

/* llama.cpp's older importance matrices: a count, then names of tensors behind their lengths. */
static bool is_old_imatrix(const uint8_t *data, size_t size) {
    static const char *const names[] = {"blk.", "output.weight", "token_embd.weight"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (begins(data, size, 8, names[i], strlen(names[i])) && data[5] == 0 && data[6] == 0 && data[7] == 0)
            return true;
    return false;
}

enum clinfer_status ci_kind_check_bytes(const char *name, const uint8_t *data, size_t size) {
    static const uint8_t zeros[LOOKED_AT];
    if (size == 0)
        return ci_fail(CLINFER_BAD_FILE, "%s: the file is empty, truncated to nothing: fetch it again", name);
    if (begins((const uint8_t *)"GGUF", 4, 0, (const char *)data, size < 4 ? size : 4)) return CLINFER_OK;
    if (memcmp(data, zeros, size < LOOKED_AT ? size : LOOKED_AT) == 0)
        return ci_fail(
            CLINFER_BAD_FILE,
            "%s: the file begins with zeros: its download has not come so far; wait for it or fetch it again", name);
    enum clinfer_status status = check_magics(name, data, size);
    if (status == CLINFER_OK) status = check_checkpoints(name, data, size);
    if (status == CLINFER_OK) status = check_pointer(name, data, size);
    if (status == CLINFER_OK && is_old_imatrix(data, size))
        status = refuse(CLINFER_UNSUPPORTED, name, "an importance matrix (imatrix), which quantising uses",
                        "give -m the model itself");
    return status == CLINFER_OK ? check_text(name, data, size) : status;
}

/* ---- by path ---- */

/* scheme://, with a scheme as RFC 3986 spells it. */
static bool is_url(const char *path) {
    size_t length = 0;
    while (isalnum((unsigned char)path[length]) || (length && path[length] && strchr("+-.", path[length]))) length++;
    return length > 1 && strncmp(path + length, "://", 3) == 0;
}

static enum clinfer_status refuse_url(const char *path) {
    if (strncasecmp(path, "file://", 7) == 0)
        return ci_fail(CLINFER_UNSUPPORTED, "%s: this is an address: give -m the path alone, %s", path,
                       path + (strncasecmp(path, "file://localhost/", 17) == 0 ? 16 : 7));
    return ci_fail(
        CLINFER_UNSUPPORTED,
        "%s: this is an address, not a file: `clinfer pull ADDRESS` fetches a GGUF file, and -mu ADDRESS does "
        "so where -m stands",
        path);
}

/* Folders with SafeTensors are models, and opened otherwise (folder.h). */
static enum clinfer_status refuse_folder(const char *path) {
    char models[256] = "";
    bool weights = false;
    DIR *folder = opendir(path);
    if (!folder)
        return ci_fail(CLINFER_IO, "%s: this is a folder, and it cannot be read: %s; give -m the path of a GGUF file",
                       path, strerror(errno));
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (ends(entry->d_name, ".gguf")) ci_names_add(models, sizeof models, entry->d_name);
        weights = weights || (strncmp(entry->d_name, "pytorch_model", 13) == 0 && ends(entry->d_name, ".bin"));
    }
    closedir(folder);
    if (*models)
        return ci_fail(CLINFER_UNSUPPORTED, "%s: this is a folder: give -m one of the files in it: %s", path, models);
    if (weights)
        return ci_fail(
            CLINFER_UNSUPPORTED,
            "%s: this is a folder with a PyTorch checkpoint: fetch the model as SafeTensors or GGUF, or make a "
            "GGUF file of it with llama.cpp's convert_hf_to_gguf.py %s",
            path, path);
    return ci_fail(CLINFER_UNSUPPORTED, "%s: this is a folder without GGUF or SafeTensors files: give -m a model",
                   path);
}

enum clinfer_status ci_kind_check_path(const char *path) {
    struct stat info;
    if (stat(path, &info) != 0) return is_url(path) ? refuse_url(path) : CLINFER_OK;
    if (S_ISREG(info.st_mode)) return CLINFER_OK;
    if (S_ISDIR(info.st_mode)) return refuse_folder(path);
    const char *what = S_ISFIFO(info.st_mode)   ? "a FIFO (named pipe)"
                       : S_ISSOCK(info.st_mode) ? "a socket"
                                                : "a device";
    return ci_fail(CLINFER_UNSUPPORTED,
                   "%s: this is %s, and models are mapped, not read: save it as a file, and give -m that", path, what);
}

/* Behind separators a number, which it skips: NULL where there is none. */
static const char *skip_number(const char *at) {
    at += strspn(at, "-_.");
    size_t digits = strspn(at, "0123456789");
    return digits ? at + digits : NULL;
}

/* "part1of3", "part-00002-of-00003", "gguf-split-a": so programs and people name pieces. */
enum clinfer_status ci_kind_check_piece(const char *name) {
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
    bool piece = strcasestr(base, "gguf-split-") != NULL;
    for (const char *mark = base; !piece && (mark = strcasestr(mark, "part")); mark += 4) {
        const char *at = skip_number(mark + 4);
        if (at) at += strspn(at, "-_.");
        piece = at && strncasecmp(at, "of", 2) == 0 && skip_number(at + 2);
    }
    if (!piece) return CLINFER_OK;
    return ci_fail(CLINFER_UNSUPPORTED,
                   "%s: by its name a piece of a file that was cut up: fetch all pieces, join them in their order (cat "
                   "PIECE1 PIECE2 ... > model.gguf), and give -m the whole",
                   name);
}

/* Five digits at `at`, and `behind` behind them. -1: something else. */
static int five_digits(const char *at, const char *behind) {
    if (strspn(at, "0123456789") != 5 || strncmp(at + 5, behind, strlen(behind)) != 0) return -1;
    return atoi(at);
}

size_t ci_kind_split_name(const char *path, int *number, int *count) {
    static const char pattern[] = "-00001-of-00003.gguf";
    size_t length = strlen(path), end = sizeof pattern - 1;
    if (length < end || path[length - end] != '-') return 0;
    *number = five_digits(path + length - end + 1, "-of-");
    *count = five_digits(path + length - end + 10, ".gguf");
    return *number > 0 && *count >= *number ? length - end : 0;
}

/* ---- by metadata ---- */

static bool text_is(const struct ci_gguf_value *value, const char *text) {
    if (!value || value->type != CI_GGUF_STRING) return false;
    struct ci_gguf_string string = ci_gguf_string_at(value, 0);
    return string.length == strlen(text) && memcmp(string.text, text, string.length) == 0;
}

/* Any of these entries decides; the writers of some kinds leave out general.type. */
static const struct kind {
    const char *type, *architecture, *key; /* of general.type, general.architecture, any entry; NULL: none */
    const char *what, *next;
} kinds[] = {
    {"adapter", NULL, "adapter.type", "an adapter (LoRA): a change to a model, and none itself",
     "clinfer applies no adapters; merge it into its model with llama.cpp's llama-export-lora, and give -m the result"},
    {"imatrix", NULL, "imatrix.chunk_count", "an importance matrix (imatrix), which quantising uses",
     "give -m the model itself"},
    {"mmproj", "clip", "clip.has_vision_encoder", "the part of a model that reads pictures or sound (mmproj)",
     "clinfer runs the part that reads and writes text; give -m that one's file, it lies beside this"},
    {"mmproj", "clip", "clip.has_audio_encoder", "the part of a model that reads sound (mmproj)",
     "clinfer runs the part that reads and writes text; give -m that one's file, it lies beside this"},
    {NULL, "controlvector", "controlvector.model_hint", "a control vector: a change to a model, and none itself",
     "give -m the model itself; clinfer applies no control vectors"},
};

enum clinfer_status ci_kind_check_metadata(const struct ci_gguf *gguf) {
    const struct ci_gguf_value *type = ci_gguf_find(gguf, "general.type");
    const struct ci_gguf_value *architecture = ci_gguf_find(gguf, "general.architecture");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const struct kind *kind = &kinds[i];
        if ((kind->type && text_is(type, kind->type)) ||
            (kind->architecture && text_is(architecture, kind->architecture)) || ci_gguf_find(gguf, kind->key))
            return ci_fail(CLINFER_UNSUPPORTED, "%s: this is %s: %s", ci_gguf_path(gguf), kind->what, kind->next);
    }
    if (!type || text_is(type, "model")) return CLINFER_OK;
    struct ci_gguf_string text;
    enum clinfer_status status = ci_gguf_get_string(gguf, "general.type", CI_GGUF_REQUIRED, &text);
    if (status != CLINFER_OK) return status;
    return ci_fail(CLINFER_UNSUPPORTED,
                   "%s: general.type: \"%.*s\": not a model; give -m a GGUF file of type \"model\"", ci_gguf_path(gguf),
                   ci_shown(text.length, SHOWN), text.text);
}

enum clinfer_status ci_kind_check_weights(const struct ci_gguf *gguf) {
    if (ci_gguf_tensor_count(gguf)) return CLINFER_OK;
    return ci_fail(CLINFER_UNSUPPORTED, "%s: this file has %s and no weights: give -m the model itself",
                   ci_gguf_path(gguf),
                   ci_gguf_find(gguf, "tokenizer.ggml.tokens") ? "a vocabulary (for `clinfer tokenize`)" : "metadata");
}
