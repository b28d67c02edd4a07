/* rwkv.c: the vocabulary of RWKV World (tokenizer.ggml.model "rwkv"): the longest token at each place, nothing else.
 *
 * Tokens are any bytes, so files spell them as a Python literal does: "\n", "\t", "\r", "\x00" and a backslash before
 * what would be read otherwise. */
#include <stdlib.h>

#include "base/narrow.h"
#include "base/status.h"
#include "text/tokenizer_kind.h"
#include "text/trie.h"

struct rules {
    struct ci_trie tokens; /* of their bytes */
    int32_t unknown;
};

static void complete(struct ci_tokenizer_source *source) {
    ci_tokenizer_default_flag(&source->add_bos, false);
    ci_tokenizer_default_flag(&source->add_eos, false);
}

static int hexadecimal(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

static size_t unescape(const char *text, size_t length, int type, char *out) {
    size_t count = 0;
    (void)type;
    for (size_t at = 0; at < length; at++) {
        if (text[at] != '\\' || at + 1 == length) {
            out[count++] = text[at];
            continue;
        }
        char escaped = text[++at];
        int high = escaped == 'x' && at + 2 < length ? hexadecimal(text[at + 1]) : -1;
        int low = high >= 0 ? hexadecimal(text[at + 2]) : -1;
        if (low >= 0) {
            out[count++] = (char)(high * 16 + low);
            at += 2;
        } else {
            out[count++] = escaped == 't' ? '\t' : escaped == 'n' ? '\n' : escaped == 'r' ? '\r' : escaped;
        }
    }
    return count;
}

static ci_spelling *spelling(const struct ci_tokenizer_source *source) {
    (void)source;
    return unescape;
}

static enum clinfer_status create(const struct ci_tokenizer_source *source, const struct ci_vocabulary *vocabulary,
                                  void **created) {
    struct rules *rules = calloc(1, sizeof *rules);
    struct ci_trie_entry *entries = malloc((size_t)vocabulary->count * sizeof *entries);
    size_t count = 0;
    *created = rules;
    if (rules == NULL || entries == NULL) {
        free(entries);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "%u tokens: out of memory", vocabulary->count);
    }
    rules->unknown = source->unknown_id < 0 ? -1 : ci_narrowed(source->unknown_id);
    for (uint32_t id = 0; id < vocabulary->count; id++) {
        uint32_t begin = vocabulary->byte_offsets[id];
        if (ci_token_is_special(vocabulary->types[id])) continue;
        entries[count++] =
            (struct ci_trie_entry){vocabulary->bytes + begin, vocabulary->byte_offsets[id + 1] - begin, (int32_t)id};
    }
    enum clinfer_status status = ci_trie_build(entries, count, &rules->tokens);
    free(entries);
    return status;
}

static void destroy(void *created) {
    struct rules *rules = created;
    if (rules == NULL) return;
    ci_trie_destroy(&rules->tokens);
    free(rules);
}

static enum clinfer_status encode(const void *rules_of_kind, const struct ci_vocabulary *vocabulary,
                                  const struct ci_text_piece *piece, struct ci_token_work *work,
                                  struct ci_token_list *out) {
    const struct rules *rules = rules_of_kind;
    enum clinfer_status status = CLINFER_OK;
    (void)vocabulary;
    (void)work;
    for (size_t at = 0, taken; at < piece->length && status == CLINFER_OK; at += taken) {
        int32_t token = rules->unknown;
        uint32_t node = 0;
        taken = 1;
        for (size_t i = at; i < piece->length; i++) {
            node = ci_trie_next(&rules->tokens, node, (uint8_t)piece->text[i]);
            if (node == 0) break;
            if (rules->tokens.values[node] < 0) continue;
            token = rules->tokens.values[node];
            taken = i + 1 - at;
        }
        if (token >= 0) status = ci_token_list_append(out, token);
    }
    return status;
}

const struct ci_tokenizer_kind ci_tokenizer_kind_rwkv = {.model = "rwkv",
                                                         .title = "RWKV World",
                                                         .complete = complete,
                                                         .spelling = spelling,
                                                         .create = create,
                                                         .destroy = destroy,
                                                         .encode = encode};
