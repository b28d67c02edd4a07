/* openai_chat.h: the handlers of OpenAI's dialect that make answers. */
#ifndef CI_SERVER_OPENAI_CHAT_H
#define CI_SERVER_OPENAI_CHAT_H

struct ci_exchange;

void ci_openai_chat(struct ci_exchange *exchange);       /* POST /v1/chat/completions */
void ci_openai_completion(struct ci_exchange *exchange); /* POST /v1/completions */

#endif
