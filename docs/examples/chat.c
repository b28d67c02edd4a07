/* chat.c: a conversation with a model in about fifty lines: what a program needs of clinfer.h.
 *
 *     cc chat.c $(pkg-config --cflags --libs clinfer) -o chat
 *     printf 'What is the capital of France?\nAnd of Italy?\n' | ./chat model.gguf */
#include <clinfer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_MESSAGES = 64, LINE_BYTES = 4096, ANSWER_BYTES = 16384 };

static bool show(void *user, const char *text, size_t length) {
    char *answer = user;
    if (strlen(answer) + length < ANSWER_BYTES) strncat(answer, text, length);
    fwrite(text, 1, length, stdout);
    return fflush(stdout) == 0; /* false would end the generation */
}

static void check(enum clinfer_status status) {
    if (status == CLINFER_OK) return;
    fprintf(stderr, "chat: %s\n", clinfer_error());
    exit(1);
}

int main(int argc, char **argv) {
    static char lines[MOST_MESSAGES][LINE_BYTES], answers[MOST_MESSAGES][ANSWER_BYTES];
    struct clinfer_message messages[2 * MOST_MESSAGES];
    struct clinfer_engine_options options;
    struct clinfer_session_options sampling;
    clinfer_engine *engine;
    clinfer_session *session;
    clinfer_engine_options_default(&options);
    options.activations = CLINFER_ACTIVATIONS_F32; /* exact, not fastest: small models suffer from rounding */
    options.model = argc > 1 ? argv[1] : "model.gguf";
    check(clinfer_engine_open(&options, &engine));
    clinfer_session_options_default(engine, &sampling);
    sampling.temperature = 0;
    check(clinfer_session_create(engine, &sampling, &session));
    for (size_t turn = 0; turn < MOST_MESSAGES && fgets(lines[turn], LINE_BYTES, stdin); turn++) {
        int32_t *tokens;
        size_t count;
        lines[turn][strcspn(lines[turn], "\n")] = 0;
        messages[2 * turn] = (struct clinfer_message){.role = "user", .content = lines[turn]};
        check(clinfer_chat_tokens(engine, messages, 2 * turn + 1, true, false, &tokens, &count));
        struct clinfer_request request = {
            .tokens = tokens, .count = count, .max_tokens = 200, .callback = show, .user = answers[turn]};
        check(clinfer_generate(session, &request, NULL)); /* computes only what is new since the last turn */
        messages[2 * turn + 1] = (struct clinfer_message){.role = "assistant", .content = answers[turn]};
        clinfer_free(tokens);
        puts("");
    }
    clinfer_session_destroy(session);
    clinfer_engine_close(engine);
    return 0;
}
