#!/usr/bin/env python3
"""Official clients against `clinfer serve`: what `make check-clients` runs. By hand, since it installs packages.

usage: check_clients.py [--build FOLDER] [--model FILE] [--url URL] [--suites] [name...]

Makes two environments in FOLDER (build/clients), one with today's openai, anthropic, ollama, LangChain and LiteLLM, one
with older openai and anthropic, starts `clinfer serve` with the model (SmolLM2 135M of the models folder) and runs the
functions case_* below in them; vectors are asked of a small random encoder beside it. --suites also runs the clients'
own API suites out of their source packages. With --url a running server is asked instead, llama-server for example (and
with --embeddings URL for vectors). Prints a line a case and in the end a table, and ends with 1 if one failed."""
import argparse
import contextlib
import glob
import json
import os
import subprocess
import sys
import tarfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests/support"))
NEW = ["openai==3.57.0", "anthropic==2.14.0", "ollama==0.6.3", "langchain-openai==1.7.4", "langchain-ollama==1.1.0",
       "litellm==1.110.2"]
MORE = ["instructor"]  # in an environment of its own: it wants its own versions of the others
OLD = ["openai==2.14.0", "anthropic==0.40.0", "httpx<0.28"]
SUITE_TOOLS = ["pytest", "pytest-asyncio", "pytest-xdist", "respx", "time-machine", "dirty-equals", "rich",
               "nest_asyncio",
               "inline-snapshot", "http-snapshot[httpx]", "hatchling", "hatch-fancy-pypi-readme"]  # the last two: to have sources
MODEL = os.path.expanduser("~/.local/share/clinfer/models/smollm2-135m-instruct-q4_1.gguf")
QUESTION = "Say hello in one short sentence."
SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}, "warm": {"type": "boolean"}},
          "required": ["city", "warm"], "additionalProperties": False}
TOOL = {"name": "get_weather", "description": "The weather of a city", "parameters": {
    "type": "object", "properties": {"city": {"enum": ["Paris",
                                                       "Rome"]}}, "required": ["city"], "additionalProperties": False}}
FUNCTION = {"type": "function", "function": TOOL}
URL = EMBEDDINGS = None


# ---- the cases; each runs in a process of an environment, with URL set ----

def openai_client(**more):
    import openai
    return openai.OpenAI(base_url=URL + "/v1", api_key="none", **more)


def model_of(client):
    return client.models.list().data[0].id


def case_openai_chat():
    client = openai_client()
    messages = [{"role": "user", "content": QUESTION}]
    for _ in range(2):  # a prompt that is in the cache is computed otherwise, to the last digit
        whole = client.chat.completions.create(model=model_of(client), messages=messages, temperature=0, max_tokens=16)
    chunks = list(client.chat.completions.create(model=model_of(client), messages=messages, temperature=0,
                                                 max_tokens=16, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content and text, (text, whole)
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    several = client.chat.completions.create(model=model_of(client), messages=messages, n=2, max_tokens=8, seed=1,
                                             logprobs=True, top_logprobs=2)
    assert len(several.choices) == 2 and several.choices[0].logprobs.content


def case_openai_completions():
    client = openai_client()
    answer = client.completions.create(model=model_of(client), prompt="Once upon a time", max_tokens=8, temperature=0)
    assert answer.choices[0].text and answer.usage.completion_tokens <= 8


def length_of(vector):
    return sum(number * number for number in vector) ** 0.5


def case_openai_embeddings():
    """Base64, which is what the client asks for by itself, and lists of numbers: the same."""
    import openai
    client = openai.OpenAI(base_url=EMBEDDINGS + "/v1", api_key="none")
    model = model_of(client)
    texts = ["the sky is blue", "the ball"]
    packed = client.embeddings.create(model=model, input=texts)
    plain = client.embeddings.create(model=model, input=texts, encoding_format="float")
    assert [item.index for item in packed.data] == [0, 1] and packed.usage.prompt_tokens > 0
    for one, other in zip(packed.data, plain.data):
        assert abs(length_of(one.embedding) - 1) < 1e-4
        assert all(abs(a - b) < 1e-6 for a, b in zip(one.embedding, other.embedding))
    try:
        client.embeddings.create(model=model, input=[[100000000]])
    except openai.BadRequestError as error:
        assert "vocabulary" in error.body["message"], error.body
    else:
        raise AssertionError("ids beyond the vocabulary are taken")


def only_new_case_ollama_embeddings():
    import ollama
    client = ollama.Client(host=EMBEDDINGS)
    model = client.list().models[0].model
    made = client.embed(model, ["the sky is blue", "the ball"])
    assert len(made.embeddings) == 2 and all(abs(length_of(vector) - 1) < 1e-4 for vector in made.embeddings)
    assert len(client.embeddings(model, "the ball").embedding) == len(made.embeddings[1])


def only_new_case_langchain_embeddings():
    from langchain_ollama import OllamaEmbeddings
    from langchain_openai import OpenAIEmbeddings
    import openai
    model = model_of(openai.OpenAI(base_url=EMBEDDINGS + "/v1", api_key="none"))
    texts = ["the sky is blue", "the ball"]
    # Its default sends ids of OpenAI's own vocabulary, which mean nothing here.
    ours = OpenAIEmbeddings(base_url=EMBEDDINGS + "/v1", api_key="none", model=model, check_embedding_ctx_length=False)
    assert len(ours.embed_documents(texts)) == len(OllamaEmbeddings(base_url=EMBEDDINGS,
                                                                    model=model).embed_documents(texts)) == 2


def more_case_instructor():
    """A forced tool, and a JSON schema."""
    import instructor
    import openai
    import pydantic

    class Place(pydantic.BaseModel):
        city: str = pydantic.Field(max_length=20)
        warm: bool
    asked = [{"role": "user", "content": "Name a city and whether it is warm there."}]
    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
        client = instructor.from_openai(openai.OpenAI(base_url=URL + "/v1", api_key="none"), mode=mode)
        place = client.chat.completions.create(model="any", messages=asked, response_model=Place, max_tokens=100,
                                               temperature=0, max_retries=0)
        assert isinstance(place, Place) and place.city, (mode, place)


def case_openai_structured():
    import pydantic

    class Place(pydantic.BaseModel):
        city: str
        warm: bool
    client = openai_client()
    asked = [{"role": "user", "content": "Name a city and whether it is warm there."}]
    parsed = client.chat.completions.parse(model=model_of(client), messages=asked, response_format=Place,
                                           max_tokens=100, temperature=0)
    assert isinstance(parsed.choices[0].message.parsed, Place), parsed
    parsed = client.responses.parse(model=model_of(client), input=asked, text_format=Place, max_output_tokens=100,
                                    temperature=0)
    assert isinstance(parsed.output_parsed, Place), parsed


def case_openai_tools():
    client = openai_client()
    asked = [{"role": "user", "content": "What is the weather in Rome?"}]
    choice = {"type": "function", "function": {"name": "get_weather"}}
    answer = client.chat.completions.create(model=model_of(client), messages=asked, tools=[FUNCTION],
                                            tool_choice=choice, max_tokens=100)
    call = answer.choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather" and json.loads(call.function.arguments)["city"] in ("Paris", "Rome"), call
    with client.chat.completions.stream(model=model_of(client), messages=asked, tools=[FUNCTION], tool_choice=choice,
                                        max_tokens=100) as stream:
        call = stream.get_final_completion().choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")
    asked += [answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    assert client.chat.completions.create(model=model_of(client), messages=asked, tools=[FUNCTION],
                                          max_tokens=16).choices


def case_openai_responses():
    client = openai_client()
    for _ in range(2):
        whole = client.responses.create(model=model_of(client), input=QUESTION, temperature=0, max_output_tokens=64)
    with client.responses.stream(model=model_of(client), input=QUESTION, temperature=0, max_output_tokens=64) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response() if whole.status == "completed" else None
    assert text == whole.output_text and text, (text, whole.output_text)
    assert final is None or final.output_text == text
    tool = {"type": "function", **TOOL}
    with client.responses.stream(model=model_of(client), input="Weather in Rome?", tools=[tool], tool_choice="required",
                                 max_output_tokens=100) as stream:
        calls = [event.item for event in stream if event.type == "response.output_item.done"
                 and event.item.type == "function_call"]
    assert json.loads(calls[0].arguments)["city"] in ("Paris", "Rome"), calls


def case_openai_errors():
    import openai
    client = openai_client(max_retries=0)
    for arguments in ({"temperature": "hot"}, {"messages": []},
                      {"response_format": {"type": "json_schema", "json_schema": {
            "name": "x", "schema": {"type": "no type"}}}}):
        try:
            client.chat.completions.create(**{"model": model_of(client), "messages": [{"role": "user", "content": "x"}],
                                              "max_tokens": 4, **arguments})
        except openai.BadRequestError as error:
            assert error.status_code == 400 and error.body["message"], error.body
        else:
            assert "messages" in arguments, arguments
    try:
        client.get("/nothing", cast_to=object)
    except openai.NotFoundError as error:
        assert error.body["message"], error.body
    else:
        raise AssertionError("/nothing is found")


def case_openai_cancellation():
    client = openai_client()
    begun = time.monotonic()
    stream = client.chat.completions.create(model=model_of(client),
                                            messages=[{"role": "user", "content": "Count to a thousand."}],
                                            stream=True, max_tokens=4000, temperature=0)
    for number, _ in enumerate(stream):
        if number == 3:
            break
    stream.close()
    assert client.chat.completions.create(model=model_of(client), messages=[{"role": "user", "content": "hi"}],
                                          max_tokens=2).choices
    assert time.monotonic() - begun < 20


def anthropic_client(**more):
    import anthropic
    return anthropic.Anthropic(base_url=URL, api_key="none", **more)


def case_anthropic_messages():
    client = anthropic_client()
    asked = {"model": "any", "max_tokens": 24, "extra_body": {"temperature": 0},
             "messages": [{"role": "user", "content": QUESTION}]}
    client.messages.create(**asked)  # a prompt that is in the cache is computed otherwise, to the last digit
    whole = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text == final.content[0].text and text
    assert final.usage.output_tokens == whole.usage.output_tokens and final.stop_reason == whole.stop_reason
    stop = text.split()[1][:3]
    stopped = client.messages.create(**asked, stop_sequences=[stop])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", stop), stopped


def case_anthropic_tools():
    client = anthropic_client()
    tool = {"name": TOOL["name"], "description": TOOL["description"], "input_schema": TOOL["parameters"]}
    asked = [{"role": "user", "content": "What is the weather in Rome?"}]
    more = {"model": "any", "max_tokens": 100, "tools": [tool]}
    answer = client.messages.create(messages=asked, tool_choice={"type": "tool", "name": "get_weather"}, **more)
    call = answer.content[-1]
    assert answer.stop_reason == "tool_use" and call.input["city"] in ("Paris", "Rome"), answer
    with client.messages.stream(messages=asked, tool_choice={"type": "any"}, **more) as stream:
        assert stream.get_final_message().content[-1].input["city"] in ("Paris", "Rome")
    asked += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]}]
    assert client.messages.create(messages=asked, **more).content


def case_anthropic_errors():
    import anthropic
    client = anthropic_client(max_retries=0)
    try:
        client.messages.create(model="any", max_tokens=4, messages=[{"role": "judge", "content": "x"}])
    except anthropic.BadRequestError as error:
        assert error.body["error"]["type"] == "invalid_request_error", error.body
    else:
        raise AssertionError("no error")


def case_anthropic_cancellation():
    client = anthropic_client()
    with client.messages.stream(model="any", max_tokens=4000,
                                messages=[{"role": "user", "content": "Count to a thousand."}]) as stream:
        for number, _ in enumerate(stream):
            if number == 5:
                break
    assert client.messages.create(model="any", max_tokens=2, messages=[{"role": "user", "content": "hi"}]).content


def only_new_case_anthropic_count_and_schema():
    client = anthropic_client()
    asked = [{"role": "user", "content": "Name a city and whether it is warm there."}]
    count = client.messages.count_tokens(model="any", messages=asked).input_tokens
    answer = client.messages.create(model="any", max_tokens=100, messages=asked,
                                    output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    assert count == answer.usage.input_tokens + answer.usage.cache_read_input_tokens
    assert set(json.loads(answer.content[0].text)) == {"city", "warm"}


def ollama_client():
    import ollama
    client = ollama.Client(host=URL)
    return client, client.list().models[0].model


def only_new_case_ollama():
    import ollama
    client, model = ollama_client()
    asked = [{"role": "user", "content": QUESTION}]
    options = {"temperature": 0, "num_predict": 16}
    for _ in range(2):
        whole = client.chat(model, asked, options=options)
    text = "".join(part.message.content for part in client.chat(model, asked, options=options, stream=True))
    assert text == whole.message.content and text and whole.eval_duration > 0 and whole.load_duration > 0
    assert client.generate(model, "Once upon a time", options=options).response
    place = client.chat(model, [{"role": "user", "content": "A city, and is it warm?"}], format=SCHEMA,
                        options={"num_predict": 100})
    assert set(json.loads(place.message.content)) == {"city", "warm"}
    assert client.chat(model, asked, tools=[FUNCTION], options=options).done
    assert client.show(model).capabilities and client.ps().models
    try:
        client.chat(model, [{"role": "judge", "content": "x"}])
    except ollama.ResponseError as error:
        assert error.status_code == 400 and error.error
    else:
        raise AssertionError("no error")
    for number, _ in enumerate(client.generate(model, "Count to a thousand.", stream=True)):
        if number == 3:
            break
    assert client.chat(model, asked, options={"num_predict": 2}).done


def only_new_case_langchain():
    from langchain_ollama import ChatOllama
    from langchain_openai import ChatOpenAI
    _, model = ollama_client()
    for chat in (ChatOpenAI(base_url=URL + "/v1", api_key="none", model=model, max_tokens=16, temperature=0),
                 ChatOllama(base_url=URL, model=model, num_predict=16, temperature=0)):
        chat.invoke(QUESTION)
        whole = chat.invoke(QUESTION).content
        assert whole and "".join(part.content for part in chat.stream(QUESTION)) == whole, chat


def only_new_case_litellm():
    import litellm
    # With one model any name is answered; by the suites' alias LiteLLM takes it for a GPT that knows no temperature.
    model, asked = "some-model", [{"role": "user", "content": QUESTION}]
    for name, base in (("openai/" + model, URL + "/v1"), ("ollama_chat/" + model, URL), ("anthropic/" + model, URL)):
        answer = litellm.completion(model=name, api_base=base, api_key="none", messages=asked, max_tokens=16,
                                    temperature=0)
        assert answer.choices[0].message.content, name
        parts = litellm.completion(model=name, api_base=base, api_key="none", messages=asked, max_tokens=16,
                                   temperature=0, stream=True)
        assert "".join(part.choices[0].delta.content or "" for part in parts), name


# ---- the clients' own suites ----

SUITES = [("anthropic", ["test_messages.py"], []), ("anthropic", ["test_models.py"], []),
          ("openai", ["test_completions.py"], []),
          ("openai", ["chat/test_completions.py"], ["create"]), ("openai", ["test_models.py"], ["retrieve or list"])]


def run_suites(python, build):
    sources = os.path.join(build, "sources")
    os.makedirs(sources, exist_ok=True)
    for package in ("openai", "anthropic"):
        if not glob.glob(f"{sources}/{package}-*/"):
            pinned = next(name for name in NEW if name.startswith(package))
            subprocess.run([python, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation", "--no-binary",
                            ":all:", "-d", sources, pinned], check=False)
            for archive in glob.glob(f"{sources}/{package}-*.tar.gz"):
                with tarfile.open(archive) as packed:
                    packed.extractall(sources, filter="data")
    for package, files, words in SUITES:
        folder = glob.glob(f"{sources}/{package}-*/")
        if not folder:
            yield f"{package} {files[0]}", "its source package cannot be had", False
            continue
        chosen = " and ".join(["not Async", *(f"({word})" for word in words)])
        done = subprocess.run([python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n0", "-k", chosen,
                               *(f"tests/api_resources/{file}" for file in files)], cwd=folder[0], text=True,
                              capture_output=True,
                              env={**os.environ, "TEST_API_BASE_URL": URL + ("/v1" if package == "openai" else "")},
                              check=False)
        said = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-300:]
        yield f"{package} {files[0]}", said.strip("= "), done.returncode == 0


# ---- running them ----

def make_environment(folder, packages):
    python = os.path.join(folder, "bin/python")
    stamp = os.path.join(folder, "packages")
    if not os.path.exists(stamp) or open(stamp).read() != "\n".join(packages):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages], check=True)
        with open(stamp, "w") as file:
            file.write("\n".join(packages))
    return python


def start_server(servers, model, *more):
    """What it is at; it ends with `servers`, an ExitStack."""
    import serving  # of this repository; the environments have none of it
    port = serving.free_port()
    command = [os.path.join(ROOT, "build/release/clinfer"), "serve", "-m", model, "--port", str(port), "-q", *more]
    servers.enter_context(serving.running(command, port))
    return f"http://127.0.0.1:{port}"


def run_cases(python, label, wanted, rows):
    prefixes = {"new": ("case_", "only_new_case_"), "old": ("case_",), "more": ("more_case_",)}[label]
    for name in [name for name in globals() if name.startswith(prefixes)]:
        if wanted and not any(word in name for word in wanted):
            continue
        done = subprocess.run([python, os.path.realpath(__file__), "--case", name, "--url", URL, "--embeddings",
                               EMBEDDINGS],
                              text=True, capture_output=True, timeout=600, check=False)
        rows.append((label, name.partition("case_")[2], "ok" if not done.returncode else "FAILED", not done.returncode))
        print(f"{label} {name}: {rows[-1][2]}", flush=True)
        if done.returncode:
            print(done.stderr[-1500:])


def versions(python):
    names = "openai anthropic ollama langchain-openai langchain-ollama litellm instructor".split()
    listed = json.loads(subprocess.run([python, "-m", "pip", "list", "--format", "json"], text=True,
                                       capture_output=True, check=True).stdout)
    return ", ".join(f"{item['name']} {item['version']}" for item in listed if item["name"] in names)


def show(rows, environments):
    width = max(len(row[1]) for row in rows)
    print()
    for label, python in environments.items():
        print(f"{label}: {versions(python)}")
    print(f"\n| with  | {'what':{width}} | result |")
    for label, name, result, _ in rows:
        print(f"| {label:5} | {name:{width}} | {result} |")
    print(f"\n{sum(row[3] for row in rows)} of {len(rows)}")


def main():
    global URL, EMBEDDINGS
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=os.path.join(ROOT, "build/clients"))
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--url")
    parser.add_argument("--embeddings")
    parser.add_argument("--suites", action="store_true")
    parser.add_argument("--case")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    URL, EMBEDDINGS = arguments.url, arguments.embeddings or arguments.url
    if arguments.case:
        globals()[arguments.case]()
        return 0
    import tiny_bert  # of this repository; the environments have none of it
    packages = {"new": NEW + SUITE_TOOLS, "old": OLD, "more": MORE}
    environments = {label: make_environment(os.path.join(arguments.build, label), packages[label])
                    for label in packages}
    rows = []
    with contextlib.ExitStack() as servers:
        if not URL:
            # The clients' suites say no max_tokens, look at the shape of what comes, and ask what is told of these
            # models.
            URL = start_server(servers, arguments.model, "-n", "256", "--alias", "model_id,gpt-6-astra")
            encoder = os.path.join(arguments.build, "bert.gguf")
            tiny_bert.write(encoder)
            EMBEDDINGS = start_server(servers, encoder)
        for label, python in environments.items():
            run_cases(python, label, arguments.names, rows)
        if arguments.suites:
            rows += [("suite", *row) for row in run_suites(environments["new"], arguments.build)]
    show(rows, environments)
    return 0 if all(row[3] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
