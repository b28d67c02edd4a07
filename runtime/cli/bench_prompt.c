/* bench_prompt.c: prompts for `clinfer bench --server`: words drawn at random, so that no prompt begins as another does
 * and what a server keeps of old prompts answers none of them.
 *
 * A word with the space before it is a token of its own in most vocabularies, and is always split alike, so the server
 * is asked once for each word and never for a prompt. The first word, which has no space, may differ by a token. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "cli/bench_server.h"
#include "cli/output.h"

static const char *const words[CI_BENCH_WORDS] = {
    "time",    "year",       "people",  "way",       "day",     "man",     "thing",   "woman",     "life",
    "child",   "world",      "school",  "state",     "family",  "student", "group",   "country",   "problem",
    "hand",    "part",       "place",   "case",      "week",    "company", "system",  "program",   "question",
    "work",    "government", "number",  "night",     "point",   "home",    "water",   "room",      "mother",
    "area",    "money",      "story",   "fact",      "month",   "lot",     "right",   "study",     "book",
    "eye",     "job",        "word",    "business",  "issue",   "side",    "kind",    "head",      "house",
    "service", "friend",     "father",  "power",     "hour",    "game",    "line",    "end",       "member",
    "law",     "car",        "city",    "name",      "team",    "minute",  "idea",    "body",      "information",
    "back",    "parent",     "face",    "others",    "level",   "office",  "door",    "health",    "person",
    "art",     "war",        "history", "party",     "result",  "change",  "morning", "reason",    "research",
    "girl",    "guy",        "moment",  "air",       "teacher", "force",   "food",    "small",     "large",
    "good",    "new",        "first",   "last",      "long",    "great",   "little",  "own",       "other",
    "old",     "big",        "high",    "different", "next",    "early",   "young",   "important", "few",
    "public",  "bad",        "same",    "able",      "the",     "of",      "and",     "to",        "in",
    "for",     "on"};

bool ci_bench_words_measure(struct ci_bench_server *server) {
    bool good = true;
    for (int i = 0; i < CI_BENCH_WORDS; i++) server->words.tokens[i] = 1;
    for (int i = 0; i < CI_BENCH_WORDS && good; i++) {
        struct ci_fetch *fetch = NULL;
        char text[64];
        snprintf(text, sizeof text, " %s", words[i]);
        /* `content` and `add_special` are llama-server's names, `prompt` and `add_special_tokens` vLLM's. */
        json_t *question = json_pack("{s:s, s:s, s:s, s:b, s:b}", "model", server->model, "content", text, "prompt",
                                     text, "add_special", 0, "add_special_tokens", 0);
        char *body = question ? json_dumps(question, JSON_COMPACT) : NULL;
        json_t *answer = body ? ci_bench_server_ask(server, "/tokenize", body, &fetch) : NULL;
        size_t count = json_array_size(json_object_get(answer, "tokens"));
        good = count > 0 && count < sizeof text;
        if (good) server->words.tokens[i] = (int)count;
        ci_fetch_free(fetch);
        json_decref(answer);
        json_decref(question);
        free(body);
    }
    for (int i = 0; i < CI_BENCH_WORDS && !good; i++) server->words.tokens[i] = 1;
    return good;
}

/* A word of at most `most` tokens; -1: there is none. */
static int draw(const struct ci_bench_vocabulary *vocabulary, uint64_t *random, long long most) {
    int start = (int)(ci_random(random) % CI_BENCH_WORDS);
    for (int i = 0; i < CI_BENCH_WORDS; i++) {
        int word = (start + i) % CI_BENCH_WORDS;
        if (vocabulary->tokens[word] <= most) return word;
    }
    return -1;
}

static bool add_words(const struct ci_bench_vocabulary *vocabulary, uint64_t *random, long long tokens,
                      struct ci_kept_text *text) {
    bool good = true;
    for (int word; good && (word = draw(vocabulary, random, tokens)) >= 0; tokens -= vocabulary->tokens[word]) {
        good = (!text->length || ci_keep_text(text, " ", 1)) && ci_keep_text(text, words[word], strlen(words[word]));
    }
    return good;
}

char *ci_bench_prompt(struct ci_bench_vocabulary *vocabulary, long long tokens, long long shared) {
    struct ci_kept_text text = {0};
    uint64_t common = vocabulary->shared;
    if (shared > tokens) shared = tokens;
    bool good = ci_keep_text(&text, "", 0) && add_words(vocabulary, &common, shared, &text) &&
                add_words(vocabulary, &vocabulary->random, tokens - shared, &text);
    if (good) return text.text;
    free(text.text);
    return NULL;
}
