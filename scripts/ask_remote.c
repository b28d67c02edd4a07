/* Asks a remote API one thing through runtime/remote, for scripts/check_remote.sh, which builds it.
 *
 * usage: ask_remote URL openai|anthropic stream|whole TOKENS PROMPT [SCHEMA]
 *
 * The key is that of $ASK_REMOTE_KEY, if it is set. The answer goes to standard output; a line on standard error says
 * how it ended, or what went wrong. The exit status is 0, or 14 for a remote that failed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "remote/remote.h"

static const char variable[] = "ASK_REMOTE_KEY";

static bool print(void *user, const char *text, size_t length) {
    (void)user;
    bool good = fwrite(text, 1, length, stdout) == length;
    return fflush(stdout) == 0 && good;
}

static void say(void *user, enum clinfer_log_level level, const char *message) {
    (void)user;
    if (level <= CLINFER_LOG_NOTICE) fprintf(stderr, "%s\n", message);
}

int main(int count, char **words) {
    if (count < 6 || count > 7) {
        fprintf(stderr, "usage: ask_remote URL openai|anthropic stream|whole TOKENS PROMPT [SCHEMA]\n");
        return 2;
    }
    const struct clinfer_message messages[] = {{.role = "system", .content = "You are brief and exact."},
                                               {.role = "user", .content = words[5]}};
    const struct clinfer_remote remote = {
        .name = "peer", .url = words[1], .dialect = words[2], .key_variable = getenv(variable) ? variable : NULL};
    const struct ci_remote_request request = {.messages = messages,
                                              .count = sizeof messages / sizeof *messages,
                                              .temperature = 0,
                                              .top_p = NAN,
                                              .seed = 1,
                                              .max_tokens = atoi(words[4]),
                                              .json_schema = count == 7 ? words[6] : NULL,
                                              .whole = strcmp(words[3], "whole") == 0,
                                              .callback = print};
    struct ci_remote_result result;
    clinfer_log_to(say, NULL);
    enum clinfer_status status = ci_remote_ask(&remote, &request, &result);
    if (status != CLINFER_OK) fprintf(stderr, "%s\n", clinfer_error());
    fprintf(stderr, "%s: %s, %zu + %zu tokens, %zu bytes, %d requests, first text after %.3f s\n",
            clinfer_status_text(status), result.finish == CLINFER_FINISH_LENGTH ? "cut" : "whole", result.prompt_tokens,
            result.generated_tokens, result.text_bytes, result.requests, result.first_byte_seconds);
    return status == CLINFER_OK ? 0 : 14;
}
