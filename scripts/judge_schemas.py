#!/usr/bin/env python3
"""Whether answers under JSON schemas are valid: models with random weights answer, Python's jsonschema judges.

  judge_schemas.py TOOL MODEL... [--schemas 200] [--answers 10] [--seed 1] [--save FILE]

Schemas are drawn at random from all keywords that docs/grammars.md lists as held, in each other, with references; and
those of tests/data/schemas.json and grammars.json are among them. Each is given to one of the models in turn
(make_tiny.py makes some, with other seeds and real vocabularies), with -n from 8 to 120; where that has no room for the
shortest answer, which is an error, -n is doubled until it has. Every answer is read as JSON, no key twice, and judged
under draft 2020-12 with a FormatChecker. Needs the packages jsonschema and rfc3339-validator; builds nothing."""
import argparse
import collections
import decimal
import json
import os
import random
import re
import subprocess
import sys
import tempfile

import jsonschema

PROMPTS = ["Say something.", "x", "A list, please", "{", "none", "Und nun?", "1 2 3", "[", "\"", "What is it?", "...",
           "go"]
PATTERNS = ["^[a-z]{2,5}$", "^\\d{3}-\\d{4}$", "[A-Z]", "^(yes|no)$", "^[^,]*,[^,]*$", "^\\w+@\\w+\\.\\w{2,3}$",
            "^.{3}$",
            "^a.*z$", "(ab|cd)+$", "^#[0-9a-f]{6}$", "^\\s*\\S+\\s*$", "^[äöü]+$"]
FORMATS = ["date", "time", "date-time", "uuid", "ipv4", "email"]


class Maker:
    """Schemas at random, no deeper than a few levels."""

    def __init__(self, rng):
        self.rng, self.names = rng, []

    def one(self, *choices):
        return self.rng.choice(choices)

    def integer(self):
        rng, schema = self.rng, {"type": "integer"}
        low = rng.randint(-1000, 1000)
        if rng.random() < 0.7:
            schema[self.one("minimum", "exclusiveMinimum")] = low
        if rng.random() < 0.7:
            schema[self.one("maximum", "exclusiveMaximum")] = low + rng.randint(2, 5000)
        if rng.random() < 0.2:
            schema["multipleOf"] = self.one(1, 2, 5, 25)
        return schema

    def number(self):
        rng, schema = self.rng, {"type": "number"}
        low = round(rng.uniform(-100, 100), rng.randint(0, 3))
        if rng.random() < 0.6:
            schema[self.one("minimum", "exclusiveMinimum")] = low
        if rng.random() < 0.6:
            schema[self.one("maximum", "exclusiveMaximum")] = low + rng.randint(1, 300)
        return schema

    def text(self):
        rng, schema, kind = self.rng, {"type": "string"}, self.rng.randrange(5)
        if kind == 0:
            schema["pattern"] = rng.choice(PATTERNS)
        elif kind == 1:
            schema["format"] = rng.choice(FORMATS)
        elif kind == 2:
            schema["minLength"] = rng.randint(0, 4)
            schema["maxLength"] = schema["minLength"] + rng.randint(0, 12)
        return schema

    def value(self):
        return self.one(None, True, False, 0, -7, 3.25, "", "red", "a \"b\"\n", "é", [1, "x"], {"k": [None]})

    def array(self, depth):
        rng, schema = self.rng, {"type": "array"}
        if rng.random() < 0.3:
            schema["prefixItems"] = [self.any(depth - 1) for _ in range(rng.randint(1, 3))]
        if rng.random() < 0.8:
            schema["items"] = self.any(depth - 1) if rng.random() < 0.9 else False
        if rng.random() < 0.5 and schema.get("items") is not False:
            schema["minItems"] = rng.randint(0, 3)
            schema["maxItems"] = schema["minItems"] + rng.randint(0, 3)
        return schema

    def object(self, depth):
        rng = self.rng
        names = rng.sample(["name", "id", "tags", "größe", "a b", "x", "kind", "list", "next", "q\"q"],
                           rng.randint(0, 5))
        schema = {"type": "object", "properties": {name: self.any(depth - 1) for name in names}}
        schema["required"] = [name for name in names if rng.random() < 0.5]
        if rng.random() < 0.15:
            schema["required"].append("more")
            schema["additionalProperties"] = self.any(depth - 1)
        elif rng.random() < 0.3:
            schema["additionalProperties"] = self.one(True, False, {"type": "boolean"})
        if rng.random() < 0.15:
            schema["patternProperties"] = {self.one("^n_", "_n$", "^[0-9]+$"): self.any(0)}
        if rng.random() < 0.15 and schema.get("additionalProperties", False) is not False:
            schema["maxProperties"] = len(names) + 2
        return schema

    def branches(self, depth):
        kind = self.rng.randrange(4)
        if kind == 0:
            return {"anyOf": [self.any(depth - 1) for _ in range(self.rng.randint(2, 3))]}
        if kind == 1:
            return {"oneOf": [self.integer(), self.text(), {"type": "null"}, {"type": "array", "items": self.any(0)}]}
        if kind == 2:
            return {"oneOf": [{"type": "object", "properties": {"kind": {"const": word}, "of": self.any(depth - 1)},
                               "required": ["kind", "of"]} for word in ("a", "b", "c")]}
        return {"allOf": [{"type": "object", "properties": {"a": self.any(depth - 1)}, "required": ["a"]},
                          {"properties": {"b": self.any(depth - 1)}}]}

    def any(self, depth):
        rng = self.rng
        if depth <= 0:
            return rng.choice([self.integer, self.number, self.text])() if rng.random() < 0.7 else self.leaf()
        kind = rng.random()
        if kind < 0.3:
            return self.object(depth)
        if kind < 0.45:
            return self.array(depth)
        if kind < 0.6:
            return self.branches(depth)
        if kind < 0.65 and self.names:
            return {"$ref": "#/$defs/" + rng.choice(self.names)}
        return self.any(0)

    def leaf(self):
        kind = self.rng.randrange(6)
        if kind == 0:
            return {"enum": self.rng.sample([None, True, 0, -7, 3.25, "", "red", "a \"b\"\n", "é"], 3)}
        if kind == 1:
            return {"const": self.value()}
        if kind == 2:
            return {"type": ["string", "null"]}
        if kind == 3:
            return {"type": "boolean"}
        return {} if kind == 4 else {"type": "object"}

    def document(self):
        self.names = self.rng.sample(["node", "pair", "text"], self.rng.randint(0, 2))
        schema = self.rng.choice([self.object, self.array, self.object, self.any])(3)
        if self.names:
            schema = dict(schema)
            schema["$defs"] = {}
            for name in self.names:
                schema["$defs"][name] = {"type": "object", "properties": {"value": self.any(1), "next": {
                    "anyOf": [{"type": "null"}, {"$ref": f"#/$defs/{name}"}]}}, "required": ["value"]}
        return schema


def patterns(schema):
    if isinstance(schema, list):
        for item in schema:
            yield from patterns(item)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key == "pattern" and isinstance(value, str):
                yield value
            if key == "patternProperties":
                yield from value
            yield from patterns(value)


def is_judged(schema):
    """Python reads no patterns that have signs of ECMA-262's alone, and this judge no items of earlier drafts."""
    try:
        for pattern in patterns(schema):
            re.compile(pattern)
            if "[]" in pattern or "[^]" in pattern:
                return False
        jsonschema.Draft202012Validator.check_schema(schema)
    except (re.error, jsonschema.SchemaError):
        return False
    return True


def recorded(folder):
    """Schemas of the tests that are held, and can be judged."""
    with open(os.path.join(folder, "schemas.json"), encoding="utf-8") as file:
        schemas = [fact["schema"] for fact in json.load(file)["held"]]
    with open(os.path.join(folder, "grammars.json"), encoding="utf-8") as file:
        schemas += [json.loads(fact["text"]) for fact in json.load(file)["schemas"]]
    return [schema for schema in schemas if is_judged(schema)]


def once(pairs):
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a key comes twice")
    return dict(pairs)


def judge(schema, text):
    """None: it is valid. Numbers are decimal, since 0.07 is no multiple of 0.01 as doubles are divided."""
    schema = json.loads(json.dumps(schema), parse_float=decimal.Decimal)
    try:
        value = json.loads(text, object_pairs_hook=once, parse_float=decimal.Decimal)
    except ValueError as error:
        return f"no JSON: {error}"
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    for error in validator.iter_errors(value):
        return f"{error.json_path}: {error.message}"
    return None


def answer(tool, model, schema, prompts, tokens, seed):
    """The result and the number of tokens at last, or a message where there is none."""
    command = [tool, "run", "-m", model, "--device", "cpu", "-jf", schema, "--batch", prompts, "--json", "-q", "--temp",
               "1.2", "--top-k", "0", "--top-p", "1", "--min-p", "0", "-s", str(seed)]
    while True:
        ran = subprocess.run(command + ["-n", str(tokens)], capture_output=True, check=False)
        message = ran.stderr.decode(errors="replace").strip()
        if ran.returncode == 0:
            return json.loads(ran.stdout)["results"], tokens, None
        if "shortest answer" not in message or tokens > 400:
            return [], tokens, message
        tokens *= 2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--schemas", type=int, default=200)
    parser.add_argument("--answers", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    facts = recorded(os.path.join(os.path.dirname(__file__), "..", "tests", "data"))
    rng.shuffle(facts)
    facts, maker, counts, refusals, kept = facts[:arguments.schemas // 2], Maker(rng), collections.Counter(), [], []
    tried = 0
    with tempfile.TemporaryDirectory() as folder:
        schema_path, prompts_path = os.path.join(folder, "schema.json"), os.path.join(folder, "prompts")
        while counts["schemas"] < arguments.schemas and tried < 3 * arguments.schemas:
            schema = facts[tried] if tried < len(facts) else maker.document()
            model, tokens = arguments.models[tried % len(arguments.models)], rng.randint(8, 120)
            tried += 1
            with open(schema_path, "w", encoding="utf-8") as file:
                json.dump(schema, file, ensure_ascii=False)
            with open(prompts_path, "w", encoding="utf-8") as file:
                file.write("".join(f"{PROMPTS[i % len(PROMPTS)]} {i}\n" for i in range(arguments.answers)))
            results, room, message = answer(arguments.tool, model, schema_path, prompts_path, tokens, tried)
            if message:
                counts["refused"] += 1
                refusals.append(message.splitlines()[-1])
                continue
            counts["schemas"] += 1
            counts["raised -n"] += room != tokens
            for result in results:
                wrong = judge(schema, result["text"])
                counts["answers"] += 1
                counts["closed at -n"] += result["finish_reason"] == "length"
                counts["bytes"] += len(result["text"].encode())
                counts["invalid"] += wrong is not None
                kept.append({"schema": schema, "text": result["text"]})
                if wrong:
                    print(f"INVALID {wrong}\n  schema {json.dumps(schema, ensure_ascii=False)}\n  answer {result['text']!r}\n"
                          f"  model {model} -n {room} -s {tried}")
    if arguments.save:
        with open(arguments.save, "w", encoding="utf-8") as file:
            json.dump(kept, file, ensure_ascii=False, indent=1)
    for message, count in collections.Counter(refusals).most_common(12):
        print(f"  refused {count}: {message[:160]}")
    print(", ".join(f"{name} {counts[name]}" for name in ("schemas", "refused", "raised -n", "answers", "closed at -n",
                                                          "bytes",
                                                         "invalid")))
    sys.exit(counts["invalid"] > 0 or counts["schemas"] < arguments.schemas)


if __name__ == "__main__":
    main()
