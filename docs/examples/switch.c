/* switch.c: which models this machine has, and one question to several of them by their names, one after the other:
 * what a program needs that lets its user choose.
 *
 *     cc switch.c $(pkg-config --cflags --libs clinfer) -o switch
 *     ./switch                                                            the models that there are
 *     ./switch "Why is the sky blue?" smollm2.gguf user/repo:Q4_K_M       what each of these says */
#include <clinfer.h>
#include <stdio.h>

static bool show(void *user, const char *text, size_t length) {
    (void)user;
    fwrite(text, 1, length, stdout);
    return fflush(stdout) == 0; /* false would end the generation */
}

static enum clinfer_status list(void) {
    struct clinfer_model *models;
    size_t count;
    enum clinfer_status status = clinfer_models(&models, &count);
    for (size_t i = 0; i < count && status == CLINFER_OK; i++)
        printf("%s, %.1f MB, in %s%s\n", models[i].name, (double)models[i].bytes / 1e6, models[i].store,
               models[i].whole ? "" : ", not whole");
    clinfer_models_free(models, count);
    return status;
}

static enum clinfer_status answer(clinfer_engine *engine, const char *question) {
    const struct clinfer_message message = {.role = "user", .content = question};
    struct clinfer_session_options sampling;
    struct clinfer_request request = {.max_tokens = 50, .callback = show};
    clinfer_session *session = NULL;
    int32_t *tokens = NULL;
    clinfer_session_options_default(engine, &sampling);
    sampling.temperature = 0;
    enum clinfer_status status = clinfer_session_create(engine, &sampling, &session);
    if (status == CLINFER_OK) status = clinfer_chat_tokens(engine, &message, 1, true, false, &tokens, &request.count);
    request.tokens = tokens;
    if (status == CLINFER_OK) status = clinfer_generate(session, &request, NULL);
    clinfer_free(tokens);
    clinfer_session_destroy(session);
    return status;
}

/* The engine that was open is closed once the next one is: a name that is wrong costs nothing. */
int main(int argc, char **argv) {
    clinfer_engine *engine = NULL;
    enum clinfer_status status = argc < 3 ? list() : CLINFER_OK, last = status;
    if (status != CLINFER_OK) fprintf(stderr, "switch: %s\n", clinfer_error());
    for (int i = 2; i < argc; i++) {
        struct clinfer_engine_options options;
        clinfer_engine *next;
        clinfer_engine_options_default(&options);
        options.model = argv[i];
        status = clinfer_engine_open(&options, &next);
        if (status == CLINFER_OK) {
            clinfer_engine_close(engine);
            engine = next;
            printf("%s: ", argv[i]);
            status = answer(engine, argv[1]);
            puts("");
        }
        if (status != CLINFER_OK) fprintf(stderr, "switch: %s\n", clinfer_error());
        if (status != CLINFER_OK) last = status;
    }
    clinfer_engine_close(engine);
    return last == CLINFER_OK ? 0 : 1;
}
