#!/usr/bin/env python3
"""The truth about chat templates: Jinja itself, set up as Hugging Face's transformers does it.

    reference_templates.py                   renders tests/data/templates/*.jinja on the conversations below, and every
                                             line of snippets.txt there, and writes tests/data/templates.json, which
                                             tests/unit/test_template.c reads
    reference_templates.py --compare TEST FOLDER
                                             renders every *.jinja of FOLDER here and with `TEST --render` (the test's
                                             binary) and says where they differ

Needs the Python package jinja2. The date is fixed so that results can be repeated.
"""
import datetime, functools, glob, json, os, re, subprocess, sys, tempfile
import jinja2, jinja2.ext, jinja2.sandbox

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NOW = 1700000000  # 2023-11-14 22:13:20 UTC


class Generation(jinja2.ext.Extension):
    """{% generation %}: a call block around its body, as in transformers."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_render")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _render(self, caller):
        return caller()


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.filters["from_json"] = env.filters["fromjson"] = json.loads  # our extension
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: datetime.datetime.fromtimestamp(
        NOW, datetime.timezone.utc).replace(tzinfo=None).strftime(form)
    return env


def weather_tools():
    return [{"type": "function", "function": {
        "name": "get_weather", "description": "The weather at a place: \"now\" or later.",
        "parameters": {"type": "object", "properties": {
            "place": {"type": "string", "description": "A town, e.g. Zürich"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
            "days": {"type": ["integer", "null"], "minimum": 1},
            "detail": {"type": "object", "properties": {"wind": {"type": "boolean"}}, "required": ["wind"]},
            "hours": {"type": "array", "items": {"type": "number"}}},
            "required": ["place"]},
        "return": {"type": "string"}}},
        {"type": "function", "function": {"name": "time", "description": "The time.",
                                          "parameters": {"type": "object", "properties": {}}}}]


def conversations():
    """Name -> context. The values keep to what JSON can say."""
    def user(text): return {"role": "user", "content": text}
    def assistant(text, **more): return {"role": "assistant", "content": text, **more}
    def system(text): return {"role": "system", "content": text}
    call = {"id": "abc123456", "type": "function", "function": {
        "name": "get_weather", "arguments": {"place": "Zürich", "days": 2, "detail": {"wind": True},
                                             "hours": [1, 2.5]}}}
    text_call = json.loads(json.dumps(call))
    text_call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
    answer = {"role": "tool", "name": "get_weather", "tool_call_id": "abc123456", "content": "{\"degrees\": 11.5}"}
    think = assistant("Four.", reasoning_content="2 + 2\nis 4")
    hello = [system("You are terse.\n"), user("Hello, wörld! "), assistant(" Hi."), user("  Why is the sky blue?\n")]
    base = {"tools": None, "documents": None, "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True}
    return {
        "user": {**base, "messages": [user("Hi")]},
        "system": {**base, "messages": [system("Be kind."), user("What is 2 + 2?")]},
        "several": {**base, "messages": hello},
        "closed": {**base, "messages": hello + [assistant("Rayleigh scattering.")], "add_generation_prompt": False},
        "thinking": {**base, "messages": [user("2 + 2?"), think, user("And 3 + 3?")], "enable_thinking": True},
        "no thinking": {**base, "messages": [user("2 + 2?"), assistant("<think>\nhm\n</think>\n\nFour."), user("3?")],
                        "enable_thinking": False},
        "parts": {**base, "messages": [{"role": "user", "content": [{"type": "text", "text": "Look: "},
                                                                    {"type": "text", "text": "nothing"}]}]},
        "tools": {**base, "tools": weather_tools(), "messages": [system("Use tools."), user("Weather in Zürich?")]},
        "tool call": {**base, "tools": weather_tools(), "messages": [
            user("Weather in Zürich?"), assistant("", tool_calls=[call]), answer, user("Thanks. And now?")]},
        "tool call, text": {**base, "tools": weather_tools(), "messages": [
            user("Weather?"), assistant("Let me see.", tool_calls=[text_call]), answer]},
        "tool call, null": {**base, "tools": weather_tools(), "messages": [
            user("Weather?"), assistant(None, tool_calls=[call, call]), answer, answer, assistant("Cold."),
            user("So?")]},
        "two users": {**base, "messages": [user("a"), user("b")]},
        "empty": {**base, "messages": []},
        "documents": {**base, "documents": documents(), "messages": [system("Quote."), user("What do they say?")]},
        "Unicode": {**base, "messages": [
            system("Grüß Gott \u202e\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627\u202c\n"),
            user("\u00a0\u2003\U0001F469\u200d\U0001F467 e\u0301 \u01c5 \ufb03 \u0130 ß\u2028x\u0085y\r\nz\t\x0b\x1c\u3000"),
            assistant("\u65e5\u672c\u8a9e\u3002 \\u00e9 \\n \"'<&>\u007f\u0001"),
                                         user("\ufeff\u0e01\u0e33 \U00010428 \u1e9e?")]},
    }


def documents():
    return [{"title": "Tides", "text": "The moon \"pulls\".\n", "doc_id": 1, "url": "https://example.org/ü"},
            {"title": "Empty", "text": "", "content": "", "contents": ""}]


def more_conversations():
    """Those that are only compared: what single templates ask for, variables that callers set, odd messages."""
    basic = conversations()
    def user(content): return {"role": "user", "content": content}
    def assistant(content, **more): return {"role": "assistant", "content": content, **more}
    base = {key: basic["user"][key] for key in ("tools", "documents", "bos_token", "eos_token",
                                                "add_generation_prompt")}
    tools, calls = basic["tools"]["tools"], basic["tool call"]["messages"]
    unicode_tools = [{"type": "function", "function": {
        "name": "übersetze", "description": "Übersetzt \u201eText\u201c \U0001F680 <b>&amp;</b>\n", "strict": True,
        "parameters": {"type": "object", "additionalProperties": False, "properties": {
            "text": {"type": "string", "default": "é\u2028\"\\", "examples": ["x", None]},
            "to": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "n": {"type": "number", "minimum": -0.5e-7},
            "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}}}},
            "any": {"oneOf": [{"type": "integer", "default": 3}, {"type": "array", "items": {"type": "string"}}]}}}}}]
    call = {"id": "call_0", "type": "function", "function": {"name": "übersetze", "arguments": {
        "text": "\u65e5\u672c \"x\"\n", "to": None, "n": 1e22, "list": [{"a": 1}, {}], "yes": True, "x": 0.1}}}
    thoughts = [user("2 + 2?"), assistant("Four.", reasoning_content="It is 4.", reasoning="It is 4.",
                                          thinking="It is 4.", thought="It is 4."),
                user("3?"), assistant("", reasoning_content="Look.\n", thinking="Look.\n", reasoning="Look.\n",
                                      tool_calls=calls[1]["tool_calls"]), calls[2]]
    in_text = [user("2?"), assistant("<think>\nhm\n</think>\n\nTwo."), user("3?"),
               assistant("<think></think>Three. <think>more</think>"), user("4?"),
               assistant("[THINK]so[/THINK]Four"), user("5?"), assistant("<seed:think>hm</seed:think>5"), user("6?")]
    variables = {
        "enable_thinking": [True, False, None], "thinking": [True, False], "thinking_mode": ["thinking", "chat"],
        "reasoning_effort": ["low", "medium", "high", "none", "max"], "thinking_effort": ["low", "max"],
        "thinking_budget": [0, 512, -1], "thinking_option": ["on", "off", "auto"],
                 "reasoning_mode": ["/think", "/no_think"],
        "keep_past_thinking": [True], "preserve_thinking": [True, False], "preserved_thinking": [True],
        "clear_thinking": [True, False], "drop_thinking": [True, False], "skip_thinking": [True],
        "truncate_history_thinking": [True, False], "include_thinking": [True], "add_thoughts": [True],
        "think_render_option": ["interleaved", "lastthinking", "latestthinking", "preserved"],
        "keep_reasoning": [True], "reasoning_strength": ["low"], "model_identity": ["I am ü."], "system_prompt": ["S"],
        "date_string": ["26 Jul 2024"], "datetime": ["now"], "current_date": ["2025-01-01"],
                 "knowledge_cutoff": ["2024-06"],
        "custom_instructions": ["Be brief."], "xml_tools": [tools], "python_tools": [tools], "custom_tools": [tools],
        "tools_in_user_message": [True, False], "builtin_tools": [["code_interpreter", "brave_search"]],
        "add_vision_id": [True], "enable_citations": [True, False], "response_format": [{"type": "json_object"}],
        "response_schema": [{"type": "object"}], "continue_final_message": [True], "tool_choice": ["required"],
        "developer_instruction": ["D"], "functions": [json.dumps(tools)], "grounding": [True],
                 "fallback_strategy": ["x"],
        "use_json_tooldef": [True], "is_training": [True], "training_prompt": [True],
                 "render_assistant_messages_raw": [True],
        "num_img_tokens": [3], "default_system_prompt": ["P"], "controls": [{"x": 1}], "image_prompts": [True],
    }
    found = {
        "documents and tools": {**base, "documents": documents(), "tools": tools, "messages": [user("Say.")]},
        "documents, grounded": {**base, "documents": documents(), "messages": [user("Say.")], "citation_mode": "fast",
                                "safety_mode": "contextual"},
        "Unicode tools": {**base, "tools": unicode_tools, "messages": [
            user("日本"), assistant(None, tool_calls=[call]), {"role": "tool", "tool_call_id": "call_0",
                                                          "name": "übersetze", "content": "Nippon\u2028\u00a0 "}]},
        "thoughts": {**base, "tools": tools, "messages": thoughts},
        "thoughts, closed": {**base, "messages": thoughts[:2], "add_generation_prompt": False},
        "thoughts in text": {**base, "messages": in_text},
        "thoughts as parts": {**base, "messages": [user("2?"), assistant(
            [{"type": "thinking", "thinking": "hm", "closed": True}, {"type": "text", "text": "Two."}]), user("3?")]},
        "developer": {**base, "messages": [{"role": "developer", "content": "Be kind."}, user("Hi")]},
        "unknown role": {**base, "messages": [{"role": "narrator", "content": "Once."}, user("Hi")]},
        "system alone": {**base, "messages": [{"role": "system", "content": "Be kind."}]},
        "two systems": {**base, "messages": [{"role": "system", "content": "a"}, {"role": "system", "content": "b"},
                                             user("c")]},
        "assistant last": {**base, "messages": [user("Hi"), assistant("Well")]},
        "assistant first": {**base, "messages": [assistant("Well"), user("Hi")]},
        "empty contents": {**base, "messages": [{"role": "system", "content": ""}, user(""), assistant(""), user(" ")]},
        "no content": {**base, "messages": [user("a"), {"role": "assistant"}, user("b")]},
        "null content": {**base, "messages": [user(None), assistant(None), user("b")]},
        "empty parts": {**base, "messages": [user([]), assistant([]), user([{"type": "text", "text": "b"}])]},
        "image": {**base, "messages": [user([{"type": "image"}, {"type": "text", "text": "What?"},
                                             {"type": "image_url", "image_url": {"url": "x"}}, {"type": "video"},
                                             {"type": "audio"}])]},
        "system parts": {**base, "messages": [{"role": "system", "content": [{"type": "text", "text": "Be kind."}]},
                                              user([{"type": "text", "text": "Hi"}]),
                                              assistant([{"type": "text", "text": "Ho"}]), user("So?")]},
        "tool parts": {**base, "tools": tools, "messages": calls[:2] + [
            {**calls[2], "content": [{"type": "text", "text": "cold"}, {"type": "image"}]}]},
        "tool object": {**base, "tools": tools, "messages": calls[:2] + [{**calls[2], "content": {"degrees": 11.5}}]},
        "tool alone": {**base, "tools": tools, "messages": [user("a"), {"role": "tool", "content": "b"}]},
        "no tools": {**base, "tools": [], "documents": [], "messages": [user("a")]},
        "bare tools": {**base, "tools": [tool["function"] for tool in tools], "messages": [user("a")]},
        "unanswered call": {**base, "tools": tools, "messages": calls[:2], "add_generation_prompt": False},
        "no tokens": {"messages": [user("Hi")], "add_generation_prompt": False},
        "many": {**base, "messages": [(user if i % 2 == 0 else assistant)(f"{i} " * i) for i in range(21)]},
    }
    for name, values in variables.items():
        for value in values:
            found[f"{name} = {json.dumps(value)[:30].replace('/', ' ')}"] = {
                **base, name: value, "tools": tools, "messages": [{"role": "system", "content": "S"}, *thoughts[:3]]}
    return {**basic, **found}


@functools.lru_cache(4)
def compiled(source):
    return environment().from_string(source)


def render(source, context):
    """(text, None) or (None, reason)."""
    try:
        return compiled(source).render(**context), None
    except Exception as error:  # a template may fail in any way that Python can
        return None, f"{type(error).__name__}: {error}"


def record():
    """Templates that look at messages are rendered on every conversation, the others on one."""
    cases = []
    context_list = conversations()
    for path in sorted(glob.glob(os.path.join(ROOT, "tests/data/templates/*.jinja"))):
        with open(path, encoding="utf-8", newline="") as file: source = file.read()
        names = context_list if "messages" in source else ["user"]
        for name in names:
            text, reason = render(source, context_list[name])
            cases.append({"template": os.path.basename(path), "conversation": name, "text": text})
            if reason: cases[-1]["reason"] = reason
    with open(os.path.join(ROOT, "tests/data/templates/snippets.txt"), encoding="utf-8") as file:
        for line in file.read().split("\n")[:-1]:
            text, reason = render(line, context_list["user"])
            cases.append({"source": line, "conversation": "user", "text": text})
            if reason: cases[-1]["reason"] = reason
    with open(os.path.join(ROOT, "tests/data/templates.json"), "w", encoding="utf-8") as file:
        json.dump({"now": NOW, "conversations": context_list, "cases": cases}, file, ensure_ascii=False, indent=0)
        file.write("\n")
    print(f"{len(cases)} cases, {sum('reason' in case for case in cases)} of them refused by jinja2")


def compare(test, folder):
    """A variable is tried where the template has its name."""
    agree = differ = both_fail = 0
    templates_agree = 0
    contexts = more_conversations()
    paths = sorted(glob.glob(os.path.join(folder, "*.jinja")))
    with tempfile.TemporaryDirectory() as scratch:
        for name, context in contexts.items():
            with open(os.path.join(scratch, name), "w", encoding="utf-8") as file: json.dump(context, file)
        for path in paths:
            with open(path, encoding="utf-8", newline="") as file: source = file.read()
            good = True
            for name, context in contexts.items():
                if " = " in name and not re.search(rf"\b{name.split(' = ')[0]}\b", source): continue
                text, reason = render(source, context)
                done = subprocess.run([test, "--render", path, os.path.join(scratch, name), str(NOW)],
                                      capture_output=True, env={**os.environ, "TZ": "UTC"}, check=False)
                ours = done.stdout.decode("utf-8") if done.returncode == 0 else None
                if done.returncode not in (0, 1):
                    print(f"CRASH {os.path.basename(path)} / {name}: {done.stderr.decode()[-2000:]}")
                if ours == text:
                    agree += 1
                    both_fail += text is None
                    continue
                differ += 1
                good = False
                print(f"DIFFER {os.path.basename(path)} / {name}")
                if text is None: print(f"    jinja2: {reason}")
                if ours is None: print(f"    clinfer: {done.stderr.decode().strip()}")
                if text is not None and ours is not None:
                    at = next((i for i, (a, b) in enumerate(zip(text, ours)) if a != b), min(len(text), len(ours)))
                    print(f"    jinja2:  ...{text[max(0, at - 40):at + 60]!r}\n"
                          f"    clinfer: ...{ours[max(0, at - 40):at + 60]!r}")
            templates_agree += good
    print(f"{agree} of {agree + differ} cases agree ({both_fail} of them refused by both); "
          f"{templates_agree} of {len(paths)} templates agree everywhere")
    return differ == 0


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "--compare":
        sys.exit(0 if compare(sys.argv[2], sys.argv[3]) else 1)
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    record()
