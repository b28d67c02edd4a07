/* tokenizer_json.h: the tokenizer of a folder as the Hub has it.
 *
 * tokenizer.json says what Hugging Face's tokenizers do: a model (BPE over bytes or with bytes for what is no token,
 * unigram, WordPiece), added tokens, normalizers, pre-tokenizers, a post-processor. It is read into the same source as
 * a GGUF's vocabulary (tokenizer.h). What is not understood is CLINFER_UNSUPPORTED with its path, "pre_tokenizer.type":
 * a text that is cut otherwise than the model has learned it would give worse answers, unseen. tokenizer_config.json
 * adds which tokens begin and end a text, generation_config.json
 * which ones end generation; both may be absent. Where there is no tokenizer.json, a tokenizer.model of SentencePiece's
 * BPE takes its place, with the tokens of added_tokens.json. */
#ifndef CI_TEXT_TOKENIZER_JSON_H
#define CI_TEXT_TOKENIZER_JSON_H

#include <stddef.h>

#include <clinfer.h>

struct ci_tokenizer;

/* On failure *tokenizer is NULL, and the message begins with the file. */
enum clinfer_status ci_tokenizer_create_folder(const char *folder, struct ci_tokenizer **tokenizer);

/* The same from bytes; names take the files' places in messages, text is NULL where there is no such file;
 * `sentencepiece` (tokenizer.model) and `added` (added_tokens.json) count only without `tokenizer`. */
struct ci_tokenizer_json {
    struct ci_tokenizer_json_file {
        const char *name, *text;
        size_t length;
    } tokenizer, config, generation, sentencepiece, added;
};
enum clinfer_status ci_tokenizer_create_json(const struct ci_tokenizer_json *files, struct ci_tokenizer **tokenizer);

#endif
