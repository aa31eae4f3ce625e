"""Generate the check of configs that the hot path uses, from the schemas in spec/.

    /usr/bin/python3 tools/gencheck.py SPEC_DIRECTORY pyrunc/config/_check.py

writes two modules: _check.py, plain code that accepts or rejects a config and imports nothing; and beside it
_schema.py, the schemas bundled into one, with which jsonschema explains a rejection. Both are build products.

fastjsonschema writes the code; but raw it is 380 KB, most of it error texts, and imports re and fastjsonschema itself.
Here its syntax tree is trimmed to what decides: each raise is one bare exception, each pattern a few character tests,
each usual check a call. A shape of code that is not known stops the build: nothing is lost by accident.
"""

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

# The schemas that become functions of _check.py: name of the function, file in spec/.
ENTRIES = {"config": "config.json", "process": "process.json", "resources": "resources.json"}

# fastjsonschema passes over a keyword that it does not know, so only those that were looked at may occur.
CHECKED = {
    "$ref", "type", "enum", "required", "properties", "additionalProperties", "propertyNames", "items", "minimum",
    "maximum", "minLength", "minItems", "pattern",
}  # fmt: skip
NOTES = {"$schema", "$comment", "title", "description", "definitions"}

TYPES = {"str": "string", "bool": "boolean", "dict": "object", "list": "array", "int": "integer"}

END = "$(?!\\n)"
"""How a pattern says `to the very end`: a bare $ matches before a final newline, in Python's re, and not everywhere."""


def fail(text: str, node: "ast.AST | None" = None) -> NoReturn:
    where = "" if node is None else ": " + ast.unparse(node)[:200]
    sys.exit("gencheck: " + text + where)


# --- the schemas ---------------------------------------------------------------------------------------------------


def bundle(directory: Path) -> dict[str, Any]:
    """All schemas of a directory as one: {"definitions": {file name: schema}}, with references that stay within it."""
    schemas = {path.name: json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))}
    for schema in schemas.values():
        # Said once, at the top: wherever jsonschema meets it again, it forgets what it was told of integers.
        schema.pop("$schema", None)

    def adopt(value: Any, home: str) -> Any:
        if isinstance(value, list):
            return [adopt(item, home) for item in value]
        if not isinstance(value, dict):
            return value
        adopted = {name: adopt(item, home) for name, item in value.items()}
        if isinstance(value.get("$ref"), str):
            file, _, place = value["$ref"].partition("#")
            file = file or home
            target = schemas.get(file)
            for name in filter(None, place.split("/")):
                target = target.get(name) if isinstance(target, dict) else None
            if target is None:
                fail(f"{home}: nothing at {value['$ref']}")
            adopted["$ref"] = "#/definitions/" + file + place
        return adopted

    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {name: adopt(schema, name) for name, schema in schemas.items()},
    }


def check_keywords(schema: Any, place: str) -> None:
    """Refuse keywords that the generated code would pass over, or that the two libraries take differently."""
    if not isinstance(schema, dict):
        fail(place + ": a schema is an object")
    for keyword in schema.keys() - CHECKED - NOTES:
        fail(f"{place}: keyword {keyword} is not supported")
    if not isinstance(schema.get("type", ""), str):
        fail(place + ": only one type")
    if "$ref" in schema and schema.keys() & (CHECKED - {"$ref"}):
        fail(place + ": draft-07 ignores what stands beside $ref")
    for keyword in ("properties", "definitions"):
        for name, item in schema.get(keyword, {}).items():
            check_keywords(item, f"{place}/{keyword}/{name}")
    for keyword in ("items", "additionalProperties", "propertyNames"):
        if keyword in schema:
            check_keywords(schema[keyword], f"{place}/{keyword}")


# --- patterns ------------------------------------------------------------------------------------------------------


class Item:
    """Some characters of a pattern: how many (most None: any number) of which (or, negated, of which not)."""

    def __init__(self, characters: str, negated: bool) -> None:
        self.characters = characters
        self.negated = negated
        self.least = 1
        self.most: int | None = 1

    def meets(self, other: "Item") -> bool:
        """Whether one character can be of both."""
        mine, others = set(self.characters), set(other.characters)
        if self.negated and other.negated:
            return True
        if self.negated or other.negated:
            return not (others <= mine if self.negated else mine <= others)
        return bool(mine & others)


def parse_pattern(pattern: str) -> tuple[list[Item], bool]:
    """The items of a pattern, and whether it must match to the end. Only what runs without backtracking is taken."""
    if not pattern.startswith("^"):
        fail("a pattern must start with ^: " + pattern)
    whole = pattern.endswith(END)
    text = pattern[1 : -len(END)] if whole else pattern[1:]
    items: list[Item] = []
    at = 0

    def character() -> str:
        nonlocal at
        value = text[at]
        at += 1
        if value == "\\":
            escaped = text[at]
            at += 1
            if escaped.isalnum():
                if escaped != "n":
                    fail("escape in pattern: " + pattern)
                return "\n"
            return escaped
        return value

    while at < len(text):
        if text[at] == "[":
            at += 1
            negated = text[at] == "^"
            at += negated
            characters = ""
            while text[at] != "]":
                first = character()
                if text[at] == "-" and text[at + 1] != "]":
                    at += 1
                    characters += "".join(map(chr, range(ord(first), ord(character()) + 1)))
                else:
                    characters += first
            at += 1
            items.append(Item(characters, negated))
        elif text[at] in "*+?":
            items[-1].least = 1 if text[at] == "+" else 0
            items[-1].most = 1 if text[at] == "?" else None
            at += 1
        elif text[at] in "^$.(){}|":
            fail("not supported in a pattern: " + text[at] + " in " + pattern)
        else:
            items.append(Item(character(), False))
    for index, item in enumerate(items):
        # Greedy matching never has to give back: no character that a variable item takes could have begun what follows.
        if item.most == item.least:
            continue
        for follower in items[index + 1 :]:
            if item.meets(follower):
                fail("ambiguous without backtracking: " + pattern)
            if follower.least:
                break
    return items, whole


def mismatch(pattern: str, variable: str) -> str:
    """A Python expression that is true when a string variable does not match the pattern."""
    items, whole = parse_pattern(pattern)
    fixed = ""
    while items and not items[0].negated and len(items[0].characters) == 1 and items[0].most == items[0].least == 1:
        fixed += items.pop(0).characters
    tests = [f"not {variable}.startswith({fixed!r})"] if fixed else []
    only = items[0] if len(items) == 1 else None
    if not items and not whole:
        pass
    elif only and whole and only.most is None and only.negated and not only.least and len(only.characters) == 1:
        # The fixed part was compared: it has no such character, or the pattern would be wrong.
        if only.characters in fixed:
            fail("not supported in a pattern: " + pattern)
        tests.append(f"{only.characters!r} in {variable}")
    elif only and whole and only.most is None and not only.negated and not fixed:
        # strip() empties a string exactly when it has no other characters.
        tests += [f"not {variable}"] * only.least + [f"{variable}.strip({only.characters!r})"]
    else:
        rows = ", ".join(f"({i.characters!r}, {i.negated}, {i.least}, {i.most or 1 << 30})" for i in items)
        tests.append(f"not _matches({variable}, {len(fixed)}, ({rows},), {whole})")
    return " or ".join(tests)


HELPERS = """
def _flag(value):
    if not isinstance(value, bool):
        raise Mismatch
def _text(value):
    if not isinstance(value, str):
        raise Mismatch
def _name(value):
    if not isinstance(value, str) or not value:
        raise Mismatch
def _int(value, low, high=1 << 64):
    # Neither a bool, which is an int to isinstance, nor a float, however whole.
    if type(value) is not int or not low <= value <= high:
        raise Mismatch
def _one(value, allowed):
    if not isinstance(value, str) or value not in allowed:
        raise Mismatch
def _some(value, allowed):
    if not isinstance(value, list):
        raise Mismatch
    for item in value:
        _one(item, allowed)
def _all(value, check):
    if not isinstance(value, list):
        raise Mismatch
    for item in value:
        check(item)
def _map(value, check):
    if not isinstance(value, dict) or "" in value:
        raise Mismatch
    for item in value.values():
        check(item)
def _each(value, check, *names):
    for name in names:
        if name in value:
            check(value[name])
def _matches(text, at, items, whole):
    # Of items (characters, or any but these, at least, at most), each taken greedily.
    for characters, negated, least, most in items:
        count = 0
        while count < most and at < len(text) and (text[at] in characters) != negated:
            at += 1
            count += 1
        if count < least:
            return False
    return not whole or at == len(text)
"""
"""What the generated code calls; the last one for patterns that are not a test or two."""

# --- the generated code --------------------------------------------------------------------------------------------


def is_call(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def is_raise(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and len(statement.body) == 1 and isinstance(statement.body[0], ast.Raise)


def expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def call_of(variable: str, read: str, checks: list[ast.stmt]) -> "str | None":
    """One call of a helper that does all the checks of a variable, or None. read: what the call is given for it."""
    texts = [ast.unparse(check) for check in checks]
    head = ast.unparse(checks[0].test) if is_raise(checks[0]) else ""  # type: ignore[attr-defined]
    name = re.escape(variable)
    if len(checks) == 1:
        if head == f"not isinstance({variable}, bool)":
            return f"_flag({read})"
        if head == f"not isinstance({variable}, str)":
            return f"_text({read})"
        if head == f"not isinstance({variable}, str) or not {variable}":
            return f"_name({read})"
        if found := re.fullmatch(rf"type\({name}\) is not int or {name} < (-?\d+)(?: or {name} > (\d+))?", head):
            return f"_int({read}, {found[1]}" + (f", {found[2]})" if found[2] else ")")
        if found := re.fullmatch(rf"not isinstance\({name}, str\) or {name} not in (\{{.*\}})", head):
            return f"_one({read}, {found[1]})"
        if isinstance(checks[0], ast.Expr) and (found := re.fullmatch(rf"(\w+)\({name}\)", texts[0])):
            return f"{found[1]}({read})"
    elif len(checks) == 2 and head == f"not isinstance({variable}, list)":
        if found := re.fullmatch(rf"for (\w+) in {name}:\n    (\w+)\(\1\)", texts[1]):
            return f"_all({read}, {found[2]})"
        if found := re.fullmatch(rf"for (\w+) in {name}:\n    _one\(\1, (\{{.*\}})\)", texts[1]):
            return f"_some({read}, {found[2]})"
    elif len(checks) == 3 and head == f"not isinstance({variable}, dict)":
        values = re.fullmatch(rf"for (\w+) in {name}.values\(\):\n    (\w+)\(\1\)", texts[1])
        if values and re.fullmatch(rf"for (\w+) in {name}:\n    _name\(\1\)", texts[2]):
            return f"_map({read}, {values[2]})"
    return None


def name_of(node: ast.AST) -> str:
    if not isinstance(node, ast.Name):
        fail("a variable was expected", node)
    return node.id


class Function:
    """One function of the generated code, trimmed."""

    def __init__(self, node: ast.FunctionDef) -> None:
        self.node = node
        self.types: dict[str, str] = {"data": ""}
        self.required: set[tuple[str, str]] = set()
        self.names = {"data": "value"}
        body = self.block(node.body)
        short = call_of("value", "value", body)
        self.body = ast.parse(short).body if short else body

    def variable(self, name: str) -> str:
        """A short name for a variable: the last part of fastjsonschema's, which is a path."""
        if name not in self.names:
            short = name.rsplit("__", 1)[-1].removeprefix("data_").rstrip("_") or "item"
            short = short if short.isidentifier() else "x" + short
            taken = set(self.names.values()) | {
                "type",
                "len",
                "isinstance",
                "str",
                "bool",
                "dict",
                "list",
                "int",
                "class",
            }
            while short in taken:
                short += "_"
            self.names[name] = short
        return self.names[name]

    def block(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        done: list[ast.stmt] = []
        for statement in statements:
            done += self.statement(statement)
        merged: list[ast.stmt] = []
        groups: dict[tuple[str, str], ast.Call] = {}
        for statement in done:
            last = merged[-1] if merged else None
            if last and is_raise(last) and is_raise(statement):
                assert isinstance(last, ast.If) and isinstance(statement, ast.If)
                if not isinstance(last.test, ast.BoolOp):
                    last.test = ast.BoolOp(ast.Or(), [last.test])
                more = statement.test
                last.test.values += more.values if isinstance(more, ast.BoolOp) else [more]
                continue
            # if 'a' in value: check(value['a']), and the same check for another: _each(value, check, 'a', 'b').
            found = re.fullmatch(r"if ('\w+') in (\w+):\n    (\w+)\(\2\[\1\]\)", ast.unparse(statement))
            if not found:
                merged.append(statement)
            elif (found[2], found[3]) in groups:
                groups[found[2], found[3]].args.append(expression(found[1]))
            else:
                call = expression(f"_each({found[2]}, {found[3]}, {found[1]})")
                assert isinstance(call, ast.Call)
                groups[found[2], found[3]] = call
                merged.append(ast.Expr(call))
        return merged

    def refuse_if(self, test: str) -> list[ast.stmt]:
        return ast.parse(f"if {test}:\n    raise Mismatch").body

    def statement(self, node: ast.stmt) -> list[ast.stmt]:
        if isinstance(node, ast.Return):
            return []
        if isinstance(node, ast.Expr):
            return self.call(node.value)
        if isinstance(node, ast.Assign):
            return self.assignment(node)
        if isinstance(node, ast.If) and not node.orelse:
            if isinstance(node.body[0], ast.Raise):
                if ast.unparse(node.test).endswith("_property_names"):
                    return []  # Its check has raised.
                return self.refuse_if(self.test(node.test))
            return self.condition(node)
        if isinstance(node, ast.For) and not node.orelse:
            return self.loop(node)
        if isinstance(node, ast.Try):
            # Of propertyNames, which notes that a check failed and raises later: here the check raises.
            return self.block(node.body)
        fail("unknown statement", node)

    def call(self, node: ast.expr) -> list[ast.stmt]:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "remove":
            return []  # Properties that were seen, for the additional ones: no schema of ours has both.
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.startswith("validate"):
            return ast.parse(f"{node.func.id}({self.variable(name_of(node.args[0]))})").body
        fail("unknown call", node)

    def assignment(self, node: ast.Assign) -> list[ast.stmt]:
        target = name_of(node.targets[0])
        value = node.value
        if is_call(value, "isinstance") or is_call(value, "len") or is_call(value, "set"):
            return []
        if isinstance(value, ast.Constant) and target.endswith("_property_names"):
            return []
        if isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Constant):
            self.types[target] = ""
            owner = self.variable(name_of(value.value))
            return ast.parse(f"{self.variable(target)} = {owner}[{value.slice.value!r}]").body
        fail("unknown assignment", node)

    def condition(self, node: ast.If) -> list[ast.stmt]:
        test = node.test
        if isinstance(test, ast.Name):
            for suffix, kind in (("_is_dict", "dict"), ("_is_list", "list")):
                if test.id.endswith(suffix) and self.types[test.id.removesuffix(suffix)] == kind:
                    return self.block(node.body)
        if is_call(test, "isinstance"):
            assert isinstance(test, ast.Call)
            kind = self.types[name_of(test.args[0])]
            if (kind, ast.unparse(test.args[1])) in (("str", "str"), ("int", "(int, float)")):
                return self.block(node.body)
        if isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.In):
            owner = self.variable(name_of(test.comparators[0]).removesuffix("_keys"))
            assert isinstance(test.left, ast.Constant)
            return self.property(owner, str(test.left.value), self.block(node.body))
        if (
            isinstance(test, ast.Compare)
            and ast.unparse(test.comparators[0]) == "0"
            and isinstance(test.ops[0], ast.NotEq)
        ):
            if not name_of(test.left).endswith("_len"):
                fail("unknown condition", test)
            return self.block(node.body)  # Of propertyNames: nothing to loop over when there are none.
        fail("unknown condition", test)

    def property(self, owner: str, name: str, body: list[ast.stmt]) -> list[ast.stmt]:
        """`if the property is there: its checks`, without a variable for what is read once."""
        required = (owner, name) in self.required
        assignment = body[0]
        assert isinstance(assignment, ast.Assign)
        variable = name_of(assignment.targets[0])
        if len(body) == 1:
            return []
        there = f"{name!r} in {owner}"
        short = call_of(variable, f"{owner}[{name!r}]", body[1:])
        if short:
            return ast.parse(short if required else f"if {there}:\n    {short}").body
        return body if required else [ast.If(expression(there), body, [])]

    def loop(self, node: ast.For) -> list[ast.stmt]:
        if is_call(node.iter, "enumerate"):
            assert isinstance(node.iter, ast.Call) and isinstance(node.target, ast.Tuple)
            item, items = name_of(node.target.elts[1]), name_of(node.iter.args[0])
            self.types[item] = ""
            iterated = self.variable(items)
            body = node.body
        elif isinstance(node.iter, ast.Name) and node.iter.id.endswith("_keys"):
            # Of additionalProperties: for key in keys: if key not in []: value = object.get(key); checks of value.
            inner = node.body[0]
            if not (
                len(node.body) == 1 and isinstance(inner, ast.If) and ast.unparse(inner.test).endswith(" not in []")
            ):
                fail("additionalProperties beside properties is not supported", node)
            read = inner.body[0]
            assert isinstance(read, ast.Assign)
            item = name_of(read.targets[0])
            self.types[item] = ""
            iterated = self.variable(node.iter.id.removesuffix("_keys")) + ".values()"
            body = inner.body[1:]
        elif isinstance(node.iter, ast.Name):
            item = name_of(node.target)
            self.types[item] = "str"  # A name of a property.
            iterated = self.variable(node.iter.id)
            body = node.body
        else:
            fail("unknown loop", node)
        trimmed = self.block(body)
        if not trimmed:
            return []
        short = call_of(self.variable(item), self.variable(item), trimmed)
        if short:
            trimmed = ast.parse(short).body
        elif ast.unparse(trimmed[0]) == f"if not {self.variable(item)}:\n    raise Mismatch":
            trimmed = ast.parse(f"_name({self.variable(item)})").body  # Of a property, and so a string.
        loop = ast.parse(f"for {self.variable(item)} in {iterated}:\n    pass").body[0]
        assert isinstance(loop, ast.For)
        loop.body = trimmed
        return [loop]

    def test(self, node: ast.expr) -> str:
        """The condition of a refusal."""
        text = ast.unparse(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            operand = node.operand
            if is_call(operand, "isinstance"):
                assert isinstance(operand, ast.Call)
                variable, kind = name_of(operand.args[0]), ast.unparse(operand.args[1])
                kind = "list" if kind == "(list, tuple)" else kind
                if kind in TYPES:
                    self.types[variable] = kind
                    return f"not isinstance({self.variable(variable)}, {kind})"
            if is_call(operand, "all"):
                assert isinstance(operand, ast.Call) and isinstance(operand.args[0], ast.GeneratorExp)
                loop = operand.args[0].generators[0]
                assert isinstance(operand.args[0].elt, ast.Compare)
                owner = self.variable(name_of(operand.args[0].elt.comparators[0]))
                names = ast.literal_eval(loop.iter)
                self.required |= {(owner, name) for name in names}
                return " or ".join(f"{name!r} not in {owner}" for name in names)
            if (
                isinstance(operand, ast.Call)
                and isinstance(operand.func, ast.Attribute)
                and operand.func.attr == "search"
            ):
                assert isinstance(operand.func.value, ast.Subscript)
                pattern = ast.literal_eval(operand.func.value.slice)
                return mismatch(pattern, self.variable(name_of(operand.args[0])))
        if isinstance(node, ast.BoolOp) and "is_integer()" in text:
            found = next(n for n in ast.walk(node) if is_call(n, "isinstance"))
            assert isinstance(found, ast.Call)
            variable = name_of(found.args[0])
            self.types[variable] = "int"
            # Neither a bool, which is an int to isinstance, nor a float, however whole.
            return f"type({self.variable(variable)}) is not int"
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Name):
            variable, operator, value = node.left.id, node.ops[0], ast.literal_eval(node.comparators[0])
            if isinstance(operator, ast.NotIn) and all(isinstance(item, str) for item in value):
                return f"{self.variable(variable)} not in {{{', '.join(map(repr, value))}}}"
            if isinstance(operator, (ast.Lt, ast.Gt)) and isinstance(value, int):
                sign = "<" if isinstance(operator, ast.Lt) else ">"
                if variable.endswith("_len"):
                    if (sign, value) != ("<", 1):
                        fail("only a length of at least 1 is supported", node)
                    return f"not {self.variable(variable.removesuffix('_len'))}"
                return f"{self.variable(variable)} {sign} {value}"
        fail("unknown check", node)


def generate(schemas: dict[str, Any]) -> str:
    """The text of _check.py."""
    import fastjsonschema

    root = {
        "$schema": schemas["$schema"],
        "type": "object",
        "properties": {name: {"$ref": "#/definitions/" + file} for name, file in ENTRIES.items()},
        "definitions": schemas["definitions"],
    }
    tree = ast.parse(fastjsonschema.compile_to_code(root))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    starts = [
        n for n in ast.walk(functions.pop("validate")) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    ]
    entries = [call.func.id for call in starts if call.func.id in functions]  # type: ignore[attr-defined]
    if len(entries) != len(ENTRIES):
        fail("the entries were not found")
    # With an underscore before it, no function has the name of a variable.
    names = {entry: "_" + name for entry, name in zip(entries, ENTRIES, strict=True)}
    helpers = set(re.findall(r"def (\w+)", HELPERS))
    for name in functions:
        if name not in names:
            short = "_" + name.rsplit("_definitions_", 1)[-1].removeprefix("_").replace("_json", "")
            while short in names.values() or short in helpers:
                short += "_"
            names[name] = short

    parts = ['"""Made by tools/gencheck.py from spec/: do not edit."""', "class Mismatch(Exception):", " pass"]
    bodies = []
    for name, node in functions.items():
        function = Function(node)
        module = ast.Module(function.body or [ast.Pass()], [])
        body = ast.unparse(ast.fix_missing_locations(module))
        bodies.append(f"def {name}(value):\n" + "\n".join("    " + line for line in body.splitlines()) + "\n")
    text = "\n".join(bodies).replace("    ", " ")
    text = re.sub(r"\bvalidate\w+", lambda found: names[found[0]], text)
    # A function that is another one by a second name.
    while found := re.search(r"def (\w+)\(value\):\n (\w+)\(value\)\n+", text):
        text = re.sub(rf"\b{found[1]}\b", found[2], text.replace(found[0], ""))
    parts.append(HELPERS.replace("    ", " "))
    exports = "\n".join(f"{name} = _{name}" for name in ENTRIES)
    return "\n".join(parts) + text + exports + "\n"


def main(arguments: list[str]) -> None:
    if len(arguments) != 2:
        sys.exit("usage: gencheck.py SPEC_DIRECTORY OUTPUT.py")
    schemas = bundle(Path(arguments[0]))
    needed = {
        file: schema for file, schema in schemas["definitions"].items() if file not in ("state.json", "features.json")
    }
    for file, schema in needed.items():
        check_keywords(schema, file)
    output = Path(arguments[1])
    text = generate({**schemas, "definitions": needed})
    compile(text, str(output), "exec")
    header = '"""Made by tools/gencheck.py from spec/, all files bundled: do not edit."""\n\nSCHEMAS = '
    for path, content in (
        (output, text),
        (output.with_name("_schema.py"), header + repr(schemas) + "\n"),
    ):
        temporary = path.with_suffix(".tmp")
        temporary.write_text(content)
        temporary.replace(path)


if __name__ == "__main__":
    main(sys.argv[1:])
