#!/usr/bin/python3
"""Writes docs/api.md from what the programs know of themselves:

    build/bin/pollux openrpc | docs/make_api.py > docs/api.md
"""

import json
import sys

HEAD = """# The methods of Pollux

Made by `docs/make_api.py` from the .proto files: change those.

Each method is called in the same way, with the same parameters, results and errors, by JSON-RPC (the name as it
stands here), by gRPC (the path that is given), by the command line (`pollux NAME --help`) and by Python
(`client.NAME(...)`). `rpc.discover` answers all of this for programs, as an OpenRPC document. An error has a code,
a message, and as data errno, field, value and reason; what each method's codes mean stands below it. `-1` is the
answer to a method that may not be called in this state: *startup* methods only before the initialisation
(`--wait-for-rpc`), *runtime* methods only after it. `-13` is the answer to a caller who may not call the
method: *role* names the weakest that may (see `pollux_access_grant`).
"""
DEEPEST = 4  # Objects within objects.


def cell(text):
    return " ".join(text.split()).replace("|", "\\|")


class Writer:
    def __init__(self, document):
        self.schemas = document["components"]["schemas"]
        self.document = document
        self.lines = [HEAD]

    def say(self, *lines):
        self.lines += lines

    def resolved(self, schema):
        """The schema of an object that is named elsewhere, or the schema itself."""
        for one in (schema, *schema.get("allOf", ()), *schema.get("anyOf", ())):
            if "$ref" in one:
                return self.schemas[one["$ref"].rpartition("/")[2]]
        return schema

    def type_of(self, schema):
        target = self.resolved(schema)
        if "anyOf" in schema and target is schema:
            return " or ".join(self.type_of(one) for one in schema["anyOf"])
        if "anyOf" in schema:
            return "object or null"
        if "enum" in target:
            return ", ".join(f"`{word}`" for word in target["enum"])
        if target.get("type") == "array":
            return f"list of {self.type_of(target['items'])}"
        if target.get("type") == "object" and "additionalProperties" in target:
            return f"map of {self.type_of(target['additionalProperties'])}"
        return target.get("type", "any JSON")

    def properties_of(self, schema):
        """Of the object, or of each object of a list or map."""
        target = self.resolved(schema)
        if target.get("type") == "array":
            return self.properties_of(target["items"])
        if "additionalProperties" in target:
            return self.properties_of(target["additionalProperties"])
        return target.get("properties", {}), target.get("required", [])

    def facts(self, schema):
        words = [schema[key] for key in ("x-unit", "x-range") if key in schema]
        if "default" in schema:
            words.append(f"default `{json.dumps(schema['default'])}`")
        if schema.get("writeOnly"):
            words.append("never shown")
        return cell("; ".join(words))

    def row(self, name, description, schema, required, within=(), depth=0):
        prefix = "".join(f"{one}." for one in within)
        need = "**required**" if required else ""
        facts = "; ".join(filter(None, (need, self.facts(schema))))
        self.say(f"| `{prefix}{name}` | {self.type_of(schema)} | {facts} | {cell(description)} |")
        if depth == DEEPEST:
            return
        properties, needed = self.properties_of(schema)
        for inner, its in properties.items():
            self.row(inner, its.get("description", ""), its, inner in needed, (*within, name), depth + 1)

    def table(self, title):
        self.say("", title, "", "| Name | Type | | Meaning |", "| --- | --- | --- | --- |")

    def method(self, method):
        self.say("", f"### {method['name']}", "")
        for paragraph in method["description"].split("\n\n"):
            before, colon, command = paragraph.partition(": ")
            if before.startswith("Example") and colon and command.startswith("pollux "):
                self.say(f"{cell(before)}:", "", "```", f"$ {' '.join(command.split())}", "```", "")
            else:
                self.say(cell(paragraph).replace("\\|", "|"), "")
        changes = "changes the configuration, " if method["x-changes-configuration"] else ""
        self.say(
            f"*{changes}role: {method['x-role']}, state: {method['x-state']}, "
            f"gRPC: `{method['x-grpc']}`*"
        )
        if method["params"]:
            self.table("Parameters:")
            for one in method["params"]:
                self.row(one["name"], one["description"], one["schema"], one["required"])
        result = method["result"]
        if "description" in result:
            self.say("", f"Result: {self.type_of(result['schema'])}. {cell(result['description'])}")
            properties, _ = self.properties_of(result["schema"])
        else:
            properties = result["schema"]["properties"]
            if not properties:
                self.say("", "Result: an empty object.")
        if properties:
            self.table("Each has:" if "description" in result else "Result, an object:")
            for name, schema in properties.items():
                self.row(name, schema.get("description", ""), schema, False)
        codes = [f"`{one['code']}` {one['message'][0].lower()}{one['message'][1:]}" for one in method["errors"]
                 if one["code"] != -1]  # fmt: skip
        self.say("", f"Codes: {'; '.join(codes)}.")

    def text(self):
        services = {one["name"]: one["description"] for one in self.document["x-services"]}
        self.say("| Service | |", "| --- | --- |")
        for name, description in services.items():
            self.say(f"| [{name}](#{name.lower()}) | {cell(description.partition('. ')[0].rstrip('.'))} |")
        for name, description in services.items():
            self.say("", f"## {name}", "")
            self.say(*description.splitlines())
            for method in self.document["methods"]:
                if method["tags"][0]["name"] == name:
                    self.method(method)
        return "\n".join(self.lines) + "\n"


def main():
    sys.stdout.write(Writer(json.load(sys.stdin)).text())


if __name__ == "__main__":
    main()
