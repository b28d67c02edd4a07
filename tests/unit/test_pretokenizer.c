/* The pre-tokenizers: one text of what they disagree about, cut as Hugging Face's tokenizers cut it by the same
 * expressions. How words become tokens of whole vocabularies is compared by scripts/compare_tokenizers.py. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/words.h"
#include "text/pretokenizer.h"

static const char text[] = "I'M XMLHttp foo/\r\n\n 1234567 ne\xcc\x81"
                           "e \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c\xef\xbc\x8c x y's a\xe0\xa5\xa4"
                           "b -cd $+ <sentinel:1>IMGIMGABZ  \t  q \n\n";

/* Names that cut alike, and the words with '|' between them. */
static const struct {
    const char *names, *words;
} rows[] = {
    {"default", "I|'|M| XMLHttp| foo|/|\r\n\n| |123|456|7| ne|\xcc\x81|e| "
                "\xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y|'|s| a|\xe0\xa5\xa4|b| |-|cd| "
                "|$+| |<|sentinel|:|1|>|IMGIMGABZ|  \t | q| \n\n"},
    {"smollm starcoder refact command-r codeshell exaone minerva-7b mellum2",
     "I|'|M| XMLHttp| foo|/|\r\n\n |1|2|3|4|5|6|7| ne|\xcc\x81|e| "
     "\xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y|'s| a|\xe0\xa5\xa4|b| -|cd| $+| "
     "<|sentinel|:|1|>|IMGIMGABZ|  \t | q| \n\n"},
    {"gpt-2 gpt2 phi-2 gigachat a.x-4.0 mellum modern-bert exaone4 mpt olmo jais trillion granite-docling jina-es "
     "jina-de jina-v2-es jina-v2-de jina-v1-en jina-v2-code roberta-bpe",
     "I|'|M| XMLHttp| foo|/|\r\n\n| 1234567| ne|\xcc\x81|e| "
     "\xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y|'s| a|\xe0\xa5\xa4|b| -|cd| $+| "
     "<|sentinel|:|1|>|IMGIMGABZ|  \t | q| \n\n"},
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
     "I|'M| XMLHttp| foo|/\r\n\n| |123|456|7| ne|\xcc\x81"
     "e| \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y|'s| a|\xe0\xa5\xa4"
     "b| -|cd| $+| <|sentinel|:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"glm4 glm5", "I|'M| XMLHttp| foo|/\r\n\n| |123|456|7| ne|\xcc\x81"
                  "e| \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y|'s| a|\xe0\xa5\xa4"
                  "b| -|cd| $+| <|sentinel|:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"chatglm-bpe dbrx smaug-bpe",
     "I|'M| XMLHttp| foo|/\r\n\n| |123|456|7| ne|\xcc\x81"
     "e| \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y|'s| a|\xe0\xa5\xa4"
     "b| -|cd| $+| <|sentinel|:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2",
     "I|'M| XMLHttp| foo|/\r\n\n| |1|2|3|4|5|6|7| ne|\xcc\x81"
     "e| \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y|'s| a|\xe0\xa5\xa4"
     "b| -|cd| $+| <|sentinel|:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"qwen35", "I|'M| XMLHttp| foo|/\r\n\n| |1|2|3|4|5|6|7| ne\xcc\x81"
               "e| \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y|'s| a|\xe0\xa5\xa4"
               "b| -|cd| $+| <|sentinel|:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"minicpm5", "I|'M| XMLHttp| foo|/\r\n\n| |123|456|7| ne|\xcc\x81"
                 "e| \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y|'s| a|\xe0\xa5\xa4"
                 "b| -|cd| $+| <|sentinel|:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"laguna", "I|'M| XMLHttp| foo|/\r|\n\n| |1|2|3|4|5|6|7| ne|\xcc\x81"
               "e| \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y|'s| a|\xe0\xa5\xa4"
               "b| -|cd| $+| <|sentinel|:|1|>IMGIMGABZ|  \t | q| |\n\n"},
    {"ufakzeka", "I|'M| XMLHttp| foo|/\r\n\n| |1|2|3|4|5|6|7| ne|\xcc\x81"
                 "e| \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y|'s| a|\xe0\xa5\xa4"
                 "b| -|cd| $+| <|sentinel|:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"seed-coder", "I|'M| XMLHttp| foo|/|\r\n\n| |1|2|3|4|5|6|7| ne|\xcc\x81"
                   "e| \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y|'s| a|\xe0\xa5\xa4"
                   "b| -|cd| $+| <|sentinel|:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"bailingmoe bailingmoe2 llada-moe",
     "I|'M| XMLHttp| foo|/\r\n\n| |1|2|3|4|5|6|7| ne|\xcc\x81"
     "e| \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y|'s| a|\xe0\xa5\xa4"
     "b| -|cd| $+| <|sentinel|:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"exaone-moe", "I|'M| XMLHttp foo|/\r|\n\n| |1|2|3|4|5|6|7| ne\xcc\x81"
                   "e \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x y|'s| a|\xe0\xa5\xa4"
                   "b| -|cd| $+| <|sentinel|:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"jais-2", "I|'M| XMLHttp| foo|/\r\n\n| |123|456|7| ne|\xcc\x81"
               "e| \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y|'s| a|\xe0\xa5\xa4"
               "b| -|cd| $+| <|sentinel|:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"gpt-4o llama4 kanana2 talkie minimax-m2",
     "I'M| XMLHttp| foo|/\r\n\n| |123|456|7| ne\xcc\x81"
     "e| \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y's| a|\xe0\xa5\xa4"
     "b| -|cd| $+| <|sentinel|:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"granite-embed-multi-97m",
     "I'M| XMLHttp| foo|/\r\n\n| |123|456|7| ne\xcc\x81"
     "e| \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y's| a|\xe0\xa5\xa4"
     "b| -|cd| $+| <|sentinel|:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"tiny_aya cohere2moe", "I'M| XMLHttp| foo|/\r\n\n| |1|234|567| ne\xcc\x81"
                            "e| \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y's| a|\xe0\xa5\xa4"
                            "b| -|cd| $+| <|sentinel|:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"tekken", "I|'M| XMLHttp| foo|/\r\n\n| |1|2|3|4|5|6|7| ne\xcc\x81"
               "e| \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y|'s| a|\xe0\xa5\xa4"
               "b| -|cd| $+| <|sentinel|:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"youtu", "I'M| XMLHttp| foo|/\r\n\n| |1|2|3|4|5|6|7| ne\xcc\x81"
              "e| |\xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b|\xed\x95\x9c|\xef\xbc\x8c| x| y's| a|\xe0\xa5\xa4"
              "b| -|cd| $+| <|sentinel|:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"kimi-k2", "I'M| XMLHttp| foo|/\r\n\n| |123|456|7| ne\xcc\x81"
                "e| |\xe6\x97\xa5\xe6\x9c\xac|\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y's| a|\xe0\xa5\xa4"
                "b| -|cd| $+| <|sentinel|:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"deepseek-llm", "I|'|M| XMLHttp| foo|/|\r|\n|\n| |1234567| ne|\xcc\x81|e| "
                     "|\xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y|'|s| a|\xe0\xa5\xa4|b| "
                     "-|cd| $+| <|sentinel|:|1|>|IMGIMGABZ|  \t | q| |\n|\n"},
    {"deepseek-coder", "I|'|M| XMLHttp| foo|/|\r|\n|\n| |1|2|3|4|5|6|7| ne|\xcc\x81|e| "
                       "|\xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y|'|s| a|\xe0\xa5\xa4|b| "
                       "-|cd| $+ <|sentinel|:|1|>|IMGIMGABZ|  \t | q| |\n|\n"},
    {"deepseek-v3 hunyuan-dense joyai-llm hy_v4",
     "I|'M| XMLHttp| foo|/\r\n\n| |123|456|7| ne\xcc\x81"
     "e| |\xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b|\xed\x95\x9c|\xef\xbc\x8c| x| y|'s| a|\xe0\xa5\xa4|b| -|cd| $+| "
     "<|sentinel|:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"spark2_5", "I|'M| XMLHttp| foo|/|\r|\n|\n| |1|2|3|4|5|6|7| ne\xcc\x81"
                 "e| |\xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b|\xed\x95\x9c|\xef\xbc\x8c| x| y|'s| a|\xe0\xa5\xa4|b| -|cd| "
                 "$+| <|sentinel|:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"afmoe", "I|'M| XMLHttp| foo|/\r\n\n| |1|234|567| ne\xcc\x81"
              "e| |\xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y|'s| a|\xe0\xa5\xa4|b| -|cd| $+| "
              "<|sentinel|:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"superbpe", "I'M XMLHttp foo/\r\n\n |1|234|567| ne\xcc\x81"
                 "e \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c\xef\xbc\x8c x y's a\xe0\xa5\xa4"
                 "b -cd $+ <sentinel:|1|>IMGIMGABZ  \t  q \n\n"},
    {"falcon", "I|'|M| XMLHttp| foo|/|\r\n\n| |123|456|7| ne|\xcc\x81|e| "
               "\xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y|'|s| a|\xe0\xa5\xa4|b| |-|cd| |$+| "
               "|<|sentinel|:|1|>|IMGIMGABZ|  \t | q| \n\n"},
    {"bloom poro-chat gpt3-finnish", "I'M| XMLHttp| foo/|\r\n\n| 1234567| ne\xcc\x81"
                                     "e| \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y's| "
                                     "a|\xe0\xa5\xa4|b| -cd| $+| <sentinel:1>IMGIMGABZ|  \t | q| \n\n"},
    {"viking", "I'M| XMLHttp| foo/|\r\n\n| |1|2|3|4|5|6|7| ne\xcc\x81"
               "e| \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y's| a|\xe0\xa5\xa4|b| -cd| $+| "
               "<sentinel:|1|>IMGIMGABZ|  \t | q| \n\n"},
    {"chameleon", "I|'|M| XMLHttp| foo|/|\r|\n|\n| |1|2|3|4|5|6|7| ne|\xcc\x81|e| "
                  "\xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c|\xef\xbc\x8c| x| y|'|s| a|\xe0\xa5\xa4|b| |-|cd| "
                  "|$|+| |<|sentinel|:|1|>|IMGIMGABZ|  |\t|  |q| |\n|\n"},
    {"gemma4 granite-embed-multi-311m",
     "I'M XMLHttp foo/\r|\n\n| 1234567 ne\xcc\x81"
     "e \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c\xef\xbc\x8c x y's a\xe0\xa5\xa4"
     "b -cd $+ <sentinel:1>IMGIMGABZ  \t  q |\n\n"},
    {"sarvam-moe", "I'M XMLHttp foo/\r|\n\n| 1234567 ne\xcc\x81"
                   "e \xe6\x97\xa5\xe6\x9c\xac\xe3\x81\x8b\xed\x95\x9c\xef\xbc\x8c x y's a\xe0\xa5\xa4"
                   "b -cd $+ <sentinel:1>IMGIMGABZ  \t  q |\n\n"},
};

enum { ROWS = sizeof rows / sizeof *rows };

struct cuts {
    char text[1024];
};

static enum clinfer_status add_cut(void *user, const char *word, size_t length) {
    struct cuts *cuts = user;
    size_t used = strlen(cuts->text);
    snprintf(cuts->text + used, sizeof cuts->text - used, "%s%.*s", used ? "|" : "", (int)length, word);
    return CLINFER_OK;
}

static void cut(const char *name, size_t length, const char *piece, size_t piece_length, struct cuts *cuts) {
    struct ci_pretokenizer *pretokenizer;
    cuts->text[0] = 0;
    if (ci_pretokenizer_create(name, length, &pretokenizer) != CLINFER_OK) fail_msg("%s", clinfer_error());
    assert_int_equal(ci_pretokenizer_split(pretokenizer, piece, piece_length, add_cut, cuts), CLINFER_OK);
    ci_pretokenizer_destroy(pretokenizer);
}

static void test_each_name_cuts_as_hugging_face_does(void **state) {
    (void)state;
    for (size_t i = 0; i < ROWS; i++)
        for (const char *name = rows[i].names; *name; name += strspn(name, " ")) {
            size_t length = strcspn(name, " ");
            struct cuts cuts;
            cut(name, length, text, sizeof text - 1, &cuts);
            if (strcmp(cuts.text, rows[i].words) != 0)
                fail_msg("%.*s:\n%s\nnot\n%s", (int)length, name, cuts.text, rows[i].words);
            name += length;
        }
}

static void test_threes_are_counted_from_the_right(void **state) {
    (void)state;
    static const char *const numbers[][2] = {{"1", "1"},
                                             {"123", "123"},
                                             {"1234", "1|234"},
                                             {"12345678 90", "12|345|678| |90"},
                                             {"\xd9\xa1\xd9\xa2\xd9\xa3\xd9\xa4", "\xd9\xa1|\xd9\xa2\xd9\xa3\xd9\xa4"}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct cuts cuts;
        cut("superbpe", 8, numbers[i][0], strlen(numbers[i][0]), &cuts);
        assert_string_equal(cuts.text, numbers[i][1]);
    }
}

static enum clinfer_status count_word(void *user, const char *word, size_t length) {
    (void)word;
    *(size_t *)user += length;
    return CLINFER_OK;
}

/* A quadratic step would take minutes for a word of this length. */
static void test_long_words_take_linear_time(void **state) {
    (void)state;
    static const char *const patterns[] = {"1", "A", "a", " ", "\n", "'s", "\xe6\x97\xa5", "\xcc\x81", "Aa", "-"};
    enum { LENGTH = 1 << 17 };
    char *piece = malloc(LENGTH + 8);
    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < sizeof patterns / sizeof *patterns; j++) {
            size_t length = strcspn(rows[i].names, " "), period = strlen(patterns[j]), total = 0;
            struct ci_pretokenizer *pretokenizer;
            for (size_t at = 0; at < LENGTH; at += period) memcpy(piece + at, patterns[j], period);
            size_t bytes = (LENGTH + period - 1) / period * period;
            double start = processor_seconds();
            assert_int_equal(ci_pretokenizer_create(rows[i].names, length, &pretokenizer), CLINFER_OK);
            enum clinfer_status status = ci_pretokenizer_split(pretokenizer, piece, bytes, count_word, &total);
            ci_pretokenizer_destroy(pretokenizer);
            double taken = processor_seconds() - start;
            if (status != CLINFER_OK)
                fail_msg("%.*s: '%s': %s", (int)length, rows[i].names, patterns[j], clinfer_error());
            assert_int_equal(total, bytes);
            if (taken > 2) fail_msg("%.*s: '%s' took %.1f s", (int)length, rows[i].names, patterns[j], taken);
        }
    free(piece);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_name_cuts_as_hugging_face_does),
        cmocka_unit_test(test_threes_are_counted_from_the_right),
        cmocka_unit_test(test_long_words_take_linear_time),
    };
    return cmocka_run_group_tests_name("pretokenizer", tests, NULL, NULL);
}
