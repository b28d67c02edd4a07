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
import datetime, glob, json, os, subprocess, sys, tempfile
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
        "name": "get_weather", "arguments": {"place": "Zürich", "days": 2, "detail": {"wind": True}, "hours": [1, 2.5]}}}
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
    }


def render(source, context):
    """(text, None) or (None, reason)."""
    try:
        return environment().from_string(source).render(**context), None
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
    agree = differ = both_fail = 0
    templates_agree = 0
    paths = sorted(glob.glob(os.path.join(folder, "*.jinja")))
    with tempfile.TemporaryDirectory() as scratch:
        for name, context in conversations().items():
            with open(os.path.join(scratch, name), "w", encoding="utf-8") as file: json.dump(context, file)
        for path in paths:
            with open(path, encoding="utf-8", newline="") as file: source = file.read()
            good = True
            for name, context in conversations().items():
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
